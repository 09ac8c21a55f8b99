"""Calls of every kind through the Codex CLI while its children die and pause, its vendor fails, and clients leave.

FKLLMPROXY_CODEX_CALLS says how many. Every one is answered as its dialect has it or refused, in time, and written down once; behind them
there is no process, descriptor or directory that was not there before. What goes wrong when is drawn by lot, always the same.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from tests.e2e.codex_calls import DIALECTS, call, chat, text_of, told
from tests.e2e.codex_endpoint import numbers
from tests.e2e.codex_stage import MODEL, Stage, stage
from tests.e2e.plane import Admin, until
from tests.e2e.processes import KEY, Answer

CALLS = int(os.environ.get("FKLLMPROXY_CODEX_CALLS", "100"))
AT_ONCE = 8
SEED = 20
SILENCE_S = 20
MOST_S = 300.0
"""A call that takes longer than all deadlines together hangs."""

BREAKS_EVERY = max(40, CALLS // 25)
"""Calls between two faults of a child."""

PAUSES_S = (0.5, 25.0) if CALLS >= 500 else (0.5,)
"""How long a child is stopped; after the longer one it is not there any more."""

MOST_ROWS = 1000
TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}

SCRIPTS = {
    "x?numbers=5&chunks=5": 40,
    "x?numbers=200&chunks=200": 10,
    "x?numbers=8&chunks=8&delay_ms=40": 15,
    "x?numbers=5&thoughts=2&seal=c2VhbGVk": 10,
    "tools": 10,
    "leaves": 12,
    "x?numbers=20&chunks=20&drop_after=5": 4,
    "x?numbers=20&chunks=20&hang_after=5": 2,
    "x?numbers=5&status=500": 3,
    "x?numbers=5&status=429&type=rate_limit_error": 3,
    "x?numbers=5&failed=server_is_overloaded": 3,
}

Verdict = Literal["ok", "told", "broken", "left"]


class Storm:
    """Callers and what they got. `ids` are those that the calls were made with."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.ids: list[str] = []
        self.slowest_s = 0.0
        self.verdicts: Counter[Verdict] = Counter()
        self.refusals: Counter[str] = Counter()
        self.breaks: Counter[str] = Counter()
        self._chance = random.Random(SEED)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._resumed: list[threading.Timer] = []

    def run(self) -> None:
        plan = self._chance.choices([*SCRIPTS], [*SCRIPTS.values()], k=CALLS)
        draws = [(script, self._chance.choice(DIALECTS), self._chance.random() < 0.5, self._chance.random()) for script in plan]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(self._one, number, *draw) for number, draw in enumerate(draws, 1)]:
                done.result()
        for timer in self._resumed:
            timer.join()

    def _one(self, number: int, script: str, dialect: Any, stream: bool, chance: float) -> None:
        if number % BREAKS_EVERY == BREAKS_EVERY // 2:
            self._break_child(chance, kill=number // BREAKS_EVERY % 2 == 0)
        if script == "tools":
            self._two_legs(stream)
        elif script == "leaves":
            self._leave(*dialect("x?numbers=50&chunks=50&delay_ms=40", stream), after_s=chance)
        else:
            self._judge(self._ask(*dialect(script, stream)), script)

    # --- calls

    def _ask(self, path: str, body: Any, leave_after_s: float | None = None) -> Answer | None:
        """None for a client that left."""
        with self._lock:
            self.ids.append(f"chaos-{next(self._numbers)}")
            headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", "x-request-id": self.ids[-1]}
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.stage.service.port, timeout=leave_after_s or MOST_S)
        try:
            connection.request("POST", path, json.dumps(body), headers)
            reply = connection.getresponse()
            data = reply.read() if leave_after_s is None else self._some(reply, began + leave_after_s)
        except TimeoutError:
            assert leave_after_s is not None, f"{path} took more than {MOST_S} s"
            return None
        finally:
            connection.close()
            with self._lock:
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, data)

    def _some(self, reply: http.client.HTTPResponse, until_s: float) -> bytes:
        found = b""
        while time.monotonic() < until_s and (piece := reply.read1(4096)):
            found += piece
        return found

    def _leave(self, path: str, body: Any, after_s: float) -> None:
        self._ask(path, body, leave_after_s=0.05 + after_s)
        self._count("left")

    def _two_legs(self, stream: bool) -> None:
        history: list[Any] = [{"role": "user", "content": "x?tools=2"}]
        first = self._ask("/v1/chat/completions", {"model": MODEL, "messages": history, "tools": [TOOL]})
        assert first is not None
        if first.status != 200:
            self._judge(first, "")
            return
        message = first.json()["choices"][0]["message"]
        history.append(message)
        history += [{"role": "tool", "tool_call_id": call["id"], "content": call["id"]} for call in message["tool_calls"]]
        second = self._ask("/v1/chat/completions", {"model": MODEL, "messages": history, "tools": [TOOL], "stream": stream})
        self._count("ok")
        assert second is not None
        assert b"tool_calls" not in second.body, second.body
        self._judge(second, "", f"results: {json.dumps([call['id'] for call in message['tool_calls']])}")

    def _judge(self, answer: Answer | None, script: str, expected: str = "") -> None:
        """Nothing but the whole text, or an error in the client's dialect."""
        assert answer is not None
        failed = answer.status != 200 or b'"error":{' in answer.body
        if failed:
            error = told(answer)
            with self._lock:
                self.refusals[f"{answer.status} {error.get('code') or error.get('type')}"] += 1
            # 500: the child was killed while it was being started.
            assert answer.status in (200, 429, 502, 503, 504, 529) or (answer.status == 500 and b"could not be started" in answer.body), (
                answer.body
            )
            self._count("broken" if answer.status == 200 else "told")
            return
        assert not {"drop_after", "hang_after", "status", "failed"} & {each.split("=")[0] for each in script.replace("?", "&").split("&")}
        assert text_of(answer) == (expected or numbers(int(script.partition("numbers=")[2].partition("&")[0])))
        self._count("ok")

    def _count(self, verdict: Verdict) -> None:
        with self._lock:
            self.verdicts[verdict] += 1

    # --- children

    def _break_child(self, chance: float, *, kill: bool) -> None:
        children = self.stage.children()
        if not children:
            return
        child = children[int(chance * 1000) % len(children)]
        pause_s = PAUSES_S[int(chance * 100) % len(PAUSES_S)]
        with self._lock, contextlib.suppress(ProcessLookupError):
            if kill:
                self.breaks["killed"] += 1
                os.kill(child, signal.SIGKILL)
            else:
                self.breaks[f"stopped for {pause_s:g} s"] += 1
                os.kill(child, signal.SIGSTOP)
                timer = threading.Timer(pause_s, _resume, (child,))
                self._resumed.append(timer)
                timer.start()


def _resume(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGCONT)


def below(pid: int) -> list[str]:
    """Names of the processes that `pid` started; `codex <defunct>` is a zombie's."""
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "comm="], capture_output=True, text=True, check=False).stdout
    return sorted(found.splitlines())


def one_child(stage: Stage) -> None:
    """One that is well, and nothing of any other one."""
    until(lambda: call(stage.service, chat, "x?text=well", False).status, lambda status: status == 200, 40)
    for extra in stage.children()[1:]:
        os.kill(extra, signal.SIGKILL)
    until(lambda: below(stage.worker), lambda names: names == ["codex", "sh"], 40)
    stage.nothing_waits()


def descriptors(stage: Stage) -> int:
    """Of the worker, but the store's files."""
    found = 0
    for each in Path(f"/proc/{stage.worker}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += "/state-" not in str(each.readlink())
    return found


def logged(stage: Stage) -> Counter[str]:
    """How often each call is in the log."""
    return Counter(str(line["req_id"]) for line in stage.service.lines() if str(line.get("req_id")).startswith("chaos-"))


def stored(stage: Stage, ids: list[str]) -> Counter[str]:
    """How often each of these is in the store, which tells of the newest calls."""
    return Counter(str(row["request_id"]) for row in Admin.of(stage.service).calls() if row["request_id"] in ids)


def test_every_call_is_answered_or_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with stage(tmp_path, APP_TIMEOUT__SILENCE_SECS=str(SILENCE_S)) as codex:
        one_child(codex)
        before = descriptors(codex)
        storm = Storm(codex)
        began = time.monotonic()
        storm.run()
        took_s = time.monotonic() - began
        one_child(codex)
        until(lambda: descriptors(codex), lambda count: count <= before)
        ids = storm.ids
        newest = ids[-MOST_ROWS // 2 :]
        until(lambda: logged(codex), lambda found: found == Counter(ids))
        until(lambda: stored(codex, newest), lambda found: found == Counter(newest))
        resident = resident_mb(codex)
    print(f"\n{len(ids)} calls in {took_s:.1f} s, slowest {storm.slowest_s:.2f} s: {dict(storm.verdicts)}")
    print(f"refused: {dict(storm.refusals)}; children: {dict(storm.breaks)}; worker {resident:.0f} MB")
    assert storm.verdicts["ok"] > len(ids) / 3
    assert storm.breaks


def resident_mb(stage: Stage) -> float:
    """Of the worker."""
    return int(Path(f"/proc/{stage.worker}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
