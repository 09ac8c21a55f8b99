"""What the application keeps of calls, and of whose."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.web.asking import App, chat

pytestmark = pytest.mark.leaps

KEY = "sk-app-tests-0123456789"
CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(("method", "key"), [("POST", None), ("POST", "wrong"), ("DELETE", None), ("DELETE", KEY)])
async def test_strangers_do_not_fill_the_log_of_calls(
    method: str, key: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    written: list[int] = []
    monkeypatch.setattr("fkproxy.telemetry.journal.Journal.write", lambda _, record: kept.append(record.status))
    monkeypatch.setattr("fkproxy.telemetry.logs.AccessLog.write", lambda _, record: written.append(record.status))
    monkeypatch.setattr("fkproxy.app.time.monotonic", lambda: 1000.0)
    app = App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path), APP_RATE_LIMIT__ENABLED="false")
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    for _ in range(1005):
        await app.ask(method, CHAT, body=chat(), headers=headers)
    for body in (chat(), b""):
        await app.ask("POST", CHAT, body=body, headers={"authorization": f"Bearer {KEY}"})
    assert len(written) == 1005 + 2
    assert (len(kept), kept[-2:]) == (1000 + 2, [200, 400]), "who has a good key is no stranger, whatever he asks for"


@pytest.mark.parametrize(("headers", "most"), [({}, 1005), ({"origin": "https://page.example"}, 1000)])
async def test_where_no_key_is_needed_nobody_who_is_let_in_is_a_stranger(
    headers: dict[str, str], most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    monkeypatch.setattr("fkproxy.telemetry.journal.Journal.write", lambda _, record: kept.append(record.status))
    monkeypatch.setattr("fkproxy.app.time.monotonic", lambda: 1000.0)
    app = App(APP_STORE__DIRECTORY=str(tmp_path), APP_RATE_LIMIT__ENABLED="false", OPENAI_API_KEY="sk-upstream-key", APP_OPENAI__MODELS="m")
    for _ in range(1005):
        assert (await app.ask("POST", CHAT, body=chat("unknown"), headers=headers)).status in (403, 404)
    assert len(kept) == most
