"""Calls in the four dialects by hand, and what came of them: `text_of` a reply that is complete, `told` of one that is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.e2e.codex_stage import MODEL
from tests.e2e.processes import KEY, Answer, Service, ask

__all__ = ["DIALECTS", "Dialect", "call", "chat", "contents", "messages", "pieces_of", "responses", "text_of", "told"]


def chat(text: str, stream: bool, model: str = MODEL) -> tuple[str, Any]:
    return "/v1/chat/completions", {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}


def messages(text: str, stream: bool, model: str = MODEL) -> tuple[str, Any]:
    return "/v1/messages", {"max_tokens": 100, **chat(text, stream, model)[1]}


def responses(text: str, stream: bool, model: str = MODEL) -> tuple[str, Any]:
    return "/v1/responses", {"model": model, "stream": stream, "input": text}


def contents(text: str, stream: bool, model: str = MODEL) -> tuple[str, Any]:
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{model}:{method}", {"contents": [{"role": "user", "parts": [{"text": text}]}]}


Dialect = Callable[..., tuple[str, Any]]
DIALECTS: list[Dialect] = [chat, messages, responses, contents]


def call(running: Service, dialect: Dialect, text: str, stream: bool, model: str = MODEL) -> Answer:
    path, body = dialect(text, stream, model)
    return ask(running.url + path, key=KEY, body=body)


def told(answer: Answer) -> dict[str, Any]:
    """The error, of an answer or at the end of a stream. Raises `AssertionError` where there is none."""
    value = pieces_of(answer)[-1]
    error = (value.get("response") or value).get("error")
    assert isinstance(error, dict), value
    assert error["message"], value
    return error


def text_of(answer: Answer) -> str:
    """Raises `AssertionError` for an error, and for a stream without its end."""
    assert answer.status == 200, answer.body
    pieces = pieces_of(answer)
    assert not any(piece.get("error") for piece in pieces), pieces[-1]
    if _is_stream(answer):
        assert answer.body.endswith(b"data: [DONE]\n\n") or _ENDS & {str(pieces[-1].get("type"))} or _finished(pieces[-1]), pieces[-1]
    return "".join(map(_text, pieces))


def pieces_of(answer: Answer) -> list[dict[str, Any]]:
    """JSON objects: that of a reply, or those of a stream."""
    if not _is_stream(answer):
        return [answer.json()]
    data = [line.removeprefix(b"data: ") for line in answer.body.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line) for line in data if line != b"[DONE]"]


_ENDS = {"message_stop", "response.completed"}


def _is_stream(answer: Answer) -> bool:
    return answer.headers.get("content-type", "").startswith("text/event-stream")


def _finished(piece: dict[str, Any]) -> bool:
    return bool(piece.get("candidates") and piece["candidates"][0].get("finishReason"))


def _text(piece: dict[str, Any]) -> str:
    """Of one object of any dialect."""
    kind = str(piece.get("type", ""))
    if "choices" in piece:
        said = [choice.get("delta") or choice.get("message") or {} for choice in piece["choices"]]
        return "".join(each.get("content") or "" for each in said)
    if "candidates" in piece:
        parts = [part for candidate in piece["candidates"] for part in candidate.get("content", {}).get("parts", ())]
        return "".join(part.get("text", "") for part in parts if not part.get("thought"))
    if kind == "message":
        return "".join(block.get("text", "") for block in piece["content"])
    if kind == "content_block_delta":
        return str(piece["delta"].get("text", ""))
    if kind == "response.output_text.delta":
        return str(piece["delta"])
    items = piece.get("output", ()) if piece.get("object") == "response" else ()
    return "".join(part.get("text", "") for item in items if item["type"] == "message" for part in item["content"])
