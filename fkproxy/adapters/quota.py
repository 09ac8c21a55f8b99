"""How much of a credential's quota is left, asked of the vendor's own endpoint and read by expressions of the operator.

Floor 2. The only file with jmespath.

Vendors tell it in many shapes, so request and reading are data: an HTTP request, and for each of our four words a JMESPath expression
(jmespath.org, read 2026-11) on the reply. JMESPath cannot calculate, and quotas are often told as a limit and what is used of it;
so two functions are added:

    subtract(a, b)         a - b
    percent(part, whole)   part / whole * 100; null when whole is 0

Both give null when either is null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jmespath
import jmespath.exceptions
import jmespath.functions
import msgspec

from fkproxy.adapters.base import Credential
from fkproxy.adapters.http import HttpClient, header_block
from fkproxy.model.errors import UpstreamError, UpstreamFailed, UpstreamProtocolError, UpstreamRateLimited, UpstreamRefusedCredential
from fkproxy.wire import json
from fkproxy.wire.times import read_time

__all__ = ["TOKEN", "Quota", "QuotaProbe"]

TOKEN = "$TOKEN$"  # noqa: S105 - the place where one goes
"""In the value of a header: the credential's token."""

_LIMIT_BYTES = 256 * 1024
_REFUSALS = (401, 403)


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """None: the vendor does not say. `quota_remaining` in the vendor's unit, `usage_percentage` 0 to 100, `asked_s` unix seconds."""

    quota_remaining: float | None = None
    quota_reset_seconds: float | None = None
    usage_percentage: float | None = None
    quota_exhausted: bool | None = None
    asked_s: float


class _Functions(jmespath.functions.Functions):
    @jmespath.functions.signature({"types": ["number", "null"]}, {"types": ["number", "null"]})
    def _func_subtract(self, a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a - b

    @jmespath.functions.signature({"types": ["number", "null"]}, {"types": ["number", "null"]})
    def _func_percent(self, part: float | None, whole: float | None) -> float | None:
        return None if part is None or not whole else part / whole * 100


_OPTIONS = jmespath.Options(custom_functions=_Functions())


class QuotaProbe:
    """One request and how its reply is read. `interval_s`: how often whoever schedules it should ask.

    `headers` may hold `TOKEN`, URL and body not: URLs end in other people's logs. `expressions` are for the fields of `Quota`. What is
    not said about `quota_exhausted` follows from the others. `proxy`: see `HttpClient.origin`. Raises `ValueError` at once, saying where.
    """

    def __init__(
        self,
        client: HttpClient,
        credential: Credential,
        *,
        url: str,
        headers: Mapping[str, str],
        expressions: Mapping[str, str],
        method: str = "GET",
        body: bytes = b"",
        interval_s: float = 300.0,
        timeout_s: float = 15.0,
        proxy: str | None = None,
    ) -> None:
        if TOKEN in url or TOKEN.encode() in body:
            raise ValueError(f"{TOKEN} may stand in headers only")
        if not method.isascii() or not method.isalpha():
            raise ValueError("the method must be a word, such as GET or POST")
        if not expressions:
            raise ValueError("at least one expression is needed")
        self.interval_s = interval_s
        self._client = client
        self._credential = credential
        self._method = method.upper()
        self._origin, self._target = client.endpoint(url, proxy=proxy)
        self._headers = dict(headers)
        self._body = body
        self._timeout_s = timeout_s
        self._expressions = {field: _compiled(field, text) for field, text in expressions.items()}
        header_block(self._origin, tuple(self._headers.items()))

    async def ask(self, now: float) -> Quota:
        """Ask the vendor; `now` is unix seconds. A refused token is renewed and used once more. Raises `UpstreamError`."""
        token = await self._credential.token(now)
        status, body = await self._fetch(token)
        if status == 401 and await self._credential.renew(token, now):
            status, body = await self._fetch(await self._credential.token(now))
        if status != 200:
            raise _refused(status)
        try:
            reply = json.loads(body)
        except ValueError as error:
            raise UpstreamProtocolError("the quota endpoint sent something that is not valid JSON") from error
        return self._read(reply, now)

    async def _fetch(self, token: str) -> tuple[int, bytes]:
        pairs = [(name, value.replace(TOKEN, token)) for name, value in self._headers.items()]
        try:
            block = header_block(self._origin, pairs)
        except ValueError as error:
            raise UpstreamRefusedCredential("the credential holds a character that no header can carry") from error
        status, _, body = await self._client.fetch(
            self._origin, self._method, self._target, block, self._body, timeout_s=self._timeout_s, limit_bytes=_LIMIT_BYTES
        )
        return status, body

    def _read(self, reply: Any, now: float) -> Quota:
        found: dict[str, Any] = {}
        for field, expression in self._expressions.items():
            try:
                value = expression.search(reply, options=_OPTIONS)
                found[field] = None if value is None else _READERS[field](value, now)
            except Exception as error:  # jmespath's own, `_Unfit`, and whatever its functions raise for data that they do not know
                raise UpstreamProtocolError(f"the quota endpoint's reply does not fit the expression for {field}") from error
        if found.get("quota_exhausted") is None:
            found["quota_exhausted"] = _exhausted(found.get("quota_remaining"), found.get("usage_percentage"))
        return Quota(asked_s=now, **found)


# --- the request


def _refused(status: int) -> UpstreamError:
    if status in _REFUSALS:
        return UpstreamRefusedCredential("the quota endpoint refused the credential", upstream_status=status)
    if status == 429:
        return UpstreamRateLimited("the quota endpoint is asked too often")
    return UpstreamFailed("the quota endpoint gave no quota", upstream_status=status)


# --- the expressions


def _compiled(field: str, text: str) -> Any:
    """Raises `ValueError` naming the field, and the column where there is one."""
    if field not in _READERS:
        raise ValueError(f"{field}: expected one of {', '.join(_READERS)}")
    try:
        expression = jmespath.compile(text)
    except jmespath.exceptions.LexerError as error:
        raise ValueError(f"{field}, column {error.lexer_position + 1}: not a JMESPath expression") from None
    except jmespath.exceptions.ParseError as error:
        raise ValueError(f"{field}, column {error.lex_position + 1}: not a JMESPath expression") from None
    except jmespath.exceptions.JMESPathError:
        raise ValueError(f"{field}: not a JMESPath expression") from None
    for name, arguments in _calls(expression.parsed):
        spec = _Functions.FUNCTION_TABLE.get(name)
        if spec is None:
            raise ValueError(f"{field}: there is no function {name}")
        wanted = spec["signature"]
        if arguments < len(wanted) or (arguments > len(wanted) and not (wanted and wanted[-1].get("variadic"))):
            raise ValueError(f"{field}: the function {name} does not take {arguments} arguments")
    return expression


def _calls(node: Any) -> Iterator[tuple[str, int]]:
    """(function, number of arguments): otherwise a wrong one would come to light with the first reply only."""
    if node["type"] == "function_expression":
        yield node["value"], len(node["children"])
    for child in node["children"]:
        if isinstance(child, dict):
            yield from _calls(child)


# --- what they give


class _Unfit(Exception):
    """The expression gave something else than its field holds."""


def _number(value: Any, _: float) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError as error:
            raise _Unfit from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Unfit
    return float(value)


def _percentage(value: Any, now: float) -> float:
    """More than all of it is still all of it."""
    return min(100.0, max(0.0, _number(value, now)))


def _wait(value: Any, now: float) -> float:
    """Seconds from now: of a point in time, or as they stand."""
    at_s = read_time(value)
    return max(0.0, _number(value, now) if at_s is None else at_s - now)


def _truth(value: Any, _: float) -> bool:
    if not isinstance(value, bool):
        raise _Unfit
    return value


_READERS: dict[str, Callable[[Any, float], Any]] = {
    "quota_remaining": _number,
    "quota_reset_seconds": _wait,
    "usage_percentage": _percentage,
    "quota_exhausted": _truth,
}


def _exhausted(remaining: float | None, percentage: float | None) -> bool | None:
    if remaining is None and percentage is None:
        return None
    return (remaining is not None and remaining <= 0) or (percentage is not None and percentage >= 100)
