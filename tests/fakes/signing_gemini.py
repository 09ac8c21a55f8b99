"""A Gemini API that signs its function calls and refuses a turn in which a signature is missing or changed.

That is what the Gemini 3 models do (ai.google.dev, "Thought signatures", read 2026-11): in the current turn the first function call
of every step must come back with the signature it was given, or the answer is 400. Requests are checked with the vendor's own
types, which refuse unknown fields.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.genai import types

_USAGE = {"promptTokenCount": 50, "candidatesTokenCount": 10, "thoughtsTokenCount": 7, "cachedContentTokenCount": 20, "totalTokenCount": 67}


class SigningGemini:
    """Three steps: two parallel calls, one more call, then an answer. `refusals` says why it answered 400."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self._issued: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, reply = outer.answer(body)
                if status != 200 or ":generateContent" in self.path:
                    self._send(status, "application/json", json.dumps(reply).encode())
                else:
                    self._send(200, "text/event-stream", b"".join(_frames(reply)))

            def _send(self, status: int, content_type: str, data: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body for one request."""
        self.requests.append(body)
        contents = [types.Content.model_validate(content) for content in body["contents"]]
        types.GenerationConfig.model_validate(body.get("generationConfig", {}))
        refusal = self._refusal(contents)
        if refusal is not None:
            self.refusals.append(refusal)
            return 400, {"error": {"code": 400, "message": refusal, "status": "INVALID_ARGUMENT"}}
        steps = sum(1 for content in contents if _calls(content))
        return 200, _reply(self._parts(steps))

    def _refusal(self, contents: list[types.Content]) -> str | None:
        for position, content in enumerate(contents):
            calls = _calls(content)
            if not calls:
                continue
            first = calls[0]
            name = first.function_call.name if first.function_call else None
            signature = base64.b64encode(first.thought_signature).decode() if first.thought_signature else None
            if signature is None:
                return f"Function call is missing a thought_signature in functionCall parts. Function call {name}, position {position}."
            if self._issued.get(signature) != name:
                return "Thought signature is not valid."
            if position + 1 == len(contents) or len(calls) != sum(
                1 for part in contents[position + 1].parts or () if part.function_response
            ):
                return "The number of function response parts must equal the number of function call parts of the function call turn."
        return None

    def _sign(self, name: str) -> str:
        signature = base64.b64encode(secrets.token_bytes(48)).decode()
        self._issued[signature] = name
        return signature

    def _parts(self, steps: int) -> list[dict[str, Any]]:
        thought = {"text": f"Step {steps + 1}.", "thought": True}
        if steps == 0:
            first = {"functionCall": {"name": "find_city", "args": {"country": "France"}}, "thoughtSignature": self._sign("find_city")}
            return [thought, first, {"functionCall": {"name": "find_river", "args": {"country": "France"}}}]
        if steps == 1:
            call = {"functionCall": {"name": "distance", "args": {"a": "Paris", "b": "Seine"}}, "thoughtSignature": self._sign("distance")}
            return [thought, call]
        return [thought, {"text": "Nought ", "thoughtSignature": self._sign("")}, {"text": "kilometres."}]


def _calls(content: types.Content) -> list[types.Part]:
    return [part for part in content.parts or () if part.function_call]


def _reply(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": _USAGE,
        "modelVersion": "gemini-3-pro-preview",
        "responseId": secrets.token_hex(8),
    }


def _frames(reply: dict[str, Any]) -> list[bytes]:
    candidate = reply["candidates"][0]
    frames = []
    for number, part in enumerate(candidate["content"]["parts"], 1):
        last = number == len(candidate["content"]["parts"])
        piece = {"content": {"role": "model", "parts": [part]}, "index": 0, **({"finishReason": "STOP"} if last else {})}
        frames.append(b"data: " + json.dumps({**reply, "candidates": [piece]}).encode() + b"\r\n\r\n")
    return frames
