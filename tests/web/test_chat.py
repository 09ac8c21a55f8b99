"""The routes clients post to: methods, headers, forwarded addresses, cross-origin rules."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from fkproxy.model.errors import ConcurrencyExceeded, RequestTooLarge
from fkproxy.web.asgi import AsgiClient, Door, Inbound, Message, Receive, Send
from fkproxy.wire.late_event import BEGINNING
from tests.web.asking import App, chat

pytestmark = pytest.mark.leaps

KEY = "sk-web-tests-0123456789"
CHAT = "/v1/chat/completions"
SPOKEN: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}


async def test_an_answer_carries_its_headers() -> None:
    reply = await App().ask("POST", CHAT, body=chat())
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert int(reply.headers["content-length"]) == len(reply.body)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-ratelimit-limit"] == "100"
    assert reply.headers["x-ratelimit-remaining"] == "99"
    assert reply.headers["x-fkproxy-provider"] == "sandbox"


async def test_the_gemini_dialect_is_served_below_its_prefix() -> None:
    app = App()
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    for version in ("v1beta", "v1", "v1alpha"):
        reply = await app.ask("POST", f"/{version}/models/sandbox:generateContent", body=body)
        assert reply.json()["candidates"][0]["content"]["parts"][0]["text"]
    stream = await app.ask("POST", "/v1beta/models/sandbox:streamGenerateContent?alt=sse", body=body)
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.finished
    array = await app.ask("POST", "/v1beta/models/sandbox:streamGenerateContent", body=body)
    assert array.headers["content-type"].startswith("application/json")
    assert sorted(array.json()[0]) == ["candidates", "modelVersion", "responseId", "usageMetadata"]
    count = await app.ask("POST", "/v1beta/models/sandbox:countTokens", body=body)
    assert count.json()["totalTokens"] > 0
    refused = await app.ask("POST", "/v1beta/models/sandbox:predict", body=body)
    assert refused.status in (400, 404)
    assert refused.json()["error"]["status"]


@pytest.mark.parametrize(
    ("status", "model", "key", "body"),
    [(401, "sandbox", "", SPOKEN), (400, "sandbox", KEY, {}), (503, "sandbox?status=503", KEY, SPOKEN)],
)
async def test_who_asks_for_an_array_is_refused_in_one(status: int, model: str, key: str, body: dict[str, Any]) -> None:
    # llm-gemini reads the elements and looks at no status: without an array its users were told "list index out of range".
    app = App(APP_AUTH__MASTER_KEY=KEY, APP_ROUTING__MAX_ATTEMPTS="1")
    path = f"/v1beta/models/{quote(model)}"
    headers = {"x-goog-api-key": key}
    arrays = (":streamGenerateContent", ":streamGenerateContent?alt=json")
    for method in (*arrays, ":streamGenerateContent?alt=sse", ":generateContent"):
        reply = await app.ask("POST", path + method, body=body, headers=headers)
        told = reply.json()
        if method in arrays:
            (told,) = told
        assert (reply.status, told["error"]["code"]) == (status, status)
        assert int(reply.headers["content-length"]) == len(reply.body)
        assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("version", ["v1beta1", "v1"])
@pytest.mark.parametrize("where", ["", "projects/p%2F1/locations/us-central1/"])
async def test_the_gemini_dialect_is_served_where_vertex_ai_has_it(version: str, where: str) -> None:
    app = App()
    models = f"/{version}/{where}publishers/google/models"
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}], "systemInstruction": {"parts": [{"text": "be brief"}]}}
    for model in ("sandbox", "sandbox/sandbox", "sandbox%2Fsandbox"):
        reply = await app.ask("POST", f"{models}/{model}:generateContent", body=body)
        assert reply.json()["candidates"][0]["content"]["parts"][0]["text"]
    stream = await app.ask("POST", f"{models}/sandbox:streamGenerateContent?alt=sse", body=body)
    assert (stream.headers["content-type"].partition(";")[0], stream.finished) == ("text/event-stream", True)
    assert (await app.ask("POST", f"{models}/sandbox:countTokens", body=body)).json()["totalTokens"] > 0
    assert (await app.ask("HEAD", f"{models}/sandbox:generateContent")).status == 200
    for path, status in ((f"{models}/sandbox:computeTokens", 400), (f"{models}/sandbox", 400), (f"{models}/", 404), ("/v1beta1/x", 404)):
        refused = await app.ask("POST", path, body=body, headers={"x-goog-api-client": "google-genai-sdk/3.4.0"})
        assert (refused.status, refused.json()["error"]["code"]) == (status, status)
    assert (await app.ask("POST", f"{models}/sandbox:countTokens", body=b"[")).status == 400


@pytest.mark.parametrize("named", ["sandbox", "sandbox/sandbox", "sandbox%2Fsandbox(high)"])
async def test_what_openai_has_is_served_where_azure_has_it(named: str) -> None:
    app = App()
    deployment, version = f"/openai/deployments/{named}", "?api-version=2024-10-21"
    for at, model in ((deployment, "another"), ("/openai/v1", named.replace("%2F", "/"))):
        reply = await app.ask("POST", f"{at}/chat/completions{version}", body=chat(model))
        assert (reply.status, reply.json()["object"]) == (200, "chat.completion")
        reply = await app.ask("POST", f"{at}/completions{version}", body={"model": model, "prompt": "hello"})
        assert (reply.status, reply.json()["object"]) == (200, "text_completion")
    unnamed = await app.ask("POST", f"{deployment}/chat/completions", body={"messages": chat()["messages"], "stream": True})
    assert (unnamed.headers["content-type"].partition(";")[0], unnamed.finished) == ("text/event-stream", True)
    for at in ("/openai/responses", "/openai/v1/responses"):
        reply = await app.ask("POST", f"{at}{version}", body={"model": named.replace("%2F", "/"), "input": "hello", "store": False})
        assert (reply.status, reply.json()["object"]) == (200, "response")
    assert (await app.ask("POST", f"{deployment}/chat/completions", body=b"[")).json()["error"]["code"] == "invalid_request"
    assert (await app.ask("POST", f"{deployment}/images/generations", body={})).status == 404


async def test_messages_are_served_where_vertex_ai_has_them() -> None:
    app = App()
    models = "/v1/projects/p/locations/us-east5/publishers/anthropic/models"
    body = {"anthropic_version": "vertex-2023-10-16", "messages": [{"role": "user", "content": "hello"}]}
    for model in ("sandbox", "sandbox/sandbox", "sandbox%2Fsandbox(high)"):
        reply = await app.ask("POST", f"{models}/{model}:rawPredict", body={**body, "max_tokens": 9})
        assert (reply.status, reply.json()["type"]) == (200, "message")
        assert "anthropic_version" not in reply.headers.get("x-fkproxy-losses", "")
    stream = await app.ask("POST", f"{models}/sandbox:streamRawPredict", body={**body, "max_tokens": 9, "stream": True})
    assert (stream.headers["content-type"].partition(";")[0], stream.finished) == ("text/event-stream", True)
    count = await app.ask("POST", f"{models}/count-tokens:rawPredict", body={**body, "model": "sandbox"})
    assert count.json()["input_tokens"] > 0
    for path, sent, status in (("m:rawPredict", body, 400), ("m:rawPredict", b"[", 400), ("count-tokens:rawPredict", body, 400)):
        refused = await app.ask("POST", f"{models}/{path}", body=sent)
        assert (refused.status, refused.json()["type"]) == (status, "error")


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
async def test_a_call_may_be_compressed(coding: str, pack: Callable[[bytes], bytes]) -> None:
    reply = await App().ask("POST", CHAT, body=pack(json.dumps(chat()).encode()), headers={"content-encoding": coding})
    assert (reply.status, reply.json()["object"]) == (200, "chat.completion")


@pytest.mark.parametrize(
    ("coding", "body", "status", "code"),
    [
        ("zstd", b"\x28\xb5\x2f\xfd", 415, "unsupported_coding"),
        ("br", b"", 415, "unsupported_coding"),
        ("gzip", b"{}", 400, "invalid_request"),
        ("gzip", gzip.compress(bytes(2048)), 413, "request_too_large"),
    ],
)
async def test_who_compresses_otherwise_or_too_much_is_told_so(coding: str, body: bytes, status: int, code: str) -> None:
    app = App(APP_SERVER__MAX_REQUEST_SIZE="1024")
    reply = await app.ask("POST", "/v1/messages", body=body, headers={"content-encoding": coding})
    assert (reply.status, reply.json()["error"]["code"]) == (status, code)
    assert reply.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-goog-api-key", "api-key"])
async def test_the_key_is_found_wherever_the_dialects_put_it(header: str) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    for value, status in ((KEY, 200), (KEY + "x", 401), ("", 401)):
        value = f"Bearer {value}" if header == "authorization" else value
        assert (await app.ask("POST", CHAT, body=chat(), headers={header: value})).status == status


async def test_a_refusal_is_in_the_dialect_of_the_path() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    assert (await app.ask("POST", CHAT, body=chat())).json()["error"]["code"] == "invalid_api_key"
    assert (await app.ask("POST", "/v1beta/models/m:generateContent", body=b"{}")).json()["error"]["status"] == "UNAUTHENTICATED"
    assert (await app.ask("GET", "/v1beta/nothing")).json()["error"]["status"] == "NOT_FOUND"
    assert (await app.ask("GET", "/v1/nothing")).json()["error"]["code"] == "not_found"
    assert (await app.ask("POST", "/anthropic/v1/messages", body=b"{}")).json()["error"]["type"] == "not_found_error"


async def test_a_path_that_is_none_is_told_with_the_one_that_was_meant() -> None:
    refused = await App().ask("POST", "/chat/completions", body=chat())
    words = "there is no POST /chat/completions here, but there is /v1/chat/completions: look at the client's base URL"
    assert (refused.status, refused.json()["error"]["message"]) == (404, words)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_another_method_is_told_which_to_use(method: str) -> None:
    reply = await App().ask(method, CHAT)
    assert (reply.status, reply.headers["allow"]) == (405, "POST, HEAD, OPTIONS")
    assert (reply.body == b"") == (method == "HEAD")


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/openai/v1/responses", "/v1/messages"])
async def test_who_asks_for_a_websocket_is_told_to_go_on_without(path: str) -> None:
    """Codex CLI does so after a 426 only, and tries again after whatever else."""
    asking = {"connection": "keep-alive, Upgrade", "upgrade": "WebSocket", "sec-websocket-version": "13"}
    reply = await App().ask("GET", path, headers=asking)
    assert (reply.status, reply.headers["allow"]) == (426, "POST, HEAD, OPTIONS")
    assert (reply.headers["upgrade"], reply.headers["connection"]) == ("HTTP/1.1", "upgrade")
    assert reply.json()["error"]["message"] == "a WebSocket is not allowed here; use POST or HEAD or OPTIONS"
    for others in ({"upgrade": "h2c"}, {}):
        assert (await App().ask("GET", path, headers=others)).status == 405
    assert (await App().ask("POST", CHAT, body=chat(), headers={"connection": "Upgrade", "upgrade": "h2c"})).status == 200


async def test_forwarded_addresses_count_only_from_a_trusted_proxy() -> None:
    settings = {"APP_RATE_LIMIT__CAPACITY": "1", "APP_RATE_LIMIT__REFILL_PER_SECOND": "1"}
    trusting = App(APP_SERVER__TRUSTED_PROXIES="10.0.0.0/8", **settings)

    async def status(app: App, peer: str, forwarded: str) -> int:
        return (await app.ask("POST", CHAT, body=chat(), peer=peer, headers={"x-forwarded-for": forwarded})).status

    assert await status(trusting, "10.0.0.1", "203.0.113.1") == 200
    assert await status(trusting, "10.0.0.1", "203.0.113.1") == 429
    assert await status(trusting, "10.0.0.1", "203.0.113.2") == 200
    # What stands left of the last untrusted address is the client's own invention.
    assert await status(trusting, "10.0.0.1", "198.51.100.9, 203.0.113.2, 10.9.9.9") == 429
    distrusting = App(**settings)
    assert await status(distrusting, "10.0.0.1", "203.0.113.1") == 200
    assert await status(distrusting, "10.0.0.1", "203.0.113.2") == 429


@pytest.mark.parametrize("trusted", ["10.0.0.0/8", "::ffff:a00:0/104"])
@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1"])
@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("203.0.113.1:5555, 10.9.9.9:80", "203.0.113.1"),
        ("::ffff:203.0.113.1, ::ffff:10.9.9.9", "203.0.113.1"),
        ("[2001:DB8::1]:5", "2001:db8::1"),
        ("fe80::1%" + "x" * 10_000, "fe80::1"),
        ("203.0.113.1, somebody", None),
    ],
)
def test_a_forwarded_address_is_read_however_a_proxy_spells_it(trusted: str, peer: str, forwarded: str, client: str | None) -> None:
    scope = {"client": (peer, 40000), "headers": [(b"x-forwarded-for", forwarded.encode())]}
    assert Door(trusted_proxies=(trusted,), cors=None, static=[]).peer_of(scope) == (client or peer)


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (("203.0.113.9", "192.0.2.2"), "203.0.113.9"),
        (("198.51.100.1", "203.0.113.9, 192.0.2.3", "192.0.2.2"), "203.0.113.9"),
        (("192.0.2.2", "203.0.113.9"), "203.0.113.9"),
    ],
)
def test_each_proxy_may_add_a_line_of_its_own(lines: tuple[str, ...], client: str) -> None:
    scope = {"client": ("192.0.2.1", 40000), "headers": [(b"x-forwarded-for", line.encode()) for line in lines]}
    assert Door(trusted_proxies=("192.0.2.0/24",), cors=None, static=[]).peer_of(scope) == client


@pytest.mark.parametrize(
    "path",
    [
        CHAT,
        "/v1/completions",
        "/v1/responses",
        "/v1/responses/input_tokens",
        "/v1/messages",
        "/v1/embeddings",
        "/v1/models/sandbox:generateContent",
        "/v1beta/models/sandbox%3AcountTokens",
    ],
)
async def test_head_tells_whether_a_call_would_be_let_in_and_calls_nobody(path: str) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    good = await app.ask("HEAD", path, headers={"authorization": f"Bearer {KEY}"})
    assert (good.status, good.headers["content-type"], good.body) == (200, "application/json", b"")
    bad = await app.ask("HEAD", path)
    assert (bad.status, bad.headers["www-authenticate"], bad.body) == (401, "Bearer", b"")
    assert (await app.ask("GET", "/metrics", headers={"authorization": f"Bearer {KEY}"})).json()["total_requests"] == 0


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (CHAT, "POST, HEAD, OPTIONS"),
        ("/v1beta/models/sandbox:generateContent", "POST, HEAD, OPTIONS"),
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/v1/models/sandbox", "GET, HEAD, OPTIONS"),
        ("/v1/models/sandbox:8b", "GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options_tells_what_may_be_done_without_a_key(path: str, methods: str) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    told = await app.ask("OPTIONS", path)
    assert (told.status, told.headers["allow"], told.body) == (204, methods, b"")
    refused = await app.ask("DELETE", path)
    assert (refused.status, refused.headers["allow"]) == (405, methods)


async def test_a_stream_is_marked_as_one() -> None:
    reply = await App().ask("POST", CHAT, body=chat(stream=True))
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert reply.finished


async def test_legacy_completions_are_served() -> None:
    app = App()
    reply = await app.ask("POST", "/v1/completions", body={"model": "sandbox?text=Hi", "prompt": "hello"})
    assert reply.json()["choices"] == [{"text": "Hi", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    stream = await app.ask("POST", "/v1/completions", body={"model": "sandbox", "prompt": "hello", "stream": True})
    assert stream.headers["content-type"].startswith("text/event-stream")


def test_what_is_kept_of_a_head_has_a_bound() -> None:
    scope = {"method": "M" * 380_000, "raw_path": CHAT.encode(), "query_string": b""}
    inbound = Inbound(scope, None, {b"user-agent": b"a" * 380_000, b"x-request-id": b"i" * 380_000})
    assert (inbound.method, inbound.user_agent, len(inbound.request_id)) == ("other", "a" * 200, 24)


@pytest.mark.parametrize(
    ("pieces", "declared"), [((b'{"model":', b'"m"}'), 13), ((b'{"model":"m"}',), None), ((b"",), 0), ((b"", b"ab"), 2)]
)
async def test_a_body_is_over_when_its_declared_length_is_here(pieces: tuple[bytes, ...], declared: int | None) -> None:
    """Or when the server says so, where none was declared. What is not needed is not waited for."""
    inbox = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if not declared:
        inbox.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return inbox.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError

    headers = {b"content-length": b"%d" % declared} if declared is not None else {}
    client = _client(headers, receive, send)
    assert await client.read_body(100, _no_room) == b"".join(pieces)
    assert client.in_pieces is (len([piece for piece in pieces if piece]) > 1)
    assert not inbox


LENGTH = {b"content-length": b"90"}


@pytest.mark.parametrize(
    ("headers", "pieces", "bodies", "left"),
    [
        ({}, (), [b"no"], 0),
        ({b":method": b"GET", **LENGTH}, (b"a",), [b"no"], 1),
        ({b"content-length": b"0"}, (), [b"no"], 0),
        (LENGTH, (b"a", b"b", None), [b"n", b"o"], 0),
        ({b"transfer-encoding": b"chunked"}, (b"a", b"b", None), [b"n", b"o"], 0),
        (LENGTH, (b"a" * (64 << 20), b"b"), [b"n", b"o"], 1),
        ({**LENGTH, b"expect": b"100-continue"}, (b"a",), [b"no"], 1),
    ],
    ids=["no body", "GET", "empty", "declared", "chunked", "too much", "expects a word first"],
)
async def test_the_rest_of_a_body_that_nobody_wants_is_taken_before_a_refusal_ends(
    headers: dict[bytes, bytes], pieces: tuple[bytes | None, ...], bodies: list[bytes], left: int
) -> None:
    """None: the client has left, or sent all."""
    inbox, sent = list(pieces), []

    async def receive() -> Message:
        piece = inbox.pop(0)
        return {"type": "http.request", "body": piece, "more_body": True} if piece is not None else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    client = _client(headers, receive, send)
    await client.finish(b"no")
    await client.linger()
    assert [message["body"] for message in sent] == bodies
    assert [message["more_body"] for message in sent] == [True] * (len(bodies) - 1) + [False]
    assert len(inbox) == left


async def test_who_was_told_to_go_on_with_a_body_that_is_too_large_is_heard_to_its_end() -> None:
    inbox: list[Message] = [{"type": "http.request", "body": b"abc", "more_body": more} for more in (True, True, False)]
    sent = []

    async def receive() -> Message:
        return inbox.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["body"])

    client = _client({b"transfer-encoding": b"chunked", b"expect": b"100-continue"}, receive, send)
    with pytest.raises(RequestTooLarge):
        await client.read_body(2, _no_room)
    await client.finish(b"no")
    await client.linger()
    assert (sent, inbox) == ([b"n", b"o"], [])


async def test_who_does_not_send_what_nobody_wants_is_not_waited_for_long_nor_in_crowds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.web.asgi._LINGER_S", 0.01)
    sent: list[Message] = []

    async def receive() -> Message:
        return await asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        sent.append(message)

    client = _client(LENGTH, receive, send)
    await client.finish(b"no")
    await client.linger()
    assert [(message["body"], message["more_body"]) for message in sent] == [(b"n", True), (b"o", False)]
    crowded = Door(trusted_proxies=(), cors=None, static=[])
    crowded.lingering = 64
    client = _client(LENGTH, receive, send, crowded)
    await client.finish(b"no")
    await client.linger()
    assert (sent[2]["body"], sent[2]["more_body"], len(sent)) == (b"no", False, 3)


@pytest.mark.parametrize(
    ("array", "alive", "sent"),
    [
        (False, b": x\n\n", b": x\n\n: x\n\ndata: 1\n\ndata: 2\n\n: x\n\ndata: 3\n\n"),
        (False, BEGINNING, b"data:   1\n\ndata: 2\n\ndata:  3\n\n"),
        (True, BEGINNING, b"\n\n[1\n,2\n\n,3\n]"),
    ],
)
async def test_what_keeps_a_stream_alive_stands_between_its_events(array: bool, alive: bytes, sent: bytes) -> None:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    client = _client({}, _never, send)
    if array:
        client.as_json_array()
    for data in (None, None, b"data: 1\n\n", b"data: 2\n\n", None):
        assert (client.keep_alive(alive) if data is None else client.write(data)) is None
    await client.finish(b"data: 3\n\n")
    assert b"".join(message["body"] for message in messages) == sent


LARGE = 90_000


@pytest.mark.parametrize(
    ("headers", "body", "asked", "unread"),
    [
        ({b"content-length": b"90000"}, b"x" * LARGE, [LARGE], True),
        ({b"content-length": b"65536"}, b"x" * 65536, [], True),
        ({b"transfer-encoding": b"chunked"}, b"x" * LARGE, [1_000_000], False),
        ({b"transfer-encoding": b"chunked"}, b"x" * 65536, [], False),
        ({b"content-encoding": b"gzip", b"content-length": b"130"}, gzip.compress(b"x" * LARGE), [1_000_000], True),
    ],
)
async def test_there_is_room_for_a_large_body_before_more_than_a_small_one_of_it_is_read(
    headers: dict[bytes, bytes], body: bytes, asked: list[int], unread: bool
) -> None:
    """As much as it says; as much as it may become where that is not known."""
    pieces = [body[at : at + 32768] for at in range(0, len(body), 32768)]
    inbox: list[Message] = [{"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces]
    made: list[int] = []

    async def receive() -> Message:
        return inbox.pop(0)

    async def make_room(size_bytes: int) -> None:
        assert (len(inbox) == len(pieces)) is unread
        made.append(size_bytes)

    if b"content-length" in headers:
        headers = headers | {b"content-length": b"%d" % len(body)}
    assert len(await _client(headers, receive, _unsent).read_body(1_000_000, make_room)) >= 65536
    assert made == asked


async def test_who_is_refused_room_is_not_told_to_go_on() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def full(size_bytes: int) -> None:
        raise ConcurrencyExceeded(size_bytes)

    client = _client({b"content-length": b"90000", b"expect": b"100-continue"}, _never, send)
    with pytest.raises(ConcurrencyExceeded):
        await client.read_body(1_000_000, full)
    await client.finish(b"no")
    await client.linger()
    assert [message["body"] for message in sent] == [b"no"]


async def _no_room(size_bytes: int) -> None:
    raise AssertionError("a small body needs none")


async def _unsent(message: Message) -> None:
    raise AssertionError("nothing is sent")


async def _never() -> Message:
    raise AssertionError("nothing is read")


def _client(headers: dict[bytes, bytes], receive: Receive, send: Send, door: Door | None = None) -> AsgiClient:
    scope = {"method": headers.get(b":method", b"POST").decode(), "raw_path": CHAT.encode(), "query_string": b""}
    door = door or Door(trusted_proxies=(), cors=None, static=[])
    return AsgiClient(door, Inbound(scope, None, headers), receive, send)
