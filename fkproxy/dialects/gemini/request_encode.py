"""A generateContent request, encoded. Floor 1. Pure.

Sources, read 2026-11: ai.google.dev/api/generate-content, …/docs/function-calling, …/docs/thought-signatures.

What Gemini insists on and other dialects do not: the results of a turn's calls stand in one content right behind the calls and in
their order; a result is an object; the first call of every step carries its thought signature (Gemini 3).
"""

from __future__ import annotations

import mimetypes
import re
from collections import defaultdict, deque
from itertools import groupby
from math import inf
from operator import attrgetter, itemgetter
from typing import Any, TypeGuard
from urllib.parse import urlsplit

import msgspec

from fkproxy.dialects.arguments import as_object
from fkproxy.dialects.base import Encoded
from fkproxy.dialects.foreign import carried, choice_of, extra_losses, functions_of
from fkproxy.dialects.gemini.schema import Nodes, clean_parameters, clean_schema
from fkproxy.dialects.gemini.thinking import (
    NO_SIGNATURE,
    encode_thinking,
    is_gemini_3,
    is_gemini_3_6,
    most_tokens,
    sign,
    sign_images,
    takes_json_with_calls,
)
from fkproxy.dialects.json_mode import output_in_words
from fkproxy.dialects.media import registered_type
from fkproxy.dialects.pairing import results_behind_calls, with_results
from fkproxy.dialects.tool_names import with_taken_names
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.parts import Extra, Media, Message, Opaque, Part, Reasoning, Refusal, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, Loss, Tool
from fkproxy.wire import json

__all__ = ["encode_request"]

_NAME = "gemini"
_MAX_STOP_SEQUENCES = 5
_SEED_BITS = 31
"""Those of a seed beside its sign: it is an int32 (the API's discovery document), and a larger number is refused."""
_FIRST = "(begin)"
"""What the user says before a call that nothing led to: "function call turn comes immediately after a user turn", says the 400."""
_LAST = "(continue)"
"""What the user says to models that refuse to go on with their own words: "Requests ending with a model turn are not supported"."""

_FUNCTION_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
"""What its 400s tell of one: "Must start with a letter or an underscore … with a maximum length of 64"."""

_SAMPLING = {
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "seed": "seed",
    "choices": "candidateCount",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
_PENALTIES = ("presence_penalty", "frequency_penalty")

_MODES = {"none": "NONE", "auto": "AUTO", "required": "ANY"}
_MIME_TYPES = {"image": "image/jpeg", "audio": "audio/mpeg", "video": "video/mp4", "file": "application/pdf"}
"""For an address that does not show its type."""

_role_of = attrgetter("role")


def encode_request(request: ChatRequest, model: str) -> Encoded:
    """The body. Raises `Unrepresentable`."""
    own = request.dialect == _NAME
    losses: list[Loss] = [] if own else extra_losses(request, _NAME)
    if not own:
        request = with_taken_names(request, _FUNCTION_NAME, losses)
        if request.output is not None and not takes_json_with_calls(model) and _has_calls(request):
            request = output_in_words(request, losses)
    writer = _Writer(own=own, gemini_3=is_gemini_3(model), losses=losses)
    body: dict[str, Any] = {}
    contents, system = writer.contents(request.messages if own else with_results(results_behind_calls(request.messages), losses))
    if system and not contents:
        losses.append(Loss(field="messages[].role", action="converted"))
        contents, system = [{"role": "user", "parts": system}], []
    if not own and contents:
        if contents[0]["role"] == "model" and any("functionCall" in part for part in contents[0]["parts"]):
            losses.append(Loss(field="messages[].role", action="converted"))
            contents.insert(0, {"role": "user", "parts": [{"text": _FIRST}]})
        if contents[-1]["role"] == "model" and is_gemini_3_6(model):
            losses.append(Loss(field="messages[].role", action="converted"))
            contents.append({"role": "user", "parts": [{"text": _LAST}]})
    body["contents"] = contents
    if system:
        body["systemInstruction"] = {"parts": system, **(request.extra.get("systemInstruction.*", {}) if own else {})}
    tools = _tools(request, own) if request.tools else []
    if tools:
        body["tools"] = tools
    config = _tool_config(request, own, losses) if own or tools or request.tool_choice is not None else {}
    if config and (own or tools):
        body["toolConfig"] = config
    if config := _generation_config(request, model, own, losses):
        body["generationConfig"] = config
    if request.user is not None and not own:
        losses.append(Loss(field="user"))
    body |= carried(request.extra, own)
    return Encoded(json.encode(body), tuple(dict.fromkeys(losses)), may_think=own or request.reasoning is not None)


def _has_calls(request: ChatRequest) -> bool:
    """There are functions that may be called, or some were."""
    said = (part for message in request.messages for part in message.parts)
    return bool(functions_of(request)) or any(isinstance(part, ToolCall | ToolResult) for part in said)


def _generation_config(request: ChatRequest, model: str, own: bool, losses: list[Loss]) -> dict[str, Any]:
    sampling = request.sampling
    if len(sampling.stop) > _MAX_STOP_SEQUENCES and not own:
        raise Unrepresentable(f"{len(sampling.stop)} stop sequences", _NAME, f"{_MAX_STOP_SEQUENCES} are the most it takes")
    if (sampling.choices or 1) > 1 and not own and is_gemini_3(model):
        raise Unrepresentable("n", _NAME, f"{model} gives one answer")
    if sampling.logit_bias:
        losses.append(Loss(field="logit_bias"))
    # What is not said is not in it.
    said = msgspec.to_builtins(sampling)
    config: dict[str, Any] = {_SAMPLING[name]: value for name, value in said.items() if name in _SAMPLING}
    if not own:
        if is_gemini_3_6(model):
            losses += [Loss(field=name) for name in _PENALTIES if config.pop(_SAMPLING[name], None)]
        if not sampling.logprobs:
            # It is refused without the other.
            config.pop("logprobs", None)
    most = None if own else most_tokens(model)
    if most is not None and (sampling.max_output_tokens or 0) > most:
        losses.append(Loss(field="max_tokens", action="converted"))
        config["maxOutputTokens"] = most
    if not own and sampling.seed is not None and (sampling.seed >> _SEED_BITS) not in (0, -1):
        losses.append(Loss(field="seed", action="converted"))
        config["seed"] = sampling.seed & ((1 << _SEED_BITS) - 1)
    output = request.output
    if own:
        config |= request.extra.get("$output", {})
    elif output is not None and output.kind != "text":
        config["responseMimeType"] = "application/json"
        if output.schema_ is not None:
            config["responseSchema"] = clean_schema(output.schema_)
    if own and "$thinking" in request.extra:
        config["thinkingConfig"] = request.extra["$thinking"]
    elif request.reasoning is not None and (thinking := encode_thinking(request.reasoning, model, losses)) is not None:
        config["thinkingConfig"] = thinking
    return {**config, **(request.extra.get("generationConfig.*", {}) if own else {})}


def _tools(request: ChatRequest, own: bool) -> list[dict[str, Any]]:
    declarations: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    nodes = Nodes()
    for tool in request.tools:
        if tool.kind == "function":
            declarations.append(_declaration(tool, own, nodes))
        elif own:
            others.append({tool.kind: tool.value})
    return [*([{"functionDeclarations": declarations}] if declarations else []), *others]


def _declaration(tool: Tool, own: bool, nodes: Nodes) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    if tool.parameters is not None:
        if own:
            declaration |= tool.extra["$schema"]
        elif (parameters := clean_parameters(tool.parameters, nodes)) is not None:
            declaration["parameters"] = parameters
    return {**declaration, **carried(tool.extra, own)}


def _tool_config(request: ChatRequest, own: bool, losses: list[Loss]) -> dict[str, Any]:
    kept: dict[str, Any] = request.extra.get("toolConfig.*", {}) if own else {}
    if request.parallel_tool_calls is False:
        losses.append(Loss(field="parallel_tool_calls"))
    choice = request.tool_choice if own else choice_of(request, _NAME)
    if choice is None:
        return kept
    mode = _MODES[choice.mode]
    calling: dict[str, Any] = {"mode": mode}
    if choice.names:
        # With AUTO the names are not allowed; VALIDATED is AUTO within them.
        calling = {"mode": "VALIDATED" if mode == "AUTO" else mode, "allowedFunctionNames": list(choice.names)}
    return {**kept, "functionCallingConfig": {**calling, **(request.extra.get("$calling", {}) if own else {})}}


class _Writer:
    """Messages to contents. `gemini_3`: the model wants signatures and takes media in results."""

    def __init__(self, *, own: bool, gemini_3: bool, losses: list[Loss]) -> None:
        self._own = own
        self._gemini_3 = gemini_3
        self._losses = losses
        self._calls: dict[str, deque[tuple[float, str]]] = defaultdict(deque)
        """Those without a result by their ids: which one each is of all, and its name. Some servers give several of a turn one id."""
        self._count = 0

    def contents(self, messages: tuple[Message, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """(contents, parts of the system instruction)."""
        leading = 0
        while leading < len(messages) and messages[leading].role == "system":
            leading += 1
        system = [part for message in messages[:leading] for part in self._parts(message.parts)] if leading else []
        contents: list[dict[str, Any]] = []
        for role, run in groupby(messages[leading:], key=_role_of):
            if role == "tool" and not self._own:
                results = [part for message in run for part in message.parts if isinstance(part, ToolResult)]
                contents.append({"role": "user", "parts": self._results(results)})
                continue
            for message in run:
                self._add(contents, self._content(message))
        if self._gemini_3 and not self._own:
            for content in contents:
                sign(content["parts"])
                if content["role"] == "model":
                    sign_images(content["parts"])
        return contents, system

    def _content(self, message: Message) -> dict[str, Any]:
        parts = self._parts(message.parts)
        if message.role == "assistant":
            return {"role": "model", "parts": parts, **carried(message.extra, self._own)}
        if message.role == "tool":
            return {"role": message.extra.get("$role", "user"), "parts": parts}
        if message.role == "system":
            # There is one system instruction, and it stands in front: a later one keeps its place as the user's word.
            self._losses.append(Loss(field="messages[].role", action="converted"))
        role = {} if self._own and message.extra.get("$role") == "" else {"role": "user"}
        # A content without parts is refused.
        return {**role, "parts": parts or [{"text": ""}], **carried(message.extra, self._own)}

    def _add(self, contents: list[dict[str, Any]], content: dict[str, Any]) -> None:
        """Put a content behind the others, or into the last one of the same role: some models want the roles to alternate.

        The results of functions stay by themselves, and stand in front there: what a user says right behind them in the same content is
        taken for a part of them.
        """
        last = contents[-1] if contents else None
        if not content["parts"]:
            return
        if last is None or self._own or last["role"] != content["role"] or any("functionResponse" in part for part in last["parts"][:1]):
            contents.append(content)
        else:
            last["parts"] += content["parts"]

    def _parts(self, parts: tuple[Part, ...]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for part in parts:
            if found and self._signs(part, found[-1]):
                found[-1] |= self._signature(part.seal)
                continue
            encoded = self._part(part)
            if encoded is not None:
                found.append(encoded)
        return found

    def _signs(self, part: Part, before: dict[str, Any]) -> TypeGuard[Reasoning]:
        """It is a thought that holds nothing but the signature of the part before it, as clients have it that know signed thoughts alone.

        "Image part is missing a thought_signature", says the 400 of models that make images. A call's own is remembered elsewhere.
        """
        if self._own or not isinstance(part, Reasoning) or part.text or part.seal is None or part.seal.dialect != _NAME:
            return False
        return "functionCall" not in before and "thoughtSignature" not in before

    def _part(self, part: Part) -> dict[str, Any] | None:
        if type(part) is Text:  # `match` makes a set for a case that fits
            text: dict[str, Any] = {"text": part.text}
            if part.seal is not None:
                text |= self._signature(part.seal)
            if self._own:
                return text | carried(part.extra, True)
            return text if part.text or len(text) > 1 else None
        match part:
            case Refusal():
                return {"text": part.text} if part.text else None
            case Media():
                return {**self._media(part), **self._signature(part.seal), **self._extra(part.extra)}
            case Reasoning():
                if not self._own:
                    self._losses.append(Loss(field="reasoning"))
                    return None
                if "$media" in part.extra:
                    return self._part(part.extra["$media"])
                return {"text": part.text, "thought": True, **self._signature(part.seal), **self._extra(part.extra)}
            case ToolCall():
                self._calls[part.id].append((self._count, part.name))
                self._count += 1
                return self._call(part)
            case ToolResult():
                return self._result(part)
            case Opaque():
                if part.dialect != _NAME:
                    raise Unrepresentable(f"a {part.kind} part", _NAME)
                value: dict[str, Any] = part.value
                return value

    def _extra(self, extra: Extra) -> dict[str, Any]:
        return carried(extra, self._own)

    def _signature(self, seal: Seal | None) -> dict[str, Any]:
        if seal is None:
            return {}
        if seal.dialect == _NAME:
            return {"thoughtSignature": seal.data}
        self._losses.append(Loss(field="seal"))
        return {}

    def _call(self, call: ToolCall) -> dict[str, Any]:
        inner: dict[str, Any] = {"name": call.name, "args": as_object(call.arguments, self._losses)}
        if self._own:
            inner |= call.extra.get("$call", {})
            if "$no_args" in call.extra:
                del inner["args"]
        marked = {"thoughtSignature": NO_SIGNATURE} if self._own and "$marked" in call.extra else {}
        return {"functionCall": inner, **marked, **self._signature(call.seal), **self._extra(call.extra)}

    def _results(self, results: list[ToolResult]) -> list[dict[str, Any]]:
        asked = sorted(((*self._asked(result), result) for result in results), key=itemgetter(0))
        results = [msgspec.structs.replace(result, name=name) for _, name, result in asked]
        parts = [self._result(result) for result in results]
        if self._gemini_3 or self._own:
            return parts
        for result in results:
            media = [self._media(part) for part in result.parts if isinstance(part, Media)]
            if media:
                # Models before Gemini 3 take media beside a function's response, not in it.
                self._losses.append(Loss(field="tool_result.media", action="converted"))
                parts += media
        return parts

    def _asked(self, result: ToolResult) -> tuple[float, str]:
        """Which of all calls it answers, and that one's name: the first of its id that has no result yet."""
        calls = self._calls[result.call_id]
        return calls.popleft() if calls else (inf, result.name or result.call_id)

    def _result(self, result: ToolResult) -> dict[str, Any]:
        inner: dict[str, Any] = {"name": result.name or self._asked(result)[1], "response": self._response(result)}
        media = [self._media(part) for part in result.parts if isinstance(part, Media)]
        if media and (self._gemini_3 or self._own):
            inner["parts"] = media
        if self._own:
            inner |= result.extra.get("$response", {})
        return {"functionResponse": inner, **self._extra(result.extra)}

    def _response(self, result: ToolResult) -> dict[str, Any]:
        """A result as the object Gemini wants.

        `{"$ref": …}` in a response is looked up among the names of its parts (ai.google.dev/api/caching#FunctionResponse): a result that
        merely contains such a key goes as text.
        """
        value = result.structured
        if value is not None:
            return value if isinstance(value, dict) and (self._own or not _has_reference(value)) else _as_result(value)
        text = "\n".join(part.text for part in result.parts if isinstance(part, Text))
        if result.is_error:
            return {"error": text}
        parsed = json.try_object(text)
        return parsed if parsed is not None and not _has_reference(parsed) else {"result": text}

    def _media(self, media: Media) -> dict[str, Any]:
        if media.file_id is not None and not self._own:
            raise Unrepresentable("a file by its id", _NAME, "ids are only known to the vendor that gave them")
        named = {"displayName": media.name} if media.name is not None and self._own else {}
        if media.detail not in (None, "auto"):
            self._losses.append(Loss(field="image_url.detail"))
        mime_type = media.mime_type if self._own else registered_type(media.mime_type)
        if media.data is not None:
            if mime_type is None:
                raise Unrepresentable(f"a {media.kind} without its media type", _NAME, "name it in the data URL")
            return {"inlineData": {"mimeType": mime_type, "data": media.data, **named, **self._inner(media, "inlineData.*")}}
        if mime_type is None and not self._own:
            mime_type = mimetypes.guess_type(urlsplit(media.url or "").path)[0] or _MIME_TYPES[media.kind]
        typed = {"mimeType": mime_type} if mime_type is not None else {}
        return {"fileData": {"fileUri": media.url or media.file_id, **typed, **named, **self._inner(media, "fileData.*")}}

    def _inner(self, media: Media, name: str) -> dict[str, Any]:
        """The fields that a part's inner object came with and the hub has no word for."""
        return media.extra.get(name, {}) if self._own else {}


def _as_result(value: Any) -> dict[str, Any]:
    return {"result": json.encode(value).decode() if _has_reference(value) else value}


def _has_reference(value: Any) -> bool:
    if isinstance(value, dict):
        return "$ref" in value or any(map(_has_reference, value.values()))
    return isinstance(value, list) and any(map(_has_reference, value))
