"""Streams that do not come as they should, told from both ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fkproxy.adapters.base import Timeouts
from fkproxy.call import StreamPolicy
from fkproxy.dialects import DIALECTS
from fkproxy.dialects.gemini.response_encode import BROKEN_OFF
from fkproxy.model.errors import UpstreamProtocolError, UpstreamUnavailable
from fkproxy.wire.late_event import BEGINNING
from tests.fakes.pipeline import Bench, Hang, ListClient, Pause, ScriptedExchange, Step
from tests.test_gateway import CHAT, DONE, GEMINI, ROLE, SECOND, USAGE, chat, completion, delta, events, gemini, sse

ERROR = {"error": {"message": "overloaded", "type": "server_error", "code": 503}}


def told(bench: Bench) -> tuple[str | None, list[str]]:
    """What is written down of the failure: in the call's record, and for each attempt."""
    return bench.record.error_code, [attempt.outcome for attempt in bench.record.tries]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
async def test_an_error_without_its_blank_line_comes_once_and_in_a_frame_of_its_own(end: bytes) -> None:
    bench = Bench(CHAT)
    bench.adapters[0].streams(sse(ROLE, delta("a")), sse(ERROR)[:-2] + end)
    client = await bench.send(chat(stream=True))
    assert events(client) == [ROLE, delta("a"), ERROR]
    assert client.body.startswith(sse(ROLE, delta("a"), ERROR)[:-2])
    assert client.body.endswith(b"\n\n")
    assert told(bench) == ("upstream_overloaded", ["upstream_overloaded"])


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_what_follows_on_a_last_frame_without_its_blank_line_is_a_frame_of_its_own(end: bytes) -> None:
    bench = Bench(CHAT)
    bench.adapters[0].streams(sse(ROLE, delta("a")), sse(delta("b"))[:-2] + end)
    client = await bench.send(chat(stream=True))
    *content, error = client.body.removesuffix(b"\n\n").split(b"\n\n")
    assert b"\n\n".join(content) + b"\n\n" == sse(ROLE, delta("a"), delta("b"))
    assert error.startswith(b'data: {"error":')
    assert told(bench) == ("upstream_protocol_error", ["upstream_protocol_error"])


async def test_a_last_frame_without_its_blank_line_is_delivered() -> None:
    bench = Bench(CHAT)
    body = sse(ROLE, delta("a"), delta(finish="stop"), DONE)
    bench.adapters[0].streams(body[:-2])
    client = await bench.send(chat(stream=True))
    assert client.body == body
    assert told(bench) == (None, ["ok"])


def cut_messages() -> bytes:
    start = {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": []}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}
    return b"".join(b"event: %s\ndata: %s\n\n" % (str(each["type"]).encode(), json.dumps(each).encode()) for each in (start, block, piece))


@pytest.mark.parametrize(
    ("dialect", "body", "whole", "rest"),
    [
        ("openai_chat", chat(stream=True), sse(ROLE, delta("a")), sse(delta("b"))[:90]),
        ("openai_chat", chat(stream=True), sse(ROLE, delta("a")), b'data: {"choices":[{"index":0,"delta":{"content":"b"}'),
        ("openai_chat", chat(stream=True), sse(ROLE, delta("a")), b"data: "),
        ("anthropic", chat(stream=True, max_tokens=9), cut_messages(), b'event: content_block_delta\ndata: {"type":"content_block_del'),
        ("anthropic", chat(stream=True, max_tokens=9), cut_messages(), b"event: content_block_delta\nda"),
        ("gemini", b'{"contents": []}', sse(gemini({"text": "Hello"}, finish=None)), b'data: {"candidates":[{"con'),
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
async def test_half_a_frame_is_kept_back_and_its_stream_has_failed(
    dialect: str, body: bytes, whole: bytes, rest: bytes, pieces: int
) -> None:
    bench = Bench(("own", dialect))
    bench.adapters[0].streams(*((whole + rest,) if pieces == 1 else (whole, rest)))
    client = await bench.send(body, dialect, **({"target": "m:streamGenerateContent", "query": "alt=sse"} if dialect == "gemini" else {}))
    assert client.body.startswith(whole)
    error, _, left = client.body.removeprefix(whole).partition(b"\n\n")
    assert left == (b": broken off" if dialect == "gemini" else b"")
    assert "before the reply was complete" in str(json.loads(error.partition(b"data: ")[2]))
    assert told(bench) == ("upstream_protocol_error", ["upstream_protocol_error"])


async def test_a_response_that_began_in_the_upstreams_words_fails_under_the_id_that_it_has() -> None:
    bench = Bench(("own", "openai_responses"))
    head = {"id": "resp_theirs", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": []}
    piece = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "a"}
    bench.adapters[0].streams(sse({"type": "response.created", "response": head}, piece))
    client = await bench.send(b'{"model": "m", "input": "hi", "stream": true}', "openai_responses")
    *passed, raised, failed = events(client)
    assert [event["type"] for event in passed] == ["response.created", "response.output_text.delta"]
    assert (raised["type"], raised["error"]["code"], raised["code"]) == ("error", "server_error", "server_error")
    assert (failed["type"], failed["response"]["id"]) == ("response.failed", "resp_theirs")
    assert failed["response"]["status"] == "failed"
    assert told(bench) == ("upstream_protocol_error", ["upstream_protocol_error"])


async def test_a_response_that_failed_while_it_was_awaited_begins_and_fails_in_our_words() -> None:
    bench = Bench(("own", "openai_responses"), stream=StreamPolicy(commit_after_s=1.0))
    head = {"id": "resp_theirs", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": []}
    bench.adapters[0].streams(sse({"type": "response.created", "response": head}), Pause(5.0))
    client = await bench.send(b'{"model": "m", "input": "hi", "stream": true}', "openai_responses")
    told_of = events(client)
    assert [event["type"] for event in told_of] == ["response.created", "response.in_progress", "error", "response.failed"]
    assert len({event["response"]["id"] for event in told_of if "response" in event} - {"resp_theirs"}) == 1


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("ends", ["told", "untold", "broken off"])
async def test_a_response_that_failed_is_told_to_its_end(ends: str, in_pieces: bool) -> None:
    bench = Bench(("own", "openai_responses"))
    head = {"id": "resp_theirs", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": []}
    piece = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "a"}
    raised = {"type": "error", "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "x", "param": None}}
    why = {"code": "insufficient_quota", "message": "x"}
    usage = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    failed = {"type": "response.failed", "response": {**head, "status": "failed", "error": why, "usage": usage}}
    said = [sse(each) for each in ({"type": "response.created", "response": head}, piece, raised, *([failed] if ends == "told" else []))]
    broken = [UpstreamUnavailable("reset")] if ends == "broken off" else []
    bench.adapters[0].streams(*(said if in_pieces else [b"".join(said)]), *broken)
    client = await bench.send(b'{"model": "m", "input": "hi", "stream": true}', "openai_responses")
    assert client.body.startswith(b"".join(said))
    if ends == "told":
        assert client.body == b"".join(said)
        assert bench.record.usage is not None
        assert bench.record.usage.output_tokens == 1
    assert events(client)[-1]["type"] == "response.failed"
    assert told(bench)[0] == "upstream_quota_exhausted"


def named(*values: dict[str, object]) -> bytes:
    """Events under the names that are their types."""
    return b"".join(b"event: %s\ndata: %s\n\n" % (str(value["type"]).encode(), json.dumps(value).encode()) for value in values)


MESSAGE = {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": []}}
THOUGHT = {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}
FULL = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": []}
CREATED = {"type": "response.created", "response": RESPONSE}
BROKEN = {"type": "response.failed", "response": {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "x"}}}
UNAVAILABLE = {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        ("openai_chat", sse(ERROR)),
        ("openai_chat", b": a comment\n\n" + sse(ROLE, delta(""), ERROR)),
        ("openai_chat", b"event: error\n" + sse({"error": "boom"})),
        ("openai_chat", sse({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}], **ERROR})),
        ("anthropic", named(FULL)),
        ("anthropic", named(MESSAGE, THOUGHT, {"type": "ping"}, FULL)),
        ("anthropic", b"event: error\n" + sse({"error": FULL["error"]})),
        ("openai_responses", named({"type": "error", "code": "server_error", "message": "x", "param": None})),
        ("openai_responses", named(CREATED, BROKEN)),
        ("gemini", sse(UNAVAILABLE)),
        ("gemini", sse({"usageMetadata": {"promptTokenCount": 3}}, UNAVAILABLE)),
    ],
)
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_an_error_before_any_content_goes_to_another_upstream(dialect: str, said: bytes, in_pieces: bool) -> None:
    bench = Bench(("one", dialect), ("two", dialect))
    bench.adapters[0].streams(*([frame + b"\n\n" for frame in said.split(b"\n\n")[:-1]] if in_pieces else [said]))
    bench.adapters[1].streams(b"")
    body = b'{"contents": []}' if dialect == "gemini" else chat(stream=True, max_tokens=9, input="hi")
    client = await bench.send(body, dialect, **({"target": "m:streamGenerateContent", "query": "alt=sse"} if dialect == "gemini" else {}))
    assert len(bench.adapters[1].calls) == 1
    assert client.status == 502, "and nothing of the first one's was sent"


async def test_half_a_frame_before_any_content_goes_to_another_upstream() -> None:
    bench = Bench(CHAT, SECOND)
    good = sse(ROLE, delta("a"), delta(finish="stop"), DONE)
    bench.adapters[0].streams(sse(ROLE), sse(delta("b"))[:40])
    bench.adapters[1].streams(good)
    client = await bench.send(chat(stream=True))
    assert client.body == good
    assert told(bench) == (None, ["upstream_protocol_error", "ok"])


UNREADABLE = sse({"choices": "of another kind"})


def slowly(piece: bytes) -> list[Step]:
    """Three of them, one a minute."""
    return [Pause(60.0), piece, Pause(60.0), piece, Pause(60.0), piece]


async def test_behind_a_frame_that_we_cannot_read_the_upstreams_error_counts() -> None:
    bench = Bench(CHAT)
    body = sse(ROLE, delta("a")) + UNREADABLE + sse(delta("b"), ERROR)
    bench.adapters[0].streams(body)
    client = await bench.send(chat(stream=True))
    assert client.body == body
    assert told(bench) == ("upstream_overloaded", ["upstream_overloaded"])


COMPACT = json.dumps(delta("b"), separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "behind",
    [sse(delta("b")), sse(COMPACT), sse(COMPACT, COMPACT, COMPACT), sse(b"{not json"), sse(COMPACT) + UNREADABLE + sse(COMPACT)],
)
async def test_behind_a_frame_that_we_cannot_read_a_cut_counts(behind: bytes) -> None:
    bench = Bench(CHAT)
    body = sse(ROLE, delta("a"), COMPACT, COMPACT) + UNREADABLE
    bench.adapters[0].streams(body, behind)
    client = await bench.send(chat(stream=True))
    assert client.body.startswith(body + behind + b'data: {"error":')
    assert told(bench) == ("upstream_protocol_error", ["upstream_protocol_error"])


async def test_behind_a_frame_that_we_cannot_read_a_reply_may_not_stall() -> None:
    bench = Bench(CHAT, timeouts=Timeouts(stall_s=100.0))
    bench.adapters[0].streams(sse(ROLE, delta("a")) + UNREADABLE, *slowly(b": alive\n\n"))
    client = await bench.send(chat(stream=True))
    assert b"alive" in client.body
    assert told(bench) == ("timeout", ["timeout"])


async def test_frames_that_we_cannot_read_are_content_all_the_same() -> None:
    bench = Bench(CHAT, timeouts=Timeouts(stall_s=100.0), stream=StreamPolicy(keep_alive_s=100.0))
    bench.adapters[0].streams(UNREADABLE, *slowly(UNREADABLE), sse(DONE))
    client = await bench.send(chat(stream=True))
    assert client.body == UNREADABLE * 4 + sse(DONE)
    assert told(bench) == (None, ["ok"])


@pytest.mark.parametrize("end", [sse(DONE), b"", b": bye\n\n"])
async def test_a_frame_that_we_cannot_read_may_have_told_the_end(end: bytes) -> None:
    bench = Bench(CHAT)
    body = sse(ROLE, delta("a"), delta("b")) + UNREADABLE + end
    bench.adapters[0].streams(body)
    client = await bench.send(chat(stream=True))
    assert client.body == body
    assert told(bench) == (None, ["ok"])


@pytest.mark.parametrize(
    ("dialect", "body", "last"), [("openai_chat", chat(stream=True), sse(DONE)), ("gemini", b'{"contents": []}', sse(gemini()))]
)
async def test_behind_a_frame_that_we_cannot_read_a_stream_is_kept_alive(dialect: str, body: bytes, last: bytes) -> None:
    bench = Bench(("own", dialect))
    strange = sse({"choices": "of another kind", "candidates": "of another kind"})
    bench.adapters[0].streams(strange, Pause(15.0), last, Pause(15.0) if dialect == "gemini" else b"")
    client = await bench.send(body, dialect, **({"target": "m:streamGenerateContent", "query": "alt=sse"} if dialect == "gemini" else {}))
    assert client.body == strange + DIALECTS[dialect].keep_alive + last


async def test_behind_a_frame_that_we_cannot_read_nothing_is_counted() -> None:
    bench = Bench(CHAT)
    body = sse(ROLE, delta("a"), USAGE) + UNREADABLE + sse(delta(finish="stop"), USAGE, DONE)
    bench.adapters[0].streams(body)
    client = await bench.send(chat(stream=True, stream_options={"include_usage": True}))
    assert client.body == body
    assert (bench.record.usage, bench.record.finish_reason) == (None, None)
    assert told(bench) == (None, ["ok"])


async def test_a_last_frame_that_nobody_can_read_changes_nothing_of_a_whole_reply() -> None:
    bench = Bench(GEMINI)
    body = sse(gemini({"text": "Hello"}), DONE)
    bench.adapters[0].streams(body)
    client = await bench.send(b'{"contents": []}', "gemini", target="m:streamGenerateContent", query="alt=sse")
    assert client.body == body
    assert bench.record.usage is None
    assert told(bench) == (None, ["ok"])


@pytest.mark.parametrize("pieces", [1, 2])
async def test_what_came_before_a_bad_frame_is_translated_and_told_before_the_error(pieces: int) -> None:
    bench = Bench(GEMINI)
    good = sse(gemini({"text": "Hello"}, finish=None), gemini({"text": " world"}, finish=None))
    bad = sse(b"{not json", gemini({"text": "!"}))
    bench.adapters[0].streams(*((good + bad,) if pieces == 1 else (good[:-9], good[-9:] + bad)))
    client = await bench.send(chat(stream=True))
    *content, error = events(client)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in content) == "Hello world"
    assert error["error"]["code"] == "upstream_protocol_error"
    assert told(bench) == ("upstream_protocol_error", ["upstream_protocol_error"])


async def test_a_bad_frame_before_any_content_goes_to_another_upstream() -> None:
    bench = Bench(GEMINI, SECOND)
    good = sse(ROLE, delta("a"), delta(finish="stop"), DONE)
    bench.adapters[0].streams(sse(gemini(finish=None), b"{not json"))
    bench.adapters[1].streams(good)
    client = await bench.send(chat(stream=True))
    assert client.body == good
    assert told(bench) == (None, ["upstream_protocol_error", "ok"])


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
async def test_googles_error_without_data_is_told_once_and_held_against_the_upstream(ending: str, array: bool) -> None:
    bench = Bench(("own", "gemini"))
    piece = {"candidates": [{"content": {"parts": [{"text": "a"}], "role": "model"}}]}
    error = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "busy"}}
    bench.adapters[0].streams(f"data: {json.dumps(piece)}\n\n{json.dumps(error, indent=2)}{ending}".encode())
    target = f"m:streamGenerateContent{'' if array else '?alt=sse'}"
    path, _, query = target.partition("?")
    client = await bench.send(b'{"contents": [{"role": "user", "parts": [{"text": "x"}]}]}', "gemini", target=path, query=query)
    assert client.body.count(b'"error"') == 1
    assert (b'data: {"error"' in client.body) is array, "only what is data has a place in an array"
    assert told(bench) == ("upstream_overloaded", ["upstream_overloaded"])


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\n", b""])
async def test_behind_an_error_of_googles_own_stands_what_stands_behind_ours(end: bytes) -> None:
    bench = Bench(("own", "gemini"))
    piece, error = sse(gemini({"text": "Hello"}, finish=None)), sse(UNAVAILABLE).removesuffix(b"\n\n")
    bench.adapters[0].streams(piece, error + end)
    client = await bench.send(b'{"contents": []}', "gemini", target="m:streamGenerateContent", query="alt=sse")
    assert client.body.startswith(piece + error + end)
    assert client.body.removeprefix(piece + error).lstrip() == BROKEN_OFF
    assert told(bench) == ("upstream_overloaded", ["upstream_overloaded"])


async def test_a_reply_that_may_end_at_any_time_begins_no_further_event() -> None:
    bench = Bench(("own", "gemini"))
    said, last = sse(gemini({"text": "Hello"}, finish=None)), sse(gemini({"text": "."}))
    bench.adapters[0].streams(said, Pause(15.0), last, Pause(35.0), b": bye\n\n", Pause(15.0))
    client = await bench.send(b'{"contents": []}', "gemini", target="m:streamGenerateContent", query="alt=sse")
    assert client.body == said + BEGINNING + last + b": bye\n\n"
    assert told(bench) == (None, ["ok"])


@pytest.mark.parametrize("dialect", ["gemini", "openai_chat"])
@pytest.mark.parametrize("end", [Pause(1000.0), UpstreamUnavailable("reset"), UpstreamProtocolError("no chunk")])
async def test_a_reply_that_lacks_nothing_but_its_end_ends_well(end: Step, dialect: str) -> None:
    bench = Bench(("own", "gemini"))
    reply = sse(gemini({"text": "Hello"}, finish=None), gemini({"text": "."}))
    bench.adapters[0].streams(reply, Pause(end.seconds) if isinstance(end, Pause) else end)
    if dialect == "gemini":
        client = await bench.send(b'{"contents": []}', "gemini", target="m:streamGenerateContent", query="alt=sse")
        assert client.body == reply
    else:
        client = await bench.send(chat(stream=True))
        *_, last, done = events(client)
        assert (last["choices"][0]["finish_reason"], done) == ("stop", DONE.decode())
    assert client.finished
    assert told(bench) == (None, ["ok"])
    assert bench.record.response_bytes == len(client.body)


async def test_a_reply_that_lacks_nothing_but_its_end_does_not_stall() -> None:
    bench = Bench(("own", "gemini"), timeouts=Timeouts(stall_s=100.0))
    bench.adapters[0].streams(sse(gemini({"text": "Hello."})), *slowly(b": alive\n\n"))
    client = await bench.send(chat(stream=True))
    *_, last, done = events(client)
    assert (last["choices"][0]["finish_reason"], done) == ("stop", DONE.decode())
    assert told(bench) == (None, ["ok"])
    assert bench.record.response_bytes == len(client.body)


async def test_an_error_behind_a_reply_that_lacks_nothing_but_its_end_is_one() -> None:
    bench = Bench(("own", "gemini"), timeouts=Timeouts(stall_s=100.0))
    bench.adapters[0].streams(sse(gemini({"text": "Hello."})), Pause(60.0), b": alive\n\n", Pause(60.0), sse(ERROR))
    client = await bench.send(chat(stream=True))
    assert "error" in events(client)[-1]
    assert told(bench)[0] is not None


@pytest.mark.parametrize("begin", [gemini({"text": "Hello"}), {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}])
async def test_where_more_came_behind_an_end_the_next_may_not_be_it_either(begin: Any) -> None:
    bench = Bench(("own", "gemini"))
    bench.adapters[0].streams(sse(begin), sse(gemini({"text": " wor"})), UpstreamUnavailable("reset"))
    client = await bench.send(chat(stream=True))
    assert "error" in events(client)[-1]
    assert told(bench)[0] is not None


async def test_a_reply_of_nothing_that_breaks_off_is_asked_for_elsewhere() -> None:
    bench = Bench(("own", "gemini"), ("other", "gemini"))
    bench.adapters[0].streams(sse({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}), UpstreamUnavailable("reset"))
    bench.adapters[1].streams(sse(gemini({"text": "Hello."})))
    client = await bench.send(chat(stream=True))
    assert b"Hello." in client.body
    assert told(bench) == (None, ["bad_gateway", "ok"])


@pytest.mark.parametrize(
    "rest", [b'data: {"candidates": [{"con', sse({"candidates": [{"index": 1, "content": {"parts": []}}]}), sse({"candidates": 7})]
)
async def test_a_reply_that_lacks_more_than_its_end_is_cut(rest: bytes) -> None:
    bench = Bench(("own", "gemini"))
    bench.adapters[0].streams(sse(gemini({"text": "Hello."})) + rest, UpstreamUnavailable("reset"))
    client = await bench.send(b'{"contents": []}', "gemini", target="m:streamGenerateContent", query="alt=sse")
    assert b'"error"' in client.body
    assert told(bench)[0] is not None


async def test_while_one_of_several_answers_is_not_said_the_next_event_may_begin() -> None:
    bench = Bench(("own", "gemini"))
    both, second = gemini({"text": "a"}), gemini({"text": "b"})
    both["candidates"].append({"index": 1, "content": {"role": "model", "parts": [{"text": "b"}]}})
    second["candidates"][0]["index"] = 1
    bench.adapters[0].streams(sse(both), Pause(15.0), sse(second), Pause(15.0))
    client = await bench.send(b'{"contents": []}', "gemini", target="m:streamGenerateContent", query="alt=sse")
    assert client.body == sse(both) + BEGINNING + sse(second)


async def test_behind_the_beginning_of_an_event_googles_error_without_data_is_one() -> None:
    bench = Bench(("own", "gemini"))
    piece = sse(gemini({"text": "Hello"}, finish=None))
    bench.adapters[0].streams(piece, Pause(15.0), b": bye\n\n" + json.dumps(UNAVAILABLE, indent=2).encode())
    client = await bench.send(b'{"contents": []}', "gemini", target="m:streamGenerateContent", query="alt=sse")
    error, _, left = client.body.removeprefix(piece + BEGINNING + b": bye\n\n").partition(b"\n\n")
    assert json.loads(error.removeprefix(b"data: "))["error"]["status"] == "UNAVAILABLE"
    assert left == BROKEN_OFF
    assert told(bench) == ("upstream_overloaded", ["upstream_overloaded"])


async def test_a_redirect_is_no_reply() -> None:
    bench = Bench(CHAT, SECOND)
    bench.adapters[0].replies(completion(), status=302)
    bench.adapters[1].replies(completion())
    assert (await bench.send(chat())).status == 200
    assert told(bench) == (None, ["upstream_error", "ok"])


async def test_a_whole_reply_that_we_cannot_read_is_no_stream() -> None:
    bench = Bench(CHAT, SECOND)
    good = sse(ROLE, delta("a"), delta(finish="stop"), DONE)
    bench.adapters[0].replies(b'{"choices":"of another kind"}')
    bench.adapters[1].streams(good)
    client = await bench.send(chat(stream=True))
    assert (client.body, told(bench)) == (good, (None, ["upstream_protocol_error", "ok"]))


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("too_large", "outcome"), [(False, "ok"), (True, "upstream_protocol_error")])
async def test_a_reply_that_is_too_large_is_given_up(monkeypatch: pytest.MonkeyPatch, at_once: bool, too_large: bool, outcome: str) -> None:
    body = completion()
    monkeypatch.setattr("fkproxy.relay._MAX_REPLY_BYTES", len(body) - too_large)
    if at_once:
        monkeypatch.setattr(ScriptedExchange, "at_once", lambda self: body)
    bench = Bench(CHAT)
    bench.adapters[0].replies(body[:100], body[100:200], body[200:])
    client = await bench.send(chat())
    assert (client.status, [attempt.outcome for attempt in bench.record.tries]) == (502 if too_large else 200, [outcome])


async def test_what_is_held_before_the_first_content_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.relay._MAX_HELD_BYTES", 100)
    bench = Bench(CHAT)
    hang = Hang()
    bench.adapters[0].streams(*[b": not yet\n\n"] * 20, hang)
    client = ListClient(chat(stream=True))
    task = asyncio.create_task(bench.gateway.serve(bench.call(), client))
    await hang.reached.wait()
    assert client.body == b": not yet\n\n" * 20
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_of_functions_hears_of_a_call_in_its_own_words_whoever_made_it(stream: bool) -> None:
    bench = Bench(GEMINI)
    said = gemini({"functionCall": {"name": "f", "args": {"x": 1}}})
    bench.adapters[0].streams(sse(said)) if stream else bench.adapters[0].replies(json.dumps(said).encode())
    client = await bench.send(chat(stream=stream, functions=[{"name": "f", "parameters": {"type": "object", "properties": {}}}]))
    choices = [event["choices"][0] for event in (events(client)[:-1] if stream else [json.loads(client.body)])]
    assert choices[-1]["finish_reason"] == "function_call"
    told_of = [choice.get("delta", choice.get("message")).get("function_call", {}) for choice in choices]
    assert [word.get("name") for word in told_of if word.get("name")] == ["f"]
    assert json.loads("".join(word.get("arguments", "") for word in told_of)) == {"x": 1}
    assert bench.record.finish_reason == "tool_calls"


async def test_who_goes_on_behind_the_end_of_its_reply_is_not_listened_to_for_long() -> None:
    bench = Bench(CHAT)
    body = sse(ROLE, delta("a"), delta(finish="stop"), DONE)
    bench.adapters[0].streams(body, *[step for _ in range(20) for step in (Pause(0.3), b": ping\n\n")])
    client = await bench.send(chat(stream=True))
    assert (client.body, told(bench)) == (body, (None, ["ok"]))
    assert bench.record.duration_ms == pytest.approx(1000)
