"""What a proxy hears that asks about a key: which keys, in which form, and how guessing is slowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fkproxy.access import KeyRing
from fkproxy.clientele import Clientele
from fkproxy.directory import Directory, Pool
from fkproxy.model.errors import FkproxyError, NotAuthenticated, RateLimited
from fkproxy.web.asgi import Inbound
from fkproxy.web.verify import Verifier
from tests.fakes.keys import directory, key, raw, secret
from tests.web.asking import App, chat
from tests.web.test_ops import KEY, bearer, clienteles

__all__ = ["clienteles"]

NOW_S = 1_800_000_000.0
CLIENT = raw("a").decode()

# As Traefik 3 asks: GET without a body, what the client asked for in headers, the client's own headers beside them
# (its source, pkg/middlewares/auth/forward.go, read 2026-11).
BY_TRAEFIK = {
    "x-forwarded-method": "POST",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "api.example",
    "x-forwarded-uri": "/v1/chat/completions?beta=true",
    "x-forwarded-for": "198.51.100.9",
    "content-type": "application/json",
}


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-goog-api-key", "api-key"])
async def test_a_good_key_is_let_in_in_each_place_that_calls_have_it(clienteles: list[Clientele], header: str) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    clienteles[0].replace(directory(key()))
    headers = {**BY_TRAEFIK, header: f"Bearer {CLIENT}" if header == "authorization" else CLIENT}
    reply = await app.ask("GET", "/verify", headers=headers)
    assert (reply.status, reply.json()) == (200, {"ok": True})
    assert (reply.headers["x-fkproxy-key-id"], reply.headers["x-fkproxy-pool"]) == ("key-a", "team")
    assert CLIENT not in str(reply.headers)
    head = await app.ask("HEAD", "/verify", headers=headers)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(reply.body)))


async def test_a_bad_key_is_refused_as_calls_refuse_it() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    for headers in ({}, bearer("sk-of-nobody"), {"x-api-key": "sk-of-nobody"}):
        told, called = await app.ask("GET", "/verify", headers=headers), await app.ask("POST", "/v1/chat/completions", headers=headers)
        assert (told.status, told.headers["www-authenticate"]) == (401, "Bearer")
        assert (told.json()["error"]["code"], told.json()["error"]["message"]) == (
            called.json()["error"]["code"],
            called.json()["error"]["message"],
        )
    assert (await app.ask("GET", f"/verify?key={KEY}")).status == 401, "no door takes a key from the address"


async def test_where_no_key_is_needed_everybody_is_let_in_and_nobody_is_named() -> None:
    reply = await App().ask("GET", "/verify", headers=bearer("anything"))
    assert (reply.status, reply.json()) == (200, {"ok": True})
    assert not [name for name in reply.headers if name.startswith("x-fkproxy")]


async def test_the_master_key_is_let_in_until_clients_have_their_own(clienteles: list[Clientele]) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    assert (await app.ask("GET", "/verify", headers=bearer(KEY))).status == 200
    clienteles[0].replace(directory(key()))
    assert (await app.ask("GET", "/verify", headers=bearer(KEY))).status == 401
    assert (await app.ask("GET", "/verify", headers=bearer(CLIENT))).status == 200


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"state": "paused"}, "active"),
        ({"state": "revoked"}, "active"),
        ({"expires_s": 1.0}, "active"),
        ({"secrets": (secret("a", 1.0),)}, "active"),
        ({}, "paused"),
        ({}, "archived"),
        ({"pool": "gone"}, "active"),
    ],
)
async def test_a_key_whose_calls_are_not_let_in_is_refused_and_told_why(
    clienteles: list[Clientele], fields: dict[str, Any], state: Any
) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    clienteles[0].replace(directory(key(**fields), key("other"), pools=(Pool(name="team", state=state),)))
    told = await app.ask("GET", "/verify", headers=bearer(CLIENT))
    called = await app.ask("POST", "/v1/chat/completions", body=chat(), headers=bearer(CLIENT))
    assert (told.status, told.headers["www-authenticate"]) == (401, "Bearer")
    assert called.status in (401, 403)
    assert told.json()["error"]["message"] == called.json()["error"]["message"]


async def test_who_knows_no_keys_lets_nobody_in(clienteles: list[Clientele]) -> None:
    app = App()
    clienteles[0].replace(Directory(known=False))
    assert (await app.ask("GET", "/verify", headers=bearer(CLIENT))).status == 401


async def test_it_takes_nothing_of_the_rate(clienteles: list[Clientele]) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY, APP_RATE_LIMIT__CAPACITY="2", APP_RATE_LIMIT__REFILL_PER_SECOND="1")
    for _ in range(20):
        assert (await app.ask("GET", "/verify", headers=bearer(KEY))).status == 200
    assert (await app.ask("POST", "/v1/chat/completions", body=chat(), headers=bearer(KEY))).headers["x-ratelimit-remaining"] == "1"
    assert clienteles[0].last_used() == {}


async def test_methods() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    options = await app.ask("OPTIONS", "/verify", headers={"origin": "https://app.example"})
    assert (options.status, options.body) == (204, b"")
    assert not [name for name in options.headers if name.startswith("access-control")]
    posted = await app.ask("POST", "/verify", headers=bearer(KEY))
    assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_refusals_are_logged_and_everything_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, int, str]] = []
    monkeypatch.setattr("fkproxy.telemetry.logs.AccessLog.write", lambda _, it: written.append((it.route, it.status, it.auth)))
    app = App(APP_AUTH__MASTER_KEY=KEY)
    await app.ask("GET", "/verify", headers=bearer(KEY))
    for number in range(9):
        await app.ask("GET", "/verify", headers=bearer(f"sk-guess-{number}"))
    assert written == [("/verify", 401, "refused")] * 6
    scraped = (await app.ask("GET", "/metrics/prometheus", headers=bearer(KEY))).body.decode()
    counted = dict(line.split(" ") for line in scraped.splitlines() if line.startswith("fkproxy_verifications_total"))
    assert {name.split('"')[1]: float(value) for name, value in counted.items()} == {"let_in": 1, "refused": 6, "slowed": 3}


class Asked:
    """A verifier on a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        self.counted: list[str] = []
        self._verifier = Verifier(KeyRing([KEY], required=True), self.counted.append, now=lambda: self.now, now_s=lambda: NOW_S)

    def ask(self, presented: str | None, peer: str = "192.0.2.1", **headers: str) -> type[FkproxyError] | None:
        """What it raises."""
        given: Mapping[bytes, bytes] = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        bearer = {b"authorization": f"Bearer {presented}".encode()} if presented is not None else {}
        scope = {"method": "GET", "raw_path": b"/verify", "query_string": b""}
        try:
            self._verifier(Inbound(scope, peer, {**bearer, **given}))
        except FkproxyError as error:
            return type(error)
        return None

    def guess(self, count: int, peer: str = "192.0.2.1", **headers: str) -> list[type[FkproxyError] | None]:
        """That many keys that nobody has seen."""
        return [self.ask(f"sk-guess-{len(self.counted)}", peer, **headers) for _ in range(count)]


def test_who_guesses_waits_twice_as_long_each_time_even_with_the_right_key() -> None:
    asked = Asked()
    assert asked.guess(6) == [NotAuthenticated] * 6
    assert asked.ask(KEY) is RateLimited
    assert asked.ask(KEY, "192.0.2.2") is None, "somebody else does not wait"
    asked.now = 1.0
    assert asked.guess(2) == [NotAuthenticated, RateLimited]
    asked.now = 2.9
    assert asked.ask(KEY) is RateLimited
    asked.now = 3.0
    assert asked.ask(KEY) is None
    assert asked.guess(5) == [NotAuthenticated] * 5
    assert asked.ask(KEY) is None, "the right key forgives"


def test_a_client_with_an_old_key_keeps_nobody_out() -> None:
    asked = Asked()
    assert [asked.ask("sk-old") for _ in range(50)] == [NotAuthenticated] * 50
    assert [asked.ask(None) for _ in range(50)] == [NotAuthenticated] * 50
    assert asked.ask(KEY) is None


def test_a_proxy_that_is_not_trusted_does_not_make_its_clients_one() -> None:
    asked = Asked()
    told = "203.0.113.5, 198.51.100.1"
    assert asked.guess(7, x_forwarded_for=told)[-1] is RateLimited
    assert asked.ask(KEY, x_forwarded_for="203.0.113.5, 198.51.100.2") is None
    assert asked.ask(KEY, x_forwarded_for=told) is RateLimited
    assert asked.ask(KEY, x_forwarded_for="198.51.100.77, 198.51.100.1") is RateLimited, "what a client writes before it changes nothing"


def test_on_this_host_nobody_waits_long() -> None:
    asked = Asked()
    asked.guess(6, "127.0.0.1")
    for step in range(10):
        assert asked.ask(KEY, "127.0.0.1") is RateLimited
        asked.now += 1.0
        assert asked.ask(f"sk-later-{step}", "127.0.0.1") is NotAuthenticated
    asked.now += 1.0
    assert asked.ask(KEY, "127.0.0.1") is None


def test_what_is_remembered_is_bounded() -> None:
    asked = Asked()
    for number in range(5000):
        asked.ask(f"sk-{number}", f"192.0.{number // 250}.{number % 250}", x_forwarded_for="x" * 9000)
    assert len(asked._verifier._refused) == len(asked._verifier._guesses._failures) == 4096
    assert max(map(len, asked._verifier._guesses._failures._by_peer)) < 100
