"""A Responses request, encoded. Floor 1. Pure.

One from another dialect is sent with `store: false`, and with `reasoning.encrypted_content` included where the model has any: what the
model thought comes back with the next turn and is kept by nobody.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import Encoded
from fkproxy.dialects.foreign import choice_of, extra_losses, functions_of
from fkproxy.dialects.json_mode import asked_in_words, output_in_words
from fkproxy.dialects.media import MADE, file_name, web_address_of
from fkproxy.dialects.openai_ids import with_short_ids
from fkproxy.dialects.openai_models import drop_sampling, is_openai, taken_effort, taken_tokens, takes_schema, thinks
from fkproxy.dialects.openai_responses.items import NAME
from fkproxy.dialects.openai_schema import FUNCTION_NAME, function_parameters, is_strict
from fkproxy.dialects.openai_user import encode_user
from fkproxy.dialects.pairing import with_results
from fkproxy.dialects.tool_names import with_taken_names
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.parts import Media, Message, Opaque, Reasoning, Refusal, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, Loss, OutputFormat, Tool, ToolChoice
from fkproxy.wire import json

__all__ = ["encode_format", "encode_request"]

_MAX_CALL_ID_CHARS = 64
_LEAST_TOKENS = 16
"""Fewer are refused."""


def encode_request(request: ChatRequest, model: str, *, whole: bool = True) -> Encoded:
    """The body. Raises `Unrepresentable`. `whole`: a call without a result gets one, which says that there is none."""
    own = request.dialect == NAME
    losses: list[Loss] = [] if own else extra_losses(request, NAME)
    if not own and whole:
        request = msgspec.structs.replace(request, messages=with_results(request.messages, losses))
    if not own:
        request = with_taken_names(request, FUNCTION_NAME, losses)
    if not own and is_openai(model):
        request = with_short_ids(request, _MAX_CALL_ID_CHARS)
    if not own and not takes_schema(request.output, model):
        request = output_in_words(request, losses)
    thinking = thinks(model)
    body: dict[str, Any] = {"model": model, **_conversation(request, own, losses)}
    body |= _sampling(request, model, own, thinking, losses)
    if not own and (functions := functions_of(request)):
        body["tools"] = [_tool(tool, request.dialect, model, losses) for tool in functions]
    if not own and (choice := choice_of(request, NAME)) is not None:
        body["tool_choice"] = _tool_choice(choice)
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if not own:
        body |= _text(request)
        body |= _reasoning(request, model, losses)
    if request.user is not None:
        body["user"] = request.user if own else encode_user(request.user, losses)
    if request.stream:
        body["stream"] = True
    if own:
        body |= {name.removeprefix("$"): value for name, value in request.extra.items() if name != "$string" and not name.endswith(".*")}
    else:
        body["store"] = False
        if thinking:
            body["include"] = ["reasoning.encrypted_content"]
    return Encoded(json.encode(body), tuple(dict.fromkeys(losses)), may_think=own or request.reasoning is not None)


def _conversation(request: ChatRequest, own: bool, losses: list[Loss]) -> dict[str, Any]:
    items: list[Any] = []
    body: dict[str, Any] = {}
    for message in request.messages if own else asked_in_words(request, losses):
        if own:
            if "$instructions" in message.extra:
                body["instructions"] = "".join(part.text for part in message.parts if isinstance(part, Text))
            else:
                items += message.extra["$items"]
        else:
            items += _items(message, losses)
    body["input"] = items[0] if own and "$string" in request.extra else items
    return body


def _items(message: Message, losses: list[Loss]) -> list[dict[str, Any]]:
    if message.role == "assistant":
        return _said(message, losses)
    if message.role == "tool":
        return [_result(part) for part in message.parts if isinstance(part, ToolResult)]
    role = "developer" if message.role == "system" else "user"
    content = [_input(part) for part in message.parts]
    return [{"type": "message", "role": role, "content": content}]


def _input(part: Any) -> dict[str, Any]:
    match part:
        case Text() | Refusal():
            return {"type": "input_text", "text": part.text}
        case Media(kind="image"):
            where = {"file_id": part.file_id} if part.file_id is not None else {"image_url": web_address_of(part, NAME)}
            return {"type": "input_image", **where, "detail": part.detail or "auto"}
        case Media(kind="file"):
            if part.file_id is not None:
                return {"type": "input_file", "file_id": part.file_id}
            return (
                {"type": "input_file", "file_url": web_address_of(part, NAME)}
                if part.url is not None
                else {"type": "input_file", "file_data": web_address_of(part, NAME), "filename": file_name(part)}
            )
        case Media():
            raise Unrepresentable(part.kind, NAME)
        case Opaque():
            raise Unrepresentable(f"a part of type {part.kind!r}", NAME)
    raise Unrepresentable(f"a {type(part).__name__} in a user's message", NAME)


def _said(message: Message, losses: list[Loss]) -> list[dict[str, Any]]:
    """The items, and behind them, in the user's hands, images and files that the model made."""
    items: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Text() | Refusal():
                if isinstance(part, Text) and _foreign(part.seal):
                    losses.append(Loss(field="seal"))
                if part.text:
                    items.append({"type": "message", "role": "assistant", "content": part.text})
            case Reasoning() if part.seal is not None and part.seal.dialect == NAME:
                # Without an id: none but its own is right ("Encrypted content item_id did not match the target item id", says the 400),
                # which no other dialect keeps, and the vendor's own client sends none (openai/codex#3390).
                summary = [{"type": "summary_text", "text": part.text}] if part.text else []
                items.append({"type": "reasoning", "summary": summary, "encrypted_content": part.seal.data})
            case Reasoning():
                losses.append(Loss(field="reasoning"))
            case ToolCall():
                if _foreign(part.seal):
                    losses.append(Loss(field="seal"))
                items.append({"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments})
            case Opaque():
                raise Unrepresentable(f"a part of type {part.kind!r}", NAME)
            case Media(kind="image" | "file"):
                if _foreign(part.seal):
                    losses.append(Loss(field="seal"))
                losses.append(Loss(field="messages[].media", action="converted"))
                made += [{"type": "input_text", "text": MADE}, _input(part)]
            case _:
                losses.append(Loss(field="media"))
    return [*items, {"type": "message", "role": "user", "content": made}] if made else items


def _foreign(seal: Seal | None) -> bool:
    return seal is not None and seal.dialect != NAME


def _result(result: ToolResult) -> dict[str, Any]:
    texts = [part.text for part in result.parts if isinstance(part, Text)]
    media = [part for part in result.parts if isinstance(part, Media)]
    if result.structured is not None:
        texts.insert(0, json.encode(result.structured).decode())
    if result.is_error:
        texts.insert(0, "The tool failed.")
    output: Any = "\n".join(texts)
    if media:
        output = [*({"type": "input_text", "text": text} for text in texts), *(_input(part) for part in media)]
    return {"type": "function_call_output", "call_id": result.call_id, "output": output}


def _sampling(request: ChatRequest, model: str, own: bool, thinking: bool, losses: list[Loss]) -> dict[str, Any]:
    sampling = request.sampling
    if not own:
        if (sampling.choices or 1) > 1:
            raise Unrepresentable("n", NAME, "it gives one answer")
        if sampling.stop:
            raise Unrepresentable("stop", NAME, "it has no stop sequences")
        for name in ("top_k", "seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias"):
            if getattr(sampling, name):
                losses.append(Loss(field=name))
    values = {"max_output_tokens": sampling.max_output_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p}
    if own:
        values["top_logprobs"] = sampling.top_logprobs
    else:
        if sampling.max_output_tokens is not None and sampling.max_output_tokens < _LEAST_TOKENS:
            losses.append(Loss(field="max_tokens", action="converted"))
            values["max_output_tokens"] = _LEAST_TOKENS
        elif sampling.max_output_tokens is not None:
            values["max_output_tokens"] = taken_tokens(sampling.max_output_tokens, model, losses)
        if thinking:
            drop_sampling(values, losses)
    return {name: value for name, value in values.items() if value is not None}


def _tool(tool: Tool, dialect: str, model: str, losses: list[Loss]) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    body["parameters"] = function_parameters(tool.parameters or {}, losses, unions=not is_openai(model))
    body["strict"] = is_strict(tool, body["parameters"], dialect, NAME, losses)
    return body


def _tool_choice(choice: ToolChoice) -> Any:
    if not choice.names:
        return choice.mode
    if choice.mode == "required" and len(choice.names) == 1:
        return {"type": "function", "name": choice.names[0]}
    return {"type": "allowed_tools", "mode": choice.mode, "tools": [{"type": "function", "name": name} for name in choice.names]}


def _text(request: ChatRequest) -> dict[str, Any]:
    output = request.output
    return {} if output is None or output.kind == "text" else {"text": {"format": encode_format(output)}}


def encode_format(output: OutputFormat | None) -> dict[str, Any]:
    """`text.format`, of a request and of the response to it."""
    if output is None or output.kind == "text":
        return {"type": "text"}
    if output.kind == "json":
        return {"type": "json_object"}
    form = {"type": "json_schema", "name": output.name or "answer", "schema": output.schema_ or {}, "strict": bool(output.strict)}
    return {**form, **({"description": output.description} if output.description is not None else {})}


def _reasoning(request: ChatRequest, model: str, losses: list[Loss]) -> dict[str, Any]:
    reasoning = request.reasoning
    if reasoning is None:
        return {}
    if not thinks(model):
        losses.append(Loss(field="reasoning"))
        return {}
    effort = taken_effort(reasoning, model, losses)
    told: dict[str, Any] = {"effort": effort} if effort is not None else {}
    if reasoning.include_thoughts is not False and reasoning.meant_effort != "none":
        told["summary"] = "auto"
    return {"reasoning": told} if told else {}
