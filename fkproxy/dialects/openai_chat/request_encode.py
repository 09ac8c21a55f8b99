"""A chat completions request, encoded. Floor 1. Pure.

OpenAI's tool messages and the model's own hold text only (API reference, "Tool message" and "Assistant message", read 2026-11): media in
a tool's result, or made by the model, follow in a user message behind the group of results, which is reported as converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from fkproxy.dialects.base import Encoded
from fkproxy.dialects.foreign import carried, choice_of, extra_losses, functions_of
from fkproxy.dialects.json_mode import asked_in_words, output_in_words
from fkproxy.dialects.media import MADE, address_of, file_name, web_address_of
from fkproxy.dialects.openai_chat.mistral import fit_body, is_mistral
from fkproxy.dialects.openai_chat.parts import AUDIO_MIME_TYPES, SIGNER
from fkproxy.dialects.openai_ids import with_plain_ids, with_short_ids
from fkproxy.dialects.openai_models import drop_sampling, is_openai, taken_effort, taken_tokens, takes_schema, takes_stop, thinks
from fkproxy.dialects.openai_schema import FUNCTION_NAME, function_parameters, is_strict
from fkproxy.dialects.openai_user import encode_user
from fkproxy.dialects.pairing import results_behind_calls, with_results
from fkproxy.dialects.tool_names import with_taken_names
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.parts import Extra, Media, Message, Opaque, Reasoning, Refusal, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, Loss, Tool, ToolChoice
from fkproxy.wire import json

__all__ = ["encode_request", "encode_seal"]

_NAME = "openai_chat"
_FAILED = "Error: "
_MAX_CALL_ID_CHARS = 40
_AUDIO_FORMATS = {mime_type: form for form, mime_type in AUDIO_MIME_TYPES.items()} | {"audio/mpeg": "mp3", "audio/x-wav": "wav"}


def encode_request(request: ChatRequest, model: str) -> Encoded:
    """The body. Raises `Unrepresentable`."""
    own = request.dialect == _NAME
    losses: list[Loss] = [] if own else extra_losses(request, _NAME)
    if not own:
        request = with_taken_names(request, FUNCTION_NAME, losses)
    if not own and is_openai(model):
        request = with_short_ids(request, _MAX_CALL_ID_CHARS)
    mistral = not own and is_mistral(model)
    if mistral:
        request = with_plain_ids(request)
    if not own and not takes_schema(request.output, model):
        request = output_in_words(request, losses)
    extra = request.extra if own else {}
    body: dict[str, Any] = {"model": model, "messages": _messages(request, own, losses)}
    body |= _sampling(request, model, extra, own, losses)
    tools = _tools(request, model, extra, losses)
    body |= tools
    choice = request.tool_choice if own else choice_of(request, _NAME)
    # Without tools OpenAI refuses both of these.
    if choice is not None and (own or tools):
        body |= _tool_choice(choice, extra)
    if request.parallel_tool_calls is not None and (own or tools) and "functions" not in tools:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    body |= _output(request)
    body |= _reasoning(request, model, extra, losses)
    if request.user is not None:
        body["user"] = request.user if own else encode_user(request.user, losses)
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {**extra.get("$stream_options", {}), "include_usage": True}
    body |= carried(extra, own)
    if mistral:
        fit_body(body, model, losses)
    return Encoded(json.encode(body), tuple(dict.fromkeys(losses)), may_think=own or request.reasoning is not None)


def _sampling(request: ChatRequest, model: str, extra: Extra, own: bool, losses: list[Loss]) -> dict[str, Any]:
    sampling = request.sampling
    values: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "n": sampling.choices,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logprobs": sampling.logprobs,
        # It is refused without the other.
        "top_logprobs": sampling.top_logprobs if own or sampling.logprobs else None,
        "logit_bias": sampling.logit_bias,
        "stop": list(sampling.stop) or None,
    }
    # `max_tokens` is what every server understands, but for OpenAI's own thinking models: "Unsupported parameter", says the 400.
    # A request that came with one of the two names keeps it.
    old = extra.get("$max_tokens")
    if old is not None:
        values["max_tokens"] = old
    if sampling.max_output_tokens is not None and (old is None or old != sampling.max_output_tokens):
        most = sampling.max_output_tokens if own else taken_tokens(sampling.max_output_tokens, model, losses)
        values["max_completion_tokens" if own or thinks(model) else "max_tokens"] = most
    if sampling.top_k is not None:
        if own:
            values["top_k"] = sampling.top_k
        else:
            losses.append(Loss(field="top_k"))
    if not own and sampling.stop and not takes_stop(model):
        raise Unrepresentable("stop", _NAME, f"{model} takes no stop sequences")
    if not own and thinks(model):
        drop_sampling(values, losses)
    return {name: value for name, value in values.items() if value is not None}


def _tools(request: ChatRequest, model: str, extra: Extra, losses: list[Loss]) -> dict[str, Any]:
    own = request.dialect == _NAME
    tools = [_tool(tool, request.dialect, model, losses) for tool in (request.tools if own else functions_of(request))]
    if not tools:
        return {}
    if extra.get("$functions"):
        return {"functions": [tool["function"] for tool in tools]}
    return {"tools": tools}


def _tool(tool: Tool, dialect: str, model: str, losses: list[Loss]) -> dict[str, Any]:
    if tool.kind != "function":
        value: dict[str, Any] = tool.value
        return value
    function: dict[str, Any] = {"name": tool.name}
    for name, given in (("description", tool.description), ("parameters", tool.parameters), ("strict", tool.strict)):
        if given is not None:
            function[name] = given
    if dialect != _NAME and tool.parameters is not None:
        function["parameters"] = function_parameters(tool.parameters, losses, unions=not is_openai(model))
    if tool.strict and not is_strict(tool, function.get("parameters"), dialect, _NAME, losses):
        del function["strict"]
    inner, outer = tool.extra.get("$places", ({}, {})) if dialect == _NAME else ({}, {})
    return {"type": "function", "function": {**function, **inner}, **outer}


def _tool_choice(choice: ToolChoice, extra: Extra) -> dict[str, Any]:
    if "$function_call" in extra:
        return {"function_call": extra["$function_call"]}
    if not choice.names:
        return {"tool_choice": choice.mode}
    named = [{"type": "function", "function": {"name": name}} for name in choice.names]
    if choice.mode == "required" and len(named) == 1:
        return {"tool_choice": named[0]}
    return {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}}


def _output(request: ChatRequest) -> dict[str, Any]:
    output = request.output
    if output is None:
        return {}
    if output.kind != "json_schema":
        return {"response_format": {"type": "text" if output.kind == "text" else "json_object"}}
    values = {"name": output.name or "answer", "description": output.description, "schema": output.schema_, "strict": output.strict}
    return {"response_format": {"type": "json_schema", "json_schema": {name: value for name, value in values.items() if value is not None}}}


def _reasoning(request: ChatRequest, model: str, extra: Extra, losses: list[Loss]) -> dict[str, Any]:
    reasoning = request.reasoning
    kept = {name.removeprefix("$"): extra[name] for name in ("$reasoning", "$extra_body", "$google") if name in extra}
    if reasoning is None or kept:
        return kept
    effort = reasoning.meant_effort if request.dialect == _NAME else taken_effort(reasoning, model, losses)
    return {"reasoning_effort": effort} if effort is not None else {}


# --- messages


def _messages(request: ChatRequest, own: bool, losses: list[Loss]) -> list[dict[str, Any]]:
    encoded: list[dict[str, Any]] = []
    left_over: list[dict[str, Any]] = []
    messages = request.messages if own else with_results(results_behind_calls(asked_in_words(request, losses)), losses)
    for message in messages if own else _turns(messages):
        if message.role != "tool" and left_over:
            encoded.append({"role": "user", "content": left_over})
            left_over = []
        if message.role == "tool":
            encoded += [_tool_result(part, message, own, left_over, losses) for part in message.parts if isinstance(part, ToolResult)]
        elif message.role == "assistant":
            said = _assistant(message, own, left_over, losses)
            # Of a foreign answer that was nothing but thoughts nothing is left, and that is refused.
            if own or said["content"] is not None or "tool_calls" in said or "refusal" in said:
                encoded.append(said)
        else:
            extra = carried(message.extra, own)
            role = message.extra.get("$role", message.role) if own else message.role
            encoded.append({"role": role, "content": _content(message.parts, own, losses), **_named(message), **extra})
    if left_over:
        encoded.append({"role": "user", "content": left_over})
    return encoded


def _turns(messages: tuple[Message, ...]) -> Iterator[Message]:
    """Another dialect's messages, what the model says in a row as one: every call has to be answered before it says more."""
    for role, run in groupby(messages, key=lambda message: message.role):
        if role == "assistant":
            yield Message(role=role, parts=tuple(part for message in run for part in message.parts))
        else:
            yield from run


def _named(message: Message) -> dict[str, Any]:
    return {"name": message.name} if message.name is not None else {}


def _content(parts: Any, own: bool, losses: list[Loss]) -> Any:
    """A plain string where there is nothing but one text that came as such, else an array of parts."""
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) == len(parts) and (not own or not any(part.extra for part in parts)) and len(parts) == 1:
        return texts[0].text
    return [_part(part, own, losses) for part in parts]


def _part(part: Any, own: bool, losses: list[Loss]) -> Any:
    match part:
        case Text():
            if own and part.extra.get("$bare"):
                return part.text
            return {"type": "text", "text": part.text, **carried(part.extra, own)}
        case Refusal():
            return {"type": "refusal", "refusal": part.text, **carried(part.extra, own)}
        case Media():
            return _media(part, own)
        case Opaque() if part.dialect == _NAME:
            return part.value
        case Opaque():
            raise Unrepresentable(f"a {part.kind} part", _NAME)
        case _:
            raise Unrepresentable(f"a {type(part).__name__} part in this place", _NAME)


def _media(part: Media, own: bool) -> dict[str, Any]:
    extra = carried(part.extra, own)
    url = address_of(part) if own else web_address_of(part, _NAME)
    if part.kind in ("image", "video"):
        if part.file_id is not None or (part.kind == "video" and not own):
            raise Unrepresentable("an image by file id" if part.kind == "image" else "a video", _NAME)
        inner = {
            "url": url,
            **({"detail": part.detail} if part.detail is not None else {}),
            **(part.extra.get("$inner", {}) if own else {}),
        }
        return {"type": f"{part.kind}_url", f"{part.kind}_url": inner, **extra}
    if part.kind == "audio":
        form = _AUDIO_FORMATS.get(part.mime_type or "", (part.mime_type or "").removeprefix("audio/"))
        if part.data is None or not form:
            raise Unrepresentable("audio by address", _NAME)
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": form}, **extra}
    named = {"filename": part.name} if part.name is not None else {}
    if part.file_id is not None:
        return {"type": "file", "file": {"file_id": part.file_id, **named}, **extra}
    if part.url is not None and not own:
        raise Unrepresentable("a file by address", _NAME)
    if not own:
        named = {"filename": file_name(part)}
    data = part.data if own and part.extra.get("$bare") else url
    return {"type": "file", "file": {"file_data": data, **named}, **extra}


def _assistant(message: Message, own: bool, left_over: list[dict[str, Any]], losses: list[Loss]) -> dict[str, Any]:
    body: dict[str, Any] = {"role": "assistant", **_named(message)}
    content: list[Any] = []
    calls: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Reasoning():
                if own:
                    body[part.extra.get("$field", "reasoning_content")] = part.text
                else:
                    losses.append(Loss(field="reasoning"))
            case Refusal() if not part.extra:
                body["refusal"] = body.get("refusal", "") + part.text
            case ToolCall():
                call = _tool_call(part, own, losses)
                if part.extra.get("$legacy") and own:
                    body["function_call"] = call["function"]
                else:
                    calls.append(call)
            case Opaque() if part.dialect == _NAME and part.kind.endswith("_tool_call"):
                calls.append(part.value)
            case Text(seal=Seal() as seal):
                if own:
                    body |= encode_seal(seal)
                else:
                    losses.append(Loss(field="seal"))
                if part.text or not own:
                    content.append(part)
            case Media() if own and "$images" in part.extra:
                index = part.extra["$images"]
                numbered = {"index": index} if index is not None else {}
                body.setdefault("images", []).append({**numbered, **_media(part, own), **encode_seal(part.seal)})
            case Media() if not own:
                if part.seal is not None:
                    losses.append(Loss(field="seal"))
                losses.append(Loss(field="messages[].media", action="converted"))
                left_over += [{"type": "text", "text": MADE}, _media(part, own)]
            case _:
                content.append(part)
    if not own:
        # Databricks' server, for one, refuses a text that says nothing (tidyverse/ellmer#935): it stands for an answer of nothing only.
        content = [part for part in content if not isinstance(part, Text) or part.text] or content[: 0 if calls else 1]
    body["content"] = _content(content, own, losses) if content else None
    if calls:
        body["tool_calls"] = calls
    return {**body, **carried(message.extra, own)}


def _tool_call(call: ToolCall, own: bool, losses: list[Loss]) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments, **(call.extra.get("$function", {}) if own else {})}
    body: dict[str, Any] = {"id": call.id, "type": "function", "function": function, **carried(call.extra, own)}
    if call.seal is not None:
        if own:
            body |= encode_seal(call.seal)
        else:
            losses.append(Loss(field="seal"))
    return body


def encode_seal(seal: Seal | None) -> dict[str, Any]:
    """`extra_content`, where Google's OpenAI endpoint puts a signature (ai.google.dev, "Thought signatures", read 2026-11).

    Nothing for a seal of another vendor: what comes back from there is taken for Google's.
    """
    return {"extra_content": {"google": {"thought_signature": seal.data}}} if seal is not None and seal.dialect == SIGNER else {}


def _tool_result(result: ToolResult, message: Message, own: bool, left_over: list[dict[str, Any]], losses: list[Loss]) -> dict[str, Any]:
    if own and message.extra.get("$role") == "function":
        return {"role": "function", "name": result.name, "content": _content(result.parts, own, losses)}
    parts: list[Any] = list(result.parts)
    if result.structured is not None:
        parts.insert(0, Text(text=json.encode(result.structured).decode()))
    if not own and any(isinstance(part, Media) for part in parts):
        losses.append(Loss(field="tool_result.media", action="converted"))
        left_over.append({"type": "text", "text": f"Media in the result of tool call {result.call_id}:"})
        left_over += [_media(part, own) for part in parts if isinstance(part, Media)]
        parts = [part for part in parts if not isinstance(part, Media)] or [Text(text="See the media in the next message.")]
    content = _content(parts, own, losses) if parts else ""
    if not own and result.is_error:
        content = f"{_FAILED}{content}" if isinstance(content, str) else [{"type": "text", "text": _FAILED}, *content]
    return {"role": "tool", "tool_call_id": result.call_id, "content": content, **carried(result.extra, own)}
