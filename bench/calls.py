"""The request log with many rows: what a call's record costs, what an import costs, how long searches take.

    python -m bench.calls [--rows 1000000] [--url sqlite:///…|postgresql://…] [--days 30]

Without a URL a SQLite file is made in a temporary directory. The database must be empty. 200 keys, 10 pools, 4 providers and 8 models of
different weight; one call in twenty fails; the names of some keys, pools, models and providers are rare.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
import timeit
from collections.abc import Iterator
from pathlib import Path

from fkproxy.model.usage import Usage
from fkproxy.storage.calls_import import Importer
from fkproxy.telemetry.entry import EntryEncoder
from fkproxy.telemetry.journal import Journal
from fkproxy.telemetry.record import Attempt, CallRecord, Skipped

NOW_S = 1_800_000_000.0
MODELS = ["model-a", "model-b", "model-c", "model-d", "model-e", "model-f", "model-g", "model-rare"]
MODEL_WEIGHTS = [40, 25, 15, 8, 6, 4, 2, 0.001]
ERRORS = ["upstream_error", "upstream_rate_limited", "timeout", "rate_limit_exceeded"]
STATUSES = {"upstream_error": 502, "upstream_rate_limited": 429, "timeout": 504, "rate_limit_exceeded": 429}


def records(count: int, days: float) -> Iterator[CallRecord]:
    """Calls spread over the days before `NOW_S`, in order of their start but for a few seconds."""
    draw = random.Random(7)
    step_s = days * 86400 / count
    for number in range(count):
        model = draw.choices(MODELS, MODEL_WEIGHTS)[0]
        failed = draw.random() < 0.05
        error = draw.choice(ERRORS) if failed else None
        status = STATUSES[error] if error else 200
        key = 200 if draw.random() < 1e-5 else int(200 * draw.random() ** 2)
        provider = "rare" if draw.random() < 1e-5 else f"provider-{hash(model) % 4}"
        started = NOW_S - days * 86400 + number * step_s + draw.random() * 3
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


def fill(directory: Path, count: int, days: float) -> None:
    """Journal files as processes that are gone left them."""
    directory.mkdir(mode=0o700, parents=True)
    encode = EntryEncoder().encode
    lines: list[bytes] = []
    number = 0
    for number, record in enumerate(records(count, days), 1):
        lines.append(encode(record))
        if number % 20000 == 0 or number == count:
            (directory / f"calls-{number:013d}-1-{os.urandom(4).hex()}.jsonl").write_bytes(b"".join(lines))
            lines.clear()


async def import_all(importer: Importer, count: int) -> None:
    cpu, wall = time.process_time(), time.perf_counter()
    own = time.thread_time()
    longest = 0.0
    run = asyncio.events.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest
        began = time.thread_time()
        run(handle)
        took = time.thread_time() - began
        if took > 0.004:
            print(took, handle)
        longest = max(longest, took)

    asyncio.events.Handle._run = timed
    try:
        while importer.figures.imported < count:
            await importer.step()
    finally:
        asyncio.events.Handle._run = run
    print(
        f"import: {(time.process_time() - cpu) / count * 1e6:.1f} µs of CPU for a row, {(time.thread_time() - own) / count * 1e6:.1f} of them "
        f"on the event loop, at most {longest * 1000:.2f} ms of it at a time; {count / (time.perf_counter() - wall):,.0f} rows a second"
    )
    while await importer.step():
        pass
    importer.close()
