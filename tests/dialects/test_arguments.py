"""What a model calls a tool with, as an object."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.dialects.arguments import as_object
from fkproxy.model.request import Loss


@pytest.mark.parametrize(("text", "expected"), [("", {}), ("null", {}), ("{}", {}), ('{"a": [1]}', {"a": [1]})])
def test_an_object_is_that(text: str, expected: dict[str, Any]) -> None:
    losses: list[Loss] = []
    assert as_object(text, losses) == expected
    assert losses == []


@pytest.mark.parametrize("text", ["[1]", "nulls", "7", '{"a": ', "Paris"])
def test_what_is_none_goes_within_one(text: str) -> None:
    losses: list[Loss] = []
    assert as_object(text, losses) == as_object(text) == {"arguments": text}
    assert losses == [Loss(field="tool_calls[].arguments", action="converted")]
