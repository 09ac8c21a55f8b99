"""What lies where after an install, upgrade or rollback, however it went. With a real service manager: tests/lab."""

from __future__ import annotations

import math
import os
import signal
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fkproxy.installation import Refused, steps


class Host:
    """A host with a service manager that takes every file, but for what a test says. `folder` stands for all of its folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refuses = False
        """Trials fail."""
        self.while_taking_over: Callable[[], None] = lambda: None
        self.state, self.listens_at = "active", ""
        """Of both units, and where the socket unit listens if it is known."""
        self.told: list[str] = []
        self.said: list[str] = []
        self.taking_over = [(math.inf, "version 2")]
        """One by one after a reload: when the main process was started, and its status."""
        self._main = (0.0, "version 1")
        self._reloaded = False

    def file(self, name: str, version: str, unit: str | None = None, runbook: str | None = None) -> Path:
        """A built file of that version, which brings `unit` as the service's, and `runbook`."""
        path = self.folder / name
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("version", version)
            if unit is not None:
                archive.writestr(f"site-packages/fkproxy/packaged/packaging/systemd/{steps.SERVICE}", unit)
            if runbook is not None:
                archive.writestr("site-packages/fkproxy/packaged/runbook.md", runbook)
        return path

    def versions(self) -> dict[str, str]:
        """By the names of the built files that are there; "" for one that is broken."""
        found = {path.name: path for path in self.folder.glob("fkllmproxy*")}
        return {name: zipfile.ZipFile(path).read("version").decode() if zipfile.is_zipfile(path) else "" for name, path in found.items()}

    def try_out(self, file: Path, *_: str) -> list[str]:
        if self.refuses or not zipfile.is_zipfile(file):
            raise Refused(f"{file} does not pass its trial")
        return ["fkllmproxy"]

    def tell(self, *arguments: str) -> str:
        self.told.append(" ".join(arguments))
        if arguments[0] == "reload":
            self.while_taking_over()
            self._reloaded = True
        return ""

    def show(self, *_: str, unit: str = "") -> dict[str, str]:
        if self._reloaded and self.taking_over:
            self._main = self.taking_over.pop(0)
        return {"ActiveState": self.state, "MainPID": "1", "StatusText": self._main[1], "Listen": self.listens_at}

    def started_s(self, _pid: int) -> float:
        return self._main[0]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Version 1 is installed."""
    made = Host(tmp_path)
    for name in ("BINARY", "NEXT", "PREVIOUS", "REPLACED", "RUNBOOK", "ENV_FILE"):
        monkeypatch.setattr(steps, name, tmp_path / getattr(steps, name).name)
    monkeypatch.setattr(steps, "UNITS", tmp_path / "units")
    monkeypatch.setattr(steps, "_LOCK", tmp_path / "lock")
    monkeypatch.setattr(steps, "require", lambda: None)
    for name in ("try_out", "tell", "show", "started_s"):
        monkeypatch.setattr(steps, name, getattr(made, name))
    monkeypatch.setattr(steps, "_LOOK_EVERY_S", 0.0)
    made.file("fkllmproxy", "1")
    steps.UNITS.mkdir()
    for unit in (steps.SERVICE, steps.SOCKET):
        (steps.UNITS / unit).write_text(steps.unit_file(unit))
    return made


def test_an_upgrade_keeps_the_file_before_for_a_rollback(host: Host) -> None:
    steps.upgrade(host.file("two", "2"), host.said.append)
    assert host.versions() == {"fkllmproxy": "2", "fkllmproxy.previous": "1"}
    steps.rollback(host.said.append)
    assert host.versions() == {"fkllmproxy": "1", "fkllmproxy.previous": "2"}


def test_an_upgrade_tells_where_the_new_version_has_another_unit_than_the_host(host: Host) -> None:
    installed = (steps.UNITS / steps.SERVICE).read_text()
    steps.upgrade(host.file("two", "2", unit=installed), host.said.append)
    (steps.UNITS / steps.SERVICE).write_text("[Service]\n")
    steps.upgrade(host.file("three", "3", unit="[Service]\n"), host.said.append)
    assert not any(said.startswith("note:") for said in host.said)
    steps.upgrade(host.file("four", "4", unit=installed), host.said.append)
    assert f"{steps.UNITS / steps.SERVICE} is not what the new version brings" in host.said[-1]


def test_the_runbook_on_the_host_is_that_of_the_file_in_use(host: Host) -> None:
    steps.RUNBOOK.write_text("of the first")
    steps.upgrade(host.file("two", "2", runbook="of the second"), host.said.append)
    assert steps.RUNBOOK.read_text() == "of the second"
    steps.upgrade(host.file("three", "3", runbook="of the third"), host.said.append)
    steps.rollback(host.said.append)
    assert steps.RUNBOOK.read_text() == "of the second"
    host.refuses = True
    with pytest.raises(Refused, match="does not pass its trial"):
        steps.upgrade(host.file("four", "4", runbook="of the fourth"), host.said.append)
    host.refuses = False
    assert steps.RUNBOOK.read_text() == "of the second"
    steps.upgrade(host.file("five", "5"), host.said.append)
    assert steps.RUNBOOK.read_text() == "of the second", "it brings none"


def test_a_runbook_that_cannot_be_written_is_no_upgrade_that_failed(host: Host) -> None:
    steps.RUNBOOK.mkdir()
    steps.upgrade(host.file("two", "2", runbook="of the second"), host.said.append)
    assert host.versions() == {"fkllmproxy": "2", "fkllmproxy.previous": "1"}
    assert f"note: {steps.RUNBOOK} is not that of the version in use" in host.said[-1]


def test_what_takes_over_is_the_process_that_was_started_since(host: Host) -> None:
    host.taking_over.insert(0, (0.0, "version 1, as somebody else has reloaded it"))
    steps.upgrade(host.file("two", "2"), host.said.append)
    assert "the new file has taken over: version 2" in host.said
    assert host.versions() == {"fkllmproxy": "2", "fkllmproxy.previous": "1"}


def test_a_file_that_does_not_get_ready_after_another_reload_is_taken_out_again(host: Host) -> None:
    host.taking_over = [(0.0, "version 1, as somebody else has reloaded it"), (0.0, "it goes on; what was to follow did not get ready")]
    with pytest.raises(Refused, match="the new file did not get ready"):
        steps.upgrade(host.file("two", "2"), host.said.append)
    assert host.versions() == {"fkllmproxy": "1"}


@pytest.mark.parametrize("step", [steps.upgrade, steps.prepare])
def test_a_file_that_lies_where_files_are_tried_is_tried_there_and_not_taken_away(host: Host, step: Callable[..., None]) -> None:
    file, host.refuses = host.file("fkllmproxy.new", "2"), True
    with pytest.raises(Refused, match="does not pass its trial"):
        step(file, host.said.append)
    assert host.versions() == {"fkllmproxy": "1", "fkllmproxy.new": "2"}


def test_a_file_that_lies_where_files_are_tried_is_what_is_installed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.upgrade(host.file("fkllmproxy.new", "2"), host.said.append)
    assert host.versions() == {"fkllmproxy": "2", "fkllmproxy.previous": "1"}
    monkeypatch.setattr(steps, "own_file", lambda: host.file("fkllmproxy.new", "3"))
    steps.install(host.said.append)
    assert host.versions() == {"fkllmproxy": "3", "fkllmproxy.previous": "2"}


def test_what_is_installed_can_be_read_and_run_whatever_umask_root_has(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "own_file", lambda: steps.BINARY)
    monkeypatch.setattr(steps, "RUNBOOK", host.folder / "doc" / "fkllmproxy" / "runbook.md")
    before = os.umask(0o077)
    try:
        steps.install(host.said.append)
    finally:
        assert os.umask(before) == 0o077
    made = (steps.RUNBOOK.parent.parent, steps.RUNBOOK.parent, steps.RUNBOOK, steps.ENV_FILE)
    assert [path.stat().st_mode & 0o777 for path in made] == [0o755, 0o755, 0o644, 0o600]


@pytest.mark.parametrize("refuses", [False, True])
def test_of_a_file_that_is_only_tried_no_copy_stays(host: Host, refuses: bool) -> None:
    file, host.refuses = host.file("two", "2"), refuses
    if refuses:
        with pytest.raises(Refused, match="does not pass its trial"):
            steps.prepare(file, host.said.append)
    else:
        steps.prepare(file, host.said.append)
    assert host.versions() == {"fkllmproxy": "1"}


def test_an_installation_that_is_refused_leaves_every_file_as_it_was(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    service, runbook = steps.UNITS / steps.SERVICE, host.folder / "runbook.md"
    copy = service.with_name(service.name + ".bak")
    for path, text in ((service, "[Service]\nRestartSec=7\n"), (copy, "the one before"), (runbook, "an older one")):
        path.write_text(text)
    service.chmod(0o640)
    before = {path: (path.read_bytes(), path.stat().st_mode) for path in host.folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(steps, "own_file", lambda: steps.BINARY)
    host.refuses = True
    with pytest.raises(Refused, match="does not pass its trial"):
        steps.install(host.said.append, replace_units=True)
    (host.folder / "lock").unlink()
    assert {path: (path.read_bytes(), path.stat().st_mode) for path in host.folder.rglob("*") if path.is_file()} == before
    assert host.told == ["daemon-reload"] * 2
    host.refuses = False
    steps.install(host.said.append, replace_units=True)
    assert service.read_text() == steps.unit_file(steps.SERVICE)
    assert copy.read_text() == "[Service]\nRestartSec=7\n"


def test_a_terminal_that_closes_does_not_end_what_was_begun(host: Host) -> None:
    handlers: list[object] = []
    host.while_taking_over = lambda: handlers.append(signal.getsignal(signal.SIGHUP))
    before = signal.getsignal(signal.SIGHUP)
    steps.upgrade(host.file("two", "2"), host.said.append)
    assert handlers == [signal.SIG_IGN]
    assert signal.getsignal(signal.SIGHUP) == before


def test_an_upgrade_that_is_interrupted_while_it_waits_can_be_rolled_back(host: Host) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    host.while_taking_over = interrupt
    with pytest.raises(KeyboardInterrupt):
        steps.upgrade(host.file("two", "2"), host.said.append)
    assert host.versions() == {"fkllmproxy": "2", "fkllmproxy.previous": "1"}


def test_an_upgrade_that_was_killed_while_it_waited_can_be_rolled_back(host: Host) -> None:
    host.file("fkllmproxy.previous", "0")
    steps.BINARY.rename(steps.REPLACED)
    host.file("fkllmproxy", "2")
    steps.rollback(host.said.append)
    assert host.versions() == {"fkllmproxy": "1", "fkllmproxy.previous": "2"}


def test_an_upgrade_that_was_killed_before_it_changed_anything_leaves_what_to_go_back_to(host: Host) -> None:
    host.file("fkllmproxy.previous", "0")
    steps.REPLACED.hardlink_to(steps.BINARY)
    steps.rollback(host.said.append)
    assert host.versions() == {"fkllmproxy": "0", "fkllmproxy.previous": "1"}


def test_two_names_of_one_file_are_no_obstacle(host: Host) -> None:
    steps.PREVIOUS.hardlink_to(steps.BINARY)
    steps.upgrade(host.file("two", "2"), host.said.append)
    assert host.versions() == {"fkllmproxy": "2", "fkllmproxy.previous": "1"}


def test_a_file_that_does_not_get_ready_is_taken_out_again(host: Host) -> None:
    def refuse() -> None:
        raise Refused("'systemctl reload' failed")

    host.while_taking_over = refuse
    with pytest.raises(Refused, match="reload"):
        steps.upgrade(host.file("two", "2"), host.said.append)
    assert host.versions() == {"fkllmproxy": "1"}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("failed", ["reset-failed fkllmproxy.service", "start fkllmproxy.socket", "restart fkllmproxy.service"]),
        ("activating", ["reset-failed fkllmproxy.service", "restart fkllmproxy.service"]),
        ("inactive", []),
    ],
)
def test_a_service_that_systemd_has_given_up_comes_back_at_the_address_of_its_socket_unit(host: Host, state: str, told: list[str]) -> None:
    host.state = state
    steps.upgrade(host.file("two", "2"), host.said.append)
    assert host.told == told


def test_the_address_that_has_to_be_free_is_where_an_operators_socket_unit_listens(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "own_file", lambda: steps.BINARY)
    host.state = "inactive"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for unit, known in ((f"[Socket]\nListenStream={address}\n", ""), ("", f"{address} (Stream)")):
            monkeypatch.setattr(steps, "unit_file", lambda _, text=unit: text)
            host.listens_at = known
            with pytest.raises(Refused, match=f"somebody listens on {address} already"):
                steps.install(host.said.append)
        host.listens_at = "127.0.0.1:1 (Stream)"
        steps.install(host.said.append)
    assert host.told[-1].startswith("enable --now")
    assert "then 'systemctl reload fkllmproxy'" in host.said[-1], "a restart would stop the service for settings that are wrong"
