"""Reading a JSON object of a client field by field, with errors that name the field as the client wrote it.

Floor 0. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any, Literal, TypeVar

from fkproxy.model.errors import InvalidRequest

__all__ = ["Fields"]

_NAMES: dict[type, str] = {
    str: "a string",
    dict: "an object",
    list: "an array",
    bool: "true or false",
    int: "an integer",
    float: "a number",
}

T = TypeVar("T")


def _reader(kind: type[T]) -> Callable[[Fields, str], T | None]:
    """A method that gives a field of this type. One for each type and none behind them: a body is read by thousands of calls of it."""

    def read(self: Fields, name: str) -> T | None:
        self._taken.add(name)
        value: T | None = self._data.get(name)
        if value is None or type(value) is kind:
            return value
        raise InvalidRequest(self.at(name), f"expected {_NAMES[kind]}, got {_kind(value)}")

    return read


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

    text = _reader(str)
    """A string."""

    boolean = _reader(bool)
    """true or false."""

    mapping = _reader(dict)
    """An object as it stands."""

    array = _reader(list)
    """An array as it stands."""

    def needed_text(self, name: str) -> str:
        """A string that must be there."""
        value = self.text(name)
        if value is None:
            raise InvalidRequest(self.at(name), "expected a string, but it is missing")
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
        self._taken.add(name)
        value = self._data.get(name)
        return None if value is None else Fields(value, self.at(name))

    def each(self, name: str) -> Iterable[Fields]:
        """The objects of an array, read in turn."""
        values = self.array(name)
        if not values:
            return ()
        path = self.at(name)
        return [Fields(value, f"{path}[{index}]") for index, value in enumerate(values)]

    def none_of(self, names: frozenset[str]) -> bool:
        """None of them is there, not even as null."""
        return names.isdisjoint(self._data)

    def given(self, names: Container[str]) -> list[str]:
        """Those of `names` that are there, null as well, in the client's order: for who knows many of which a client says few."""
        return [name for name in self._data if name in names]

    def rest(self) -> dict[str, Any]:
        """What was not taken. Names that begin with `$` or end with `.*` are left out: they are how decoders mark their own notes."""
        if self._data.keys() <= self._taken:
            return {}
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
