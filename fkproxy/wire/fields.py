"""Reading a JSON object of a client field by field, with errors that name the field as the client wrote it.

Floor 0. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from fkproxy.model.errors import InvalidRequest

__all__ = ["Fields"]

_NAMES = {str: "a string", dict: "an object", list: "an array", bool: "true or false", int: "an integer", float: "a number"}


class Fields:
    """One object. What is not taken is in `rest`. null counts as not given."""

    __slots__ = ("_data", "_taken", "path")

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise InvalidRequest(path or None, f"expected an object, got {_kind(value)}")
        self.path = path
        self._data: dict[str, Any] = value
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self._data.get(name) is not None

    def at(self, name: str) -> str:
        """The path of a field: `messages[2].content`."""
        return f"{self.path}.{name}" if self.path else name

    def any(self, name: str, *others: str) -> Any:
        """The first of these fields that is given, whatever it is; None when none is."""
        self._taken.add(name)
        found = self._data.get(name)
        for other in others:
            self._taken.add(other)
            if found is None:
                found = self._data.get(other)
        return found

    def _typed(self, name: str, kind: type) -> Any:
        self._taken.add(name)
        value = self._data.get(name)
        if value is None or type(value) is kind:
            return value
        raise InvalidRequest(self.at(name), f"expected {_NAMES[kind]}, got {_kind(value)}")

    def text(self, name: str) -> str | None:
        """A string."""
        value: str | None = self._typed(name, str)
        return value

    def needed_text(self, name: str) -> str:
        """A string that must be there."""
        value = self.text(name)
        if value is None:
            raise InvalidRequest(self.at(name), "expected a string, but it is missing")
        return value

    def boolean(self, name: str) -> bool | None:
        """true or false."""
        value: bool | None = self._typed(name, bool)
        return value

    def mapping(self, name: str) -> dict[str, Any] | None:
        """An object as it stands."""
        value: dict[str, Any] | None = self._typed(name, dict)
        return value

    def array(self, name: str) -> list[Any] | None:
        """An array as it stands."""
        value: list[Any] | None = self._typed(name, list)
        return value

    def number(self, name: str, low: float | None = None, high: float | None = None) -> float | None:
        """A number within bounds."""
        self._taken.add(name)
        value = self._data.get(name)
        if value is None:
            return None
        if type(value) is not int and type(value) is not float:
            raise InvalidRequest(self.at(name), f"expected a number, got {_kind(value)}")
        if (low is not None and value < low) or (high is not None and value > high):
            raise InvalidRequest(self.at(name), f"{_bounds(low, high)}, got {value}")
        return value

    def integer(self, name: str, low: int | None = None, high: int | None = None) -> int | None:
        """An integer within bounds; 3.0 counts as one."""
        value = self.number(name, low, high)
        if value is None or type(value) is int:
            return value
        if value != int(value):
            raise InvalidRequest(self.at(name), f"expected an integer, got {value}")
        return int(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A string or an array of strings, as a tuple."""
        value = self.any(name)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise InvalidRequest(self.at(name), f"expected a string or an array of strings, got {_kind(value)}")

    def choice(self, name: str, allowed: tuple[str, ...]) -> Any:
        """A string out of `allowed`."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise InvalidRequest(self.at(name), f"expected one of {', '.join(allowed)}")
        return value

    def within(self, name: str) -> Fields | None:
        """The object in a field, read in turn."""
        value = self.any(name)
        return None if value is None else Fields(value, self.at(name))

    def each(self, name: str) -> Iterator[Fields]:
        """The objects of an array, read in turn."""
        for index, value in enumerate(self.array(name) or ()):
            yield Fields(value, f"{self.at(name)}[{index}]")

    def rest(self) -> dict[str, Any]:
        """What was not taken. Names that begin with `$` or end with `.*` are left out: they are how decoders mark their own notes."""
        return {name: value for name, value in self._data.items() if name not in self._taken and name[:1] != "$" and name[-2:] != ".*"}


def _bounds(low: float | None, high: float | None) -> str:
    if high is None:
        return f"must be at least {low}"
    return f"must be between {low} and {high}" if low is not None else f"must be at most {high}"


def _kind(value: Any) -> Literal["null", "a boolean", "a number", "a string", "an array", "an object"]:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
