"""Calls with the clients that vendors ship, and what they were told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

import anthropic
import openai

from tests.e2e.plane import SLOW, Key, until

__all__ = ["Refused", "Streaming", "by_anthropic", "by_openai", "refusal"]


class Served(Protocol):
    """Something that serves."""

    url: str
    v1: str


class Refused:
    """What a client was told, in whichever dialect."""

    def __init__(self, status: int, code: str, retry_after_s: int | None) -> None:
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


def by_openai(running: Served, key: str, model: str) -> str | Refused:
    try:
        with openai.OpenAI(base_url=running.v1, api_key=key, max_retries=0) as sdk:
            return str(sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}]).choices[0].message.content)
    except openai.APIStatusError as error:
        return _refused(error.status_code, str(error.code), error.response.headers.get("retry-after"))


def by_anthropic(running: Served, key: str, model: str) -> str | Refused:
    try:
        with anthropic.Anthropic(base_url=running.url, api_key=key, max_retries=0) as sdk:
            reply = sdk.messages.create(model=model, max_tokens=10, messages=[{"role": "user", "content": "hello"}])
            return "".join(block.text for block in reply.content if block.type == "text")
    except anthropic.APIStatusError as error:
        body: Any = error.body
        return _refused(error.status_code, str(body["error"]["type"]), error.response.headers.get("retry-after"))


def _refused(status: int, code: str, retry_after: str | None) -> Refused:
    return Refused(status, code, int(retry_after) if retry_after is not None else None)


def refusal(said: str | Refused) -> tuple[int, str]:
    assert isinstance(said, Refused), said
    return said.status, said.code


class Streaming:
    """A stream without end, read with the official client in a thread."""

    def __init__(self, running: Served, key: Key, dialect: str = "openai") -> None:
        self._running = running
        self._key = key
        self._read = self._openai if dialect == "openai" else self._anthropic
        self.pieces = 0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._close: Callable[[], object] = lambda: None

    def __enter__(self) -> Streaming:
        self._thread.start()
        until(lambda: self.pieces >= 2)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def ended_with(self) -> str:
        """The code of the error in the stream, when it has come."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "the stream goes on"
        assert isinstance(self.error, openai.APIError | anthropic.APIError), self.error
        body: Any = self.error.body
        return str(body.get("code") or body.get("error", body).get("type"))

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - whatever a client raises is what is looked at
            self.error = error

    def _openai(self) -> None:
        with openai.OpenAI(base_url=self._running.v1, api_key=self._key.secret, max_retries=0) as sdk:
            stream = sdk.chat.completions.create(model=SLOW, messages=[{"role": "user", "content": "x"}], stream=True)
            self._close = stream.response.close
            for _ in stream:
                self.pieces += 1

    def _anthropic(self) -> None:
        with anthropic.Anthropic(base_url=self._running.url, api_key=self._key.secret, max_retries=0) as sdk:
            stream = sdk.messages.create(model=SLOW, max_tokens=10, messages=[{"role": "user", "content": "x"}], stream=True)
            self._close = stream.response.close
            for _ in stream:
                self.pieces += 1
