"""The Codex CLI breaking, hanging, missing, overrun, or asked by clients that leave: each client is told in its own dialect, in time."""

from __future__ import annotations

import http.client
import json
import os
import signal
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.codex_calls import DIALECTS, Dialect, call, chat, contents, messages, responses, text_of, told
from tests.e2e.codex_endpoint import numbers
from tests.e2e.codex_stage import CODEX, MODEL, VENDOR_KEY, Stage, stage
from tests.e2e.plane import until
from tests.e2e.processes import KEY, Answer, Service, ask, service

SLOWLY = "slowly?numbers=3000&chunks=3000&delay_ms=100"
"""For minutes: whatever a test does meanwhile, it is not through by itself."""


@pytest.fixture(scope="module")
def codex(directory: Path) -> Iterator[Stage]:
    with stage(directory / "codex-faults", APP_CODEX__MAX_PROCESSES="1") as found:
        yield found


class Hung:
    """A child that was stopped, and what its clients were told."""

    def __init__(self, stage: Stage, pool: ThreadPoolExecutor) -> None:
        self.stage = stage
        self.child = stage.child()
        os.kill(self.child, signal.SIGSTOP)
        self.answers = {
            (dialect, stream): pool.submit(call, stage.service, dialect, "hello", stream)
            for dialect in DIALECTS
            for stream in (False, True)
        }


@pytest.fixture(scope="module", autouse=True)
def hung(directory: Path) -> Iterator[Hung]:
    """It hangs from the first test on, and the last one looks at what came of it: that takes a while."""
    settings = {"APP_CODEX__MAX_PROCESSES": "1", "APP_TIMEOUT__FIRST_BYTE_SECS": "3"}
    with stage(directory / "codex-hung", **settings) as found, ThreadPoolExecutor(8) as pool:
        until(lambda: call(found.service, chat, "hello", False).status, lambda status: status == 200)
        yield Hung(found, pool)


@pytest.fixture(autouse=True)
def well(request: pytest.FixtureRequest) -> None:
    """Whatever the test before did, there is a child."""
    if "codex" in request.fixturenames:
        stage: Stage = request.getfixturevalue("codex")
        until(lambda: call(stage.service, chat, "hello", False).status, lambda status: status == 200)


def asking(codex: Stage, path: str, body: Any) -> http.client.HTTPConnection:
    """A connection on which this was asked for."""
    connection = http.client.HTTPConnection("127.0.0.1", codex.service.port, timeout=60)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json", "authorization": f"Bearer {KEY}"})
    return connection


# --- clients that leave


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_turn(codex: Stage, stream: bool) -> None:
    before = len(codex.endpoint.asked)
    connection = asking(codex, *chat(SLOWLY, stream))
    if stream:
        assert connection.getresponse().readline().startswith(b"data: ")
    (asked,) = until(lambda: codex.endpoint.asked[before:])
    connection.close()
    until(lambda: asked.left)
    codex.nothing_waits()
    assert codex.child()


# --- children that break


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_child_that_is_killed_is_told_of_and_the_next_call_is_served(codex: Stage, dialect: Dialect, stream: bool) -> None:
    before = len(codex.endpoint.asked)
    connection = asking(codex, *dialect(SLOWLY, stream))
    # The head of a stream goes out with what was said first.
    reply = connection.getresponse() if stream else None
    until(lambda: codex.endpoint.asked[before:])
    child = codex.child()
    os.kill(child, signal.SIGKILL)
    reply = reply or connection.getresponse()
    broken = Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
    connection.close()
    assert broken.status == (200 if stream else 502)
    assert told(broken)["message"] == "the child ended"
    assert call(codex.service, dialect, "hello", stream).status == 200
    assert codex.child() != child


def test_a_child_that_hangs_in_a_stream_ends_it_with_an_error(tmp_path: Path) -> None:
    """Not of the child's own making: what hangs is its vendor, and the child is none the worse for it."""
    with stage(tmp_path, APP_CODEX__MAX_PROCESSES="1", APP_TIMEOUT__SILENCE_SECS="3") as codex, ThreadPoolExecutor(2) as pool:
        until(lambda: call(codex.service, chat, "hello", False).status, lambda status: status == 200)
        child = codex.child()
        for answer in pool.map(lambda dialect: call(codex.service, dialect, "hello?hang_after=1", True), (chat, messages)):
            assert (answer.status, "timeout" in json.dumps(told(answer))) == (200, True)
        until(lambda: codex.endpoint.asked[-1].left)
        until(lambda: call(codex.service, chat, "hello", False).status, lambda status: status == 200)
        assert codex.child() == child


# --- what the vendor refuses


@pytest.mark.parametrize(
    ("status", "kind", "expected", "code"),
    [
        (400, "invalid_request_error", 400, "upstream_rejected"),
        (403, "permission_error", 502, "upstream_authentication"),
        (404, "invalid_request_error", 404, "upstream_model_not_found"),
        (429, "rate_limit_error", 429, "upstream_rate_limited"),
        (500, "server_error", 502, "upstream_error"),
        (503, "server_error", 503, "upstream_overloaded"),
    ],
)
def test_what_the_vendor_refuses_is_refused(codex: Stage, status: int, kind: str, expected: int, code: str) -> None:
    text = f"no?status={status}&type={kind}&retry_after=7"
    answers = [call(codex.service, chat, text, stream) for stream in (False, True)]
    assert [(answer.status, told(answer)["code"]) for answer in answers] == [(expected, code)] * 2


@pytest.mark.parametrize(("why", "reason"), [("max_output_tokens", "length"), ("content_filter", "content_filter")])
def test_an_answer_that_is_incomplete_says_why(codex: Stage, why: str, reason: str) -> None:
    choice = call(codex.service, chat, f"long?incomplete={why}&text=so far", False).json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == (reason, "so far")


def test_a_vendor_that_breaks_off_is_told_of(codex: Stage) -> None:
    assert call(codex.service, chat, "hello?drop_after=1", False).status == 502
    broken = call(codex.service, chat, "hello?drop_after=1", True)
    assert (broken.status, told(broken)["code"]) == (200, "upstream_error")


def test_a_login_that_is_refused_is_seen_in_its_state(codex: Stage) -> None:
    answer = call(codex.service, messages, "hello?status=401&type=authentication_error", False)
    assert (answer.status, told(answer)["code"]) == (502, "upstream_authentication")
    assert "codex login" in told(answer)["message"]
    (upstream,) = ask(f"{codex.service.url}/health").json()["upstreams"]
    assert upstream["state"] == "reauth_required", upstream
    assert call(codex.service, chat, "hello", False).status == 200
    (upstream,) = ask(f"{codex.service.url}/health").json()["upstreams"]
    assert upstream["state"] == "active", upstream


# --- programs that are none


@pytest.fixture(scope="module")
def misfits(directory: Path) -> Iterator[Service]:
    """A service whose providers are the Codex CLI in name only, by the model's name."""
    place = directory / "misfits"
    place.mkdir()
    (place / "text").write_text("no program")
    (place / "text").chmod(stat.S_IRUSR)
    (place / "sleeper").write_text("#!/bin/sh\nexec sleep 60\n")
    (place / "script").write_text("#!/no/such/interpreter\n")
    for name in ("sleeper", "script"):
        (place / name).chmod(0o700)
    # Only who says nothing at all shall meet the deadline.
    start_s = {"sleeper": 1}
    binaries = {
        "missing": place / "no-such-file",
        "text": place / "text",
        "true": "/bin/true",
        "cat": "/bin/cat",
        "sleeper": place / "sleeper",
        "script": place / "script",
        "homeless": CODEX,
    }
    file = place / "providers.toml"
    file.write_text(
        "".join(
            f'[[providers]]\nname = "{name}"\nadapter = "codex"\nmodels = ["{name}"]\n'
            f'codex = {{ binary = "{binary}", home = "{place / "text" if name == "homeless" else place}/home", '
            f"start_timeout = {start_s.get(name, 60)} }}\n"
            for name, binary in binaries.items()
        )
    )
    with service(place, APP_AUTH__MASTER_KEY=KEY, APP_PROVIDERS_FILE=str(file), APP_RATE_LIMIT__ENABLED="false") as running:
        yield running


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "no such file"),
        ("text", "permission denied"),
        ("true", "exit code 0"),
        ("cat", "exit code"),
        ("sleeper", "no handshake within 1 s"),
        ("script", "it was not found"),
        ("homeless", "Not a directory"),
    ],
)
def test_a_program_that_cannot_be_started_is_told_of_and_the_log_says_why(misfits: Service, name: str, why: str) -> None:
    dialect = DIALECTS[len(name) % 4]
    answer = call(misfits, dialect, "hello", False, name)
    assert answer.status == 500
    assert "spawn_error" in answer.body.decode() or told(answer).get("status") == "INTERNAL"
    binary = "/bin/codex" if name == "homeless" else f"/{name.replace('missing', 'no-such-file')}"

    def failures() -> list[dict[str, Any]]:
        """Log lines come a moment after the answer."""
        lines = [line for line in misfits.lines() if line.get("msg") == "child could not be started"]
        return [line for line in lines if line["binary"].endswith(binary)]

    (line,) = until(failures)
    assert why in line["reason"], line
    assert (KEY in str(line), line["level"]) == (False, "ERROR")


# --- more than there is room for


def test_calls_beyond_what_there_is_room_for_wait_and_are_refused(tmp_path: Path) -> None:
    room = {"APP_CODEX__MAX_PROCESSES": "1", "APP_CODEX__CALLS_PER_PROCESS": "1", "APP_ROUTING__MAX_WAIT_SECS": "0.2"}
    with stage(tmp_path, **room) as codex, ThreadPoolExecutor(4) as pool:
        assert call(codex.service, chat, "hello", False).status == 200
        calls = [pool.submit(call, codex.service, chat, "x?held=1", False) for _ in range(4)]
        until(lambda: [each.done() for each in calls].count(True), lambda count: count == 3)
        codex.endpoint.release.set()
        answers = [each.result(60) for each in calls]
        assert sorted(answer.status for answer in answers) == [200, 429, 429, 429]
        for refused in (answer for answer in answers if answer.status == 429):
            assert told(refused)["code"] == "concurrency_exceeded"
            assert int(refused.headers["retry-after"]) >= 1
        codex.nothing_waits()


# --- ends


def test_no_child_outlives_a_worker_that_was_killed(tmp_path: Path) -> None:
    with stage(tmp_path) as codex, ThreadPoolExecutor(4) as pool:
        assert call(codex.service, chat, "hello", False).status == 200
        for _ in range(4):
            pool.submit(_quietly, codex.service)
        until(lambda: len(codex.endpoint.asked), lambda count: count == 5)
        worker, children = codex.worker, codex.children()
        assert children
        os.kill(worker, signal.SIGKILL)
        until(lambda: set(codex.children()) & set(children), lambda found: not found)
        until(lambda: _status(codex.service), lambda status: status == 200)
        assert not [name for name in codex.directories() if name.startswith(f"calls/{worker}-")]


def _quietly(running: Service) -> None:
    try:
        call(running, chat, SLOWLY, True)
    except (OSError, http.client.HTTPException):
        return


def _status(running: Service) -> int:
    try:
        return call(running, chat, "hello", False).status
    except (OSError, http.client.HTTPException):
        return 0


@pytest.mark.parametrize("everybody", [False, True])
def test_calls_under_way_are_finished_when_the_service_is_stopped(tmp_path: Path, everybody: bool) -> None:
    """`everybody`: as systemd does it, which signals every process of the service."""
    text = "x?numbers=15&chunks=15&delay_ms=100"
    with stage(tmp_path) as codex, ThreadPoolExecutor(8) as pool:
        assert call(codex.service, chat, "hello", False).status == 200
        answers = [pool.submit(call, codex.service, dialect, text, stream) for dialect in DIALECTS for stream in (False, True)]
        until(lambda: len(codex.endpoint.asked), lambda count: count == 9)
        if everybody:
            for child in codex.children():
                os.kill(child, signal.SIGTERM)
        assert codex.service.stop() == 0
        codex.nothing_left()
        for answer in answers:
            assert text_of(answer.result(60)) == numbers(15)


# --- what must not be seen


def test_nothing_that_was_said_and_no_secret_is_in_a_log_or_in_the_childs_environment(tmp_path: Path) -> None:
    canary = "xq7{}q7x".format
    master = f"sk-{canary('master')}-0123456789"
    others = {"OPENAI_API_KEY": f"sk-{canary('openai')}", "ANTHROPIC_API_KEY": f"sk-ant-{canary('anthropic')}"}
    secrets = {"APP_AUTH__MASTER_KEY": master, "LOCAL_KEY": f"sk-{canary('local')}", **others}
    tool = {"type": "function", "function": {"name": canary("tool"), "parameters": {"type": "object", "properties": {}}}}
    heard = b""
    with stage(tmp_path, APP_LOG__LEVEL="debug", **secrets) as codex:
        for script in (
            "",
            f'&tools=1&arguments={{"a":"{canary("argument")}"}}',
            "&status=500",
            "&status=401",
            "&failed=" + canary("code"),
            "&drop_after=1",
            "&seal=" + canary("seal"),
        ):
            for stream in (False, True):
                said = [
                    {"role": "system", "content": canary("system")},
                    {"role": "user", "content": f"{canary('prompt')}?text={canary('reply')}{script}"},
                ]
                body = {"model": MODEL, "messages": said, "tools": [tool], "stream": stream}
                heard += ask(f"{codex.service.v1}/chat/completions", key=master, body=body).body
        (child,) = codex.children()
        environment = Path(f"/proc/{child}/environ").read_bytes()
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        asked = json.dumps(codex.endpoint.asked[0].body)
        os.kill(child, signal.SIGKILL)
        until(lambda: [line for line in codex.service.lines() if line.get("msg") == "child ended"])
    written = b"".join(path.read_bytes() for path in codex.home.rglob("*") if path.is_file())
    assert canary("prompt") in asked
    assert all(canary(name).encode() in heard for name in ("reply", "argument", "tool")), "they are heard where they must be"
    assert canary("local").encode() in environment
    for name in ("master", "openai", "anthropic"):
        assert canary(name).encode() not in environment + command
    assert b"xq7" not in command
    assert "xq7" not in codex.service.log.read_text()
    assert b"xq7" not in written


def test_the_child_knows_of_the_gateways_environment_what_it_needs(codex: Stage) -> None:
    entries = Path(f"/proc/{codex.child()}/environ").read_bytes().split(b"\0")
    environment = dict(entry.decode().split("=", 1) for entry in entries if entry)
    assert environment["LOCAL_KEY"] == VENDOR_KEY
    assert not [name for name in environment if name.startswith("APP_")]
    assert KEY not in environment.values()


# --- the child that hangs


def test_a_child_that_hangs_is_told_of_in_time_and_replaced(hung: Hung) -> None:
    found = {key: answer.result(60) for key, answer in hung.answers.items()}
    assert {answer.status for answer in found.values()} == {504}
    for stream in (False, True):
        assert [told(found[dialect, stream])["type"] for dialect in (chat, messages)] == ["timeout_error"] * 2
        assert [told(found[dialect, stream])["code"] for dialect in (chat, responses)] == ["timeout"] * 2
        assert told(found[contents, stream])["status"] == "DEADLINE_EXCEEDED"
    until(hung.stage.children, lambda now: now and now != [hung.child])
    until(lambda: call(hung.stage.service, chat, "hello", False).status, lambda status: status == 200)
    hung.stage.nothing_waits()
