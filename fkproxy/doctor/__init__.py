"""Everything an on-call person would check by hand. Floor 4.

situation.py   what is looked at: configuration, service, address, environment
shell.py       what of that environment is for the clients of this shell
service.py     the unit, its files, the process, what answers at the address
host.py        permissions, disk, descriptors, memory, clock
store.py       what the gateway remembers: directory, database, keys for secrets
vendors.py     what only one provider needs: its credentials file, its command line tool
upstreams.py   name, TLS, clock and credential of each upstream; one token of each if asked
clients.py     where the clients of this shell really go
finding.py     what a check finds

No check changes anything, and none that cannot go on keeps the others from being made.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from fkproxy.doctor import clients, host, service, store, upstreams, vendors
from fkproxy.doctor.finding import Finding, as_json, as_table, error, exit_code, note, ok, warning
from fkproxy.doctor.situation import Situation, look
from fkproxy.installation.places import ENV_FILE

__all__ = ["as_json", "as_table", "examine", "exit_code"]

Check = Callable[[Situation], Iterable[Finding]]

_CHECKS: dict[str, Check] = {
    "secrets": host.check_secrets,
    "units": service.check_units,
    "service": service.check_process,
    "address": service.check_address,
    **host.CHECKS,
    "store": store.check,
    **vendors.CHECKS,
    "clients": clients.check,
}
"""By what their findings are called, in the order in which one would look."""


def examine(env_file: Path | None, variables: Mapping[str, str], *, offline: bool = False, live: bool = False) -> list[Finding]:
    """All findings, in the order of the checks. `env_file` None: the service's own, if there is one.

    `live` asks each upstream for one token, which may cost something; `offline` asks nobody outside this host.
    """
    situation = look(env_file, variables)
    findings = [*_configuration(situation)]
    for name, check in _CHECKS.items():
        findings += _found(name, check, situation)
    if not offline:
        findings += _found("upstreams", partial(_upstreams, live=live), situation)
    return findings


def _found(name: str, check: Check, situation: Situation) -> Iterator[Finding]:
    """What a check finds, and where it cannot go on, that."""
    try:
        yield from check(situation)
    except PermissionError as failure:
        yield note(name, f"{failure.filename or 'what is to be seen here'} can only be looked at by root")
    except (OSError, subprocess.SubprocessError, ValueError) as failure:
        # By its kind: the words of a failure may quote an address with a password in it.
        told = failure.strerror if isinstance(failure, OSError) else None
        yield warning(name, f"it could not be looked at to its end ({told or type(failure).__name__})", "run it again, as root")


def _upstreams(situation: Situation, *, live: bool) -> Iterable[Finding]:
    return upstreams.check(situation.loaded, live=live) if situation.loaded is not None else ()


def _configuration(situation: Situation) -> Iterable[Finding]:
    where = str(situation.env_file) if situation.env_file is not None else "the environment"
    for problem in situation.problems:
        if problem.name == str(ENV_FILE) and not os.access(ENV_FILE, os.R_OK):
            yield note("configuration", f"{ENV_FILE} can only be read by root")
            continue
        yield error("configuration", f"{problem.name}: {problem.message}", problem.hint or "correct it, then 'fkllmproxy check'")
    if situation.loaded is None:
        return
    for told in situation.loaded.warnings:
        yield warning("configuration", f"{told.name}: {told.message}", told.hint)
    profile = situation.loaded.settings.profile.name
    yield ok("configuration", f"valid, from {where}" + (f", profile {profile}" if profile is not None else ""))
