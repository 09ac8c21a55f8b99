"""Names that nobody answers for, beside others."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.http.resolver import Resolver
from fkproxy.model.errors import UpstreamTimeout, UpstreamUnavailable
from tests.fakes.upstream import FakeUpstream, reply

ASK = socket.getaddrinfo
MANY = 40


class Zone:
    """Nobody answers for `dead.test` until `given_up` is set."""

    def __init__(self) -> None:
        self.given_up = threading.Event()
        self.asked: list[Any] = []

    def ask(self, host: Any, *arguments: Any, **options: Any) -> Any:
        self.asked.append(host)
        if host == "dead.test":
            self.given_up.wait(120)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return ASK(host, *arguments, **options)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    zone = Zone()
    monkeypatch.setattr(socket, "getaddrinfo", zone.ask)
    yield zone
    zone.given_up.set()


async def test_a_dead_name_has_one_thread_and_nobody_else_waits_for_it(zone: Zone) -> None:
    async with FakeUpstream(reply(b"here")) as upstream:
        client = HttpClient(connect_timeout_s=0.05)
        dead = client.origin(f"http://dead.test:{upstream.port}")
        failed = await asyncio.gather(*(client.send(dead, "GET", "/", (), b"") for _ in range(MANY)), return_exceptions=True)
        assert {type(error) for error in failed} == {UpstreamTimeout}
        client.tune(60.0)
        waiting = asyncio.create_task(client.send(dead, "GET", "/", (), b""))
        exchange = await client.send(client.origin(f"http://localhost:{upstream.port}"), "GET", "/", (), b"")
        assert await exchange.head(30.0)
        exchange.close()
        assert not waiting.done()
        assert zone.asked.count("dead.test") == 1
        waiting.cancel()
        await client.aclose()


async def test_all_who_wait_are_told_each_for_himself_and_the_next_one_asks_anew(zone: Zone) -> None:
    resolver = Resolver()
    waiting = [asyncio.create_task(resolver.look_up("dead.test", 80)) for _ in range(3)]
    waiting[0].cancel()
    await asyncio.sleep(0)
    zone.given_up.set()
    left, *told = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(left, asyncio.CancelledError)
    assert [(type(error), getattr(error, "errno", None)) for error in told] == [(socket.gaierror, socket.EAI_AGAIN)] * 2
    assert told[0] is not told[1]
    with pytest.raises(socket.gaierror):
        await resolver.look_up("dead.test", 80)
    assert zone.asked == ["dead.test"] * 2
    found = await resolver.look_up("localhost", 80)
    assert {address[:2] for _, address in found} <= {("127.0.0.1", 80), ("::1", 80)}


async def test_a_thread_that_cannot_be_had_is_told_and_the_next_one_asks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    client = HttpClient()
    async with FakeUpstream(reply(b"here")) as upstream:
        origin = client.origin(f"http://localhost:{upstream.port}")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refused)
            with pytest.raises(UpstreamUnavailable, match="may not have another thread"):
                await client.send(origin, "GET", "/", (), b"")
        exchange = await client.send(origin, "GET", "/", (), b"")
        assert await exchange.head(30.0)
        exchange.close()
        await client.aclose()
