"""The unmodified `openai` package for node against the built file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.e2e.processes import KEY, ROOT, Service, clean_environment, node

SCRIPT = Path(__file__).parent / "openai_client.mjs"


def test_the_node_sdk_sees_what_it_would_see_without_a_gateway(google_service: Service, impatient_service: Service) -> None:
    ended = subprocess.run(
        [node(), str(SCRIPT), google_service.v1, KEY, "gemini-2.5-flash", impatient_service.v1],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=clean_environment(),
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    answer = {"text": "Hello from behind the gateway.", "reason": "stop", "total": 17}
    assert seen["plain"] == answer
    assert seen["stream"] == answer
    assert seen["tools"] == {"arguments": [{"city": "Paris"}, {"city": "Oslo"}], "text": "Paris is sunny, Oslo is wet."}
    assert seen["schema"] == {"city": "Paris", "population": 2100000}
    assert seen["image"] == "A red pixel."
    assert seen["thought"] == {"thought": "Two and two are four.", "text": "Four."}
    assert seen["limited"] == {"kind": "RateLimitError", "status": 429, "code": "upstream_rate_limited", "retryAfter": "7"}
    assert (seen["failed"]["status"], seen["failed"]["code"]) == (502, "upstream_error")
    assert (seen["hang"]["status"], seen["hang"]["code"]) == (504, "timeout")
    assert seen["cut"]["status"] is None
    assert "none" not in seen["cut"]
