"""Where secrets stand in a provider's entry, and what stands there instead. Floor 3. Pure.

kept    {"sealed": {"id", "version", "data", "fingerprint"}}             in the document
shown   {"fingerprint", "version", "status": "sealed" | "lost" | …}      to everybody
given   a text: a new secret; what was shown: keep it; null: clear it     by an administrator
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fkproxy.control.refusals import Fault
from fkproxy.control.seams import Box
from fkproxy.storage.values import SecretLost

__all__ = ["Place", "is_masked", "is_sealed", "mask", "masked", "normal", "opened", "path_of", "sealed", "secrets_of", "with_secrets"]

Place = tuple[str | int, ...]

_OF_CREDENTIALS = ("key", "client_secret")
_MASK = frozenset(("fingerprint", "version", "status"))
_ABSENT = object()


def normal(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with underscores in its names, as secrets are looked for. Names of headers and models are the user's own."""
    plain = _underscored(entry)
    if isinstance(quota := plain.get("quota"), Mapping):
        plain["quota"] = _underscored(quota)
    if isinstance(credentials := plain.get("credentials"), (list, tuple)):
        plain["credentials"] = [_underscored(each) if isinstance(each, Mapping) else each for each in credentials]
    return plain


def _underscored(table: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name).replace("-", "_"): value for name, value in table.items()}


def secrets_of(entry: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Every secret of an entry in its normal form."""
    credentials = entry.get("credentials")
    for position, credential in enumerate(credentials if isinstance(credentials, (list, tuple)) else ()):
        if isinstance(credential, Mapping):
            yield from ((("credentials", position, field), credential[field]) for field in _OF_CREDENTIALS if field in credential)
    for place, table in _headers_of(entry):
        if isinstance(table, Mapping):
            yield from (((*place, str(name)), value) for name, value in table.items())


def _headers_of(entry: Mapping[str, Any]) -> tuple[tuple[Place, Any], ...]:
    """Where headers stand, and what stands there."""
    quota = entry.get("quota")
    return (("headers",), entry.get("headers")), (("quota", "headers"), quota.get("headers") if isinstance(quota, Mapping) else None)


def with_secrets(entry: Mapping[str, Any], change: Callable[[Place, Any], Any]) -> dict[str, Any]:
    """A copy with `change(place, secret)` in place of each secret; None leaves the field out."""
    copy = normal(entry)
    for field in ("headers", "quota", "credentials"):
        copy[field] = _copied(copy[field]) if field in copy else _ABSENT
    for place, value in list(secrets_of(copy)):
        table: Any = copy
        for step in place[:-1]:
            table = table[step]
        new = change(place, value)
        if new is None:
            del table[place[-1]]
        else:
            table[place[-1]] = new
    return {name: value for name, value in copy.items() if value is not _ABSENT}


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(inner) for name, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def is_sealed(value: Any) -> bool:
    """It is what stands in a document."""
    return isinstance(value, Mapping) and isinstance(value.get("sealed"), Mapping)


def is_masked(value: Any) -> bool:
    """It is what was shown of a secret."""
    return isinstance(value, Mapping) and "fingerprint" in value and _MASK.issuperset(value)


def mask(fingerprint: str, version: int | None, status: str) -> dict[str, Any]:
    """What is shown of a secret. `version`: of the key that it is sealed with; None for one that is not."""
    return {"fingerprint": fingerprint, "version": version, "status": status}


def masked(entry: Mapping[str, Any], box: Box) -> dict[str, Any]:
    """The entry of a document as it may be shown."""

    def shown(_: Place, value: Any) -> dict[str, Any]:
        if not is_sealed(value):
            return mask("", None, "lost")
        return mask(str(value["sealed"].get("fingerprint", "")), value["sealed"].get("version"), "lost" if _lost(value, box) else "sealed")

    return with_secrets(entry, shown)


def _lost(value: Mapping[str, Any], box: Box) -> bool:
    try:
        box.open(value)
    except SecretLost:
        return True
    return False


def opened(entry: Mapping[str, Any], box: Box) -> tuple[dict[str, Any], list[Place]]:
    """The entry of a document with its secrets in the clear, and the places of those that are lost, which are left out."""
    lost: list[Place] = []

    def plain(place: Place, value: Any) -> str | None:
        try:
            return box.open(value) if is_sealed(value) else str(value)
        except SecretLost:
            lost.append(place)
            return None

    return with_secrets(entry, plain), lost


def sealed(entry: Mapping[str, Any], before: Mapping[str, Any] | None, box: Box, faults: list[Fault], at: Place = ()) -> dict[str, Any]:
    """What an administrator gave, as it is kept: new secrets sealed, those that were shown taken from `before`.

    `before`: the entry of the same name in the document. Its credentials are found by name; where they have none by fingerprint, for one
    may have been taken out, and then by position.
    """
    held = list(secrets_of(before)) if before is not None else []
    kept = {_identity(before, place): value for place, value in held} if before is not None else {}
    marked = {
        (place[-1], value["sealed"].get("fingerprint")): value for place, value in held if place[0] == "credentials" and is_sealed(value)
    }
    given = normal(entry)

    def put(place: Place, value: Any) -> Any:
        if isinstance(value, str):
            return box.seal(value)
        if value is None:
            return None
        stored = None
        if is_masked(value):
            identity = _identity(given, place)
            unnamed = place[0] == "credentials" and isinstance(identity[1], int)
            stored = (marked.get((place[-1], value["fingerprint"])) if unnamed else None) or kept.get(identity)
        if stored is None:
            told = "is masked, and there is no secret that it stands for" if is_masked(value) else "is not a text"
            faults.append(Fault(path_of((*at, *place)), told))
        return stored

    _no_texts(given, faults, at)
    return with_secrets(given, put)


def _no_texts(entry: Mapping[str, Any], faults: list[Fault], at: Place) -> None:
    """Headers may be one text in a file; here each value has to be found."""
    for place, table in _headers_of(entry):
        if table is not None and not isinstance(table, Mapping):
            faults.append(Fault(path_of((*at, *place)), "is not a table", "name → value"))


def _identity(entry: Mapping[str, Any], place: Place) -> Place:
    """The place with a credential's name instead of its position; capitals in a header's name do not matter."""
    if place[0] != "credentials":
        return (*place[:-1], str(place[-1]).lower())
    name = entry["credentials"][place[1]].get("name")
    return ("credentials", name if isinstance(name, str) and name else place[1], *place[2:])


def path_of(place: Place) -> str:
    """`credentials[1].key`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
