"""The built file between clients and vendors that fail on demand, and a look at what a fault has left behind in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trustme

from tests.e2e.faults import Fault, Scope
from tests.e2e.processes import Service, ask, free_port
from tests.fakes.chaos import Vendor

__all__ = ["COMMIT_AFTER_S", "Certificates", "Pair", "Weather", "until", "worker_of"]

COMMIT_AFTER_S = 0.2
"""Sooner than any deadline of a vendor: a stream that waits for one has its head, and somebody else may serve it all the same."""

_PATIENT = "connect = 60, first_byte = 60, silence = 60, stall = 60"
"""Only what hangs meets these deadlines, however busy the machine is."""

_IMPATIENT = {
    "head": "connect = 60, first_byte = 0.4, silence = 60, stall = 60",
    "body": "connect = 60, first_byte = 60, silence = 0.4, stall = 0.6",
}
"""By what is waited for."""

_SETTLE_S = 60.0
_BUSY = re.compile(r'^fkproxy_upstream_connections\{state="busy"\} (\d+)', re.MULTILINE)
_MEMORY = re.compile(r"^Vm(RSS|HWM):\s+(\d+) kB", re.MULTILINE)


class Certificates:
    """Of localhost: a good one, one that has expired, one by an authority that nobody knows."""

    def __init__(self, directory: Path) -> None:
        known, unknown = trustme.CA(), trustme.CA()
        self.file = directory / "authorities.pem"
        known.cert_pem.write_to_path(str(self.file))
        self.good = _context(known.issue_cert("localhost"))
        self.expired = _context(
            known.issue_cert("localhost", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2020, 2, 1, tzinfo=UTC))
        )
        self.unknown = _context(unknown.issue_cert("localhost"))


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


class Pair:
    """Two providers of one model: two credentials at the first, one at the second."""

    KEYS = (("first", "a"), ("first", "b"), ("second", "c"))

    def __init__(
        self, suffix: str = "", certificates: Certificates | None = None, *, impatient_for: str = "", everywhere: bool = False
    ) -> None:
        """`impatient_for`: what the first one is soon given up for; the second one, if not `everywhere`, is waited for."""
        self.model = f"m{suffix}"
        self.names = (f"one{suffix}", f"two{suffix}")
        self.certificates = certificates
        tls = certificates.good if certificates is not None else None
        self.first, self.second = Vendor(free_port(), tls), Vendor(free_port(), tls)
        self.first.at_once = self.second.at_once = bool(impatient_for)
        impatient = _IMPATIENT.get(impatient_for, _PATIENT)
        self._timeouts = impatient, impatient if everywhere else _PATIENT
        self.stands = not (impatient_for and everywhere)
        """Whoever asks is served, however busy the machine is."""

    @property
    def vendors(self) -> tuple[Vendor, Vendor]:
        return self.first, self.second

    @property
    def toml(self) -> str:
        one, two = self.names
        of_one, of_two = self._timeouts
        return f"""
[[providers]]
name = "{one}"
adapter = "openai"
base_url = "{self.first.url}"
models = ["{self.model}"]
strategy = "round_robin"
timeouts = {{ {of_one} }}
credentials = [{{ name = "a", key = "key-a" }}, {{ name = "b", key = "key-b" }}]

[[providers]]
name = "{two}"
adapter = "openai"
base_url = "{self.second.url}"
models = ["{self.model}"]
timeouts = {{ {of_two} }}
credentials = [{{ name = "c", key = "key-c" }}]
"""

    def hit(self, scope: Scope) -> list[tuple[Vendor, str, str]]:
        """(vendor, key, the upstream's name in the log) of those that a fault of this scope concerns."""
        one, two = self.names
        hit = [(self.first, "key-a", f"{one}/a"), (self.first, "key-b", f"{one}/b"), (self.second, "key-c", f"{two}/c")]
        return hit[: {"credential": 1, "provider": 2, "everywhere": 3}[scope]]

    async def strike(self, fault: Fault, scope: Scope) -> None:
        """From now on."""
        for vendor, key, _ in self.hit(scope):
            match fault.at:
                case "reply":
                    vendor.faults[key] = (fault.whole, fault.stream)
                case "refused":
                    await vendor.down()
                case "reset":
                    vendor.resets = True
                    await vendor.cut()
                case "expired" | "unknown":
                    assert self.certificates is not None
                    await vendor.down()
                    vendor.tls = self.certificates.expired if fault.at == "expired" else self.certificates.unknown
                    await vendor.up()

    async def heal(self) -> None:
        """No faults any more, and no connection that is left of them."""
        for vendor in self.vendors:
            await vendor.down()
            vendor.faults.clear()
            vendor.resets = False
            vendor.tls = self.certificates.good if self.certificates is not None else None
            vendor.asked.clear()
            await vendor.up()


class Weather:
    """The service, and its pairs of providers."""

    SETTINGS = {
        "APP_RATE_LIMIT__ENABLED": "false",
        "APP_COOLDOWN__MAX_SECS": "0.1",
        "APP_COOLDOWN__EXHAUSTED_MAX_SECS": "0.1",
        "APP_CIRCUIT_BREAKER__FAILURE_THRESHOLD": "100000",
        "APP_ROUTING__MAX_WAIT_SECS": "0",
        "APP_STREAM__COMMIT_AFTER_SECS": str(COMMIT_AFTER_S),
        "APP_ROUTING__RETRY_BUDGET": "100000",
    }

    def __init__(self, service: Service, pairs: Iterable[Pair]) -> None:
        self.service = service
        self.port = service.port
        self.pairs = {pair.model: pair for pair in pairs}
        self.plain = self.pairs["m"]
        self.worker = worker_of(service.pid)
        self._lines: list[dict[str, Any]] = []
        self._read_bytes = 0

    def pair(self, fault: Fault, scope: Scope) -> Pair:
        if fault.waits_for:
            return self.pairs[f"m-{fault.waits_for}{'-everywhere' * (scope == 'everywhere')}"]
        return self.pairs["m-tls"] if fault.at in ("expired", "unknown") else self.plain

    def upstreams(self) -> dict[str, dict[str, Any]]:
        """What /health says of each."""
        entries = ask(f"{self.service.url}/health").json()["upstreams"]
        return {f"{entry['provider_key']}/{entry['credential']}": entry for entry in entries}

    async def settled(self) -> None:
        """Nothing is under way any more. Raises `AssertionError` with what still is."""

        def rest() -> dict[str, int]:
            health = ask(f"{self.service.url}/health").json()
            busy = _BUSY.search(ask(f"{self.service.url}/metrics/prometheus").body.decode())
            assert busy is not None
            found = {"calls": health["calls_in_flight"], "streams": health["streams_open"], "busy connections": int(busy[1])}
            return {name: count for name, count in found.items() if count}

        await until(lambda: asyncio.to_thread(rest), lambda found: not found)

    async def descriptors(self, at_most: int) -> None:
        """The worker holds no more of them than `at_most`, at the latest after a while."""
        await until(lambda: asyncio.to_thread(self.descriptors_now), lambda count: count <= at_most)

    def descriptors_now(self) -> int:
        """Without the store's files: how many connections to it there are follows its own work."""
        found = 0
        for each in Path(f"/proc/{self.worker}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += "/state-" not in str(each.readlink())
        return found

    def memory_mb(self) -> dict[str, float]:
        """Of the worker: RSS now and HWM, the most since `forget_peak`."""
        return {name: int(kilobytes) / 1024 for name, kilobytes in _MEMORY.findall(Path(f"/proc/{self.worker}/status").read_text())}

    def forget_peak(self) -> None:
        Path(f"/proc/{self.worker}/clear_refs").write_text("5")

    async def lines(self, call_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The access line of each of these calls."""
        wanted = set(call_ids)

        async def look() -> dict[str, dict[str, Any]]:
            with self.service.log.open("rb") as file:
                file.seek(self._read_bytes)
                new, _, _ = file.read().rpartition(b"\n")
            self._read_bytes += len(new) + 1 if new else 0
            self._lines += [json.loads(line) for line in new.splitlines()]
            return {line["req_id"]: line for line in self._lines if line.get("req_id") in wanted and line.get("kind") == "access"}

        found = await until(look, lambda found: len(found) == len(wanted))
        self._lines.clear()
        return dict(found)


def worker_of(pid: int) -> int:
    """The process that serves, below the main one."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True).stdout.split()
    assert len(children) == 1, children
    return int(children[0])


async def until(look: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """What `look` found when it was enough. Raises `AssertionError` with what it found last."""
    deadline = asyncio.get_running_loop().time() + _SETTLE_S
    while True:
        found = await look()
        if enough(found):
            return found
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.02)
