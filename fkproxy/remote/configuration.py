"""Commands for providers, settings and the configuration as a whole. Floor 4. Standard library only."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fkproxy.remote.administrator import Administrator
from fkproxy.remote.tables import Column, fields, upstream_lines, when
from fkproxy.remote.values import pair
from fkproxy.remote.verbs import Result, Run, family, item, json_of, leaf, path_of, removal, rows, show

__all__ = ["add_config", "add_providers", "add_settings", "reload"]

_PROVIDERS: list[Column] = [
    *fields(name="name", adapter="entry.adapter", source="source", upstreams="upstreams", disabled="disabled", base_url="entry.base_url"),
]
_SETTINGS: list[Column] = [
    *fields(setting="name", value="value"),
    ("SOURCE", lambda row: row["source_detail"] or row["source"]),
    *fields(unit="unit", live="live"),
]
_REVISIONS: list[Column] = [
    *fields(revision="revision"),
    ("WHEN", when("at_s")),
    *fields(who="actor.kind", network="actor.peer", what="summary"),
]


# --- providers


def add_providers(commands: Any, parent: argparse.ArgumentParser, run: Run) -> None:
    """`fkllmproxy providers`."""
    verbs = family(commands, "providers", "providers, whoever named them; those kept in the store can be changed")
    leaf(verbs, [parent], run, "list", "all of them, the preferred one first", _list_providers)
    show(verbs, parent, run, "providers", "NAME")
    for verb, told, act in (
        ("put", "add or replace one", _put_provider),
        ("patch", "change some fields of one; null clears one", _patch_provider),
    ):
        parser = leaf(verbs, [parent], run, verb, told, act)
        parser.add_argument("provider", metavar="NAME")
        parser.add_argument("file", type=Path, metavar="FILE", help="JSON with the fields of docs/providers.md; - for standard input")
    order = leaf(verbs, [parent], run, "order", "another order of preference among those kept in the store", _order_providers)
    order.add_argument("names", nargs="+", metavar="NAME", help="all of them, the preferred one first")
    leaf(verbs, [parent], run, "reload", "take the providers file as it is now", reload)
    removal(verbs, parent, run, "providers", "NAME", "remove one; calls under way go on")


def _list_providers(administrator: Administrator, options: argparse.Namespace) -> Result:
    return rows(_PROVIDERS, administrator.ask("GET", "/providers"))


def _put_provider(administrator: Administrator, options: argparse.Namespace) -> Result:
    return item(administrator.ask("PUT", path_of("providers", options.provider), json_of(options.file)))


def _patch_provider(administrator: Administrator, options: argparse.Namespace) -> Result:
    return item(administrator.ask("PATCH", path_of("providers", options.provider), json_of(options.file)))


def _order_providers(administrator: Administrator, options: argparse.Namespace) -> Result:
    return rows(_PROVIDERS, administrator.ask("POST", "/providers/order", {"names": options.names}))


def reload(administrator: Administrator, options: argparse.Namespace) -> Result:
    """The providers file."""
    found = administrator.reload()
    return Result(found, upstream_lines(found["upstreams"]), [f"warning: {warning}" for warning in found["warnings"]])


# --- settings


def add_settings(commands: Any, parent: argparse.ArgumentParser, run: Run) -> None:
    """`fkllmproxy settings`."""
    verbs = family(commands, "settings", "settings that change without a restart; what a variable says is not overruled")
    listed = leaf(
        verbs, [parent], run, "list", "each with its value and where that comes from; those that are live can be set here", _list_settings
    )
    listed.add_argument("--section", metavar="SECTION", help="of one section: rate_limit, timeout …")
    listed.add_argument("--changed", action="store_true", help="only those that are not as they come")
    show(verbs, parent, run, "settings", "NAME")
    change = leaf(verbs, [parent], run, "set", "keep values in the store, all or none", _set_settings)
    change.add_argument("values", nargs="+", type=pair, metavar="NAME=VALUE")
    clear = leaf(verbs, [parent], run, "clear", "keep them no longer: what the environment or the default says", _clear_settings)
    clear.add_argument("names", nargs="+", metavar="NAME")


def _list_settings(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask("GET", "/settings", section=options.section)
    return rows(_SETTINGS, [row for row in found if not options.changed or row["value"] != row["default"] or row["managed"] is not None])


def _set_settings(administrator: Administrator, options: argparse.Namespace) -> Result:
    return rows(_SETTINGS, administrator.ask("PATCH", "/settings", dict(options.values)))


def _clear_settings(administrator: Administrator, options: argparse.Namespace) -> Result:
    return rows(_SETTINGS, administrator.ask("PATCH", "/settings", dict.fromkeys(options.names)))


# --- the whole of it


def add_config(commands: Any, parent: argparse.ArgumentParser, run: Run) -> None:
    """`fkllmproxy config`."""
    verbs = family(commands, "config", "providers, pools and settings as the store keeps them: export, restore, go back")
    export = leaf(verbs, [parent], run, "export", "print it as JSON; secrets are masked and come back on a restore", _export)
    export.add_argument("--with-secrets", action="store_true", help="secrets in the clear; this is noted in the audit log")
    restore = leaf(verbs, [parent], run, "restore", "replace it by what was exported, whole or not at all", _restore)
    restore.add_argument("file", type=Path, metavar="FILE", help="- for standard input")
    leaf(verbs, [parent], run, "revisions", "what changed, when, by whom", _revisions).add_argument(
        "--limit", type=int, metavar="N", help="at most so many"
    )
    diff = leaf(verbs, [parent], run, "diff", "the fields that differ between two revisions, without their values", _diff)
    diff.add_argument("older", type=int, metavar="REVISION")
    diff.add_argument("newer", type=int, metavar="REVISION")
    rollback = leaf(verbs, [parent], run, "rollback", "make an earlier revision the newest one", _roll_back)
    rollback.add_argument("revision", type=int, metavar="REVISION")


def _export(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask("GET", "/config", secrets="true" if options.with_secrets else None)
    return Result(found, [json.dumps(found, indent=2)])


def _restore(administrator: Administrator, options: argparse.Namespace) -> Result:
    return _summed(administrator.ask("PUT", "/config", json_of(options.file)))


def _revisions(administrator: Administrator, options: argparse.Namespace) -> Result:
    return rows(_REVISIONS, administrator.ask("GET", "/config/revisions", limit=options.limit))


def _diff(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask("GET", "/config/diff", older=options.older, newer=options.newer)
    return Result(found, found)


def _roll_back(administrator: Administrator, options: argparse.Namespace) -> Result:
    return _summed(administrator.ask("POST", path_of("config", "revisions", str(options.revision), "restore")))


def _summed(found: dict[str, Any]) -> Result:
    counts = ", ".join(f"{name} {len(found[name])}" for name in ("providers", "pools", "settings"))
    return Result(found, [f"revision {found['revision']} is in force: {counts}"])
