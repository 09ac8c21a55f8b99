"""What brings in more than a request says is refused elsewhere, and nothing is left out unsaid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Encoded
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.request import ChatRequest, Loss

BARE: dict[str, dict[str, Any]] = {
    "anthropic": {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": "hi"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "openai_chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "openai_responses": {"model": "m", "input": "hi"},
}


def decoded(dialect: str, fields: dict[str, Any]) -> ChatRequest:
    client = DIALECTS[dialect]
    body = json.dumps({**BARE[dialect], **fields}).encode()
    return client.decode_request(body, client.peek(body, "m:generateContent", ""))


def carried_to_others(dialect: str, fields: dict[str, Any]) -> list[Encoded]:
    request = decoded(dialect, fields)
    return [DIALECTS[target].encode_request(request, "m") for target in BARE if target != dialect]


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        ("openai_chat", {"web_search_options": {}}),
        ("openai_chat", {"data_sources": [{"type": "azure_search", "parameters": {}}]}),
        ("openai_chat", {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
        ("openai_chat", {"google": {"cached_content": "cachedContents/1"}}),
        ("openai_chat", {"extra_body": {"google": {"cached_content": "cachedContents/1", "thinking_config": {"thinking_budget": 0}}}}),
        ("openai_responses", {"previous_response_id": "resp_1"}),
        ("anthropic", {"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "a"}]}),
        ("anthropic", {"thread": {"type": "continue", "previous_message_id": "msg_1"}}),
        ("openai_chat", {"moderation": {"model": "omni-moderation-latest", "policy": {"output": {"mode": "block"}}}}),
        ("openai_responses", {"moderation": {"model": "omni-moderation-latest", "policy": {"input": {"mode": "block"}}}}),
        ("anthropic", {"max_tokens": 0}),
        ("gemini", {"cachedContent": "cachedContents/1"}),
        ("gemini", {"continuationToken": "AAAA"}),
        ("gemini", {"generationConfig": {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a", "b"]}}}),
        ("gemini", {"generationConfig": {"responseFormat": {"text": {"mimeType": "TEXT_X_ENUM", "schema": {"enum": ["a"]}}}}}),
        ("gemini", {"generationConfig": {"responseFormat": [{"image": {"aspectRatio": "1:1"}}]}}),
        ("gemini", {"generationConfig": {"speechConfig": {"languageCode": "de-DE"}}}),
        ("gemini", {"generationConfig": {"responseModalities": ["AUDIO"]}}),
        ("gemini", {"generation_config": {"response_modalities": "audio"}}),
    ],
)
def test_what_brings_in_more_than_the_request_says_is_refused_elsewhere(dialect: str, fields: dict[str, Any]) -> None:
    with pytest.raises(Unrepresentable):
        carried_to_others(dialect, fields)


def test_who_refers_to_an_item_is_told_what_helps() -> None:
    with pytest.raises(Unrepresentable, match="store: false"):
        carried_to_others("openai_responses", {"input": [{"role": "user", "content": "hi"}, {"type": "item_reference", "id": "msg_1"}]})


@pytest.mark.parametrize(
    ("dialect", "fields", "losses"),
    [
        ("anthropic", {"mcp_servers": []}, ()),
        ("gemini", {"safetySettings": []}, ()),
        ("gemini", {"generationConfig": {"responseMimeType": ""}}, ()),
        ("gemini", {"generationConfig": {"responseModalities": ["TEXT"]}}, ("generationConfig.*",)),
        ("openai_responses", {"moderation": {"model": "a-block-model", "policy": {"input": {"mode": "score"}}}}, ("moderation",)),
        ("openai_chat", {"moderation": {"model": "omni-moderation-latest"}}, ("moderation",)),
        ("openai_chat", {"extra_body": {"google": {"thinking_config": None}}}, ()),
        ("openai_chat", {"google": {"safety_settings": []}}, ("google.*",)),
        ("openai_chat", {"extra_body": {"foo": 1, "google": {}}}, ("extra_body.*",)),
        # A name such as decoders have for their own notes.
        *((dialect, {"generationConfig.*": "x", "metadata.*": 1}, ()) for dialect in DIALECTS),
        ("gemini", {"generationConfig": {"mine": 1}, "generationConfig.*": "x"}, ("generationConfig.*",)),
    ],
)
def test_nothing_is_left_out_unsaid(dialect: str, fields: dict[str, Any], losses: tuple[str, ...]) -> None:
    for encoded in carried_to_others(dialect, fields):
        assert encoded.losses == tuple(Loss(field=name, from_client=True) for name in losses)


@pytest.mark.parametrize("kind", ["inlineData", "fileData"])
def test_what_a_model_has_drafted_in_its_thoughts_is_a_thought(kind: str) -> None:
    held = {"mimeType": "image/png", **({"data": "aGk="} if kind == "inlineData" else {"fileUri": "https://example.com/draft.png"})}
    draft = {kind: held, "thought": True, "thoughtSignature": "c2ln"}
    user = {"role": "user", "parts": [{"text": "draw"}]}
    contents = [user, {"role": "model", "parts": [draft, {"text": "done"}]}, user]
    for encoded in carried_to_others("gemini", {"contents": contents}):
        told = json.dumps(json.loads(encoded.body))
        assert "done" in told
        assert "aGk=" not in told
        assert "draft.png" not in told
        assert Loss(field="reasoning") in encoded.losses
    request = decoded("gemini", {"contents": contents})
    assert json.loads(DIALECTS["gemini"].encode_request(request, "m").body)["contents"] == contents


def test_a_draft_that_the_user_shows_is_what_the_user_shows() -> None:
    shown = {"inlineData": {"mimeType": "image/png", "data": "aGk="}, "thought": True}
    for encoded in carried_to_others("gemini", {"contents": [{"role": "user", "parts": [{"text": "x"}, shown]}]}):
        assert "aGk=" in json.dumps(json.loads(encoded.body))


VENDORS_OWN = (
    "https://generativelanguage.googleapis.com/v1beta/files/abc",
    "https://www.youtube.com/watch?v=abc",
    "https://youtu.be/abc",
    "gs://bucket/a.pdf",
)


@pytest.mark.parametrize("uri", VENDORS_OWN)
@pytest.mark.parametrize("mime_type", [{}, {"mimeType": "application/pdf"}, {"mimeType": "image/png"}])
@pytest.mark.parametrize("target", ["anthropic", "openai_chat", "openai_responses"])
def test_what_is_at_an_address_that_only_its_vendor_reads_goes_to_no_other(uri: str, mime_type: dict[str, str], target: str) -> None:
    contents = [{"role": "user", "parts": [{"text": "x"}, {"fileData": {"fileUri": uri, **mime_type}}]}]
    request = decoded("gemini", {"contents": contents})
    assert json.loads(DIALECTS["gemini"].encode_request(request, "m").body)["contents"] == contents
    with pytest.raises(Unrepresentable) as caught:
        DIALECTS[target].encode_request(request, "m")
    assert caught.value.param == "a file by an address of its vendor's own"
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("dialect", "content", "target"),
    [
        ("openai_chat", {"type": "image_url", "image_url": {"url": "gs://bucket/a.png"}}, "openai_responses"),
        ("openai_chat", {"type": "image_url", "image_url": {"url": "gs://bucket/a.png"}}, "anthropic"),
        ("openai_chat", {"type": "file", "file": {"file_data": "gs://bucket/a.pdf"}}, "openai_responses"),
        ("anthropic", {"type": "image", "source": {"type": "url", "url": "gs://bucket/a.png"}}, "openai_chat"),
        ("anthropic", {"type": "image", "source": {"type": "url", "url": "gs://bucket/a.png"}}, "openai_responses"),
    ],
)
def test_what_is_at_no_address_of_the_web_goes_where_it_is_read(dialect: str, content: dict[str, Any], target: str) -> None:
    request = decoded(dialect, {"messages": [{"role": "user", "content": [content]}]})
    with pytest.raises(Unrepresentable) as caught:
        DIALECTS[target].encode_request(request, "m")
    assert caught.value.param == "a file by an address that is not on the web"
    assert "gs://bucket/a." in DIALECTS["gemini"].encode_request(request, "m").body.decode()
