"""Commands for pools and client keys. Floor 4. Standard library only."""

from __future__ import annotations

import argparse
import time
from typing import Any

from fkproxy.remote.administrator import Administrator
from fkproxy.remote.tables import Column, fields, when
from fkproxy.remote.values import amount, duration_s, lifetime_s, pair, text_or_none
from fkproxy.remote.verbs import Result, Run, family, item, leaf, on_one, path_of, removal, rows, show

__all__ = ["add_keys", "add_pools"]

_KEYS: list[Column] = [
    *fields(id="id", prefix="prefix", pool="pool", label="label", state="effective_state"),
    ("EXPIRES", when("expires_s")),
    ("LAST USED", when("last_used_s")),
]
_POOLS: list[Column] = [
    *fields(name="name", state="state", keys="keys", models="models"),
    ("UPSTREAMS", lambda row: ",".join(row["upstreams"]) or "all"),
    *fields(strategy="strategy", label="label"),
]
_LIMITS = (
    "requests_per_minute", "tokens_per_minute", "tokens_per_day", "tokens_per_week", "spend_usd_per_day", "spend_usd_per_month",
    "max_concurrency",
)  # fmt: skip
_KEY_TERMS = ("label", "models", "enforced_model", "enforced_thinking", "maximum_thinking")
_POOL_TERMS = ("label", "upstreams", "models", "excluded_models", "strategy")
_SAID_ONLY = argparse.SUPPRESS
"""What nobody typed is not among the options: null takes something away, and nothing leaves it as it is."""


# --- keys


def add_keys(commands: Any, parent: argparse.ArgumentParser, run: Run) -> None:
    """`fkllmproxy keys`."""
    verbs = family(commands, "keys", "client keys: make, hold, end and renew them; a key goes by its id or its prefix")
    leaf(verbs, [parent], run, "list", "all of them", _list_keys).add_argument("--pool", metavar="POOL", help="of one pool")
    create = leaf(verbs, [parent, _key_terms()], run, "create", "a new one; its secret is printed, and never again", _create_key)
    create.add_argument("--pool", metavar="POOL", required=True, help="the pool it belongs to")
    show(verbs, parent, run, "keys", "ID")
    leaf(verbs, [parent, _key_terms()], run, "update", "other terms", _update_key).add_argument("key", metavar="ID")
    rotate = leaf(verbs, [parent], run, "rotate", "a new secret; the ones before it go on for a while", _rotate_key)
    rotate.add_argument("key", metavar="ID")
    rotate.add_argument("--overlap", type=duration_s, metavar="TIME", help="how long those go on: 0, 15m, 12h; default: a day")
    move = leaf(verbs, [parent], run, "move", "put it into another pool", _move_key)
    move.add_argument("key", metavar="ID")
    move.add_argument("pool", metavar="POOL")
    for verb, told in (("pause", "refuse its calls for now"), ("resume", "end a pause"), ("revoke", "end it for ever, its streams too")):
        on_one(verbs, parent, run, "keys", "ID", verb, told, _KEYS)
    delete = removal(verbs, parent, run, "keys", "ID", "remove one that is revoked; what it used stays booked")
    delete.add_argument("--confirm", metavar="PREFIX", help="its prefix, to remove one that is not revoked")


def _list_keys(administrator: Administrator, options: argparse.Namespace) -> Result:
    return rows(_KEYS, administrator.ask("GET", "/keys", pool=options.pool))


def _create_key(administrator: Administrator, options: argparse.Namespace) -> Result:
    return _secret(administrator.ask("POST", "/keys", {"pool": options.pool, **_key_terms_of(options)}))


def _update_key(administrator: Administrator, options: argparse.Namespace) -> Result:
    return item(administrator.ask("PATCH", path_of("keys", options.key), _something(_key_terms_of(options))))


def _rotate_key(administrator: Administrator, options: argparse.Namespace) -> Result:
    overlap = {} if options.overlap is None else {"overlap_s": options.overlap}
    return _secret(administrator.ask("POST", path_of("keys", options.key, "rotate"), overlap))


def _move_key(administrator: Administrator, options: argparse.Namespace) -> Result:
    return rows(_KEYS, [administrator.ask("POST", path_of("keys", options.key, "move"), {"pool": options.pool})])


def _secret(found: dict[str, Any]) -> Result:
    """The secret alone is on standard output, so that it can go straight to where it is kept."""
    return Result(found, [found["secret"]], [f"this is key {found['key']['id']}; its secret is not shown again"])


def _key_terms() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, argument_default=_SAID_ONLY)
    parser.add_argument("--label", metavar="TEXT", help="what it is for")
    parser.add_argument("--expires", type=lifetime_s, metavar="TIME", dest="expires_in_s", help="ends after so long: 12h, 30d; or never")
    parser.add_argument("--model", action="append", metavar="MODEL", dest="models", help="one it may ask for; * and ? stand for any; again")
    parser.add_argument("--enforced-model", metavar="MODEL", type=text_or_none, help="ask for this one, whatever a call says; '': for none")
    parser.add_argument(
        "--enforced-thinking", metavar="LEVEL", type=text_or_none, help="none, an effort such as high, or tokens; '': as asked"
    )
    parser.add_argument("--maximum-thinking", metavar="LEVEL", type=text_or_none, help="no more than that; '': no maximum")
    parser.add_argument("--limit", action="append", type=pair, metavar="NAME=NUMBER", help=f"{', '.join(_LIMITS)}; none: no limit; again")
    return parser


def _key_terms_of(options: argparse.Namespace) -> dict[str, Any]:
    said = vars(options)
    terms = {name: said[name] for name in _KEY_TERMS if name in said}
    if "expires_in_s" in said:
        terms["expires_s"] = None if said["expires_in_s"] is None else time.time() + said["expires_in_s"]
    if "limit" in said:
        terms["limits"] = {name: amount(value) for name, value in said["limit"]}
    return terms


# --- pools


def add_pools(commands: Any, parent: argparse.ArgumentParser, run: Run) -> None:
    """`fkllmproxy pools`."""
    verbs = family(commands, "pools", "pools: which keys may use which upstreams and models")
    listed = leaf(verbs, [parent], run, "list", "all of them", _list_pools)
    listed.add_argument("--archived", action="store_const", const="true", help="the archived ones too")
    leaf(verbs, [parent, _pool_terms()], run, "create", "a new one", _create_pool).add_argument("pool", metavar="NAME")
    show(verbs, parent, run, "pools", "NAME")
    leaf(verbs, [parent, _pool_terms()], run, "update", "other terms", _update_pool).add_argument("pool", metavar="NAME")
    for verb, told in (
        ("pause", "refuse its calls for now"),
        ("resume", "take calls again"),
        ("disable", "refuse its calls until further notice"),
        ("archive", "disable it and leave it out of lists"),
    ):
        on_one(verbs, parent, run, "pools", "NAME", verb, told, _POOLS)
    removal(verbs, parent, run, "pools", "NAME", "remove one that is archived and has only revoked keys")


def _list_pools(administrator: Administrator, options: argparse.Namespace) -> Result:
    return rows(_POOLS, administrator.ask("GET", "/pools", archived=options.archived))


def _create_pool(administrator: Administrator, options: argparse.Namespace) -> Result:
    return rows(_POOLS, [administrator.ask("POST", "/pools", {"name": options.pool, **_pool_terms_of(options)})])


def _update_pool(administrator: Administrator, options: argparse.Namespace) -> Result:
    return item(administrator.ask("PATCH", path_of("pools", options.pool), _something(_pool_terms_of(options))))


def _pool_terms() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, argument_default=_SAID_ONLY)
    parser.add_argument("--label", metavar="TEXT", help="what it is for")
    parser.add_argument(
        "--upstream",
        action="append",
        dest="upstreams",
        metavar="UPSTREAM",
        help="provider or provider/credential; again; '': all there are",
    )
    parser.add_argument(
        "--model", action="append", dest="models", metavar="MODEL", help="one its keys may ask for; * and ? stand for any; again"
    )
    parser.add_argument(
        "--exclude-model", action="append", dest="excluded_models", metavar="MODEL", help="one they may not; again; '': none"
    )
    parser.add_argument(
        "--strategy", metavar="STRATEGY", type=text_or_none, help="which provider of one priority is next; '': as configured"
    )
    parser.add_argument(
        "--fallback",
        action="append",
        type=_fallback,
        metavar="MODEL=OTHER",
        help="ask for another one when everybody failed; again, in order; '': none",
    )
    return parser


def _pool_terms_of(options: argparse.Namespace) -> dict[str, Any]:
    said = vars(options)
    terms = {name: _without_blanks(said[name]) for name in _POOL_TERMS if name in said}
    if "fallback" in said:
        terms["fallbacks"] = {}
        for model, other in filter(None, said["fallback"]):
            terms["fallbacks"].setdefault(model, []).append(other)
    return terms


def _fallback(text: str) -> tuple[str, str] | None:
    return pair(text) if text else None


def _without_blanks(value: Any) -> Any:
    return [each for each in value if each] if isinstance(value, list) else value


def _something(terms: dict[str, Any]) -> dict[str, Any]:
    if not terms:
        raise ValueError("nothing to change was said; --help has the options")
    return terms
