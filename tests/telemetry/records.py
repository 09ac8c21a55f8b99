"""Records for the tests of telemetry."""

from __future__ import annotations

from typing import Any

from fkproxy.model.usage import Usage
from fkproxy.telemetry.record import Attempt, CallRecord

USAGE = Usage(input_tokens=100, output_tokens=20, cached_input_tokens=60, reasoning_tokens=5)


def record(**fields: Any) -> CallRecord:
    """A good call that took 50 ms, 40 of them at the upstream, unless `fields` say otherwise."""
    values: dict[str, Any] = {
        "request_id": "r1",
        "started_s": 1_800_000_000.5,
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "duration_ms": 50.0,
        "dialect": "openai_chat",
        "model_requested": "asked",
        "model_id": "model-1",
        "provider_key": "p1",
        "upstream_dialect": "gemini",
        "attempts": 1,
        "tries": (Attempt(provider_key="p1"),),
        "upstream_status": 200,
        "upstream_ms": 40.0,
        "ttft_ms": 30.0,
        "usage": USAGE,
        "finish_reason": "stop",
        "auth": "key",
        "key_id": "0badcafe",
        "peer": "192.0.2.7",
        "user_agent": "sdk/1",
    }
    return CallRecord(**{**values, **fields})
