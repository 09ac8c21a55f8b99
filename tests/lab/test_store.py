"""What the service remembers, under its own sandbox: through restarts, handovers, upgrades and rollbacks, and untouched by trials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab.conftest import NEW
from tests.lab.inside import health, main_pid, refused, said, until
from tests.lab.machine import Machine
from tests.lab.variants import variant

_STATE = "/var/lib/fkllmproxy"
_CALL = (
    "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:4000/v1/chat/completions -H \"authorization: Bearer $(cat /run/key)\""
    ' -d \'{"model": "sandbox", "messages": [{"role": "user", "content": "x"}]}\' -H "x-request-id: '
)


@pytest.fixture
def team(installed: Machine) -> Machine:
    """With a master key, a pool and a key of it in /run/key."""
    said(installed, "echo APP_AUTH__MASTER_KEY=sk-0123456789abcdef >> /etc/fkllmproxy/env && systemctl restart fkllmproxy")
    until(lambda: health(installed)["store"]["state"] == "open")
    said(installed, "fkllmproxy pools create team-a && fkllmproxy keys create --pool team-a --label ci > /run/key")
    return installed


def call(machine: Machine, name: str) -> str:
    """Its status."""
    return said(machine, f'{_CALL}{name}"')


def logged(machine: Machine) -> list[str]:
    """Ids of calls, the oldest first; none while the store is away."""
    done = machine.run("fkllmproxy logs --json --pool team-a", capture_output=True, text=True)
    assert done.returncode == 0 or "503" in done.stderr, done.stderr
    return [row["request_id"] for row in reversed(json.loads(done.stdout or '{"rows": []}')["rows"])]


def files(machine: Machine) -> str:
    """All that is remembered, as it lies there."""
    return said(machine, f"cd {_STATE} && find . -type f -exec sha256sum {{}} + | sort -k 2")


def test_keys_and_calls_outlive_restart_handover_upgrade_and_rollback(team: Machine, tmp_path: Path) -> None:
    team.copy_in(variant(tmp_path / "next", "9.9.9"), "/opt/next", 0o755)
    assert call(team, "first") == "200"
    steps = {
        "restart": "systemctl restart fkllmproxy",
        "reload": "systemctl reload fkllmproxy",
        "upgrade": "fkllmproxy upgrade /opt/next",
        "rollback": "fkllmproxy rollback",
        "kill": "kill -9 $(systemctl show -P MainPID fkllmproxy)",
    }
    for name, command in steps.items():
        before = main_pid(team)
        said(team, command)
        until(lambda before=before: main_pid(team) not in (0, before))
        assert call(team, name) == "200", name
        assert call(team, "wrong-key\" -H 'x-api-key: x' -H \"authorization: Bearer sk-fk-no") == "401", name
    expected = ["first", *steps]
    until(lambda: logged(team) == expected)
    assert health(team)["store"]["state"] == "open"
    assert "rollback" in said(team, "fkllmproxy explain rollback")
    assert json.loads(said(team, "fkllmproxy usage --by pool --json"))["rows"][0]["calls"] == len(expected)
    assert "none changed or missing" in said(team, "fkllmproxy audit verify")


def test_what_it_remembers_is_the_services_own_and_for_nobody_else(team: Machine) -> None:
    call(team, "first")
    until(lambda: logged(team) == ["first"])
    said(team, "fkllmproxy store backup && fkllmproxy store rotate-key && fkllmproxy migrate")
    owner = said(team, f"stat -Lc %u {_STATE}")
    modes = dict(line.split() for line in said(team, f"cd {_STATE} && find . -printf '%p %m%U\\n'").splitlines())
    assert {mode.removesuffix(owner) for path, mode in modes.items()} == {"700", "600"}
    assert modes["."] == modes["./journal"] == modes["./backups"] == f"700{owner}"
    assert "./fkllmproxy.db-wal" in modes, "it is in use"
    said(team, "systemctl stop fkllmproxy.socket fkllmproxy.service")
    left = said(team, f"ls {_STATE}").split()
    assert left == ["backups", "fkllmproxy.db", "fkllmproxy.db.lock", "in-force.json", "journal", "secrets.key"], "one file again"


def test_a_trial_does_not_touch_it(team: Machine, tmp_path: Path) -> None:
    team.copy_in(variant(tmp_path / "next", "9.9.9"), "/opt/next", 0o755)
    call(team, "first")
    until(lambda: logged(team) == ["first"])
    said(team, "systemctl stop fkllmproxy.socket fkllmproxy.service")
    before = files(team)
    assert "ready to start: fkllmproxy 9.9.9" in said(team, "fkllmproxy prepare /opt/next")
    assert f"store: {_STATE}/fkllmproxy.db" in said(team, "fkllmproxy check --env-file /etc/fkllmproxy/env")
    assert "0 errors" in team.run("fkllmproxy doctor --offline", capture_output=True, text=True).stdout
    said(team, "fkllmproxy migrate --check && fkllmproxy store verify")
    assert files(team) == before


def test_a_migration_by_hand_before_the_first_start_leaves_a_store_that_the_service_can_use(bare: Machine) -> None:
    said(bare, f"{NEW} install --no-start")
    assert "a new store was made" in said(bare, "fkllmproxy migrate")
    said(bare, "systemctl start fkllmproxy.socket fkllmproxy.service")
    until(lambda: health(bare)["store"]["state"] == "open")
    owner = said(bare, f"stat -Lc %u {_STATE}")
    assert set(said(bare, f"find {_STATE}/ -printf '%U\\n'").split()) == {owner}


def test_calls_go_on_while_it_cannot_be_written_and_are_not_lost(team: Machine) -> None:
    said(team, f"mount -t tmpfs -o size=1m none /mnt && cp -a {_STATE}/. /mnt/ && dd if=/dev/zero of=/mnt/filler bs=4k 2>/dev/null || true")
    said(team, "systemctl stop fkllmproxy.service")
    said(team, f"mount --bind /mnt $(readlink -f {_STATE}) && systemctl start fkllmproxy.service")
    for number in range(3):
        assert call(team, f"full-{number}") == "200"
    assert "No space" not in said(team, "journalctl -t fkllmproxy -p crit -o cat | jq -r .msg")
    said(team, "rm /mnt/filler")
    until(lambda: logged(team) == ["full-0", "full-1", "full-2"])
    assert health(team)["store"]["journal"]["dropped"] == 0


def test_the_journal_has_only_json(team: Machine) -> None:
    call(team, "first")
    said(team, "fkllmproxy keys list && fkllmproxy store backup && systemctl restart fkllmproxy")
    said(team, f"systemctl stop fkllmproxy.service && mv {_STATE}/fkllmproxy.db /var/backups/ && systemctl start fkllmproxy.service")
    until(lambda: health(team)["store"]["state"] == "gone")
    assert call(team, "second") == "200", "keys are known from the copy of what was in force"
    assert "says that there was one" in refused(team, "fkllmproxy migrate")
    levels = "journalctl -t fkllmproxy -o cat | jq -e -r .level | sort -u"
    until(lambda: said(team, levels).split() == ["ERROR", "INFO", "WARNING"])
    said(team, f"mv /var/backups/fkllmproxy.db {_STATE}/")
    until(lambda: logged(team) == ["first", "second"])
