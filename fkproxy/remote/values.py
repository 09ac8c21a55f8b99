"""What people type: durations, times, limits. Floor 4. Pure."""

from __future__ import annotations

import argparse
import re
import time
from datetime import UTC, datetime

__all__ = ["amount", "duration_s", "lifetime_s", "moment_s", "pair", "text_or_none"]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d{1,12})([smhdw]?)")


def duration_s(text: str) -> int:
    """Seconds of `90`, `15m`, `12h`, `30d`, `2w`. Raises `argparse.ArgumentTypeError`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90, 15m, 12h, 30d or 2w")
    return int(found[1]) * _UNITS_S[found[2] or "s"]


def moment_s(text: str) -> float:
    """Unix seconds of a time (RFC 3339, or a date; UTC where it says nothing), or of so long ago: `2h`. Raises as `duration_s`."""
    if _DURATION.fullmatch(text):
        return time.time() - duration_s(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a time such as 2026-01-31T12:00:00Z nor so long ago as 2h") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def pair(text: str) -> tuple[str, str]:
    """`name=value`. Raises as `duration_s`."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    return name, value


def lifetime_s(text: str) -> int | None:
    """As `duration_s`; None for `never`."""
    return None if text == "never" else duration_s(text)


def text_or_none(text: str) -> str | None:
    """None for a blank, which takes something away."""
    return text or None


def amount(text: str) -> float | int | None:
    """A number; None for `none`, which takes a limit away. Raises ValueError."""
    if text in ("", "none"):
        return None
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number; none takes a limit away") from None
