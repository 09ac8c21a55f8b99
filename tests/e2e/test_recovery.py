"""Outages as they happen under load, and how the traffic comes back: a token that ends, a limit, a dead primary, a changed file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.processes import Service, TokenEndpoint, ask, free_port, service
from tests.e2e.storm import KINDS, Answer, storm
from tests.e2e.storm import ask as call
from tests.e2e.weather import until
from tests.fakes.chaos import HANG, Vendor, completion, pause, stream, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

COOLDOWN_S = 1.0
BREAKER_S = 1
SETTINGS = {
    "APP_RATE_LIMIT__ENABLED": "false",
    "APP_COOLDOWN__MAX_SECS": str(COOLDOWN_S),
    "APP_CIRCUIT_BREAKER__TIMEOUT_SECS": str(BREAKER_S),
    "APP_SERVER__DRAIN_TIMEOUT_SECS": "60",
}
CALLS_A_SECOND = 50
OUTAGE_CALLS = 250
"""Of each half of an outage."""
PROBE_INTERVAL_S = max(COOLDOWN_S, BREAKER_S)
"""The longest that an upstream is left alone before a call finds out."""


@pytest_asyncio.fixture(loop_scope="module")
async def vendors() -> AsyncIterator[tuple[Vendor, Vendor]]:
    both = Vendor(free_port()), Vendor(free_port())
    for vendor in both:
        await vendor.up()
    yield both
    for vendor in both:
        await vendor.aclose()


def provider(name: str, vendor: Vendor, *credentials: str, more: str = "") -> str:
    listed = ", ".join(f"{{ {credential} }}" for credential in credentials)
    return f"""
[[providers]]
name = "{name}"
adapter = "openai"
base_url = "{vendor.url}"
models = ["m"]
{more}
credentials = [{listed}]
"""


def key(name: str) -> str:
    return f'name = "{name}", key = "key-{name}"'


def in_use(running: Service) -> dict[str, Any]:
    """State of each upstream, by credential."""
    return {entry["credential"]: entry for entry in ask(f"{running.url}/health").json()["upstreams"]}


def opened(running: Service) -> set[str]:
    """Whose breaker was open once, by credential, as far as the log has it by now."""
    return {line["credential"] for line in running.lines() if line.get("msg") == "circuit breaker" and line["to"] == "open"}


def failures(answers: list[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.verdict != "ok"]


async def test_a_refused_token_is_renewed_once_for_fifty_calls(vendors: tuple[Vendor, Vendor], tmp_path: Path) -> None:
    endpoint = TokenEndpoint("token-two")
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"access_token": "token-one", "refresh_token": "refresh-one", "client_id": "of-the-tests"}))
    file = tmp_path / "providers.toml"
    file.write_text(provider("one", vendors[0], f'name = "a", token_file = "{tokens}", token_endpoint = "{endpoint.url}"'))
    vendors[0].accepts = lambda token: token == "token-two"
    with service(tmp_path, APP_PROVIDERS_FILE=str(file), **SETTINGS) as running:
        answers = await storm(running.port, "m")
        assert not failures(answers)
        assert len(endpoint.grants) == 1
        assert "refresh-one" in endpoint.grants[0]
        assert json.loads(tokens.read_text())["access_token"] == "token-two"
        lines = await asyncio.to_thread(running.access_lines, 50)
        assert {line.get("error_code") for line in lines} == {None}
        assert any("credential_renewed" in line.get("notes", ()) for line in lines)
        assert in_use(running)["a"]["state"] == "active"
        asked = vendors[0].asked["token-one"]
        assert not failures(await storm(running.port, "m"))
        assert vendors[0].asked["token-one"] == asked, "nobody uses the old one any more"
    endpoint.close()


async def test_nobody_sees_the_limit_of_one_of_three_credentials(vendors: tuple[Vendor, Vendor], tmp_path: Path) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(provider("one", vendors[0], key("a"), key("b"), key("c"), more='strategy = "round_robin"'))

    def limited(after_s: int) -> list[bytes]:
        body = b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}'
        return whole(body, "429 Too Many Requests", retry_after=after_s)

    with service(tmp_path, APP_PROVIDERS_FILE=str(file), **{**SETTINGS, "APP_COOLDOWN__MAX_SECS": "3600"}) as running:
        vendors[0].faults["key-b"] = (limited(1), limited(1))
        assert not failures(await storm(running.port, "m"))
        entry = in_use(running)["b"]["models"]["m"]
        assert (entry["state"], entry["cause"]) == ("limited", "rate_limited")
        vendors[0].faults.clear()
        vendors[0].asked.clear()

        async def again() -> int:
            assert not failures(await storm(running.port, "m", 6))
            return vendors[0].asked["key-b"]

        await until(again, lambda asked: asked >= 2)
        assert in_use(running)["b"]["state"] == "active"
        vendors[0].faults["key-b"] = (limited(3600), limited(3600))
        assert not failures(await storm(running.port, "m"))
        asked = vendors[0].asked["key-b"]
        answers = [answer for _ in range(5) for answer in await storm(running.port, "m")]
        assert not failures(answers)
        assert vendors[0].asked["key-b"] == asked, "its hold keeps calls away"


class Steady:
    """Calls at an even pace, each kind in turn, and whatever became of them."""

    def __init__(self, port: int, per_second: float) -> None:
        self.answers: list[Answer] = []
        self.errors: Counter[str] = Counter()
        self._port = port
        self._pause_s = 1 / per_second

    @asynccontextmanager
    async def going(self) -> AsyncIterator[Steady]:
        calls: set[asyncio.Task[None]] = set()
        pacing = asyncio.create_task(self._pace(calls))
        try:
            yield self
        finally:
            pacing.cancel()
            await asyncio.gather(pacing, *calls, return_exceptions=True)

    async def _pace(self, calls: set[asyncio.Task[None]]) -> None:
        number = 0
        while True:
            task = asyncio.create_task(self._call(number))
            calls.add(task)
            task.add_done_callback(calls.discard)
            number += 1
            await asyncio.sleep(self._pause_s)

    async def _call(self, number: int) -> None:
        try:
            self.answers.append(await call(self._port, KINDS[number % len(KINDS)], "m", f"call {number}"))
        except (OSError, TimeoutError, ValueError) as error:
            self.errors[repr(error)] += 1

    def check(self) -> None:
        """Everybody was served."""
        assert not self.errors
        assert not failures(self.answers), failures(self.answers)[:3]


async def more(vendor: Vendor, calls: int) -> None:
    """Until so many more have come to this vendor."""
    before = vendor.asked.total()
    await until(lambda: asyncio.sleep(0, vendor.asked), lambda asked: asked.total() >= before + calls)


async def test_a_dead_primary_is_not_noticed_and_comes_back(vendors: tuple[Vendor, Vendor], tmp_path: Path) -> None:
    """First it refuses connections, then it takes them and says nothing."""
    primary, spare = vendors
    file = tmp_path / "providers.toml"
    timeouts = "timeouts = { connect = 20, first_byte = 2, silence = 20 }"
    file.write_text(provider("one", primary, key("a"), key("b"), more=timeouts) + provider("two", spare, key("c")))
    with service(tmp_path, APP_PROVIDERS_FILE=str(file), **SETTINGS) as running:
        async with Steady(running.port, CALLS_A_SECOND).going() as load:
            await until(lambda: asyncio.sleep(0, primary.asked), lambda asked: len(asked) == 2)
            await primary.down()
            await more(spare, OUTAGE_CALLS)
            primary.faults = dict.fromkeys(("key-a", "key-b"), ([HANG], [HANG]))
            await primary.up()
            await more(spare, OUTAGE_CALLS)
            states = await asyncio.to_thread(in_use, running)
            assert {states[name]["state"] for name in "ab"} == {"limited"}
            assert max(states[name].get("retry_after_s", 0.0) for name in "ab") <= PROBE_INTERVAL_S
            primary.faults.clear()
            primary.asked.clear()
            await until(lambda: asyncio.sleep(0, primary.asked), lambda asked: len(asked) == 2)
            await until(lambda: asyncio.to_thread(in_use, running), all_well)

            async def elsewhere() -> int:
                served = spare.asked["key-c"]
                await more(primary, 2 * CALLS_A_SECOND)
                return spare.asked["key-c"] - served

            # On a busy machine one or the other may be late once more.
            await until(elsewhere, lambda asked: asked <= 2)
        load.check()
        lines = await asyncio.to_thread(running.access_lines, len(load.answers))
        assert len(lines) == len(load.answers)
        assert max(line["attempts"] for line in lines) <= 3
        assert not any("retry_budget" in line.get("notes", ()) for line in lines)


async def test_a_spare_that_nobody_asked_since_an_outage_serves_everybody_at_once(vendors: tuple[Vendor, Vendor], tmp_path: Path) -> None:
    primary, spare = vendors
    file = tmp_path / "providers.toml"
    file.write_text(provider("one", primary, key("a")) + provider("two", spare, key("c")))
    broken = whole(b"{}", "500 Internal Server Error")
    primary.faults["key-a"] = spare.faults["key-c"] = (broken, broken)
    with service(tmp_path, APP_PROVIDERS_FILE=str(file), **SETTINGS, APP_ROUTING__MAX_WAIT_SECS="0") as running:
        assert len(failures(await storm(running.port, "m"))) == 50
        await until(lambda: asyncio.to_thread(opened, running), lambda names: names == {"a", "c"})
        primary.faults.clear()
        await until(lambda: storm(running.port, "m", 4), lambda answers: not failures(answers))
        thinks = pause(2 * PROBE_INTERVAL_S)
        spare.faults["key-c"] = ([thinks, *whole(completion())], [thinks, *stream()])
        await until(
            lambda: asyncio.to_thread(in_use, running), lambda found: found["c"]["breaker"] != "open" and "retry_after_s" not in found["c"]
        )
        primary.faults["key-a"] = (broken, broken)
        answers = await storm(running.port, "m")
        assert not failures(answers), failures(answers)[:3]


def all_well(found: dict[str, Any]) -> bool:
    return all((entry["state"], entry["breaker"]) == ("active", "closed") for entry in found.values())


class Reloaded(Service):
    """A service whose main process may be another one than the first."""

    @property
    def main(self) -> int:
        return int(ask(f"{self.url}/health").json()["pid"])

    def logged(self, words: str) -> bool:
        return words in self.log.read_text()

    def first_ends(self) -> int:
        """Its exit code, when what was under way is over."""
        return self._child.wait(50)

    def end(self) -> None:
        """Stop whoever serves now. Where that is another process the first one ends by itself, with its calls."""
        if (main := self.main) != self.pid:
            os.kill(main, signal.SIGTERM)
            self._child.wait(60)
        assert self.stop() == 0
        deadline = time.monotonic() + 60
        while Path(f"/proc/{main}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)


async def test_a_changed_file_is_taken_under_load_and_a_broken_one_is_not(vendors: tuple[Vendor, Vendor], tmp_path: Path) -> None:
    old, new = vendors
    file = tmp_path / "providers.toml"
    file.write_text(provider("one", old, key("a")))
    running = Reloaded(tmp_path, {"APP_PROVIDERS_FILE": str(file), **SETTINGS, "APP_SERVER__LAME_DUCK_SECS": "0.5"})
    try:
        async with Steady(running.port, CALLS_A_SECOND).going() as load:
            await until(lambda: asyncio.sleep(0, old.asked), lambda asked: asked.total() > 10)
            file.write_text('[[providers]]\nname = "two"\nadapter = "opnai"\n')
            os.kill(running.pid, signal.SIGHUP)
            await until(lambda: asyncio.to_thread(running.logged, "did not get ready"), bool)
            assert running.main == running.pid
            assert not new.asked
            file.write_text(provider("two", new, key("b")))
            os.kill(running.pid, signal.SIGHUP)
            await until(lambda: asyncio.to_thread(lambda: running.main), lambda main: main != running.pid)
            await until(lambda: asyncio.sleep(0, new.asked), lambda asked: asked["key-b"] > 10)
            assert await asyncio.to_thread(running.first_ends) == 0
            served = old.asked.total()
            await more(new, CALLS_A_SECOND)
            assert old.asked.total() == served, "only what was under way"
        load.check()
    finally:
        await asyncio.to_thread(running.end)
