"""The list of models of both OpenAI dialects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import Model

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import ModelEntry
from fkproxy.model.errors import UpstreamProtocolError

BOTH = ("openai_chat", "openai_responses")


@pytest.mark.parametrize("dialect", BOTH)
def test_a_list_comes_back_as_it_was(dialect: str) -> None:
    entries = [ModelEntry(id="a", owned_by="x", created_s=1_700_000_000), ModelEntry(id="b", owned_by="")]
    body = DIALECTS[dialect].encode_models(entries)
    listed = json.loads(body)
    assert listed["object"] == "list"
    assert [Model.model_validate(entry).id for entry in listed["data"]] == ["a", "b"]
    assert DIALECTS[dialect].decode_models(body) == entries


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("entry", ["a", {"owned_by": "x"}, {"id": 7}])
def test_what_is_no_model_makes_no_list(dialect: str, entry: Any) -> None:
    for told in ([entry], {"data": [entry]}):
        with pytest.raises(UpstreamProtocolError):
            DIALECTS[dialect].decode_models(json.dumps(told).encode())


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("told", [{}, {"data": None}, {"data": {}}, "a", None])
def test_what_is_no_list_of_models_is_said_so(dialect: str, told: Any) -> None:
    with pytest.raises(UpstreamProtocolError):
        DIALECTS[dialect].decode_models(json.dumps(told).encode())


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize(
    ("created", "created_s"),
    [(None, 0), (1.5e9, 1_500_000_000), ("2027-01-15T08:00:00Z", 1_800_000_000), ("1800000000", 1_800_000_000), ("", 0), ([], 0)],
)
def test_a_list_is_read_however_it_says_when_its_models_were_made(dialect: str, created: Any, created_s: int) -> None:
    listed = DIALECTS[dialect].decode_models(json.dumps({"data": [{"id": "a", "created": created}]}).encode())
    assert listed == [ModelEntry(id="a", owned_by="", created_s=created_s)]


@pytest.mark.parametrize("dialect", BOTH)
def test_a_list_may_be_nothing_but_the_array(dialect: str) -> None:
    told = [{"id": "a", "object": "model", "created": 0, "type": "chat", "organization": "x"}, {"id": "b"}]
    assert [entry.id for entry in DIALECTS[dialect].decode_models(json.dumps(told).encode())] == ["a", "b"]


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("owner", [None, 7, ["x"], {"name": "x"}])
def test_a_list_is_read_whatever_it_says_of_the_owner(dialect: str, owner: Any) -> None:
    listed = DIALECTS[dialect].decode_models(json.dumps({"data": [{"id": "a", "owned_by": owner}]}).encode())
    assert listed == [ModelEntry(id="a", owned_by="")]
