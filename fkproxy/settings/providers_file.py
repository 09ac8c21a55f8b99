"""A providers file from its text to checked entries with their secrets, every fault with its line. Floor 4."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from fkproxy.control.secret_fields import path_of
from fkproxy.settings.copies import Trust, is_outdated, readable
from fkproxy.settings.locating import Document, NotADocument, Place, read_toml, read_yaml
from fkproxy.settings.problems import Problem, reason
from fkproxy.settings.providers_schema import CredentialEntry, Provider, ProvidersFile
from fkproxy.settings.values import fits_header

__all__ = ["ProvidersSource", "place_of", "read_providers"]

_MAX_FILE_BYTES = 4 * 1024 * 1024
_MAX_SECRET_BYTES = 64 * 1024
_READERS = {".toml": read_toml, ".yaml": read_yaml, ".yml": read_yaml}
_SOURCES = ("key", "env", "file", "systemd_credential", "token_file", "credentials_file")
_TAGS = frozenset(("str", "ModelEntry"))
"""pydantic's names for the sides of a union, which are no part of the file."""

_WRONG: Mapping[str, str] = {
    "missing": "is missing",
    "string_type": "is not a text",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "dict_type": "is not a table",
    "model_type": "is not a table",
    "tuple_type": "is not a list",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "holds characters that it must not, or is too long",
}

_CHANGED = ("has changed since the service was given its copy", "systemctl reload fkllmproxy gives it the new one")
_UNSEEN = ("may have changed since the service was given its copy: it is gone, or the service may not look there", _CHANGED[1])


class ProvidersSource:
    """What was read: the entries, where each part stands, and what is wrong with it. `trust`: in the service's copies."""

    def __init__(self, path: Path, environ: Mapping[str, str], *, trust: Trust = "just_made") -> None:
        self.path = path
        self._environ = environ
        self._trust = trust
        self.file = ProvidersFile()
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._document = Document({}, {})

    def problem(self, place: Place, message: str, hint: str = "") -> None:
        """Something wrong at `place`."""
        self.problems.append(Problem(self.at(place), f"{path_of(place)} {message}".strip(), hint))

    def at(self, place: Place) -> str:
        """`/etc/fkllmproxy/providers.toml:12`."""
        return f"{self.path}:{self._document.line(place)}"

    def read(self) -> None:
        """Fill `file`, or `problems`."""
        document = self._parse()
        if document is not None:
            self._document = document
            self.take(document.value)

    def take(self, value: Any) -> None:
        """Fill `file` from what was read, or `problems`."""
        try:
            self.file = ProvidersFile.model_validate(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False, include_context=True):
                self._wrong(detail)
            return
        self.file = self.file.model_copy(
            update={"providers": tuple(self._with_secrets(number, each) for number, each in enumerate(self.file.providers))}
        )

    def _parse(self) -> Document | None:
        reader = _READERS.get(self.path.suffix.lower())
        if reader is None:
            self.problems.append(Problem(str(self.path), "is neither TOML nor YAML", "name it .toml, .yaml or .yml"))
            return None
        try:
            source = readable(self.path, self._environ)
            if against := self._against(self.path):
                self.problems.append(Problem(str(self.path), *against))
                return None
            if source.stat().st_size > _MAX_FILE_BYTES:
                self.problems.append(Problem(str(self.path), f"is larger than {_MAX_FILE_BYTES} bytes"))
                return None
            document = reader(source.read_text())
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(Problem(str(self.path), f"cannot be read: {reason(error)}", "check that it exists and who may read it"))
            return None
        except NotADocument as error:
            self.problems.append(Problem(f"{self.path}:{error.line or 1}", str(error)))
            return None
        if not isinstance(document.value, dict):
            self.problems.append(Problem(f"{self.path}:1", "holds no tables", "begin with [[providers]]"))
            return None
        return document

    def _wrong(self, detail: Any) -> None:
        place = place_of(detail)
        kind, context = detail["type"], detail.get("ctx") or {}
        if kind == "extra_forbidden":
            known = _fields_at(place[:-1])
            close = difflib.get_close_matches(str(place[-1]), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            self.problem(place, "is not known", hint)
        elif kind == "literal_error":
            self.problem(place, f"is none of {context.get('expected', '')}")
        elif kind == "value_error":
            self.problem(place, f"cannot be used: {str(detail['msg']).removeprefix('Value error, ')}")
        elif kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
            self.problem(place, f"is out of range: {str(detail['msg']).removeprefix('Input ')}")
        else:
            self.problem(place, _WRONG.get(kind, "is not what belongs here"))

    # --- secrets

    def _with_secrets(self, number: int, provider: Provider) -> Provider:
        held: list[CredentialEntry] = []
        for position, entry in enumerate(provider.credentials):
            place: Place = ("providers", number, "credentials", position)
            named = [source for source in _SOURCES if getattr(entry, source) is not None]
            if len(named) > 1:
                self.problem((*place, named[1]), f"and {named[0]} are two places for one secret", "leave one of them")
            changes: dict[str, Any] = {}
            if not entry.name and len(provider.credentials) > 1:
                changes["name"] = str(position + 1)
            secret = self._secret(place, entry) if not (provider.disabled or entry.disabled) else None
            if secret is not None:
                changes["key"] = SecretStr(secret)
            if entry.token_file is not None:
                changes["token_file"] = self.path.parent / entry.token_file
            if entry.credentials_file is not None:
                changes["credentials_file"] = readable(self.path.parent / entry.credentials_file, self._environ)
            held.append(entry.model_copy(update=changes))
        return provider.model_copy(update={"credentials": tuple(held)})

    def _secret(self, place: Place, entry: CredentialEntry) -> str | None:
        for field in ("file", "credentials_file"):
            given = getattr(entry, field)
            if given is not None and (against := self._against(self.path.parent / given)):
                self.problem((*place, field), *against)
        if entry.env is not None:
            value = self._environ.get(entry.env, "").strip()
            if not value:
                self.problem((*place, "env"), f"names {entry.env}, which is not set", "set it in the service's environment file")
                return None
        elif entry.file is not None or entry.systemd_credential is not None:
            found = self._from_file(place, entry)
            if found is None:
                return None
            value = found
        else:
            return None
        if not fits_header(value):
            self.problem(place, "holds a secret that cannot travel in a header", "printable ASCII without spaces is needed")
            return None
        return value

    def _against(self, path: Path) -> tuple[str, str] | None:
        """What speaks against the copy that is read in its place."""
        if self._trust == "whatever":
            return None
        outdated = is_outdated(path, self._environ)
        if outdated is None and self._trust == "seen":
            return _UNSEEN
        return _CHANGED if outdated else None

    def _from_file(self, place: Place, entry: CredentialEntry) -> str | None:
        field = "file" if entry.file is not None else "systemd_credential"
        if entry.file is not None:
            path = readable(self.path.parent / entry.file, self._environ)
        else:
            path = Path(self._environ.get("CREDENTIALS_DIRECTORY") or "/nonexistent", str(entry.systemd_credential))
        try:
            if path.stat().st_size > _MAX_SECRET_BYTES:
                self.problem((*place, field), f"is larger than {_MAX_SECRET_BYTES} bytes, which no secret is")
                return None
            value = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            self.problem((*place, field), f"cannot be read: {reason(error)}", f"look at {path} and who may read it")
            return None
        if not value:
            self.problem((*place, field), "is empty")
            return None
        return value


def read_providers(path: Path, environ: Mapping[str, str], *, trust: Trust = "just_made") -> ProvidersSource:
    """The file at `path`. `environ` holds the secrets that entries name. `trust`: see `ProvidersSource`."""
    source = ProvidersSource(path, environ, trust=trust)
    source.read()
    return source


def place_of(detail: Any) -> Place:
    """Where the fault stands that pydantic tells of."""
    return tuple(step for step in detail["loc"] if step not in _TAGS)


def _fields_at(place: Place) -> list[str]:
    """The names that a table may have."""
    model: type[BaseModel] = ProvidersFile
    for step in place:
        if isinstance(step, str) and step in model.model_fields:
            inner = next(_models(model.model_fields[step].annotation), None)
            if inner is not None:
                model = inner
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
