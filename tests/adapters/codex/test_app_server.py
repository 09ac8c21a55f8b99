"""What is said with a child, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from fkproxy.adapters.codex.app_server import read_reply
from fkproxy.model.errors import (
    FkproxyError,
    UpstreamError,
    UpstreamFailed,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from tests.adapters.codex.playing import WAIT_S, until
from tests.adapters.codex.scripted import Scripted


class Listener:
    """See `app_server.Thread`."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.losses: list[UpstreamError] = []

    def heard(self, method: str, request_id: int | str | None, line: bytes, params: bytes) -> None:
        self.told.append((method, request_id))

    def lost(self, error: UpstreamError) -> None:
        self.losses.append(error)


@pytest.fixture
async def server(tidy: None) -> AsyncIterator[Scripted]:
    server = Scripted()
    yield server
    await server.aclose(0.0)


@pytest.mark.parametrize(
    ("agent", "version"),
    [
        ("fkproxy/0.169.0 (Debian 12.0.0; x86_64) xterm (fkproxy; 0.1)", "0.169.0"),
        ("codex_cli_rs/1.0.0-alpha.3 (Linux)", "1.0.0"),
        ("codex", ""),
    ],
)
async def test_the_handshake_tells_the_version(server: Scripted, agent: str, version: str) -> None:
    server.script.replies["initialize"] = {"result": {"userAgent": agent}}
    await server.shake_hands("1.2.3", WAIT_S)
    assert server.version == version
    assert server.script.methods() == ["initialize", "initialized"]
    assert server.script.told[0]["params"]["clientInfo"]["version"] == "1.2.3"
    assert server.script.told[0]["params"]["capabilities"] == {"experimentalApi": True}
    assert server.script.settled


@pytest.mark.parametrize("result", [None, [], "hello", {"userAgent": 1}])
async def test_a_handshake_that_is_none_is_refused(server: Scripted, result: Any) -> None:
    server.script.replies["initialize"] = {"result": result}
    with pytest.raises(UpstreamProtocolError):
        await server.shake_hands("1", WAIT_S)
    assert not server.script.settled


async def test_a_handshake_may_take_as_long_as_its_caller_says(server: Scripted) -> None:
    server.script.replies.clear()
    with pytest.raises(UpstreamTimeout) as caught:
        await server.shake_hands("1", 0.01)
    assert caught.value.after_s == 0.01


@pytest.mark.parametrize(
    ("error", "kind", "status", "code"),
    [
        ({"code": -32600, "message": "no such tool"}, UpstreamRejected, 400, "invalid_request_error"),
        ({"code": -32602, "message": "no such tool"}, UpstreamRejected, 400, "invalid_request_error"),
        ({"code": -32603, "message": "no such tool"}, UpstreamFailed, 502, None),
        ({"code": -32601, "message": "no such tool"}, UpstreamFailed, 502, None),
        ({"code": -1, "message": ""}, UpstreamFailed, 502, None),
    ],
)
async def test_a_refusal_is_told_in_the_childs_words_and_not_in_its_numbers(
    server: Scripted, error: Any, kind: type[FkproxyError], status: int, code: str | None
) -> None:
    server.script.replies["thread/start"] = {"error": error}
    with pytest.raises(UpstreamError) as caught:
        await server.request("thread/start", {})
    assert type(caught.value) is kind
    assert (caught.value.status, getattr(caught.value, "native_code", None)) == (status, code)
    assert error["message"] in str(caught.value)
    assert "-326" not in str(caught.value)
    assert server.lost is None


async def test_answers_find_those_who_asked(server: Scripted) -> None:
    server.script.replies.clear()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(server.request("x", {})) for _ in range(3)]
        await until(lambda: len(server.script.told) == 3)
        ids = [message["id"] for message in server.script.told]
        assert len(set(ids)) == 3
        server.script.say({"id": 999, "result": 0})
        server.script.say({"id": "x", "result": 0})
        for number in reversed(ids):
            server.script.say({"id": number, "result": number})
            server.script.say({"id": number, "result": "again"})
    assert [int(bytes(task.result())) for task in asked] == ids


async def test_a_child_that_does_not_answer_is_ended_and_everybody_is_told(server: Scripted) -> None:
    server.script.replies.clear()
    listener = Listener()
    server.threads["t1"] = listener
    other = asyncio.create_task(server.request("x", {}))
    with pytest.raises(UpstreamTimeout):
        await server.request("thread/start", {}, 0.01)
    with pytest.raises(UpstreamTimeout):
        await other
    assert server.script.killed
    assert isinstance(listener.losses[0], UpstreamTimeout)
    assert (server.threads, server.endings) == ({}, 1)
    with pytest.raises(UpstreamTimeout):
        await server.request("x", {})


async def test_one_who_does_not_wait_any_more_ends_nothing(server: Scripted) -> None:
    server.script.replies.clear()
    asked = asyncio.create_task(server.request("x", {}))
    await until(lambda: server.script.told)
    asked.cancel()
    await asyncio.wait((asked,))
    server.script.say({"id": server.script.told[0]["id"], "result": 1})
    server.script.replies["initialize"] = {"result": {}}
    await server.settled()
    assert server.lost is None


async def test_a_child_that_ended_is_told_so_by_its_input_too(server: Scripted) -> None:
    server.script.ended_unheard = True
    with pytest.raises(UpstreamUnavailable, match="the child ended"):
        await server.request("x", {})
    assert server.script.killed


async def test_a_child_that_does_not_read_is_ended(server: Scripted) -> None:
    server.script.reads = False
    with pytest.raises(UpstreamUnavailable, match="does not read"):
        await server.request("x", {})
    assert server.script.killed


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", UpstreamUnavailable),
        (b"What is JSON?\n", UpstreamProtocolError),
        (b"[]", UpstreamProtocolError),
        (b'{"id":{}}', UpstreamProtocolError),
        (b'{"method":7}', UpstreamProtocolError),
        (b"\xff\n", UpstreamProtocolError),
        (ValueError("more than 64 MiB in one line"), UpstreamProtocolError),
        (ConnectionResetError(), UpstreamProtocolError),
    ],
)
async def test_a_child_that_ends_or_speaks_nonsense_is_ended_and_everybody_is_told(
    server: Scripted, said: bytes | Exception, kind: type[UpstreamError]
) -> None:
    server.script.replies.clear()
    listener = Listener()
    server.threads["t1"] = listener
    asked = asyncio.create_task(server.request("x", {}))
    await asyncio.sleep(0)
    server.script.say(said)
    with pytest.raises(kind):
        await asked
    assert [type(error) for error in listener.losses] == [kind]
    assert (server.script.killed, server.endings) == (True, 1)


async def test_each_hears_of_his_own_thread_only(server: Scripted) -> None:
    first, second = Listener(), Listener()
    server.threads |= {"t1": first, "t2": second}
    for thread_id in ("t2", "t1", "t3", None, 7):
        server.script.say({"method": f"said/{thread_id}", "params": {"threadId": thread_id}})
    server.script.say({"method": "account/updated"})
    server.script.say({"method": "said/list", "params": []})
    await server.settled()
    assert (first.told, second.told) == ([("said/t1", None)], [("said/t2", None)])


async def test_one_message_that_cannot_be_read_is_one_threads_misfortune(server: Scripted) -> None:
    class Strict(Listener):
        def heard(self, method: str, request_id: int | str | None, line: bytes, params: bytes) -> None:
            msgspec.json.decode(params, type=dict[str, int])

    first, second = Strict(), Listener()
    server.threads |= {"t1": first, "t2": second}
    server.script.say({"method": "odd", "params": {"threadId": "t1"}})
    server.script.say({"method": "even", "params": {"threadId": "t2"}})
    await server.settled()
    assert [type(error) for error in first.losses] == [UpstreamProtocolError]
    assert second.told == [("even", None)]
    assert (second.losses, server.lost) == ([], None)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("item/commandExecution/requestApproval", {"decision": "decline"}),
        ("item/fileChange/requestApproval", {"decision": "decline"}),
        ("applyPatchApproval", {"decision": "denied"}),
        ("execCommandApproval", {"decision": "denied"}),
        ("mcpServer/elicitation/request", {"action": "decline", "content": None}),
        ("item/tool/requestUserInput", None),
        ("item/permissions/requestApproval", None),
        ("account/chatgptAuthTokens/refresh", None),
        ("attestation/generate", None),
        ("something/of/tomorrow", None),
        ("item/tool/call", None),
    ],
)
@pytest.mark.parametrize("params", [{}, {"threadId": "t1"}, {"threadId": "t9"}])
async def test_nothing_waits_for_an_approval_that_nobody_gives(server: Scripted, method: str, answer: Any, params: Any) -> None:
    listener = Listener()
    server.threads["t1"] = listener
    server.script.say({"id": "r1", "method": method, "params": params})
    await server.settled()
    await server.idle()
    if method == "item/tool/call" and params == {"threadId": "t1"}:
        assert listener.told == [(method, "r1")]
        assert server.script.answers() == {}
    elif answer is not None:
        assert server.script.answers() == {"r1": answer}
    else:
        assert server.script.answers()["r1"]["code"] == -32601


async def test_what_time_it_is_may_be_known(server: Scripted) -> None:
    server.script.say({"id": 5, "method": "currentTime/read", "params": {"threadId": "t1"}})
    await server.settled()
    await server.idle()
    assert server.script.answers()[5]["currentTimeAt"] > 1_700_000_000


async def test_what_is_done_beside_is_done_before_it_is_closed(server: Scripted) -> None:
    done: list[int] = []

    async def tidy_up() -> None:
        try:
            await server.request("thread/unsubscribe", {})
        except UpstreamError:
            for _ in range(20):
                await asyncio.sleep(0)
        finally:
            done.append(1)

    server.threads["t1"] = listener = Listener()
    listener.lost = lambda error: server.spawn(tidy_up())  # type: ignore[method-assign]  # a listener that tidies up
    await server.aclose(0.0)
    assert done == [1]
    await server.aclose(0.0)
    assert server.endings == 1


async def test_a_mistake_of_ours_beside_is_not_swallowed(server: Scripted) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))

    async def mistake() -> None:
        raise KeyError("x")

    async def refused() -> None:
        raise UpstreamUnavailable("gone")

    server.spawn(mistake())
    server.spawn(refused())
    await until(lambda: told)
    assert [type(error) for error in told] == [KeyError]


def test_replies_are_read_or_refused() -> None:
    assert read_reply(msgspec.Raw(b'{"a":1}'), dict) == {"a": 1}
    for raw in (b"null", b"[", b"7"):
        with pytest.raises(UpstreamProtocolError):
            read_reply(msgspec.Raw(raw), dict)
