"""A booted Debian with the service installed as the runbook says."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.processes import BINARY, ROOT
from tests.lab.inside import said, until
from tests.lab.machine import CACHE, Machine

NEW = "/opt/fkllmproxy"
"""A file that somebody has just copied to the machine."""
LOAD = (str(ROOT / "tests" / "e2e" / "load.py"), "/opt/load.py", 0o644)
UNITS = ROOT / "packaging" / "systemd"


@pytest.fixture(autouse=True, scope="session")
def built() -> None:
    assert BINARY.exists(), "dist/fkllmproxy is missing; run 'make build'"


@contextmanager
def layer() -> Iterator[Path]:
    """A place for what a machine has changed, beside the machines themselves."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="layer-", dir=CACHE))
    try:
        yield folder / "kept"
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a fresh Debian becomes when the files are put into place and the units started; rate limit off."""
    settings = tmp_path_factory.mktemp("by-hand") / "env"
    settings.write_text("APP_RATE_LIMIT__ENABLED=false\n")
    copies: list[tuple[str, str, int | None]] = [
        (str(BINARY), "/usr/local/bin/fkllmproxy", 0o755),
        (str(UNITS / "fkllmproxy.service"), "/etc/systemd/system/fkllmproxy.service", 0o644),
        (str(UNITS / "fkllmproxy.socket"), "/etc/systemd/system/fkllmproxy.socket", 0o644),
        (str(settings), "/etc/fkllmproxy/env", 0o600),
        LOAD,
    ]
    with layer() as kept:
        with Machine(copies) as running:
            started = running.run("systemctl -q enable --now fkllmproxy.socket fkllmproxy.service", capture_output=True, text=True)
            assert started.returncode == 0, running.run("journalctl -u fkllmproxy --no-pager", capture_output=True, text=True).stdout
            running.keep(kept)
        yield kept


@pytest.fixture
def machine(by_hand: Path) -> Iterator[Machine]:
    """Up and serving, rate limit off so that load is not refused by it."""
    with Machine(layer=by_hand) as running:
        until(lambda: serving(running))
        yield running


@pytest.fixture
def bare() -> Iterator[Machine]:
    """A fresh Debian with nothing of ours but the built file, somewhere."""
    with Machine([(str(BINARY), NEW, 0o755), LOAD]) as running:
        yield running


@pytest.fixture(scope="session")
def installation() -> Iterator[Path]:
    """What `install` makes of a fresh Debian, as a layer that other machines start from."""
    with layer() as kept:
        with Machine([(str(BINARY), NEW, 0o755), LOAD]) as running:
            said(running, f"{NEW} install")
            running.keep(kept)
        yield kept


def serving(machine: Machine) -> bool:
    return machine.run("curl -sf http://127.0.0.1:4000/livez", capture_output=True).returncode == 0


@pytest.fixture
def installed(installation: Path, tmp_path: Path) -> Iterator[Machine]:
    """Installed by `install`, booted again and serving; rate limit off so that load is not refused by it."""
    settings = tmp_path / "env"
    settings.write_text((installation / "etc/fkllmproxy/env").read_text() + "APP_RATE_LIMIT__ENABLED=false\n")
    with Machine([(str(settings), "/etc/fkllmproxy/env", 0o600)], layer=installation) as running:
        until(lambda: serving(running))
        yield running
