"""How long an upstream asks to wait, by the headers of its reply. Floor 1. Pure.

Source: RFC 9110 §10.2.3 (`Retry-After`: seconds or a date), and `retry-after-ms`, which the official SDKs of OpenAI and Anthropic
read first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import nan

__all__ = ["believed_s", "retry_after_s", "seconds_until"]

_MAX_S = 366 * 86400.0


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: a number, or a date against the reply's own `date`. None where neither is said in a way to be believed."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait_s = believed_s(float(headers[name]) * unit_s)
        except (KeyError, ValueError):
            continue
        if wait_s is not None:
            return wait_s
    return believed_s(seconds_until(headers, parsedate_to_datetime, headers.get("retry-after", "")))


def seconds_until(headers: Mapping[str, str], read: Callable[[str], datetime], text: str) -> float:
    """Seconds from the reply's `date` to the time that `read` finds in `text`, at least 0; NaN when either is missing or is none."""
    try:
        wait = read(text) - parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, TypeError, OverflowError):
        return nan
    return max(0.0, wait.total_seconds())


def believed_s(wait_s: float) -> float | None:
    """`wait_s` if it is a time that somebody may mean: not negative, a year at most."""
    return wait_s if 0 <= wait_s < _MAX_S else None
