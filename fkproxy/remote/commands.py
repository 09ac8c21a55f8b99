"""What may be typed against a running instance, put together; upstreams and the store. Floor 4. Standard library only."""

from __future__ import annotations

import argparse
from typing import Any

from fkproxy.remote.administrator import LONG_S, Administrator
from fkproxy.remote.configuration import add_config, add_providers, add_settings, reload
from fkproxy.remote.records import add_audit, add_explain, add_logs, add_usage
from fkproxy.remote.tables import upstream_lines
from fkproxy.remote.teams import add_keys, add_pools
from fkproxy.remote.verbs import Result, Run, family, item, leaf

__all__ = ["add_commands"]


def add_commands(commands: Any, parent: argparse.ArgumentParser, run: Run) -> Any:
    """Every command. `parent` has the options that name the instance. Gives the verbs of `store`, which has others elsewhere."""
    for add in (_upstreams, add_explain, add_pools, add_keys, add_providers, add_settings, add_config, add_logs, add_usage, add_audit):
        add(commands, parent, run)
    return _store(commands, parent, run)


def _upstreams(commands: Any, parent: argparse.ArgumentParser, run: Run) -> None:
    parser = leaf(commands, [parent], run, "upstreams", "how each upstream of a running instance stands", _steer)
    parser.add_argument("verb", nargs="?", choices=("list", "pause", "resume", "reset", "test", "reload"), default="list", metavar="VERB")
    parser.add_argument("upstream", nargs="?", metavar="UPSTREAM", help="as the list names it; reset without one: all")


def _steer(administrator: Administrator, options: argparse.Namespace) -> Result:
    match options.verb:
        case "list" | "reload" if options.upstream is not None:
            raise ValueError(f"{options.verb} is of all upstreams; leave out {options.upstream!r}")
        case "reload":
            return reload(administrator, options)
        case "list":
            found = administrator.upstreams()
        case verb if options.upstream is None and verb != "reset":
            raise ValueError(f"name the upstream to {verb}, as 'fkllmproxy upstreams' does")
        case "test":
            tested = administrator.ask("POST", "/upstreams/test", timeout_s=LONG_S, key=options.upstream)
            return Result(tested, [f"{options.upstream}: {tested['model_id']} answered in {tested['duration_ms']:.0f} ms"])
        case verb:
            found = administrator.steer(verb, options.upstream)
    return Result(found, upstream_lines(found))


def _store(commands: Any, parent: argparse.ArgumentParser, run: Run) -> Any:
    verbs = family(commands, "store", "what the gateway remembers: the database and the files beside it")
    leaf(verbs, [parent], run, "status", "whether a running instance can use it, and what waits for it", _status)
    leaf(verbs, [parent], run, "backup", "a copy of an SQLite database, while it is used", _back_up)
    leaf(verbs, [parent], run, "reseal", "seal every secret anew with the newest of the configured keys", _reseal)
    return verbs


def _status(administrator: Administrator, options: argparse.Namespace) -> Result:
    return item(administrator.ask("GET", "/store"))


def _back_up(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask("POST", "/store/backup", timeout_s=LONG_S)
    told = "the keys that its secrets are sealed with are not in it: keep secrets.key, or what APP_STORE__SECRET_KEYS says, beside it"
    return Result(found, [f"{found['path']}  {found['size_bytes'] / 1e6:.1f} MB"], [told])


def _reseal(administrator: Administrator, options: argparse.Namespace) -> Result:
    found = administrator.ask("POST", "/store/reseal", timeout_s=LONG_S)
    return Result(found, [f"sealed anew: {found['values']}"])
