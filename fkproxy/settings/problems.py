"""What can be wrong with the configuration, in the operator's own words. Floor 4."""

from __future__ import annotations

import msgspec

__all__ = ["Problem", "SettingsError", "reason"]


class Problem(msgspec.Struct, frozen=True):
    """Something wrong with one setting, by the name the operator wrote, and what to do about it."""

    name: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.message}{'; ' + self.hint if self.hint else ''}"


class SettingsError(Exception):
    """The configuration cannot be used. `problems` holds all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def reason(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read, without its content."""
    return (error.strerror or type(error).__name__).lower() if isinstance(error, OSError) else "it is not UTF-8 text"
