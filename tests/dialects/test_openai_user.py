"""Who asks, as OpenAI takes it."""

from __future__ import annotations

import json

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.model.parts import Message, Text
from fkproxy.model.request import ChatRequest


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_a_long_name_becomes_its_digest_and_is_told(target: str) -> None:
    def named(user: str, client: str = "anthropic") -> tuple[str, list[str]]:
        hello = Message(role="user", parts=(Text(text="hello"),), extra={"$items": []})
        encoded = DIALECTS[target].encode_request(ChatRequest(dialect=client, model="m", messages=(hello,), user=user), "m")
        return json.loads(encoded.body)["user"], [f"{loss.field} {loss.action}" for loss in encoded.losses]

    assert named("u" * 64) == ("u" * 64, [])
    long, losses = named('{"device_id":"' + "0" * 64 + '","account_uuid":"","session_id":"a"}')
    assert (len(long), losses) == (64, ["user converted"])
    assert named("u" * 65) == named("u" * 65) != named("v" * 65)
    assert named("u" * 65, target) == ("u" * 65, [])
