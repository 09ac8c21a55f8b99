"""Which field of a token file is which, in any vendor's layout, and the same document with new tokens in it.

Floor 2. Pure.

The tokens stand at the top of the document or in one object below it; what belongs to them stands beside them or at the top. Names are
compared without case, `_` and `-`. Nothing is asked about who made the file.
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from fkproxy.wire import json
from fkproxy.wire.times import read_time, write_time

__all__ = ["Grant", "parse", "read", "read_reply", "render", "updated"]

_ALIASES: dict[str, tuple[str, ...]] = {
    "access_token": ("accesstoken", "token"),
    "refresh_token": ("refreshtoken",),
    "id_token": ("idtoken",),
    "token_endpoint": ("tokenendpoint", "tokenuri"),
    "client_id": ("clientid",),
    "client_secret": ("clientsecret",),
    "scope": ("scope", "scopes"),
    "expiry": ("expired", "expire", "expiresat", "expiry", "expires", "expirydate"),
    "expires_in": ("expiresin",),
    "issued": ("lastrefresh", "timestamp"),
}
"""Our word → the field's names, the first found counts."""

_ASSUMED_LIFE_S = 3600.0
"""For a reply that does not say how long its token lasts: RFC 6749 §5.1 only recommends to. To renew too early does no harm."""

# RFC 6749 appendix A.12 allows the blank too, but a header value cannot end in one.
_TOKEN = re.compile(r"[\x21-\x7e]+")

Object = dict[str, Any]


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says. `access_token` may be empty; `expires_s` and `issued_s` are unix seconds, None: not said."""

    access_token: str = ""
    refresh_token: str | None = None
    token_endpoint: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    scope: str | None = None
    expires_s: float | None = None
    issued_s: float | None = None

    def __repr__(self) -> str:
        return "Grant(...)"


def parse(data: bytes) -> Object:
    """The file's object. Raises `ValueError` without content."""
    try:
        document = json.loads(data)
    except ValueError:
        raise ValueError("it is not valid JSON") from None
    if not isinstance(document, dict):
        raise ValueError("it holds no JSON object")
    return document


def render(document: Object, like: bytes) -> bytes:
    """The document as bytes, indented as `like` is."""
    data = json.encode(document)
    indented = re.match(rb"\s*\{\r?\n( +)", like)
    if indented is not None:
        data = msgspec.json.format(data, indent=len(indented[1]))
    return data + b"\n" if like.endswith(b"\n") else data


def read(document: Object) -> Grant:
    """Raises `ValueError` without content."""
    places = _places(document)
    access, refresh = _text(places[:1], "access_token"), _text(places[:1], "refresh_token")
    if access is None and refresh is None:
        raise ValueError("it holds neither an access token nor a refresh token")
    claims = _claims(access or "")
    issued_s = next(_times(places, "issued"), None)
    expires_s = next(_times(places, "expiry"), None)
    lasts_s = _seconds(places)
    if expires_s is None and lasts_s is not None and issued_s is not None:
        expires_s = issued_s + lasts_s
    return Grant(
        access_token=_sendable(access or ""),
        refresh_token=refresh,
        token_endpoint=_text(places, "token_endpoint"),
        client_id=_text(places, "client_id"),
        client_secret=_text(places, "client_secret"),
        scope=_scope(places),
        expires_s=read_time(claims.get("exp")) if expires_s is None else expires_s,
        issued_s=read_time(claims.get("iat")) if issued_s is None else issued_s,
    )


def read_reply(reply: Object, before: Grant, now: float) -> Grant:
    """The grant after a refresh. Raises `ValueError` without content for a reply without an access token."""
    access = _text([reply], "access_token")
    if access is None:
        raise ValueError("the reply holds no access token")
    lasts_s = _seconds([reply])
    said_s = now + lasts_s if lasts_s is not None else read_time(_claims(access).get("exp"))
    return msgspec.structs.replace(
        before,
        access_token=_sendable(access),
        # RFC 6749 §6: the server may send a new refresh token, and then the old one must go.
        refresh_token=_text([reply], "refresh_token") or before.refresh_token,
        expires_s=said_s if said_s is not None and said_s > now else now + _ASSUMED_LIFE_S,
        issued_s=now,
    )


def updated(document: Object, grant: Grant, reply: Object) -> Object:
    """A copy of the document that says what `grant` does, each value where it stood and in the manner it was written in.

    An identity token is replaced where there was one. What else the document holds is kept.
    """
    made: Object = copy.deepcopy(document)
    places = _places(made)
    holder = places[0]
    holder[_key(holder, "access_token")] = grant.access_token
    if grant.refresh_token is not None:
        holder[_key(holder, "refresh_token")] = grant.refresh_token
    identity = _text([reply], "id_token")
    for place, key in _fields(places, "id_token"):
        place[key] = identity or place[key]
    if grant.issued_s is None or grant.expires_s is None:
        return made
    for place, key in _fields(places, "expiry"):
        place[key] = write_time(grant.expires_s, place[key])
    for place, key in _fields(places, "issued"):
        place[key] = write_time(grant.issued_s, place[key])
    for place, key in _fields(places, "expires_in"):
        lasts_s = int(grant.expires_s - grant.issued_s)
        place[key] = str(lasts_s) if isinstance(place[key], str) else lasts_s
    if read(made).expires_s is None:
        holder["expiresAt" if "refreshToken" in holder else "expires_at"] = write_time(grant.expires_s, None)
    return made


# --- places and fields


def _places(document: Object) -> list[Object]:
    """The object with the tokens, then the document if that is another one."""
    if _has_tokens(document):
        return [document]
    holders = [value for value in document.values() if isinstance(value, dict) and _has_tokens(value)]
    if len(holders) > 1:
        raise ValueError("it holds tokens in several places")
    return [*holders, document]


def _has_tokens(place: Object) -> bool:
    return _text([place], "access_token") is not None or _text([place], "refresh_token") is not None


def _keys(place: Object, field: str) -> list[str]:
    """The place's names of a field that hold a plain value or none."""
    plain = {key: key.lower().replace("_", "").replace("-", "") for key, value in place.items() if not isinstance(value, dict | bool)}
    return [key for alias in _ALIASES[field] for key, name in plain.items() if name == alias]


def _fields(places: list[Object], field: str) -> list[tuple[Object, str]]:
    """(object, name) of a field under all its names, in the first object that has it."""
    return next((found for place in places if (found := [(place, key) for key in _keys(place, field)])), [])


def _key(holder: Object, field: str) -> str:
    """The name that a token has, or gets in the manner of its neighbours."""
    camel = any(key in holder for key in ("accessToken", "refreshToken"))
    first, _, second = field.partition("_")
    return next(iter(_keys(holder, field)), first + second.capitalize() if camel else field)


# --- values


def _values(places: list[Object], field: str) -> Iterator[Any]:
    return (place[key] for place in places for key in _keys(place, field))


def _text(places: list[Object], field: str) -> str | None:
    return next((value.strip() for value in _values(places, field) if isinstance(value, str) and value.strip()), None)


def _times(places: list[Object], field: str) -> Iterator[float]:
    return (found for value in _values(places, field) if (found := read_time(value)) is not None)


def _scope(places: list[Object]) -> str | None:
    lists = [
        value for value in _values(places, "scope") if isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    ]
    return _text(places, "scope") or (" ".join(lists[0]) if lists else None)


def _seconds(places: list[Object]) -> float | None:
    """`expires_in`; some send it as text. Zero says nothing."""
    for value in _values(places, "expires_in"):
        if isinstance(value, str) and re.fullmatch(r"\d{1,12}", value):
            value = int(value)
        if isinstance(value, int | float) and 0 < value < 1e12:
            return float(value)
    return None


def _sendable(token: str) -> str:
    if token and not _TOKEN.fullmatch(token):
        raise ValueError("the access token holds a character that no header can carry")
    return token


def _claims(token: str) -> Object:
    """The claims of a JWT (RFC 7519), unverified: only its times are read; {} for any other token."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
