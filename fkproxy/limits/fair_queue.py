"""Who waits, and who is next: keys take turns, so that one with a hundred calls does not keep another's one call waiting.

Floor 1. Pure.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

T = TypeVar("T")


class FairQueue(Generic[T]):
    """First come, first served within a key; keys in turn."""

    __slots__ = ("_by_key", "_size")

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, deque[T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: str) -> bool:
        """One of this key waits."""
        return key in self._by_key

    def put(self, key: str, item: T) -> None:
        """Last of its key."""
        self._by_key.setdefault(key, deque()).append(item)
        self._size += 1

    def heads(self) -> list[tuple[str, T]]:
        """The first one of each key, in the order of their turns."""
        return [(key, items[0]) for key, items in self._by_key.items()]

    def pop(self) -> T:
        """The next one. Raises `IndexError` when nobody waits."""
        if not self._by_key:
            raise IndexError("nobody waits")
        return self.pop_of(next(iter(self._by_key)))

    def pop_of(self, key: str) -> T:
        """The first one of a key, which has had its turn. Raises `KeyError` when none of it waits."""
        items = self._by_key[key]
        item = items.popleft()
        self._size -= 1
        if items:
            self._by_key.move_to_end(key)
        else:
            del self._by_key[key]
        return item

    def remove(self, key: str, item: T) -> None:
        """Take out one that does not wait any more; one that is not there changes nothing."""
        items = self._by_key.get(key)
        if items is None or item not in items:
            return
        items.remove(item)
        self._size -= 1
        if not items:
            del self._by_key[key]
