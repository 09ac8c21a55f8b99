"""An OpenAI-compatible server that behaves as it is told to, inside a booted machine: `vendor.py PORT MODE`.

Standard library only.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODELS = {"object": "list", "data": [{"id": "small", "object": "model", "created": 1, "owned_by": "vendor"}]}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
WHOLE = {"id": "1", "object": "chat.completion", "created": 1, "model": "small", "usage": USAGE}
CHUNK = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "small"}
STATUS = {"401": "invalid_api_key", "429": "rate_limit_exceeded", "500": "server_error"}


class Vendor(BaseHTTPRequestHandler):
    """`mode`: ok, slow, cut (in the middle of a stream), or a status."""

    mode = "ok"
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._send(200, {})

    def do_GET(self) -> None:
        if self.mode == "401":
            return self._refuse()
        return self._send(200, MODELS)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.mode in STATUS:
            return self._refuse()
        if self.mode == "slow":
            time.sleep(0.8)
        if asked.get("stream"):
            return self._stream()
        message = {"role": "assistant", "content": "Hello"}
        return self._send(200, {**WHOLE, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        delta = {"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "finish_reason": None}
        self.wfile.write(f"data: {json.dumps({**CHUNK, 'choices': [delta]})}\n\n".encode())
        if self.mode == "cut":
            return
        last = {"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}
        self.wfile.write(f"data: {json.dumps({**CHUNK, 'choices': [last]})}\n\n".encode())
        self.wfile.write(f"data: {json.dumps({**CHUNK, 'choices': [], 'usage': USAGE})}\n\ndata: [DONE]\n\n".encode())

    def _refuse(self) -> None:
        self._send(int(self.mode), {"error": {"message": "no", "type": "error", "code": STATUS[self.mode]}})

    def _send(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


if __name__ == "__main__":
    Vendor.mode = sys.argv[2]
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Vendor).serve_forever()
