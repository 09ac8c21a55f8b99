"""The cases can fail: each is given an answer that is almost right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.model.events import Choice, Reply
from fkproxy.model.parts import Text, ToolCall
from fkproxy.model.request import ChatRequest
from fkproxy.model.usage import Usage
from fkproxy.selftest.asking import Answer
from fkproxy.selftest.cases import CASES, Refused, Wrong

BY_NAME = {case.name: case for case in CASES}
REPORT = {"texts": [], "images": 0, "calls": ["c"], "results": [], "format": None, "stop": None}


class Canned:
    """A client whose gateway always answers the same."""

    dialect = DIALECTS["openai_chat"]

    def __init__(self, *parts: Any, reason: Any = "stop", usage: Usage | None = None, **fields: Any) -> None:
        reply = Reply(choices=(Choice(index=0, parts=parts, reason=reason),), usage=usage)
        self._answer = Answer(**{"status": 200, "headers": {}, "reply": reply, **fields})

    def ask(self, request: ChatRequest, model: str) -> Answer:
        return self._answer


@pytest.mark.parametrize(
    ("case", "client"),
    [
        ("text", Canned()),
        ("text", Canned(Text(text=json.dumps(REPORT)))),
        ("text", Canned(Text(text="no report"))),
        ("text", Canned(Text(text="x"), reason="error")),
        ("stream", Canned(Text(text="Hello from"))),
        ("stream", Canned(Text(text="Hello from here"))),
        ("usage", Canned(Text(text="x"))),
        ("usage", Canned(Text(text="x"), usage=Usage(input_tokens=0, output_tokens=0))),
        ("parallel tools", Canned(Text(text="x"))),
        ("parallel tools", Canned(*[ToolCall(id="same", name=f"look_up_{what}") for what in ("weather", "time")])),
        ("parallel tools", Canned(ToolCall(id="1", name="other"))),
        ("parallel tools", Canned(ToolCall(id="1", name="look_up_weather"))),
        ("tool result with image", Canned(Text(text=json.dumps(REPORT)))),
        ("image", Canned(Text(text=json.dumps(REPORT)))),
        ("thinking, two turns", Canned(Text(text="x"))),
        ("JSON schema", Canned(Text(text=json.dumps(REPORT)))),
        ("stop", Canned(Text(text=json.dumps(REPORT)))),
        ("error before", Canned(reply=None, status=400)),
        ("error after", Canned(Text(text="x"))),
        *[(name, Canned(reply=None, status=500, error="refused")) for name in ("text", "stream", "usage", "image", "stop")],
    ],
)
def test_what_is_wrong_is_found(case: str, client: Any) -> None:
    with pytest.raises(Wrong):
        BY_NAME[case].run(client, "m", True)


@pytest.mark.parametrize("case", ["text", "image", "JSON schema"])
def test_a_400_with_a_reason_is_a_refusal(case: str) -> None:
    with pytest.raises(Refused, match="cannot be carried"):
        BY_NAME[case].run(Canned(reply=None, status=400, error="refused", message="an image cannot be carried"), "m", True)  # type: ignore[arg-type]  # as a client
