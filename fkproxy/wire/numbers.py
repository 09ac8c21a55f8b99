"""Numbers in texts that somebody else wrote. Floor 0. Pure."""

from __future__ import annotations

__all__ = ["whole_number"]


def whole_number(text: str, most_digits: int = 15) -> int | None:
    """What the decimal digits 0 to 9 say; None for everything else, and for more of them than `most_digits`.

    `str.isdigit` is true of "²" and of digits of other scripts, and `int` raises `ValueError` above 4300 digits.
    """
    return int(text) if len(text) <= most_digits and text.isascii() and text.isdigit() else None
