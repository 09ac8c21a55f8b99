"""Commands for what is remembered: calls, what they used, why they went where they went, and what administrators did.

Floor 4. Standard library only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from fkproxy.remote.administrator import LONG_S, Administrator, Refusal
from fkproxy.remote.tables import Column, explanation_lines, fields, moment, when
from fkproxy.remote.values import moment_s
from fkproxy.remote.verbs import Result, Run, family, leaf, path_of, rows

__all__ = ["add_audit", "add_explain", "add_logs", "add_usage"]

_CALLS: list[Column] = [
    ("BEGAN", when("started_ms", 1e-3)),
    *fields(id="request_id", status="status", error="error_code", pool="pool", key="key_prefix", asked="model_requested"),
    *fields(provider="provider_key", model="model_id", tries="attempts", ms="duration_ms", tokens_in="tokens_input"),
    *fields(tokens_out="tokens_output", usd="cost_usd"),
]
_SUMS = fields(calls="calls", failed="failed", left="client_ended", tokens_in="tokens_input", tokens_out="tokens_output", usd="cost_usd")
_SUMS += fields(no_price="cost_unknown")
_AUDIT: list[Column] = [
    *fields(no="id"),
    ("WHEN", when("at_s")),
    *fields(who="actor.kind", network="actor.peer", action="action", target="target", outcome="outcome", changed="changed", note="note"),
]
_ENDED_BY = ("client", "upstream", "gateway")
_PAGE = 50
"""Rows that the gateway gives where nobody says how many."""


def _times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=moment_s, metavar="TIME", help="from then on: 2h for two hours ago, or 2026-01-31T12:00:00Z")
    parser.add_argument("--until", type=moment_s, metavar="TIME", help="up to then")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many rows")


def _key_id(administrator: Administrator, key: str | None) -> str | None:
    """Calls are remembered under the id of their key, which outlives its secrets; what is shown of them is a secret's prefix."""
    if key is None or not key.startswith("sk-"):
        return key
    found: str = administrator.ask("GET", path_of("keys", key))["id"]
    return found


# --- calls


def add_logs(commands: Any, parent: argparse.ArgumentParser, run: Run) -> None:
    """`fkllmproxy logs`."""
    parser = leaf(commands, [parent], run, "logs", "calls as the store remembers them, the newest first", _calls)
    _times(parser)
    parser.add_argument("--id", metavar="ID", help="the call's x-request-id")
    parser.add_argument("--key", metavar="ID", help="of one client key, by its id or its prefix")
    parser.add_argument("--pool", metavar="POOL", help="of one pool")
    parser.add_argument("--provider", metavar="NAME", help="served by one provider")
    parser.add_argument("--model", metavar="MODEL", help="asked for, or served by, one model")
    parser.add_argument("--status", metavar="STATUS", help="429, or a class: 5xx")
    parser.add_argument("--error", metavar="CODE", help="with one error code")
    parser.add_argument("--ended-by", choices=_ENDED_BY, help="who brought them to their end")
    parser.add_argument("--failures", action="store_const", const="true", help="only those that did not end well")
    parser.add_argument("--from", dest="cursor", metavar="CURSOR", help="the next page, as the one before it says")
    parser.add_argument("--export", choices=("csv", "jsonl"), help="all of them to standard output, with every field")


def _calls(administrator: Administrator, options: argparse.Namespace) -> Result:
    asked = {
        "request_id": options.id,
        "key_id": _key_id(administrator, options.key),
        "pool": options.pool,
        "provider_key": options.provider,
        "model": options.model,
        "status": options.status,
        "error_code": options.error,
        "since_s": options.since,
        "until_s": options.until,
    }
    only_here = {"ended_by": options.ended_by, "failures": options.failures, "cursor": options.cursor, "limit": options.limit}
    if options.export is None:
        found = administrator.ask("GET", "/calls", **asked, **only_here)
        more = [f"there are more: --from {found['next']}"] if found["next"] else []
        return Result(found, rows(_CALLS, found["rows"]).lines, more)
    if refused := [name for name, value in only_here.items() if value is not None]:
        raise ValueError(f"an export takes no {', '.join(refused)}: it is all calls that the other options leave")
    for piece in administrator.read("/calls/export", format=options.export, **asked):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return Result(None, [])


def add_explain(commands: Any, parent: argparse.ArgumentParser, run: Run) -> None:
    """`fkllmproxy explain`."""
    parser = leaf(commands, [parent], run, "explain", "why a call went where it went", _explained)
    parser.add_argument("id", metavar="ID", help="the call's x-request-id, req_id in the log")


def _explained(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.explain(options.id)
    return Result(found, explanation_lines(found))


def add_usage(commands: Any, parent: argparse.ArgumentParser, run: Run) -> None:
    """`fkllmproxy usage`."""
    parser = leaf(commands, [parent], run, "usage", "calls, tokens and money by key, pool, model …; to the hour", _used)
    _times(parser)
    parser.add_argument("--by", choices=("pool", "key", "provider", "model", "hour", "day"), default="key", help="default: key")
    parser.add_argument("--key", metavar="ID", help="of one client key, by its id or its prefix")
    parser.add_argument("--pool", metavar="POOL", help="of one pool")
    parser.add_argument("--provider", metavar="NAME", help="served by one provider")
    parser.add_argument("--model", metavar="MODEL", help="served by one model")


def _used(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask(
        "GET",
        "/usage",
        group_by=options.by,
        since_s=options.since,
        until_s=options.until,
        limit=options.limit,
        key_id=_key_id(administrator, options.key),
        pool=options.pool,
        provider_key=options.provider,
        model_id=options.model,
    )
    if options.by in ("hour", "day"):
        first: list[Column] = [(options.by.upper(), when("group"))]
    else:
        first = fields(**{options.by: "group"})
    if options.by == "key":
        first += _known_as(found.get("keys", {}))
    remarks = [f"since {moment(found['since_s'])}"]
    if more := found.get("more", 0):
        which = "earlier" if options.by in ("hour", "day") else "with fewest calls"
        remarks.append(f"not shown: {more} {which}; --limit takes up to 10000")
    return Result(found, rows([*first, *_SUMS], found["rows"]).lines, remarks)


def _known_as(keys: Mapping[str, Mapping[str, Any]]) -> list[Column]:
    """What people call a key, deleted ones too; the master key has its id only."""
    return [
        ("POOL", lambda row: keys.get(row["group"], {}).get("pool") or "-"),
        ("LABEL", lambda row: keys.get(row["group"], {}).get("label") or "-"),
    ]


# --- administrators


def add_audit(commands: Any, parent: argparse.ArgumentParser, run: Run) -> None:
    """`fkllmproxy audit`."""
    verbs = family(commands, "audit", "what administrators did")
    listed = leaf(verbs, [parent], run, "list", "the newest first", _entries)
    _times(listed)
    listed.add_argument("--action", metavar="ACTION", help="one, such as key.revoke, or a family: key")
    listed.add_argument("--target", metavar="TARGET", help="what was done to one pool, key …")
    listed.add_argument("--outcome", choices=("done", "refused", "failed"), help="with one outcome")
    listed.add_argument("--before", type=int, metavar="NO", help="entries before that one")
    leaf(verbs, [parent], run, "verify", "whether anybody changed or removed an entry", _verify)


def _entries(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask(
        "GET",
        "/audit",
        since_s=options.since,
        until_s=options.until,
        limit=options.limit,
        before_id=options.before,
        action=options.action,
        target=options.target,
        outcome=options.outcome,
    )
    more = [f"there may be more: --before {found[-1]['id']}"] if len(found) >= (options.limit or _PAGE) else []
    return rows(_AUDIT, found, more)


def _verify(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask("GET", "/audit/verify", timeout_s=LONG_S)
    if not found["ok"]:
        raise Refusal(f"the audit log was tampered with: the first entry that does not fit is {found['first_bad_id']}")
    pruned = found.get("pruned", 0)
    removed = f", behind {pruned} older ones that were removed in time" if pruned else ""
    return Result(found, [f"the audit log is whole: {found['rows']} entries, none changed or missing{removed}"])
