"""Legacy text completions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import Completion

from fkproxy.dialects import CLIENT_DIALECTS, DIALECTS
from fkproxy.dialects.base import Peek, ReplyContext
from fkproxy.model.errors import InvalidRequest, Unrepresentable, UpstreamFailed
from fkproxy.model.events import ChoiceFinished, Done, Event, Failed, Started, TextDelta, UsageReported, collect
from fkproxy.model.usage import Usage
from tests.dialects.golden import frames

COMPLETIONS = next(dialect for dialect in CLIENT_DIALECTS if dialect.name == "openai_completions")
CONTEXT = ReplyContext(reply_id="r", model="m", created_s=1)
EVENTS: list[Event] = [
    *(Started(), TextDelta(text="Once "), TextDelta(text="upon"), UsageReported(usage=Usage(input_tokens=3, output_tokens=2))),
    *(ChoiceFinished(reason="length"), Done()),
]


def decoded(**fields: Any) -> Any:
    return COMPLETIONS.decode_request(json.dumps({"model": "m", **fields}).encode(), Peek(model="m"))


@pytest.mark.parametrize("prompt", ["Tell me", ["Tell me"]])
def test_a_prompt_is_a_message_of_a_user(prompt: Any) -> None:
    request = decoded(prompt=prompt, max_tokens=7, stop="END", n=2)
    assert [(message.role, message.parts[0].text) for message in request.messages] == [("user", "Tell me")]
    assert (request.sampling.max_output_tokens, request.sampling.stop, request.sampling.choices) == (7, ("END",), 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ["a", "b"]},
        {"prompt": [1, 2]},
        {"prompt": "a", "suffix": "b"},
        {"prompt": "a", "echo": True},
        {"prompt": "a", "best_of": 2},
    ],
)
def test_what_a_chat_cannot_do_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Unrepresentable) as caught:
        decoded(**fields)
    assert caught.value.param in fields


@pytest.mark.parametrize("fields", [{}, {"prompt": ""}, {"prompt": 1}, {"prompt": []}])
def test_a_prompt_must_be_there(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decoded(**fields)
    assert caught.value.param == "prompt"


def test_a_model_is_asked_in_the_form_that_it_takes_and_what_is_left_out_is_told() -> None:
    request = decoded(
        prompt="a",
        max_tokens=50,
        temperature=0.2,
        seed=7,
        logprobs=2,
        top_k=None,
        best_of=1,
        echo=False,
        mine=1,
        **{"generationConfig.*": "x"},
    )
    for model, said, lost in (
        ("gpt-4o", {"max_tokens": 50, "temperature": 0.2, "seed": 7}, []),
        ("gpt-5", {"max_completion_tokens": 50, "seed": 7}, ["temperature"]),
    ):
        found = DIALECTS["openai_chat"].encode_request(request, model)
        assert json.loads(found.body) == {"model": model, "messages": [{"role": "user", "content": "a"}], **said}
        assert sorted(loss.field for loss in found.losses) == ["logprobs", "mine", *lost]


def test_whole_and_streamed_say_the_same_in_the_vendors_own_types() -> None:
    whole = Completion.model_validate_json(COMPLETIONS.encode_reply(collect(EVENTS), CONTEXT))
    encoder = COMPLETIONS.stream_encoder(CONTEXT)
    stream = frames([b"".join(encoder.encode(event) for event in EVENTS)])
    assert stream[-1].data == b"[DONE]"
    chunks = [json.loads(frame.data or b"") for frame in stream[:-1]]
    assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == whole.choices[0].text == "Once upon"
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]] == [None, None, "length"]
    assert whole.usage is not None
    assert chunks[-1]["usage"]["total_tokens"] == whole.usage.total_tokens == 5


def test_a_failure_in_a_stream_is_told() -> None:
    data = COMPLETIONS.stream_encoder(CONTEXT).encode(Failed(UpstreamFailed("no")))
    assert json.loads(frames([data])[0].data or b"")["error"]["message"] == "no"
