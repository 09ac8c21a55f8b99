"""What can go wrong at a vendor, and what everybody is to make of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from tests.fakes.chaos import HANG, OPENING, RESET, Script, bare, chunk, completion, delta, head, one_by_one, pause, repeat, stream, whole

__all__ = ["FAULTS", "OF_TIMEOUTS", "Fault", "Scope"]

Scope = Literal["credential", "provider", "everywhere"]
_EVERYWHERE: tuple[Scope, ...] = ("credential", "provider", "everywhere")
_BY_ADDRESS: tuple[Scope, ...] = ("provider", "everywhere")
"""Credentials of a provider share its address."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """`outcome`: what the record calls a try that met it, "" for what is none. `late`: streams have shown content before it.

    `told`: the statuses that clients may see when it is everywhere. `hold`: (state, cause) of an upstream that has it, None where that
    depends on the order of events; `of_model`: the hold is the model's. `passes`: a stream of the same dialect goes on as it came.
    `at`: where it is, if it is not in the reply. `waits_for`: what a deadline must pass for before anybody notices it.
    """

    name: str
    outcome: str
    whole: Script = ()
    stream: Script = ()
    late: bool = False
    told: frozenset[int] = frozenset((502, 503, 529))
    hold: tuple[str, str] | None = ("limited", "failure")
    of_model: bool = False
    passes: bool = False
    at: Literal["reply", "refused", "reset", "expired", "unknown"] = "reply"
    waits_for: Literal["", "head", "body"] = ""
    scopes: tuple[Scope, ...] = _EVERYWHERE


_BODY = completion()
_HEAD = head(content_length=len(_BODY))
_HALF = _BODY[: len(_BODY) // 2]
_EVENTS = head(kind="text/event-stream", transfer_encoding="chunked")
_BEGUN = OPENING + chunk(delta("All is "))
OF_TIMEOUTS = frozenset((504, 502, 503))
"""What a call may end with when somebody was too slow."""
_LIMITED = frozenset((429,))
_BROKEN_CHARACTER = _BODY.replace("€".encode(), "€".encode()[:2])
_BROKEN_EVENT = chunk(msgspec.json.encode(delta("€")).replace("€".encode(), "€".encode()[:2]))
_OVERLOADED = {"error": {"message": "the model is overloaded", "type": "overloaded_error", "code": "overloaded"}}


def _status(
    status: str, error: dict[str, Any], outcome: str, *, name: str = "", headers: dict[str, Any] | None = None, **more: Any
) -> Fault:
    reply = whole(msgspec.json.encode({"error": {"message": "no", **error}}), status, **(headers or {}))
    return Fault(name=name or status.partition(" ")[0], outcome=f"{outcome}:{status[:3]}", whole=reply, stream=reply, **more)


def _both(script: Script) -> dict[str, Script]:
    return {"whole": script, "stream": script}


_CONNECTING = [
    Fault(name="refused", outcome="bad_gateway", at="refused", scopes=_BY_ADDRESS),
    Fault(name="reset after accept", outcome="bad_gateway", at="reset", scopes=_BY_ADDRESS),
    Fault(name="expired certificate", outcome="bad_gateway", at="expired", scopes=_BY_ADDRESS),
    Fault(name="unknown issuer", outcome="bad_gateway", at="unknown", scopes=_BY_ADDRESS),
]

_SILENT = [
    Fault(name="hang before the head", outcome="timeout", **_both([HANG]), told=OF_TIMEOUTS, waits_for="head"),
    Fault(
        name="hang after the head",
        outcome="timeout:200",
        whole=[_HEAD, HANG],
        stream=[_EVENTS, HANG],
        told=OF_TIMEOUTS,
        waits_for="body",
    ),
    Fault(
        name="hang in the middle",
        outcome="timeout:200",
        whole=[_HEAD + _HALF, HANG],
        stream=[_BEGUN, HANG],
        waits_for="body",
        late=True,
        told=OF_TIMEOUTS,
        hold=None,
    ),
    Fault(
        name="signs of life only",
        outcome="timeout:200",
        whole=[_HEAD, HANG],
        stream=[OPENING, repeat(bare(b": waiting\n\n"), 0.1)],
        waits_for="body",
        told=OF_TIMEOUTS,
    ),
    Fault(
        name="signs of life after content",
        outcome="timeout:200",
        whole=[_HEAD + _HALF, HANG],
        stream=[_BEGUN, repeat(chunk(delta()), 0.1)],
        waits_for="body",
        late=True,
        told=OF_TIMEOUTS,
        hold=None,
    ),
]

_BREAKING = [
    Fault(name="reset after the request", outcome="bad_gateway", **_both([RESET])),
    Fault(name="closed after the request", outcome="bad_gateway", **_both([b""])),
    Fault(name="closed within the head", outcome="bad_gateway", **_both([_HEAD[:20]])),
    Fault(name="closed after the head", outcome="bad_gateway:200", whole=[_HEAD], stream=[_EVENTS]),
    Fault(name="cut in the middle", outcome="bad_gateway:200", whole=[_HEAD + _HALF], stream=[_BEGUN], late=True, hold=None),
    Fault(
        name="reset in the middle", outcome="bad_gateway:200", whole=[_HEAD + _HALF, RESET], stream=[_BEGUN, RESET], late=True, hold=None
    ),
    Fault(
        name="ended without an end",
        outcome="upstream_protocol_error:200",
        whole=whole(_HALF),
        stream=[_BEGUN + b"0\r\n\r\n"],
        late=True,
        hold=None,
    ),
    Fault(
        name="error as the first event",
        outcome="upstream_overloaded:503",
        whole=whole(msgspec.json.encode(_OVERLOADED)),
        stream=[OPENING + chunk(_OVERLOADED) + chunk(b"[DONE]") + b"0\r\n\r\n"],
    ),
    Fault(
        name="error as a later event",
        outcome="upstream_overloaded:503",
        whole=whole(msgspec.json.encode(_OVERLOADED)),
        stream=[_BEGUN + chunk(_OVERLOADED) + chunk(b"[DONE]") + b"0\r\n\r\n"],
        late=True,
        hold=None,
    ),
]

_STRANGE = [
    Fault(name="no JSON", outcome="upstream_protocol_error:200", **_both(whole(b"<html>busy</html>", content_type="text/html"))),
    Fault(
        name="no JSON in the first event",
        outcome="upstream_protocol_error:200",
        whole=whole(b"{"),
        stream=[_EVENTS + chunk(b"<html>busy</html>") + b"0\r\n\r\n"],
    ),
    Fault(name="no HTTP", outcome="upstream_protocol_error", **_both([b"SSH-2.0-OpenSSH_9.2\r\n"])),
    Fault(name="half a character", outcome="upstream_protocol_error:200", **_both(whole(_BROKEN_CHARACTER))),
    Fault(
        name="half a character in a stream",
        outcome="upstream_protocol_error:200",
        whole=whole(_BROKEN_CHARACTER),
        stream=[_BEGUN + _BROKEN_EVENT, *stream()[-2:]],
        late=True,
        hold=None,
        passes=True,
    ),
    Fault(name="length too large", outcome="bad_gateway:200", **_both([head(content_length=len(_BODY) + 1) + _BODY])),
    Fault(name="length too small", outcome="upstream_protocol_error:200", **_both([head(content_length=len(_BODY) - 9) + _BODY])),
    Fault(
        name="a head without end",
        outcome="upstream_protocol_error",
        **_both([b"HTTP/1.1 200 OK\r\n", repeat(b"x-a: " + b"a" * 8192 + b"\r\n", 0)]),
    ),
]

_REFUSING = [
    _status("401 Unauthorized", {"code": "invalid_api_key"}, "upstream_authentication", hold=("reauth_required", "credential")),
    _status("403 Forbidden", {}, "upstream_authentication", hold=("reauth_required", "permission"), of_model=True),
    _status("402 Payment Required", {}, "upstream_quota_exhausted", hold=("exhausted", "quota"), told=_LIMITED),
    _status(
        "404 Not Found",
        {"code": "model_not_found"},
        "upstream_model_not_found",
        hold=("limited", "model_missing"),
        of_model=True,
        told=frozenset((404, 502, 503)),
    ),
    _status("429 Too Many Requests", {}, "upstream_rate_limited", hold=("limited", "rate_limited"), of_model=True, told=_LIMITED),
    _status(
        "429 Too Many Requests",
        {},
        "upstream_rate_limited",
        name="429 with retry-after",
        headers={"retry_after": 7},
        hold=("limited", "rate_limited"),
        of_model=True,
        told=_LIMITED,
    ),
    _status("500 Internal Server Error", {}, "upstream_error"),
    _status("503 Service Unavailable", {}, "upstream_overloaded"),
    _status(
        "503 Service Unavailable",
        {},
        "upstream_overloaded",
        name="503 with retry-after",
        headers={"retry_after": 7},
        hold=("limited", "rate_limited"),
        of_model=True,
        told=frozenset((429, 502, 503, 529)),
    ),
    _status("529 Overloaded", {}, "upstream_overloaded"),
]

_STREAM = b"".join(stream())
_END = b"0\r\n\r\n"
_EURO = _STREAM.index("€".encode()) - 9
_HARMLESS = [
    Fault(
        name="one byte at a time",
        outcome="",
        whole=[one_by_one(_HEAD + _BODY)],
        stream=[_STREAM[:150], one_by_one(_STREAM[150:350]), _STREAM[350:_EURO], one_by_one(_STREAM[_EURO:])],
        hold=None,
    ),
    Fault(
        name="an end that comes late",
        outcome="",
        whole=[_HEAD + _HALF, pause(0.02), _BODY[len(_HALF) :]],
        stream=[_STREAM.removesuffix(_END), pause(0.02), _END],
        hold=None,
    ),
]

FAULTS: Sequence[Fault] = (*_CONNECTING, *_SILENT, *_BREAKING, *_STRANGE, *_REFUSING, *_HARMLESS)
