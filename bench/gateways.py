"""Gateways to measure: the built file with every feature on, and with as many keys, upstreams or records of calls as are asked for.

Every one has a store of its own whose importer runs, a pool with keys that have limits, limits and prices of its providers, breakers,
metrics, and an access log that goes to a file.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from bench.calls import fill
from bench.subjects import Failed, Subject, administer, ask, free_port
from fkproxy.storage import files
from fkproxy.storage.calls_import import Importer
from fkproxy.storage.database import Database
from fkproxy.storage.schema import bring_up

__all__ = ["MASTER_KEY", "SETTINGS", "Gateways", "drain", "open_up", "prepare_rows", "providers_text", "wait_for_store"]

MASTER_KEY = "sk-bench-0123456789abcdef0123456789abcdef"
SETTINGS = {
    "APP_AUTH__MASTER_KEY": MASTER_KEY,
    "APP_RATE_LIMIT__CAPACITY": "100000000",
    "APP_RATE_LIMIT__REFILL_PER_SECOND": "100000000",
    "APP_RATE_LIMIT__TOKENS_PER_MINUTE": "1000000000000",
    "APP_CONCURRENCY__MAX_STREAMS": "4000",
    "APP_CONCURRENCY__MAX_STREAMS_PER_KEY": "4000",
    "APP_CONCURRENCY__MAX_CALLS_PER_KEY": "100000",
    "APP_SERVER__LAME_DUCK_SECS": "0",
    "APP_STORE__JOURNAL_MAX_SIZE": "4294967296",
}
"""Every limit is on and none is reached."""
KEY_LIMITS = {
    "requests_per_minute": 1_000_000_000,
    "tokens_per_minute": 1_000_000_000_000,
    "tokens_per_day": 1_000_000_000_000,
    "spend_usd_per_day": 1_000_000_000,
    "max_concurrency": 100_000,
}
PROVIDER_LIMITS = "{ max_concurrency = 100000, requests_per_minute = 1000000000, tokens_per_minute = 1000000000000 }"
DAYS = 30.0
DRAIN_S = 120.0


class Gateways:
    """Makes them, each in a directory of its own below `directory`."""

    def __init__(self, directory: Path, binary: Path, upstream_port: int) -> None:
        self._directory = directory
        self._binary = binary
        self._upstream_port = upstream_port

    def make(self, name: str, *, model: str = "", upstreams: int = 1) -> Subject:
        """One that is not started. `model` goes before each model's name and chooses the upstream's dialect."""
        home = self._directory / name.replace(",", "").replace(" ", "-")
        home.mkdir()
        (home / "providers.toml").write_text(providers_text(upstreams, self._upstream_port))
        port = free_port()
        environment = {
            **SETTINGS,
            "APP_SERVER__PORT": str(port),
            "APP_STORE__DIRECTORY": str(home / "state"),
            "APP_PROVIDERS_FILE": str(home / "providers.toml"),
            "SHIV_ROOT": str(self._directory / "shiv"),
        }
        return Subject(
            name=name, port=port, log=home / "log", command=(str(self._binary),), environment=environment, model=model, ready="/health"
        )


def providers_text(upstreams: int, port: int) -> str:
    """`upstreams` providers of chat completions, which serve the same models and each one of its own, and one that speaks Gemini."""
    address = f"http://127.0.0.1:{port}"
    text = 'strategy = "round_robin"\n'
    for number in range(upstreams):
        models = json.dumps(["m-*", f"own-{number}-m-64-0"])
        text += _provider(f"chat-{number}", "openai", f"{address}/v1", models)
    return text + _provider("generate", "gemini", address, json.dumps(["gemini-*"]))


def _provider(name: str, adapter: str, base_url: str, models: str) -> str:
    return (
        f'\n[[providers]]\nname = "{name}"\nadapter = "{adapter}"\nbase_url = "{base_url}"\nmodels = {models}\n'
        f'limits = {PROVIDER_LIMITS}\nprices = {{ "*" = {{ input = 1.0, output = 4.0 }} }}\n'
        f'credentials = [{{ name = "a", key = "sk-upstream" }}, {{ name = "b", key = "sk-upstream-2" }}]\n'
    )


def open_up(subject: Subject, keys: int = 1) -> None:
    """Make a pool and so many keys in it, and let calls use them."""
    administer(subject.port, MASTER_KEY, "POST", "/pools", {"name": "bench"})
    secrets = []
    for number in range(keys):
        made = administer(subject.port, MASTER_KEY, "POST", "/keys", {"pool": "bench", "label": f"client {number}", "limits": KEY_LIMITS})
        secrets.append(str(made["secret"]))
    subject.key = secrets[0]
    if keys > 1:
        subject.keys = subject.log.with_name("keys")
        subject.keys.write_text("".join(f"{secret}\n" for secret in secrets))


def store_of(subject: Subject) -> dict[str, Any]:
    """As /health tells it."""
    return dict(json.loads(ask(subject.port, "GET", "/health")[1])["store"])


def wait_for_store(subject: Subject) -> None:
    """Until it is open, which takes a moment after calls are answered."""
    _until(subject, lambda store: store["state"] == "open", 30.0)


def drain(subject: Subject) -> None:
    """Until every call's record is in the store."""
    time.sleep(2.0)  # a record is in a file after 0.5 s, and the importer looks every second
    _until(subject, lambda store: store["journal"]["waiting_bytes"] == 0, DRAIN_S)


def _until(subject: Subject, good: Any, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not good(found := store_of(subject)):
        if time.monotonic() > deadline:
            raise Failed(f"{subject.name}: the store is not as it should be after {timeout_s:g} s: {found}\n{subject.tail()}")
        time.sleep(0.1)


def prepare_rows(subject: Subject, rows: int) -> None:
    """A store with so many records of calls, spread over the last days, as an importer writes them. Before its first start."""
    state = Path(subject.environment["APP_STORE__DIRECTORY"])
    asyncio.run(_fill(state, rows))


async def _fill(state: Path, rows: int) -> None:
    journal = state.with_name("journal-of-others")
    fill(journal, rows, DAYS, until_s=time.time() - 60)
    files.prepare(state / "fkllmproxy.db")
    database = Database(f"sqlite:///{state}/fkllmproxy.db")
    await bring_up(database)
    importer = Importer(database, journal)
    while importer.figures.imported < rows:
        await importer.step()
    importer.close()
    await database.close()
