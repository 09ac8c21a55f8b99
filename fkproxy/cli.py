"""The command line. Floor 4.

    fkllmproxy [serve]        serve until told to stop
    fkllmproxy check          validate the configuration, print what is in force and where it comes from
    fkllmproxy doctor         look at everything on this host that the service depends on, and say what to mend
    fkllmproxy smoke          a real round trip against a running instance
    fkllmproxy upstreams      how each upstream of a running instance stands; pause, resume, reset, test one; reload the providers file
    fkllmproxy explain ID     why a call went where it went
    fkllmproxy keys           client keys; pools, providers, settings and config: what else the store keeps of the configuration
    fkllmproxy logs           calls as the store remembers them; usage: their sums; audit: what administrators did
    fkllmproxy store          the database: how it stands, a copy of it, is it whole, another key for its secrets
    fkllmproxy migrate        bring the database to this version, which a start does by itself
    fkllmproxy selftest       every client dialect towards every upstream dialect, through this file itself, without a network
    fkllmproxy install        make this file a service of the host
    fkllmproxy upgrade FILE   replace the installed file, dropping nothing
    fkllmproxy rollback       go back to the file before
    fkllmproxy prepare FILE   unpack and try a file as the service would, changing nothing
    fkllmproxy version        the version

Whatever is wrong is one plain message on stderr and an exit code: 1 the configuration, the host or the target is at fault, 2 the command
line. `doctor` gives 0 for "nothing to do", 1 for warnings and 2 for errors.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from fkproxy import __version__, main_process, remote, smoke, upkeep
from fkproxy.main_process import Main
from fkproxy.place import place_of
from fkproxy.settings import LoadedSettings, SettingsError, describe, is_journal, load, load_providers, process_variables
from fkproxy.settings.values import fits_header
from fkproxy.smoke import Step

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None, parent: Main | None = None) -> int:
    """Run one command and return its exit code. `parent`: whose worker this is, if it is to serve."""
    try:
        options = _typed(arguments)
    except OSError as error:
        return _unprinted(error)
    if options.run is _serve and parent is None:
        return main_process.run(partial(main, arguments))
    options.parent = parent
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except SettingsError as error:
        _report(error, as_json=getattr(options, "json", False))
        return 1
    except OSError as error:
        if parent is not None and not isinstance(error, BrokenPipeError):
            raise
        return _unprinted(error)
    except KeyboardInterrupt:
        return 130


def _typed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for. Help is printed and ends it: raises `SystemExit`, and `OSError` where that cannot be printed."""
    try:
        return _parser().parse_args(arguments)
    finally:
        sys.stdout.flush()


def _unprinted(error: OSError) -> int:
    """The exit code of what ended so; said in one line, unless whoever read it has seen enough (`… | head`)."""
    enough = isinstance(error, BrokenPipeError)
    if not enough:
        print(f"fkllmproxy: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
    _print_no_more()
    return 141 if enough else 1


def _print_no_more() -> None:
    """What could not be printed goes nowhere; without this the interpreter would complain again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: SettingsError, *, as_json: bool) -> None:
    if as_json:
        problems = [{"name": problem.name, "message": problem.message, "hint": problem.hint} for problem in error.problems]
        print(json.dumps({"ok": False, "problems": problems}, indent=2))
        return
    for problem in error.problems:
        print(f"{problem.name}: {problem.message}", file=sys.stderr)
        if problem.hint:
            print(f"    {problem.hint}", file=sys.stderr)
    count = len(error.problems)
    print(f"fkllmproxy: {count} {'problem' if count == 1 else 'problems'} in the configuration; nothing was started", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fkllmproxy", description="One gateway in front of every LLM API.")
    parser.set_defaults(run=_serve, env_file=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument(
        "--env-file", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="read settings from this file too; the environment wins"
    )
    serve = commands.add_parser("serve", parents=[configured], help="serve until told to stop (the default)")
    serve.set_defaults(run=_serve)
    check = commands.add_parser("check", parents=[configured], help="validate the configuration and print what is in force")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_check)
    smoke = commands.add_parser("smoke", parents=[configured], help="a real round trip against a running instance")
    smoke.add_argument("url", nargs="?", metavar="URL", help="address of the instance; default: the configured one on this host")
    smoke.add_argument("--key-file", type=Path, metavar="FILE", help="file that holds the API key; default: the configured key")
    smoke.add_argument("--model", metavar="MODEL", help="model to ask; default: the first one listed")
    smoke.set_defaults(run=_smoke)
    running = argparse.ArgumentParser(add_help=False, parents=[configured])
    running.add_argument("--url", metavar="URL", help="address of the instance; default: the configured one on this host")
    running.add_argument("--key-file", type=Path, metavar="FILE", help="file that holds the master key; default: the configured one")
    running.add_argument("--json", action="store_true", help="print JSON")
    store_verbs = remote.add_commands(commands, running, lambda act: lambda options: _remotely(options, act))
    upkeep.add_commands(commands, store_verbs, configured, _of_the_service)
    doctor = commands.add_parser("doctor", parents=[configured], help="look at everything on this host that the service depends on")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument("--offline", action="store_true", help="ask no upstream for anything")
    doctor.add_argument("--live", action="store_true", help="also ask each upstream for one token, which may cost something")
    doctor.set_defaults(run=_doctor)
    selftest = commands.add_parser("selftest", help="every client dialect towards every upstream dialect, without a network")
    selftest.add_argument("--quick", action="store_true", help="once the whole way, instead of every dialect towards every other one")
    selftest.add_argument("--json", action="store_true", help="print JSON")
    selftest.add_argument("--against", metavar="URL", help="try a running gateway, of any make, instead of this file; costs tokens")
    selftest.add_argument("--model", action="append", default=[], metavar="MODEL", help="with --against: a model to ask; may come again")
    selftest.add_argument("--key-file", type=Path, metavar="FILE", help="with --against: file that holds the API key")
    selftest.set_defaults(run=_selftest)
    install = commands.add_parser("install", help="make this file a service of the host (root)")
    install.add_argument("--no-start", action="store_true", help="put everything into place and leave it stopped")
    install.add_argument("--replace-units", action="store_true", help="also where the host's unit files differ; they are kept as .bak")
    install.set_defaults(run=_install)
    upgrade = commands.add_parser("upgrade", help="replace the installed file, dropping nothing (root)")
    upgrade.add_argument("file", type=Path, metavar="FILE", help="the new file")
    upgrade.set_defaults(run=_upgrade)
    rollback = commands.add_parser("rollback", help="go back to the file before (root)")
    rollback.set_defaults(run=_rollback)
    prepare = commands.add_parser("prepare", help="unpack and try a file as the service would, changing nothing (root)")
    prepare.add_argument("file", type=Path, nargs="?", metavar="FILE", help="default: the installed one")
    prepare.set_defaults(run=_prepare)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    parser.add_argument("--version", action="version", version=f"fkllmproxy {__version__}")
    parser.add_argument("--env-file", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    return parser


def _serve(options: argparse.Namespace) -> int:
    journal, parent = is_journal(process_variables()), options.parent
    try:
        loaded = _followed(parent.kept) if parent.kept else load(env_file=options.env_file)
        # Imported here: `check`, `smoke` and `version` need no server and start in a fraction of the time.
        from fkproxy.server import CannotListen, serve

        try:
            serve(loaded, parent)
        except CannotListen as error:
            if journal:
                return _not_started([str(error)])
            print(f"fkllmproxy: {error}", file=sys.stderr)
            return 1
    except SettingsError as error:
        if not journal:
            raise
        return _not_started([str(problem) for problem in error.problems])
    return 0


def _followed(kept: bytes) -> LoadedSettings:
    """For a worker that follows another: what the first one began with, but the providers file as it is now, reloaded or not; where the
    service reads copies, as of the last reload."""
    loaded: LoadedSettings = pickle.loads(kept)  # noqa: S301 - our own
    try:
        return load_providers(loaded, trust="whatever")
    except SettingsError as error:
        from fkproxy.telemetry import logs

        log = loaded.settings.log
        logs.configure(level=log.level, format=log.format, journal=loaded.environment.journal)
        for problem in error.problems:
            logging.getLogger("fkproxy").error("the providers of the start are in force again: %s", problem)
        return loaded


def _not_started(reasons: list[str]) -> int:
    """In the journal every line is JSON, these too."""
    from fkproxy.telemetry import logs

    logs.configure(level="info", format="json", journal=True)
    for told in reasons:
        logging.getLogger("fkproxy").critical("not started: %s", told)
    return 1


def _check(options: argparse.Namespace) -> int:
    # Imported here, as above.
    from fkproxy.children import examine

    loaded = _load(options.env_file)
    rows = describe(loaded)
    place = place_of(loaded)
    warnings = [*loaded.warnings, *examine(loaded)[1]]
    if options.json:
        settings = [{"name": row.name, "value": row.value, "source": row.source, "default": row.default, "unit": row.unit} for row in rows]
        told = {"store": str(place) if place is not None else None, "warnings": [str(warning) for warning in warnings]}
        print(json.dumps({"ok": True, "settings": settings, **told}, indent=2))
        return 0
    width = max(len(row.name) for row in rows)
    value_width = min(40, max(len(row.value) for row in rows))
    for row in rows:
        print(f"{row.name:<{width}}  {row.value:<{value_width}}  {row.source}")
    for warning in warnings:
        print(f"warning: {warning}")
    print(f"store: {place if place is not None else 'none, nothing is remembered'}")
    print(f"ok: the configuration is valid; {_listening(loaded)}")
    return 0


def _smoke(options: argparse.Namespace) -> int:
    try:
        url, key = _reached_at(options)
        return _told(smoke.run(url, key, options.model))
    except ValueError as error:
        print(f"fkllmproxy: {error}", file=sys.stderr)
        return 2


def _reached_at(options: argparse.Namespace) -> tuple[str, str | None]:
    """(address, key) of the instance that is meant. Raises `ValueError` for a key file that does not hold one."""
    url, key = options.url, _key_of(options)
    if url is None or key is None:
        loaded = _of_this_host(options)
        url = url or _own_address(loaded)
        configured = loaded.settings.auth.master_key
        key = key or (configured.get_secret_value() if configured is not None else None)
    return url, key


def _key_of(options: argparse.Namespace) -> str | None:
    """The key in the file that is named, if one is. Raises `ValueError`, without a word of what is in it."""
    if options.key_file is None:
        return None
    try:
        key: str = options.key_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{options.key_file} cannot be read: {error}") from error
    if not key or not fits_header(key):
        raise ValueError(f"{options.key_file} does not hold one key and nothing else: printable ASCII without spaces")
    return key


def _of_this_host(options: argparse.Namespace) -> LoadedSettings:
    """The settings that are named, or those of the service on this host for whoever may read them, but for the upstreams: while somebody
    mends the providers file, and where this shell's clients are led here, keys can be revoked."""
    from fkproxy.installation.places import ENV_FILE

    return _load(options.env_file or (ENV_FILE if os.access(ENV_FILE, os.R_OK) else None), upstreams=False)


def _of_the_service(options: argparse.Namespace) -> LoadedSettings:
    """The settings that are named, or those of the service on this host: who may not read them is refused, and not given a store of his own
    in the place of the service's."""
    from fkproxy.installation.places import ENV_FILE, is_there

    return _load(options.env_file or (ENV_FILE if is_there(ENV_FILE) else None), upstreams=False)


def _load(env_file: Path | None, *, upstreams: bool = True) -> LoadedSettings:
    """The settings; those of the service with what systemd gives it. The environment wins."""
    from fkproxy.installation.places import ENV_FILE, service_variables

    given = process_variables()
    environ = {**service_variables(), **given} if env_file == ENV_FILE else given
    return load(env_file=env_file, environ=environ, upstreams=upstreams)


def _remotely(options: argparse.Namespace, act: remote.Act) -> int:
    try:
        value, lines, remarks = act(remote.Administrator(*_reached_at(options)), options)
    except remote.Refusal as error:
        print(f"fkllmproxy: {remote.plain(str(error))}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"fkllmproxy: {error}", file=sys.stderr)
        return 2
    if options.json and value is not None:
        print(json.dumps(value, indent=2))
        return 0
    for line in lines:
        print(remote.plain(line))
    for remark in remarks:
        print(remark, file=sys.stderr)
    return 0


def _told(steps: Iterable[Step]) -> int:
    """Print each step as it is done; the exit code."""
    ok = True
    for step in steps:
        ok = ok and step.ok
        print(f"{'ok  ' if step.ok else 'FAIL'} {step.name:<7} {step.duration_ms:>8.1f} ms  {step.detail}", flush=True)
    return 0 if ok else 1


def _selftest(options: argparse.Namespace) -> int:
    from fkproxy import selftest
    from fkproxy.supervision import own_command

    if options.quick:
        return _told(selftest.quick.run(own_command([]), process_variables()))
    try:
        if options.against is not None:
            if not options.model:
                print("fkllmproxy: name the models to ask, each with --model", file=sys.stderr)
                return 2
            cells = list(selftest.matrix.against(options.against, _key_of(options), options.model))
        else:
            cells = list(selftest.matrix.run(own_command([]), process_variables()))
    except (selftest.NotReady, ValueError, OSError) as error:
        print(f"fkllmproxy: {error}", file=sys.stderr)
        return 2
    if options.json:
        rows = [{"client": c.client, "upstream": c.upstream, "case": c.case, "outcome": c.outcome, "detail": c.detail} for c in cells]
        print(json.dumps(rows, indent=2))
    else:
        print(selftest.matrix.as_table(cells))
    return 1 if any(cell.outcome == "FAILED" for cell in cells) else 0


def _doctor(options: argparse.Namespace) -> int:
    from fkproxy import doctor

    findings = doctor.examine(options.env_file, process_variables(), offline=options.offline, live=options.live)
    print(doctor.as_json(findings) if options.json else doctor.as_table(findings))
    return doctor.exit_code(findings)


def _changing(action: Callable[[Callable[[str], None]], None]) -> int:
    """Run one command that changes the host, to its end; what it does is printed as it is done, as long as somebody reads."""
    from fkproxy.installation import Refused

    def say(text: str) -> None:
        try:
            print(text, flush=True)
        except OSError:
            _print_no_more()

    try:
        action(say)
    except Refused as error:
        print(f"fkllmproxy: {error}", file=sys.stderr)
        return 1
    return 0


def _install(options: argparse.Namespace) -> int:
    from fkproxy.installation import install

    return _changing(lambda say: install(say, start=not options.no_start, replace_units=options.replace_units))


def _upgrade(options: argparse.Namespace) -> int:
    from fkproxy.installation import upgrade

    return _changing(lambda say: upgrade(options.file, say))


def _rollback(_: argparse.Namespace) -> int:
    from fkproxy.installation import rollback

    return _changing(rollback)


def _prepare(options: argparse.Namespace) -> int:
    from fkproxy.installation import prepare

    return _changing(lambda say: prepare(options.file, say))


def _version(_: argparse.Namespace) -> int:
    print(f"fkllmproxy {__version__}")
    return 0


def _own_address(loaded: LoadedSettings) -> str:
    from fkproxy.installation.manager import socket_address

    server = loaded.settings.server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104 - compared, not bound
    named = any(name in loaded.environment.variables for name in ("APP_SERVER__HOST", "APP_SERVER__PORT"))
    host, port = (None if named else socket_address()) or (host, server.port)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listening(loaded: LoadedSettings) -> str:
    server, auth = loaded.settings.server, loaded.settings.auth
    return f"{server.host}:{server.port}, {'a key is required' if auth.require_auth else 'no key is required'}"
