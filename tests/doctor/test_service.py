"""The service's state, and who answers at its address."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, get_args

import pytest

from fkproxy import __version__
from fkproxy.doctor import clients
from fkproxy.doctor.service import check_address, check_process, check_units
from fkproxy.telemetry.journal_files import Trouble
from tests.doctor.patients import RUNNING, patient, told
from tests.e2e.processes import ROOT, free_port


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def health(**changes: Any) -> bytes:
    return json.dumps({"status": "ok", "version": __version__, "upstreams": [], **changes}).encode()


@pytest.mark.parametrize(
    ("status", "body", "severity", "words"),
    [
        (200, health(), "ok", "answers: ok"),
        (200, health(status="degraded"), "warning", "answers: degraded"),
        (503, health(status="unavailable"), "error", "answers: unavailable"),
        (200, health(version="0.0.9"), "warning", "version 0.0.9 runs"),
        (200, health(log_lines_dropped=7), "warning", "7 lines of its log are lost"),
        (200, b'{"status": "UP"}', "error", "is not fkllmproxy"),
        (200, b"<html>", "error", "does not answer as we do"),
    ],
)
def test_what_answers(status: int, body: bytes, severity: str, words: str) -> None:
    with answering(status, body) as port:
        last = told(check_address(patient(settings={"APP_SERVER__PORT": str(port)})))[-1]
    assert last[0] == severity
    assert words in last[1]


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (None, []),
        ({"state": "open", "message": "", "in_force": True}, []),
        ({"state": "opening", "message": "", "in_force": True}, []),
        ({"state": "locked", "message": "the database is locked", "in_force": True}, ["error"]),
        ({"state": "open", "message": "", "in_force": False}, ["warning"]),
        ({"state": "open", "message": "", "in_force": True, "journal": {"waiting_bytes": 9, "dropped": 0, "trouble": None}}, []),
        ({"state": "open", "message": "", "in_force": True, "journal": {"dropped": 0, "trouble": "read_only"}}, ["error"]),
        ({"state": "open", "message": "", "in_force": True, "journal": {"dropped": 7, "trouble": None}}, ["warning"]),
        (
            {"state": "full", "message": "no space", "in_force": True, "journal": {"dropped": 7, "trouble": "full"}},
            ["error", "error", "warning"],
        ),
    ],
)
def test_what_the_process_says_of_its_store(store: Any, expected: list[str]) -> None:
    with answering(200, health(store=store)) as port:
        found = list(check_address(patient(settings={"APP_SERVER__PORT": str(port)})))
    assert [each.severity for each in found if each.check == "store"] == expected


@pytest.mark.parametrize("trouble", get_args(Trouble))
def test_why_records_cannot_be_written_is_told_and_where_it_is_explained(trouble: str) -> None:
    with answering(200, health(store={"state": "open", "journal": {"dropped": 0, "trouble": trouble}})) as port:
        (found,) = [each for each in check_address(patient(settings={"APP_SERVER__PORT": str(port)})) if each.check == "store"]
    assert f"({trouble})" in found.message
    assert "'The store cannot be used'" in found.fix
    section = (ROOT / "runbook.md").read_text().partition("\n### The store cannot be used\n")[2].partition("\n## ")[0]
    assert f"`{trouble}`" in section.partition("`trouble`")[2]


@pytest.mark.parametrize(("state", "severity"), [("active", "error"), ("inactive", "note")])
def test_nobody_there_is_an_error_if_somebody_should_be(state: str, severity: str) -> None:
    port = free_port()
    found = told(check_address(patient(settings={"APP_SERVER__PORT": str(port)}, service={**RUNNING, "ActiveState": state})))
    assert found == [(severity, f"nobody listens on 127.0.0.1:{port}")]


def test_the_socket_unit_decides_the_address() -> None:
    socket = {"ActiveState": "active", "Listen": "[::]:4100 (Stream)"}
    assert patient(socket=socket).address == ("::1", 4100)
    assert patient(socket={"ActiveState": "active", "Listen": "127.0.0.1:4200 (Stream)"}).address == ("127.0.0.1", 4200)
    assert patient(socket={"ActiveState": "inactive", "Listen": "127.0.0.1:4200 (Stream)"}).address == ("127.0.0.1", 4000)


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({}, ("ok", "active: 0.1.0, ok")),
        ({"ActiveState": "failed", "Result": "watchdog"}, ("error", "it has failed (watchdog)")),
        ({"ActiveState": "inactive"}, ("warning", "it is inactive")),
        ({"NRestarts": "3"}, ("warning", "systemd has restarted it 3 times by itself")),
        (
            {"StatusText": "it takes no new connection"},
            ("error", "it goes on with its calls and takes no new connection: it has 4,096, or no descriptor left"),
        ),
        (
            {"StatusText": "ok; the version that was to follow did not get ready at 1"},
            ("warning", "the last upgrade did not get ready; the version before goes on"),
        ),
    ],
)
def test_the_process(service: dict[str, str], expected: tuple[str, str]) -> None:
    assert expected in told(check_process(patient(service={**RUNNING, **service})))


@pytest.mark.parametrize(
    ("service", "socket", "said"),
    [
        ("active", {"ActiveState": "inactive", "UnitFileState": "enabled"}, True),
        ("active", {"ActiveState": "active", "UnitFileState": "enabled"}, False),
        ("inactive", {"ActiveState": "inactive", "UnitFileState": "enabled"}, False),
        ("active", {"ActiveState": "inactive", "UnitFileState": "disabled"}, False),
        ("active", {}, False),
    ],
)
def test_a_socket_unit_that_is_wanted_and_was_left_behind(service: str, socket: dict[str, str], said: bool) -> None:
    found = told(check_process(patient(service={**RUNNING, "ActiveState": service}, socket=socket)))
    assert any("without fkllmproxy.socket" in message for _, message in found) is said


@pytest.mark.parametrize("state", ["failed", "inactive"])
@pytest.mark.parametrize(("socket", "units"), [("enabled", "fkllmproxy.socket fkllmproxy.service"), ("disabled", "fkllmproxy.service")])
def test_what_does_not_run_is_to_be_started_with_its_socket_unit_where_that_is_wanted(state: str, socket: str, units: str) -> None:
    port = free_port()
    found = patient(
        settings={"APP_SERVER__PORT": str(port)},
        variables={"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"},
        service={**RUNNING, "ActiveState": state},
        socket={"ActiveState": "failed", "UnitFileState": socket},
    )
    fixes = [next(iter(check(found))).fix for check in (check_process, check_address, clients.check)]
    assert all(fix.endswith(f"systemctl start {units}") for fix in fixes)
    # Else systemd says for a minute "Start request repeated too quickly".
    assert all(("systemctl reset-failed fkllmproxy.service; " in fix) is (state == "failed") for fix in fixes)


@pytest.mark.parametrize(("streams", "severity"), [("100", "ok"), ("4000", "warning")])
def test_descriptors_for_the_streams_that_are_allowed(streams: str, severity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.prlimit", lambda pid, which: (1024, 4096))
    service = {**RUNNING, "MainPID": str(os.getpid())}
    assert told(check_process(patient(settings={"APP_CONCURRENCY__MAX_STREAMS": streams}, service=service)))[-1][0] == severity


def test_without_systemd_or_an_installation_that_is_said_and_nothing_else() -> None:
    assert [severity for severity, _ in told(check_units(patient(service={})))] == ["note"]
    assert [severity for severity, _ in told(check_units(patient(service={"LoadState": "not-found"})))] == ["note"]
