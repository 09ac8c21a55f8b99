"""Provider state for clients whose dialect has no place for it.

Floor 1. Pure: the time is an argument.

A vendor that signs its thoughts refuses the next turn when the signature of a tool call is missing. Clients of another dialect are
offered it in a vendor field of the tool call; many drop fields that they do not know. So the last signatures are remembered here,
by caller and tool call id, for as long as a tool round trip may take. A signature is opaque and encrypted by its vendor; it is
kept in memory only, within a bound, and never written anywhere.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from fkproxy.model.parts import Message, Seal, ToolCall
from fkproxy.model.request import ChatRequest

__all__ = ["SealStore"]


class SealStore:
    """Least recently used seals go first when `max_bytes` is reached, all go `ttl_s` seconds after they came."""

    __slots__ = ("_entries", "_max_bytes", "_size_bytes", "_ttl_s")

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024, ttl_s: float = 6 * 3600.0) -> None:
        self._entries: OrderedDict[tuple[str | None, str], tuple[float, Seal]] = OrderedDict()
        self._size_bytes = 0
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s

    def __len__(self) -> int:
        return len(self._entries)

    def remember(self, owner: str | None, call_id: str, seal: Seal, now: float) -> None:
        """Keep `seal` for the tool call `call_id` of this caller."""
        key = (owner, call_id)
        self._drop(key)
        self._entries[key] = (now + self._ttl_s, seal)
        self._size_bytes += _size(key, seal)
        while self._entries and (self._size_bytes > self._max_bytes or next(iter(self._entries.values()))[0] <= now):
            self._drop(next(iter(self._entries)))

    def recall(self, owner: str | None, call_id: str, now: float) -> Seal | None:
        """The seal, or None when it was never here or is gone."""
        entry = self._entries.get((owner, call_id))
        if entry is None or entry[0] <= now:
            return None
        return entry[1]

    def restore(self, owner: str | None, request: ChatRequest, now: float) -> ChatRequest:
        """The request with the seals put back on tool calls that came without one."""
        if not self._entries or not any(
            isinstance(part, ToolCall) and part.seal is None for message in request.messages for part in message.parts
        ):
            return request
        return msgspec.structs.replace(request, messages=tuple(self._restore(owner, message, now) for message in request.messages))

    def _restore(self, owner: str | None, message: Message, now: float) -> Message:
        if message.role != "assistant":
            return message
        parts = tuple(
            msgspec.structs.replace(part, seal=self.recall(owner, part.id, now))
            if isinstance(part, ToolCall) and part.seal is None
            else part
            for part in message.parts
        )
        return msgspec.structs.replace(message, parts=parts)

    def _drop(self, key: tuple[str | None, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= _size(key, entry[1])


def _size(key: tuple[str | None, str], seal: Seal) -> int:
    return len(key[1]) + len(seal.data) + 256
