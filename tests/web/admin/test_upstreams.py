"""What answers at a managed address is not read through the administrator's API, and no secret is told that a vendor repeats."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.upstream import FakeUpstream
from tests.web.asking import App, chat

KEY = "sk-web-tests-0123456789"
BEARER = {"authorization": f"Bearer {KEY}"}
SECRET = "sk-canary-secret-0123456789"
INNER = "canary-inner"
WORDS = f"{INNER} {SECRET}"
ERROR = json.dumps({"error": {"message": WORDS, "type": INNER, "code": SECRET, "param": SECRET, "status": INNER}})

REPLIES: list[tuple[str, str, str]] = [
    *(
        (status, ERROR, "")
        for status in ("400 A", "401 A", "403 A", "404 A", "408 A", "413 A", "422 A", "429 A", "500 A", "503 A", "529 A", "200 OK")
    ),
    ("200 OK", f"<html>{WORDS}</html>", ""),
    ("200 OK", json.dumps({"AccessKeyId": WORDS}), ""),
    ("500 A", f"Traceback (most recent call last): {WORDS}", ""),
    ("302 Found", WORDS, f"location: http://127.0.0.1:9/{INNER}\r\n"),
]


def script(status: str, body: str, headers: str) -> list[Any]:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return [(head + body).encode()]


async def managed(app: App, adapter: str, url: str) -> None:
    base = f"{url}/v1" if adapter == "openai" else url
    quota = {"url": f"{url}/quota", "headers": {"authorization": "Bearer $TOKEN$"}, "quota_remaining": "AccessKeyId"}
    credentials = [{"name": "a", "key": SECRET}]
    entry = {"adapter": adapter, "base_url": base, "models": ["m"], "credentials": credentials, "quota": quota}
    reply = await app.ask("PUT", "/admin/api/providers/p", body=entry, headers=BEARER)
    assert reply.status == 200, reply.body


@pytest.mark.parametrize("adapter", ["openai", "anthropic", "gemini"])
async def test_no_answer_and_no_line_of_the_log_repeats_them(tmp_path: Path, adapter: str) -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    settings = {"APP_STORE__DIRECTORY": str(tmp_path), "APP_CIRCUIT_BREAKER__FAILURE_THRESHOLD": "1000"}
    try:
        for reply in REPLIES:
            async with FakeUpstream(script(*reply)) as upstream, App(APP_AUTH__MASTER_KEY=KEY, **settings) as app:
                await managed(app, adapter, upstream.url)
                test = await app.ask("POST", "/admin/api/upstreams/test?key=p/a", headers=BEARER)
                if "AccessKeyId" not in reply[1]:
                    assert test.status == 502, reply
                assert INNER not in test.body.decode(), reply
                seen = [test.body.decode(), *[(await app.ask("GET", path, headers=BEARER)).body.decode() for path in WATCHED]]
                if "AccessKeyId" not in reply[1]:
                    call = await app.ask("POST", "/v1/chat/completions", body=chat("p/m"), headers=BEARER)
                    assert call.status >= 400
                    seen.append(call.body.decode())
                assert not [each for each in seen if SECRET in each], reply
                assert all("127.0.0.1:9" not in asked.line for asked in upstream.asked), "no redirect is followed"
    finally:
        logging.getLogger().removeHandler(handler)
    assert "canary" not in log.getvalue()


WATCHED = (
    "/health",
    "/v1/metrics/providers",
    "/admin/api/upstreams",
    "/admin/api/providers",
    "/admin/api/config",
    "/admin/provider-states",
)


async def test_a_provider_that_cannot_be_built_is_told_without_its_secrets(tmp_path: Path) -> None:
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        good: dict[str, Any] = {"adapter": "openai", "base_url": "http://127.0.0.1:9/v1", "models": ["m"]}
        for wrong in (
            {"credentials": [{"name": "a", "key": f"{SECRET} with spaces"}]},
            {"credentials": [{"name": "a", "key": f"{SECRET}\u00e9"}]},
            {"credentials": [{"name": "a", "key": [SECRET]}]},
            {"headers": {"x-a": f"{SECRET}\r\nx-b: c"}},
            {"headers": {f"x {SECRET}": "a"}},
            {"base_url": f"http://user:{SECRET}@127.0.0.1:9/v1"},
            {"base_url": f"http://127.0.0.1:9/v1?key={SECRET}"},
            {"proxy": f"http://user:{SECRET}@127.0.0.1:9"},
            {"quota": {"url": f"http://user:{SECRET}@127.0.0.1:9/", "quota_remaining": "a"}},
        ):
            reply = await app.ask("PUT", "/admin/api/providers/p", body={**good, **wrong}, headers=BEARER)
            assert (reply.status, SECRET in reply.body.decode()) == (422, False), (wrong, reply.body)


async def test_what_is_done_to_upstreams_and_what_is_refused_stand_in_the_audit_log(tmp_path: Path) -> None:
    file = tmp_path / "providers.toml"
    file.write_text("")
    settings = {"APP_PROVIDERS_FILE": str(file), "APP_SANDBOX__ENABLED": "true"}
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path / "state"), **settings) as app:

        async def told(method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, list[tuple[str, ...]]]:
            before = (await app.ask("GET", "/admin/api/audit?limit=1", headers=BEARER)).json()[0]["id"]
            reply = await app.ask(method, path, body=body or b"", headers=BEARER)
            rows = (await app.ask("GET", "/admin/api/audit", headers=BEARER)).json()
            return reply.status, [(row["action"], row["target"], row["outcome"], row["note"]) for row in rows if row["id"] > before]

        for verb in ("pause", "resume", "reset", "test"):
            path = f"/admin/api/upstreams/{verb}?key="
            assert await told("POST", f"{path}sandbox") == (200, [(f"upstream.{verb}", "sandbox", "done", "")])
            assert await told("POST", f"{path}{SECRET}") == (404, [(f"upstream.{verb}", "-", "refused", "not_found")])
        assert await told("POST", "/admin/api/upstreams/reset") == (200, [("upstream.reset", "*", "done", "")])
        assert await told("POST", f"/admin/provider-states/{SECRET}/reset") == (404, [("upstream.reset", "-", "refused", "not_found")])
        for body, verb in (({"name": SECRET, "disabled": True}, "pause"), ({"name": SECRET, "disabled": False}, "resume")):
            found = await told("PATCH", "/v0/management/auth-files/status", body)
            assert found == (400, [(f"upstream.{verb}", "-", "refused", "not_found")])
        assert await told("POST", "/admin/api/providers/reload") == (200, [("provider.reload", "", "done", "")])
        file.write_text("providers = 1")
        assert await told("POST", "/admin/api/providers/reload") == (422, [("provider.reload", "", "refused", "invalid")])
