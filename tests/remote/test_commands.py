"""The administrator's verbs, on the command line and over a socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fkproxy import cli
from fkproxy.remote import Administrator, Refusal

UPSTREAM: dict[str, Any] = {
    "key": "one/a",
    "state": "limited",
    "cause": "failure",
    "breaker": "closed",
    "retry_after_s": 12.5,
    "consecutive_failures": 3,
    "in_flight": 1,
    "last_error": "timeout",
    "models": [{"model_id": "m", "state": "exhausted", "cause": "model_quota", "retry_after_s": 60.0}],
}
EXPLAINED: dict[str, Any] = {
    "request_id": "r/1",
    "route": "/v1/messages",
    "status": 502,
    "error_code": "timeout",
    "model_requested": "asked",
    "model_id": "got",
    "attempts": 1,
    "duration_ms": 5,
    "candidates": [
        {"provider_key": "one", "credential": "a", "model_id": "m", "verdict": "failed", "reason": "timeout", "duration_ms": 4.5},
        {"provider_key": "two", "verdict": "passed_over", "reason": "limited", "retry_after_s": 30},
    ],
    "notes": ["waited"],
    "waited_ms": 1.5,
    "reasoning_requested": "effort high",
}


class Instance(BaseHTTPRequestHandler):
    """Answers as an instance would, and remembers what it was asked."""

    asked: list[tuple[str, str, str | None]] = []

    def answer(self) -> None:
        self.asked.append((self.command, self.path, self.headers.get("authorization")))
        status, body = 200, b""
        if "broken" in self.path:
            body = b"<html>"
        elif "nobody" in self.path:
            status, body = 404, json.dumps({"error": {"code": "not_found", "message": "there is no such upstream"}}).encode()
        elif "explain" in self.path:
            body = json.dumps(EXPLAINED).encode()
        elif self.path.endswith("reload"):
            body = json.dumps({"upstreams": [UPSTREAM], "warnings": ["odd"]}).encode()
        elif "pause" in self.path:
            body = json.dumps({**UPSTREAM, "retry_after_s": None, "state": "paused", "cause": "operator", "models": []}).encode()
        else:
            body = json.dumps([UPSTREAM]).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - names that http.server calls

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    Instance.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Instance) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_AUTH__MASTER_KEY", "sk-master-0123456789")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_upstreams_are_a_table(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "upstreams", "--url", url)
    assert code == 0
    _, one, model = out.splitlines()
    assert one.split() == ["one/a", "limited", "(failure)", "closed", "12.5", "s", "3", "1", "timeout"]
    assert model.split() == ["m", "exhausted", "(model_quota)", "60", "s"]
    assert Instance.asked == [("GET", "/admin/api/upstreams", "Bearer sk-master-0123456789")]


@pytest.mark.parametrize(
    ("arguments", "asked", "told"),
    [
        (["pause", "one/a"], ("POST", "/admin/api/upstreams/pause?key=one%2Fa"), "when resumed"),
        (["reset"], ("POST", "/admin/api/upstreams/reset"), "12.5 s"),
        (["resume", "one/a"], ("POST", "/admin/api/upstreams/resume?key=one%2Fa"), "12.5 s"),
        (["reload"], ("POST", "/admin/api/providers/reload"), "warning: odd"),
    ],
)
def test_verbs(arguments: list[str], asked: tuple[str, str], told: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "upstreams", *arguments, "--url", url)
    assert code == 0
    assert told in out
    assert Instance.asked[0][:2] == asked


def test_a_call_is_explained(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "r/1", "--url", url)
    assert code == 0
    assert Instance.asked[0][1] == "/admin/api/explain/r%2F1"
    lines = [line.split() for line in out.splitlines()]
    assert ["one/a", "m", "failed", "timeout", "-", "4.5", "ms", "-"] in lines
    assert ["two", "got", "passed", "over", "limited", "-", "-", "30", "s"] in lines
    assert "notes: waited" in out
    assert "thinking: asked for effort high, applied -" in out
    assert json.loads(run(capsys, "explain", "r/1", "--url", url, "--json")[1]) == EXPLAINED


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["upstreams", "pause", "nobody"], 1, "404 there is no such upstream"),
        (["upstreams", "pause", "broken"], 1, "no JSON"),
        (["upstreams", "pause"], 2, "name the upstream to pause"),
        (["explain", "x", "--key-file", "/nonexistent"], 2, "cannot be read"),
    ],
)
def test_refusals_are_plain(arguments: list[str], code: int, told: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, out, err = run(capsys, *arguments, "--url", url)
    assert (found, out) == (code, "")
    assert told in err


def test_nobody_there_and_no_address() -> None:
    with pytest.raises(Refusal, match="no answer from"):
        Administrator("127.0.0.1:1", None).upstreams()
    with pytest.raises(ValueError, match="not an http address"):
        Administrator("ftp://x", None)
