"""The golden captures: one folder, one case. Run as a program it writes the `events.jsonl` that are missing, to be reviewed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Dialect, Peek
from fkproxy.model.events import Event, Failed
from fkproxy.wire.sse import Frame, SseDecoder

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

_GENERATED = re.compile(r"call_[0-9a-f]{24}")


class Case:
    """One folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dialect: Dialect = DIALECTS[path.parent.name]
        self.capture: dict[str, Any] = tomllib.loads((path / "capture.toml").read_text())

    def __repr__(self) -> str:
        return f"{self.dialect.name}/{self.path.name}"

    def _bytes(self, name: str) -> bytes | None:
        file = self.path / name
        return file.read_bytes() if file.exists() else None

    @cached_property
    def request(self) -> bytes | None:
        return self._bytes("request.json")

    @cached_property
    def whole(self) -> bytes | None:
        return self._bytes("response.json")

    @cached_property
    def stream(self) -> bytes | None:
        return self._bytes("response.sse")

    @property
    def status(self) -> int:
        return int(self.capture.get("status", 200))

    @cached_property
    def peek(self) -> Peek:
        assert self.request is not None
        return self.dialect.peek(self.request, self.capture.get("target", ""), self.capture.get("query", ""))

    def expected(self) -> list[Any]:
        """The reviewed events, as plain values."""
        return [msgspec.json.decode(line) for line in (self.path / "events.jsonl").read_text().split("\n") if line]

    def decoded(self, pieces: Iterable[bytes] | None = None) -> list[Event]:
        """The events of the capture, the stream cut into `pieces`."""
        if self.status != 200:
            assert self.whole is not None
            return [Failed(self.dialect.decode_error(self.status, self.capture.get("headers", {}), self.whole))]
        if self.stream is None:
            assert self.whole is not None
            return self.dialect.decode_reply(self.whole)
        decoder = self.dialect.stream_decoder()
        events: list[Event] = []
        for frame in frames(pieces if pieces is not None else [self.stream]):
            events += decoder.feed(frame)
        return once(events + decoder.end())


def once(events: list[Event]) -> list[Event]:
    """Without the failure that the end says again, where the vendor may have told more of it. See `StreamDecoder.complete`."""
    last = events[-1] if events else None
    return events[:-1] if isinstance(last, Failed) and any(each is last for each in events[:-1]) else events


def frames(pieces: Iterable[bytes]) -> list[Frame]:
    """What a stream is made of."""
    framer = SseDecoder()
    return [frame for piece in pieces for frame in framer.feed(piece)] + framer.tail()


def plain(events: Iterable[Event]) -> list[Any]:
    """Events as plain values, ids that were made up on the way set to one word."""
    found: list[Any] = []
    for event in events:
        if isinstance(event, Failed):
            error = event.error
            told = {"type": "failed", "error": type(error).__name__, "status": error.status, "message": str(error)}
            found.append(told | ({"retry_after_s": error.retry_after_s} if error.retry_after_s is not None else {}))
        else:
            found.append(msgspec.json.decode(_GENERATED.sub("call_GENERATED", msgspec.json.encode(event).decode())))
    return found


CASES = [Case(path.parent) for path in sorted(GOLDEN.glob("*/*/capture.toml"))]
REQUESTS = [case for case in CASES if case.request is not None]
REPLIES = [case for case in CASES if case.whole is not None or case.stream is not None]


def main() -> None:
    for case in REPLIES:
        file = case.path / "events.jsonl"
        if not file.exists():
            lines = [msgspec.json.encode(value).decode() for value in plain(case.decoded())]
            file.write_text("\n".join(lines) + "\n")
            print(file)


if __name__ == "__main__":
    main()
