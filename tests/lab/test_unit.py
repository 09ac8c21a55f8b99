"""The unit on a real systemd: ready, hardened, watched, logged, and nothing dropped."""

from __future__ import annotations

import json

import pytest

from fkproxy import __version__
from tests.e2e.processes import BINARY
from tests.lab.inside import CALLS, STREAMS, health, main_pid, said, under_load, until
from tests.lab.machine import Machine


def test_ready_hardened_told_and_back_after_a_reboot(machine: Machine) -> None:
    assert said(machine, "systemctl is-active fkllmproxy") == "active"
    assert health(machine)["status"] == "ok"
    assert machine.run("systemd-analyze verify fkllmproxy.service fkllmproxy.socket").returncode == 0
    assert float(said(machine, "systemd-analyze security fkllmproxy | tail -1").split(": ")[1].split()[0]) <= 1.2
    assert said(machine, "journalctl -t fkllmproxy -o cat | grep -c 'woken as usual' || true") == "0"
    assert said(machine, "systemctl show -P OOMPolicy fkllmproxy") == "continue", "a worker or a child is replaced, without a restart"
    status = said(machine, "systemctl show -P StatusText fkllmproxy")
    assert status.startswith(f"{__version__}, ok, upstreams 1 of 1")
    machine.reboot()
    until(lambda: machine.run("curl -sf http://127.0.0.1:4000/health", capture_output=True).returncode == 0)
    assert said(machine, "systemctl is-active fkllmproxy") == "active"


def test_every_line_in_the_journal_is_json_with_its_priority(machine: Machine) -> None:
    body = json.dumps({"model": "sandbox", "messages": [{"role": "user", "content": "x"}]})
    said(machine, f"curl -sf http://127.0.0.1:4000/v1/chat/completions -d '{body}'")
    said(machine, "systemctl restart fkllmproxy")
    until(lambda: said(machine, "journalctl -t fkllmproxy -o cat | jq -e -r .level | sort -u").split() == ["INFO", "WARNING"])
    until(lambda: machine.run('journalctl -t fkllmproxy -o cat | grep -q \'"kind":"access"\'').returncode == 0)
    assert said(machine, "journalctl -t fkllmproxy -p warning -o cat | jq -r .level | sort -u") == "WARNING"


def test_restart_and_upgrade_under_load_drop_nothing(machine: Machine) -> None:
    first = main_pid(machine)
    swap = "cp /usr/local/bin/fkllmproxy /usr/local/bin/fkllmproxy.new && mv /usr/local/bin/fkllmproxy.new /usr/local/bin/fkllmproxy"
    reload = "before=$(systemctl show -P MainPID fkllmproxy) && systemctl reload fkllmproxy"
    other = "while [ $(systemctl show -P MainPID fkllmproxy) = $before ]; do sleep 0.05; done"
    # The last one comes while the process that has handed over has calls under way, and so do both main processes.
    over = f"{swap} && {reload} && {other} && kill -0 $before && systemctl restart fkllmproxy"
    figures = under_load(machine, "systemctl restart fkllmproxy", f"{swap} && {reload}", over)
    assert figures["failures"] == {}
    assert figures["answered"] >= 4 * CALLS
    assert figures["streamed"] >= 4 * STREAMS
    assert main_pid(machine) != first


def test_a_broken_upgrade_leaves_the_old_one_serving(machine: Machine) -> None:
    before = main_pid(machine)
    broken = (
        "printf '#!/bin/sh\\nexit 3\\n' > /usr/local/bin/b && chmod 755 /usr/local/bin/b && mv /usr/local/bin/b /usr/local/bin/fkllmproxy"
    )
    figures = under_load(machine, f"{broken} && systemctl reload fkllmproxy")
    assert figures["failures"] == {}
    until(lambda: "the next version did not get ready" in said(machine, "journalctl -t fkllmproxy -o cat | jq -r .msg"))
    assert main_pid(machine) == before
    machine.copy_in(BINARY, "/usr/local/bin/fkllmproxy", 0o755)
    said(machine, "systemctl reload fkllmproxy")
    until(lambda: main_pid(machine) != before)
    until(lambda: health(machine)["pid"] == main_pid(machine))


def test_a_reload_takes_new_settings_and_refuses_wrong_ones(machine: Machine) -> None:
    env, models = "/etc/fkllmproxy/env", "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:4000/v1/models"
    said(machine, f"echo APP_AUTH__MASTER_KEY=sk-0123456789abcdef >> {env}")
    figures = under_load(machine, "true")
    assert figures["failures"] == {}
    first = main_pid(machine)
    said(machine, "systemctl reload fkllmproxy")
    until(lambda: main_pid(machine) not in (0, first))
    until(lambda: said(machine, models) == "401")
    assert said(machine, f"{models} -H 'x-api-key: sk-0123456789abcdef'") == "200"
    assert said(machine, "stat -Lc %a /run/fkllmproxy /run/fkllmproxy/env").split() == ["700", "400"]
    second = main_pid(machine)
    said(machine, f"echo APP_SERVER__PROT=1 >> {env} && systemctl reload fkllmproxy")
    until(lambda: "did not get ready" in said(machine, "systemctl show -P StatusText fkllmproxy"))
    assert main_pid(machine) == second
    assert said(machine, f"{models} -H 'x-api-key: sk-0123456789abcdef'") == "200", "the old settings serve on"
    until(lambda: "did you mean APP_SERVER__PORT" in said(machine, "journalctl -t fkllmproxy -o cat"))
    # What is no longer in the file is no longer set.
    said(machine, f"sed -i '/PROT/d; /MASTER_KEY/d' {env} && systemctl reload fkllmproxy")
    until(lambda: main_pid(machine) not in (0, second))
    until(lambda: said(machine, models) == "200")


def test_a_reload_follows_a_link_to_the_settings_and_takes_none_where_the_file_is_gone(machine: Machine) -> None:
    models = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:4000/v1/models"
    said(machine, "mv /etc/fkllmproxy/env /var/tmp/env && ln -s /var/tmp/env /etc/fkllmproxy/env")
    said(machine, "echo APP_AUTH__MASTER_KEY=sk-0123456789abcdef >> /var/tmp/env && systemctl reload fkllmproxy")
    until(lambda: said(machine, models) == "401")
    second = main_pid(machine)
    said(machine, "rm /etc/fkllmproxy/env && systemctl reload fkllmproxy")
    until(lambda: main_pid(machine) not in (0, second))
    until(lambda: said(machine, models) == "200")
    third = main_pid(machine)
    said(machine, "rm -r /etc/fkllmproxy && systemctl reload fkllmproxy")
    until(lambda: main_pid(machine) not in (0, third))


def test_no_key_is_lost_with_a_line_that_systemd_passes_over_or_a_copy_that_fails(machine: Machine) -> None:
    env, models = "/etc/fkllmproxy/env", "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:4000/v1/models"
    failed = "journalctl -t fkllmproxy -o cat | grep -c 'did not get ready' || true"
    said(machine, f"echo APP_AUTH__MASTER_KEY=sk-0123456789abcdef >> {env} && systemctl restart fkllmproxy")
    first = main_pid(machine)
    said(machine, f"cp {env} /var/tmp/env && sed -i 's/^APP_AUTH/export &/' {env} && systemctl reload fkllmproxy")
    until(lambda: said(machine, failed) == "1")
    assert (main_pid(machine), said(machine, models)) == (first, "401")
    said(machine, f"cp /var/tmp/env {env} && mount -o remount,size=$(df -k --output=used /run | tail -n 1 | tr -d ' ')k /run")
    assert machine.run("systemctl reload fkllmproxy", capture_output=True).returncode != 0
    said(machine, "mount -o remount,size=50% /run")
    assert (main_pid(machine), said(machine, models)) == (first, "401")
    until(lambda: "No space left on device" in said(machine, "journalctl -u fkllmproxy -o cat"))
    # A comment in another encoding is one to systemd, too.
    said(machine, f"printf '# caf\\351\\n' >> {env} && systemctl reload fkllmproxy")
    until(lambda: main_pid(machine) not in (0, first))
    until(lambda: said(machine, models) == "401")
    said(machine, f"sed -i 's/^APP_AUTH/export &/' {env}")
    assert machine.run("systemctl restart fkllmproxy", capture_output=True).returncode != 0
    last = "journalctl -t fkllmproxy -p crit -o cat | jq -r .msg | tail -n 1"
    until(lambda: f"not started: {env}:2: expected NAME=value" in said(machine, last))


@pytest.mark.parametrize("signal", ["KILL", "ABRT"])
def test_a_main_process_that_dies_is_started_again(machine: Machine, signal: str) -> None:
    before = main_pid(machine)
    said(machine, f"kill -{signal} {before}")
    until(lambda: main_pid(machine) not in (0, before))
    until(lambda: machine.run("curl -sf http://127.0.0.1:4000/health", capture_output=True).returncode == 0)


def test_a_worker_that_hangs_is_noticed_by_the_watchdog(machine: Machine) -> None:
    said(machine, "mkdir -p /etc/systemd/system/fkllmproxy.service.d")
    said(machine, "printf '[Service]\\nWatchdogSec=20\\n' > /etc/systemd/system/fkllmproxy.service.d/quick.conf")
    said(machine, "systemctl daemon-reload && systemctl restart fkllmproxy")
    before = main_pid(machine)
    said(machine, f"kill -STOP $(pgrep -P {before})")
    until(lambda: main_pid(machine) not in (0, before))
    until(lambda: machine.run("curl -sf http://127.0.0.1:4000/health", capture_output=True).returncode == 0)


def test_reloads_one_after_another_are_no_silence_to_the_watchdog(machine: Machine) -> None:
    said(machine, "mkdir -p /etc/systemd/system/fkllmproxy.service.d")
    said(machine, "printf '[Service]\\nWatchdogSec=20\\n' > /etc/systemd/system/fkllmproxy.service.d/quick.conf")
    said(machine, "systemctl daemon-reload && systemctl restart fkllmproxy")
    said(machine, "for each in 1 2 3 4 5 6 7 8 9 10 11; do systemctl reload fkllmproxy; sleep 2; done")
    assert said(machine, "systemctl show -P NRestarts fkllmproxy") == "0"
    assert "Watchdog timeout" not in said(machine, "journalctl -u fkllmproxy -o cat")


def test_without_the_socket_unit_it_listens_where_it_is_told_to(machine: Machine) -> None:
    said(machine, "systemctl disable -q --now fkllmproxy.socket fkllmproxy.service")
    said(machine, "echo APP_SERVER__PORT=4100 >> /etc/fkllmproxy/env")
    said(machine, "systemctl start fkllmproxy.service")
    assert json.loads(said(machine, "curl -sf http://127.0.0.1:4100/health"))["ok"] is True
    assert machine.run("curl -sf http://127.0.0.1:4000/health", capture_output=True).returncode != 0


@pytest.mark.parametrize(
    ("lines", "said_of_it"),
    [
        ("ListenStream=127.0.0.1:4001", "systemd passed 2 sockets"),
        ("ListenStream=\\nListenStream=0.0.0.0:4001", "0.0.0.0 can be reached from other machines and no key is required"),
    ],
)
def test_a_socket_unit_that_must_not_be_served_is_not_and_the_journal_says_why(machine: Machine, lines: str, said_of_it: str) -> None:
    said(machine, "mkdir -p /etc/systemd/system/fkllmproxy.socket.d")
    said(machine, f"printf '[Socket]\\n{lines}\\n' > /etc/systemd/system/fkllmproxy.socket.d/other.conf && systemctl daemon-reload")
    said(machine, "systemctl stop -q fkllmproxy.socket fkllmproxy.service && systemctl start fkllmproxy.socket")
    assert machine.run("systemctl start fkllmproxy.service", capture_output=True).returncode != 0
    until(lambda: said_of_it in said(machine, "journalctl -t fkllmproxy -p crit -o cat | jq -r .msg"))


def test_a_bad_configuration_does_not_start_and_says_why(machine: Machine) -> None:
    said(machine, "echo APP_SERVER__PROT=1 >> /etc/fkllmproxy/env")
    assert machine.run("systemctl restart fkllmproxy", capture_output=True).returncode != 0
    until(lambda: "did you mean APP_SERVER__PORT" in said(machine, "journalctl -t fkllmproxy -p crit -o cat | jq -r .msg"))
    levels = "journalctl -t fkllmproxy -o cat | jq -e -r .level | sort -u"
    until(lambda: said(machine, levels).split() == ["CRITICAL", "INFO", "WARNING"])


def test_a_key_comes_as_a_credential(machine: Machine) -> None:
    said(machine, "mkdir -p /etc/systemd/system/fkllmproxy.service.d && printf sk-0123456789abcdef > /etc/fkllmproxy/master_key")
    drop_in = "[Service]\\nLoadCredential=app_auth__master_key:/etc/fkllmproxy/master_key\\n"
    said(machine, f"printf '{drop_in}' > /etc/systemd/system/fkllmproxy.service.d/key.conf")
    said(machine, "systemctl daemon-reload && systemctl restart fkllmproxy")
    assert said(machine, "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:4000/v1/models") == "401"
    with_key = "curl -s -o /dev/null -w '%{http_code}' -H 'authorization: Bearer sk-0123456789abcdef' http://127.0.0.1:4000/v1/models"
    assert said(machine, with_key) == "200"
