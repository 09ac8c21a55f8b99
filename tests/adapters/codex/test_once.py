"""A process for each call: what it is started with, what its events become, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path
from typing import Any

import pytest

from fkproxy.adapters.base import Exchange, UpstreamCall
from fkproxy.adapters.codex import CodexOnce, Options, command_of
from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.dialects.codex import DIALECT
from fkproxy.model.errors import (
    FkproxyError,
    Unrepresentable,
    UpstreamFailed,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamSpawnFailed,
    UpstreamUnavailable,
)
from fkproxy.model.events import Failed, collect
from fkproxy.model.parts import Reasoning, Text

CHAT = DIALECTS["openai_chat"]
USAGE = {"input_tokens": 11, "cached_input_tokens": 2, "output_tokens": 7, "reasoning_output_tokens": 1}
SAID = (
    {"type": "thread.started", "thread_id": "t"},
    {"type": "item.completed", "item": {"id": "item_0", "type": "error", "message": "a warning"}},
    {"type": "turn.started"},
    {"type": "item.completed", "item": {"id": "item_1", "type": "reasoning", "text": "First I think."}},
    {"type": "item.completed", "item": {"id": "item_2", "type": "agent_message", "text": "The answer is 42."}},
    {"type": "turn.completed", "usage": USAGE},
)


class Program:
    """A stand-in: notes what it was given, and says what it is to say."""

    def __init__(self, directory: Path, *lines: dict[str, Any], then: str = "") -> None:
        self.home = directory / "home"
        self.arguments, self.input, self.words = directory / "arguments", directory / "input", directory / "instructions"
        said = directory / "said"
        said.write_text("".join(json.dumps(line) + "\n" for line in lines))
        program = directory / "codex"
        program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" > {self.arguments}\ncat > {self.input}\ncp instructions.md {self.words}\ncat {said}\n{then}\n'
        )
        program.chmod(0o755)
        options = Options(binary=str(program), home=self.home, directory=self.home / "calls", model="gpt-5")
        self.upstream = CodexOnce(
            command_of(options, {}), provider_key="once", models=("*",), name="", model=options.model, sandbox=options.sandbox
        )

    async def send(self, model: str = "default", **body: Any) -> Exchange:
        raw = json.dumps({"model": model, "messages": [{"role": "user", "content": "What?"}], **body}).encode()
        plan = DIALECT.encode_request(CHAT.decode_request(raw, Peek(model=model)), model).body
        return await self.upstream.send(UpstreamCall(model=model, stream=False, body=plan, request_id="r"))

    async def ask(self, model: str = "default", **body: Any) -> list[Any]:
        exchange = await self.send(model, **body)
        reply = b""
        try:
            assert await exchange.head(30)
            while (piece := await exchange.chunk(30)) != b"":
                reply += piece or b""
        finally:
            exchange.close()
            await self.upstream.aclose()
        assert not list((self.home / "calls").iterdir())
        assert self.upstream.children.processes == 0
        return DIALECT.decode_reply(reply)


async def test_what_it_says_is_a_reply(tmp_path: Path) -> None:
    reply = collect(await Program(tmp_path, *SAID).ask())
    assert [type(part) for part in reply.choices[0].parts] == [Reasoning, Text]
    assert [getattr(part, "text", "") for part in reply.choices[0].parts] == ["First I think.", "The answer is 42."]
    assert reply.choices[0].reason == "stop"
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cached_input_tokens) == (11, 7, 2)


async def test_it_is_told_the_words_of_the_client_and_none_of_them_in_its_arguments(tmp_path: Path) -> None:
    program = Program(tmp_path, *SAID)
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}}
    await program.ask(
        "default(high)",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which colour?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "colour", "strict": True, "schema": schema}},
    )
    arguments = program.arguments.read_text().splitlines()
    assert program.input.read_text() == "Which colour?"
    assert program.words.read_text() == "Be brief."
    assert arguments[0] == "exec"
    assert arguments[-1] == "-"
    assert {"--json", "--ephemeral", "--output-schema", 'model_reasoning_effort="high"', "features.shell_tool=false"} <= set(arguments)
    assert "--model=gpt-5" in arguments
    assert not [each for each in arguments if "colour" in each or "brief" in each]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]},
        {"messages": [{"role": "assistant", "content": "b"}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]},
    ],
    ids=["earlier turns", "no question", "tools", "an image"],
)
async def test_more_than_one_message_is_refused(tmp_path: Path, body: dict[str, Any]) -> None:
    program = Program(tmp_path, *SAID)
    with pytest.raises(Unrepresentable):
        await program.ask(**body)
    assert not program.arguments.exists()


@pytest.mark.parametrize("model", ["gpt-5\0-mini", "gpt-5\n", "m" * 257])
async def test_what_is_no_name_is_no_models(tmp_path: Path, model: str) -> None:
    program = Program(tmp_path, *SAID)
    with pytest.raises(UpstreamModelMissing):
        await program.ask(model)
    assert list((program.home / "calls").iterdir()) == []
    assert not program.arguments.exists()


async def test_a_name_is_never_an_option(tmp_path: Path) -> None:
    program = Program(tmp_path, *SAID)
    await program.ask("--oss")
    assert "--model=--oss" in program.arguments.read_text().splitlines()


@pytest.mark.parametrize(("text", "kind"), [("", Unrepresentable), (" \n", Unrepresentable), ("é" * (2**20 + 1), UpstreamRejected)])
async def test_a_message_that_the_program_would_refuse_is_not_its_failure(tmp_path: Path, text: str, kind: type[FkproxyError]) -> None:
    program = Program(tmp_path, *SAID)
    with pytest.raises(kind) as caught:
        await program.ask(messages=[{"role": "user", "content": text}])
    assert caught.value.status == 400
    assert not program.arguments.exists()


async def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(tmp_path, *SAID)

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UpstreamSpawnFailed) as caught:
        await program.ask()
    assert caught.value.why.endswith(": No space left on device")
    assert list((program.home / "calls").iterdir()) == []


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("exceeded retry limit, last status: 429 Too Many Requests, request id: r", UpstreamRateLimited),
        ("You’ve hit your usage limit. Try again later.", UpstreamQuotaExhausted),
        ("Quota exceeded. Check your plan and billing details.", UpstreamQuotaExhausted),
        ("Codex ran out of room in the model's context window.", UpstreamRejected),
        ("Selected model is at capacity. Please try a different model.", UpstreamOverloaded),
        ("stream disconnected before completion", UpstreamFailed),
    ],
)
async def test_a_turn_that_failed_is_told_by_what_its_words_say(tmp_path: Path, message: str, kind: type[FkproxyError]) -> None:
    events = await Program(tmp_path, *SAID[:3], {"type": "turn.failed", "error": {"message": message}}).ask()
    assert isinstance(events[-1], Failed)
    assert type(events[-1].error) is kind


@pytest.mark.parametrize(
    ("lines", "then", "kind"),
    [
        ((), "echo cannot write here >&2; exit 3", UpstreamSpawnFailed),
        (SAID[:4], "exit 3", UpstreamUnavailable),
        (SAID[:4], "kill -9 $$", UpstreamUnavailable),
    ],
    ids=["at once", "in the middle", "killed"],
)
async def test_one_that_ends_early_is_told(tmp_path: Path, lines: tuple[dict[str, Any], ...], then: str, kind: type[FkproxyError]) -> None:
    program = Program(tmp_path, *lines, then=then)
    with pytest.raises(kind) as raised:
        await program.ask()
    if isinstance(raised.value, UpstreamSpawnFailed):
        assert "exit code 3" in raised.value.why
        assert "cannot write here" in raised.value.why


async def test_one_that_ends_before_it_was_told_everything_says_why(tmp_path: Path) -> None:
    program = Program(tmp_path)
    (tmp_path / "codex").write_text("#!/bin/sh\necho no such option >&2\nexit 2\n")
    with pytest.raises(UpstreamSpawnFailed) as caught:
        await program.ask(messages=[{"role": "user", "content": "word " * 100_000}])
    assert caught.value.why == "exit code 2; it said: no such option"


async def test_who_leaves_ends_it(tmp_path: Path) -> None:
    program = Program(tmp_path, *SAID[:3], then="sleep 1000")
    exchange = await program.send()
    while not await exchange.chunk(30):
        pass
    assert program.upstream.children.processes == 1
    exchange.close()
    await program.upstream.aclose()
    assert program.upstream.children.processes == 0
    assert not list((program.home / "calls").iterdir())


async def test_who_stops_waiting_for_its_end_leaves_nothing(tmp_path: Path) -> None:
    program = Program(tmp_path, *SAID[:3], then="sleep 1000")
    exchange = await program.send()
    exchange.close()
    closing = asyncio.create_task(program.upstream.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await program.upstream.aclose()
    assert program.upstream.children.processes == 0
    assert not list((program.home / "calls").iterdir())
