"""The service manager, where there is none or it says no. What it does when it is there: tests/lab."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from fkproxy.installation import manager


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command of that name that shows one property and refuses everything else."""
    script = tmp_path / "systemctl"
    script.write_text(
        '#!/bin/sh\nif [ "$1" = show ]; then echo "MainPID=42"; echo "StatusText=a=b"; else echo "no such unit" >&2; exit 5; fi\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return script


def test_properties_are_read_and_missing_ones_are_empty(systemctl: Path) -> None:
    assert manager.show("MainPID", "StatusText", "Other") == {"MainPID": "42", "StatusText": "a=b", "Other": ""}


def test_a_refusal_is_told_in_its_own_words(systemctl: Path) -> None:
    with pytest.raises(manager.Refused, match="'systemctl start x' failed: no such unit"):
        manager.tell("start", "x")


def test_a_process_is_as_old_as_it_is_and_one_that_is_gone_is_older_than_any() -> None:
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert before_s <= manager.started_s(child.pid) <= time.clock_gettime(time.CLOCK_BOOTTIME) + 0.01
        assert manager.started_s(1) < before_s
    assert manager.started_s(child.pid) == 0.0
    assert manager.started_s(0) == 0.0


@pytest.mark.parametrize(("here", "user", "told"), [(False, 0, "does not run systemd"), (True, 1000, "run it as root"), (True, 0, None)])
def test_changes_need_systemd_and_root(here: bool, user: int, told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "is_here", lambda: here)
    monkeypatch.setattr("os.geteuid", lambda: user)
    if told is None:
        manager.require()
        return
    with pytest.raises(manager.Refused, match=told):
        manager.require()


@pytest.mark.parametrize(
    ("listen", "active", "found"),
    [
        ("127.0.0.1:4200 (Stream)", "active", ("127.0.0.1", 4200)),
        ("0.0.0.0:4200 (Stream) [::]:4201 (Stream)", "active", ("127.0.0.1", 4200)),
        ("[::]:4200 (Stream)", "active", ("::1", 4200)),
        ("/run/gateway.sock (Stream)", "active", None),
        ("127.0.0.1:4200 (Stream)", "inactive", None),
        ("", "active", None),
    ],
)
def test_the_address_of_a_socket_unit(listen: str, active: str, found: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    properties = {"Listen": listen, "ActiveState": active}
    assert manager.listens_at(properties) == found
    monkeypatch.setattr(manager, "is_here", lambda: True)
    monkeypatch.setattr(manager, "show", lambda *names, unit: properties)
    assert manager.socket_address() == found


def test_without_a_socket_unit_there_is_no_address_of_one(systemctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "is_here", lambda: True)
    systemctl.write_text("#!/bin/sh\nexit 1\n")
    assert manager.socket_address() is None
