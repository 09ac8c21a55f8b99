"""What clients of Claude on Vertex AI say otherwise than those of the Anthropic API, whose words the rest of this dialect reads.
Floor 1. Pure.

The model stands in the path, but for a count of tokens, and the version of the API in the body.

Sources: platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai; anthropic 2.11, `lib/vertex`; what a gateway serves that Claude
Code is to use, code.claude.com/docs/en/llm-gateway; read 2026-11.
"""

from __future__ import annotations

from urllib.parse import unquote

from fkproxy.dialects.base import Route
from fkproxy.wire import json

__all__ = ["ROUTES"]

_MODELS = "/v1/projects/{project}/locations/{location}/publishers/anthropic/models/"
_VERSION = "anthropic_version"


def _rewrite(body: bytes, target: str) -> bytes:
    fields = json.raw_fields(body)
    fields.pop(_VERSION, None)
    if target:
        fields["model"] = unquote(target)
    return json.encode(fields)


ROUTES = (
    Route(f"{_MODELS}count-tokens:rawPredict", "vertex_count_tokens", "count_tokens", rewrite=_rewrite),
    Route(f"{_MODELS}{{target}}:rawPredict", "vertex", rewrite=_rewrite),
    Route(f"{_MODELS}{{target}}:streamRawPredict", "vertex_stream", rewrite=_rewrite),
)
"""Whether a call is streamed its body says, at either of the two."""
