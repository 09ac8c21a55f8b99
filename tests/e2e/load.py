"""Bounded load on loopback: short calls and long streams at the same time, and whatever went wrong with them.

Standard library only, for it also runs inside a booted machine: `load.py PORT` says each time when so many more calls and streams have
been answered as a line of its input asks for, and at its end the figures as JSON.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping

PAUSE_S = 0.02
"""Of a caller between two calls. They shall be many and never be missing; that they take all of the processor is not asked."""

HANGS_S = 120.0


class Load:
    """Threads that call until `stop`. Connections are kept, as every SDK keeps them."""

    def __init__(self, port: int, *, callers: int = 8, streams: int = 20, headers: Mapping[str, str] = {}) -> None:
        self.answered = 0
        self.streamed = 0
        self.failures: Counter[str] = Counter()
        self._port = port
        self._headers = {"content-type": "application/json", **headers}
        self._end = threading.Event()
        self._lock = threading.Lock()
        targets = [self._call] * callers + [self._stream] * streams
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in self._threads)

    def _call(self) -> None:
        connection = self._connect()
        while not self._end.is_set():
            try:
                reply = self._ask(connection, "sandbox", stream=False)
                json.loads(reply.read())
                assert reply.status == 200, reply.status
                with self._lock:
                    self.answered += 1
                if reply.getheader("connection") == "close":
                    connection.close()
            except (OSError, http.client.HTTPException, ValueError, AssertionError) as error:
                self._failed(error)
                connection.close()
                connection = self._connect()
            time.sleep(PAUSE_S)
        connection.close()

    def _stream(self) -> None:
        while not self._end.is_set():
            connection = self._connect()
            try:
                reply = self._ask(connection, "sandbox?chunks=20&delay_ms=50", stream=True)
                body = reply.read()
                assert reply.status == 200, reply.status
                assert body.endswith(b"data: [DONE]\n\n"), "a stream was cut"
                with self._lock:
                    self.streamed += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self._failed(error)
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)

    def _ask(self, connection: http.client.HTTPConnection, model: str, *, stream: bool) -> http.client.HTTPResponse:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "x"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), self._headers)
        return connection.getresponse()

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self.failures[f"{type(error).__name__}: {error}"] += 1


def main() -> None:
    with Load(int(sys.argv[1])) as load:
        for line in sys.stdin:
            calls, streams = map(int, line.split())
            calls, streams = load.answered + calls, load.streamed + streams
            deadline = time.monotonic() + HANGS_S
            while load.answered < calls or load.streamed < streams:
                assert time.monotonic() < deadline, load.failures
                time.sleep(0.05)
            print("going on", flush=True)
    print(json.dumps({"answered": load.answered, "streamed": load.streamed, "failures": load.failures}))


if __name__ == "__main__":
    main()
