"""What an administrator may write into a field. Floor 3. Pure.

Each check gives back the value as it is kept, and adds to the faults what is wrong. Messages say what was expected and quote nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fkproxy.control.refusals import Fault, Invalid
from fkproxy.model.names import is_pattern
from fkproxy.routing import STRATEGIES
from fkproxy.suffix import reasoning_of_word

__all__ = ["amount", "bounded", "future", "label", "model_name", "moments", "patterns", "slug", "strategy", "thinking"]

_MAX_LABEL_CHARS = 100
_MAX_NAME_CHARS = 256
_MAX_NAMES = 1000
_MAX_VALUES = 100_000
"""More than there is in 500 providers with 200 names each. To look at so many takes some 20 ms."""

_MOST = 2**53
"""Whole numbers up to here are the same in every JSON library."""

_LATEST_S = 1e11
"""The year 5138: what is behind it was given in milliseconds."""

_SLUG = re.compile(r"[a-z][a-z0-9_-]{0,31}")
"""As the names of providers: it goes into logs and labels of metrics."""


def bounded(given: Any) -> None:
    """Raises `Invalid` where JSON holds more values than anything that is managed; before anybody walks all of them."""
    waiting, left = [given], _MAX_VALUES
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list)):
            left -= len(value)
            if left < 0:
                raise Invalid([Fault("configuration", f"holds more than {_MAX_VALUES} values")])
            waiting.extend(value.values() if isinstance(value, dict) else value)


def label(field: str, value: str, faults: list[Fault]) -> str:
    """What people call it."""
    if len(value) > _MAX_LABEL_CHARS:
        faults.append(Fault(field, f"is longer than {_MAX_LABEL_CHARS} characters"))
    elif not value.isprintable():
        faults.append(Fault(field, "holds control characters"))
    return value.strip()


def slug(field: str, value: str, faults: list[Fault]) -> str:
    """What programs call it."""
    if not _SLUG.fullmatch(value):
        faults.append(Fault(field, "is no name", "a lower-case letter, then up to 31 letters, digits, hyphens and underscores"))
    return value


def model_name(field: str, value: str | None, faults: list[Fault]) -> str | None:
    """One model; None for no one in particular."""
    if value is not None and (_odd(value) or is_pattern(value)):
        faults.append(Fault(field, "is not one model's name", "without spaces, * and ?"))
    return value


def patterns(field: str, values: Sequence[str], faults: list[Fault]) -> tuple[str, ...]:
    """Names of models, or parts of them with * and ?."""
    if len(values) > _MAX_NAMES:
        faults.append(Fault(field, f"holds more than {_MAX_NAMES} names"))
    for position, value in enumerate(values[:_MAX_NAMES]):
        if _odd(value):
            faults.append(Fault(f"{field}[{position}]", "is no model's name", "without spaces; * and ? stand for any characters"))
    return tuple(dict.fromkeys(values))


def _odd(value: str) -> bool:
    return not value or len(value) > _MAX_NAME_CHARS or not value.isprintable() or " " in value


def thinking(field: str, value: str | None, faults: list[Fault]) -> str | None:
    """A word as in `model(high)`; None for what the call says."""
    if value is None:
        return None
    word = value.strip().lower()
    if reasoning_of_word(word) is None:
        faults.append(Fault(field, "asks for nothing", "none, auto, minimal, low, medium, high, xhigh, max or a number of tokens"))
    return word


def strategy(field: str, value: str | None, faults: list[Fault]) -> None:
    """Which provider is next."""
    if value is not None and value not in STRATEGIES:
        faults.append(Fault(field, "is no strategy", f"one of {', '.join(STRATEGIES)}"))


def amount(field: str, value: float | None, faults: list[Fault]) -> None:
    """A limit; None for no limit."""
    if value is not None and not 0 <= value <= _MOST:
        faults.append(Fault(field, "is not an amount", "0 or more; null for no limit"))


def future(field: str, value: float | None, now_s: float, faults: list[Fault]) -> None:
    """A time that is still to come; None for never."""
    if value is not None and not now_s < value <= _LATEST_S:
        faults.append(Fault(field, "is not a time to come", "unix seconds; null for never"))


def moments(faults: list[Fault], **given: float | None) -> None:
    """Times that something is looked for by, in unix seconds; before 1970 is long ago."""
    for field, value in given.items():
        if value is not None and not -_LATEST_S <= value <= _LATEST_S:
            faults.append(Fault(field, "is no time in unix seconds"))
