"""Raw values to `Settings`, with every problem found at once. Floor 4."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from pydantic import SecretStr, ValidationError

from fkproxy.adapters.http import Proxies
from fkproxy.settings.checks import check_together
from fkproxy.settings.copies import ETC, Trust
from fkproxy.settings.envfile import read_environment_file
from fkproxy.settings.problems import Problem, SettingsError
from fkproxy.settings.profiles import lay
from fkproxy.settings.providers_file import ProvidersSource, read_providers
from fkproxy.settings.providers_schema import Provider, ProvidersFile
from fkproxy.settings.providers_table import check_providers, homeless, named_by_variables, namesakes, routing_of
from fkproxy.settings.schema import Settings, Slot, slots
from fkproxy.settings.sources import Collected, Layer

__all__ = [
    "LoadedSettings",
    "ProcessEnvironment",
    "Row",
    "describe",
    "fault_of",
    "is_journal",
    "load",
    "load_providers",
    "process_variables",
    "shown",
    "successor_variables",
]

_FROM_FILE_VARIABLE = "FKLLMPROXY_FROM_FILE"
"""What a process that takes over has of the service's environment file, by name: another reload may have changed the copy meanwhile."""


class Variables(dict[str, str]):
    """An environment that does not show itself: it holds secrets."""

    def __repr__(self) -> str:
        return f"<{len(self)} variables>"


class ProcessEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """What the process was given that is no setting of ours. `journal`: stdout goes to the systemd journal.

    `variables` is the whole environment, secrets included, and `from_file` names those of it that came out of the service's
    environment file. `secrets` is where entries of the providers file find theirs by name, and programs what is passed on to them:
    `variables`, and beneath them what was read with --env-file. `state_directory`: where this process may keep what it has to
    remember; None: nowhere.
    """

    proxies: Proxies
    journal: bool
    variables: Variables
    secrets: Variables
    from_file: frozenset[str] = frozenset()
    state_directory: Path | None = None


class LoadedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings. `providers`: all of them, in order of preference; `routing`: the providers file, for what it says besides.

    `sources` says, by `APP_<SECTION>__<NAME>`, where each that is not a default came from.
    """

    settings: Settings
    environment: ProcessEnvironment
    providers: tuple[Provider, ...]
    routing: ProvidersFile
    warnings: tuple[Problem, ...]
    sources: dict[str, str]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as `check` shows it. Secrets are masked in `value`; "-" is not set."""

    name: str
    value: str
    source: str
    default: str
    unit: str | None


def load(env_file: Path | None = None, environ: Mapping[str, str] | None = None, *, upstreams: bool = True) -> LoadedSettings:
    """The settings in force. `environ` stands in for the process's environment. Raises `SettingsError` with every problem.

    `upstreams` False, for who only asks an instance that runs: without what is in the providers file, right or wrong, and without the
    variables of the environment that vendors have named, and the proxies on the way to them: in the shell of who asks they may be there for
    its clients. What is told of the same upstreams otherwise is not judged without them.
    """
    given = os.environ if environ is None else environ
    layers = [Layer(given if upstreams else _without_vendors(given))]
    # systemd has read the original, and passes over a line that is wrong, a key in it or not.
    of_service, problems = _service_file(given)
    if env_file is not None:
        values, found = read_environment_file(env_file)
        problems += found
        layers.append(Layer(values, env_file))
    directory = given.get("CREDENTIALS_DIRECTORY")
    collected = Collected(layers, Path(directory) if directory else None, given)
    collected.problems[:0] = problems
    lay(collected)
    proxies = _proxies(layers, collected) if upstreams else Proxies()
    settings, wrong = _validate(collected)
    # Nobody knows what a broken file would have said about any setting.
    unknown = set(Settings.model_fields) if problems else collected.unreadable
    check_together(settings, collected, wrong | unknown | (set() if upstreams else {slot.section for slot in slots() if _vendors_of(slot)}))
    secrets = Variables(dict(layers[-1].values) | dict(given))
    beside = named_by_variables(settings)
    collected.problems += namesakes(beside)
    file, warnings = ProvidersFile(), _beside_named(collected.warnings, beside)
    if upstreams and settings.providers.file is not None and not wrong:
        source = _checked_file(settings.providers.file, secrets, beside, settings)
        collected.problems += source.problems
        file, warnings = source.file, _warnings(warnings, source)
    state_directory = settings.store.directory or _state_directory(given)
    if state_directory is None:
        collected.problems += homeless((*beside, *file.providers))
    if collected.problems or proxies is None:
        raise SettingsError(collected.problems)
    return LoadedSettings(
        settings=settings,
        environment=ProcessEnvironment(
            proxies=proxies,
            journal=is_journal(given),
            variables=Variables(given),
            secrets=secrets,
            from_file=frozenset((*of_service, *given.get(_FROM_FILE_VARIABLE, "").split())),
            state_directory=state_directory,
        ),
        providers=(*beside, *file.providers),
        routing=routing_of(file, settings),
        warnings=tuple(warnings),
        sources={name: value.source for name, value in collected.found.items()},
    )


def load_providers(loaded: LoadedSettings, *, trust: Trust = "seen") -> LoadedSettings:
    """The same settings with the providers file as it is now. Raises `SettingsError` with every problem.

    `trust`: in the copies that the service reads where it may not read the files.
    """
    path = loaded.settings.providers.file
    if path is None:
        return loaded
    beside = named_by_variables(loaded.settings)
    source = _checked_file(path, loaded.environment.secrets, beside, loaded.settings, trust=trust)
    problems = [*source.problems, *(homeless(source.file.providers) if loaded.environment.state_directory is None else ())]
    if problems:
        raise SettingsError(problems)
    return msgspec.structs.replace(
        loaded,
        providers=(*beside, *source.file.providers),
        routing=routing_of(source.file, loaded.settings),
        warnings=tuple(_warnings(loaded.warnings, source)),
    )


def _checked_file(
    path: Path, variables: Mapping[str, str], beside: Sequence[Provider], settings: Settings, *, trust: Trust = "just_made"
) -> ProvidersSource:
    """The providers file, read, and checked against the rest where it could be."""
    source = read_providers(path, variables, trust=trust)
    if not source.problems:
        check_providers(source, beside, settings)
    return source


def _warnings(others: Sequence[Problem], source: ProvidersSource) -> list[Problem]:
    """The others, then those of the providers file: none of an earlier reading, nor that a variable has no effect which it names."""
    kept = [each for each in _beside_named(others, source.file.providers) if not each.name.startswith(f"{source.path}:")]
    return [*kept, *source.warnings]


def _beside_named(warnings: Sequence[Problem], providers: Sequence[Provider]) -> list[Problem]:
    """Those that are not of a variable which one of the providers names, for itself or for its program."""
    named = {name for provider in providers for name in provider.variables}
    return [each for each in warnings if each.name.partition(" in ")[0] not in named]


def successor_variables(environment: ProcessEnvironment) -> Variables:
    """The environment for a process that takes over: this one's, with what the service's environment file says now.

    systemd reads that file only at a start. The unit leaves a copy in the service's runtime directory, at each start and each reload.
    Raises `SettingsError` with all that is wrong with the copy: a key in a line that cannot be read would be required no more.
    """
    values, problems = _service_file(environment.variables)
    if problems:
        raise SettingsError(problems)
    kept = {name: value for name, value in environment.variables.items() if name not in environment.from_file}
    return Variables(kept | values | {_FROM_FILE_VARIABLE: " ".join(values)})


def _vendors_of(slot: Slot) -> list[str]:
    """The variables of a setting that a vendor has named."""
    return [name for name in slot.variables if not name.startswith("APP_")]


def _without_vendors(environ: Mapping[str, str]) -> dict[str, str]:
    """What is named by ourselves, and what is no setting."""
    names = {name for slot in slots() for name in _vendors_of(slot)}
    return {name: value for name, value in environ.items() if name.removesuffix("_FILE") not in names}


def _service_file(environ: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """What the copy holds and what is wrong with it, as of `read_environment_file`; nothing where there is none."""
    directory = environ.get("RUNTIME_DIRECTORY")
    if not directory or not (copy := Path(directory, "env")).exists():
        return {}, []
    return read_environment_file(copy, ETC / "env")


def process_variables() -> Variables:
    """The whole environment of this process, for what is no setting of ours."""
    return Variables(os.environ)


def describe(loaded: LoadedSettings) -> list[Row]:
    """Every setting with its value and its source, in the order of the schema."""
    rows: list[Row] = []
    for slot in slots():
        value = getattr(getattr(loaded.settings, slot.section), slot.field)
        source = loaded.sources.get(slot.name, "default" if value == slot.default else "implied")
        rows.append(Row(name=slot.name, value=shown(value), source=source, default=shown(slot.default), unit=slot.unit))
    return rows


def shown(value: object) -> str:
    """A setting's value as an operator would write it; "-" where there is none, never any of a secret."""
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(value) or "-"
        case SecretStr():
            return f"set ({len(value.get_secret_value())} characters)"
        case dict():
            return ", ".join(f"{name}: {shown(secret)}" for name, secret in value.items()) or "-"
        case _:
            return str(value)


def _validate(collected: Collected) -> tuple[Settings, frozenset[str]]:
    """The settings, those that are wrong left out, and the sections in which some are."""
    values: dict[str, dict[str, object]] = {}
    by_place = {(slot.section, slot.field): slot for slot in slots() if slot.name in collected.found}
    for (section, field), slot in by_place.items():
        values.setdefault(section, {})[field] = collected.found[slot.name].value
    if "master_key" in values.get("auth", {}):
        # A key without a word on whether it is required is meant to be.
        values["auth"].setdefault("require_auth", True)
    wrong: set[str] = set()
    try:
        return Settings.model_validate(values), frozenset()
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False, include_context=False):
            section, field = str(detail["loc"][0]), str(detail["loc"][1])
            slot = by_place[section, field]
            raw = collected.found[slot.name]
            collected.problems.append(Problem(raw.name, fault_of(slot, raw.value, detail["type"], detail["msg"])))
            wrong.add(section)
            values[section].pop(field, None)
    return Settings.model_validate(values), frozenset(wrong)


def fault_of(slot: Slot, value: str, kind: str, said: str) -> str:
    """What is wrong with a value, which is quoted unless it may hold a secret: a URL can carry a password."""
    if kind == "value_error":
        said = said.removeprefix("Value error, ")
        return said if _may_hold_secret(slot, value) else f"{value!r}: {said}"
    if kind == "literal_error":
        said = f" is none of {', '.join(slot.choices)}"
    elif kind == "string_pattern_mismatch":
        said = " holds characters that it must not, or is too long"
    else:
        whole = "whole number" if isinstance(slot.default, int) else "number"
        said = f" is not {slot.limits}" if _is_number(value, whole) else f" is not a {whole} {slot.limits}"
    return f"the value{said}" if _may_hold_secret(slot, value) else f"{value!r}{said}"


def _may_hold_secret(slot: Slot, value: str) -> bool:
    return slot.secret or "@" in value or "://" in value


def _is_number(text: str, kind: str) -> bool:
    try:
        int(text) if kind == "whole number" else float(text)
    except ValueError:
        return False
    return True


def _proxies(layers: Sequence[Layer], collected: Collected) -> Proxies | None:
    def either(name: str) -> str | None:
        return next(filter(None, (layer.values.get(each) for layer in layers for each in (name.lower(), name))), None)

    try:
        return Proxies(
            https_url=either("HTTPS_PROXY"), http_url=either("HTTP_PROXY"), all_url=either("ALL_PROXY"), no_proxy=either("NO_PROXY") or ""
        )
    except ValueError as error:
        collected.problems.append(Problem("HTTPS_PROXY, HTTP_PROXY or ALL_PROXY", str(error)))
        return None


def _state_directory(environ: Mapping[str, str]) -> Path | None:
    """systemd's `StateDirectory=` (systemd.exec(5): several are separated by colons), else the user's (XDG base directories)."""
    if own := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(own)
    home = environ.get("XDG_STATE_HOME") or (f"{environ['HOME']}/.local/state" if environ.get("HOME") else "")
    return Path(home, "fkllmproxy") if home.startswith("/") else None


def is_journal(environ: Mapping[str, str]) -> bool:
    """Whether stdout goes to the journal.

    `JOURNAL_STREAM` names device and inode of the journal's socket (systemd.exec(5)): stdout may have been redirected since.
    """
    stream = environ.get("JOURNAL_STREAM")
    if not stream:
        return False
    try:
        status = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"
