#!/usr/bin/env python3
"""A stand-in for `codex app-server`: the protocol of Codex CLI 0.169, without a model. Standard library only.

    CODEX_BIN=tests/fakes/codex_child.py fkllmproxy run

What it does in a turn stands in the model's name, words joined by `-`, such as `thinks-tools2`:

    says          'Hello from the child.' in two pieces; what it does where no other word tells it something to say
    echo          what it was told, as JSON: instructions, history, tools, environment, arguments, directory
    long          text until it is interrupted or nobody reads
    thinks        a thought of two parts and its seal
    tools<n>      asks for the first n tools of the client (at most as many as there are), and says what they gave
    serially      asks for the next tool only when the one before is answered
    rounds        asks for one tool in each of several answers of its model
    unknown       asks for a tool that nobody offered
    unreadable    asks for a tool with arguments that are no JSON
    approval      wants a command approved, and says the decision
    slow          0.05 s between two messages
    waits         says nothing more, until it is interrupted, once its tools have given something
    silent        says nothing more once the turn has started
    retries       breaks off within its answer and asks its vendor again
    fails         the turn fails: the vendor is overloaded
    oddly         one message of the turn is not what the protocol says
    exits         ends in the middle of an answer
    garbage       says something that is no JSON
    huge          says 65 MB in one line
    grows         takes 100 MB of memory
    forks         starts a process of its own, whose id it says

How the child is stands in the same words in its variable FAKE_CODEX:

    bare          does not tell the vendor's raw items, as an older release
    deaf          reads nothing after the handshake
    mute          makes no handshake
    odd           makes a handshake that is none
    dying         ends at once, with a complaint on stderr
    rambling      says more with its handshake than its protocol knows
    loud          says a lot on stderr
    stubborn      does not end when its input does
    signed-out    has no login and needs one
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION = "0.169.0"
SELF = set(os.environ.get("FAKE_CODEX", "").split())
MODELS = [{"id": f"fake-{number}", "hidden": False} for number in range(1, 6)]
CATALOGUE = [{"slug": "fake-1", "tool_mode": "code_mode_only", "default_verbosity": "low", "context_window": 272000}]
KIB = 1024
COUNTS = {"totalTokens": 18, "inputTokens": 11, "cachedInputTokens": 3, "cacheWriteInputTokens": 0, "outputTokens": 7}
LONG_PIECE = "word " * 200

_writing = threading.Lock()
_memory: list[bytes] = []


def tell(message: dict[str, Any], more: bytes = b"") -> None:
    """One message on stdout."""
    data = json.dumps(message).encode() + b"\n" + more
    with _writing:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class Interrupted(Exception):
    """The turn is."""


class Turn(threading.Thread):
    """One turn of the model, in a thread of its own."""

    def __init__(self, server: Server, thread: dict[str, Any], turn_id: str, asked: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.thread = thread
        self.id = turn_id
        self.asked = asked
        self.words = set(str(thread.get("model") or "says").split("-"))
        self.interrupted = threading.Event()
        self.number = 0

    def run(self) -> None:
        turn: dict[str, Any] = {"id": self.id, "items": [], "status": "inProgress", "error": None}
        tell({"method": "turn/started", "params": {"threadId": self.thread["id"], "turn": turn}})
        try:
            turn["error"] = self.play()
            turn["status"] = "completed" if turn["error"] is None else "failed"
        except Interrupted:
            turn["status"] = "interrupted"
        tell({"method": "turn/completed", "params": {"threadId": self.thread["id"], "turn": turn}})

    def say(self, method: str, **params: Any) -> None:
        """A notification about this turn."""
        if "slow" in self.words:
            time.sleep(0.05)
        tell({"method": method, "params": {"threadId": self.thread["id"], "turnId": self.id, **params}})

    def ask(self, method: str, **params: Any) -> Any:
        """A request about this turn; what the parent answers."""
        return self.server.ask(self, method, {"threadId": self.thread["id"], "turnId": self.id, **params})

    def wait(self) -> None:
        """Until interrupted."""
        self.interrupted.wait()
        raise Interrupted

    def new_id(self, kind: str) -> str:
        self.number += 1
        return f"{kind}_{self.id}_{self.number}"

    # --- what a turn is made of

    def play(self) -> dict[str, Any] | None:
        """The error of the turn, or None."""
        words = self.words
        if "silent" in words:
            self.wait()
        if "fails" in words:
            return {"message": "The vendor has much to do.", "codexErrorInfo": "serverOverloaded", "additionalDetails": None}
        if "thinks" in words:
            self.think()
        if "oddly" in words:
            self.say("item/agentMessage/delta", itemId=1, delta=[])
            self.say("rawResponseItem/completed", item={"type": 7})
        if "grows" in words:
            _memory.append(b"x" * (100 * KIB * KIB))
        given = [self.use(calls) for calls in self.rounds()]
        if "waits" in words:
            self.wait()
        self.answer(json.dumps(given) if given else self.text())
        return None

    def text(self) -> str:
        """What to say where no tool has given anything."""
        if "approval" in self.words:
            return json.dumps(self.ask("item/commandExecution/requestApproval", itemId="i", command="rm -rf /"))
        if "forks" in self.words:
            return str(subprocess.Popen(["sleep", "600"]).pid)
        if "echo" in self.words:
            told = {
                name: self.thread.get(name) for name in ("baseInstructions", "items", "dynamicTools", "cwd", "sandbox", "approvalPolicy")
            }
            more = {
                "asked": self.asked,
                "environment": dict(os.environ),
                "arguments": sys.argv[1:],
                "files": [path.name for path in Path(self.thread["cwd"]).iterdir()],
            }
            return json.dumps({**told, **more})
        return "Hello from the child."

    def think(self) -> None:
        item_id = self.new_id("rs")
        parts = ["First part.", "Second part."]
        for index, text in enumerate(parts):
            self.say("item/reasoning/summaryPartAdded", itemId=item_id, summaryIndex=index)
            self.say("item/reasoning/summaryTextDelta", itemId=item_id, summaryIndex=index, delta=text)
        self.say("item/completed", item={"type": "reasoning", "id": item_id, "summary": parts, "content": []})
        summary = [{"type": "summary_text", "text": text} for text in parts]
        self.raw({"type": "reasoning", "id": item_id, "summary": summary, "encrypted_content": f"sealed by {item_id}"})

    def answer(self, text: str) -> None:
        item_id = self.new_id("msg")
        self.say("item/started", item={"type": "agentMessage", "id": item_id, "text": ""})
        half = len(text) // 2
        self.say("item/agentMessage/delta", itemId=item_id, delta=text[:half])
        if "exits" in self.words:
            os._exit(3)
        if "garbage" in self.words:
            sys.stdout.buffer.write(b"What is JSON?\n")
            sys.stdout.buffer.flush()
        if "huge" in self.words:
            self.say("item/agentMessage/delta", itemId=item_id, delta="x" * (65 * KIB * KIB))
        while "long" in self.words:
            self.say("item/agentMessage/delta", itemId=item_id, delta=LONG_PIECE)
            if self.interrupted.is_set():
                raise Interrupted
        if "retries" in self.words:
            info = {"responseStreamDisconnected": {"httpStatusCode": None}}
            error = {"message": "Reconnecting... 1/5", "codexErrorInfo": info, "additionalDetails": "stream disconnected"}
            self.say("error", error=error, willRetry=True)
            self.say("item/agentMessage/delta", itemId=item_id, delta=text[:half])
        self.say("item/agentMessage/delta", itemId=item_id, delta=text[half:])
        self.say("item/completed", item={"type": "agentMessage", "id": item_id, "text": text})
        self.raw({"type": "message", "id": item_id, "role": "assistant", "content": [{"type": "output_text", "text": text}]})
        self.count()

    # --- tools

    def rounds(self) -> list[list[dict[str, str]]]:
        """What the model asks for, answer by answer."""
        names = [tool["name"] for tool in self.thread.get("dynamicTools") or []]
        if "unknown" in self.words:
            return [[self.call("nobody_offered_this")]]
        if "unreadable" in self.words:
            return [[{**self.call(names[0]), "arguments": '{"city": '}]]
        wanted = next((int(word.removeprefix("tools") or 1) for word in self.words if word.startswith("tools")), 0)
        calls = [self.call(name) for name in names[:wanted]]
        return ([calls] if "rounds" not in self.words else [[call] for call in calls]) if calls else []

    def call(self, name: str) -> dict[str, str]:
        call_id = self.new_id("call")
        return {"type": "function_call", "call_id": call_id, "name": name, "arguments": f'{{ "of": "{name}" }}'}

    def use(self, calls: list[dict[str, str]]) -> Any:
        """One answer of the model that asks for tools; what they gave."""
        for item in calls:
            self.raw(item)
        given: dict[str, Any] = {}
        asking = [threading.Thread(target=self.use_one, args=(item, given), daemon=True) for item in calls]
        if "serially" in self.words:
            self.raw_count()
            for one in asking:
                one.start()
                self.wait_for(one)
        else:
            for one in reversed(asking):
                one.start()
            self.raw_count()
            for one in asking:
                self.wait_for(one)
        self.rough_count()
        return [given[item["call_id"]] for item in calls]

    def wait_for(self, one: threading.Thread) -> None:
        while one.is_alive():
            one.join(0.02)
            if self.interrupted.is_set():
                raise Interrupted

    def use_one(self, item: dict[str, str], given: dict[str, Any]) -> None:
        call_id, name = item["call_id"], item["name"]
        known = name in {tool["name"] for tool in self.thread.get("dynamicTools") or []}
        try:
            arguments = json.loads(item["arguments"])
        except ValueError:
            known = False
        if not known:
            given[call_id] = "unsupported call"
            return
        tool = {"type": "dynamicToolCall", "id": call_id, "tool": name, "arguments": arguments}
        self.say("item/started", item=tool)
        given[call_id] = self.ask("item/tool/call", callId=call_id, namespace=None, tool=name, arguments=arguments)
        self.say("item/completed", item=tool)

    # --- what only releases with raw items tell

    def raw(self, item: dict[str, Any]) -> None:
        if "bare" not in SELF:
            self.say("rawResponseItem/completed", item=item)

    def count(self) -> None:
        self.raw_count()
        self.rough_count()

    def raw_count(self) -> None:
        if "bare" not in SELF:
            self.say("rawResponse/completed", responseId="resp_1", usage={**COUNTS, "reasoningOutputTokens": 2})

    def rough_count(self) -> None:
        counts = {**COUNTS, "reasoningOutputTokens": 2}
        self.say("thread/tokenUsage/updated", tokenUsage={"total": counts, "last": counts, "modelContextWindow": 258400})


class Refusal(Exception):
    """Of a request of the parent. `code` as JSON-RPC has it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Server:
    """Reads what the parent says and answers."""

    def __init__(self) -> None:
        self.threads: dict[str, dict[str, Any]] = {}
        self.turns: dict[str, Turn] = {}
        self.started = self.begun = self.number = 0
        self.asked: dict[int, dict[str, Any]] = {}
        self.answered = threading.Condition()
        self.heard: list[str] = []
        self.methods: dict[str, Callable[[dict[str, Any]], Any]] = {
            "initialize": self.initialize,
            "account/read": lambda params: {"account": None, "requiresOpenaiAuth": "signed-out" in SELF},
            "model/list": self.models,
            "thread/start": self.start_thread,
            "thread/inject_items": self.inject,
            "thread/unsubscribe": self.unsubscribe,
            "turn/start": self.start_turn,
            "turn/interrupt": self.interrupt,
            "fake/heard": lambda params: {"methods": list(self.heard)},
        }

    def run(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "method" not in message:
                with self.answered:
                    self.asked[message["id"]] = message
                    self.answered.notify_all()
                continue
            self.heard.append(message["method"])
            if "id" not in message:
                continue
            if "mute" in SELF:
                continue
            try:
                if message["method"] not in self.methods:
                    raise Refusal(-32601, "no such method")
                reply = {"result": self.methods[message["method"]](message.get("params") or {})}
            except Refusal as error:
                reply = {"error": {"code": error.code, "message": str(error)}}
            tell({"id": message["id"], **reply}, b"And so on.\n" if "rambling" in SELF else b"")
            self.after(message)
            if "deaf" in SELF and message["method"] == "initialize":
                threading.Event().wait()

    def after(self, message: dict[str, Any]) -> None:
        """A turn begins when its request is answered."""
        if message["method"] == "turn/start":
            turn = self.turns.get(message["params"]["threadId"])
            if turn is not None and not turn.is_alive():
                turn.start()

    def ask(self, turn: Turn, method: str, params: dict[str, Any]) -> Any:
        with self.answered:
            number, self.number = self.number, self.number + 1
            tell({"method": method, "id": number, "params": params})
            while number not in self.asked:
                self.answered.wait(0.02)
                if turn.interrupted.is_set():
                    raise SystemExit
            reply = self.asked.pop(number)
        return reply.get("result", reply.get("error"))

    # --- methods

    def initialize(self, params: dict[str, Any]) -> Any:
        if "odd" in SELF:
            return ["hello"]
        client = params["clientInfo"]
        return {"userAgent": f"{client['name']}/{VERSION} (fake)", "codexHome": os.environ.get("CODEX_HOME")}

    def models(self, params: dict[str, Any]) -> Any:
        begin = int(params.get("cursor") or 0)
        following = begin + 2
        return {"data": MODELS[begin:following], "nextCursor": str(following) if following < len(MODELS) else None}

    def start_thread(self, params: dict[str, Any]) -> Any:
        for tool in params.get("dynamicTools") or []:
            if tool["name"].startswith("mcp__"):
                raise Refusal(-32600, f"dynamic tool name is reserved: {tool['name']}")
        if params.get("model") == "unlucky":
            raise Refusal(-32603, "something went wrong")
        self.started += 1
        thread = {**params, "id": f"thread-{self.started}", "items": []}
        self.threads[thread["id"]] = thread
        return {"thread": {"id": thread["id"], "turns": []}, "model": params.get("model")}

    def inject(self, params: dict[str, Any]) -> Any:
        thread = self.threads[params["threadId"]]
        thread["items"] += params["items"]
        if "bare" not in SELF:
            for item in params["items"]:
                tell(
                    {"method": "rawResponseItem/completed", "params": {"threadId": thread["id"], "turnId": "auto-compact-0", "item": item}}
                )
        return {}

    def start_turn(self, params: dict[str, Any]) -> Any:
        thread = self.threads[params["threadId"]]
        self.begun += 1
        turn = self.turns[thread["id"]] = Turn(self, thread, f"turn-{self.begun}", params)
        return {"turn": {"id": turn.id, "items": [], "status": "inProgress", "error": None}}

    def interrupt(self, params: dict[str, Any]) -> Any:
        turn = self.turns.get(params["threadId"])
        if turn is None or not turn.is_alive():
            raise Refusal(-32600, "no turn to interrupt")
        turn.interrupted.set()
        return {}

    def unsubscribe(self, params: dict[str, Any]) -> Any:
        self.turns.pop(params["threadId"], None)
        return {"status": "unsubscribed" if self.threads.pop(params["threadId"], None) else "notSubscribed"}


def main() -> int:
    if sys.argv[1:] == ["--version"]:
        print(f"codex-cli {VERSION}")
        return 0
    if sys.argv[1:3] == ["debug", "models"]:
        print(json.dumps({"models": CATALOGUE}))
        return 0
    if sys.argv[1:3] == ["mcp", "list"]:
        print("[]")
        return 0
    if "dying" in SELF:
        print("error: the configuration\nis not to my taste", file=sys.stderr)
        return 3
    if "loud" in SELF:
        sys.stderr.buffer.write(b"noise\n" * (200 * KIB))
        sys.stderr.buffer.flush()
    Server().run()
    while "stubborn" in SELF:
        time.sleep(1)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
