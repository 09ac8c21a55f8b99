"""The unit, its files, the process, and what answers at the address. Floor 4."""

from __future__ import annotations

import difflib
import http.client
import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fkproxy import __version__, descriptors
from fkproxy.doctor.finding import Finding, error, note, ok, warning
from fkproxy.doctor.situation import Situation
from fkproxy.installation.places import PREVIOUS, SERVICE, SOCKET, UNITS, unit_file

__all__ = ["check_address", "check_process", "check_units", "start"]

_TIMEOUT_S = 5.0


def check_units(situation: Situation) -> Iterable[Finding]:
    """Installed, enabled, and as this version brings them."""
    service = situation.service
    if not service:
        yield note("service", "systemd does not run here; whatever supervises processes here must restart it")
        return
    if service.get("LoadState") != "loaded":
        yield note("service", "it is not installed as a service", "fkllmproxy install")
        return
    for unit, properties in ((SERVICE, service), (SOCKET, situation.socket)):
        path = UNITS / unit
        if not path.is_file():
            yield note("units", f"there is no {path}", "fkllmproxy install")
        elif path.read_text(errors="replace") != unit_file(unit):
            changed = _changed_lines(path, unit_file(unit))
            fix = "move changes of your own to 'systemctl edit', then: fkllmproxy install --replace-units"
            yield warning("units", f"{path} is not what version {__version__} brings: {changed}", fix)
        else:
            yield ok("units", f"{path} is what this version brings")
        for drop_in in properties.get("DropInPaths", "").split():
            yield note("units", f"{drop_in} changes it")
    if service.get("NeedDaemonReload") == "yes":
        yield warning("units", "systemd has not read the unit files that are on disk", "systemctl daemon-reload")
    if service.get("UnitFileState") != "enabled":
        yield warning("service", "it does not start with the machine", f"systemctl enable {SERVICE} {SOCKET}")


def _changed_lines(path: Path, expected: str) -> str:
    lines = difflib.unified_diff(expected.splitlines(), path.read_text(errors="replace").splitlines(), lineterm="", n=0)
    changed = [line for line in lines if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    return "; ".join(changed[:4]) + (f"; and {len(changed) - 4} more lines" if len(changed) > 4 else "")


def check_process(situation: Situation) -> Iterable[Finding]:
    """Up, for how many restarts, with how many descriptors."""
    service, socket, fix = situation.service, situation.socket, start(situation)
    state = service.get("ActiveState")
    if service.get("LoadState") != "loaded":
        return
    if state == "active":
        yield ok("service", f"active: {service.get('StatusText', '')}")
    elif state == "failed":
        yield error("service", f"it has failed ({service.get('Result')})", f"journalctl -u fkllmproxy -n 30 -o cat; then: {fix}")
    else:
        yield warning("service", f"it is {state}", fix)
    if state == "active" and _with_socket(situation) and socket.get("ActiveState") != "active":
        # systemd does not start it beside a service that runs already.
        yield warning(
            "service",
            f"it runs without {SOCKET}: on the address of the settings, and clients are refused while it restarts",
            f"systemctl stop {SERVICE}; {fix}",
        )
    restarts = int(service.get("NRestarts") or 0)
    if restarts:
        yield warning(
            "service",
            f"systemd has restarted it {restarts} times by itself",
            "journalctl -u fkllmproxy -p warning -o cat tells why it ended",
        )
    if "takes no new connection" in service.get("StatusText", ""):
        told = "it goes on with its calls and takes no new connection: it has 4,096, or no descriptor left"
        yield error("service", told, f"ss -tn sport = :{situation.address[1]} tells whose they are")
    if "did not get ready" in service.get("StatusText", ""):
        yield warning(
            "service", "the last upgrade did not get ready; the version before goes on", "journalctl -t fkllmproxy -p warning -o cat"
        )
    if PREVIOUS.is_file():
        yield ok("rollback", f"{PREVIOUS} is there to go back to")
    pid = int(service.get("MainPID") or 0)
    if pid and situation.loaded is not None:
        yield from _descriptors(pid, situation.loaded.settings.concurrency.max_streams)


def start(situation: Situation) -> str:
    """What starts it. systemd gives up the socket unit together with the service, and takes no start of one that failed too often for a
    minute."""
    command = f"systemctl start {SOCKET} {SERVICE}" if _with_socket(situation) else f"systemctl start {SERVICE}"
    return f"systemctl reset-failed {SERVICE}; {command}" if situation.service.get("ActiveState") == "failed" else command


def _with_socket(situation: Situation) -> bool:
    return situation.socket.get("UnitFileState") == "enabled"


def _descriptors(pid: int, max_streams: int) -> Iterable[Finding]:
    try:
        allowed = descriptors.allowed(pid)
    except OSError:
        yield note("limits", "the limits of the process can only be read by root")
        return
    needed = descriptors.needed(max_streams)
    if allowed < needed:
        fix = f"LimitNOFILE={needed} in 'systemctl edit fkllmproxy', or a smaller APP_CONCURRENCY__MAX_STREAMS"
        yield warning("limits", f"{allowed} descriptors are too few for {max_streams} streams", fix)
    else:
        yield ok("limits", f"{allowed} descriptors for up to {max_streams} streams")


def check_address(situation: Situation) -> Iterable[Finding]:
    """Who answers, and is it this service, this version, and well."""
    host, port = situation.address
    at = f"{host}:{port}"
    try:
        status, health = _health(host, port)
    except ConnectionRefusedError:
        running = situation.service.get("ActiveState") == "active"
        found = error if running else note
        yield found("address", f"nobody listens on {at}", "journalctl -t fkllmproxy -n 20 -o cat" if running else start(situation))
        return
    except (OSError, http.client.HTTPException, ValueError) as failure:
        if situation.socket.get("ActiveState") == "active" and situation.service.get("ActiveState") != "active":
            yield error("address", f"systemd holds {at} for the service, which does not run", "journalctl -t fkllmproxy -n 20 -o cat")
            return
        yield error(
            "address",
            f"{at} is held by {_holder(port)}, which does not answer as we do ({type(failure).__name__})",
            f"ss -ltnp sport = :{port}",
        )
        return
    if "upstreams" not in health:
        yield error("address", f"{at} is held by {_holder(port)}, which is not fkllmproxy", f"ss -ltnp sport = :{port}")
        return
    if status == 200 and health.get("status") == "ok":
        yield ok("address", f"{at} answers: ok")
    elif status == 200:
        yield warning("address", f"{at} answers: {health.get('status')}", f"curl -s http://{at}/health | jq .upstreams")
    else:
        yield error("address", f"{at} answers: {health.get('status')}", f"curl -s http://{at}/health | jq .upstreams")
    yield from _store(health.get("store") or {})
    if dropped := health.get("log_lines_dropped"):
        yield warning("log", f"{dropped} lines of its log are lost since it was started", "see 'The log has gaps' in the runbook")
    if health.get("version") != __version__:
        fix = "systemctl reload fkllmproxy, if this is the installed file"
        yield warning("version", f"version {health.get('version')} runs, and this file is {__version__}", fix)


def _store(told: Mapping[str, Any]) -> Iterable[Finding]:
    """What the process says of its store: calls go on without it, so nothing else would show it."""
    state = told.get("state", "open")
    if state not in ("open", "opening"):
        yield error("store", f"the service cannot use it: {told.get('message')} ({state})", "see 'The store cannot be used' in the runbook")
    if not told.get("in_force", True):
        fix = "journalctl -t fkllmproxy -o cat | jq -Rc 'fromjson? | select(.logger == \"fkproxy.administration\")' | tail -n 5"
        yield warning("store", "what is managed in it cannot be put in force", fix)
    journal = told.get("journal") or {}
    if journal.get("trouble"):
        fix = "see 'The store cannot be used' in the runbook, before any reload or restart: they would be lost with the process"
        yield error("store", f"records of calls cannot be written to the disk ({journal['trouble']}) and wait in memory", fix)
    if journal.get("dropped"):
        fix = "the log has them: journalctl -t fkllmproxy; then see 'The disk is full' in the runbook"
        yield warning("store", f"the records of {journal['dropped']} calls are lost since it was started", fix)


def _health(host: str, port: int) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/health", headers={"user-agent": "fkllmproxy-doctor"})
        with connection.getresponse() as reply:
            value = json.loads(reply.read())
        return reply.status, value if isinstance(value, dict) else {}
    finally:
        connection.close()


def _holder(port: int) -> str:
    """The process that listens on a port, as `ss` names it."""
    if shutil.which("ss") is None:
        return "another process"
    done = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], capture_output=True, text=True, timeout=_TIMEOUT_S)  # noqa: S603, S607 - fixed words
    return done.stdout.partition('users:(("')[2].partition('"')[0] or "another process"
