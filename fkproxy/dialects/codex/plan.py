"""A request for the child: what a thread is started with, what is put into its history, what the turn is asked for. Floor 1. Pure.

The whole conversation becomes history, as items of OpenAI Responses, and the turn begins without a message of its own: nothing is
flattened into text. Results of tools stand apart as well: where the turn that asked for them is still open, they are its answers and
nothing else is told.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import Encoded
from fkproxy.dialects.codex.names import name_for_child
from fkproxy.dialects.codex.schemas import described, is_kept, is_readable
from fkproxy.dialects.json_mode import JSON_ONLY
from fkproxy.dialects.openai_responses import request_encode
from fkproxy.dialects.openai_responses.items import NAME as RESPONSES
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.parts import Message, Reasoning, Seal, Text
from fkproxy.model.request import ChatRequest, Loss, OutputFormat
from fkproxy.suffix import split_suffix
from fkproxy.wire import json

__all__ = ["NAME", "OWN_MODEL", "Answer", "Plan", "Tool", "encode_request", "reasoning_of"]

NAME = "codex"

OWN_MODEL = "default"
"""The model that the child itself is set to."""

_OPEN_SCHEMA: dict[str, Any] = {"type": "object"}


class Tool(msgspec.Struct, frozen=True, rename="camel"):
    """A function of the client, as `thread/start` takes it."""

    name: str
    description: str
    input_schema: Any
    type: str = "function"


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """What a tool gave: the result of `item/tool/call`, and whose."""

    call_id: str
    success: bool
    content_items: list[dict[str, str]]


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """`items`: the conversation. `answers`: those of its last items that are results of tools, if nothing follows them.

    `asked`: how many items there were when the model asked for these tools; it means nothing without answers.
    """

    model: str
    items: list[msgspec.Raw]
    instructions: str = ""
    tools: list[Tool] = []
    answers: list[Answer] = []
    asked: int = 0
    effort: str | None = None
    summary: str = "none"
    output_schema: Any = None
    one_tool_at_a_time: bool = False


def encode_request(request: ChatRequest, model: str) -> Encoded:
    """The body, a `Plan`. Raises `Unrepresentable`."""
    losses: list[Loss] = []
    model, by_name = split_suffix(model)
    reasoning = request.reasoning if request.reasoning is not None else by_name
    # No client's own dialect: whose account the child has nobody knows, so that files by their ids are none that it could find.
    request = msgspec.structs.replace(request, dialect=NAME, reasoning=reasoning)
    instructions, messages = _instructions(request.messages)
    output = request.output
    if output is not None and output.kind == "json":
        instructions, output = f"{instructions}\n\n{JSON_ONLY}".strip(), None
        losses.append(Loss(field="response_format", action="converted"))
    sampling = request.sampling
    if sampling.max_output_tokens:
        losses.append(Loss(field="max_tokens"))
        sampling = msgspec.structs.replace(sampling, max_output_tokens=None)
    messages = tuple(_resealed(message) for message in messages)
    request = msgspec.structs.replace(request, messages=messages, sampling=sampling, output=output)
    # What a model that thinks can be asked in Responses, and of that what the child can be told. A call that has no result yet may get it.
    try:
        encoded = request_encode.encode_request(request, NAME, whole=False)
    except Unrepresentable as error:
        raise Unrepresentable(error.param or "", NAME, error.hint) from None
    body: dict[str, Any] = json.loads(encoded.body)
    losses += encoded.losses
    if body.get("user") is not None:
        losses.append(Loss(field="user"))
    if "text" in body and not body["text"]["format"]["strict"]:
        losses.append(Loss(field="response_format.strict", action="converted"))
    thinking = body.get("reasoning", {})
    items: list[dict[str, Any]] = [_named(_in_parts(item)) for item in body["input"]]
    _check_parts(items)
    answers = _answers(items)
    plan = Plan(
        model=model,
        items=[msgspec.Raw(json.encode(item)) for item in items],
        instructions=instructions,
        tools=_tools(body, losses),
        answers=answers,
        asked=_asked(items, answers),
        effort=thinking.get("effort"),
        summary=thinking.get("summary", "none"),
        output_schema=_schema(output),
        one_tool_at_a_time=request.parallel_tool_calls is False,
    )
    return Encoded(json.encode(plan), tuple(dict.fromkeys(losses)))


def _in_parts(item: dict[str, Any]) -> dict[str, Any]:
    """The child takes a message's content in parts only, where the vendor takes text as well."""
    content = item.get("content")
    if not isinstance(content, str):
        return item
    return {**item, "content": [{"type": "output_text" if item["role"] == "assistant" else "input_text", "text": content}]}


def _check_parts(items: list[dict[str, Any]]) -> None:
    """Raises `Unrepresentable` for what the child refuses: another upstream may take it."""
    for item in items:
        content = item.get("content") or item.get("output")
        for part in content if isinstance(content, list) else ():
            if part.get("type") == "input_file":
                raise Unrepresentable("a document", NAME, "it takes texts and images")
            if part.get("type") == "input_image" and not str(part.get("image_url")).lower().startswith("data:"):
                raise Unrepresentable("an image by its address", NAME, "send the image itself, as a data URL")


def reasoning_of(body: bytes) -> str | None:
    """See `Dialect.reasoning_of`."""
    effort = json.loads(body).get("effort")
    return f"effort {effort}" if effort else None


def _instructions(messages: tuple[Message, ...]) -> tuple[str, tuple[Message, ...]]:
    """What the system says, in words alone, before anybody else does, and the rest."""
    first = next((index for index, message in enumerate(messages) if message.role != "system" or not _is_text(message)), len(messages))
    texts = [part.text for message in messages[:first] for part in message.parts if isinstance(part, Text)]
    told = "\n\n".join(text for text in texts if text)
    if first == len(messages):
        # The child wants somebody to answer.
        return "", (Message(role="user", parts=(Text(text=told),)),)
    return told, messages[first:]


def _is_text(message: Message) -> bool:
    return all(isinstance(part, Text) for part in message.parts)


def _resealed(message: Message) -> Message:
    """Thoughts that the child's model sealed are the vendor's that it talks to; all other seals are strangers'."""
    if message.role != "assistant" or not any(isinstance(part, Reasoning) and part.seal for part in message.parts):
        return message
    parts = [_with_seal(part) if isinstance(part, Reasoning) and part.seal is not None else part for part in message.parts]
    return msgspec.structs.replace(message, parts=tuple(parts))


def _with_seal(part: Reasoning) -> Reasoning:
    assert part.seal is not None
    own = part.seal.dialect == NAME
    return msgspec.structs.replace(part, seal=Seal(dialect=RESPONSES, data=part.seal.data) if own else None)


def _tools(body: dict[str, Any], losses: list[Loss]) -> list[Tool]:
    choice = body.get("tool_choice", "auto")
    tools: list[dict[str, Any]] = body.get("tools", [])
    mode = choice if isinstance(choice, str) else choice.get("mode", "required")
    if mode == "required":
        raise Unrepresentable("tool_choice", NAME, "the model decides whether it uses a tool")
    if mode == "none":
        return []
    if not isinstance(choice, str):
        allowed = {tool["name"] for tool in choice["tools"]}
        tools = [tool for tool in tools if tool["name"] in allowed]
    if any(tool.get("strict") for tool in tools):
        losses.append(Loss(field="tools[].strict"))
    kept = [is_kept(tool["parameters"]) for tool in tools]
    if not all(kept):
        losses.append(Loss(field="tools[].parameters", action="converted"))
    return [_tool(tool, kept=each) for tool, each in zip(tools, kept, strict=True)]


def _tool(tool: dict[str, Any], *, kept: bool) -> Tool:
    """`kept`: the child passes its schema on as it is."""
    description, schema = tool.get("description") or "", tool["parameters"]
    if not kept:
        description = described(description, schema)
    return Tool(name_for_child(tool["name"]), description, schema if is_readable(schema) else _OPEN_SCHEMA)


def _named(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "name": name_for_child(item["name"])} if item["type"] == "function_call" else item


def _schema(output: OutputFormat | None) -> Any:
    if output is None or output.kind != "json_schema":
        return None
    if not is_readable(output.schema_ or _OPEN_SCHEMA):
        raise Unrepresentable("response_format", NAME, "its schema is nested too deeply")
    return output.schema_ or _OPEN_SCHEMA


def _answers(items: list[dict[str, Any]]) -> list[Answer]:
    """The results that the conversation ends with."""
    last: list[Answer] = []
    for item in reversed(items):
        if item["type"] != "function_call_output":
            break
        last.append(Answer(item["call_id"], True, _content(item["output"])))
    return last[::-1]


def _content(output: Any) -> list[dict[str, str]]:
    if isinstance(output, str):
        return [{"type": "inputText", "text": output}]
    return [
        {"type": "inputText", "text": part["text"]}
        if part["type"] == "input_text"
        else {"type": "inputImage", "imageUrl": part["image_url"]}
        for part in output
    ]


def _asked(items: list[dict[str, Any]], answers: list[Answer]) -> int:
    """Where what the model said with these calls begins: behind the last item that was not its own."""
    end = len(items) - len(answers)
    while end > 0 and _is_said(items[end - 1]):
        end -= 1
    return end


def _is_said(item: dict[str, Any]) -> bool:
    return item["type"] in ("function_call", "reasoning") or item.get("role") == "assistant"
