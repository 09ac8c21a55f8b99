"""The administrator's API."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from fkproxy.storage.values import SecretLost, StoreUnavailable
from fkproxy.telemetry.record import CallRecord
from fkproxy.web.admin.description import described
from tests.web.asking import App, chat

KEY = "sk-web-tests-0123456789"
BEARER = {"authorization": f"Bearer {KEY}"}
ONE = '[[providers]]\nname = "one"\nadapter = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'


@pytest.mark.parametrize("headers", [BEARER, {"x-management-secret": KEY}, {"x-management-key": KEY}])
async def test_the_master_key_opens_it(headers: dict[str, str]) -> None:
    reply = await App(APP_AUTH__MASTER_KEY=KEY).ask("GET", "/admin/api/upstreams", headers=headers)
    assert (reply.status, [each["key"] for each in reply.json()]) == (200, ["sandbox"])
    assert (reply.headers["cache-control"], reply.headers["x-frame-options"]) == ("no-store", "DENY")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sk-wrong-key-0123456789"}, {"x-management-secret": "wrong"}])
async def test_nothing_else_does(headers: dict[str, str]) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    for method, path in (("GET", "/admin/api/upstreams"), ("POST", "/admin/api/upstreams/reset"), ("GET", "/admin/api/explain/x")):
        reply = await app.ask(method, path, headers=headers)
        assert (reply.status, reply.json()["error"]["code"]) == (401, "invalid_api_key")
        assert reply.headers["www-authenticate"] == "Bearer"
        assert (reply.headers["cache-control"], reply.headers["x-frame-options"]) == ("no-store", "DENY")


async def test_who_sends_no_key_is_told_how() -> None:
    reply = await App(APP_AUTH__MASTER_KEY=KEY).ask("GET", "/admin/api/upstreams", headers={"x-api-key": KEY})
    assert (reply.status, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert reply.json()["error"]["message"] == (
        "the master key is required: send it as 'Authorization: Bearer <key>', 'X-Management-Secret' or 'X-Management-Key'"
    )


async def test_where_no_key_is_required_only_this_host_may_ask() -> None:
    app = App()
    assert (await app.ask("GET", "/admin/api/upstreams", peer="192.0.2.1")).status == 401
    for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert (await app.ask("GET", "/admin/api/upstreams", peer=peer)).status == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:4000", None, 200),
        ("localhost:4000", "http://localhost:4000", 200),
        ("[::1]:4000", "http://[::1]:4000", 200),
        ("127.0.0.1:4000", "https://page.example", 401),
        ("127.0.0.1:4000", "null", 401),
        ("rebound.example:4000", "http://rebound.example:4000", 401),
        ("rebound.example:4000", None, 401),
        ("[bad", None, 401),
        ("127.0.0.1:4000", "http://[bad", 401),
        ("localhost:4000", "http://localhost:8080", 401),
        ("localhost:4000", "http://127.0.0.1:4000", 401),
    ],
)
async def test_where_no_key_is_required_no_page_from_elsewhere_may_ask(host: str, origin: str | None, status: int) -> None:
    headers = {"host": host, **({"origin": origin} if origin else {})}
    reply = await App().ask("POST", "/admin/api/upstreams/reset", headers=headers, peer="127.0.0.1")
    assert reply.status == status


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"])
async def test_where_no_key_is_required_what_was_passed_on_is_not_from_this_host(name: str) -> None:
    headers = {"host": "127.0.0.1:4000", name: "127.0.0.1"}
    assert (await App().ask("GET", "/admin/api/upstreams", headers=headers, peer="127.0.0.1")).status == 401


_DEEP = [b"[" * 5000 + b"]" * 5000, b'{"a":' * 900 + b"1" + b"}" * 900]


@pytest.mark.parametrize("body", _DEEP)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/admin/api/providers/p"),
        ("PUT", "/admin/api/config"),
        ("PATCH", "/admin/api/settings"),
        ("POST", "/admin/config"),
        ("PUT", "/v0/management/debug"),
    ],
)
async def test_what_is_nested_too_deeply_is_refused(tmp_path: Path, method: str, path: str, body: bytes) -> None:
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        assert (await app.ask(method, path, body=body, headers=BEARER)).status in (400, 422)


@pytest.mark.parametrize(("method", "path"), [("PUT", "/admin/api/config"), ("POST", "/admin/config"), ("PUT", "/v0/management/debug")])
async def test_what_is_not_utf_8_is_refused(tmp_path: Path, method: str, path: str) -> None:
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        reply = await app.ask(method, path, body=b'{"value": "\xff"}', headers=BEARER)
    assert (reply.status, "error" in reply.json()) == (400, True)


@pytest.mark.parametrize(("method", "path"), [("PUT", "/admin/api/config"), ("POST", "/admin/config"), ("PUT", "/v0/management/debug")])
async def test_what_is_too_large_is_refused(tmp_path: Path, method: str, path: str) -> None:
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        reply = await app.ask(method, path, body=b"[" + b"0," * 1024 * 1024 + b"0]", headers=BEARER)
    assert (reply.status, "too large" in reply.body.decode().lower()) == (413, True)


async def test_of_very_many_problems_the_first_are_told(tmp_path: Path) -> None:
    body = {"settings": {f"APP_{number}": "1" for number in range(250)}}
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        reply = await app.ask("PUT", "/admin/api/config", body=body, headers=BEARER)
    error = reply.json()["error"]
    assert (reply.status, len(error["problems"])) == (422, 100)
    assert error["message"] == "nothing was changed; these are 100 of 250 problems"


@pytest.mark.parametrize("path", ["calls", "calls/export", "usage"])
@pytest.mark.parametrize("when", ["since_s=nan", "since_s=inf", "until_s=-inf", "since_s=1e300", "until_s=-1e300"])
async def test_a_time_that_is_none_is_refused(tmp_path: Path, path: str, when: str) -> None:
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        reply = await app.ask("GET", f"/admin/api/{path}?{when}", headers=BEARER)
    assert (reply.status, [each["name"] for each in reply.json()["error"]["problems"]]) == (422, [when.partition("=")[0]])


@pytest.mark.parametrize("why", [SecretLost(2, "sealed with version 2 of the key"), StoreUnavailable("gone", "the file is not there")])
async def test_what_was_done_is_told_although_it_cannot_be_put_in_force_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: Exception
) -> None:
    async def look(_: object) -> None:
        raise why

    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        await app.ask("POST", "/admin/api/pools", body={"name": "team"}, headers=BEARER)
        monkeypatch.setattr("fkproxy.keeper.Keeper.look", look)
        made = await app.ask("POST", "/admin/api/keys", body={"pool": "team"}, headers=BEARER)
        assert (made.status, made.json()["secret"][:6]) == (201, "sk-fk-"), "it is shown once"
        assert (await app.ask("GET", "/admin/api/keys", headers=BEARER)).status == 200


@pytest.mark.parametrize("lost", [0, 2])
async def test_what_could_not_be_written_down_is_told_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lost: int
) -> None:
    async def full(*_: object) -> None:
        raise StoreUnavailable("full", "no space is left for the database")

    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        if lost:
            monkeypatch.setattr("fkproxy.storage.store.Store.record", full)
        await app.ask("POST", "/admin/api/upstreams/pause?key=sandbox", headers=BEARER)
        await app.ask("GET", "/admin/api/upstreams", headers={"authorization": "Bearer wrong"})
    told = [record for record in caplog.records if record.getMessage().startswith("entries of the audit log")]
    assert [record.__dict__["lost"] for record in told] == ([lost] if lost else [])


async def test_an_upstream_is_paused_resumed_and_reset() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    paused = await app.ask("POST", "/admin/api/upstreams/pause?key=sandbox", headers=BEARER)
    assert (paused.status, paused.json()["state"]) == (200, "paused")
    ready = await app.ask("GET", "/readyz")
    assert (ready.status, ready.json()["status"], ready.json()["ok"]) == (503, "unavailable", False), "no call would be served"
    refused = await app.ask("POST", "/v1/chat/completions", body=chat(), headers=BEARER)
    assert (refused.status, "paused" in refused.json()["error"]["message"]) == (503, True)
    assert (await app.ask("POST", "/admin/api/upstreams/resume?key=sandbox", headers=BEARER)).json()["state"] == "active"
    assert (await app.ask("GET", "/readyz")).json()["status"] == "ok"
    assert (await app.ask("POST", "/v1/chat/completions", body=chat(), headers=BEARER)).status == 200
    for path in ("/admin/api/upstreams/reset", "/admin/api/upstreams/reset?key=sandbox"):
        assert [each["key"] for each in (await app.ask("POST", path, headers=BEARER)).json()] == ["sandbox"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/admin/api/upstreams/pause?key=nobody", 404, "not_found"),
        ("POST", "/admin/api/upstreams/pause", 400, "invalid_request"),
        ("GET", "/admin/api/explain/never", 404, "not_found"),
        ("GET", "/admin/api/nothing", 404, "not_found"),
        ("DELETE", "/admin/api/upstreams", 405, "method_not_allowed"),
    ],
)
async def test_mistakes_are_told_in_one_shape(method: str, path: str, status: int, code: str) -> None:
    reply = await App(APP_AUTH__MASTER_KEY=KEY).ask(method, path, headers=BEARER)
    assert (reply.status, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/admin/api/keys", {"pool": "a", "limits": {"tokens_per_dya": 1}}, "limits"),
        ("POST", "/admin/api/pools", {"name": "a", "strategy": "sk-typed-into-the-wrong-field"}, "strategy"),
        ("GET", "/admin/api/calls?limit=many", {}, "limit"),
        ("GET", "/admin/api/calls/export?failures=true", {}, "failures"),
        ("GET", "/admin/api/usage?by=sk-typed-into-the-wrong-field", {}, "by"),
        ("POST", "/admin/api/upstreams/reset?upstream=sandbox", {}, "upstream"),
    ],
)
async def test_what_cannot_be_read_is_told_by_field_and_not_repeated(method: str, path: str, body: dict[str, object], field: str) -> None:
    reply = await App(APP_AUTH__MASTER_KEY=KEY).ask(method, path, body=body, headers=BEARER)
    (problem,) = reply.json()["error"]["problems"]
    assert (reply.status, problem["name"]) == (400, field)
    assert "wrong-field" not in reply.body.decode()


async def test_that_there_is_no_body_is_told_in_words() -> None:
    reply = await App(APP_AUTH__MASTER_KEY=KEY).ask("POST", "/admin/api/pools", headers=BEARER)
    (problem,) = reply.json()["error"]["problems"]
    assert (reply.status, problem["message"]) == (400, "is not there: a JSON body is expected")


async def test_a_call_is_explained_by_its_id() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    served = await app.ask("POST", "/v1/chat/completions", body=chat(), headers={**BEARER, "x-request-id": "call-1"})
    assert served.status == 200
    found = (await app.ask("GET", "/admin/api/explain/call-1", headers=BEARER)).json()
    assert [(each["provider_key"], each["verdict"]) for each in found["candidates"]] == [("sandbox", "served")]
    assert "hello" not in str(found)


async def test_the_providers_file_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(ONE)
    app = App(APP_AUTH__MASTER_KEY=KEY, APP_PROVIDERS_FILE=str(path))

    async def keys() -> list[str]:
        return [each["key"] for each in (await app.ask("GET", "/admin/api/upstreams", headers=BEARER)).json()]

    path.write_text(ONE + "nonsense = 1\n")
    refused = await app.ask("POST", "/admin/api/providers/reload", headers=BEARER)
    assert (refused.status, refused.json()["error"]["code"]) == (422, "invalid_configuration")
    assert refused.json()["error"]["problems"][0]["name"] == f"{path}:5"
    assert await keys() == ["one"]
    path.write_text(ONE + ONE.replace('"one"', '"two"'))
    taken = await app.ask("POST", "/admin/api/providers/reload", headers=BEARER)
    assert (taken.status, [each["key"] for each in taken.json()["upstreams"]]) == (200, ["one", "two"])
    assert await keys() == ["one", "two"]


async def test_it_describes_itself() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    assert (await app.ask("GET", "/admin/api/openapi.json")).status == 401
    found = (await app.ask("GET", "/admin/api/openapi.json", headers=BEARER)).json()
    assert found["openapi"].startswith("3.1")
    assert "/admin/api/upstreams/pause" in found["paths"]
    assert found["security"] == [{"master_key": []}]
    for operations in found["paths"].values():
        for operation in operations.values():
            assert "400" not in operation["responses"]
            assert operation["responses"]["default"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Refusal"}
    export = found["paths"]["/admin/api/calls/export"]["get"]["responses"]["200"]
    assert set(export["content"]) == {"text/csv", "application/x-ndjson"}


async def test_a_change_that_rests_on_an_older_revision_is_refused_where_the_description_says_so(tmp_path: Path) -> None:
    bodies: dict[str, dict[str, Any]] = {"/admin/api/pools": {"name": "other"}, "/admin/api/providers/order": {"names": []}}
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        await app.ask("POST", "/admin/api/pools", body={"name": "team"}, headers=BEARER)
        paths = (await app.ask("GET", "/admin/api/openapi.json", headers=BEARER)).json()["paths"]
        asked = [
            (method.upper(), path)
            for path, operations in paths.items()
            for method, operation in operations.items()
            if any(parameter["name"] == "If-Match" for parameter in operation.get("parameters", ()))
        ]
        for method, path in asked:
            at = path.format(pool="team", provider="p", revision=1)
            refused = await app.ask(method, at, body=bodies.get(path, {}), headers={**BEARER, "if-match": '"7"'})
            assert (refused.status, refused.json()["error"]["code"]) == (409, "conflict"), (method, path)
        current = await app.ask("GET", "/admin/api/config", headers=BEARER)
        taken = await app.ask(
            "PATCH", "/admin/api/pools/team", body={"label": "x"}, headers={**BEARER, "if-match": current.headers["etag"]}
        )
    assert (len(asked), taken.status) == (14, 200)
    assert set(paths["/admin/api/config"]["get"]["responses"]["200"]["headers"]) == {"etag"}


async def test_its_description_is_made_once_and_not_on_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[threading.Thread] = []

    def counted(schema: dict[str, Any]) -> dict[str, Any]:
        made.append(threading.current_thread())
        return described(schema)

    monkeypatch.setattr("fkproxy.web.admin.described", counted)
    app = App(APP_AUTH__MASTER_KEY=KEY)
    replies = await asyncio.gather(*(app.ask("GET", "/admin/api/openapi.json", headers=BEARER) for _ in range(3)))
    assert {(reply.status, reply.headers["content-type"]) for reply in replies} == {(200, "application/json")}
    assert len({reply.body for reply in replies}) == 1
    assert [thread is threading.main_thread() for thread in made] == [False]


async def test_guessing_is_slowed_for_whoever_guesses() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    wrong = {"authorization": "Bearer sk-wrong-key-0123456789"}
    statuses = [(await app.ask("GET", "/admin/api/upstreams", headers=wrong)).status for _ in range(7)]
    assert statuses == [401] * 6 + [429]
    banned = await app.ask("GET", "/admin/api/upstreams", headers=BEARER)
    assert (banned.status, banned.headers["retry-after"]) == (429, "1")
    assert banned.json()["error"]["code"] == "rate_limit_exceeded"
    assert (await app.ask("GET", "/admin/api/upstreams", headers=BEARER, peer="192.0.2.2")).status == 200


@pytest.mark.parametrize(
    ("door", "route"),
    [
        ("/admin/api/explain/x", "/admin/api/explain/{request_id}"),
        ("/admin/config?secrets=true", "/admin/config"),
        ("/v0/management/config", "/v0/management/config"),
        ("/metrics", "/metrics"),
    ],
)
async def test_who_guesses_is_counted_logged_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str, route: str) -> None:
    lines: list[CallRecord] = []
    monkeypatch.setattr("fkproxy.app.AccessLog.write", lambda _, record: lines.append(record))
    wrong = {"authorization": "Bearer sk-wrong-key-0123456789", "x-request-id": "guess"}
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        for _ in range(7):
            await app.ask("GET", door, headers=wrong)
        assert b"fkproxy_refused_keys_total 7.0" in (await app.ask("GET", "/metrics/prometheus", headers=BEARER, peer="::1")).body
        await app.ask("POST", "/admin/api/upstreams/reset", headers=BEARER, peer="::1")
        entries = (await app.ask("GET", "/admin/api/audit?action=admin", headers=BEARER, peer="::1")).json()
    told = [(line.route, line.peer, line.auth, line.error_code) for line in lines if (line.request_id, line.status) == ("guess", 401)]
    assert told == [(route, "192.0.2.1", "refused", "invalid_api_key")] * 6
    assert [(entry["action"], entry["actor"]) for entry in entries] == [
        (f"admin.{verb}", {"kind": "system", "peer": "192.0.2.0/24"}) for verb in ("slow_down", "refuse")
    ]


async def test_an_answer_has_the_id_that_is_written_down_with_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[CallRecord] = []
    monkeypatch.setattr("fkproxy.app.AccessLog.write", lambda _, record: lines.append(record))
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path)) as app:
        refused = await app.ask("GET", "/admin/api/upstreams")
        done = await app.ask("POST", "/admin/api/pools", headers=BEARER, body={"name": "team"})
        given = await app.ask("GET", "/admin/api/nothing", headers={"x-request-id": "mine"})
        entries = (await app.ask("GET", "/admin/api/audit?limit=1", headers=BEARER)).json()
    assert refused.headers["x-request-id"] in [line.request_id for line in lines if line.status == 401]
    assert done.headers["x-request-id"] == entries[0]["request_id"]
    assert given.headers["x-request-id"] == "mine"


async def test_who_forgot_his_key_does_not_guess() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    assert {(await app.ask("GET", "/admin/api/upstreams")).status for _ in range(20)} == {401}
    assert (await app.ask("GET", "/admin/api/upstreams", headers=BEARER)).status == 200


@pytest.mark.parametrize(
    ("peers", "other"),
    [(["2001:db8::1", "2001:db8::2"], "2001:db8:0:1::1"), (["192.0.2.1", "::ffff:192.0.2.1"], "::ffff:192.0.2.2")],
    ids=["IPv6", "IPv4 on a socket for both"],
)
async def test_who_has_a_network_of_addresses_is_one_who_guesses(peers: list[str], other: str) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    wrong = {"authorization": "Bearer sk-wrong-key-0123456789"}
    assert [(await app.ask("GET", "/admin/api/upstreams", headers=wrong, peer=peers[n % 2])).status for n in range(7)] == [401] * 6 + [429]
    assert (await app.ask("GET", "/admin/api/upstreams", headers=BEARER, peer=other)).status == 200


async def test_behind_a_trusted_proxy_the_one_who_guesses_is_slowed_and_not_the_proxy() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY, APP_SERVER__TRUSTED_PROXIES="192.0.2.1")
    for _ in range(6):
        await app.ask("GET", "/admin/api/upstreams", headers={"x-management-key": "wrong", "x-forwarded-for": "198.51.100.7"})
    assert (await app.ask("GET", "/admin/api/upstreams", headers={**BEARER, "x-forwarded-for": "198.51.100.7"})).status == 429
    assert (await app.ask("GET", "/admin/api/upstreams", headers={**BEARER, "x-forwarded-for": "198.51.100.8"})).status == 200
