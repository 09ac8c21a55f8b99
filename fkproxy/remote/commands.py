"""What may be typed, and what it asks an instance for. Floor 4. Standard library only."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fkproxy.remote.administrator import Administrator, Refusal
from fkproxy.remote.tables import Column, explanation_lines, fields, lines_of, upstream_lines, when
from fkproxy.remote.values import duration_s, moment_s, pair

__all__ = ["Act", "Result", "add_commands"]

Result = tuple[object, Iterable[str]]
"""What an instance answered, as JSON would have it and as lines for people."""

Act = Callable[[Administrator, argparse.Namespace], Result]

_KEYS = [*fields(id="id", prefix="prefix", pool="pool", label="label", state="effective_state"), ("LAST USED", when("last_used_s"))]
_POOLS = fields(name="name", state="state", upstreams="upstreams", models="models", strategy="strategy", keys="keys", label="label")
_PROVIDERS = fields(name="name", adapter="adapter", source="source", base_url="base_url", disabled="disabled")
_CALLS: list[Column] = [
    ("BEGAN", when("started_ms", 1e-3)),
    *fields(id="request_id", status="status", error="error_code", key="key_prefix", pool="pool", asked="model_requested"),
    *fields(provider="provider_key", model="model_id", attempts="attempts", ms="duration_ms", tokens_in="tokens_input"),
    *fields(tokens_out="tokens_output", usd="cost_usd"),
]
_AUDIT = [("WHEN", when("at_s")), *fields(who="actor.kind", action="action", target="target", outcome="outcome", changed="changed")]
_SETTINGS = fields(setting="name", value="value", source="source", unit="unit")
_REVISIONS = [*fields(revision="revision"), ("WHEN", when("at_s")), *fields(who="actor.kind", what="summary")]
_LIMITS = ("requests_per_minute", "tokens_per_minute", "tokens_per_day", "tokens_per_week", "spend_usd_per_day", "spend_usd_per_month")


def add_commands(commands: Any, parent: argparse.ArgumentParser, run: Callable[[Act], Callable[[argparse.Namespace], int]]) -> None:
    """Every command. `parent` has the options that name the instance; `run` makes of an act what argparse is to call."""
    for add in (_upstreams, _explain, _keys, _pools, _providers, _logs, _usage, _audit, _settings, _config, _store):
        add(commands, parent, run)


# --- routing


def _upstreams(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    parser = commands.add_parser("upstreams", parents=[parent], help="how each upstream of a running instance stands")
    parser.add_argument("verb", nargs="?", choices=("list", "pause", "resume", "reset", "test", "reload"), default="list", metavar="VERB")
    parser.add_argument("upstream", nargs="?", metavar="UPSTREAM", help="provider or provider/credential; reset without one: all")
    parser.set_defaults(run=run(_steer_upstreams))


def _steer_upstreams(administrator: Administrator, options: argparse.Namespace) -> Result:
    if options.verb == "reload":
        found = administrator.reload()
        return found, [*upstream_lines(found["upstreams"]), *(f"warning: {warning}" for warning in found["warnings"])]
    if options.verb == "list":
        listed = administrator.upstreams()
    elif options.upstream is None and options.verb != "reset":
        raise ValueError(f"name the upstream to {options.verb}: provider, or provider/credential")
    elif options.verb == "test":
        found = administrator.ask("POST", "/upstreams/test", key=options.upstream)
        return found, [f"{options.upstream}: {found['model_id']} answered in {found['duration_ms']:.0f} ms"]
    else:
        listed = administrator.steer(options.verb, options.upstream)
    return listed, upstream_lines(listed)


def _explain(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    parser = commands.add_parser("explain", parents=[parent], help="why a call went where it went")
    parser.add_argument("id", metavar="ID", help="the call's x-request-id, req_id in the log")
    parser.set_defaults(run=run(_explained))


def _explained(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.explain(options.id)
    return found, explanation_lines(found)


# --- keys and pools


def _keys(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    verbs = _verbs(commands, "keys", "client keys: make, hold, end and renew them")
    listed = verbs.add_parser("list", parents=[parent], help="all of them")
    listed.add_argument("--pool", metavar="POOL", help="of one pool")
    listed.set_defaults(run=run(lambda administrator, options: _table(_KEYS, administrator.ask("GET", "/keys", pool=options.pool))))
    create = verbs.add_parser("create", parents=[parent, _key_terms()], help="a new one; its secret is shown once")
    create.add_argument("--pool", metavar="POOL", required=True, help="the pool it belongs to")
    create.set_defaults(
        run=run(lambda administrator, options: _secret(administrator.ask("POST", "/keys", {"pool": options.pool, **_terms(options)})))
    )
    update = verbs.add_parser("update", parents=[parent, _key_terms()], help="other terms")
    update.add_argument("key", metavar="ID")
    update.set_defaults(
        run=run(lambda administrator, options: _one(administrator.ask("PATCH", _path("keys", options.key), _terms(options))))
    )
    rotate = verbs.add_parser("rotate", parents=[parent], help="a new secret; the old one goes on for a while")
    rotate.add_argument("key", metavar="ID")
    rotate.add_argument("--overlap", type=duration_s, metavar="TIME", help="how long the old one goes on: 0, 15m, 12h; default: a day")
    rotate.set_defaults(
        run=run(
            lambda administrator, options: _secret(
                administrator.ask(
                    "POST", _path("keys", options.key, "rotate"), {"overlap_s": options.overlap} if options.overlap is not None else {}
                )
            )
        )
    )
    move = verbs.add_parser("move", parents=[parent], help="put it into another pool")
    move.add_argument("key", metavar="ID")
    move.add_argument("pool", metavar="POOL")
    move.set_defaults(
        run=run(lambda administrator, options: _one(administrator.ask("POST", _path("keys", options.key, "move"), {"pool": options.pool})))
    )
    for verb, told in (("pause", "refuse its calls for now"), ("resume", "end a pause"), ("revoke", "end it for ever, its streams too")):
        _on_one(verbs, parent, run, "keys", "key", "ID", verb, told)
    _show_and_delete(verbs, parent, run, "keys", "key", "ID")


def _key_terms() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--label", metavar="TEXT", help="what it is for")
    parser.add_argument("--expires", type=duration_s, metavar="TIME", dest="expires_in_s", help="ends after so long: 12h, 30d")
    parser.add_argument(
        "--model", action="append", metavar="MODEL", dest="models", help="a model or pattern it may ask for; may come again"
    )
    parser.add_argument("--enforced-model", metavar="MODEL", help="ask for this one, whatever a call says")
    parser.add_argument("--enforced-thinking", metavar="LEVEL", help="none, an effort such as high, or a number of tokens")
    parser.add_argument("--maximum-thinking", metavar="LEVEL", help="no more than that")
    parser.add_argument(
        "--limit", action="append", type=pair, default=[], metavar="NAME=NUMBER", help=f"{', '.join(_LIMITS)}, max_concurrency"
    )
    return parser


def _terms(options: argparse.Namespace) -> dict[str, Any]:
    names = ("label", "models", "enforced_model", "enforced_thinking", "maximum_thinking")
    terms = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.expires_in_s is not None:
        terms["expires_s"] = time.time() + options.expires_in_s
    if options.limit:
        terms["limits"] = {name: _number(value) for name, value in options.limit}
    return terms


def _number(text: str) -> float | int | None:
    if text in ("", "none"):
        return None
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number; none takes a limit away") from None


def _secret(found: dict[str, Any]) -> Result:
    lines = [f"{found['secret']}", f"This is key {found['key']['id']}. Its secret is not shown again."]
    return found, lines


def _pools(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    verbs = _verbs(commands, "pools", "pools: which keys may use which upstreams and models")
    listed = verbs.add_parser("list", parents=[parent], help="all of them")
    listed.set_defaults(run=run(lambda administrator, options: _table(_POOLS, administrator.ask("GET", "/pools"))))
    for verb, told in (("create", "a new one"), ("update", "other terms")):
        parser = verbs.add_parser(verb, parents=[parent], help=told)
        parser.add_argument("pool", metavar="NAME")
        parser.add_argument("--label", metavar="TEXT", help="what it is for")
        parser.add_argument(
            "--upstream", action="append", dest="upstreams", metavar="UPSTREAM", help="provider or provider/credential; may come again"
        )
        parser.add_argument(
            "--model", action="append", dest="models", metavar="MODEL", help="a model or pattern its keys may ask for; may come again"
        )
        parser.add_argument(
            "--exclude-model", action="append", dest="excluded_models", metavar="MODEL", help="one they may not; may come again"
        )
        parser.add_argument("--strategy", metavar="STRATEGY", help="which provider of one priority is next")
        parser.set_defaults(run=run(_create_pool if verb == "create" else _update_pool))
    for verb, told in (
        ("pause", "refuse its calls for now"),
        ("resume", "take calls again"),
        ("disable", "refuse its calls until further notice"),
        ("archive", "disable it and leave it out of lists"),
    ):
        _on_one(verbs, parent, run, "pools", "pool", "NAME", verb, told)
    _show_and_delete(verbs, parent, run, "pools", "pool", "NAME")


def _create_pool(administrator: Administrator, options: argparse.Namespace) -> Result:
    return _one(administrator.ask("POST", "/pools", {"name": options.pool, **_pool_terms(options)}))


def _update_pool(administrator: Administrator, options: argparse.Namespace) -> Result:
    return _one(administrator.ask("PATCH", _path("pools", options.pool), _pool_terms(options)))


def _pool_terms(options: argparse.Namespace) -> dict[str, Any]:
    names = ("label", "upstreams", "models", "excluded_models", "strategy")
    return {name: value for name in names if (value := getattr(options, name)) is not None}


# --- providers, settings, the whole configuration


def _providers(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    verbs = _verbs(commands, "providers", "providers, whoever named them; those kept in the store can be changed")
    listed = verbs.add_parser("list", parents=[parent], help="all of them")
    listed.set_defaults(run=run(lambda administrator, options: _table(_PROVIDERS, administrator.ask("GET", "/providers"))))
    put = verbs.add_parser("put", parents=[parent], help="add or replace one")
    put.add_argument("provider", metavar="NAME")
    put.add_argument(
        "file", type=Path, metavar="FILE", help="its entry as JSON, with the fields of docs/providers.md; - for standard input"
    )
    put.set_defaults(
        run=run(lambda administrator, options: _one(administrator.ask("PUT", _path("providers", options.provider), _json(options.file))))
    )
    reload = verbs.add_parser("reload", parents=[parent], help="take the providers file as it is now")
    reload.set_defaults(run=run(_steer_upstreams), verb="reload")
    _show_and_delete(verbs, parent, run, "providers", "provider", "NAME")


def _settings(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    verbs = _verbs(commands, "settings", "settings that change without a restart")
    listed = verbs.add_parser("list", parents=[parent], help="each with its value and where that comes from")
    listed.set_defaults(run=run(lambda administrator, options: _table(_SETTINGS, administrator.ask("GET", "/settings"))))
    change = verbs.add_parser("set", parents=[parent], help="keep a value in the store")
    change.add_argument("values", nargs="+", type=pair, metavar="NAME=VALUE")
    change.set_defaults(
        run=run(lambda administrator, options: _table(_SETTINGS, administrator.ask("PATCH", "/settings", dict(options.values))))
    )
    clear = verbs.add_parser("clear", parents=[parent], help="back to what the environment or the default says")
    clear.add_argument("names", nargs="+", metavar="NAME")
    clear.set_defaults(
        run=run(lambda administrator, options: _table(_SETTINGS, administrator.ask("PATCH", "/settings", dict.fromkeys(options.names))))
    )


def _config(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    verbs = _verbs(commands, "config", "everything the store keeps of the configuration: export, restore, go back")
    export = verbs.add_parser("export", parents=[parent], help="print it as JSON; secrets are masked and come back on a restore")
    export.add_argument("--with-secrets", action="store_true", help="secrets in the clear; this is noted in the audit log")
    export.set_defaults(run=run(_export_config))
    restore = verbs.add_parser("restore", parents=[parent], help="replace it by what was exported, whole or not at all")
    restore.add_argument("file", type=Path, metavar="FILE", help="- for standard input")
    restore.set_defaults(run=run(lambda administrator, options: _one(administrator.ask("PUT", "/config", _json(options.file)))))
    revisions = verbs.add_parser("revisions", parents=[parent], help="what changed, when, by whom")
    revisions.set_defaults(run=run(lambda administrator, options: _table(_REVISIONS, administrator.ask("GET", "/config/revisions"))))
    rollback = verbs.add_parser("rollback", parents=[parent], help="make an earlier revision the newest one")
    rollback.add_argument("revision", type=int, metavar="REVISION")
    rollback.set_defaults(
        run=run(
            lambda administrator, options: _one(administrator.ask("POST", _path("config", "revisions", str(options.revision), "restore")))
        )
    )


def _export_config(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask("GET", "/config", secrets="true" if options.with_secrets else None)
    return found, [json.dumps(found, indent=2)]


# --- logs


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=moment_s, metavar="TIME", help="from then on: 2h for two hours ago, or 2026-01-31T12:00:00Z")
    parser.add_argument("--until", type=moment_s, metavar="TIME", help="up to then")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many rows")


def _logs(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    parser = commands.add_parser("logs", parents=[parent], help="calls as the store remembers them, the newest first")
    _filters(parser)
    parser.add_argument("--id", metavar="ID", help="the call's x-request-id")
    parser.add_argument("--key", metavar="ID", help="calls of one client key")
    parser.add_argument("--pool", metavar="POOL", help="of one pool")
    parser.add_argument("--provider", metavar="NAME", help="served by one provider")
    parser.add_argument("--model", metavar="MODEL", help="asked for, or served by, one model")
    parser.add_argument("--status", metavar="STATUS", help="429, or a class: 5xx")
    parser.add_argument("--error", metavar="CODE", help="with one error code")
    parser.add_argument("--export", choices=("csv", "jsonl"), help="all of them to standard output")
    parser.set_defaults(run=run(_calls))


def _calls(administrator: Administrator, options: argparse.Namespace) -> Result:
    query = {
        "request_id": options.id,
        "key_id": options.key,
        "pool": options.pool,
        "provider_key": options.provider,
        "model": options.model,
        "status": options.status,
        "error_code": options.error,
        "since_s": options.since,
        "until_s": options.until,
        "limit": options.limit,
    }
    if options.export is not None:
        for piece in administrator.read("/calls/export", format=options.export, **query):
            sys.stdout.buffer.write(piece)
        return None, []
    found = administrator.ask("GET", "/calls", **query)
    return found, lines_of(_CALLS, found["rows"])


def _usage(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    parser = commands.add_parser("usage", parents=[parent], help="calls, tokens and money by key, pool, model …")
    _filters(parser)
    parser.add_argument("--by", choices=("pool", "key", "provider", "model", "hour", "day"), default="key", help="default: key")
    parser.set_defaults(run=run(_summed))


def _summed(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask("GET", "/usage", group_by=options.by, since_s=options.since, until_s=options.until, limit=options.limit)
    columns = fields(calls="calls", failed="failed", tokens_in="tokens_input", tokens_out="tokens_output", usd="cost_usd")
    first = [(options.by.upper(), when("group"))] if options.by in ("hour", "day") else fields(**{options.by: "group"})
    return found, lines_of([*first, *columns], found["rows"])


def _audit(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    verbs = _verbs(commands, "audit", "what administrators did")
    listed = verbs.add_parser("list", parents=[parent], help="the newest first")
    _filters(listed)
    listed.add_argument("--action", metavar="ACTION", help="one kind, such as key.revoke")
    listed.add_argument("--target", metavar="TARGET", help="what was done to one pool, key …")
    listed.set_defaults(
        run=run(
            lambda administrator, options: _table(
                _AUDIT,
                administrator.ask(
                    "GET",
                    "/audit",
                    since_s=options.since,
                    until_s=options.until,
                    limit=options.limit,
                    action=options.action,
                    target=options.target,
                ),
            )
        )
    )
    verify = verbs.add_parser("verify", parents=[parent], help="whether anybody changed or removed a line")
    verify.set_defaults(run=run(_verify))


def _verify(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask("GET", "/audit/verify")
    if not found["ok"]:
        raise Refusal(f"the audit log was tampered with: the first line that does not fit is {found['first_bad_id']}")
    return found, [f"ok: {found['rows']} lines, none changed or missing"]


def _store(commands: Any, parent: argparse.ArgumentParser, run: Any) -> None:
    verbs = _verbs(commands, "store", "the database behind a running instance")
    status = verbs.add_parser("status", parents=[parent], help="whether it works, and what waits for it")
    status.set_defaults(run=run(lambda administrator, options: _one(administrator.ask("GET", "/store"))))
    backup = verbs.add_parser("backup", parents=[parent], help="a copy of an SQLite database, while it runs")
    backup.set_defaults(run=run(lambda administrator, options: _one(administrator.ask("POST", "/store/backup"))))


# --- what several of them share


def _verbs(commands: Any, name: str, told: str) -> Any:
    return commands.add_parser(name, help=told, description=told).add_subparsers(title="verbs", metavar="VERB", required=True)


def _on_one(verbs: Any, parent: argparse.ArgumentParser, run: Any, kind: str, name: str, metavar: str, verb: str, told: str) -> None:
    parser = verbs.add_parser(verb, parents=[parent], help=told)
    parser.add_argument(name, metavar=metavar)
    parser.set_defaults(run=run(lambda administrator, options: _one(administrator.ask("POST", _path(kind, getattr(options, name), verb)))))


def _show_and_delete(verbs: Any, parent: argparse.ArgumentParser, run: Any, kind: str, name: str, metavar: str) -> None:
    show = verbs.add_parser("show", parents=[parent], help="everything about one")
    show.add_argument(name, metavar=metavar)
    show.set_defaults(run=run(lambda administrator, options: _one(administrator.ask("GET", _path(kind, getattr(options, name))))))
    delete = verbs.add_parser("delete", parents=[parent], help="remove one")
    delete.add_argument(name, metavar=metavar)
    delete.set_defaults(
        run=run(lambda administrator, options: (administrator.ask("DELETE", _path(kind, getattr(options, name))), ["deleted"]))
    )


def _path(*parts: str) -> str:
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _table(columns: list[Column], rows: Any) -> Result:
    return rows, lines_of(columns, rows)


def _one(found: Any) -> Result:
    return found, _indented(found)


def _indented(value: Any, indent: str = "") -> Iterator[str]:
    for name, inner in (value or {}).items():
        if isinstance(inner, dict) and inner:
            yield f"{indent}{name}:"
            yield from _indented(inner, indent + "  ")
        elif isinstance(inner, list):
            yield f"{indent}{name}: {', '.join(map(str, inner)) or '-'}"
        else:
            yield f"{indent}{name}: {'-' if inner in (None, '', {}) else inner}"


def _json(file: Path) -> Any:
    try:
        return json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as JSON: {error}") from error
