"""A journal line becomes a row that every database takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.dialects import CLIENT_DIALECTS
from fkproxy.model.usage import Usage
from fkproxy.storage.calls_rows import Batch, ended_by, family_of, row_of
from fkproxy.storage.calls_tables import CALL_COLUMNS, usage_hourly
from fkproxy.telemetry.entry import EntryEncoder, decode_entry
from fkproxy.telemetry.record import Attempt, CallRecord, Skipped
from tests.storage.journal import lines_of
from tests.telemetry.records import USAGE, record


def row(**fields: object) -> dict[str, object]:
    return dict(zip(CALL_COLUMNS, row_of(decode_entry(EntryEncoder().encode(record(**fields)))), strict=True))


def batch_of(lines: bytes) -> Batch:
    batch = Batch()
    batch.add(lines.split(b"\n")[:-1])
    return batch


def test_a_row_says_what_the_record_says() -> None:
    found = row(cost_usd=0.0001234567891, pool="team", key_prefix="fk-abcd")
    assert found == {
        "request_id": "r1",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "duration_ms": 50.0,
        "dialect": "openai_chat",
        "stream": False,
        "model_requested": "asked",
        "model_id": "model-1",
        "provider_key": "p1",
        "credential": "",
        "upstream_dialect": "gemini",
        "attempts": 1,
        "waited_ms": 0.0,
        "upstream_status": 200,
        "upstream_ms": 40.0,
        "ttft_ms": 30.0,
        "finish_reason": "stop",
        "error_code": None,
        "reasoning_requested": None,
        "reasoning_applied": None,
        "key_id": "0badcafe",
        "request_bytes": 0,
        "response_bytes": 0,
        "pool": "team",
        "key_prefix": "fk-abcd",
        "started_ms": 1_800_000_000_500,
        "family": "chat",
        "status_class": 2,
        "outcome": "ok",
        "ended_by": "upstream",
        "tokens_input": 100,
        "tokens_output": 20,
        "tokens_cached_input": 60,
        "tokens_cache_write": None,
        "tokens_reasoning": 5,
        "cost_nanousd": 123457,
        "detail": None,
    }


def test_every_route_that_clients_post_to_has_a_family() -> None:
    families = {route.path: family_of(route.path, route.operation) for dialect in CLIENT_DIALECTS for route in dialect.routes}
    assert "other" not in families.values()
    assert families["/v1/chat/completions"] == "chat"
    assert families["/v1/completions"] == "completions"
    assert families["/v1/responses/input_tokens"] == "count"
    assert families["/openai/deployments/{target}/chat/completions"] == "chat"
    models = "/v1/projects/{project}/locations/{location}/publishers"
    assert families[f"{models}/google/models/{{target}}"] == "generate"
    assert families[f"{models}/anthropic/models/{{target}}:streamRawPredict"] == "messages"


def test_the_operation_says_more_than_the_route() -> None:
    assert family_of("/v1beta/models/{target}", "chat") == "generate"
    assert family_of("/v1beta/models/{target}", "count_tokens") == "count"
    assert family_of("/v1beta/models/{target}", "embeddings") == "embeddings"
    assert family_of("/a/route/of/a/newer/program", "chat") == "other"


@pytest.mark.parametrize(
    ("fields", "who"),
    [
        ({}, "upstream"),
        ({"client_ended": True}, "client"),
        ({"status": 499}, "client"),
        ({"status": 502, "error_code": "upstream_error"}, "upstream"),
        ({"status": 429, "error_code": "upstream_rate_limited"}, "upstream"),
        ({"status": 504, "error_code": "timeout"}, "gateway"),
        ({"status": 401, "error_code": "invalid_api_key", "provider_key": None}, "gateway"),
        ({"provider_key": None}, "gateway"),
    ],
)
def test_who_ended_a_call(fields: dict[str, object], who: str) -> None:
    assert ended_by(decode_entry(EntryEncoder().encode(record(**fields)))) == who
    assert row(**fields)["ended_by"] == who


def test_a_try_that_failed_and_what_was_skipped_are_told() -> None:
    tries = (Attempt(provider_key="p1", outcome="timeout", duration_ms=3.0), Attempt(provider_key="p2", status=200))
    found = row(tries=tries, skipped=(Skipped(provider_key="p3", reason="busy"),), notes=("waited",), losses=("stop",))["detail"]
    assert isinstance(found, str)
    assert '"outcome":"timeout"' in found
    assert '"reason":"busy"' in found
    assert '"notes":["waited"],"losses":["stop"]' in found


@pytest.mark.parametrize("count", [-1, 2**53 + 1, 10**30])
def test_counts_that_nobody_can_have_used_are_unknown(count: int) -> None:
    found = row(usage=Usage(input_tokens=count, output_tokens=1))
    assert (found["tokens_input"], found["tokens_output"]) == (None, None)


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf"), 1e30])
def test_a_cost_that_cannot_be_is_unknown(cost: float) -> None:
    assert row(cost_usd=cost)["cost_nanousd"] is None


def test_lines_that_are_none_are_counted_and_the_others_come_in() -> None:
    good = lines_of([record(request_id="a"), record(request_id="b")]).split(b"\n")
    lines = [b"", good[0], b"[]", good[0][:-10], b"\xff\xfe", good[1], good[1].replace(b"model-1", b"a\\u0000b")]
    batch = batch_of(b"\n".join(lines) + b"\n")
    assert [found[0] for found in batch.rows] == ["a", "b"]
    assert batch.undecodable == 5


def test_letters_that_look_like_a_nul_are_none() -> None:
    (found,) = batch_of(lines_of([record(model_requested="a\\u0000", provider_key="up")])).rows
    assert found[CALL_COLUMNS.index("model_requested")] == "a\\u0000"


CALLS = st.builds(
    lambda **fields: record(**fields),
    started_s=st.floats(1.7e9, 1.7e9 + 20_000),
    status=st.sampled_from([200, 200, 429, 499, 502]),
    error_code=st.sampled_from([None, "upstream_error", "rate_limit_exceeded"]),
    client_ended=st.booleans(),
    key_id=st.sampled_from([None, "k1", "k2"]),
    pool=st.sampled_from([None, "team"]),
    provider_key=st.sampled_from([None, "p1", "p2"]),
    credential=st.sampled_from(["", "second"]),
    model_id=st.sampled_from([None, "m1", "m2"]),
    usage=st.none()
    | st.builds(Usage, input_tokens=st.none() | st.integers(0, 10**6), output_tokens=st.integers(0, 10**4))
    | st.just(USAGE),
    cost_usd=st.none() | st.floats(0, 10),
)


@given(calls=st.lists(CALLS, max_size=40))
def test_the_sums_are_those_of_the_rows(calls: list[CallRecord]) -> None:
    batch = batch_of(lines_of(calls))
    columns = [column.name for column in usage_hourly.columns]
    sums = [dict(zip(columns, found, strict=True)) for found in batch.usage()]
    rows = [dict(zip(CALL_COLUMNS, found, strict=True)) for found in batch.rows]
    assert len(rows) == len(calls)
    keys = {tuple(found[name] for name in columns[:6]) for found in sums}
    assert len(keys) == len(sums)
    assert [tuple(found[name] for name in columns[:6]) for found in sums] == sorted(keys)
    for found in sums:
        mine = [
            each
            for each in rows
            if each["started_ms"] // 3_600_000 == found["hour"]  # type: ignore[operator]  # a number
            and all((each[name] or "") == found[name] for name in columns[1:6])
        ]
        used = [each for each in mine if any(each[name] is not None for name in CALL_COLUMNS if name.startswith("tokens_"))]
        assert found["calls"] == len(mine)
        assert found["failed"] == sum(each["outcome"] == "failed" for each in mine)
        assert found["client_ended"] == sum(each["outcome"] == "client_ended" for each in mine)
        for name in ("tokens_input", "tokens_output", "tokens_cached_input", "tokens_cache_write", "tokens_reasoning"):
            assert found[name] == sum(each[name] or 0 for each in mine)  # type: ignore[misc]  # numbers
        assert found["cost_nanousd"] == sum(each["cost_nanousd"] or 0 for each in mine)  # type: ignore[misc]  # numbers
        assert found["cost_unknown"] == sum(each["cost_nanousd"] is None for each in used)
    assert sum(found["calls"] for found in sums) == len(calls)  # type: ignore[misc]  # numbers
