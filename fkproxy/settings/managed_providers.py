"""Providers that are managed through the gateway itself: the same entries as in a file, checked the same way. Floor 4.

What a file may say and they may not: where on this machine a secret is to be read that goes to an address of their choice. An administrator
sets secrets and never reads one. What an OAuth token file, a file of Google credentials or the machine itself has for Google is for the
vendor's own address alone.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec
from pydantic import ValidationError

from fkproxy.adapters.http.origin import is_metadata
from fkproxy.control.seams import Box
from fkproxy.control.secret_fields import opened, path_of
from fkproxy.settings.locating import Place
from fkproxy.settings.problems import Problem
from fkproxy.settings.providers_file import ProvidersSource, place_of
from fkproxy.settings.providers_schema import CredentialEntry, Provider, ProvidersFile
from fkproxy.settings.providers_table import vendors_address

__all__ = ["ManagedSource"]

_ELSEWHERE = ("env", "file", "systemd_credential")
_STAND_IN: str = get_args(Provider.model_fields["adapter"].annotation)[0]
"""The adapter of a provider that is left out."""

_PATHS = ("token_file", "credentials_file")
_ON_GOOGLE = ("vertex", "vertex_claude")


class ManagedSource(ProvidersSource):
    """Fills `file` from the entries of a document, or `problems`; each is named by its path, `providers[0].base_url`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Path("/"), environ)
        self._numbers: list[int] = []
        self._unfit: dict[int, list[tuple[Place, Problem]]] = {}

    def problem(self, place: Place, message: str, hint: str = "") -> None:
        """Something wrong at `place`, which is in an entry."""
        problem = Problem(self.at(place), message, hint)
        self.problems.append(problem)
        if len(place) > 1:
            self._unfit.setdefault(int(place[1]), []).append((place[2:], problem))

    def at(self, place: Place) -> str:
        """There are no lines: the place itself, as the document has it."""
        return path_of((*place[:1], self._numbers[int(place[1])], *place[2:]) if len(place) > 1 else place)

    def open(self, entries: Sequence[Mapping[str, Any]], box: Box, check: Callable[[ProvidersSource], None], *, strict: bool) -> None:
        """Take the entries with their secrets; `check` tells what no single entry shows. What cannot be opened is left out, with a warning.

        What does not fit is left out as well, and the rest is looked at without it. It is a problem, unless not `strict`: then it is a
        warning, for an older program may have let it pass, or a file is gone that was there; and so are fields that are not known here,
        which a newer one may have written.
        """
        opened = [self._opened(number, entry, box) for number, entry in enumerate(entries)]
        self._numbers = list(range(len(opened)))
        if not strict:
            self._drop_unknown({"providers": opened})
        before, told = tuple(self.warnings), list[Problem]()
        while True:
            self.warnings = list(before)
            self.take({"providers": opened})
            if not self.problems:
                check(self)
            if not self._unfit:
                break
            told += self._leave_out(opened, strict=strict)
            self.problems.clear()
            self._unfit.clear()
        (self.problems if strict else self.warnings).extend(told)

    def _with_secrets(self, number: int, provider: Provider) -> Provider:
        for place, message, hint in _not_here(("providers", number), provider):
            self.problem(place, message, hint)
        return super()._with_secrets(number, provider)

    def _secret(self, place: Place, entry: CredentialEntry) -> None:
        """Nothing on this machine is read for them."""

    def _opened(self, number: int, entry: Mapping[str, Any], box: Box) -> dict[str, Any]:
        plain, lost = opened(entry, box)
        plain = copy.deepcopy(plain)
        for place in lost:
            left_out = plain["credentials"][place[1]] if place[0] == "credentials" else plain
            left_out["disabled"] = True
            text = "cannot be opened: the key that sealed it is not there; what needs it is left out"
            self.warnings.append(Problem(path_of(("providers", number, *place)), text, "bring that key back, or give the secret again"))
        credentials = plain.get("credentials")
        if lost and isinstance(credentials, list) and all(each.get("disabled") for each in credentials):
            plain["disabled"] = True
        return plain

    def _drop_unknown(self, value: dict[str, Any]) -> None:
        """Fields and words of a newer program. A provider whose adapter is one of them is left out."""
        left_out: dict[int, dict[str, Any]] = {}
        try:
            ProvidersFile.model_validate(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False, include_context=False):
                place = place_of(detail)
                if detail["type"] == "extra_forbidden":
                    _remove(value, place)
                    self.warnings.append(Problem(path_of(place), "is not known to this version, and has no effect"))
                elif detail["type"] == "literal_error" and place[-1] == "adapter":
                    left_out[int(place[1])] = _left_out(value["providers"][place[1]])
                    self.warnings.append(Problem(path_of(place), "is not known to this version, and the provider is left out"))
                elif detail["type"] == "literal_error" or place[-1] == "thinking":
                    _remove(value, place)
                    self.warnings.append(Problem(path_of(place), "has a word that is not known to this version, and no effect"))
        for number, entry in left_out.items():
            value["providers"][number] = entry

    def _leave_out(self, entries: list[dict[str, Any]], *, strict: bool) -> Iterator[Problem]:
        """What was wrong; what does not fit is out of `entries` then: fallbacks that are none, or the provider."""
        removed: list[int] = []
        for position, found in sorted(self._unfit.items()):
            entry, places = entries[position], {place for place, _ in found}
            outcome = "the provider is left out"
            if all(len(place) > 1 and place[0] == "fallbacks" for place in places):
                entry["fallbacks"] = [name for at, name in enumerate(entry["fallbacks"]) if ("fallbacks", at) not in places]
                outcome = "it is passed over"
            elif ("name",) in places or entry == _left_out(entry):
                removed.append(position)
            else:
                entries[position] = _left_out(entry)
            for _, problem in found:
                yield problem if strict else msgspec.structs.replace(problem, message=f"{problem.message}, and {outcome}")
        for position in reversed(removed):
            del entries[position], self._numbers[position]


def _left_out(entry: Mapping[str, Any]) -> dict[str, Any]:
    """It is there, and disabled: others may name it."""
    return {"name": entry.get("name"), "adapter": _STAND_IN, "disabled": True}


def _remove(value: Any, place: Place) -> None:
    for step in place[:-1]:
        value = value[step if isinstance(step, int) or step in value else str(step).replace("_", "-")]
    for name in (str(place[-1]), str(place[-1]).replace("_", "-")):
        value.pop(name, None)


def _not_here(place: Place, provider: Provider) -> Iterator[tuple[Place, str, str]]:
    """What is wrong with an entry only because it is managed."""
    if provider.adapter in _ON_GOOGLE or any(getattr(entry, field) is not None for entry in provider.credentials for field in _PATHS):
        if provider.base_url is not None and not _is_vendors(provider, provider.base_url):
            yield (*place, "base_url"), *_SENT_AWAY
        if provider.quota is not None and not _is_vendors(provider, provider.quota.url):
            yield (*place, "quota"), *_SENT_AWAY
    for position, entry in enumerate(provider.credentials):
        where = (*place, "credentials", position)
        if entry.token_file is not None and entry.token_endpoint is not None:
            yield (*where, "token_endpoint"), *_SENT_AWAY
        for field in _ELSEWHERE:
            if getattr(entry, field) is not None:
                yield (*where, field), "is for the providers file", "give the secret itself as key: it is kept encrypted"
        for field in _PATHS:
            path = getattr(entry, field)
            if path is not None and not path.is_absolute():
                yield (*where, field), "is not an absolute path", ""
        if entry.proxy is not None and "@" in entry.proxy:
            yield (*where, "proxy"), "holds a password, which is for the providers file", ""
        if entry.proxy is not None and _is_link_local(entry.proxy):
            yield (*where, "proxy"), *_LINK_LOCAL
        if entry.token_endpoint is not None and _is_link_local(entry.token_endpoint):
            yield (*where, "token_endpoint"), *_LINK_LOCAL
    if provider.adapter == "codex":
        yield (*place, "adapter"), "starts a program on this host, which is for settings and the providers file", ""
    if provider.proxy is not None and "@" in provider.proxy:
        yield (*place, "proxy"), "holds a password, which is for the providers file", ""
    if provider.proxy is not None and _is_link_local(provider.proxy):
        yield (*place, "proxy"), *_LINK_LOCAL
    if provider.base_url is not None and _is_link_local(provider.base_url):
        yield (*place, "base_url"), *_LINK_LOCAL
    if provider.quota is not None and _is_link_local(provider.quota.url):
        yield (*place, "quota", "url"), *_LINK_LOCAL


_SENT_AWAY = ("would be sent what a file of this machine holds", "leave it out, or name the provider in the providers file")


def _is_vendors(provider: Provider, url: str) -> bool:
    """Whether it leads to the vendor's own address, Google's in whatever region, and nobody on the way can read along."""
    parts = urlsplit(url.lower())
    own, of_region = (urlsplit(vendors_address(provider.adapter, region)).netloc for region in (None, provider.region))
    regional = provider.adapter in _ON_GOOGLE and parts.netloc.endswith(f"-{own}")
    return parts.scheme == "https" and (parts.netloc in (own, of_region) or (regional and parts.netloc == parts.hostname))


_LINK_LOCAL = ("is a link-local address: cloud machines keep their own credentials there", "")


def _is_link_local(url: str) -> bool:
    """As it will be asked for: letters of other scripts are written in ASCII then."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    with contextlib.suppress(UnicodeError):
        host = host if host.isascii() else host.encode("idna").decode()
    return is_metadata(host)
