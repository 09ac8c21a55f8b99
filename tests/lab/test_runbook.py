"""The runbook does what it says: every block of commands is run on a booted machine, in the scene that stands above it.

`<!-- scene: … -->` names what has happened before; `# shows: …` at the end of a command is what the block's output must hold, in that
order. Commands run as they are printed, with a shell of their own for each block, which must end well.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from fkproxy import __version__
from tests.e2e.processes import BINARY, ROOT
from tests.lab.conftest import NEW, serving
from tests.lab.inside import health, said, until
from tests.lab.machine import Machine
from tests.lab.variants import variant
from tests.storage.postgres import Server

_NEW_VERSION = "9.9.9"
_PIECES = re.compile(r"^(?P<title>##+ [^\n]+)$|^<!-- scene: (?P<scene>[^\n]+) -->$|^```sh\n(?P<block>.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMISE = re.compile(r"# shows: (.+)$", re.MULTILINE)
_NAMES = {"<new version>": _NEW_VERSION, "<old version>": __version__}
_BODY = '{"model": "%s", "stream": %s, "messages": [{"role": "user", "content": "x"}]}'
_PATIENCE = """
systemctl() {
  [ "$1" != reload ] || before=$(command systemctl show -P MainPID fkllmproxy)
  command systemctl "$@"
}
sleep() {
  command sleep "$1"
  for each in $(seq 600); do
    command sleep 0.1
    kill -0 "${before:-none}" 2> /dev/null && continue
    curl -s http://127.0.0.1:4000/health | jq -e '.store.state == "open"' > /dev/null && break
  done
  before=
}
"""
"""What is a matter of seconds takes longer here, where other tests run beside these: until the process before a reload has gone, and the
store is open."""
_RELAY = Path(__file__).with_name("relay.py")
_CALL = f"curl -s -o /dev/null http://127.0.0.1:4000/v1/chat/completions -d '{_BODY}'"


class Section(msgspec.Struct):
    """The blocks below one comment that sets a scene."""

    title: str
    scene: str
    blocks: list[str]


def sections() -> list[Section]:
    found: list[Section] = []
    title = ""
    for piece in _PIECES.finditer((ROOT / "runbook.md").read_text()):
        if piece["title"]:
            title = piece["title"].strip("# ")
        elif piece["scene"]:
            found.append(Section(title, piece["scene"], []))
        else:
            found[-1].blocks.append(piece["block"])
    return found


SECTIONS = sections()


def test_every_block_stands_in_a_scene() -> None:
    text = (ROOT / "runbook.md").read_text()
    assert sum(len(section.blocks) for section in SECTIONS) == text.count("```sh\n")
    assert all(section.blocks for section in SECTIONS)


def installed(machine: Machine) -> None:
    said(machine, "echo 'Traceback (most recent call last):' | systemd-cat -t fkllmproxy")
    until(lambda: serving(machine))
    until(lambda: health(machine)["store"]["state"] == "open")


def sources(machine: Machine) -> None:
    machine.copy_in(BINARY, "/opt/dist/fkllmproxy", 0o755)
    for path in ("packaging/env.example", "packaging/systemd/fkllmproxy.service", "packaging/systemd/fkllmproxy.socket"):
        machine.copy_in(ROOT / path, f"/opt/{path}", 0o644)


def next_version(machine: Machine) -> None:
    installed(machine)
    made = variant(Path(machine.work) / "next", _NEW_VERSION)
    machine.copy_in(made, "/opt/fkllmproxy", 0o755)


def with_key(machine: Machine) -> None:
    installed(machine)
    said(machine, "echo APP_AUTH__MASTER_KEY=sk-0123456789abcdef >> /etc/fkllmproxy/env && systemctl restart fkllmproxy")
    said(machine, "curl -s -o /dev/null http://127.0.0.1:4000/v1/models")
    until(lambda: machine.run("journalctl -t fkllmproxy -o cat | grep -q invalid_api_key", capture_output=True).returncode == 0)
    until(lambda: health(machine)["store"]["state"] == "open")


def team(machine: Machine) -> None:
    """A pool, a key, a call that was served and one that was not; both are in the log."""
    with_key(machine)
    said(machine, "fkllmproxy pools create team-a --model 'sandbox*' && fkllmproxy keys create --pool team-a --label ci > /run/key")
    as_team = '-H "authorization: Bearer $(cat /run/key)"'
    for name, model in (("try-1", "sandbox"), ("try-2", "other")):
        said(machine, f"{_CALL % (model, 'false')} {as_team} -H 'x-request-id: {name}'")
    until(lambda: "try-2" in said(machine, "fkllmproxy logs"))


def other_host(machine: Machine) -> None:
    """An archive of a gateway with a team, on a host whose own gateway has another store; an older one, and what came out of it."""
    team(machine)
    said(machine, "fkllmproxy store backup")
    said(machine, "cd /var/lib/fkllmproxy && tar -czf /var/backups/gateway-old.tar.gz secrets.key backups/*.db -C / etc/fkllmproxy")
    said(machine, "touch -d yesterday /var/backups/gateway-older.tar.gz")
    said(machine, "mkdir -p /var/backups/restored/backups && touch /var/backups/restored/backups/fkllmproxy-older.db")
    said(machine, "systemctl stop fkllmproxy.socket fkllmproxy.service")
    said(machine, "rm -rf /var/lib/fkllmproxy/* && sed -i /MASTER_KEY/d /etc/fkllmproxy/env")
    said(machine, "systemctl start fkllmproxy.socket fkllmproxy.service")
    until(lambda: "team-a" not in said(machine, "fkllmproxy keys list"))


def too_new(machine: Machine) -> None:
    """A later version was there and made a copy before it changed the database so that this one cannot use it."""
    team(machine)
    said(machine, "systemctl stop fkllmproxy.socket fkllmproxy.service")
    said(machine, "cd /var/lib/fkllmproxy && cp -p fkllmproxy.db fkllmproxy.db.level-1.20260101T000000Z.backup")
    changed = "UPDATE meta SET schema_level = 99, oldest_reader = 99, written_by = '9.9.9'"
    program = f'import sqlite3; c = sqlite3.connect("/var/lib/fkllmproxy/fkllmproxy.db"); c.execute("{changed}"); c.commit(); c.close()'
    said(machine, f"python3 -c {shlex.quote(program)}")
    said(machine, "systemctl start fkllmproxy.socket fkllmproxy.service")
    until(lambda: health(machine)["store"]["state"] == "too_new")


def postgres(machine: Machine) -> None:
    """An empty database of a server outside of the machine, at the machine's own 127.0.0.1:5432."""
    with_key(machine)
    server = Server()
    machine.callback(server.remove)
    server.start()
    asyncio.run(server.execute("CREATE ROLE gateway LOGIN"))
    asyncio.run(server.execute("CREATE DATABASE gateway OWNER gateway"))
    door = Path(machine.root) / "srv" / "postgresql"
    outside = subprocess.Popen([sys.executable, _RELAY, str(door), server.socket])
    machine.callback(outside.wait)
    machine.callback(outside.kill)
    machine.copy_in(_RELAY, "/opt/relay.py", 0o644)
    said(machine, "systemd-run --unit relay python3 /opt/relay.py 127.0.0.1:5432 /srv/postgresql")
    until(lambda: machine.run("ss -ltn | grep -q 127.0.0.1:5432", capture_output=True).returncode == 0)


def bad_settings(machine: Machine) -> None:
    installed(machine)
    said(machine, "echo APP_SERVER__PROT=1 >> /etc/fkllmproxy/env")
    # Until systemd gives up trying.
    machine.run("systemctl restart fkllmproxy", capture_output=True)
    until(lambda: said(machine, "systemctl show -P ActiveState fkllmproxy") == "failed")


def port_taken(machine: Machine) -> None:
    said(machine, "/opt/fkllmproxy install --no-start")
    said(machine, "systemd-run --unit other python3 -m http.server 4000 --bind 127.0.0.1")
    until(lambda: machine.run("curl -sf http://127.0.0.1:4000/", capture_output=True).returncode == 0)


def killed(machine: Machine) -> None:
    installed(machine)
    said(machine, "kill -9 $(systemctl show -P MainPID fkllmproxy)")
    until(lambda: said(machine, "systemctl show -P NRestarts fkllmproxy") == "1")
    until(lambda: said(machine, "systemctl is-active fkllmproxy || true") == "active")


def calls(machine: Machine) -> None:
    installed(machine)
    for stream in ("false", "true"):
        said(machine, _CALL % ("sandbox", stream))
    until(lambda: machine.run("journalctl -t fkllmproxy -o cat | grep -q chat.completions", capture_output=True).returncode == 0)


def limited(machine: Machine) -> None:
    installed(machine)
    said(
        machine, "echo APP_RATE_LIMIT__CAPACITY=1 >> /etc/fkllmproxy/env && echo APP_RATE_LIMIT__REFILL_PER_SECOND=1 >> /etc/fkllmproxy/env"
    )
    said(machine, "systemctl restart fkllmproxy")
    said(machine, "for n in 1 2 3 4; do " + _CALL % ("sandbox", "false") + "; done")
    until(lambda: machine.run("journalctl -t fkllmproxy -o cat | grep -q rate_limit_exceeded", capture_output=True).returncode == 0)


def vendor(mode: str) -> Callable[[Machine], None]:
    def arrange(machine: Machine) -> None:
        installed(machine)
        machine.copy_in(Path(__file__).with_name("vendor.py"), "/opt/vendor.py", 0o644)
        said(machine, f"systemd-run --unit vendor python3 /opt/vendor.py 9000 {mode}")
        settings = "OPENAI_BASE_URL=http://127.0.0.1:9000/v1\\nOPENAI_API_KEY=sk-0123456789\\nAPP_RATE_LIMIT__ENABLED=false\\n"
        said(machine, f"printf '{settings}' >> /etc/fkllmproxy/env && systemctl restart fkllmproxy")
        until(lambda: machine.run("curl -s http://127.0.0.1:9000/v1/models", capture_output=True).returncode == 0)
        for stream in ("true", "false") * 6:
            said(machine, _CALL % ("small", stream))
        until(lambda: machine.run("journalctl -t fkllmproxy -o cat | grep -q chat.completions", capture_output=True).returncode == 0)

    return arrange


_CODEX = ROOT / "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
_MODEL_PROVIDER = """model = "sandbox"
model_provider = "here"
[model_providers.here]
name = "here"
base_url = "http://127.0.0.1:9000/v1"
wire_api = "responses"
requires_openai_auth = true
"""


def codex(machine: Machine) -> None:
    """The program, and a server on this machine that its configuration makes it ask: another gateway, whose sandbox answers."""
    installed(machine)
    machine.copy_in(_CODEX, "/usr/local/bin/codex", 0o755)
    config = Path(machine.work) / "config.toml"
    config.write_text(_MODEL_PROVIDER)
    machine.copy_in(config, "/opt/config.toml", 0o644)
    settings = {"APP_SERVER__PORT": "9000", "APP_STORE__URL": "none", "SHIV_ROOT": "/run/shiv", "HOME": "/run"}
    passed = " ".join(f"--setenv={name}={value}" for name, value in settings.items())
    said(machine, f"systemd-run --unit model {passed} /usr/local/bin/fkllmproxy")
    until(lambda: machine.run("curl -sf http://127.0.0.1:9000/livez", capture_output=True).returncode == 0)


def codex_missing(machine: Machine) -> None:
    codex(machine)
    home = "/var/lib/fkllmproxy/codex"
    said(machine, f"install -d -m 700 {home} && echo sk-x | CODEX_HOME={home} codex login --with-api-key")
    said(machine, f"cp /opt/config.toml {home} && chown -R --reference=/var/lib/fkllmproxy/. {home}")
    said(machine, "echo CODEX_BIN=/usr/local/bin/codex-nowhere >> /etc/fkllmproxy/env && systemctl restart fkllmproxy")
    said(machine, _CALL % ("codex-5", "false"))
    until(lambda: machine.run("journalctl -t fkllmproxy -o cat | grep -q 'could not be started'", capture_output=True).returncode == 0)


NOT_INSTALLED = {"fresh", "sources", "port-taken"}
SCENES: dict[str, Callable[[Machine], None]] = {
    "fresh": lambda machine: None,
    "installed": installed,
    "sources": sources,
    "next": next_version,
    "key": with_key,
    "team": team,
    "other host": other_host,
    "too-new": too_new,
    "postgres": postgres,
    "bad-settings": bad_settings,
    "port-taken": port_taken,
    "killed": killed,
    "calls": calls,
    "codex": codex,
    "codex missing": codex_missing,
    "limited": limited,
    **{f"vendor {mode}": vendor(mode) for mode in ("ok", "401", "429", "500", "slow", "cut")},
}


@pytest.fixture
def machine(section: Section, installation: Path) -> Iterator[Machine]:
    """A fresh one, or one with the service installed."""
    with Machine([(str(BINARY), NEW, 0o755)], layer=None if section.scene in NOT_INSTALLED else installation) as running:
        yield running


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: f"{section.title} ({section.scene})")
def test_the_commands_do_what_they_promise(machine: Machine, section: Section) -> None:
    SCENES[section.scene](machine)
    for block in section.blocks:
        done = machine.run(["timeout", "400", "/bin/bash", "-c", f"cd /opt\n{_PATIENCE}\n{block}"], capture_output=True, text=True)
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"{block}\n{output}"
        at = 0
        for promise in _PROMISE.findall(block):
            expected = _NAMES.get(promise.strip(), promise.strip())
            found = output.find(expected, at)
            assert found >= 0, f"{expected!r} is not shown (in this order) by\n{block}\nbut\n{output}"
            at = found + len(expected)


def test_every_scene_is_used() -> None:
    assert {section.scene for section in SECTIONS} == set(SCENES)
