"""Directories with keys whose secrets are known, and calls with them through a bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fkproxy.access import digest
from fkproxy.call import Call
from fkproxy.dialects import CLIENT_DIALECTS
from fkproxy.directory import ClientKey, Directory, KeySecret, Pool
from tests.fakes.pipeline import Bench, ListClient

GOLDEN = Path(__file__).parent.parent / "golden"
SPOKEN = [dialect.name for dialect in CLIENT_DIALECTS]
"""What clients may speak."""

_TARGET = "gemini-2.5-flash:streamGenerateContent"
PEPPER = b"pepper of the tests"


def raw(name: str) -> bytes:
    """The secret of the key of that name."""
    return f"sk-fk-{name}-0123456789abcdefghijklmnopqrstuvwxyz".encode()


def secret(name: str, expires_s: float | None = None) -> KeySecret:
    """What is kept of it."""
    return KeySecret(prefix=f"sk-fk-{name}", digest=digest(PEPPER, raw(name)), expires_s=expires_s)


def key(name: str = "a", pool: str = "team", **fields: Any) -> ClientKey:
    """A key, its id `key-<name>`."""
    return ClientKey(id=f"key-{name}", pool=pool, **{"secrets": (secret(name),), **fields})


def directory(*keys: ClientKey, pools: tuple[Pool, ...] = (Pool(name="team"),)) -> Directory:
    """Those keys."""
    return Directory(pools=pools, keys=keys, pepper=PEPPER)


def code_of(client: ListClient) -> str:
    """Of an error, wherever the dialect has it."""
    error = json.loads(client.body)["error"]
    word = error["code"] if isinstance(error["code"], str) else error["details"][0]["reason"]
    return str(word).lower()


def call(bench: Bench, dialect: str = "openai_chat", presented: bytes | None = raw("a")) -> Call:
    """A call as `web/` makes it, on the bench's clock."""
    known = {each.name: each for each in CLIENT_DIALECTS}
    where = {"target": _TARGET, "query": "alt=sse"} if dialect == "gemini" else {}
    made = bench.call(presented_key=presented, **where)
    made.dialect = known[dialect]
    made.started_s = bench.now_s
    return made


async def send(bench: Bench, body: bytes, dialect: str = "openai_chat", presented: bytes | None = raw("a")) -> ListClient:
    """One call from start to end."""
    client = ListClient(body)
    await bench.gateway.serve(call(bench, dialect, presented), client)
    return client


def asking(dialect: str, **fields: Any) -> bytes:
    """A request that begins a stream, the dialect's own."""
    if dialect == "openai_completions":
        return json.dumps({"model": "m", "prompt": "hello", "stream": True, **fields}).encode()
    request = json.loads((GOLDEN / dialect / "text_streamed" / "request.json").read_text())
    return json.dumps({**request, **fields}).encode()


def begun(dialect: str) -> bytes:
    """The first half of its reply, with content."""
    whole = (GOLDEN / dialect / "text_streamed" / "response.sse").read_bytes()
    frames = whole.split(b"\n\n")
    return b"\n\n".join(frames[: len(frames) // 2 + 1]) + b"\n\n"


def nothing_is_left(bench: Bench) -> bool:
    """No call is remembered, and every place is free again."""
    clientele = bench.gateway.clientele
    held = [spent.held_tokens for windows in clientele.spent().values() for spent in windows]
    in_flight = [upstream.in_flight for upstream in bench.gateway.fleet.upstreams]
    waiting = [*in_flight, bench.gateway.slots.total, *bench.gateway._expiries._open]
    return not clientele.under_way.counts() and not any(held) and not any(waiting)
