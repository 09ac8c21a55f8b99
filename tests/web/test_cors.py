"""Pages that call from a browser: which may, what they may send and read, and what caches are told."""

from __future__ import annotations

import pytest

from tests.web.asking import App, Reply, chat

KEY = "sk-web-tests-0123456789"
CHAT = "/v1/chat/completions"
PAGE = "https://app.example"
SETTINGS = {"APP_CORS__ENABLED": "true", "APP_CORS__ALLOWED_ORIGINS": f"{PAGE},http://localhost:*,app://obsidian.md"}
ALL = {**SETTINGS, "APP_CORS__ALLOWED_ORIGINS": f"*,{PAGE}"}

SAFELISTED = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"}
"""Fetch standard, CORS-safelisted response-header name."""

FOR_THE_BROWSER = {"content-security-policy", "referrer-policy", "vary", "x-accel-buffering", "x-content-type-options", "x-frame-options"}


async def preflight(app: App, origin: str = PAGE, path: str = CHAT, **headers: str) -> Reply:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}
    return await app.ask("OPTIONS", path, headers={"origin": origin, **asked, **headers})


async def test_a_page_that_may_call_hears_so_before_it_does() -> None:
    reply = await preflight(App(**SETTINGS, APP_CORS__MAX_AGE_SECS="77"))
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert reply.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert reply.headers["access-control-allow-methods"] == "GET, HEAD, POST, OPTIONS"
    assert reply.headers["access-control-max-age"] == "77"
    assert reply.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "path", [CHAT, "/v1/responses", "/v1/models", "/v1beta/models/m:generateContent", "/health", "/verify", "/nowhere"]
)
async def test_it_hears_it_at_every_path_and_without_a_key(path: str) -> None:
    reply = await preflight(App(**SETTINGS, APP_AUTH__MASTER_KEY=KEY), path=path)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, PAGE)


async def test_no_page_hears_it_of_the_administrators_routes() -> None:
    for settings in (SETTINGS, ALL):
        reply = await preflight(App(**settings, APP_AUTH__MASTER_KEY=KEY), path="/admin/api/keys")
        assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (PAGE, True),
        ("app://obsidian.md", True),
        *[(origin, True) for origin in ("http://localhost", "http://localhost:1", "http://localhost:65535")],
        *[(origin, False) for origin in ("https://localhost:3000", "http://localhost.evil.example", "http://localhost:3000.evil.example")],
        *[(origin, False) for origin in ("http://localhost:", "http://localhost:*", "http://localhost:1:2", "http://localhost:80x")],
        *[
            (origin, False)
            for origin in ("https://app.example.evil.example", "https://app.example:8443", "http://app.example", "null", "*")
        ],
    ],
)
async def test_origins_are_compared_as_a_whole(origin: str, allowed: bool) -> None:
    app, headers = App(**SETTINGS, APP_AUTH__MASTER_KEY=KEY), {"origin": origin, "authorization": f"Bearer {KEY}"}
    for reply in (await preflight(app, origin), await app.ask("POST", CHAT, body=chat(), headers=headers)):
        assert reply.status in (200, 204)
        assert reply.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert ("access-control-expose-headers" in reply.headers) is allowed
        assert reply.headers["vary"] == "Origin", "or a cache shows one page the answer to another"


async def test_what_is_said_to_nobodys_page_varies_too() -> None:
    app = App(**SETTINGS)
    for path in ("/v1/models", "/health"):
        assert (await app.ask("GET", path)).headers["vary"] == "Origin"


async def test_all_may_call_and_none_with_credentials() -> None:
    app = App(**ALL)
    for reply in (await preflight(app, "https://any.example"), await app.ask("GET", "/v1/models", headers={"origin": PAGE})):
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in reply.headers
        assert "vary" not in reply.headers


async def test_a_page_can_read_all_that_the_gateway_tells() -> None:
    app = App(**SETTINGS, APP_AUTH__MASTER_KEY=KEY, APP_RATE_LIMIT__CAPACITY="2", APP_RATE_LIMIT__REFILL_PER_SECOND="1")
    mine = {"origin": PAGE, "authorization": f"Bearer {KEY}", "x-fkproxy-explain": "1"}
    told: set[str] = set()
    for headers, status in ((mine, 200), (mine, 200), (mine, 429), ({"origin": PAGE}, 401)):
        reply = await app.ask("POST", CHAT, body=chat(stream=status == 200), headers=headers)
        assert reply.status == status
        names = {name for name in reply.headers if not name.startswith("access-control")} - SAFELISTED - FOR_THE_BROWSER
        assert names <= set(reply.headers["access-control-expose-headers"].split(", "))
        told |= names
    assert {"x-request-id", "retry-after", "x-ratelimit-remaining", "www-authenticate"} <= told


async def test_nothing_is_said_while_it_is_off() -> None:
    app = App()
    reply = await app.ask("POST", CHAT, body=chat(), headers={"origin": PAGE})
    assert not {name for name in reply.headers if name.startswith("access-control") or name == "vary"}
    told = await preflight(app)
    assert (told.status, told.headers["allow"]) == (204, "POST, HEAD, OPTIONS")
    assert not [name for name in told.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        *[
            ({"origin": origin}, 200)
            for origin in ("http://localhost:5173", "http://app.localhost", "http://127.0.0.1:8000", "http://[::1]:1")
        ],
        *[({"origin": origin}, 200) for origin in ("app://obsidian.md", "chrome-extension://abcdef", "vscode-webview://1x2")],
        ({"origin": "https://ours.example", "sec-fetch-site": "same-origin"}, 200),
        *[
            ({"origin": origin}, 403)
            for origin in (PAGE, "null", "", "http://localhost.example", "http://127.0.0.1.example", "http://[::1")
        ],
        *[({"origin": PAGE, "sec-fetch-site": site}, 403) for site in ("cross-site", "same-site", "none")],
    ],
)
async def test_a_page_of_another_site_may_not_use_a_gateway_that_asks_nobody_for_a_key(headers: dict[str, str], status: int) -> None:
    app = App()
    reply = await app.ask("POST", CHAT, body=chat(), headers={"content-type": "text/plain", **headers})
    assert reply.status == status
    assert status == 200 or reply.json()["error"]["code"] == "origin_not_allowed"


async def test_a_page_of_another_site_may_call_with_a_key_or_where_it_is_named() -> None:
    for app in (App(APP_AUTH__MASTER_KEY=KEY), App(**SETTINGS), App(**ALL)):
        reply = await app.ask("POST", CHAT, body=chat(), headers={"origin": PAGE, "authorization": f"Bearer {KEY}"})
        assert reply.status == 200
