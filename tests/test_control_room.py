"""The verbs, put together over a real store, through the administrator's API."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.asking import App, Reply, chat

KEY = "sk-web-tests-0123456789"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path / "state")) as running:
        yield running


async def ask(app: App, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    data = json.dumps(body).encode() if body is not None else b""
    kind = {"content-type": "application/json"} if data else {}
    return await app.ask(method, f"/admin/api{path}", body=data, headers={"authorization": f"Bearer {KEY}", **kind, **headers})


async def call(app: App, secret: str, **fields: Any) -> Reply:
    return await app.ask("POST", "/v1/chat/completions", body=chat(**fields), headers={"authorization": f"Bearer {secret}"})


async def test_a_pool_and_a_key_are_made_used_and_ended(app: App) -> None:
    assert (await ask(app, "POST", "/pools", {"name": "team", "models": ["sandbox"]})).status == 201
    made = (await ask(app, "POST", "/keys", {"pool": "team", "label": "ci"})).json()
    assert (await call(app, made["secret"])).status == 200
    assert (await call(app, made["secret"], model="other")).json()["error"]["code"] == "model_not_allowed"
    key = made["key"]["id"]
    assert (await ask(app, "GET", f"/keys/{key}")).json()["spent"]["tokens_today"] > 0
    assert (await ask(app, "POST", f"/keys/{key}/revoke")).json()["state"] == "revoked"
    assert (await call(app, made["secret"])).status == 401
    assert (await ask(app, "DELETE", f"/keys/{key}")).status == 204


async def test_a_setting_holds_for_the_next_call(app: App) -> None:
    changed = await ask(app, "PATCH", "/settings", {"APP_RATE_LIMIT__CAPACITY": 1, "APP_RATE_LIMIT__REFILL_PER_SECOND": 1})
    assert [(each["name"], each["value"], each["source"]) for each in changed.json()] == [
        ("APP_RATE_LIMIT__CAPACITY", "1", "managed"),
        ("APP_RATE_LIMIT__REFILL_PER_SECOND", "1", "managed"),
    ]
    assert [(await call(app, KEY)).status for _ in range(2)] == [200, 429]
    assert (await ask(app, "PATCH", "/settings", {"APP_RATE_LIMIT__CAPACITY": None})).json()[0]["source"] == "default"
    assert [(await call(app, KEY)).status for _ in range(2)] == [200, 200]


async def test_a_setting_of_the_environment_is_not_overruled(app: App) -> None:
    refused = await ask(app, "PATCH", "/settings", {"APP_STORE__DIRECTORY": "/elsewhere"})
    assert refused.status in (409, 422)


async def test_a_provider_is_in_force_when_it_was_put(app: App) -> None:
    entry = {"adapter": "openai", "base_url": "http://127.0.0.1:9/v1", "models": ["m"], "credentials": [{"key": "sk-canary-of-a-provider"}]}
    put = await ask(app, "PUT", "/providers/backup", entry)
    assert put.status == 200
    assert "canary" not in put.body.decode()
    assert [each["key"] for each in (await ask(app, "GET", "/upstreams")).json()] == ["backup"]
    wrong = await ask(app, "PUT", "/providers/backup", {**entry, "base_url": "nowhere"})
    assert (wrong.status, wrong.json()["error"]["problems"][0]["name"]) == (422, "base_url")
    assert (await ask(app, "DELETE", "/providers/backup")).status == 204
    assert [each["key"] for each in (await ask(app, "GET", "/upstreams")).json()] == ["sandbox"]


async def test_a_change_that_was_thought_out_for_something_older_is_refused(app: App) -> None:
    await ask(app, "POST", "/pools", {"name": "one"})
    assert (await ask(app, "POST", "/pools", {"name": "two"}, **{"if-match": '"1"'})).status == 201
    stale = await ask(app, "POST", "/pools", {"name": "three"}, **{"if-match": '"1"'})
    assert (stale.status, stale.json()["error"]["code"]) == (409, "conflict")
    assert (await ask(app, "POST", "/pools", {"name": "four"}, **{"if-match": "soon"})).status == 400
    assert (await ask(app, "GET", "/config")).headers["etag"] == '"2"'


async def test_what_was_done_is_in_the_audit_log(app: App) -> None:
    await ask(app, "POST", "/pools", {"name": "team"}, **{"x-request-id": "change-1"})
    await ask(app, "POST", "/upstreams/pause?key=sandbox")
    rows = (await ask(app, "GET", "/audit")).json()
    assert [row["action"] for row in rows][:2] == ["upstream.pause", "pool.create"]
    assert (rows[1]["request_id"], rows[1]["actor"]["kind"], rows[1]["actor"]["peer"]) == ("change-1", "administrator", "192.0.2.0/24")
    assert (await ask(app, "GET", "/audit/verify")).json()["ok"] is True


async def test_the_store_is_copied_and_its_secrets_sealed_anew(app: App) -> None:
    assert (await ask(app, "GET", "/store")).json()["state"] == "open"
    copied = (await ask(app, "POST", "/store/backup")).json()
    assert await asyncio.to_thread(os.path.getsize, copied["path"]) == copied["size_bytes"] > 0
    assert (await ask(app, "POST", "/store/reseal")).json() == {"values": 0}


async def test_a_call_that_is_not_in_memory_any_more_is_explained_from_the_log(tmp_path: Path) -> None:
    settings = {"APP_AUTH__MASTER_KEY": KEY, "APP_STORE__DIRECTORY": str(tmp_path / "state")}
    async with App(**settings) as before:
        await before.ask("POST", "/v1/chat/completions", body=chat(), headers={"authorization": f"Bearer {KEY}", "x-request-id": "call-1"})
    async with App(**settings) as after, asyncio.timeout(20):
        while (found := await ask(after, "GET", "/explain/call-1")).status == 404:  # noqa: ASYNC110 - the log has no event
            await asyncio.sleep(0.05)
        assert [(each["provider_key"], each["verdict"]) for each in found.json()["candidates"]] == [("sandbox", "served")]
        assert (await ask(after, "GET", "/calls/call-1")).json()[0]["status"] == 200
        assert (await ask(after, "GET", "/explain/never")).status == 404
