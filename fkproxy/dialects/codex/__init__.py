"""What is said with `codex app-server`, the Codex CLI as a child process. Floor 1. Pure. No client speaks it.

plan.py        a request: what the child is to be told, step by step
response.py    a reply: the child's notifications
failures.py    why a turn failed
names.py       names of tools that the child keeps for itself
schemas.py     schemas of tools that it does not keep as they are

Source: `codex app-server generate-json-schema --experimental` of Codex CLI 0.169. The child's raw items are those of OpenAI Responses, so
what goes there as history is what that dialect encodes.
"""

from __future__ import annotations

from fkproxy.dialects.base import Encoded, Route
from fkproxy.dialects.codex import plan, response
from fkproxy.dialects.openai_responses import OpenAiResponses
from fkproxy.model.request import ChatRequest

__all__ = ["DIALECT", "Codex"]


class Codex(OpenAiResponses):
    """See `dialects.base.Dialect`. Its client's end is that of Responses, and nobody is there."""

    name = plan.NAME
    routes: tuple[Route, ...] = ()
    awaits_results = True

    reasoning_of = staticmethod(plan.reasoning_of)
    decode_reply = staticmethod(response.decode_reply)
    stream_decoder = response.StreamDecoder

    def encode_request(self, asked: ChatRequest, model: str) -> Encoded:
        """See `Dialect.encode_request`. The body is a `Plan`."""
        return plan.encode_request(asked, model)


DIALECT = Codex()
