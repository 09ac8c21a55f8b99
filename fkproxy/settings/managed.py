"""What is managed through the gateway itself, laid over what was declared: variables first, then the file, then this. Floor 4.

A setting that a variable or a file says is not overruled; neither is a provider. What is changed is taken whole or not at all; of what is
stored already one provider or setting that no longer fits is left out, and takes nothing else with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
from pydantic import SecretStr, ValidationError

from fkproxy.control.refusals import Fault
from fkproxy.control.seams import Box, NamedProvider, SettingView, Source, Verdict
from fkproxy.control.secret_fields import mask, masked, with_secrets
from fkproxy.directory import Document
from fkproxy.settings.checks import check_together
from fkproxy.settings.loading import LoadedSettings, fault_of, shown
from fkproxy.settings.managed_providers import ManagedSource
from fkproxy.settings.problems import Problem, SettingsError
from fkproxy.settings.profiles import from_profile
from fkproxy.settings.providers_schema import Provider
from fkproxy.settings.providers_table import check_providers, named_by_variables, routing_of, upstreams_of
from fkproxy.settings.schema import Settings, Slot, slots
from fkproxy.settings.sources import Collected, Found

__all__ = ["MANAGED", "Judge", "effective"]

MANAGED = "managed"
"""The source of what a document says."""


def effective(declared: LoadedSettings, document: Document, box: Box) -> LoadedSettings:
    """The settings and providers in force. `declared`: without any document.

    What this version does not know or does not take, and secrets that cannot be opened, are left out with a warning: a newer program may
    have written the document, or an older one that was less strict, and one lost key must not take the other providers with it. Raises
    `SettingsError` with every problem.
    """
    laid = _Laid(declared, document, box, strict=False)
    if laid.problems:
        raise SettingsError(laid.problems)
    return laid.loaded()


class Judge:
    """`control.seams.Configuration` over the schema. `trial` builds what follows from a configuration; it raises `ValueError`."""

    def __init__(
        self, declared: Callable[[], LoadedSettings], box: Callable[[], Box], trial: Callable[[LoadedSettings], object] | None = None
    ) -> None:
        self._declared = declared
        self._box = box
        self._trial = trial

    @property
    def provider_fields(self) -> frozenset[str]:
        """That an entry may have."""
        return frozenset(Provider.model_fields)

    def judge(self, document: Document) -> Verdict:
        """Everything that is wrong with a document, the declared ones considered."""
        laid = _Laid(self._declared(), document, self._box(), strict=True)
        if self._trial is not None:
            try:
                self._trial(laid.loaded())
            except ValueError as error:
                laid.problems.append(Problem("providers", f"cannot be used: {error}"))
        return Verdict(problems=_faults(laid.problems), warnings=_faults(laid.warnings))

    def providers(self, document: Document) -> list[NamedProvider]:
        """All that would be in force, in order of preference."""
        declared, box = self._declared(), self._box()
        by_variables = {provider.name for provider in named_by_variables(declared.settings)}
        found = [_declared_provider(each, "environment" if each.name in by_variables else "file", box) for each in declared.providers]
        managed = {provider.name: provider for provider in _Laid(declared, document, box, strict=False).providers}
        for entry in document.providers:
            name = str(entry.get("name", ""))
            provider = managed.get(name)
            upstreams = tuple(upstreams_of(provider)) if provider is not None else ()
            disabled = provider is None or provider.disabled
            found.append(NamedProvider(name=name, source="managed", disabled=disabled, upstreams=upstreams, entry=masked(entry, box)))
        return found

    def settings(self, document: Document) -> list[SettingView]:
        """All of them, in the order of the schema."""
        declared = self._declared()
        laid = _Laid(declared, document, self._box(), strict=False)
        return [_setting_view(slot, laid.settings, laid.sources, document) for slot in slots()]


class _Laid:
    """A document over declared settings, as far as it goes; what stands in the way is in `problems`."""

    def __init__(self, declared: LoadedSettings, document: Document, box: Box, *, strict: bool) -> None:
        self._declared = declared
        self._strict = strict
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.sources = dict(declared.sources)
        self.settings = self._overlaid(document.settings)
        self.providers = self._added(document.providers, box)

    def loaded(self) -> LoadedSettings:
        """All together."""
        declared = self._declared
        obsolete = _CHECKED_AGAIN | (_ANSWERED if self.providers else frozenset())
        kept = [warning for warning in declared.warnings if warning.name not in obsolete]
        return msgspec.structs.replace(
            declared,
            settings=self.settings,
            providers=(*declared.providers, *self.providers),
            routing=routing_of(declared.routing, self.settings),
            warnings=(*kept, *self.warnings),
            sources=self.sources,
        )

    # --- settings

    def _overlaid(self, values: Mapping[str, str]) -> Settings:
        wanted: dict[str, list[Slot]] = {}
        known = {slot.name: slot for slot in slots()}
        for name, text in values.items():
            slot = known.get(name)
            if slot is None or not slot.live:
                what = "is no setting" if slot is None else "takes effect at a start only and cannot be managed here"
                (self.problems if self._strict else self.warnings).append(Problem(name, what))
            elif name in self.sources and not from_profile(self.sources[name]):
                self.warnings.append(Problem(name, "is kept here and has no effect", f"{self.sources[name]} says something else"))
            elif not text.strip():
                blank = Problem(name, "is blank", "clear it instead")
                (self.problems if self._strict else self.warnings).append(blank)
            else:
                wanted.setdefault(slot.section, []).append(slot)
        sections = {section: self._section(section, chosen, values) for section, chosen in wanted.items()}
        settings, collected = self._together(sections)
        unfit = {known[problem.name].section for problem in collected.problems} & sections.keys()
        if unfit and not self._strict:
            self.warnings += map(_without_effect, collected.problems)
            gone = {slot.name for section in unfit for slot in wanted[section]}
            before = {name: source for name, source in self._declared.sources.items() if name in gone}
            self.sources = {name: source for name, source in self.sources.items() if name not in gone} | before
            settings, collected = self._together({section: value for section, value in sections.items() if section not in unfit})
        self.problems += collected.problems
        self.warnings += collected.warnings
        return settings

    def _together(self, sections: Mapping[str, object]) -> tuple[Settings, Collected]:
        settings = self._declared.settings.model_copy(update=sections)
        collected = Collected([], None)
        collected.found = {name: Found("", name, source) for name, source in self.sources.items()}
        check_together(settings, collected, _FIXED)
        return settings, collected

    def _section(self, section: str, chosen: Sequence[Slot], values: Mapping[str, str]) -> object:
        before = getattr(self._declared.settings, section)
        given = {name: getattr(before, name) for name in type(before).model_fields} | {slot.field: values[slot.name] for slot in chosen}
        try:
            section_now = type(before).model_validate(given)
        except ValidationError as error:
            by_field = {slot.field: slot for slot in chosen}
            details = error.errors(include_url=False, include_input=False, include_context=False)
            unfit = [by_field[str(detail["loc"][0])] for detail in details]
            problems = [
                Problem(slot.name, fault_of(slot, values[slot.name], detail["type"], detail["msg"]))
                for slot, detail in zip(unfit, details, strict=True)
            ]
            if self._strict:
                self.problems += problems
                return before
            # It was right when it was written: for another version it is.
            self.warnings += map(_without_effect, problems)
            return self._section(section, [slot for slot in chosen if slot not in unfit], values)
        self.sources |= {slot.name: MANAGED for slot in chosen}
        return section_now

    # --- providers

    def _added(self, entries: Sequence[Mapping[str, object]], box: Box) -> tuple[Provider, ...]:
        declared = self._declared
        source = ManagedSource(declared.environment.variables)
        in_file = {provider.name: "the providers file" for provider in declared.routing.providers}
        check = partial(check_providers, beside=declared.providers, settings=declared.settings, origins=in_file)
        source.open(entries, box, check, strict=self._strict)
        self.problems += source.problems
        self.warnings += source.warnings
        return source.file.providers


_LIVE_SECTIONS = frozenset(slot.section for slot in slots() if slot.live)
_FIXED = frozenset(Settings.model_fields) - _LIVE_SECTIONS
"""Nothing that is managed changes them, so checks that rest on them were made at the start."""

_CHECKED_AGAIN = frozenset(slot.name for slot in slots() if slot.live)
"""Settings whose warnings are made anew."""

_ANSWERED = frozenset(("providers", "APP_SANDBOX__ENABLED"))
"""Warnings that no provider is configured."""


def _without_effect(problem: Problem) -> Problem:
    return msgspec.structs.replace(problem, message=f"{problem.message}, and has no effect")


def _faults(problems: Sequence[Problem]) -> tuple[Fault, ...]:
    return tuple(Fault(problem.name, problem.message, problem.hint) for problem in problems)


def _declared_provider(provider: Provider, source: Source, box: Box) -> NamedProvider:
    """Its entry as it could stand in a file, without secrets."""

    def hidden(_: object, value: object) -> object:
        return mask(box.fingerprint(value.get_secret_value()), None, "declared") if isinstance(value, SecretStr) else None

    entry = provider.model_dump(mode="python", exclude_defaults=True)
    plain = msgspec.to_builtins(with_secrets(entry, hidden), enc_hook=str)
    for table in (plain, *plain.get("credentials", ())):
        if "@" in table.get("proxy", ""):
            scheme, _, rest = table["proxy"].partition("://")
            table["proxy"] = f"{scheme}://…@{rest.rpartition('@')[2]}"
    return NamedProvider(
        name=provider.name, source=source, disabled=provider.disabled, upstreams=tuple(upstreams_of(provider)), entry=plain
    )


def _setting_view(slot: Slot, settings: Settings, sources: Mapping[str, str], document: Document) -> SettingView:
    value = getattr(getattr(settings, slot.section), slot.field)
    detail = sources.get(slot.name, "")
    kept = document.settings.get(slot.name)
    return SettingView(
        name=slot.name,
        section=slot.section,
        value=_masked(slot, value),
        default=_masked(slot, slot.default),
        source=_source(slot, value, detail),
        source_detail=detail,
        managed=kept if slot.live else None,
        unit=slot.unit,
        limits=slot.limits,
        choices=slot.choices,
        help=slot.info.description or "",
        live=slot.live,
    )


def _masked(slot: Slot, value: object) -> str:
    text = shown(value)
    if text == "-":
        return text
    return "set" if slot.secret or ("@" in text and "://" in text) else text


def _source(slot: Slot, value: object, detail: str) -> Source:
    """By what `check` says of it: a variable's name alone, one "in" a file, a credential's file, or nothing."""
    if detail == MANAGED:
        return "managed"
    if from_profile(detail):
        return "profile"
    if detail:
        return "file" if " " in detail else "environment"
    return "default" if value == slot.default else "environment"
