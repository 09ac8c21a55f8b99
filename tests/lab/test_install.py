"""Install, upgrade, roll back and prepare on a real systemd: checked before they act, and nothing dropped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fkproxy import __version__
from tests.lab.conftest import NEW
from tests.lab.inside import CALLS, STREAMS, health, main_pid, refused, said, under_load, until
from tests.lab.machine import Machine
from tests.lab.variants import failing_selftest, unable_to_serve, variant

_INSTALLED = ("/usr/local/bin/fkllmproxy", "/etc/systemd/system/fkllmproxy.service", "/etc/systemd/system/fkllmproxy.socket")


def put(machine: Machine, file: Path) -> str:
    machine.copy_in(file, "/opt/next", 0o755)
    return "/opt/next"


def test_a_fresh_machine_gets_a_service_that_serves_and_stays(bare: Machine) -> None:
    told = said(bare, f"{NEW} install")
    assert "the service runs: " + __version__ in told
    assert health(bare)["version"] == __version__
    assert said(bare, "stat -c '%a %U' /etc/fkllmproxy/env") == "600 root"
    assert said(bare, "test -s /usr/local/share/doc/fkllmproxy/runbook.md && systemctl is-enabled fkllmproxy.service fkllmproxy.socket")
    pid = main_pid(bare)
    again = said(bare, f"{NEW} install")
    assert main_pid(bare) == pid, "nothing to do is nothing done"
    assert "/etc/fkllmproxy/env" in again
    bare.reboot()
    until(lambda: bare.run("curl -sf http://127.0.0.1:4000/health", capture_output=True).returncode == 0)


def test_a_host_that_is_not_ready_is_left_as_it_was(bare: Machine) -> None:
    said(bare, "systemd-run --unit other python3 -m http.server 4000 --bind 127.0.0.1")
    until(lambda: bare.run("curl -sf http://127.0.0.1:4000/", capture_output=True).returncode == 0)
    assert "somebody listens on 127.0.0.1:4000" in refused(bare, f"{NEW} install")
    said(bare, "systemctl stop other && mkdir -p /etc/fkllmproxy && echo APP_SERVER__PROT=1 > /etc/fkllmproxy/env")
    assert "did you mean APP_SERVER__PORT" in refused(bare, f"{NEW} install")
    for path in _INSTALLED:
        assert bare.run(["test", "-e", path]).returncode != 0
    assert said(bare, "cat /etc/fkllmproxy/env") == "APP_SERVER__PROT=1"
    said(bare, "rm /etc/fkllmproxy/env")
    said(bare, f"{NEW} install --no-start")
    assert said(bare, "systemctl is-active fkllmproxy.service || true") == "inactive"


def test_upgrade_and_rollback_under_load_drop_nothing(installed: Machine, tmp_path: Path) -> None:
    file = put(installed, variant(tmp_path / "next", "9.9.9"))
    figures = under_load(
        installed,
        f"fkllmproxy upgrade {file} && curl -s http://127.0.0.1:4000/health | grep -q 9.9.9",
        f"fkllmproxy rollback && curl -s http://127.0.0.1:4000/health | grep -q '{__version__}'",
        "systemctl restart fkllmproxy",
    )
    assert figures["failures"] == {}
    assert figures["answered"] >= 4 * CALLS
    assert figures["streamed"] >= 4 * STREAMS
    assert health(installed)["version"] == __version__
    assert said(installed, "fkllmproxy version") == f"fkllmproxy {__version__}"
    assert said(installed, "/usr/local/bin/fkllmproxy.previous version") == "fkllmproxy 9.9.9"
    said(installed, "fkllmproxy rollback")
    assert health(installed)["version"] == "9.9.9", "and forward again"


@pytest.mark.parametrize("make", [failing_selftest, unable_to_serve])
def test_a_bad_file_changes_nothing(installed: Machine, tmp_path: Path, make: object) -> None:
    assert callable(make)
    pid = main_pid(installed)
    file = put(installed, make(tmp_path / "next"))
    assert refused(installed, f"fkllmproxy upgrade {file}")
    assert main_pid(installed) == pid
    assert said(installed, "fkllmproxy version") == f"fkllmproxy {__version__}"
    assert said(installed, "ls /usr/local/bin") == "fkllmproxy"
    assert said(installed, "systemctl list-units --all --plain --no-legend 'fkllmproxy-trial*'") == ""


def test_an_upgrade_that_nobody_waits_for_is_made_to_its_end(installed: Machine, tmp_path: Path) -> None:
    file, folder = put(installed, variant(tmp_path / "next", "9.9.9")), "/usr/local/bin"
    under_way = f"until [ -e {folder}/fkllmproxy.replaced ] || [ -e {folder}/fkllmproxy.previous ]; do sleep 0.05; done"
    said(installed, f"fkllmproxy upgrade {file} & {under_way}; kill -HUP $!; wait $!")
    assert health(installed)["version"] == "9.9.9"
    assert said(installed, f"ls {folder}").split() == ["fkllmproxy", "fkllmproxy.previous"]
    said(installed, "bash -o pipefail -c 'fkllmproxy rollback | sed -n 1q'")
    assert health(installed)["version"] == __version__
    assert said(installed, f"{folder}/fkllmproxy.previous version") == "fkllmproxy 9.9.9"


def test_what_cannot_be_upgraded_to_is_refused(installed: Machine, tmp_path: Path) -> None:
    said(installed, "printf '#!/bin/sh\\nexit 0\\n' > /opt/script && chmod 755 /opt/script")
    assert "is not a built fkllmproxy file" in refused(installed, "fkllmproxy upgrade /opt/script")
    assert "is installed already" in refused(installed, f"fkllmproxy upgrade {NEW}")
    assert "there is no" in refused(installed, "fkllmproxy rollback")
    file = put(installed, variant(tmp_path / "next", "9.9.9"))
    said(installed, "cp /etc/fkllmproxy/env /opt/env && echo APP_SERVER__PROT=1 >> /etc/fkllmproxy/env")
    told = refused(installed, f"fkllmproxy upgrade {file}")
    assert "did you mean APP_SERVER__PORT" in told
    assert health(installed)["version"] == __version__, "the old one serves on"
    said(installed, "cp /opt/env /etc/fkllmproxy/env")
    assert "run it as root" in refused(installed, f"setpriv --reuid 1000 --clear-groups env HOME=/tmp fkllmproxy upgrade {file}")


def test_a_prepared_file_starts_without_unpacking(installed: Machine, tmp_path: Path) -> None:
    file = put(installed, variant(tmp_path / "next", "9.9.9"))
    assert "ready to start: fkllmproxy 9.9.9" in said(installed, f"fkllmproxy prepare {file}")
    unpacked = said(installed, "ls /var/cache/private/fkllmproxy")
    assert "fkllmproxy_9.9.9" in unpacked
    assert health(installed)["version"] == __version__
    # By hand, as the runbook has it.
    said(installed, f"install -m 755 {file} /usr/local/bin/fkllmproxy.new && mv /usr/local/bin/fkllmproxy.new /usr/local/bin/fkllmproxy")
    said(installed, "systemctl reload fkllmproxy")
    until(lambda: health(installed)["version"] == "9.9.9")
    assert said(installed, "ls /var/cache/private/fkllmproxy") == unpacked


def test_a_service_that_fails_since_an_upgrade_by_hand_comes_back_with_the_file_before(installed: Machine, tmp_path: Path) -> None:
    broken = put(installed, unable_to_serve(tmp_path / "next"))
    said(installed, f"cp -p /usr/local/bin/fkllmproxy /usr/local/bin/fkllmproxy.previous && cp {broken} /usr/local/bin/x")
    said(installed, "mv /usr/local/bin/x /usr/local/bin/fkllmproxy")
    assert installed.run("systemctl restart fkllmproxy", capture_output=True).returncode != 0
    until(lambda: said(installed, "systemctl show -P ActiveState fkllmproxy") in ("failed", "activating"))
    assert "the service runs again" in said(installed, "/usr/local/bin/fkllmproxy.previous rollback")
    assert health(installed)["version"] == __version__
    # And when the file is no program at all.
    said(installed, "head -c 1000 /usr/local/bin/fkllmproxy > /usr/local/bin/x && chmod 755 /usr/local/bin/x")
    said(installed, "cp -p /usr/local/bin/fkllmproxy /usr/local/bin/fkllmproxy.previous && mv /usr/local/bin/x /usr/local/bin/fkllmproxy")
    pid = main_pid(installed)
    said(installed, "systemctl reload fkllmproxy")
    until(lambda: "did not get ready" in said(installed, "systemctl show -P StatusText fkllmproxy"))
    assert main_pid(installed) == pid
    assert "has taken over" in said(installed, "/usr/local/bin/fkllmproxy.previous rollback")


def findings(machine: Machine, exit_code: int, prefix: str = "") -> dict[str, list[str]]:
    """Messages of the doctor by severity."""
    done = machine.run(f"{prefix} fkllmproxy doctor --offline --json", capture_output=True, text=True)
    assert done.returncode == exit_code, done.stdout + done.stderr
    found: dict[str, list[str]] = {"ok": [], "note": [], "warning": [], "error": []}
    for finding in json.loads(done.stdout)["findings"]:
        found[finding["severity"]].append(f"{finding['check']}: {finding['message']} -> {finding['fix']}")
    return found


def test_the_doctor_finds_what_is_wrong_and_says_what_to_do(installed: Machine) -> None:
    well = findings(installed, 1)
    assert not well["error"]
    assert [each.split(":")[0] for each in well["warning"]] == ["configuration"], "only that no provider is configured"
    somebody = findings(installed, 0, "setpriv --reuid 1000 --clear-groups env HOME=/tmp")
    assert any("/etc/fkllmproxy/env can only be read by root" in each for each in somebody["note"])
    assert "disk: /var/lib/fkllmproxy can only be looked at by root -> " in somebody["note"]
    assert any(each.startswith("address: 127.0.0.1:4000 answers") for each in somebody["ok"])
    said(installed, "echo OPENAI_BASE_URL=http://127.0.0.1:1/v1 >> /etc/fkllmproxy/env && echo OPENAI_API_KEY=sk-0 >> /etc/fkllmproxy/env")
    said(installed, "systemctl disable -q fkllmproxy.service")
    said(installed, "chmod 644 /etc/fkllmproxy/env && sed -i s/WatchdogSec=30/WatchdogSec=31/ /etc/systemd/system/fkllmproxy.service")
    bad = findings(installed, 2, "OPENAI_BASE_URL=http://127.0.0.1:4000 ANTHROPIC_BASE_URL=http://localhost:4000")
    assert any("chmod 600 /etc/fkllmproxy/env" in each for each in bad["error"])
    assert any("instead of '/v1'" in each for each in bad["error"])
    assert any("ANTHROPIC_BASE_URL leads here and is let in" in each for each in bad["ok"])
    assert any("WatchdogSec=31" in each for each in bad["warning"])
    assert any("daemon-reload" in each for each in bad["warning"])
    assert any("does not start with the machine" in each for each in bad["warning"])
    done = installed.run("fkllmproxy doctor", capture_output=True, text=True)
    assert done.returncode == 2
    assert "the credential could not be tried" in done.stdout or "no connection" in done.stdout
    assert "sk-0" not in done.stdout
    said(installed, "systemctl stop fkllmproxy.socket fkllmproxy.service")
    assert any("nobody listens" in each for each in findings(installed, 2)["note"])
    said(installed, "echo APP_SERVER__PROT=1 >> /etc/fkllmproxy/env && systemd-run --unit other python3 -m http.server 4000")
    until(lambda: installed.run("curl -sf http://127.0.0.1:4000/", capture_output=True).returncode == 0)
    worse = findings(installed, 2)
    assert any("did you mean APP_SERVER__PORT" in each for each in worse["error"])
    assert any("held by python3" in each for each in worse["error"])
