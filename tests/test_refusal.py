"""What a client is told when nobody served its call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.adapters.base import Timeouts
from fkproxy.adapters.secret import StaticSecret
from fkproxy.fleet import Stand
from fkproxy.limits.takeover import Takeover
from fkproxy.model.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from fkproxy.refusal import nobody, told
from fkproxy.telemetry.record import Skipped
from fkproxy.upstream import Terms
from tests.fakes.keys import asking, begun
from tests.fakes.pipeline import Bench, Pause, Step
from tests.test_attempts import ONE, TWO, chat, error_of, failing, outcomes, states
from tests.test_gateway import DONE, ROLE, delta, events, gemini, sse

CONTENTS = [{"role": "user", "parts": [{"text": "hello"}]}]
MISSING = UpstreamModelMissing(404, "there is no such model")
NOT_THERE = UpstreamRejected(403, "there is no such file", elsewhere=True)
REFUSED = UpstreamRefusedCredential("the key is refused", upstream_status=401)
BUSY = UpstreamOverloaded("busy", upstream_status=529)
FAILED = UpstreamFailed("no", upstream_status=500)


def skipped(reason: str, cause: str = "", retry_after_s: float | None = 30.0, provider_key: str = "two") -> Skipped:
    return Skipped(provider_key=provider_key, credential="a", reason=reason, cause=cause, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("passed_over", "status", "code"),
    [
        ([("limited", "rate_limited"), ("exhausted", "quota")], 429, "upstream_rate_limited"),
        ([("requests_per_minute", ""), ("tokens_per_minute", "")], 429, "upstream_rate_limited"),
        ([("limited", "failure"), ("limited", "failure")], 503, "service_unavailable"),
        ([("limited", "failure"), ("limited", "rate_limited")], 503, "service_unavailable"),
        ([("limited", "model_missing"), ("limited", "model_missing")], 404, "upstream_model_not_found"),
        ([("limited", "model_missing"), ("circuit_open", "")], 503, "service_unavailable"),
        ([("exhausted", "quota"), ("exhausted", "model_quota")], 429, "upstream_quota_exhausted"),
        ([("reauth_required", "credential"), ("reauth_required", "permission")], 502, "upstream_authentication"),
        ([("reauth_required", "credential"), ("paused", "operator")], 503, "service_unavailable"),
        ([("busy", "")], 429, "concurrency_exceeded"),
        ([], 503, "service_unavailable"),
    ],
)
def test_an_outage_and_a_missing_model_are_not_told_as_a_limit(passed_over: list[tuple[str, str]], status: int, code: str) -> None:
    error = nobody([skipped(reason, cause) for reason, cause in passed_over])
    assert (error.status, error.code) == (status, code)


def test_who_could_not_be_asked_is_named_with_the_reason_and_the_soonest_end_of_it() -> None:
    error = nobody([skipped("limited", "failure"), skipped("circuit_open", retry_after_s=5.0, provider_key="one")])
    assert "two/a: failing, one/a: circuit open" in str(error)
    assert error.retry_after_s == 5.0


@pytest.mark.parametrize(
    ("errors", "passed_over", "status"),
    [
        ([MISSING], [], 404),
        ([MISSING, MISSING], [skipped("limited", "model_missing")], 404),
        ([MISSING], [skipped("limited", "rate_limited")], 429),
        ([MISSING], [skipped("limited", "failure")], 503),
        ([MISSING, FAILED], [], 502),
        ([NOT_THERE, NOT_THERE], [], 403),
        ([MISSING, NOT_THERE], [skipped("limited", "rate_limited")], 403),
        ([NOT_THERE, FAILED], [], 502),
        ([REFUSED, REFUSED], [], 502),
        ([REFUSED], [skipped("limited", "rate_limited")], 429),
        ([REFUSED], [skipped("reauth_required", "credential"), skipped("paused", "operator", None)], 502),
        ([FAILED], [], 502),
        ([UpstreamRateLimited("slow down")], [skipped("limited", "rate_limited")], 429),
        ([UpstreamTimeout("first_byte", 1.0), UpstreamTimeout("connect", 1.0)], [], 504),
        ([BUSY, BUSY], [skipped("circuit_open")], 503),
        ([BUSY, FAILED], [], 502),
    ],
)
def test_of_several_failures_the_most_useful_is_told(errors: list[UpstreamError], passed_over: list[Skipped], status: int) -> None:
    error = told([("one", error) for error in errors], passed_over)
    assert error is not None
    assert error.status == status


@pytest.mark.parametrize(
    ("said", "passed_over_for_s", "told_s"),
    [((1.0, 60.0), None, 1.0), ((60.0, 30.0), 5.0, 5.0), ((30.0,), 5.0, 5.0), ((None, 30.0), None, None), ((None,), 30.0, None)],
)
def test_who_has_too_much_to_do_is_asked_again_as_soon_as_one_of_them_takes_it(
    said: tuple[float | None, ...], passed_over_for_s: float | None, told_s: float | None
) -> None:
    errors = [UpstreamOverloaded("busy", retry_after_s=wait_s) for wait_s in said]
    error = told([("one", error) for error in errors], [skipped("limited", "", passed_over_for_s)])
    assert isinstance(error, UpstreamOverloaded)
    assert error.retry_after_s == told_s


def test_nothing_is_told_of_nothing() -> None:
    assert told([], [skipped("busy")]) is None


@pytest.mark.parametrize("upstream", ["anthropic", "openai_chat"])
@pytest.mark.parametrize(("dialect", "status"), [("anthropic", 529), ("openai_chat", 503), ("openai_responses", 503), ("gemini", 503)])
async def test_that_upstreams_have_too_much_to_do_has_the_status_by_which_clients_of_the_dialect_know_it(
    upstream: str, dialect: str, status: int
) -> None:
    bench = Bench(("one", upstream), ("two", upstream))
    for adapter, upstream_status in zip(bench.adapters, (503, 529), strict=True):
        adapter.replies(b'{"error": {"type": "overloaded_error", "message": "Overloaded"}}', status=upstream_status)
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}], "input": "hello", "contents": CONTENTS}
    target = "m:generateContent" if dialect == "gemini" else ""
    client = await bench.send(json.dumps(body).encode(), dialect, target=target)
    assert (client.status, bench.record.status, bench.record.attempts) == (status, status, 2)
    assert bench.record.error_code == "upstream_overloaded"
    if dialect == "anthropic":
        assert json.loads(client.body)["error"]["type"] == "overloaded_error"


async def test_what_an_upstream_repeats_of_its_key_is_not_told() -> None:
    bench = Bench(ONE)
    bench.adapters[0].credential = StaticSecret("", "sk-canary-key")
    failing(bench.adapters[0], 400, error={"message": "not for sk-canary-key"})
    client = await bench.send(chat())
    assert (client.status, error_of(client)["message"]) == (400, "not for …")


BROKEN: dict[str, tuple[str, dict[str, object]]] = {
    "openai_chat": ("", {"error": {"message": "not for sk-canary-key"}}),
    "anthropic": ("event: error\n", {"type": "error", "error": {"type": "api_error", "message": "not for sk-canary-key"}}),
    "openai_responses": ("event: error\n", {"type": "error", "code": "x", "message": "not for sk-canary-key", "param": None}),
    "gemini": ("", {"error": {"code": 500, "status": "INTERNAL", "message": "not for sk-canary-key"}}),
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("dialect", list(BROKEN))
async def test_nor_is_it_in_a_stream_of_the_clients_own_dialect(dialect: str, whole: bool) -> None:
    bench = Bench(("one", dialect))
    bench.adapters[0].credential = StaticSecret("", "sk-canary-key")
    event, said = BROKEN[dialect]
    frame = f"{event}data: {json.dumps(said)}\n\n".encode()
    bench.adapters[0].streams(begun(dialect) + (frame if whole else frame[:-2]))
    target = "gemini-2.5-flash:streamGenerateContent" if dialect == "gemini" else ""
    client = await bench.send(asking(dialect), dialect, target=target)
    # A response that has begun is over with `response.failed`: what is in front of it is ours, too.
    times = 4 if dialect == "openai_responses" else 1
    assert (client.status, client.body.find(b"canary"), client.body.count("not for …".encode())) == (200, -1, times)


@pytest.mark.parametrize("dialect", list(BROKEN))
async def test_nor_in_what_only_the_client_may_be_able_to_read(dialect: str) -> None:
    bench = Bench(("one", dialect))
    bench.adapters[0].credential = StaticSecret("", "sk-canary-key")
    frame = b"data: not for sk-canary-key\n\n"
    bench.adapters[0].streams(begun(dialect) + frame)
    target = "gemini-2.5-flash:streamGenerateContent" if dialect == "gemini" else ""
    client = await bench.send(asking(dialect), dialect, target=target)
    assert (client.status, client.body.find(b"canary")) == (200, -1)
    assert client.body.find("not for …".encode()) > 0


async def test_a_text_that_has_what_a_header_of_ours_has_stays_as_it_is() -> None:
    bench = Bench(("one", "openai_responses"))
    bench.adapters[0].credential = StaticSecret("", "our-company")
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    told = begun("openai_responses")
    for kind, field in (("response.output_text.delta", "delta"), ("response.output_text.done", "text")):
        told += f"event: {kind}\ndata: {json.dumps({'type': kind, **at, field: 'our-company'})}\n\n".encode()
    bench.adapters[0].streams(told)
    client = await bench.send(asking("openai_responses"), "openai_responses")
    assert client.body.startswith(told)


async def test_a_response_that_failed_is_told_in_its_own_words_without_the_key() -> None:
    bench = Bench(("one", "openai_responses"))
    bench.adapters[0].credential = StaticSecret("", "sk-canary-key")
    event, said = BROKEN["openai_responses"]
    why = {"code": "x", "message": "not for sk-canary-key"}
    failed = {"type": "response.failed", "response": {"id": "r", "status": "failed", "output": [], "error": why, "own": 1}}
    told = f"{event}data: {json.dumps(said)}\n\nevent: response.failed\ndata: {json.dumps(failed)}\n\n"
    bench.adapters[0].streams(begun("openai_responses") + told.encode())
    client = await bench.send(asking("openai_responses"), "openai_responses")
    assert client.body.endswith(told.replace("sk-canary-key", "…").encode())


async def test_what_a_second_upstream_says_of_the_request_is_told_whatever_the_first_one_failed_with() -> None:
    bench = Bench(ONE, TWO)
    failing(bench.adapters[0], 500)
    failing(bench.adapters[1], 400)
    assert (await bench.send(chat())).status == 400
    bench.adapters[0].refuses(UpstreamUnavailable("refused"))
    bench.adapters[1].streams(begun("openai_chat"), UpstreamTimeout("silence", 60.0))
    await bench.send(chat(stream=True))
    assert bench.record.error_code == "timeout", "nor is a reply that broke off one that nobody began"


async def test_what_only_another_account_may_have_is_looked_for_there_and_held_against_nobody() -> None:
    bench = Bench(("one", "gemini"), ("two", "gemini"))
    own = bench.gateway.fleet.stands["m"] = Stand(Takeover(error_ratio=0.1, min_calls=1), "m")
    for adapter in bench.adapters:
        failing(adapter, 403, error={"message": "You do not have permission to access the File f or it may not exist."})
    assert ((await bench.send(chat())).status, bench.record.attempts, states(bench), own.takeover.active) == (403, 2, ["active"] * 2, False)


async def test_what_an_upstream_repeats_of_a_header_that_was_added_is_taken_out() -> None:
    bench = Bench(ONE, terms=Terms(timeouts=Timeouts(), withheld=(StaticSecret("", "canary-of-a-header"),)))
    failing(bench.adapters[0], 400, error={"message": "no canary-of-a-header"})
    assert error_of(await bench.send(chat()))["message"] == "no …"


async def test_a_thread_that_is_lost_takes_the_model_from_nobody() -> None:
    bench = Bench(("one", "anthropic"), ("two", "anthropic"))
    failing(bench.adapters[0], 404, error={"type": "not_found_error", "details": {"error_code": "thread_not_found"}})
    client = await bench.send(chat(max_tokens=5, thread={"type": "continue", "previous_message_id": "msg_1"}), dialect="anthropic")
    assert (client.status, error_of(client)["details"]) == (404, {"error_code": "thread_not_found"})
    assert (len(bench.adapters[1].calls), states(bench)) == (0, ["active", "active"])


@pytest.mark.parametrize("another_has_it", [True, False])
async def test_a_file_that_one_account_does_not_have_is_asked_of_the_others_and_held_against_nobody(another_has_it: bool) -> None:
    bench = Bench(("one", "gemini"), ("two", "gemini"))
    gone = "You do not have permission to access the File abc or it may not exist."
    failing(bench.adapters[0], 403, error={"message": gone, "status": "PERMISSION_DENIED"})
    if another_has_it:
        bench.adapters[1].replies(b'{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}]}')
    else:
        failing(bench.adapters[1], 403, error={"message": gone, "status": "PERMISSION_DENIED"})
    part = {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}
    client = await bench.send(json.dumps({"contents": [{"parts": [part]}]}).encode(), dialect="gemini", target="m:generateContent")
    assert (client.status, len(bench.adapters[1].calls)) == (200 if another_has_it else 403, 1)
    assert another_has_it or error_of(client)["message"] == gone
    assert states(bench) == ["active", "active"]


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "told"),
    [
        (401, None, None, "false"),
        (429, "insufficient_quota", None, "false"),
        (429, "insufficient_quota", "3600", "false"),
        (429, "insufficient_quota", "20", None),
        (429, None, None, None),
        (503, None, None, None),
    ],
)
async def test_clients_do_not_ask_again_where_the_account_at_the_upstream_is_at_fault(
    status: int, code: str | None, retry_after: str | None, told: str | None
) -> None:
    bench = Bench(ONE)
    headers = {"retry_after": retry_after} if retry_after is not None else {}
    bench.adapters[0].replies(json.dumps({"error": {"message": "no", "code": code}}).encode(), status=status, **headers)
    assert (await bench.send(chat())).headers.get("x-should-retry") == told


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [(401, None, (502, "upstream_authentication")), (429, "insufficient_quota", (429, "upstream_quota_exhausted"))],
)
async def test_what_is_at_fault_at_all_upstreams_is_told_alike_when_it_is_seen_and_while_it_is_held(
    status: int, code: str | None, told: tuple[int, str]
) -> None:
    bench = Bench(ONE, TWO)
    for adapter in bench.adapters:
        adapter.replies(json.dumps({"error": {"message": "no", "code": code}}).encode(), status=status, retry_after="3600")
    seen, held = [await bench.send(chat()) for _ in range(2)]
    assert bench.record.attempts == 0
    for client in (seen, held):
        assert (client.status, error_of(client)["code"], client.headers.get("x-should-retry")) == (*told, "false")


FAILING = [
    {"type": "response.created", "response": {"id": "resp_theirs", "status": "in_progress", "output": []}},
    {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "a"},
    {"type": "error", "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "x", "param": None}},
]


@pytest.mark.parametrize("dialect", ["openai_responses", "openai_chat"])
@pytest.mark.parametrize("pings", [0, 9])
async def test_who_has_told_of_a_failure_and_tells_no_more_is_not_waited_for(dialect: str, pings: int) -> None:
    bench = Bench(("own", "openai_responses"))
    began_s = bench.clock()
    bench.adapters[0].streams(*map(sse, FAILING), *[step for _ in range(pings) for step in (Pause(0.5), b": ping\n\n")], Pause(100.0))
    asked = b'{"model": "m", "input": "hi", "stream": true}' if dialect == "openai_responses" else chat(stream=True)
    client = await bench.send(asked, dialect)
    assert bench.clock() - began_s < 3.0
    assert bench.record.error_code == "upstream_quota_exhausted"
    if dialect == "openai_responses":
        assert [event["type"] for event in events(client)][-3:] == ["error", "error", "response.failed"]
    else:
        assert "error" in events(client)[-1]


@pytest.mark.parametrize("rest", [[Pause(100.0)], [UpstreamUnavailable("reset")], []])
async def test_a_failure_before_any_content_is_the_one_that_was_told_at_once(rest: list[Step]) -> None:
    bench = Bench(("own", "openai_responses"), TWO)
    began_s = bench.clock()
    bench.adapters[0].streams(sse(FAILING[0]), sse(FAILING[2]), *rest)
    bench.adapters[1].streams(sse(ROLE, delta("b"), delta(finish="stop"), DONE))
    client = await bench.send(b'{"model": "m", "input": "hi", "stream": true}', "openai_responses")
    assert bench.clock() - began_s < 3.0
    assert outcomes(bench) == [("own", "upstream_quota_exhausted"), ("two", "ok")]
    assert events(client)[-1]["type"] == "response.completed"


async def test_an_error_that_is_the_last_frame_without_its_blank_line_fails_to_the_end() -> None:
    bench = Bench(("own", "openai_responses"))
    bench.adapters[0].streams(*map(sse, FAILING[:2]), sse(FAILING[2])[:-2])
    client = await bench.send(b'{"model": "m", "input": "hi", "stream": true}', "openai_responses")
    assert [event["type"] for event in events(client)][2:] == ["error", "error", "response.failed"]


async def test_a_failure_behind_what_looked_like_the_end_is_one() -> None:
    bench = Bench(("one", "gemini"))
    failure: dict[str, Any] = {"error": {"code": 500, "status": "INTERNAL", "message": "x"}}
    bench.adapters[0].streams(sse(gemini({"text": "a"}, finish="STOP")), sse(failure))
    await bench.send(b'{"contents": []}', "gemini", target="gemini-2.5-flash:streamGenerateContent")
    assert bench.record.error_code is not None
