"""A streamed reply as the vendor's own client adds it up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import ReplyContext
from fkproxy.model.events import ChoiceFinished, Done, Event, MediaReceived, SealAttached, Started, TextDelta, collect
from fkproxy.model.parts import Media, Seal

CHAT = DIALECTS["openai_chat"]
CONTEXT = ReplyContext(reply_id="r", model="m", created_s=1)


def image(data: str) -> MediaReceived:
    return MediaReceived(media=Media(kind="image", mime_type="image/png", data=data))


def signed(signature: str) -> SealAttached:
    return SealAttached(seal=Seal(dialect="gemini", data=signature))


def added_up(events: list[Event]) -> dict[str, Any]:
    encoder = CHAT.stream_encoder(CONTEXT)
    state = ChatCompletionStreamState()
    for line in b"".join(encoder.encode(event) for event in events).splitlines():
        if line and line != b"data: [DONE]":
            list(state.handle_chunk(ChatCompletionChunk.model_validate_json(line.removeprefix(b"data: "))))
    return state.get_final_completion().choices[0].message.model_dump(exclude_none=True)


@pytest.mark.parametrize(
    "content",
    [
        [TextDelta(text="a"), image("AAAA"), image("BBBB"), TextDelta(text="b")],
        [TextDelta(text="a"), signed("one"), TextDelta(text="b"), signed("two")],
    ],
    ids=["images", "signatures"],
)
def test_a_stream_adds_up_to_the_whole_reply(content: list[Event]) -> None:
    events = [Started(), *content, ChoiceFinished(reason="stop"), Done()]
    (choice,) = json.loads(CHAT.encode_reply(collect(events), CONTEXT))["choices"]
    assert added_up(events) == {name: value for name, value in choice["message"].items() if value is not None}
