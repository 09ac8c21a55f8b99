#!/usr/bin/env python3
"""Make docs/losses.md: what of each dialect can be said in each other one, as the codecs themselves answer.

scripts/losses.py            print it
scripts/losses.py --write    bring the file up to date
scripts/losses.py --check    exit 1 if the file is not up to date
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fkproxy.dialects import DIALECTS  # noqa: E402 - after the path is set
from fkproxy.dialects.base import Dialect  # noqa: E402 - after the path is set
from fkproxy.dialects.envelope import close_envelope  # noqa: E402 - after the path is set
from fkproxy.dialects.openai_responses.compaction import SUMMARY  # noqa: E402 - after the path is set
from fkproxy.model.errors import Unrepresentable  # noqa: E402 - after the path is set
from fkproxy.model.parts import Seal  # noqa: E402 - after the path is set

TARGET = ROOT / "docs" / "losses.md"
MODELS = {"gemini": "gemini-2.5-pro", "anthropic": "claude-sonnet-4-5"}
"""The model that stands for a dialect's upstream; much hangs on it."""

PIXEL = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}

Probe = dict[str, Any]


def _chat(**fields: Any) -> Probe:
    return {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}


def _parts(*parts: Any) -> Probe:
    return {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, *parts]}]}


_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"city": "Paris"}'}}
_TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
_FORM = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}

CHAT: dict[str, Probe] = {
    "system prompt": _chat(messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]),
    "cache_control": _chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]),
    "cache_control of the request": _chat(cache_control={"type": "ephemeral"}),
    "cache_control beside a function": _chat(tools=[{**_TOOL, "cache_control": {"type": "ephemeral"}}]),
    "system prompt in the middle": _chat(
        messages=[{"role": "user", "content": "x"}, {"role": "system", "content": "s"}, {"role": "user", "content": "y"}]
    ),
    "first turn that is the assistant's": _chat(messages=[{"role": "assistant", "content": "y"}, {"role": "user", "content": "x"}]),
    "last turn that is the assistant's": _chat(messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}]),
    "image, inline": _parts({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}),
    "image that the model made": _chat(
        messages=[
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": "",
                "images": [{"index": 0, "type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}],
            },
            {"role": "user", "content": "y"},
        ]
    ),
    "image, by address": _parts({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
    "audio": _parts({"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}}),
    "audio in the reply": _chat(modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"}),
    "file": _parts({"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"}}),
    "tools": _chat(tools=[_TOOL]),
    "tool with a dot in its name": _chat(tools=[{"type": "function", "function": {"name": "f.g", "parameters": SCHEMA}}]),
    "tool whose parameters are one of several": _chat(
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"anyOf": [SCHEMA, {"type": "object"}]}}}]
    ),
    "functions, function_call": _chat(functions=[_TOOL["function"]], function_call={"name": "f"}),
    "tool choice: one tool": _chat(tools=[_TOOL], tool_choice={"type": "function", "function": {"name": "f"}}),
    "parallel_tool_calls: false": _chat(tools=[_TOOL], parallel_tool_calls=False),
    "tool call and its result": _chat(
        messages=[
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
        ]
    ),
    "JSON mode": _chat(response_format={"type": "json_object"}),
    "JSON schema": _chat(response_format=_FORM),
    "JSON schema beside tools": _chat(response_format=_FORM, tools=[_TOOL]),
    "stop": _chat(stop=["END"]),
    "n: 2": _chat(n=2),
    "seed": _chat(seed=7),
    "temperature, top_p": _chat(temperature=0.5, top_p=0.9),
    "presence_penalty": _chat(presence_penalty=0.5),
    "logprobs": _chat(logprobs=True, top_logprobs=2),
    "logit_bias": _chat(logit_bias={"50256": -100}),
    "max_completion_tokens": _chat(max_completion_tokens=9000),
    "reasoning_effort": _chat(reasoning_effort="high"),
    "user": _chat(user="u"),
    "name of a message": _chat(messages=[{"role": "user", "name": "bob", "content": "x"}]),
    "service_tier": _chat(service_tier="flex"),
    "web_search_options": _chat(web_search_options={}),
    "cached_content for Google's endpoint": _chat(extra_body={"google": {"cached_content": "cachedContents/1"}}),
    "a field of the client's own": _chat(my_field=1),
}


def _messages(**fields: Any) -> Probe:
    return {"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "x"}], **fields}


def _blocks(*blocks: Any) -> Probe:
    return _messages(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, *blocks]}])


_USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"city": "Paris"}}
_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}


def _result(content: Any, **more: Any) -> Probe:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}
    return _messages(
        messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": [_USE]}, {"role": "user", "content": [result]}],
        tools=[{"name": "f", "input_schema": SCHEMA}],
    )


MESSAGES: dict[str, Probe] = {
    "system prompt": _messages(system="s"),
    "image, inline": _blocks(_IMAGE),
    "image, by address": _blocks({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
    "document (PDF)": _blocks({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PIXEL}}),
    "search result": _blocks({"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]}),
    "tools": _messages(tools=[{"name": "f", "description": "d", "input_schema": SCHEMA}]),
    "tool with a name of more than 64 characters": _messages(tools=[{"name": "f" * 65, "input_schema": SCHEMA}]),
    "strict tool": _messages(tools=[{"name": "f", "input_schema": SCHEMA, "strict": True}]),
    "strict tool, a property may be left out": _messages(tools=[{"name": "f", "input_schema": {**SCHEMA, "required": []}, "strict": True}]),
    "tool choice: one tool": _messages(tools=[{"name": "f", "input_schema": SCHEMA}], tool_choice={"type": "tool", "name": "f"}),
    "disable_parallel_tool_use": _messages(
        tools=[{"name": "f", "input_schema": SCHEMA}], tool_choice={"type": "auto", "disable_parallel_tool_use": True}
    ),
    "tool call and its result": _result("sun"),
    "tool result with an image": _result([{"type": "text", "text": "look"}, _IMAGE]),
    "tool result that is an error": _result("no", is_error=True),
    "JSON schema": _messages(output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
    "max_tokens: 0, to warm the prompt cache": _messages(max_tokens=0),
    "stop_sequences": _messages(stop_sequences=["END"]),
    "temperature": _messages(temperature=0.5),
    "top_k": _messages(top_k=5),
    "thinking: budget": _messages(thinking={"type": "enabled", "budget_tokens": 2048}),
    "thinking: adaptive, effort": _messages(thinking={"type": "adaptive"}, output_config={"effort": "high"}),
    "thinking: disabled": _messages(thinking={"type": "disabled"}),
    "signed thought of an earlier turn": _messages(
        messages=[
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "c2ln"}, {"type": "text", "text": "y"}]},
            {"role": "user", "content": "z"},
        ]
    ),
    "a summary of what was said before (compaction)": _messages(
        messages=[
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "compaction", "content": "s"}, {"type": "text", "text": "y"}]},
            {"role": "user", "content": "z"},
        ]
    ),
    "cache_control": _messages(system=[{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]),
    "metadata.user_id": _messages(metadata={"user_id": "u"}),
    "server tool (web search)": _messages(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
    "mcp_servers": _messages(mcp_servers=[{"type": "url", "url": "https://example.com", "name": "a"}]),
    "thread": _messages(thread={"type": "continue", "previous_message_id": "msg_1"}),
    "service_tier": _messages(service_tier="auto"),
    "a field of the client's own": _messages(my_field=1),
}


def _response(**fields: Any) -> Probe:
    return {"model": "m", "input": "x", **fields}


def _agents(*parts: Any) -> Probe:
    return _response(input=[{"type": "agent_message", "author": "lead", "recipient": "lead/a", "content": [*parts]}])


def _inputs(*parts: Any) -> Probe:
    return _response(input=[{"role": "user", "content": [{"type": "input_text", "text": "x"}, *parts]}])


_FLAT = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA}
_FUNCTION = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"city": "Paris"}'}
_USER = {"role": "user", "content": "x"}
_SUMMARY = close_envelope(Seal(dialect=SUMMARY, data="s"), "openai_responses")

RESPONSES: dict[str, Probe] = {
    "instructions": _response(instructions="s"),
    "image, inline": _inputs({"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}),
    "image, by address": _inputs({"type": "input_image", "image_url": "https://example.com/a.png"}),
    "image that the model made": _response(input=[_USER, {"type": "image_generation_call", "id": "ig_1", "result": PIXEL}, _USER]),
    "file": _inputs({"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"}),
    "file, by address": _inputs({"type": "input_file", "file_url": "https://example.com/a.pdf"}),
    "tools": _response(tools=[_FLAT]),
    "tools in a namespace": _response(tools=[{"type": "namespace", "name": "n", "tools": [_FLAT]}]),
    "tools that an item makes known": _response(input=[{"type": "additional_tools", "role": "developer", "tools": [_FLAT]}, _USER]),
    "settings that an item changes": _response(input=[_USER, {"type": "configuration_update", "reasoning": {"effort": "low"}}]),
    "a search for tools that the client runs": _response(
        tools=[{"type": "tool_search", "execution": "client", "parameters": SCHEMA}],
        input=[
            _USER,
            {"type": "tool_search_call", "call_id": "call_1", "execution": "client", "arguments": {"city": "Paris"}},
            {"type": "tool_search_output", "call_id": "call_1", "execution": "client", "tools": [_FLAT]},
        ],
    ),
    "custom tool": _response(tools=[{"type": "custom", "name": "run", "format": {"type": "text"}}]),
    "tool choice: one tool": _response(tools=[_FLAT], tool_choice={"type": "function", "name": "f"}),
    "tool call and its result": _response(input=[_USER, _FUNCTION, {"type": "function_call_output", "call_id": "call_1", "output": "sun"}]),
    "tool result with an image": _response(
        input=[
            _USER,
            _FUNCTION,
            {
                "type": "function_call_output",
                "call_id": "call_1",
                "output": [{"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}],
            },
        ]
    ),
    "JSON schema": _response(text={"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}),
    "verbosity": _response(text={"verbosity": "low"}),
    "temperature": _response(temperature=0.5),
    "max_output_tokens": _response(max_output_tokens=9000),
    "reasoning.effort": _response(reasoning={"effort": "high"}),
    "reasoning.mode, reasoning.context": _response(reasoning={"mode": "pro", "context": "current_turn"}),
    "encrypted reasoning of an earlier turn": _response(
        input=[
            _USER,
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"role": "assistant", "content": "y"},
            _USER,
        ]
    ),
    "store, include, prompt_cache_key": _response(store=False, include=["reasoning.encrypted_content"], prompt_cache_key="k"),
    "moderation that tells scores": _response(moderation={"model": "omni-moderation-latest"}),
    "moderation that blocks": _response(moderation={"model": "omni-moderation-latest", "policy": {"output": {"mode": "block"}}}),
    "previous_response_id": _response(previous_response_id="resp_1"),
    "a conversation to be shortened (compaction_trigger)": _response(input=[_USER, {"type": "compaction_trigger"}]),
    "a summary that another model wrote (compaction)": _response(input=[{"type": "compaction", "encrypted_content": _SUMMARY}, _USER]),
    "a summary that its own vendor made": _response(input=[{"type": "compaction", "encrypted_content": "gAAA"}, _USER]),
    "what one agent says to another (agent_message)": _agents({"type": "input_text", "text": "x"}),
    "the same, encrypted by its own vendor": _agents({"type": "encrypted_content", "encrypted_content": "gAAAAA" + 94 * "A"}),
    "an item by its id (item_reference)": _response(input=[_USER, {"type": "item_reference", "id": "msg_1"}, _USER]),
    "conversation": _response(conversation="conv_1"),
    "background": _response(background=True, stream=True),
    "web search, which the model may use": _response(tools=[{"type": "web_search"}]),
    "web search of an earlier turn": _response(
        input=[_USER, {"type": "web_search_call", "action": {"type": "search", "query": "q"}}, _USER]
    ),
    "metadata": _response(metadata={"a": "b"}),
    "service_tier": _response(service_tier="flex"),
    "a field of the client's own": _response(my_field=1),
}


def _contents(*parts: Any, **fields: Any) -> Probe:
    return {"contents": [{"role": "user", "parts": [{"text": "x"}, *parts]}], **fields}


_FUNCTIONS = [
    {
        "functionDeclarations": [
            {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}}
        ]
    }
]
_FUNCTION_CALL = {"functionCall": {"name": "f", "args": {"city": "Paris"}}}


def _generation(**fields: Any) -> Probe:
    return _contents(generationConfig=fields)


CONTENTS: dict[str, Probe] = {
    "system prompt": _contents(systemInstruction={"parts": [{"text": "s"}]}),
    "image, inline": _contents({"inlineData": {"mimeType": "image/png", "data": PIXEL}}),
    "image that the model made": {
        "contents": [
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}]},
            {"role": "user", "parts": [{"text": "y"}]},
        ]
    },
    "image among the model's thoughts": {
        "contents": [
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}, "thought": True}, {"text": "y"}]},
            {"role": "user", "parts": [{"text": "z"}]},
        ]
    },
    "audio, inline": _contents({"inlineData": {"mimeType": "audio/wav", "data": PIXEL}}),
    "video, inline": _contents({"inlineData": {"mimeType": "video/mp4", "data": PIXEL}}),
    "file, by address": _contents({"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}}),
    "file of the Files API, gs://, YouTube": _contents(
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}
    ),
    "tools": _contents(tools=_FUNCTIONS),
    "tool choice: ANY of some": _contents(
        tools=_FUNCTIONS, toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}
    ),
    "tool call and its result": {
        "contents": [
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": [_FUNCTION_CALL]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"sky": "sun"}}}]},
        ]
    },
    "JSON mode": _generation(responseMimeType="application/json"),
    "JSON schema": _generation(
        responseMimeType="application/json", responseSchema={"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}
    ),
    "JSON schema in responseFormat": _generation(
        responseFormat={"text": {"mimeType": "application/json", "schema": {"type": "object", "properties": {"city": {"type": "string"}}}}}
    ),
    "stopSequences": _generation(stopSequences=["END"]),
    "candidateCount: 2": _generation(candidateCount=2),
    "seed": _generation(seed=7),
    "temperature": _generation(temperature=0.5),
    "topK": _generation(topK=5),
    "presencePenalty": _generation(presencePenalty=0.5),
    "responseLogprobs": _generation(responseLogprobs=True, logprobs=2),
    "thinkingBudget": _generation(thinkingConfig={"thinkingBudget": 2048}),
    "thinkingLevel": _generation(thinkingConfig={"thinkingLevel": "high"}),
    "thoughtSignature": {
        "contents": [
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": [{**_FUNCTION_CALL, "thoughtSignature": "c2ln"}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"sky": "sun"}}}]},
        ]
    },
    "safetySettings": _contents(safetySettings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]),
    "cachedContent": _contents(cachedContent="cachedContents/1"),
    "one of some words (text/x.enum)": _generation(responseMimeType="text/x.enum", responseSchema={"type": "STRING", "enum": ["a", "b"]}),
    "images in responseFormat": _generation(responseFormat={"image": {"aspectRatio": "1:1"}}),
    "audio in the reply": _generation(responseModalities=["AUDIO"]),
    "speechConfig": _generation(speechConfig={"languageCode": "de-DE"}),
    "responseModalities": _generation(responseModalities=["TEXT"]),
    "Google Search": _contents(tools=[{"googleSearch": {}}]),
    "labels": _contents(labels={"team": "a"}),
    "a field of the client's own": _contents(myField=1),
}

PROBES: dict[str, dict[str, Probe]] = {"openai_chat": CHAT, "openai_responses": RESPONSES, "anthropic": MESSAGES, "gemini": CONTENTS}

_TITLES = {
    "openai_chat": "OpenAI chat completions",
    "openai_responses": "OpenAI Responses",
    "anthropic": "Anthropic Messages",
    "gemini": "Gemini generateContent",
}

_HEAD = """\
# What crosses from one dialect to another

Made by `scripts/losses.py` from the codecs themselves: each line is a request that a client can send, translated for an upstream of
another dialect. In its own dialect every request passes byte for byte, but for the model's name.

- **carried**: said in the other dialect's own words.
- **converted** *field*: said, but not in quite the same way.
- **dropped** *field*: left out. Reply header `x-fkproxy-losses`, access line (`losses`) and `fkproxy_losses_total` name it. What a
  *reply* holds that the client's dialect has no place for (a vendor's own tool at work, citations, an image among thoughts, images for a
  Messages client) is named as `reply.kind` in the same places; in a stream the header has gone out before, the access line has it.
- **refused**: answered 400, because leaving it out would change the meaning, unless another upstream of the model can say it.

Where the conversation begins with an answer, or ends with one that the model cannot go on with, and the upstream would refuse that, the
user says `(begin)` in front of it or `(continue)` behind it, which is named as converted `messages[].role`.

A tool whose name the upstream would refuse goes there under another one, which is named as converted `tools[].name`; in replies the client
finds its own.

What depends on the model is told for {models}.
"""


def outcome(source: Dialect, probe: Probe, target: Dialect) -> str:
    """One cell of a table."""
    body = json.dumps(probe).encode()
    request = source.decode_request(body, source.peek(body, "m:generateContent", ""))
    try:
        losses = target.encode_request(request, MODELS.get(target.name, "gpt-5")).losses
    except Unrepresentable as error:
        return f"**refused**: {error.param}"
    told = [f"{loss.action} `{loss.field}`" for loss in dict.fromkeys(losses)]
    return "; ".join(told) or "carried"


def render() -> str:
    """The whole page."""
    models = ", ".join(f"`{model}`" for model in [*MODELS.values(), "gpt-5"])
    lines = [_HEAD.format(models=models)]
    for name, probes in PROBES.items():
        others = [dialect for dialect in DIALECTS.values() if dialect.name != name]
        lines.append(f"## A client that speaks {_TITLES[name]}\n")
        lines.append(f"| It sends | {' | '.join(f'to {_TITLES[other.name]}' for other in others)} |")
        lines.append("|---" * (len(others) + 1) + "|")
        for title, probe in probes.items():
            cells = " | ".join(outcome(DIALECTS[name], probe, other) for other in others)
            lines.append(f"| {title} | {cells} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make docs/losses.md from the codecs.")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = render()
    if options.write:
        TARGET.write_text(text)
    elif options.check:
        if not TARGET.exists() or TARGET.read_text() != text:
            print(f"{TARGET.relative_to(ROOT)} is not what the codecs say; run scripts/losses.py --write", file=sys.stderr)
            return 1
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
