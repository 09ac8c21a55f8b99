"""What systemd and the process tell each other."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fkproxy.systemd import LISTEN_VARIABLE, Notifier, inherited_socket, watchdog_s


def test_what_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notifier = Notifier({"NOTIFY_SOCKET": str(path)})
        notifier.ready("0.1.0, ok\nnot a second line")
        notifier.alive("fine")
        notifier.status("still fine")
        notifier.handed_over(42, "0.2.0, ok")
        notifier.stopping()
        told = [manager.recv(4096).decode() for _ in range(5)]
        notifier.close()
    assert told == [
        "READY=1\nSTATUS=0.1.0, ok not a second line",
        "WATCHDOG=1\nSTATUS=fine",
        "STATUS=still fine",
        "MAINPID=42\nREADY=1\nWATCHDOG=1\nSTATUS=0.2.0, ok",
        "STOPPING=1\nSTATUS=finishing the calls under way",
    ]


def test_without_a_manager_nobody_is_told() -> None:
    notifier = Notifier({})
    notifier.ready("x")
    notifier.close()


@pytest.mark.parametrize(("interval", "expected"), [("30000000", 10.0), ("0", None), ("", None), ("x", None)])
def test_a_sign_of_life_every_third_of_the_interval(interval: str, expected: float | None) -> None:
    assert watchdog_s({"WATCHDOG_USEC": interval}) == expected
    assert watchdog_s({}) is None


def test_a_listening_socket_is_inherited() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        descriptor = os.dup(server.fileno())
        with inherited_socket({LISTEN_VARIABLE: str(descriptor)}, os.getpid()) or pytest.fail("nothing was inherited") as found:
            assert found.getsockname() == server.getsockname()
            assert not os.get_inheritable(descriptor)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_what_is_meant_for_another_process_is_left_alone(variables: dict[str, str]) -> None:
    assert inherited_socket(variables, os.getpid()) is None


def test_what_is_no_listening_socket_is_refused() -> None:
    with socket.socket() as plain, pytest.raises(ValueError, match="no listening"):
        inherited_socket({LISTEN_VARIABLE: str(plain.fileno())}, os.getpid())
    with pytest.raises(ValueError, match="no socket"):
        inherited_socket({LISTEN_VARIABLE: "987"}, os.getpid())
    with pytest.raises(ValueError, match="systemd passed 2 sockets"):
        inherited_socket({"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())}, os.getpid())
