"""Calls to the upstream that a crew of stand-ins makes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fkproxy.adapters.codex import CodexCli, Crew, Limits
from fkproxy.adapters.codex import adapter as module
from fkproxy.model.errors import (
    FkproxyError,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamProtocolError,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamUnavailable,
)
from fkproxy.model.parts import Reasoning
from tests.adapters.codex import playing
from tests.adapters.codex.playing import (
    ASK,
    TOOLS,
    answered,
    ask,
    calls_of,
    directories,
    drained,
    heard,
    is_gone,
    send,
    text_of,
    until,
    upstream,
)

Make = Callable[..., CodexCli]


@pytest.fixture
async def make(tmp_path: Path, tidy: None) -> AsyncIterator[Make]:
    """Upstreams whose crews are closed at the end, when nothing is left of any call."""
    made: list[Crew] = []

    def one(nature: str = "", *, tool_wait_s: float = 100.0, own_tools: bool = False, **limits: Any) -> CodexCli:
        made.append(playing.crew(tmp_path / "home", nature, **limits))
        return upstream(made[-1], tool_wait_s=tool_wait_s, own_tools=own_tools)

    yield one
    for children in made:
        await children.aclose()
        assert directories(children) == []


async def settled(cli: CodexCli) -> None:
    """Turns that nobody waits for any more have been ended."""
    await until(lambda: all(not server._tasks and not server.turns for server in cli.crew.servers))


def thought_and_text(reply: Any) -> list[str]:
    return [type(part).__name__ for part in reply.choices[0].parts]


# --- plain turns


async def test_a_plain_turn(make: Make) -> None:
    cli = make()
    reply = await ask(cli, "says")
    assert text_of(reply) == "Hello from the child."
    assert reply.choices[0].reason == "stop"
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.reasoning_tokens) == (11, 7, 2)
    await settled(cli)
    assert directories(cli.crew) == []
    assert await heard(cli.crew) == [
        *("initialize", "initialized", "thread/start", "thread/inject_items", "turn/start", "thread/unsubscribe", "fake/heard")
    ]


async def test_many_at_once_hear_of_themselves_only(make: Make) -> None:
    cli = make(processes=2, turns=8)
    asked = [[{"role": "user", "content": f"number {number}"}] for number in range(12)]
    replies = await asyncio.gather(*(ask(cli, "echo-slow", messages) for messages in asked))
    said = [json.loads(text_of(reply))["items"][0]["content"][0]["text"] for reply in replies]
    assert said == [f"number {number}" for number in range(12)]
    assert len(cli.crew.servers) == 2
    taken = [await cli.crew.take() for _ in range(16)]
    with pytest.raises(UpstreamOverloaded):
        await ask(cli, "says")
    for server in taken:
        cli.crew.give_back(server)


async def test_what_the_child_is_told_and_where_it_is(make: Make) -> None:
    cli = make()
    system = {"role": "system", "content": "Be brief."}
    told = json.loads(text_of(await ask(cli, "echo", [system, ASK], tools=TOOLS[:1])))
    assert told["baseInstructions"] == "Be brief."
    assert [tool["name"] for tool in told["dynamicTools"]] == ["f"]
    assert (told["sandbox"], told["approvalPolicy"], told["files"]) == ("read-only", "never", [])
    assert Path(told["cwd"]).parent == cli.crew.servers[0].directory
    other = json.loads(text_of(await ask(cli, "echo")))
    assert other["cwd"] != told["cwd"]
    assert told["asked"]["input"] == []


async def test_the_childs_environment_holds_none_of_our_secrets(tmp_path: Path, tidy: None) -> None:
    secrets = {"OPENAI_API_KEY": "sk-1", "APP_CLIENT_KEYS": "sk-2", "GOOGLE_API_KEY": "AIza", "PYTHONPATH": "/x", "LD_PRELOAD": ""}
    environ = {**secrets, "PATH": playing.PATH, "LANG": "C.UTF-8", "VENDOR_KEY": "for the child", "HOME": "/elsewhere"}
    command = playing.command(tmp_path / "home", environ=environ, environment=("VENDOR_KEY", "MISSING"))
    children = Crew(command, Limits(), "1")
    told = json.loads(text_of(await ask(upstream(children), "echo")))["environment"]
    await children.aclose()
    made_by_the_interpreter = {"LC_CTYPE"}
    assert set(told) - made_by_the_interpreter == {"PATH", "LANG", "VENDOR_KEY", "HOME", "CODEX_HOME", "CODEX_SQLITE_HOME"}
    assert told["HOME"] == told["CODEX_HOME"] == str(tmp_path / "home")


async def test_thoughts_are_told_apart_and_sealed(make: Make) -> None:
    reply = await ask(make(), "thinks-says")
    assert thought_and_text(reply) == ["Reasoning", "Text"]
    (thought, _) = reply.choices[0].parts
    assert isinstance(thought, Reasoning)
    assert thought.text == "First part.\n\nSecond part."
    assert thought.seal is not None
    assert thought.seal.data.startswith("sealed by ")


async def test_an_approval_that_nobody_can_give_is_declined(make: Make) -> None:
    assert json.loads(text_of(await ask(make(), "approval"))) == {"decision": "decline"}


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        ("fails", UpstreamOverloaded, "The vendor has much to do."),
        ("unlucky", UpstreamFailed, "something went wrong"),
        ("retries", UpstreamUnavailable, "stream disconnected"),
        ("exits", UpstreamUnavailable, "the child ended"),
        ("garbage", UpstreamProtocolError, "broke its protocol"),
        ("huge", UpstreamProtocolError, "broke its protocol"),
        ("oddly", UpstreamProtocolError, "not what its protocol says"),
    ],
)
async def test_how_calls_fail(make: Make, model: str, kind: type[FkproxyError], words: str) -> None:
    cli = make()
    with pytest.raises(kind, match=words):
        await ask(cli, model)
    await settled(cli)
    assert text_of(await ask(cli, "says")) == "Hello from the child."
    broke = model in ("exits", "garbage", "huge")
    assert cli.crew.restarts == (1 if broke else 0)


async def test_one_calls_misfortune_is_not_the_others(make: Make) -> None:
    cli = make(processes=1)
    other = asyncio.create_task(ask(cli, "echo-slow"))
    await until(lambda: cli.crew.servers and cli.crew.servers[0].threads)
    with pytest.raises(UpstreamProtocolError):
        await ask(cli, "oddly")
    with pytest.raises(UpstreamUnavailable):
        await ask(cli, "retries")
    assert text_of(await other).startswith("{")


async def test_a_child_that_breaks_takes_its_calls_with_it_and_no_other(make: Make) -> None:
    cli = make(processes=2, turns=1)
    silent = [await send(cli, "silent") for _ in range(2)]
    assert all([await leg.head(30.0) for leg in silent])
    first, second = cli.crew.servers
    os.kill(first.process.pid, 9)
    with pytest.raises(UpstreamUnavailable):
        await drained(silent[0])
    assert second.lost is None
    for leg in silent:
        leg.close()
    await settled(cli)


async def test_a_tool_that_is_reserved_by_the_child_is_none_of_the_clients_worry(make: Make) -> None:
    tools = [{"type": "function", "function": {"name": "mcp__files__read"}}]
    reply = await ask(make(), "tools1", tools=tools)
    assert [call.name for call in calls_of(reply)] == ["mcp__files__read"]


@pytest.mark.parametrize("there", [True, False])
async def test_a_child_whose_directory_is_gone_is_replaced(make: Make, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    cli = make()
    await ask(cli, "says")
    await settled(cli)
    (directory := cli.crew.servers[0].directory).rename(f"{directory}-away")
    directory.write_text("in the way")
    if not there:  # or may not be looked for: root may, and a name that is too long is as good
        monkeypatch.setattr(cli.crew.servers[0], "directory", Path("/", "x" * 256))
    with pytest.raises(UpstreamUnavailable, match="working directory"):
        await ask(cli, "says")
    await ask(cli, "says")
    await settled(cli)
    assert (cli.crew.restarts, [server.turns for server in cli.crew.servers]) == (1, [0])
    directory.unlink()


# --- calls that leave


async def test_a_call_that_leaves_before_the_head_interrupts(make: Make) -> None:
    cli = make()
    (await send(cli, "silent")).close()
    await settled(cli)
    assert (await heard(cli.crew))[-3:-1] == ["turn/interrupt", "thread/unsubscribe"]
    assert directories(cli.crew) == []


async def test_a_call_that_leaves_in_the_middle_interrupts(make: Make) -> None:
    cli = make()
    leg = await send(cli, "long")
    assert await leg.head(30.0)
    while b"word" not in (await leg.chunk(30.0) or b""):
        pass
    assert len(directories(cli.crew)) == 1
    leg.close()
    leg.close()
    await settled(cli)
    assert (await heard(cli.crew))[-3:-1] == ["turn/interrupt", "thread/unsubscribe"]
    assert (directories(cli.crew), cli.crew.servers[0].threads) == ([], {})


async def test_a_client_that_does_not_read_loses_its_turn(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.adapters.codex.turn._MAX_WAITING_BYTES", 100_000)
    cli = make()
    leg = await send(cli, "long")
    assert await leg.head(30.0)
    await until(lambda: not cli.crew.servers[0].threads)
    with pytest.raises(UpstreamUnavailable, match="too slowly"):
        await drained(leg)
    leg.close()
    await settled(cli)
    assert text_of(await ask(cli, "says")) == "Hello from the child."


# --- tools


@pytest.mark.parametrize("nature", ["", "bare"])
@pytest.mark.parametrize(("model", "count"), [("tools1", 1), ("tools2", 2), ("thinks-tools3", 3), ("tools2-serially", 2)])
async def test_a_turn_waits_for_tools_and_goes_on(make: Make, nature: str, model: str, count: int) -> None:
    cli = make(nature)
    messages: list[Any] = [ASK]
    reply = await ask(cli, model, messages, tools=TOOLS)
    serial = nature == "bare" and "serially" in model
    for _ in range(2 if serial else 1):
        assert reply.choices[0].reason == "tool_calls"
        # Without raw items the order is that in which the child gets round to it.
        names = [call.name for call in calls_of(reply)]
        assert (sorted(names) if nature else names) == (["f", "g", "h"][:count] if not serial else [["f", "g"][len(messages) // 2]])
        assert all(json.loads(call.arguments) for call in calls_of(reply))
        assert cli.crew.servers[0].turns == 0
        messages = answered(messages, reply)
        reply = await ask(cli, model, messages, tools=TOOLS)
    given = sorted(result["contentItems"][0]["text"] for answer in json.loads(text_of(reply)) for result in answer)
    assert given == (["18C 0", "18C 0"] if serial else [f"18C {number}" for number in range(count)])
    await settled(cli)
    assert (await heard(cli.crew)).count("turn/start") == 1
    assert directories(cli.crew) == []


async def test_several_rounds_of_one_turn(make: Make) -> None:
    cli = make()
    messages: list[Any] = [ASK]
    for name in ("f", "g", "h"):
        reply = await ask(cli, "tools3-rounds", messages, tools=TOOLS)
        assert [call.name for call in calls_of(reply)] == [name]
        messages = answered(messages, reply, given=name)
    reply = await ask(cli, "tools3-rounds", messages, tools=TOOLS)
    assert [answer[0]["contentItems"][0]["text"] for answer in json.loads(text_of(reply))] == ["f 0", "g 0", "h 0"]
    await settled(cli)
    assert (await heard(cli.crew)).count("turn/start") == 1


async def test_a_waiting_turn_takes_no_place(make: Make) -> None:
    cli = make(processes=1, turns=1)
    first = await ask(cli, "tools1", tools=TOOLS)
    second = await ask(cli, "tools1", [{"role": "user", "content": "else"}], tools=TOOLS)
    assert len(cli._paused) == 2
    assert "18C 0" in text_of(await ask(cli, "tools1", answered([ASK], first), tools=TOOLS))
    assert "18C 0" in text_of(await ask(cli, "tools1", answered([{"role": "user", "content": "else"}], second), tools=TOOLS))


EDITS: dict[str, Callable[[list[Any], dict[str, Any]], None]] = {
    "another caller": lambda messages, more: more.update(caller="another"),
    "an edited question": lambda messages, more: messages.__setitem__(0, {"role": "user", "content": "edited"}),
    "an earlier message more": lambda messages, more: messages.insert(0, {"role": "user", "content": "before"}),
    "other instructions": lambda messages, more: messages.insert(0, {"role": "system", "content": "Be brief."}),
    "other tools": lambda messages, more: more.update(tools=TOOLS[:1]),
    "another effort": lambda messages, more: more.update(reasoning_effort="high"),
    "another result": lambda messages, more: messages.append({"role": "tool", "tool_call_id": "call_x", "content": "x"}),
    "a result without its call": lambda messages, more: messages.pop(),
    "an edited call": lambda messages, more: messages[1]["tool_calls"][0]["function"].update(arguments='{"edited": true}'),
    "another tool called": lambda messages, more: messages[1]["tool_calls"][0]["function"].update(name="h"),
    "a message after the results": lambda messages, more: messages.append(ASK),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_what_is_not_the_same_conversation_starts_afresh(make: Make, edit: str) -> None:
    cli = make()
    reply = await ask(cli, "tools2", tools=TOOLS)
    messages, more = answered([ASK], reply), {"tools": TOOLS}
    if edit == "another result":
        messages[1]["tool_calls"].append({"id": "call_x", "type": "function", "function": {"name": "f", "arguments": "{}"}})
    EDITS[edit](messages, more)
    again = await ask(cli, "tools2", messages, **more)
    assert again.choices[0].reason == "tool_calls"
    await until(lambda: not any(server._tasks for server in cli.crew.servers))
    methods = await heard(cli.crew)
    assert methods.count("turn/start") == 2
    # One whose results do not match at all may still be answered.
    unmatched = ("another caller", "another result", "a result without its call", "a message after the results")
    found = edit not in unmatched
    assert methods.count("turn/interrupt") == (1 if found else 0)
    assert len(cli._paused) == (1 if found else 2)


async def test_another_callers_call_ids_are_not_enough(make: Make) -> None:
    """And the one who was asked still gets his answer."""
    cli = make()
    reply = await ask(cli, "tools1", tools=TOOLS, caller="mine")
    messages = answered([ASK], reply)
    stranger = await ask(cli, "tools1", messages, tools=TOOLS, caller="stranger")
    assert stranger.choices[0].reason == "tool_calls"
    assert "18C 0" in text_of(await ask(cli, "tools1", messages, tools=TOOLS, caller="mine"))


@pytest.mark.parametrize("model", ["unknown", "unreadable"])
async def test_a_call_that_the_child_answers_itself_is_the_clients_all_the_same(make: Make, model: str) -> None:
    cli = make()
    reply = await ask(cli, f"{model}-waits", tools=TOOLS)
    (call,) = calls_of(reply)
    assert reply.choices[0].reason == "tool_calls"
    assert (call.name, call.arguments) == (("nobody_offered_this", call.arguments) if model == "unknown" else ("f", '{"city": '))
    await settled(cli)
    assert "turn/interrupt" in await heard(cli.crew)
    assert cli._paused == {}
    again = await ask(cli, "echo", answered([ASK], reply), tools=TOOLS)
    assert [item["type"] for item in json.loads(text_of(again))["items"]] == ["message", "function_call", "function_call_output"]


async def test_nobody_waits_for_ever(make: Make) -> None:
    cli = make(tool_wait_s=0.01)
    reply = await ask(cli, "tools1", tools=TOOLS)
    await until(lambda: not cli._paused)
    await settled(cli)
    assert (await heard(cli.crew))[-3:-1] == ["turn/interrupt", "thread/unsubscribe"]
    assert directories(cli.crew) == []
    assert (await ask(cli, "tools1", answered([ASK], reply), tools=TOOLS)).choices[0].reason == "tool_calls"
    await until(lambda: not cli._paused)


async def test_the_one_that_waits_longest_goes_when_there_are_too_many(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._MOST_PAUSED == 200
    monkeypatch.setattr(module, "_MOST_PAUSED", 3)
    cli = make()
    asked = [[{"role": "user", "content": str(number)}] for number in range(5)]
    replies = [await ask(cli, "tools1", messages, tools=TOOLS) for messages in asked]
    assert len(cli._paused) == 3
    await settled(cli)
    assert (await heard(cli.crew)).count("turn/interrupt") == 2
    assert len(directories(cli.crew)) == 3
    assert "18C 0" in text_of(await ask(cli, "tools1", answered(asked[4], replies[4]), tools=TOOLS))
    assert (await ask(cli, "tools1", answered(asked[0], replies[0]), tools=TOOLS)).choices[0].reason == "tool_calls"


async def test_a_child_that_is_lost_takes_its_waiting_turns_with_it(make: Make) -> None:
    cli = make()
    reply = await ask(cli, "tools1", tools=TOOLS)
    (paused,) = cli._paused.values()
    pid = cli.crew.servers[0].process.pid
    os.kill(pid, 9)
    await until(lambda: not cli._paused and directories(cli.crew) == [])
    assert paused.timer.cancelled()
    again = await ask(cli, "echo", answered([ASK], reply), tools=TOOLS)
    assert len(json.loads(text_of(again))["items"]) == 3


async def test_a_turn_that_the_child_ended_meanwhile_does_not_go_on(make: Make) -> None:
    cli = make()
    reply = await ask(cli, "tools1", tools=TOOLS)
    (paused,) = cli._paused.values()
    await paused.turn.server.request("turn/interrupt", {"threadId": paused.turn._thread_id, "turnId": paused.turn._turn_id})
    await until(lambda: paused.turn.state == "over")
    again = await ask(cli, "tools1", answered([ASK], reply), tools=TOOLS)
    assert again.choices[0].reason == "tool_calls"
    await until(lambda: len(directories(cli.crew)) == 1)
    await cli.crew.aclose()
    assert directories(cli.crew) == []


async def test_turns_that_wait_leave_nothing_when_the_crew_is_closed(make: Make) -> None:
    cli = make()
    await ask(cli, "tools1", tools=TOOLS)
    await cli.aclose()
    assert len(cli._paused) == 1
    await cli.crew.aclose()
    assert (cli._paused, directories(cli.crew)) == ({}, [])


async def test_a_worn_child_serves_what_waits_for_its_tools(make: Make) -> None:
    cli = make(calls=1)
    reply = await ask(cli, "tools1", tools=TOOLS)
    worn = cli.crew.servers[0]
    cli.crew._look_after(worn)
    assert worn.leaving
    assert worn in cli.crew.servers
    assert "18C 0" in text_of(await ask(cli, "tools1", answered([ASK], reply), tools=TOOLS))
    await until(lambda: not worn.threads and not worn.turns)
    cli.crew._look_after(worn)
    await until(lambda: is_gone(worn.process.pid, 0.0))


async def test_the_clients_tools_are_told_from_the_childs_own(make: Make) -> None:
    cli = make(own_tools=True)
    reply = await ask(cli, "tools1", tools=TOOLS)
    assert [call.name for call in calls_of(reply)] == ["f"]
    reply = await ask(cli, "unknown", tools=TOOLS)
    assert (calls_of(reply), text_of(reply)) == ([], '[["unsupported call"]]')


# --- besides calls


async def test_the_models_of_the_child_are_listed_page_by_page(make: Make) -> None:
    cli = make()
    assert [(entry.id, entry.owned_by) for entry in await cli.list_models()] == [(f"fake-{number}", "codex") for number in range(1, 6)]
    assert cli.crew.servers[0].turns == 0


async def test_a_login_is_looked_for_where_one_is_needed(make: Make, tmp_path: Path) -> None:
    cli = make()
    await cli.verify()
    assert cli.credential.describe(0.0).state == "active"
    other = make("signed-out")
    with pytest.raises(UpstreamRefusedCredential, match="codex login"):
        await other.verify()
    assert other.credential.describe(0.0).state == "reauth_required"
    assert other.crew.servers[0].turns == 0
    assert (await cli.credential.token(0.0), await cli.credential.renew("", 0.0), cli.credential.renewable) == ("", False, False)


async def test_what_is_no_list_of_models_and_no_account_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = make()
    server = await cli.crew.take()
    cli.crew.give_back(server)

    async def odd(method: str, params: Any) -> bytes:
        return b'["odd"]'

    monkeypatch.setattr(server, "request", odd)
    for asking in (cli.list_models, cli.verify):
        with pytest.raises(UpstreamProtocolError):
            await asking()
    monkeypatch.undo()
    assert server.turns == 0


async def test_a_refusal_of_the_child_is_told_in_its_words(make: Make) -> None:
    cli = make()
    server = await cli.crew.take()
    cli.crew.give_back(server)
    with pytest.raises(UpstreamRejected, match="reserved"):
        await server.request("thread/start", {"dynamicTools": [{"name": "mcp__x"}]})
    assert text_of(await ask(cli, "says", tools=TOOLS)) == "Hello from the child."


async def test_a_process_of_the_childs_own_goes_with_it(make: Make) -> None:
    cli = make()
    pid = int(text_of(await ask(cli, "forks")))
    assert not is_gone(pid, 0.0)
    await cli.crew.aclose()
    assert is_gone(pid)


@pytest.mark.parametrize(("limit_mb", "at_once"), [(80, False), (40, True)])
async def test_a_child_that_grows_is_replaced(make: Make, limit_mb: int, at_once: bool) -> None:
    cli = make(memory_bytes=limit_mb * 1024 * 1024)
    await ask(cli, "says")
    grown = cli.crew.servers[0]
    cli.crew._look_after(grown)
    assert not grown.leaving
    await ask(cli, "grows")
    cli.crew._look_after(grown)
    assert (grown.leaving, grown.lost is not None) == (not at_once, at_once)
    await until(lambda: any(server is not grown for server in cli.crew.servers))
    assert text_of(await ask(cli, "says")) == "Hello from the child."
