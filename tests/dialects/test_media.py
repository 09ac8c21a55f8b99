"""Files on their way from one dialect to another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek, ReplyContext
from fkproxy.model.events import collect
from fkproxy.model.parts import Media, Seal

HELLO = "SGVsbG8="
CHAT, GEMINI = DIALECTS["openai_chat"], DIALECTS["gemini"]
CONTEXT = ReplyContext(reply_id="r", model="nano", created_s=1)


@pytest.mark.parametrize(("kind", "expected"), [("application/pdf", "file.pdf"), ("text/plain", "file.txt"), ("text/html", "file.html")])
@pytest.mark.parametrize("upstream", ["openai_chat", "openai_responses"])
def test_a_file_without_a_name_gets_one_that_says_what_it_is(upstream: str, kind: str, expected: str) -> None:
    asked: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": kind, "data": HELLO}}]}]}
    request = DIALECTS["gemini"].decode_request(json.dumps(asked).encode(), Peek(model="m"))
    body = json.loads(DIALECTS[upstream].encode_request(request, "m").body)
    (part,) = (body.get("messages") or body["input"])[0]["content"]
    assert part.get("file", part)["filename"] == expected


@pytest.mark.parametrize(("given", "told"), [("jpg", "jpeg"), ("jpeg", "jpeg"), ("png", "png")])
@pytest.mark.parametrize("upstream", ["anthropic", "gemini"])
def test_a_jpeg_has_its_registered_name(upstream: str, given: str, told: str) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/{given};base64,{HELLO}"}}
    asked = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    request = DIALECTS["openai_chat"].decode_request(json.dumps(asked).encode(), Peek(model="m"))
    body = DIALECTS[upstream].encode_request(request, "m").body
    assert f'"image/{told}"'.encode() in body
    assert body.count(b"image/") == 1


def inline(data: str, signature: str | None = None) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": data}, **({"thoughtSignature": signature} if signature else {})}


PARTS = [{"text": "One", "thoughtSignature": "b25l"}, inline("AAAA", "dHdv"), {"text": " and two."}, inline("BBBB", "c2l4")]


def made(parts: list[dict[str, Any]], stream: bool) -> dict[str, Any]:
    """The message that the vendor's own client has of an answer of Gemini's, as it sends it back."""
    reply = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    events = GEMINI.decode_reply(json.dumps(reply).encode())
    if not stream:
        return ChatCompletion.model_validate_json(CHAT.encode_reply(collect(events), CONTEXT)).choices[0].message.to_dict()
    encoder, state = CHAT.stream_encoder(CONTEXT), ChatCompletionStreamState()
    for line in b"".join(encoder.encode(event) for event in events).splitlines():
        if line and line != b"data: [DONE]":
            list(state.handle_chunk(ChatCompletionChunk.model_validate_json(line.removeprefix(b"data: "))))
    return state.get_final_completion().choices[0].message.to_dict()


def asked(message: dict[str, Any], upstream: str, model: str) -> tuple[Any, list[str]]:
    """(the body of the next turn, its losses)"""
    turns = [{"role": "user", "content": "draw"}, message, {"role": "user", "content": "bluer"}]
    body = json.dumps({"model": "nano", "messages": turns}).encode()
    encoded = DIALECTS[upstream].encode_request(CHAT.decode_request(body, Peek(model="nano")), model)
    return json.loads(encoded.body), [f"{loss.field} {loss.action}" for loss in encoded.losses]


@pytest.mark.parametrize("stream", [False, True])
def test_an_image_that_gemini_made_comes_back_to_it_in_the_next_turn(stream: bool) -> None:
    body, losses = asked(made(PARTS, stream), "gemini", "gemini-3-pro-image")
    text = {"text": "One and two.", "thoughtSignature": "b25l"}
    assert body["contents"][1] == {"role": "model", "parts": [text, inline("AAAA", "dHdv"), inline("BBBB", "c2l4")]}
    assert losses == []


@pytest.mark.parametrize(
    ("model", "signature"), [("gemini-3-pro-image", "skip_thought_signature_validator"), ("gemini-2.5-flash-image", None)]
)
def test_one_that_has_lost_its_signature_on_the_way_is_marked_where_that_is_wanted(model: str, signature: str | None) -> None:
    message = made([inline("AAAA")], stream=False)
    message["images"][0].pop("index")
    body, losses = asked(message, "gemini", model)
    assert body["contents"][1]["parts"] == [inline("AAAA", signature)]
    assert losses == []


def test_other_vendors_have_it_from_the_user() -> None:
    body, losses = asked(made([{"text": "Here."}, inline("AAAA")], stream=False), "anthropic", "claude-sonnet-4-5")
    assert [block["type"] for block in body["messages"][-1]["content"]] == ["text", "image", "text"]
    assert losses == ["messages[].media converted"]


@pytest.mark.parametrize(
    "images",
    [
        5,
        "AAAA",
        {"image_url": {"url": "https://example.com/a.png"}},
        ["AAAA"],
        [None],
        [{"type": "image_url"}],
        [{"image_url": {"url": "blob:1"}}],
        [{"image_url": {"url": "data:image/svg+xml,<svg/>"}}],
        [{"image_url": {"url": "data:image/png;base64,"}}],
        [{"image_url": {"url": "data:image/png;base64,…"}}],
        [{"image_url": {"url": "data:audio/wav;base64,AAAA"}}],
        [{"image_url": {"url": "https://example.com/a.png"}}, {}],
    ],
)
def test_what_is_no_image_among_a_clients_images_is_told_as_lost(images: Any) -> None:
    body, losses = asked({"role": "assistant", "content": "here", "images": images}, "gemini", "gemini-3-pro-image")
    assert body["contents"][1]["parts"] == [{"text": "here"}]
    assert losses == ["messages[].* dropped"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_of_the_same_dialect_gives_and_takes_it_as_it_is(stream: bool) -> None:
    message = made(PARTS, stream)
    reply = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    (choice,) = collect(CHAT.decode_reply(json.dumps(reply).encode())).choices
    assert [part.seal for part in choice.parts if isinstance(part, Media)] == [
        Seal(dialect="gemini", data=data) for data in ("dHdv", "c2l4")
    ]
    assert asked(message, "openai_chat", "nano")[0]["messages"][1]["images"] == message["images"]
