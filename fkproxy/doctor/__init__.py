"""Everything an on-call person would check by hand. Floor 4.

situation.py   what is looked at: configuration, service, address, environment
service.py     the unit, its files, the process, what answers at the address
host.py        permissions, disk, descriptors, memory, clock
store.py       what the gateway remembers: directory, database, keys for secrets
vendors.py     what only one provider needs: its credentials file, its command line tool
upstreams.py   name, TLS, clock and credential of each upstream; one token of each if asked
clients.py     where the clients of this shell really go
finding.py     what a check finds

No check changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fkproxy.doctor import clients, host, service, store, upstreams, vendors
from fkproxy.doctor.finding import Finding, as_json, as_table, error, exit_code, ok, warning
from fkproxy.doctor.situation import Situation, look

__all__ = ["as_json", "as_table", "examine", "exit_code"]

Check = Callable[[Situation], Iterable[Finding]]


def examine(env_file: Path | None, variables: Mapping[str, str], *, offline: bool = False, live: bool = False) -> list[Finding]:
    """All findings, in the order in which one would look. `env_file` None: the service's own, if there is one.

    `live` asks each upstream for one token, which may cost something; `offline` asks nobody outside this host.
    """
    situation = look(env_file, variables)
    findings = [*_configuration(situation)]
    for check in (
        host.check_secrets,
        service.check_units,
        service.check_process,
        service.check_address,
        *host.CHECKS,
        store.check,
        *vendors.CHECKS,
        clients.check,
    ):
        findings += check(situation)
    if not offline and situation.loaded is not None:
        findings += upstreams.check(situation.loaded, live=live)
    return findings


def _configuration(situation: Situation) -> Iterable[Finding]:
    where = str(situation.env_file) if situation.env_file is not None else "the environment"
    for problem in situation.problems:
        yield error("configuration", f"{problem.name}: {problem.message}", problem.hint or "correct it, then 'fkllmproxy check'")
    if situation.loaded is None:
        return
    for told in situation.loaded.warnings:
        yield warning("configuration", f"{told.name}: {told.message}", told.hint)
    profile = situation.loaded.settings.profile.name
    yield ok("configuration", f"valid, from {where}" + (f", profile {profile}" if profile is not None else ""))
