"""The accounts are right whoever is killed, and whatever ends a call.

`FKLLMPROXY_KILLS` (8) is how many processes are killed with SIGKILL at random moments under load.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plane import SLOW, Admin, Key, providers, until, vendors
from tests.e2e.processes import KEY, Service, ask, free_port, service
from tests.e2e.weather import worker_of
from tests.fakes.chaos import OPENING, chunk, delta

KILLS = int(os.environ.get("FKLLMPROXY_KILLS", "8"))
SEED = 20_260_101
WHOM = ("worker", "everybody", "worker", "main")
"""One worker of each main process: at a second one in so short a time it would give up."""
STRAYS_S = 30.0
"""For so long copies stay that were being written at a kill."""

SUMS = ("tokens_input", "tokens_output", "tokens_cached_input", "tokens_cache_write", "tokens_reasoning", "cost_nanousd")


class Settled:
    """Threads that call all the time, whatever stops them, and keep the ids of calls whose whole answer they got, with their begin."""

    def __init__(self, port: int, secret: str, callers: int) -> None:
        self.calls: dict[str, float] = {}
        self._port = port
        self._secret = secret
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(callers)]

    def __enter__(self) -> Settled:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in self._threads)

    def _run(self, caller: int) -> None:
        count = 0
        while not self._end.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            with contextlib.suppress(OSError, http.client.HTTPException):
                while not self._end.is_set():
                    count += 1
                    self._call(connection, f"settled-{caller}-{count}", stream=count % 4 == 0)
            connection.close()
            self._end.wait(0.02)

    def _call(self, connection: http.client.HTTPConnection, name: str, *, stream: bool) -> None:
        body = {"model": "sandbox?chunks=3", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
        headers = {"authorization": f"Bearer {self._secret}", "x-request-id": name}
        began_s = time.monotonic()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        reply = connection.getresponse()
        data = reply.read()
        if reply.status == 200 and (not stream or data.endswith(b"data: [DONE]\n\n")):
            self.calls[name] = began_s


class Changes(threading.Thread):
    """An administrator who changes one pool all the time; `done` is what he was told was kept."""

    def __init__(self, admin: Admin) -> None:
        super().__init__(daemon=True)
        self.done: list[str] = []
        self._admin = admin
        self._end = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._end.wait(0.05):
            number += 1
            with contextlib.suppress(OSError, http.client.HTTPException):
                if (
                    self._admin.answer("PATCH", "/pools/p", {"label": f"label {number}"}, **{"x-request-id": f"change-{number}"}).status
                    == 200
                ):
                    self.done.append(f"change-{number}")

    def stop(self) -> None:
        self._end.set()
        self.join(90)


class Mortal:
    """A service that is killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.state = directory / "state"
        self._settings = {
            "APP_SERVER__PORT": str(free_port()),
            "APP_STORE__DIRECTORY": str(self.state),
            "APP_AUTH__MASTER_KEY": KEY,
            "APP_RATE_LIMIT__ENABLED": "false",
            "APP_LOG__LEVEL": "warning",
        }
        self.running = Service(directory, self._settings)

    def kill(self, whom: str) -> float:
        """The moment of it. Returns when somebody serves again."""
        pid = self.running.pid
        worker = worker_of(pid)
        if whom == "everybody":
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(worker if whom == "worker" else pid, signal.SIGKILL)
        killed_s = time.monotonic()
        # A worker whose main process is gone ends by itself, and lets go of the port.
        until(lambda: not Path(f"/proc/{worker}").exists())
        if whom != "worker":
            assert self.running.stop() == -signal.SIGKILL
            self.running = Service(self._directory, self._settings)
        self.running.wait_for(f"{self.running.url}/livez")
        return killed_s


def call(admin: Admin, key: Key, name: str) -> None:
    body = {"model": "sandbox", "messages": [{"role": "user", "content": name}]}
    assert ask(f"{admin.root}/v1/chat/completions", key=key.secret, body=body, headers={"x-request-id": name}).status == 200


def write_down(admin: Admin, key: Key, state: Path, name: str) -> None:
    """Until all that was settled before is in the journal, or already in the store: lines come into both in their order."""
    call(admin, key, name)

    def written() -> bool:
        for path in (state / "journal").glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if f'"{name}"'.encode() in path.read_bytes():
                    return True
        return bool(admin.calls(f"&request_id={name}"))

    until(written, timeout_s=20)


def settle(admin: Admin, key: Key) -> None:
    """Until all that was said before is in the store."""
    call(admin, key, "the-last")
    until(lambda: admin.calls("&request_id=the-last"), timeout_s=60)
    # What a process that was killed had begun to write waits too, until its file is removed.
    until(lambda: admin.store()["journal"]["waiting_bytes"], lambda size: size == 0, timeout_s=60)


@contextlib.contextmanager
def database(state: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{state / 'fkllmproxy.db'}?mode=ro", uri=True)) as connection:
        yield connection


def check_sums(connection: sqlite3.Connection) -> int:
    """The sums by hour are those of the rows. Gives how many rows there are."""
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in SUMS)
    names = ", ".join(f"coalesce({name}, '')" for name in ("key_id", "pool", "provider_key", "model_id"))
    grouped = f"SELECT {names}, {{}}, {sums} FROM {{}} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    of_rows = connection.execute(grouped.format("count(*)", "calls")).fetchall()
    of_hours = connection.execute(grouped.format("sum(calls)", "usage_hourly")).fetchall()
    assert of_rows == of_hours
    return sum(int(row[4]) for row in of_rows)


def test_no_kill_costs_a_call_that_was_written_down(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    mortal = Mortal(tmp_path)
    admin = Admin.of(mortal.running)
    admin.pool("p")
    key = admin.key("p")
    changes = Changes(admin)
    kills: list[float] = []
    written: set[str] = set()
    stray = mortal.state / ".in-force.json.0123abcd"
    stray.touch()
    os.utime(stray, (time.time() - 2 * STRAYS_S,) * 2)
    with Settled(mortal.running.port, key.secret, 6) as load:
        changes.start()
        for number in range(KILLS):
            calls, done = len(load.calls) + 20, len(changes.done)
            until(lambda calls=calls, done=done: len(load.calls) > calls and len(changes.done) > done)
            settled = [name for name, began_s in list(load.calls.items()) if not kills or began_s > kills[-1]]
            write_down(admin, key, mortal.state, f"written-{number}")
            written.update(settled)
            time.sleep(chance.uniform(0.0, 1.0))
            kills.append(mortal.kill(WHOM[number % len(WHOM)]))
        calls = len(load.calls) + 20
        until(lambda: len(load.calls) > calls)
        changes.stop()
    admin = Admin.of(mortal.running)
    settle(admin, key)
    assert admin.get("/audit/verify")["ok"]
    kept = {row["request_id"] for row in every(admin, "/audit?action=pool.update", "before_id")}
    assert mortal.running.stop() == 0
    assert not stray.exists()
    assert len(list(mortal.state.glob(".in-force.json.*"))) <= KILLS, "copies that were being written at a kill"

    with database(mortal.state) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ids = Counter(name for (name,) in connection.execute("SELECT request_id FROM calls"))
        rows = check_sums(connection)
    assert rows == ids.total()
    twice = [name for name, count in ids.items() if count > 1]
    assert not twice
    missing = [name for name in load.calls if name not in ids]
    assert not written & set(missing)
    safe = {name: began_s for name in missing if (began_s := load.calls[name]) > kills[-1]}
    assert not safe, (safe, kills)
    assert len(load.calls) > 20 * KILLS
    assert set(changes.done) <= kept
    figures = {"kills": len(kills), "calls": len(load.calls), "lost": len(missing), "rows": rows, "changes": len(changes.done)}
    print(f"\n{figures}, none of them lost that was written down")
    assert len(changes.done) >= KILLS


def every(admin: Admin, path: str, cursor: str) -> Iterator[dict[str, Any]]:
    """All pages of a log."""
    page: list[dict[str, Any]] = admin.get(f"{path}&limit=1000")
    while page:
        yield from page
        page = admin.get(f"{path}&limit=1000&{cursor}={page[-1]['id']}")


# --- cut streams

PATHS = ("/v1/chat/completions", "/v1/messages")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Admin, Key]]:
    directory = tmp_path_factory.mktemp("cut")
    with vendors() as (vendor,):
        used = {"usage": {"prompt_tokens": 30, "completion_tokens": 4}}
        broken = [OPENING, chunk(delta("so far ", **used)), chunk(delta("so good ", **used))]
        vendor.faults["broken"] = (broken, broken)
        file = providers(directory, ("slow", vendor, [SLOW], "slow"), ("broken", vendor, ["broken"], "broken"))
        settings = {"APP_AUTH__MASTER_KEY": KEY, "APP_PROVIDERS_FILE": file, "APP_RATE_LIMIT__ENABLED": "false"}
        with service(directory, **settings) as running:
            admin = Admin.of(running)
            yield running, admin, admin.key(admin.pool("p"))
    with database(directory / f"state-{running.port}") as connection:
        assert check_sums(connection) == len(PATHS) * 2


def stream_of(model: str) -> bytes:
    return json.dumps({"model": model, "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}]}).encode()


@pytest.mark.parametrize("path", PATHS)
def test_what_a_stream_used_is_booked_when_its_client_hangs_up(served: tuple[Service, Admin, Key], path: str) -> None:
    running, admin, key = served
    name, body = f"gone-{PATHS.index(path)}", stream_of(SLOW)
    headers = f"host: x\r\nauthorization: Bearer {key.secret}\r\nx-request-id: {name}\r\ncontent-length: {len(body)}"
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body)
        until(lambda: connection.recv(65536), lambda data: b"slowly" in data)
    (row,) = until(lambda: admin.calls(f"&request_id={name}"))
    assert (row["tokens_input"], row["tokens_output"], row["status"], row["ended_by"]) == (3, 2, 200, "client")


@pytest.mark.parametrize("path", PATHS)
def test_what_a_stream_used_is_booked_when_its_vendor_breaks_off(served: tuple[Service, Admin, Key], path: str) -> None:
    running, admin, key = served
    name = f"broken-{PATHS.index(path)}"
    answer = ask(f"{running.url}{path}", key=key.secret, body=stream_of("broken"), headers={"x-request-id": name})
    assert b"so good" in answer.body
    (row,) = until(lambda: admin.calls(f"&request_id={name}"))
    assert (row["tokens_input"], row["tokens_output"], row["status"], row["ended_by"]) == (30, 4, 200, "upstream")
    assert row["error_code"]
    assert admin.get(f"/keys/{key.id}")["spent"]["tokens_today"] >= 34
