"""What is tried in every dialect, towards every other one. Floor 4.

A case sends requests and returns None, or says what was wrong. `Refused` means that the gateway said it cannot do this, with a reason: that
is a result, not a fault. Against a foreign gateway, whose model nobody can give orders to, only what any model must do is asked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec

from fkproxy.model.events import Reply
from fkproxy.model.parts import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, OutputFormat, ReasoningConfig, Sampling, Tool, ToolChoice
from fkproxy.selftest.asking import Answer, Client

__all__ = ["CASES", "Case", "Refused", "Wrong"]

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
_TOOLS = tuple(
    Tool(name=f"look_up_{what}", description=f"Looks up the {what} of a city.", parameters=_SCHEMA) for what in ("weather", "time")
)
_ENDS_WITHIN_S = 5.0
_OWN = "selftest"


class Refused(Exception):
    """The gateway says that it cannot carry this, and why."""


class Wrong(Exception):
    """It is not as it must be."""


class Case(msgspec.Struct, frozen=True):
    """`run` gets a client, a model and whether that model is the sandbox, which does as its name's options say."""

    name: str
    run: Callable[[Client, str, bool], None]
    sandbox_only: bool = False


def _request(client: Client, *messages: Message, **fields: Any) -> ChatRequest:
    user = Message(role="user", parts=(Text(text="Say hello in one short sentence."),))
    sampling = fields.pop("sampling", Sampling(max_output_tokens=2048))
    return ChatRequest(dialect=_OWN, model="m", messages=messages or (user,), sampling=sampling, **fields)


def _user(*parts: Part) -> Message:
    return Message(role="user", parts=parts)


def _must(condition: object, message: str) -> None:
    if not condition:
        raise Wrong(message)


def _reply(answer: Answer) -> Reply:
    """The reply. Raises `Refused` for a 400 that names what cannot be carried, `Wrong` for anything else."""
    if answer.reply is not None:
        return answer.reply
    if answer.status == 400:
        raise Refused(answer.message)
    raise Wrong(f"{answer.status} {answer.error}: {answer.message}")


def _text(reply: Reply) -> str:
    return "".join(part.text for part in reply.choices[0].parts if isinstance(part, Text))


def _calls(reply: Reply) -> list[ToolCall]:
    return [part for part in reply.choices[0].parts if isinstance(part, ToolCall)]


def _report(reply: Reply) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(_text(reply))
    except ValueError as error:
        raise Wrong("the report of what arrived did not arrive") from error
    return value


def _with(model: str, sandbox: bool, options: str) -> str:
    return f"{model}?{options}" if sandbox else model


# --- the cases


def _plain(client: Client, model: str, sandbox: bool) -> None:
    system = Message(role="system", parts=(Text(text="Answer politely."),))
    asked = _request(client, system, _user(Text(text="Say hello.")))
    reply = _reply(client.ask(asked, _with(model, sandbox, "report=1")))
    _must(_text(reply), "there is no text")
    _must(reply.choices[0].reason in ("stop", "length"), f"it ended with {reply.choices[0].reason}")
    if sandbox:
        _must("Answer politely." in _report(reply)["texts"], "the system prompt did not arrive")


def _stream(client: Client, model: str, sandbox: bool) -> None:
    model = _with(model, sandbox, "chunks=7&thoughts=2&text=Hello%20from%20here")
    whole = _reply(client.ask(_request(client), model))
    streamed = _reply(client.ask(_request(client, stream=True), model))
    _must(_text(streamed), "the stream holds no text")
    if sandbox:
        _must(_text(whole) == _text(streamed) == "Hello from here", "stream and whole reply differ in text")
        _must(whole.choices[0].reason == streamed.choices[0].reason, "stream and whole reply end differently")
        counts = [reply.usage.output_tokens if reply.usage is not None else None for reply in (whole, streamed)]
        _must(counts[0] is not None and counts[0] == counts[1], "stream and whole reply count differently")


def _usage(client: Client, model: str, sandbox: bool) -> None:
    for stream in (False, True):
        usage = _reply(client.ask(_request(client, stream=stream), model)).usage
        _must(usage is not None and usage.input_tokens and usage.output_tokens, f"no usage in a {'stream' if stream else 'whole reply'}")


def _tools(client: Client, model: str, sandbox: bool) -> None:
    question = _user(Text(text="What are the weather and the time in Paris? Look both up."))
    for stream in (False, True):
        asked = _request(client, question, tools=_TOOLS, tool_choice=ToolChoice(mode="required"), stream=stream)
        calls = _calls(_reply(client.ask(asked, _with(model, sandbox, "tools=2"))))
        _must(calls, "no tool was called")
        _must(len({call.id for call in calls}) == len(calls), "two calls have one id")
        _must({call.name for call in calls} <= {tool.name for tool in _TOOLS}, "a tool was called that was not offered")
        if sandbox:
            _must([call.name for call in calls] == [tool.name for tool in _TOOLS], "not both tools were called, in their order")
        results = tuple(ToolResult(call_id=call.id, name=call.name, parts=(Text(text="12"),)) for call in reversed(calls))
        turn = (question, Message(role="assistant", parts=tuple(calls)), *(Message(role="tool", parts=(result,)) for result in results))
        again = _reply(client.ask(_request(client, *turn, tools=_TOOLS, stream=stream), _with(model, sandbox, "report=1")))
        if sandbox:
            seen = _report(again)
            _must(sorted(seen["calls"]) == sorted(seen["results"]) and len(seen["results"]) == 2, "calls and results do not match")


def _tool_result_with_image(client: Client, model: str, sandbox: bool) -> None:
    call = ToolCall(id="call_1", name="look_up_weather", arguments='{"city": "Paris"}')
    image = Media(kind="image", mime_type="image/png", data=_PIXEL)
    result = ToolResult(call_id="call_1", name=call.name, parts=(Text(text="See the picture."), image))
    turn = (_user(Text(text="How is it?")), Message(role="assistant", parts=(call,)), Message(role="tool", parts=(result,)))
    reply = _reply(client.ask(_request(client, *turn, tools=_TOOLS), _with(model, sandbox, "report=1")))
    if sandbox:
        _must(_report(reply)["images"] == 1, "the image did not arrive")


def _image(client: Client, model: str, sandbox: bool) -> None:
    image = Media(kind="image", mime_type="image/png", data=_PIXEL)
    reply = _reply(client.ask(_request(client, _user(Text(text="What is this?"), image)), _with(model, sandbox, "report=1")))
    if sandbox:
        _must(_report(reply)["images"] == 1, "the image did not arrive")


def _thinking(client: Client, model: str, sandbox: bool) -> None:
    config = ReasoningConfig(effort="high", include_thoughts=True)
    model = _with(model, sandbox, "thoughts=3")
    for stream in (False, True):
        first = _reply(client.ask(_request(client, reasoning=config, stream=stream), model))
        parts = first.choices[0].parts
        if sandbox:
            thought = "".join(part.text for part in parts if isinstance(part, Reasoning))
            _must(thought == "Thinking. " * 3, "the thoughts did not arrive")
        said = Message(role="assistant", parts=tuple(part for part in parts if isinstance(part, Text | Reasoning)))
        turn = (_user(Text(text="Say hello.")), said, _user(Text(text="And again.")))
        _must(_text(_reply(client.ask(_request(client, *turn, reasoning=config, stream=stream), model))), "there is no second answer")


def _schema(client: Client, model: str, sandbox: bool) -> None:
    output = OutputFormat(kind="json_schema", schema_=_SCHEMA, name="city")
    asked = _request(client, _user(Text(text="Name a city.")), output=output)
    reply = _reply(client.ask(asked, _with(model, sandbox, "report=1")))
    if sandbox:
        _must(_report(reply)["format"] == "json_schema", "the schema did not arrive")
    else:
        _must(isinstance(json.loads(_text(reply)).get("city"), str), "the answer is not what the schema says")


def _stop(client: Client, model: str, sandbox: bool) -> None:
    asked = _request(client, sampling=Sampling(max_output_tokens=2048, stop=("END",)))
    reply = _reply(client.ask(asked, _with(model, sandbox, "report=1")))
    if sandbox:
        _must(_report(reply)["stop"] in (["END"], "END"), "the stop sequence did not arrive")


def _error_before(client: Client, model: str, sandbox: bool) -> None:
    for status, expected in ((429, 429), (503, client.dialect.overloaded_status), (500, 502)):
        answer = client.ask(_request(client, stream=status == 429), f"{model}?status={status}")
        _must(answer.status == expected, f"{status} of the upstream became {answer.status} {answer.error}")


def _error_after(client: Client, model: str, sandbox: bool) -> None:
    for option in ("error_after=3", "fail_after=3"):
        answer = client.ask(_request(client, stream=True), f"{model}?chunks=6&{option}")
        _must(answer.status == 200 and answer.reply is None, f"{option}: a stream that broke off was not told as broken")


def _cancel(client: Client, model: str, sandbox: bool) -> None:
    """The client leaves in the middle of a stream; soon nothing is under way any more."""
    with closing(client.connect()) as connection:
        response = client.send(connection, _request(client, stream=True), f"{model}?chunks=6&hang_after=3")
        response.read(64)
        response.close()
    deadline = time.monotonic() + _ENDS_WITHIN_S
    while True:
        with closing(client.connect()) as connection:
            connection.request("GET", "/health")
            with connection.getresponse() as reply:
                open_streams = json.loads(reply.read()).get("streams_open")
        if open_streams == 0:
            return
        _must(time.monotonic() < deadline, f"{open_streams} streams are still open")
        time.sleep(0.05)


CASES: tuple[Case, ...] = (
    Case("text", _plain),
    Case("stream", _stream),
    Case("usage", _usage),
    Case("parallel tools", _tools),
    Case("tool result with image", _tool_result_with_image),
    Case("image", _image),
    Case("thinking, two turns", _thinking),
    Case("JSON schema", _schema),
    Case("stop", _stop),
    Case("error before", _error_before, sandbox_only=True),
    Case("error after", _error_after, sandbox_only=True),
    Case("cancellation", _cancel, sandbox_only=True),
)
