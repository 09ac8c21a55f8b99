"""A service and everybody around it: vendors, callers, an administrator who changes something all the time, and somebody who measures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from tests.e2e.installed import Installed, installation
from tests.e2e.plane import Admin, Key, until
from tests.e2e.processes import KEY, ROOT, Process, ask, clean_environment, free_port
from tests.e2e.soak_load import Callers
from tests.e2e.soak_measures import Probe, Sample, sample

__all__ = ["Soak", "soaked"]

SEED = 7
CHANGE_EVERY_S = 1.0
PROBE_EVERY_S = 0.1
QUIET_S = 100.0
"""Longer than a file of the journal stays when it is in the store: a minute."""

SETTINGS = {
    "APP_AUTH__MASTER_KEY": KEY,
    "APP_TIMEOUT__SILENCE_SECS": "2",
    "APP_CONCURRENCY__MAX_STREAMS_PER_KEY": "1000",
    "APP_COOLDOWN__MAX_SECS": "1",
    "APP_COOLDOWN__EXHAUSTED_MAX_SECS": "1",
    "APP_CIRCUIT_BREAKER__FAILURE_THRESHOLD": "20",
    "APP_CIRCUIT_BREAKER__WINDOW_SECS": "5",
    "APP_CIRCUIT_BREAKER__TIMEOUT_SECS": "1",
    "APP_CIRCUIT_BREAKER__SUCCESS_THRESHOLD": "1",
    "APP_ROUTING__MAX_WAIT_SECS": "0",
    "APP_ROUTING__RETRY_BUDGET": "100000",
    "APP_ROUTING__STRATEGY": "round_robin",
}
"""Short deadlines, and upstreams that are back soon: everything comes again and again, also in two minutes."""

PROVIDERS = (
    ("chat", "openai", "/v1", "m", 2),
    ("claude", "anthropic", "", "m", 2),
    ("gem", "gemini", "", "m", 2),
    ("probe", "openai", "/v1", "probe", 30),
)
"""(name, adapter, path, model, deadline for the first byte) of each."""

PROBE = json.dumps({"model": "probe", "messages": [{"role": "user", "content": "hello"}]}).encode()
PAGES = ("/metrics", "/v1/metrics/providers", "/admin/api/calls?limit=50", "/admin/api/usage", "/admin/api/keys", "/admin/api/upstreams")


class Soak:
    """The house. `probes` and `samples` are what `measure` found; `changes` says how often the administrator did what."""

    def __init__(self, directory: Path, running: Installed, vendors: Process, port_of_vendors: int) -> None:
        self.running = running
        self.state = directory / "state"
        self.probes: list[Probe] = []
        self.samples: list[Sample] = []
        self.changes: Counter[str] = Counter()
        self._admin = Admin(running.url)
        until(lambda: self._admin.store()["state"], lambda state: state == "open")
        self._secret = self._admin.key(self._admin.pool("p")).secret
        self._passing: Key | None = None
        self._vendors = vendors
        self._providers = directory / "providers.toml"
        self.callers = Callers(running.port, self._some_secret, SEED)
        self._through = Callers(running.port, lambda: self._secret, SEED, kept_share=1.0)
        self._direct = Callers(port_of_vendors, lambda: "key", SEED, kept_share=1.0)

    def _some_secret(self) -> str:
        """Now and then that of a key which will not be there for long."""
        passing = self._passing
        return passing.secret if passing is not None and self.callers.ids % 10 == 0 else self._secret

    @contextlib.asynccontextmanager
    async def load(self, rate_per_s: float) -> AsyncIterator[None]:
        """Calls and changes while the block runs, and until the last call is answered."""
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.callers.rain(rate_per_s, ended))
            group.create_task(_again_and_again(ended, CHANGE_EVERY_S, self._change))
            try:
                yield
            finally:
                ended.set()

    async def measure(self, rate_per_s: float, duration_s: float, sample_every_s: float) -> None:
        """Load for so long, with samples and probes."""
        ended = asyncio.Event()
        async with self.load(rate_per_s), asyncio.TaskGroup() as group:
            group.create_task(_again_and_again(ended, sample_every_s, self._sample))
            group.create_task(_again_and_again(ended, PROBE_EVERY_S, self._probe))
            await asyncio.sleep(duration_s)
            ended.set()

    async def _sample(self) -> None:
        self.samples.append(await asyncio.to_thread(sample, self.running.url, self.state))

    async def _probe(self) -> None:
        times = [time.perf_counter()]  # uvloop's own clock counts milliseconds
        for callers in (self._through, self._direct):
            answer = await callers.ask(f"probe-{len(self.probes)}", "/v1/chat/completions", PROBE)
            times.append(time.perf_counter())
            assert answer is not None
            assert answer.status == 200, answer.body
        began_s, between_s, end_s = times
        self.probes.append(Probe(began_s, between_s - began_s, end_s - between_s))

    async def quiet(self, good: Callable[[Sample], bool]) -> Sample:
        """What is held when nobody asks for anything, as soon as it is `good`. Raises `AssertionError` when it does not become so."""
        for callers in (self.callers, self._through, self._direct):
            callers.hang_up()
        os.kill(self._vendors.pid, signal.SIGUSR1)
        deadline_s = time.monotonic() + QUIET_S
        while True:
            await asyncio.sleep(0.5)
            found = await asyncio.to_thread(sample, self.running.url, self.state)
            rest = found.in_flight + found.busy_connections + found.waiting_records + found.waiting_bytes
            if not rest and good(found):
                return found
            assert time.monotonic() < deadline_s, found

    async def hand_over(self, times: int, every_s: float) -> None:
        for _ in range(times):
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.running.hand_over)

    # --- what the administrator does

    async def _change(self) -> None:
        steps = (
            self._make_key,
            self._change_setting,
            self._reload_file,
            self._put_provider,
            self._pause_upstream,
            self._resume_upstream,
            self._revoke_key,
            self._make_pool,
            self._look,
        )
        number = self.changes.total()
        step = steps[number % len(steps)]
        await asyncio.to_thread(step, number)
        self.changes[step.__name__.removeprefix("_")] += 1

    def _make_key(self, number: int) -> None:
        self._passing = self._admin.key("p", label=f"key {number}", limits={"tokens_per_day": 10**9})

    def _revoke_key(self, number: int) -> None:
        key, self._passing = self._passing, None
        assert key is not None
        statuses = [ask(f"{self.running.v1}/chat/completions", key=key.secret, body=PROBE).status]
        self._admin.post(f"/keys/{key.id}/revoke")
        statuses.append(ask(f"{self.running.v1}/chat/completions", key=key.secret, body=PROBE).status)
        assert statuses == [200, 401]
        self._delete(f"/keys/{key.id}")

    def _change_setting(self, number: int) -> None:
        self._admin.patch("/settings", {"APP_TIMEOUT__TOTAL_SECS": 300 + number % 2})

    def _reload_file(self, number: int) -> None:
        fresh = self._providers.with_suffix(".new")
        fresh.write_text(re.sub(r"connect = \d", f"connect = {2 + number % 2}", self._providers.read_text()))
        fresh.rename(self._providers)
        self._admin.post("/providers/reload")

    def _put_provider(self, number: int) -> None:
        credentials = [{"name": "a", "key": f"sk-{number}"}]
        entry = {"adapter": "openai", "base_url": "http://127.0.0.1:9/v1", "models": ["nobodys"], "credentials": credentials}
        self._admin.put("/providers/passing", entry)
        self._delete("/providers/passing")

    def _pause_upstream(self, number: int) -> None:
        self._admin.post("/upstreams/pause?key=gem/a")

    def _resume_upstream(self, number: int) -> None:
        self._admin.post("/upstreams/resume?key=gem/a")

    def _make_pool(self, number: int) -> None:
        self._admin.pool("passing")
        self._admin.post("/pools/passing/archive")
        self._delete("/pools/passing")

    def _look(self, number: int) -> None:
        for page in PAGES:
            assert ask(f"{self.running.url}{page}", key=KEY).status == 200, page
        assert ask(f"{self.running.v1}/models", key=self._secret).status == 200

    def _delete(self, path: str) -> None:
        assert self._admin.answer("DELETE", path).status == 204


async def _again_and_again(ended: asyncio.Event, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
    while not ended.is_set():
        await work()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), every_s)


@contextlib.contextmanager
def soaked(directory: Path) -> Iterator[Soak]:
    """All of them, at work; the service and the vendors end well."""
    port = free_port()
    command = [sys.executable, "-m", "tests.fakes.vendors", str(port), str(SEED)]
    vendors = Process(command, directory / "vendors.log", clean_environment(), ROOT)
    file = directory / "providers.toml"
    file.write_text(
        "".join(
            f'[[providers]]\nname = "{name}"\nadapter = "{adapter}"\nbase_url = "http://127.0.0.1:{port}{path}"\n'
            f'models = ["{model}"]\ntimeouts = {{ connect = 2, first_byte = {first_byte_s} }}\n'
            'credentials = [{ name = "a", key = "key" }]\n'
            for name, adapter, path, model, first_byte_s in PROVIDERS
        )
    )
    try:
        vendors.wait_for(f"http://127.0.0.1:{port}/")
        with installation(directory, APP_PROVIDERS_FILE=str(file), **SETTINGS) as running:
            yield Soak(directory, running, vendors, port)
    finally:
        assert vendors.stop() == 0, vendors.log.read_text()
