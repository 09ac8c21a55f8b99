"""Providers that are managed through the gateway itself, beside those that were declared. Floor 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from fkproxy.control import checks
from fkproxy.control.documents import Documents, changed_fields
from fkproxy.control.ledger import By
from fkproxy.control.refusals import Fault, Forbidden, Invalid, Unknown
from fkproxy.control.seams import NamedProvider, Verdict
from fkproxy.control.secret_fields import is_masked, masked, normal, path_of, sealed
from fkproxy.directory import Document

__all__ = ["MAX_PROVIDERS", "ProviderControl", "sealed_entries"]

MAX_PROVIDERS = 500


class ProviderControl:
    """The verbs. Declared providers are shown and tested, and changed where they were declared. All raise `Refused`.

    `based_on`: the revision that somebody looked at; `Conflict` if there is a newer one.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def all(self) -> list[NamedProvider]:
        """All that are in force, in order of preference."""
        picture = await self._documents.picture()
        return self._documents.configuration.providers(picture.document)

    async def get(self, name: str) -> NamedProvider:
        """One."""
        found = await self.all()
        for provider in found:
            if provider.name == name:
                return provider
        raise Unknown("provider", name, [provider.name for provider in found])

    async def put(self, name: str, entry: Mapping[str, Any], *, by: By, based_on: int | None = None) -> NamedProvider:
        """Make the provider, or replace all of it. Secrets as in `secret_fields`: what was shown of one keeps it."""
        checks.bounded(entry)
        given = {"name": name, **normal(entry)}

        def act(_: dict[str, Any] | None) -> dict[str, Any]:
            return given

        return await self._write(name, act, by, based_on)

    async def patch(self, name: str, fields: Mapping[str, Any], *, by: By, based_on: int | None = None) -> NamedProvider:
        """Change the fields that are given: tables are merged, null removes, lists are replaced (RFC 7396)."""
        checks.bounded(fields)

        def act(before: dict[str, Any] | None) -> dict[str, Any]:
            if before is None:
                raise Unknown("provider", name)
            merged: dict[str, Any] = _merged(masked(before, self._documents.box), normal(fields))
            return merged

        return await self._write(name, act, by, based_on)

    async def delete(self, name: str, *, by: By, based_on: int | None = None) -> None:
        """Remove it. Refused while a pool or another provider names it."""
        async with self._documents.ledger.change(by, "provider.delete", "provider", name, based_on=based_on) as change:
            document = change.document
            self._managed(document, name)
            entries = tuple(entry for entry in document.providers if entry.get("name") != name)
            after = msgspec.structs.replace(document, providers=entries)
            await self._documents.check(after, document)
            change.put_document(after, f"provider {name} deleted")

    async def reorder(self, names: Sequence[str], *, by: By, based_on: int | None = None) -> list[NamedProvider]:
        """Another order of preference: the names of all managed providers."""
        async with self._documents.ledger.change(by, "provider.reorder", "provider", based_on=based_on) as change:
            document = change.document
            entries = {str(entry.get("name")): entry for entry in document.providers}
            if sorted(names) != sorted(entries):
                raise Invalid([Fault("names", "are not the managed providers, each once", ", ".join(entries))])
            after = msgspec.structs.replace(document, providers=tuple(entries[name] for name in names))
            if after != document:
                change.changed = ("order",)
                change.put_document(after, "providers reordered")
        return self._documents.configuration.providers(after)

    async def validate(self, entries: Sequence[Any]) -> Verdict:
        """What would be wrong with these as the managed providers. Nothing is changed."""
        checks.bounded(entries)
        document = (await self._documents.picture()).document
        faults: list[Fault] = []
        after = msgspec.structs.replace(document, providers=sealed_entries(entries, document, self._documents, faults))
        verdict = self._documents.configuration.judge(after)
        return Verdict(problems=(*faults, *verdict.problems), warnings=verdict.warnings)

    async def _write(
        self, name: str, act: Callable[[dict[str, Any] | None], dict[str, Any]], by: By, based_on: int | None
    ) -> NamedProvider:
        store = self._documents.ledger.store()
        is_new = all(entry.get("name") != name for entry in (await store.picture()).document.providers)
        action = "provider.create" if is_new else "provider.update"
        async with self._documents.ledger.change(by, action, "provider", name, based_on=based_on) as change:
            document = change.document
            self._not_declared(document, name)
            position = next((at for at, entry in enumerate(document.providers) if entry.get("name") == name), len(document.providers))
            before = document.providers[position] if position < len(document.providers) else None
            if before is None and len(document.providers) >= MAX_PROVIDERS:
                raise Forbidden("too_many", f"there are {MAX_PROVIDERS} managed providers already")
            given = act(before)
            faults: list[Fault] = []
            if given.get("name") != name:
                faults.append(Fault("name", "cannot be changed", "make another provider"))
            entry = sealed(given, before, self._documents.box, faults)
            if faults:
                raise Invalid(faults)
            after = msgspec.structs.replace(
                document, providers=(*document.providers[:position], entry, *document.providers[position + 1 :])
            )
            try:
                await self._documents.check(after, document)
            except Invalid as error:
                raise Invalid([_within(fault, position) for fault in error.faults]) from None
            change.changed = changed_fields(before or {}, entry)
            if entry != before:
                change.put_document(after, f"provider {name} {'created' if before is None else 'changed'}")
        return next(each for each in self._documents.configuration.providers(after) if each.name == name and each.source == "managed")

    def _managed(self, document: Document, name: str) -> None:
        self._not_declared(document, name)
        names = [str(entry.get("name")) for entry in document.providers]
        if name not in names:
            raise Unknown("provider", name, names)

    def _not_declared(self, document: Document, name: str) -> None:
        if any(entry.get("name") == name for entry in document.providers):
            return
        for provider in self._documents.configuration.providers(Document()):
            if provider.name == name:
                where = "a variable" if provider.source == "environment" else "the providers file"
                raise Forbidden("declared", f"this provider comes from {where}: change it there")


def sealed_entries(entries: Sequence[Any], before: Document, documents: Documents, faults: list[Fault]) -> tuple[dict[str, Any], ...]:
    """A whole list as it is kept, secrets that were shown taken from the providers of the same name."""
    stored = {entry.get("name"): entry for entry in before.providers}
    kept: list[dict[str, Any]] = []
    if len(entries) > MAX_PROVIDERS:
        faults.append(Fault("providers", f"are more than {MAX_PROVIDERS}"))
        return ()
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            faults.append(Fault(f"providers[{number}]", "is not a table"))
            entry = {}
        name = entry.get("name")
        kept.append(sealed(entry, stored.get(name) if isinstance(name, str) else None, documents.box, faults, ("providers", number)))
    return tuple(kept)


def _within(fault: Fault, position: int) -> Fault:
    """A fault of the entry that somebody gave, by its path in it."""
    prefix = path_of(("providers", position))
    field = (
        fault.field.removeprefix(prefix) if fault.field.startswith((f"{prefix}.", f"{prefix}[")) or fault.field == prefix else fault.field
    )
    return msgspec.structs.replace(fault, field=field.removeprefix(".") or "provider")


def _merged(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396 §2); what was shown of a secret is one value."""
    if not isinstance(patch, Mapping) or is_masked(patch):
        return patch
    merged = dict(target) if isinstance(target, Mapping) and not is_masked(target) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
