"""Nothing anybody said, and no key, is in anything the service writes: logs, metrics, health, errors."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.conftest import gemini_settings
from tests.e2e.processes import BINARY, KEY, Aimock, Answer, ask, clean_environment, service

CANARY = "xq7canary"
OPERATOR_KEY = f"AIza-{CANARY}-operator-key"
CLIENT_KEY = f"sk-{CANARY}-client-key-0001"
IMAGE = base64.b64encode(f"\x89PNG {CANARY} image".encode()).decode()


def _requests() -> list[dict[str, Any]]:
    tool = {"type": "function", "function": {"name": f"{CANARY}_tool", "parameters": {"type": "object", "properties": {}}}}
    history = [
        {"role": "system", "content": f"{CANARY} system"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"{CANARY} prompt"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": f"{CANARY}_id", "type": "function", "function": {"name": f"{CANARY}_tool", "arguments": f'{{"a":"{CANARY}"}}'}}
            ],
        },
        {"role": "tool", "tool_call_id": f"{CANARY}_id", "content": f"{CANARY} result"},
    ]
    good = {"model": "gemini-2.5-flash", "messages": history, "tools": [tool], "user": f"{CANARY} user"}
    say = [{"role": "user", "content": f"{CANARY} weather in two cities"}]
    return [
        good,
        {**good, "stream": True},
        {"model": "gemini-2.5-flash", "messages": say, "stream": True},
        *(
            {"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": f"{what} {CANARY}"}], "stream": stream}
            for what in ("too many requests", "break inside", "cut the stream", "think first")
            for stream in (False, True)
        ),
        {**good, "messages": [{"role": CANARY, "content": CANARY}]},
        {**good, "messages": [{"role": "user", "content": [{"type": CANARY}]}]},
        {**good, f"{CANARY}_field": f"{CANARY} value"},
    ]


def test_no_canary_leaves_through_anything_we_write(directory: Path, aimock: Aimock) -> None:
    settings = {
        **gemini_settings(aimock.url),
        "GOOGLE_API_KEY": OPERATOR_KEY,
        "APP_AUTH__MASTER_KEY": CLIENT_KEY,
        "APP_LOG__LEVEL": "debug",
    }
    answers: list[Answer] = []
    with service(directory, **settings) as running:
        url = f"{running.v1}/chat/completions"
        answered = [ask(url, key=CLIENT_KEY, body=request) for request in _requests()]
        assert {answer.status for answer in answered} >= {200, 400, 429, 502}
        ask(url, key=CLIENT_KEY, body=f'{{"model": "gemini-2.5-flash", "messages": "{CANARY}'.encode())
        for headers in (
            {"authorization": f"Bearer {CANARY}-wrong"},
            {"x-api-key": f"{CANARY}-wrong"},
            {"x-goog-api-key": f"{CANARY}-wrong"},
        ):
            refused = ask(url, body=_requests()[0], headers=headers)
            assert refused.status == 401
            answers.append(refused)
        answers.append(ask(f"{running.url}/{CANARY}?key={CANARY}"))
        running.access_lines(len(answered) + 4)
        for path in ("/health", "/metrics", "/metrics/prometheus", "/v1/models"):
            answers.append(ask(running.url + path, key=CLIENT_KEY))
            answers.append(ask(running.url + path, key=f"{CANARY}-wrong"))
    log = running.log.read_text()
    assert log.count('"kind":"access"') > len(answered)
    assert CANARY not in log
    assert IMAGE not in log
    for answer in answers:
        # A path that does not exist may be told back to who asked for it; a key may not.
        assert f"{CANARY}-" not in answer.body.decode()
        assert OPERATOR_KEY not in str(answer.headers)
    for answer in answered:
        assert OPERATOR_KEY not in answer.body.decode()
        assert CLIENT_KEY not in answer.body.decode()
        assert "Traceback" not in answer.body.decode()


def test_no_secret_is_in_what_the_command_line_prints(aimock: Aimock) -> None:
    settings = {**gemini_settings(aimock.url), "GOOGLE_API_KEY": OPERATOR_KEY, "APP_AUTH__MASTER_KEY": CLIENT_KEY, "APP_SERVER__PORT": "no"}
    for wrong in (settings, {**settings, "APP_SERVER__PORT": "4999"}):
        for arguments in (["check"], ["check", "--json"]):
            ended = subprocess.run(
                [str(BINARY), *arguments], capture_output=True, text=True, timeout=60, env={**clean_environment(), **wrong}, check=False
            )
            assert CANARY not in ended.stdout + ended.stderr
    assert KEY != CLIENT_KEY
