"""What the tests of the administrator's plane share: his hands on the API, and two vendors behind the gateway."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.e2e.processes import KEY, Answer, Service, ask, free_port
from tests.fakes.chaos import OPENING, Vendor, chunk, delta, repeat

__all__ = ["SLOW", "Admin", "Key", "providers", "until", "vendors"]

T = TypeVar("T")

SLOW = "slow"
"""A model whose streams never end by themselves, and say in each piece what was used so far."""


class Key:
    """A client key as its maker got it."""

    def __init__(self, made: dict[str, Any]) -> None:
        self.id: str = made["key"]["id"]
        self.prefix: str = made["key"]["prefix"]
        self.secret: str = made["secret"]


class Admin:
    """`/admin/api` of one service."""

    def __init__(self, url: str, key: str = KEY) -> None:
        self.url = f"{url}/admin/api"
        self.root = url
        self._key = key

    @classmethod
    def of(cls, running: Service) -> Admin:
        """When the store is open, which takes a second."""
        admin = cls(running.url)
        until(lambda: admin.store()["state"], lambda state: state == "open")
        return admin

    def answer(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Whatever comes."""
        return ask(f"{self.url}{path}", key=self._key, method=method, body=body, headers=headers)

    def get(self, path: str) -> Any:
        return self._well("GET", path)

    def post(self, path: str, body: object = None) -> Any:
        return self._well("POST", path, body)

    def patch(self, path: str, body: object) -> Any:
        return self._well("PATCH", path, body)

    def put(self, path: str, body: object) -> Any:
        return self._well("PUT", path, body)

    def _well(self, method: str, path: str, body: object = None) -> Any:
        answer = self.answer(method, path, body)
        assert answer.status in (200, 201), (method, path, answer.status, answer.body)
        return answer.json()

    def pool(self, name: str, **fields: object) -> str:
        self.post("/pools", {"name": name, **fields})
        return name

    def key(self, pool: str, **fields: object) -> Key:
        return Key(self.post("/keys", {"pool": pool, **fields}))

    def calls(self, query: str = "") -> list[dict[str, Any]]:
        """The newest calls in the log."""
        return list(self.get(f"/calls?limit=1000{query}")["rows"])

    def store(self) -> dict[str, Any]:
        """As /health tells it."""
        return dict(ask(f"{self.root}/health").json()["store"])

    def metric(self, name: str) -> float:
        text = ask(f"{self.root}/metrics/prometheus", key=self._key).body.decode()
        return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


def until(look: Callable[[], T], good: Callable[[T], object] = bool, timeout_s: float = 60.0) -> T:
    """What `look` gives as soon as it is good. Only what hangs meets the deadline, however busy the machine is."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if good(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@contextmanager
def vendors(count: int = 1) -> Iterator[list[Vendor]]:
    """Vendors that answer in a thread of their own, every key the same."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(60)

    found = [Vendor(free_port()) for _ in range(count)]
    for vendor in found:
        endless = [OPENING, repeat(chunk(delta("slowly ", usage={"prompt_tokens": 3, "completion_tokens": 2})), 0.05)]
        vendor.faults["slow"] = (endless, endless)
        run(vendor.up())
    yield found
    for vendor in found:
        run(vendor.aclose())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.close()


def providers(directory: Path, *named: tuple[str, Vendor, list[str], str]) -> str:
    """The path of a providers file: (name, vendor, models, key) of each."""
    file = directory / "providers.toml"
    file.write_text(
        "".join(
            f'[[providers]]\nname = "{name}"\nadapter = "openai"\nbase_url = "{vendor.url}"\n'
            f'models = {models}\ncredentials = [{{ name = "a", key = "{key}" }}]\n'
            for name, vendor, models, key in named
        )
    )
    return str(file)
