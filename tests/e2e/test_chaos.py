"""Every fault of a vendor, for one credential, for one provider, for all of them: nobody sees what somebody else could have served.

Fifty calls at a time, in two dialects, whole and streamed. After each fault nothing may be left behind, and who is well again is asked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.faults import FAULTS, OF_TIMEOUTS, Fault, Scope
from tests.e2e.processes import service
from tests.e2e.storm import KINDS, Answer, Kind, storm
from tests.e2e.weather import COMMIT_AFTER_S, Certificates, Pair, Weather, until
from tests.fakes.chaos import OPENING, Script, bare, flood, head

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_MEMORY_MB = 100
"""That the worker may have grown by since its first calls."""

ENDLESS_BYTES = 200 * 1024 * 1024
"""More than a reply may be long, and far more than an event of a stream."""
ENDLESS_CALLS = 3
PIECE = b"x" * 1024 * 1024
PIECES = 10
"""After which somebody else must have been served before there are more."""
MOST_MEMORY_OF_A_CALL_MB = 160
"""The limit for a whole reply, and room for copies of the last piece."""


class Before:
    """What the worker held when nothing had gone wrong yet."""

    def __init__(self, weather: Weather) -> None:
        self.descriptors = weather.descriptors_now()
        self.memory_mb = weather.memory_mb()["RSS"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def weather(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Weather]:
    directory: Path = tmp_path_factory.mktemp("chaos")
    certificates = Certificates(directory)
    waiting = [
        Pair(f"-{what}{'-everywhere' * everywhere}", impatient_for=what, everywhere=everywhere)
        for what in ("head", "body")
        for everywhere in (False, True)
    ]
    pairs = [Pair(), Pair("-tls", certificates), *waiting]
    file = directory / "providers.toml"
    file.write_text("".join(pair.toml for pair in pairs))
    for pair in pairs:
        await pair.heal()
    with service(directory, APP_PROVIDERS_FILE=str(file), SSL_CERT_FILE=str(certificates.file), **Weather.SETTINGS) as running:
        yield Weather(running, pairs)
    for pair in pairs:
        for vendor in pair.vendors:
            await vendor.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def before(weather: Weather) -> Before:
    for pair in weather.pairs.values():
        for _ in range(3):
            answers = await storm(weather.port, pair.model)
            assert not pair.stands or verdicts(answers) == {"ok"}, answers
        await recovered(weather, pair, strict=False)
        await weather.settled()
        await pair.heal()
    await weather.settled()
    return Before(weather)


@pytest_asyncio.fixture(loop_scope="module")
async def calm(weather: Weather, before: Before, fault: Fault, scope: Scope) -> AsyncIterator[Pair]:
    """The pair that a fault is for, well before and after it, whatever the test found."""
    pair = weather.pair(fault, scope)
    yield pair
    await pair.heal()
    await recovered(weather, pair, strict=False)
    await pair.heal()


def verdicts(answers: list[Answer]) -> set[str]:
    return {answer.verdict for answer in answers}


def expected(fault: Fault, scope: Scope, answer: Answer) -> set[str]:
    """What this client may get."""
    late = fault.late and answer.kind.stream
    found = {"broken"} if late else set()
    if fault.passes and answer.kind.name == "chat stream":
        found = {"passed"}
    found.add("told" if scope == "everywhere" and fault.outcome else "ok")
    return found


@pytest.mark.parametrize(("fault", "scope"), [pytest.param(f, scope, id=f"{f.name}-{scope}") for f in FAULTS for scope in f.scopes])
async def test_a_fault(weather: Weather, calm: Pair, before: Before, fault: Fault, scope: Scope) -> None:
    pair = calm
    hit = [name for _, _, name in pair.hit(scope)]
    await pair.strike(fault, scope)
    answers = await storm(weather.port, pair.model)
    states = await asyncio.to_thread(weather.upstreams)
    await weather.settled()

    wrong = [answer for answer in answers if answer.verdict not in expected(fault, scope, answer)]
    assert not wrong, wrong[:5]
    committed = [answer for answer in answers if answer.verdict == "told" and answer.status == 200]
    assert all(answer.kind.stream and answer.took_s >= COMMIT_AFTER_S for answer in committed)
    assert not fault.late or verdicts(answers) & {"broken", "passed"}

    lines = await weather.lines(answer.call_id for answer in answers)
    tries = [each for line in lines.values() for each in _tries(line)]
    failed = Counter(each for each in tries if ":ok" not in each and not each.startswith("-"))
    by_fault = {each for each in failed if fault.outcome and any(each == f"{name}:{fault.outcome}" for name in hit)}
    others = {each for each in set(failed) - by_fault if not _late(each)}
    assert not others, (others, hit)
    for answer in answers:
        if answer.verdict == "told" and answer not in committed:
            late = any(map(_late, _tries(lines[answer.call_id])))
            assert answer.status in fault.told | (OF_TIMEOUTS if late else set()), (answer, lines[answer.call_id])
    if fault.outcome:
        assert {each.split(":")[0] for each in by_fault} == set(hit), failed
    for answer in answers:
        line = lines[answer.call_id]
        check_line(fault, answer, line)
    if fault.hold is not None:
        for name in hit:
            entry = states[name]
            held = entry["models"][pair.model] if fault.of_model else entry
            assert (held["state"], held["cause"]) == fault.hold, entry

    await pair.heal()
    await recovered(weather, pair, strict=scope != "everywhere")
    await weather.settled()
    await pair.heal()
    await weather.descriptors(before.descriptors)
    assert weather.memory_mb()["RSS"] < before.memory_mb + MOST_MEMORY_MB


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[3]], ids=lambda kind: kind.name)
async def test_a_reply_without_end_costs_bounded_memory_and_nobody_else_waits(weather: Weather, before: Before, kind: Kind) -> None:
    pair = weather.plain
    others: list[Answer] = []

    async def endlessly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(ENDLESS_BYTES // len(PIECE) // PIECES):
            served = len(others)
            await flood(PIECES * len(PIECE), bare(PIECE) if kind.stream else PIECE)(reader, writer)
            await until(lambda: asyncio.sleep(0, len(others)), lambda now, served=served: now > served)

    begin = OPENING + bare(b'data: {"a":"') if kind.stream else head(content_length=ENDLESS_BYTES)
    endless: Script = [begin, endlessly]
    pair.first.faults = {"key-a": (endless, endless), "key-b": (endless, endless)}
    weather.forget_peak()
    suffering = asyncio.create_task(storm(weather.port, pair.model, ENDLESS_CALLS, [kind]))
    while not suffering.done():
        others += await storm(weather.port, f"{pair.names[1]}/{pair.model}", 1, [kind])
    assert verdicts(await suffering) == verdicts(others) == {"ok"}
    assert len(others) > 2
    # The allocator may keep what it got, but the next kind's calls must find it free.
    assert weather.memory_mb()["HWM"] < before.memory_mb + ENDLESS_CALLS * MOST_MEMORY_OF_A_CALL_MB
    await pair.heal()
    await recovered(weather, pair, strict=True)
    await weather.settled()


def _late(tried: str) -> bool:
    """A machine that is busy otherwise may let one of the short deadlines pass, where there is one."""
    return ":timeout" in tried


def _tries(line: dict[str, Any]) -> list[str]:
    """A call's tries, an only one told as several would be; ["-"] for a call that nobody was asked for."""
    if line.get("tries"):
        return list(line["tries"])
    if not line.get("attempts"):
        return ["-"]
    status = f":{line['upstream_status']}" if line.get("upstream_status") else ""
    return [f"{line['provider']}/{line['credential']}:{line.get('error_code') or 'ok'}{status}"]


def check_line(fault: Fault, answer: Answer, line: dict[str, Any]) -> None:
    """The record says what the client saw."""
    assert line["status"] == answer.status
    assert line.get("attempts", 0) <= 5
    assert not set(line.get("notes", ())) & {"safety_valve", "retry_budget"} or answer.verdict != "ok"
    match answer.verdict:
        case "ok":
            assert not {"error_code", "client_ended"} & line.keys()
            assert not line.get("tries") or ":ok" in line["tries"][-1]
        case "told":
            assert line["error_code"]
            # A vendor may refuse without a word about when to come back; what we hold ourselves we know.
            if answer.status == 429 and ("retry-after" in fault.name or not line.get("attempts")):
                assert int(answer.headers["retry-after"]) >= 1
        case "broken":
            assert line["error_code"] == fault.outcome.partition(":")[0]
            assert not line.get("tries") or line["tries"][-1].endswith(fault.outcome), "nobody is asked after the first content"


async def recovered(weather: Weather, pair: Pair, *, strict: bool) -> None:
    """Every credential is asked again and nothing is held. `strict`: no call fails on the way."""

    async def look() -> dict[str, Any]:
        answers = await storm(weather.port, pair.model, 8)
        assert not strict or verdicts(answers) == {"ok"}, answers
        await storm(weather.port, f"{pair.names[1]}/{pair.model}", 2)
        asked = pair.first.asked + pair.second.asked
        states = await asyncio.to_thread(weather.upstreams)
        held = {name: entry for name, entry in states.items() if entry["state"] != "active" or entry.get("models")}
        return {"asked": asked, "held": held}

    await until(look, lambda found: not found["held"] and set(found["asked"]) == {"key-a", "key-b", "key-c"})
