"""Kinds of values: how a text becomes one, and what is wrong with it when it cannot. Floor 4. Pure.

A message says what was expected and never quotes the value: whether it may be shown is decided where problems are reported.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from fkproxy.adapters.http.origin import parse_base_url

__all__ = [
    "MOST",
    "MOST_BYTES",
    "Bool",
    "ClientHeader",
    "Credential",
    "FilePath",
    "HeaderName",
    "HeaderValues",
    "Host",
    "LogLevel",
    "MasterKey",
    "Names",
    "Networks",
    "Origins",
    "ProviderKey",
    "SealingKeys",
    "StoreUrl",
    "Url",
    "fits_header",
]

MOST = 1_000_000_000_000
MOST_BYTES = 1024**4
"""Of what is counted: above what anybody means, and still what can be reckoned with, kept and shown everywhere."""

_LEAST_KEY_CHARACTERS = 16
_SEALING_KEY_BYTES = 32

_WORDS = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}

_LEVELS = {"trace": "debug", "warn": "warning"}
"""What other programs call them."""

_TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
"""Of a header's name, in lower case (RFC 9110 §5.6.2)."""

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

_OWN_HEADERS = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""They say where a message ends and whose connection it is (RFC 9110 §7.6.1, RFC 9112 §6): the HTTP client writes them."""


_KEY_HEADERS = frozenset(("api-key", "authorization", "x-api-key", "x-goog-api-key"))
"""Where clients have their key to this gateway, and upstreams look for theirs."""


def _boolean(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return _WORDS[value.strip().lower()]
    except KeyError:
        raise ValueError("expected true, 1, yes or on, or false, 0, no or off") from None


def _level(value: object) -> object:
    return _LEVELS.get(word := value.strip().lower(), word) if isinstance(value, str) else value


def _listed(value: object) -> object:
    return tuple(item for item in (piece.strip() for piece in value.split(",")) if item) if isinstance(value, str) else value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for item in value:
        try:
            ipaddress.ip_network(item, strict=False)
        except ValueError:
            raise ValueError(f"{item!r} is neither an address nor a network such as 10.0.0.0/8") from None
    return value


def _host(value: str) -> str:
    """IPv6 may come in brackets, as in a URL."""
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if not bare or any(c.isspace() or c in "/[]@" for c in bare) or (":" in bare and not _is_ipv6(bare)):
        raise ValueError("expected an address or a host name alone; the port is APP_SERVER__PORT")
    return bare


def _is_ipv6(value: str) -> bool:
    try:
        return ipaddress.ip_address(value).version == 6
    except ValueError:
        return False


def _url(value: str) -> str:
    expected = "expected a URL that begins with http:// or https:// and names a host"
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() for c in value):
        raise ValueError(expected)
    if parts.username is not None or "?" in value or "#" in value:
        raise ValueError("a base URL holds no user name, no query and no fragment")
    parse_base_url(value)
    return value.rstrip("/")


def _path(value: Path) -> Path:
    if "\0" in str(value):
        raise ValueError("no path holds a null character")
    return value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """As browsers send them (RFC 6454 §6.1): lower case, no path, nor a default port. The port may be `*`."""
    for item in value:
        if item == "*":
            continue
        parts = urlsplit(item.removesuffix(":*"))
        whole = f"{parts.scheme}://{parts.netloc}".lower()
        if not parts.netloc or item.removesuffix(":*") != whole or parts.username is not None:
            raise ValueError(f"{item!r} is not an origin such as https://app.example, nor *")
        if "*" in whole or whole.endswith(_DEFAULT_PORTS.get(parts.scheme, "/")):
            raise ValueError(
                f"{item!r} is not an origin that a browser sends: * stands for all of them or for a port, a default port is left out"
            )
    return value


def _headers(value: object) -> object:
    """A JSON object, or `Name: value` pairs on lines or separated by commas; a value that holds a comma needs JSON."""
    if isinstance(value, dict):
        return _checked_headers(value)
    if not isinstance(value, str):
        return value
    pairs = _headers_from_json(value) if value.lstrip().startswith("{") else _headers_from_text(value)
    return _checked_headers(pairs)


def _checked_headers(pairs: dict[Any, Any]) -> dict[Any, Any]:
    """What is no text at all is left to the schema, which says so."""
    for name, value in pairs.items():
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(name, str) or not isinstance(text, str):
            continue
        if not name or not _TOKEN_CHARACTERS.issuperset(name.lower()):
            raise ValueError("a header's name holds letters, digits and hyphens only")
        _header_to_set(name)
        if not text.isascii() or not text.isprintable():
            raise ValueError(f"the value of the header {name} is not printable ASCII")
    return pairs


def _header_to_set(name: str) -> str:
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"the header {name} cannot be set: the connection needs its own")
    return name


def _header_to_pass(name: str) -> str:
    if name.lower() in _KEY_HEADERS:
        raise ValueError(f"the header {name} cannot be passed on: clients send their key to this gateway in it")
    return name


def _headers_from_json(value: str) -> dict[str, str]:
    try:
        pairs = json.loads(value)
    except ValueError:
        raise ValueError("it begins with { and is no JSON object") from None
    if not isinstance(pairs, dict) or not all(isinstance(text, str) for text in pairs.values()):
        raise ValueError("expected a JSON object whose values are strings")
    return pairs


def _headers_from_text(value: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for pair in filter(None, (piece.strip() for line in value.splitlines() for piece in line.split(","))):
        name, colon, text = pair.partition(":")
        if not colon:
            raise ValueError("expected 'Name: value' pairs separated by commas, or a JSON object")
        pairs[name.strip()] = text.strip()
    return pairs


def fits_header(text: str) -> bool:
    """Whether a key or credential can travel in a header."""
    return text.isascii() and text.isprintable() and " " not in text


def _key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < _LEAST_KEY_CHARACTERS:
        raise ValueError(
            f"the key is {len(text)} characters long; {_LEAST_KEY_CHARACTERS} are the least, for example from 'openssl rand -hex 24'"
        )
    if not fits_header(text):
        raise ValueError("a key holds printable ASCII characters and no spaces: it has to travel in a header")
    return value


def _credential(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not fits_header(text):
        raise ValueError("a credential holds printable ASCII characters and no spaces: it has to travel in a header")
    return value


def _store_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text == "none":
        return value
    scheme, _, rest = text.partition("://")
    if scheme not in ("sqlite", "postgresql") or not rest or any(c.isspace() for c in text):
        raise ValueError("expected none, sqlite:///path/of/a/file or postgresql://user:password@host/database")
    if scheme == "sqlite" and not rest.startswith("/"):
        raise ValueError("the path of an SQLite file is absolute, with three slashes: sqlite:///var/lib/…")
    if scheme == "postgresql" and not _names_a_database(text):
        raise ValueError(
            "expected postgresql://user:password@host/database, where user and password hold"
            " #, /, ?, @, [ and ] as %23, %2F, %3F, %40, %5B and %5D"
        )
    return value


def _names_a_database(url: str) -> bool:
    """Whether its parts are what they look like: of a password with a `/` in it one half would be a port and the other one a name, and what
    stands behind an `@` in it a part of the host's name; these are told, in messages and by `check`, and looked up. A user's name may
    hold an `@`."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return False
    return bool(parts.path.strip("/")) and "@" not in parts.path + (parts.password or "") and not parts.fragment


def _sealing_keys(value: SecretStr) -> SecretStr:
    for pair in filter(None, value.get_secret_value().split(",")):
        version, colon, text = pair.strip().partition(":")
        try:
            length = len(base64.b64decode(text, validate=True))
        except ValueError:
            length = 0
        if not colon or not version.isdigit() or int(version) < 1 or length != _SEALING_KEY_BYTES:
            raise ValueError(
                "expected version:key pairs separated by commas, each key 32 bytes in base64, for example from 'openssl rand -base64 32'"
            )
    return value


Bool = Annotated[bool, BeforeValidator(_boolean)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$"), AfterValidator(_header_to_set)]
ClientHeader = Annotated[HeaderName, AfterValidator(_header_to_pass)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Networks = Annotated[Names, AfterValidator(_networks)]
Origins = Annotated[Names, AfterValidator(_origins)]
Host = Annotated[str, AfterValidator(_host)]
FilePath = Annotated[Path, AfterValidator(_path)]
Url = Annotated[str, AfterValidator(_url)]
HeaderValues = Annotated[dict[str, SecretStr], BeforeValidator(_headers)]
MasterKey = Annotated[SecretStr, AfterValidator(_key)]
Credential = Annotated[SecretStr, AfterValidator(_credential)]
StoreUrl = Annotated[SecretStr, AfterValidator(_store_url)]
SealingKeys = Annotated[SecretStr, AfterValidator(_sealing_keys)]
ProviderKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
