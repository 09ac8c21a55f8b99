"""Why a call went where it went."""

from __future__ import annotations

from fkproxy.directory import Pool
from fkproxy.explain import Explanations
from fkproxy.telemetry.record import Attempt, Skipped
from tests.fakes.keys import directory, key, raw
from tests.fakes.pipeline import Bench
from tests.telemetry.records import record
from tests.test_attempts import chat, completion, failing


async def test_every_candidate_is_told_with_its_verdict() -> None:
    bench = Bench(*((name, "openai_chat") for name in ("one", "two", "three", "four")))
    failing(bench.adapters[0], 429, retry_after="30")
    bench.adapters[1].replies(completion())
    await bench.send(chat())
    failing(bench.adapters[1], 500)
    bench.adapters[2].replies(completion())
    client = await bench.send(chat(), client_headers={b"x-fkproxy-explain": b"1"})
    assert client.headers["x-fkproxy-explain"] == "one:m=limited(30.0s); two:m=upstream_error(500); three:m=serving"
    explanations = Explanations()
    for each in bench.records:
        explanations.observe(each)
    found = explanations.explain(bench.record.request_id, bench.gateway.fleet_of)
    assert found is not None
    told = [(each.provider_key, each.verdict, each.reason, each.upstream_status) for each in found.candidates]
    assert told == [
        ("two", "failed", "upstream_error", 500),
        ("three", "served", None, 200),
        ("one", "passed_over", "limited", None),
        ("four", "not_needed", None, None),
    ]
    assert (found.attempts, found.provider_key, found.status) == (2, "three", 200)


async def test_a_call_that_does_not_ask_gets_no_header_and_other_values_mean_nothing() -> None:
    bench = Bench(("one", "openai_chat"))
    for headers in (None, {b"x-fkproxy-explain": b"0"}):
        bench.adapters[0].replies(completion())
        assert "x-fkproxy-explain" not in (await bench.send(chat(), client_headers=headers)).headers


async def test_a_refusal_is_explained_in_its_header_too() -> None:
    bench = Bench(("one", "openai_chat"))
    failing(bench.adapters[0], 500)
    client = await bench.send(chat(), client_headers={b"x-fkproxy-explain": b"1"})
    assert client.headers["x-fkproxy-explain"] == "one:m=upstream_error(500)"


def test_only_the_last_calls_are_kept_and_of_one_id_the_later() -> None:
    fleet = Bench(("one", "openai_chat")).gateway.fleet
    explanations = Explanations(kept=2)
    for request_id, status in (("a", 200), ("b", 200), ("a", 502), ("c", 200)):
        explanations.observe(record(request_id=request_id, status=status, model_requested=None))
    assert explanations.explain("b", lambda pool: fleet) is None
    found = explanations.explain("a", lambda pool: fleet)
    assert found is not None
    assert found.status == 502


def test_what_a_client_typed_into_the_wrong_field_is_told_as_in_the_log_of_calls() -> None:
    explanations, fleet_of = Explanations(), Bench(("one", "openai_chat")).gateway.fleet_of
    tried = (Attempt(provider_key="one", model_id="\x1b[2Jm"),)
    explanations.observe(record(request_id="a", provider_key=None, tries=(), model_requested=f"sk-{'Q' * 40}"))
    explanations.observe(record(request_id="b", provider_key=None, tries=(), model_requested="what is a key?"))
    explanations.observe(record(request_id="c", provider_key="one", model_requested="\x1b[2Jm", tries=tried))
    told = [explanations.explain(request_id, fleet_of) for request_id in "abc"]
    assert [found.model_requested for found in told if found is not None] == ["other", "other", "?[2Jm"]
    assert [each.model_id for found in told if found is not None for each in found.candidates if each.verdict == "served"] == ["?[2Jm"]


def test_an_upstream_that_was_passed_over_at_first_and_tried_later_is_told_once() -> None:
    tried, skipped = Attempt(provider_key="one", model_id="m"), Skipped(provider_key="one", model_id="m", reason="busy")
    explanations = Explanations()
    explanations.observe(record(tries=(tried,), skipped=(skipped,), model_requested="unknown/x"))
    found = explanations.explain("r1", Bench(("other", "openai_chat")).gateway.fleet_of)
    assert found is not None
    assert ("one", "served") in [(each.provider_key, each.verdict) for each in found.candidates]
    assert [each.verdict for each in found.candidates if each.provider_key == "one"] == ["served"]


async def test_a_pools_call_is_explained_with_its_upstreams_and_the_model_that_its_key_enforces() -> None:
    bench = Bench(*((name, "openai_chat") for name in ("one", "two", "three")))
    keyed = directory(key(enforced_model="better"), pools=(Pool(name="team", upstreams=("two", "three")),))
    bench.gateway.clientele.replace(keyed)
    bench.adapters[1].replies(completion())
    headers = {b"x-fkproxy-explain": b"1"}
    client = await bench.send(chat(), presented_key=raw("a"), client_headers=headers)
    assert client.headers["x-fkproxy-explain"] == "two:better=serving; enforced_model:better"
    explanations = Explanations()
    explanations.observe(bench.record)
    found = explanations.explain(bench.record.request_id, bench.gateway.fleet_of)
    assert found is not None
    assert (found.pool, found.model_requested) == ("team", "m")
    told = [(each.provider_key, each.model_id, each.verdict) for each in found.candidates]
    assert told == [("two", "better", "served"), ("three", "better", "not_needed")]
    bench.gateway.clientele.replace(directory(pools=()))
    later = explanations.explain(bench.record.request_id, bench.gateway.fleet_of)
    assert later is not None
    assert [each.provider_key for each in later.candidates] == ["two"], "the pool is gone, what happened is not"
