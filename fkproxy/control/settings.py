"""Settings that are managed through the gateway itself and take effect at once. Floor 3."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from fkproxy.control.documents import Documents
from fkproxy.control.ledger import By
from fkproxy.control.refusals import Fault, Forbidden, Invalid, Unknown
from fkproxy.control.seams import SettingView
from fkproxy.directory import Document
from fkproxy.storage.values import Picture

__all__ = ["SettingControl", "Value"]

Value = str | bool | int | float | list[str]
"""As JSON has it; kept as the environment would."""

_MAX_CHARS = 4096


class SettingControl:
    """The verbs. The environment wins: what it says is shown, and not overruled. All raise `Refused`.

    `based_on`: the revision that somebody looked at; `Conflict` if there is a newer one.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def all(self, *, section: str | None = None) -> list[SettingView]:
        """All of them, or those of one section, in the order of the schema."""
        views = self._views(await self._documents.picture())
        if section is not None and section not in {view.section for view in views}:
            raise Unknown("section", section, {view.section for view in views})
        return [view for view in views if section is None or view.section == section]

    async def get(self, name: str) -> SettingView:
        """One."""
        return _find(self._views(await self._documents.picture()), name)

    async def change(self, values: Mapping[str, Value | None], *, by: By, based_on: int | None = None) -> list[SettingView]:
        """Keep these, and those no longer that are None: what the environment says is in force then, or the default.

        They are checked together with all others, and all are taken or none.
        """
        cleared = [name for name, value in values.items() if value is None]
        done = "settings cleared" if cleared and len(cleared) == len(values) else "settings"
        action = "settings.clear" if done == "settings cleared" else "settings.update"
        async with self._documents.ledger.change(by, action, "settings", _target(values), based_on=based_on) as change:
            document = change.document
            views = self._documents.configuration.settings(document)
            faults: list[Fault] = []
            texts = {name: _text(name, value, faults) for name, value in values.items() if value is not None}
            for name in texts:
                _may_be_set(_find(views, name))
            for name in cleared:
                # What a newer program kept and this one does not know can be cleared all the same.
                if name not in document.settings:
                    _find(views, name)
            if faults:
                raise Invalid(faults)
            kept = {name: text for name, text in document.settings.items() if name not in cleared} | texts
            after = msgspec.structs.replace(document, settings=kept)
            await self._documents.check(after, document)
            change.changed = tuple(name for name in values if document.settings.get(name) != kept.get(name))
            if change.changed:
                change.put_document(after, f"{done}: {', '.join(change.changed)}"[:200])
        return self._chosen(after, values)

    def _views(self, picture: Picture) -> list[SettingView]:
        return self._documents.configuration.settings(picture.document)

    def _chosen(self, document: Document, names: Collection[str]) -> list[SettingView]:
        return [view for view in self._documents.configuration.settings(document) if view.name in names]


def _find(views: Sequence[SettingView], name: str) -> SettingView:
    for view in views:
        if view.name == name:
            return view
    raise Unknown("setting", name, [view.name for view in views])


def _may_be_set(view: SettingView) -> None:
    if not view.live:
        raise Forbidden("not_live", f"{view.name} takes effect at a start only: set it in the environment")
    if view.source in ("environment", "file"):
        raise Forbidden("fixed_by_environment", f"{view.name} is set by {view.source_detail}, which wins: remove it there first")


def _text(name: str, value: Value, faults: list[Fault]) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list():
            text = ",".join(value)
        case int() | float():
            text = repr(value)
        case _:
            text = value.strip()
    if not text or len(text) > _MAX_CHARS or not text.isprintable():
        faults.append(Fault(name, "is blank" if not text else "is no text for a setting", "clear it instead" if not text else ""))
    return text


def _target(names: Collection[str]) -> str:
    """One name, or none where there are several: what changed says which."""
    return next(iter(names)) if len(names) == 1 else ""
