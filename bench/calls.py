"""The request log with many rows: what a call's record costs, what an import costs, how long searches take.

    python -m bench.calls [--rows 1000000] [--url sqlite:///…|postgresql://…] [--days 30]

Without a URL a SQLite file is made in a temporary directory. The database must be empty. 200 keys, 10 pools, 4 providers and 8 models of
different weight; one call in twenty fails; the names of some keys, pools, models and providers are rare.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import statistics
import tempfile
import time
import timeit
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from fkproxy.model.usage import Usage
from fkproxy.storage import files
from fkproxy.storage.calls import Calls
from fkproxy.storage.calls_import import Importer
from fkproxy.storage.calls_values import Begins, CallFilter
from fkproxy.storage.database import Database
from fkproxy.storage.schema import bring_up
from fkproxy.telemetry.entry import EntryEncoder
from fkproxy.telemetry.journal import Journal
from fkproxy.telemetry.record import Attempt, CallRecord, Skipped

NOW_S = 1_800_000_000.0
MODELS = ["model-a", "model-b", "model-c", "model-d", "model-e", "model-f", "model-g", "model-rare"]
MODEL_WEIGHTS = [40, 25, 15, 8, 6, 4, 2, 0.001]
ERRORS = ["upstream_error", "upstream_rate_limited", "timeout", "rate_limit_exceeded"]
STATUSES = {"upstream_error": 502, "upstream_rate_limited": 429, "timeout": 504, "rate_limit_exceeded": 429}


def records(count: int, days: float, until_s: float = NOW_S) -> Iterator[CallRecord]:
    """Calls spread over the days before `until_s`, in order of their start but for a few seconds."""
    draw = random.Random(7)
    step_s = days * 86400 / count
    for number in range(count):
        model = draw.choices(MODELS, MODEL_WEIGHTS)[0]
        failed = draw.random() < 0.05
        error = draw.choice(ERRORS) if failed else None
        status = STATUSES[error] if error else 200
        key = 200 if draw.random() < 1e-5 else int(200 * draw.random() ** 2)
        provider = "rare" if draw.random() < 1e-5 else f"provider-{hash(model) % 4}"
        started = until_s - days * 86400 + number * step_s + draw.random() * 3
        tries = [Attempt(provider_key=provider, model_id=model, status=200, duration_ms=draw.random() * 5000, ttft_ms=300.0)]
        if draw.random() < 0.03:
            tries.insert(
                0, Attempt(provider_key="provider-0", model_id=model, outcome="upstream_overloaded", status=529, duration_ms=100.0)
            )
        yield CallRecord(
            request_id=f"{int(started * 1000):012x}{draw.getrandbits(48):012x}",
            started_s=started,
            method="POST",
            route="/v1/chat/completions",
            status=status,
            duration_ms=draw.random() * 5000,
            dialect="openai_chat",
            stream=draw.random() < 0.8,
            model_requested="alias" if draw.random() < 0.02 else model,
            model_id=model,
            provider_key=provider,
            upstream_dialect="gemini",
            attempts=len(tries),
            tries=tuple(tries),
            skipped=(Skipped(provider_key="provider-1", model_id=model, reason="limited"),) if draw.random() < 0.02 else (),
            upstream_status=status,
            upstream_ms=draw.random() * 5000,
            ttft_ms=draw.random() * 1000,
            usage=Usage(input_tokens=draw.randrange(20000), output_tokens=draw.randrange(2000), cached_input_tokens=draw.randrange(10000)),
            cost_usd=draw.random() / 10,
            finish_reason="stop",
            error_code=error,
            key_id="0000rare" if key == 200 else f"{key:08x}",
            key_prefix="fk-abcd1234",
            pool="rare" if key == 200 else f"team-{key % 10}",
            request_bytes=draw.randrange(100_000),
            response_bytes=draw.randrange(10_000),
        )


def cost_of_write(directory: Path) -> None:
    """Microseconds that a call waits for its record."""
    journal = Journal(directory)
    some = list(records(1000, 1))

    def write() -> None:
        for record in some:
            journal.write(record)

    times = timeit.repeat(write, number=1, repeat=30)
    journal.close()
    print(f"journal.write: {min(times) * 1000:.2f} µs at best, {statistics.median(times) * 1000:.2f} µs in the middle")


def fill(directory: Path, count: int, days: float, until_s: float = NOW_S) -> None:
    """Journal files as processes that are gone left them."""
    directory.mkdir(mode=0o700, parents=True)
    encode = EntryEncoder().encode
    lines: list[bytes] = []
    number = 0
    for number, record in enumerate(records(count, days, until_s), 1):
        lines.append(encode(record))
        if number % 20000 == 0 or number == count:
            (directory / f"calls-{number:013d}-1-{os.urandom(4).hex()}.jsonl").write_bytes(b"".join(lines))
            lines.clear()


async def import_all(importer: Importer, count: int) -> None:
    """Import everything, and say what it cost."""
    gc.collect()
    gc.freeze()  # as the server does
    await importer.step()  # what is compiled at first is not a row's
    before = importer.figures.imported
    cpu, own, wall = time.process_time(), time.thread_time(), time.perf_counter()
    handles: Any = asyncio.Handle
    longest, run = 0.0, handles._run

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest
        began = time.thread_time()
        run(handle)
        longest = max(longest, time.thread_time() - began)

    handles._run = timed
    try:
        while importer.figures.imported < count:
            await importer.step()
    finally:
        handles._run = run
    done = count - before
    all_us, own_us = (time.process_time() - cpu) / done * 1e6, (time.thread_time() - own) / done * 1e6
    print(
        f"import: {all_us:.1f} µs of CPU for a row, {own_us:.1f} of them on the event loop, at most {longest * 1000:.2f} ms at a time; "
        f"{done / (time.perf_counter() - wall):,.0f} rows a second"
    )
    while await importer.step():
        pass
    importer.close()


SEARCHES = {
    "nothing said": CallFilter(),
    "id": CallFilter(request_id="no such id"),
    "a usual key": CallFilter(key_id=f"{7:08x}"),
    "a rare key": CallFilter(key_id="0000rare"),
    "a key that is not there": CallFilter(key_id="nobody"),
    "a usual model": CallFilter(model="model-a"),
    "a rare model": CallFilter(model="model-rare"),
    "an alias": CallFilter(model="alias"),
    "a model that is not there": CallFilter(model="nothing"),
    "a usual pool": CallFilter(pool="team-3"),
    "a rare pool": CallFilter(pool="rare"),
    "a usual provider": CallFilter(provider_key="provider-1"),
    "a rare provider": CallFilter(provider_key="rare"),
    "status 200": CallFilter(status=200),
    "status 504": CallFilter(status=504),
    "a status that is not there": CallFilter(status=418),
    "class 2": CallFilter(status_class=2),
    "class 5": CallFilter(status_class=5),
    "class 3": CallFilter(status_class=3),
    "outcome ok": CallFilter(outcome="ok"),
    "outcome failed": CallFilter(outcome="failed"),
    "outcome client_ended": CallFilter(outcome="client_ended"),
    "an error": CallFilter(error_code="timeout"),
    "an error that is not there": CallFilter(error_code="internal_error"),
    "an hour": CallFilter(since_s=NOW_S - 86400, until_s=NOW_S - 82800),
    "a key's failures in a day": CallFilter(key_id=f"{7:08x}", failures=True, since_s=NOW_S - 86400),
    "a pool's 5xx of a model": CallFilter(pool="team-3", status_class=5, model="model-b"),
    "a key and a rare model": CallFilter(key_id=f"{7:08x}", model="model-rare"),
}


async def search_all(calls: Calls) -> None:
    """Each search on its first page, on its tenth, and the slowest of five."""
    print(f"{'search':32} {'rows':>5} {'first page':>12} {'slowest':>12} {'page 10':>12}")
    for name, which in SEARCHES.items():
        times = []
        for _ in range(5):
            began = time.perf_counter()
            page = await calls.search(which)
            times.append((time.perf_counter() - began) * 1000)
        rows, cursor, last = len(page.rows), page.next, 0.0
        for _ in range(9):
            if cursor is None:
                break
            began = time.perf_counter()
            page = await calls.search(which, cursor=cursor)
            last, cursor = (time.perf_counter() - began) * 1000, page.next
        print(f"{name:32} {rows:5} {statistics.median(times):9.2f} ms {max(times):9.2f} ms {last:9.2f} ms")
    found = (await calls.search(CallFilter(), limit=1)).rows[0]
    others: dict[str, Callable[[], Awaitable[object]]] = {
        "get": lambda: calls.get(found.request_id),
        "usage by model": lambda: calls.usage("model"),
        "usage by key, a day": lambda: calls.usage("key", since_s=NOW_S - 86400),
        "spent": lambda: calls.spent(Begins(NOW_S - 43200, NOW_S - 5 * 86400, NOW_S - 25 * 86400)),
    }
    for name, work in others.items():
        began = time.perf_counter()
        await work()
        print(f"{name:32} {'':5} {(time.perf_counter() - began) * 1000:9.2f} ms")


async def export_all(calls: Calls) -> None:
    """How fast, and with how much memory."""
    tracemalloc.start()
    began, size = time.perf_counter(), 0
    async for piece in calls.export(CallFilter(since_s=NOW_S - 86400 * 3), "csv"):
        size += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"export: {size / 1e6:.1f} MB of CSV in {time.perf_counter() - began:.1f} s (traced), at most {peak / 1e6:.1f} MB of memory")


async def run(rows: int, url: str | None, days: float) -> None:
    """All of it."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        cost_of_write(home / "writes")
        fill(home / "journal", rows, days)
        if url is None:
            files.prepare(home / "store.db")
            url = f"sqlite:///{home}/store.db"
        database = Database(url)
        await bring_up(database)
        calls = Calls(database, home / "journal")
        await import_all(Importer(database, home / "journal"), rows)
        if database.path is None:
            async with database.begin() as connection:
                await connection.exec_driver_sql("ANALYZE")  # as autovacuum does
        else:
            print(f"database: {database.path.stat().st_size / rows:.0f} bytes for a row")
        await search_all(calls)
        await export_all(calls)
        await database.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--url")
    asked = parser.parse_args()
    asyncio.run(run(asked.rows, asked.url, asked.days))
