"""The HTTP client against an upstream that does what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import resource
import socket
import ssl
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme

from fkproxy.adapters.http import HttpClient, Origin, Proxies
from fkproxy.adapters.http import client as client_module
from fkproxy.adapters.http.connection import HIGH_WATER_BYTES, MAX_HEAD_BYTES, HttpExchange
from fkproxy.model.errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable
from tests.fakes.cancelling import cancelled_at_each_wait
from tests.fakes.upstream import CHUNKED_HEAD, FakeUpstream, chunked, reply

WAIT_S = 30.0


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient(connect_timeout_s=WAIT_S)
    yield made
    await made.aclose()


async def post(client: HttpClient, origin: Origin, body: bytes = b"{}") -> HttpExchange:
    return await client.send(origin, "POST", "/x?y=1", [("content-type", "application/json")], body)


async def read(exchange: HttpExchange) -> bytes:
    assert await exchange.head(WAIT_S)
    body = b""
    while piece := await exchange.chunk(WAIT_S):
        body += piece
    return body


async def nothing_open(client: HttpClient) -> None:
    """Sockets close in a later turn of the loop, or when they have been idle for long enough."""
    async with asyncio.timeout(WAIT_S):
        while client.stats.open:  # noqa: ASYNC110 - the client has no event for it and needs none
            await asyncio.sleep(0.005)


async def test_a_request_is_what_was_asked_for(client: HttpClient) -> None:
    async with FakeUpstream(reply(b'{"a":1}', x_multi="1")) as upstream:
        exchange = await post(client, client.origin(upstream.url + "/base/"), b"hello")
        assert await read(exchange) == b'{"a":1}'
        assert (exchange.status, exchange.headers["x-multi"]) == (200, "1")
        (asked,) = upstream.asked
        assert asked.line == "POST /base/x?y=1 HTTP/1.1"
        assert asked.headers["host"] == f"127.0.0.1:{upstream.port}"
        assert (asked.headers["content-length"], asked.body) == ("5", b"hello")


async def test_a_connection_is_used_again_only_after_a_whole_reply(client: HttpClient) -> None:
    async with FakeUpstream(reply()) as upstream:
        origin = client.origin(upstream.url)
        for _ in range(5):
            exchange = await post(client, origin)
            await read(exchange)
            exchange.close()
        assert (upstream.connections, client.stats.reused, client.stats.idle) == (1, 4, 1)


async def test_a_reply_that_says_close_ends_its_connection(client: HttpClient) -> None:
    async with FakeUpstream(reply(connection="close")) as upstream:
        origin = client.origin(upstream.url)
        for _ in range(2):
            await read(await post(client, origin))
        assert (upstream.connections, client.stats.idle) == (2, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_chunked_body_is_whole_however_it_is_cut(client: HttpClient, size: int) -> None:
    data = CHUNKED_HEAD + chunked(b"data: a\n\n", b"x" * 300, b"data: [DONE]\n\n")
    async with FakeUpstream([data[at : at + size] for at in range(0, len(data), size)]) as upstream:
        assert await read(await post(client, client.origin(upstream.url))) == b"data: a\n\n" + b"x" * 300 + b"data: [DONE]\n\n"
        assert client.stats.idle == 1


async def test_a_body_without_a_length_ends_with_its_connection(client: HttpClient) -> None:
    async with FakeUpstream([b"HTTP/1.1 200 OK\r\n\r\nhello ", b"world", None]) as upstream:
        exchange = await post(client, client.origin(upstream.url))
        with contextlib.suppress(UpstreamUnavailable):
            assert await read(exchange) in (b"hello world", b"hello ")


async def test_interim_replies_and_empty_ones_are_understood(client: HttpClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with FakeUpstream([interim + b"HTTP/1.1 204 No Content\r\n\r\n"], reply(b"ok")) as upstream:
        origin = client.origin(upstream.url)
        first = await post(client, origin)
        assert await read(first) == b""
        assert first.status == 204
        assert await read(await post(client, origin)) == b"ok"
        assert upstream.connections == 1


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_reply_is_unpacked(client: HttpClient, coding: str, pack: object) -> None:
    assert callable(pack)
    body: bytes = pack(b'{"a":' + b"1" * 5000 + b"}")
    async with FakeUpstream(reply(body, content_encoding=coding)) as upstream:
        assert await read(await post(client, client.origin(upstream.url))) == b'{"a":' + b"1" * 5000 + b"}"


@pytest.mark.parametrize(
    "script",
    [
        [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", None],
        [CHUNKED_HEAD + b"5\r\nhel", None],
        [CHUNKED_HEAD + b"5\r\nhello\r\n", None],
    ],
)
async def test_a_reply_that_breaks_off_is_an_error_behind_what_came(client: HttpClient, script: list[bytes | None]) -> None:
    async with FakeUpstream(script) as upstream:
        exchange = await post(client, client.origin(upstream.url))
        with pytest.raises(UpstreamUnavailable):
            await read(exchange)
        assert client.stats.idle == 0


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * (MAX_HEAD_BYTES + 10) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;" + b"y" * (16 * MAX_HEAD_BYTES),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n.\r\n0\r\ntrailer: " + b"y" * (16 * MAX_HEAD_BYTES),
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_what_is_not_http_is_said_so(client: HttpClient, data: bytes) -> None:
    async with FakeUpstream([data, asyncio.Event().wait]) as upstream:  # type: ignore[list-item]  # waits for ever, returns nothing
        exchange = await post(client, client.origin(upstream.url))
        with pytest.raises(UpstreamProtocolError):
            await read(exchange)


@pytest.mark.parametrize("junk", [b"0\r\ntrailer: ", b"5;extension="])
async def test_what_is_no_body_has_a_bound_while_nobody_reads_what_is(client: HttpClient, junk: bytes) -> None:
    flood = junk + b"y" * (16 * MAX_HEAD_BYTES)
    async with FakeUpstream([CHUNKED_HEAD + b"1\r\n.\r\n", flood, asyncio.Event().wait]) as upstream:  # type: ignore[list-item]  # waits for ever
        exchange = await post(client, client.origin(upstream.url))
        assert await exchange.head(WAIT_S)
        async with asyncio.timeout(WAIT_S):
            while client.stats.open:  # noqa: ASYNC110 - the client tells nobody
                await asyncio.sleep(0.01)
        assert await exchange.chunk(WAIT_S) == b"."
        with pytest.raises(UpstreamProtocolError):
            await exchange.chunk(WAIT_S)


@pytest.mark.parametrize("cuts", [[], [30], [40_000, 60_000]])
async def test_a_head_within_its_bound_is_taken_however_it_is_cut(client: HttpClient, cuts: list[int]) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"x:  y\r\n" * 10_000 + b"content-length: 2\r\n\r\n"
    pieces = [head[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(head)], strict=True)]
    async with FakeUpstream([*pieces, b"ok"]) as upstream:
        assert await read(await post(client, client.origin(upstream.url))) == b"ok"


async def test_an_idle_connection_that_the_server_closed_is_replaced_without_a_word(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fkproxy.adapters.http.connection._STALE_S", WAIT_S)
    async with FakeUpstream([*reply(b"1"), None], reply(b"2")) as upstream:
        origin = client.origin(upstream.url)
        assert await read(await post(client, origin)) == b"1"
        assert await read(await post(client, origin)) == b"2"


@pytest.mark.parametrize("begun", [b"\r\n", b"H", b"HTTP/1.1 200 OK\r\n", b"nonsense\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
async def test_a_request_that_was_answered_at_all_is_not_sent_again(client: HttpClient, begun: bytes) -> None:
    async with FakeUpstream(reply(b"1"), [begun, None], reply(b"3")) as upstream:
        origin = client.origin(upstream.url)
        assert await read(await post(client, origin)) == b"1"
        with pytest.raises((UpstreamProtocolError, UpstreamUnavailable)):
            await read(await post(client, origin))
        assert (len(upstream.asked), upstream.connections) == (2, 1)


@pytest.mark.parametrize("short_waits", [0, 10])
async def test_a_request_that_was_under_way_for_long_is_not_sent_again(
    client: HttpClient, short_waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fkproxy.adapters.http.connection._STALE_S", 0.05 if short_waits else -1.0)
    go = asyncio.Event()
    async with FakeUpstream(reply(b"1"), [go.wait, None], reply(b"3")) as upstream:  # type: ignore[arg-type]  # a wait may return something
        origin = client.origin(upstream.url)
        assert await read(await post(client, origin)) == b"1"
        exchange = await post(client, origin)
        for _ in range(short_waits):
            assert not await exchange.head(0.01)
        go.set()
        with pytest.raises(UpstreamUnavailable):
            await exchange.head(WAIT_S)
        assert (len(upstream.asked), upstream.connections) == (2, 1)


async def test_a_fresh_connection_that_breaks_is_not_tried_again(client: HttpClient) -> None:
    async with FakeUpstream([None]) as upstream:
        exchange = await post(client, client.origin(upstream.url))
        with pytest.raises(UpstreamUnavailable):
            await exchange.head(WAIT_S)
        assert len(upstream.asked) == 1


async def test_a_wait_ends_at_its_deadline_and_can_be_taken_up_again(client: HttpClient) -> None:
    go, on = asyncio.Event(), asyncio.Event()
    script = [go.wait, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", on.wait, b"ok"]
    async with FakeUpstream(script) as upstream:  # type: ignore[arg-type]  # a wait may return something
        exchange = await post(client, client.origin(upstream.url))
        assert await exchange.head(0.01) is False
        go.set()
        assert await exchange.head(WAIT_S) is True
        assert await exchange.chunk(0.01) is None
        on.set()
        assert await read(exchange) == b"ok"


async def test_closing_in_the_middle_is_seen_by_the_upstream_at_once(client: HttpClient) -> None:
    async with FakeUpstream([CHUNKED_HEAD + b"5\r\nhello\r\n"], reply()) as upstream:
        origin = client.origin(upstream.url)
        exchange = await post(client, origin)
        assert await exchange.head(WAIT_S)
        assert await exchange.chunk(WAIT_S) == b"hello"
        exchange.close()
        await asyncio.wait_for(upstream.closed_by_peer.wait(), WAIT_S)
        await nothing_open(client)
        assert await read(await post(client, origin)) == b"{}"


async def test_a_task_that_is_cancelled_while_it_waits_leaves_nothing_behind(client: HttpClient) -> None:
    async with FakeUpstream([asyncio.Event().wait]) as upstream:  # type: ignore[list-item]  # waits for ever

        async def ask() -> None:
            exchange = await post(client, client.origin(upstream.url))
            try:
                await exchange.head(60.0)
            finally:
                exchange.close()

        task = asyncio.create_task(ask())
        await upstream.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_open(client)


async def test_a_reader_that_is_slow_holds_the_upstream_back(client: HttpClient) -> None:
    size = 64 * HIGH_WATER_BYTES
    async with FakeUpstream(reply(b"x" * size)) as upstream:
        exchange = await post(client, client.origin(upstream.url))
        assert await exchange.head(WAIT_S)
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert exchange.buffered_bytes < 4 * HIGH_WATER_BYTES
        assert len(await read(exchange)) == size


async def test_many_at_once(client: HttpClient) -> None:
    async with FakeUpstream(reply(b"ok")) as upstream:
        origin = client.origin(upstream.url)

        async def one() -> bytes:
            return await read(await post(client, origin))

        assert await asyncio.gather(*(one() for _ in range(200))) == [b"ok"] * 200
        assert client.stats.open == client.stats.idle <= 200


async def test_idle_connections_are_bounded_in_number_and_time() -> None:
    kept, dropped = HttpClient(max_idle_per_origin=3), HttpClient(idle_timeout_s=0.05, max_idle_per_origin=3)
    async with FakeUpstream(reply()) as upstream:
        for client in (kept, dropped):
            origin = client.origin(upstream.url)
            await asyncio.gather(*(read(exchange) for exchange in [await post(client, origin) for _ in range(10)]))
            assert client.stats.idle <= 3
        assert kept.stats.idle == 3
        await nothing_open(dropped)
        await read(await post(dropped, origin))
        await nothing_open(dropped)
        assert kept.stats.idle == 3
    for client in (kept, dropped):
        await client.aclose()


async def test_closing_the_client_ends_what_is_under_way(client: HttpClient) -> None:
    async with FakeUpstream([asyncio.Event().wait]) as upstream:  # type: ignore[list-item]  # waits for ever
        exchange = await post(client, client.origin(upstream.url))
        waiting = asyncio.create_task(exchange.head(WAIT_S))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(UpstreamUnavailable):
            await waiting
        with pytest.raises(UpstreamUnavailable):
            await post(client, client.origin(upstream.url))


async def test_a_connection_that_is_made_while_the_client_closes_is_closed_too(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = client_module.connect

    async def late(*given: Any) -> Any:
        await client.aclose()
        return await connect(*given)

    monkeypatch.setattr(client_module, "connect", late)
    async with FakeUpstream(reply()) as upstream:
        with pytest.raises(UpstreamUnavailable, match="shutting down"):
            await post(client, client.origin(upstream.url))
        await nothing_open(client)


async def test_nobody_there_is_said_without_an_address(client: HttpClient) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        origin = client.origin(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(UpstreamUnavailable) as caught:
            await post(client, origin)
    assert "127.0.0.1" not in str(caught.value)
    with pytest.raises(UpstreamUnavailable) as caught:
        await post(client, client.origin("http://name-that-does-not-exist.invalid"))
    assert "invalid" not in str(caught.value)


async def test_where_no_descriptor_is_left_that_is_ours(client: HttpClient) -> None:
    origin = client.origin("http://127.0.0.1:9")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(UpstreamUnavailable, match="descriptors") as caught:
            await post(client, origin)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.ours
    with pytest.raises(UpstreamUnavailable) as caught:
        await post(client, origin)
    assert not caught.value.ours


async def test_a_server_that_does_not_accept_is_given_up() -> None:
    client = HttpClient(connect_timeout_s=0.05)
    async with FakeUpstream(reply()) as upstream:
        # It speaks plain HTTP and says nothing to a TLS hello for ever.
        origin = client.origin(upstream.url.replace("http://", "https://"))
        with pytest.raises((UpstreamTimeout, UpstreamUnavailable)):
            await post(client, origin)
    await client.aclose()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_tls_is_verified(authority: trustme.CA) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with FakeUpstream(reply(b"secret"), ssl_context=server_context(authority, "localhost")) as upstream:
        client = HttpClient(ssl_context=trusting)
        assert await read(await post(client, client.origin(upstream.url))) == b"secret"
        await client.aclose()
        distrusting = HttpClient()
        with pytest.raises(UpstreamUnavailable, match=r"(?i)certificate|TLS"):
            await post(distrusting, distrusting.origin(upstream.url))
        await distrusting.aclose()
    async with FakeUpstream(reply(), ssl_context=server_context(authority, "elsewhere.example")) as upstream:
        client = HttpClient(ssl_context=trusting)
        with pytest.raises(UpstreamUnavailable, match=r"(?i)certificate|TLS"):
            await post(client, client.origin(upstream.url))
        await client.aclose()


async def test_a_control_call_is_bounded_in_time_and_size(client: HttpClient) -> None:
    async with FakeUpstream(reply(b"x" * 1000), [asyncio.Event().wait]) as upstream:  # type: ignore[list-item]  # waits for ever
        origin = client.origin(upstream.url)
        with pytest.raises(UpstreamProtocolError):
            await client.fetch(origin, "GET", "/", [], b"", timeout_s=WAIT_S, limit_bytes=100)
        with pytest.raises(UpstreamTimeout):
            await client.fetch(origin, "GET", "/", [], b"", timeout_s=0.05, limit_bytes=100)
        await nothing_open(client)


async def test_a_plain_proxy_gets_the_absolute_form() -> None:
    async with FakeUpstream(reply(b"via")) as proxy:
        client = HttpClient(proxies=Proxies(http_url=f"http://user:p%40ss@127.0.0.1:{proxy.port}", no_proxy="direct.example"))
        assert await read(await post(client, client.origin("http://upstream.example/v1"))) == b"via"
        (asked,) = proxy.asked
        assert asked.target == "http://upstream.example/v1/x?y=1"
        assert asked.headers["host"] == "upstream.example"
        assert asked.headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"
        assert client.origin("http://upstream.example/v1", proxy="direct").address.proxy is None
        await client.aclose()


async def test_tls_goes_through_a_tunnel_and_a_refused_one_is_said_so() -> None:
    async with FakeUpstream([b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"]) as proxy:
        client = HttpClient(proxies=Proxies(https_url=f"http://127.0.0.1:{proxy.port}"))
        with pytest.raises(UpstreamUnavailable, match="proxy"):
            await post(client, client.origin("https://upstream.example"))
        assert proxy.asked[0].line == "CONNECT upstream.example:443 HTTP/1.1"
        await client.aclose()


async def test_an_endpoint_keeps_its_path_and_query(client: HttpClient) -> None:
    async with FakeUpstream(reply()) as upstream:
        for suffix, target in (("", "/"), ("/token/", "/token/"), ("/a%20b?x=1&y=%2F", "/a%20b?x=1&y=%2F"), ("?x", "/?x")):
            origin, path = client.endpoint(upstream.url + suffix)
            status, _, _ = await client.fetch(origin, "POST", path, [], b"{}", timeout_s=WAIT_S, limit_bytes=100)
            assert (status, upstream.asked[-1].target) == (200, target)


@pytest.mark.parametrize(
    "url",
    ["", "canary", "ftp://canary/", "https://u:canary@h/", "https://h/#canary", "http://[canary", "https://h/ canary", "https://h:0/"],
)
def test_an_endpoint_that_is_none_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|endpoint|host") as caught:
        HttpClient().endpoint(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (["169.254.169.254"], "leads to a link-local address"),
        (["::ffff:169.254.169.254", "fe80::1%1", "fd00:ec2::254"], "leads to a link-local address"),
        (["fd20:ce::254", "192.0.0.192"], "leads to a link-local address"),
        (["169.254.169.254", "127.0.0.1"], None),
    ],
)
async def test_a_name_does_not_lead_to_where_machines_keep_credentials(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, found: list[str], words: str | None
) -> None:
    """Though it led elsewhere when it was written down."""
    async with FakeUpstream(reply(b"{}")) as upstream:

        def resolved(host: str, port: int, *, type: int) -> list[object]:  # noqa: A002 - as it is called
            families = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in found]
            return [(family, type, 6, "", (each, port)) for family, each in zip(families, found, strict=True)]

        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        origin = client.origin(f"http://rebound.example:{upstream.port}")
        with contextlib.nullcontext() if words is None else pytest.raises(UpstreamUnavailable, match=words):
            assert await read(await post(client, origin)) == b"{}"
        assert len(upstream.asked) == (words is None)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_who_gives_up_while_it_is_asked_leaves_no_connection(authority: trustme.CA, encrypted: bool) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with FakeUpstream(reply(b"{}"), ssl_context=server_context(authority, "localhost") if encrypted else None) as upstream:
        client = HttpClient(connect_timeout_s=WAIT_S, ssl_context=trusting)
        url = f"https://localhost:{upstream.port}" if encrypted else upstream.url

        async def ask() -> None:
            exchange = await post(client, client.origin(url))
            try:
                await read(exchange)
            finally:
                exchange.close()

        async for _ in cancelled_at_each_wait(ask):
            while (kept := client.origin(url).pool.take()) is not None:
                kept.cut()
            await nothing_open(client)
        await client.aclose()
