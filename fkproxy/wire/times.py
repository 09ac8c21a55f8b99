"""Points in time: as we write them, in RFC 3339, and as other people's JSON does: that, unix seconds, unix milliseconds.

Floor 0. Pure.

Nobody else says which one it is, so the value has to: RFC 3339 is text with dashes, and a number is told by its size. Numbers below a
thousand million (seconds: 2001) are no time but a span or a flag; from a hundred thousand million on (seconds: the year 5138;
milliseconds: 1973) they are milliseconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Literal

__all__ = ["read_time", "rfc3339", "write_time"]

_EARLIEST = 1e9
_MILLISECONDS_FROM = 1e11
_LAST_S = 253_402_214_400.0
"""The last day but one of the year 9999: `datetime` ends there, whatever the zone."""

_NUMBER = re.compile(r"\d{1,20}(\.\d{1,20})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def rfc3339(at_s: float, precision: Literal["seconds", "milliseconds"] = "seconds") -> str:
    """`at_s` (unix seconds) in UTC."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec=precision).removesuffix("+00:00") + "Z"


def read_time(value: Any) -> float | None:
    """Unix seconds; None for what is no time. A date alone is its midnight, a time without a zone is in UTC."""
    number = _number(value)
    if number is not None:
        at_s = number / 1000 if number >= _MILLISECONDS_FROM else number
        return at_s if number >= _EARLIEST and at_s <= _LAST_S else None
    moment = _moment(value)
    # A year 1 is how Go writes a time that was never set.
    return moment.timestamp() if moment is not None and _EARLIEST <= moment.timestamp() <= _LAST_S else None


def write_time(at_s: float, like: Any) -> Any:
    """`at_s` (unix seconds) in the manner of `like`: a number stays a number, whether or not it was a time; else RFC 3339."""
    number = _number(like)
    if number is not None:
        scaled = at_s * 1000 if number >= _MILLISECONDS_FROM else at_s
        if isinstance(like, float):
            return scaled
        return str(int(scaled)) if isinstance(like, str) else int(scaled)
    sample = _moment(like)
    zone = UTC if sample is None or sample.tzinfo is None else sample.tzinfo
    text = datetime.fromtimestamp(min(at_s, _LAST_S), zone).isoformat(timespec=_precision(like))
    if sample is not None and not _has_zone(like):
        return text.removesuffix("+00:00")
    return text.replace("+00:00", "Z") if sample is None or like.upper().endswith("Z") else text


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e20 else None
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str) or not _DATE.match(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _has_zone(text: str) -> bool:
    return datetime.fromisoformat(text).tzinfo is not None


def _precision(like: Any) -> str:
    """As many digits behind the second as the sample has, up to the microsecond."""
    fraction = re.search(r"\.(\d+)", like) if isinstance(like, str) else None
    if fraction is None:
        return "seconds"
    return "milliseconds" if len(fraction[1]) <= 3 else "microseconds"
