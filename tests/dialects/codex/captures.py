"""What a child said in a turn. Run as a program it writes the `events.jsonl` that are missing, to be reviewed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from fkproxy.dialects.codex.response import StreamDecoder
from fkproxy.model.events import Event
from fkproxy.wire.sse import SseDecoder, encode_data
from tests.dialects.golden import GOLDEN, plain

CAPTURES = sorted(path.parent for path in (GOLDEN / "codex").glob("*/messages.jsonl"))


def stream_of(messages: Iterable[bytes]) -> bytes:
    """What the adapter makes of messages."""
    return b"".join(encode_data(message) for message in messages)


def captured(case: Path) -> bytes:
    """The stream of a capture."""
    return stream_of((case / "messages.jsonl").read_bytes().splitlines())


def said(*messages: Any) -> bytes:
    """The stream of messages made here: `(method, params)`."""
    return stream_of(json.dumps({"method": method, "params": params}).encode() for method, params in messages)


def decoded(pieces: Iterable[bytes]) -> list[Event]:
    """The events of a stream in pieces."""
    framer, decoder = SseDecoder(), StreamDecoder()
    frames = [frame for piece in pieces for frame in framer.feed(piece)] + framer.tail()
    return [event for frame in frames for event in decoder.feed(frame)] + decoder.end()


def main() -> None:
    for case in CAPTURES:
        file = case / "events.jsonl"
        if not file.exists():
            lines = [msgspec.json.encode(value).decode() for value in plain(decoded([captured(case)]))]
            file.write_text("\n".join(lines) + "\n")
            print(file)


if __name__ == "__main__":
    main()
