"""The verbs of another system, over ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fkproxy.access import KeyRing
from fkproxy.adapters.http import HttpClient
from fkproxy.assembly import Assembly
from fkproxy.control.calls import CallControl
from fkproxy.control.compat import NoCredential, auth_index
from fkproxy.control.compat_verbs import POOL, SCALARS, CompatControl, Malformed, Wished
from fkproxy.control.refusals import Forbidden, Invalid
from fkproxy.control.upstreams import UpstreamControl
from fkproxy.directory import Directory
from fkproxy.storage.calls_values import CallFilter, CallPage, CallRow, ExportFormat, GroupBy, UsageFilter, UsageRow
from fkproxy.storage.store import Store
from fkproxy.storage.values import Picture
from tests.control.acting import BY, MASTER, PEPPER, SECRET, Office, rows
from tests.fakes.pipeline import Bench


class Sums:
    """A log of calls that knows one key and one model."""

    async def search(self, which: CallFilter, *, limit: int = 50, cursor: str | None = None) -> CallPage:
        return CallPage(rows=())

    async def get(self, request_id: str) -> tuple[CallRow, ...]:
        return ()

    async def export(self, which: CallFilter, kind: ExportFormat) -> AsyncIterator[bytes]:
        yield b""

    async def usage(
        self, by: GroupBy, *, since_s: float | None = None, until_s: float | None = None, which: UsageFilter | None = None
    ) -> list[UsageRow]:
        groups: dict[str, str | int] = {"key": "k1", "model": f"model-of-{which.key_id if which else ''}", "hour": 0}
        return [
            UsageRow(
                group=groups[by], calls=2, failed=1, client_ended=0, tokens_input=3, tokens_output=4, tokens_cached_input=0,
                tokens_cache_write=0, tokens_reasoning=0, cost_usd=0.0, cost_unknown=0,
            )
        ]  # fmt: skip


class Desk:
    """An office with these verbs, over upstreams of a bench."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.bench = Bench(("filed/a", "openai_chat"), ("two", "openai_chat"))
        self.wished = Wished(strategy="ordered", switch_project=True, switch_preview_model=False)
        self.verbs = CompatControl(
            settings=office.settings,
            keys=office.keys,
            pools=office.pools,
            providers=office.providers,
            upstreams=UpstreamControl(lambda: self.bench.gateway.fleet, now=self.bench.clock),
            calls=CallControl(lambda: Sums(), office.ledger),
            wished=lambda: self.wished,
            clients=("openai_chat", "gemini"),
            ledger=office.ledger,
        )


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


# --- scalars

WRITTEN: list[tuple[str, Any, dict[str, str]]] = [
    ("debug", True, {"APP_LOG__LEVEL": "debug"}),
    ("debug", False, {"APP_LOG__LEVEL": "info"}),
    ("request-retry", 3, {"APP_ROUTING__MAX_ATTEMPTS": "4"}),
    ("max-retry-interval", 30, {"APP_ROUTING__MAX_WAIT_SECS": "30"}),
    ("routing/strategy", "rr", {"APP_ROUTING__STRATEGY": "round_robin"}),
    ("routing/strategy", "WRR", {"APP_ROUTING__STRATEGY": "weighted"}),
    ("routing/strategy", "fill-first", {"APP_ROUTING__STRATEGY": "fill_first"}),
    ("routing/strategy", "sticky", {"APP_ROUTING__STRATEGY": "sticky"}),
    ("quota-exceeded/switch-project", False, {"APP_ROUTING__SWITCH_PROJECT": "false"}),
    ("quota-exceeded/switch-preview-model", True, {"APP_ROUTING__SWITCH_PREVIEW_MODEL": "true"}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "kept"), WRITTEN, ids=lambda value: str(value)[:40])
async def test_a_scalar_is_a_setting_that_takes_effect_at_once(desk: Desk, path: str, value: Any, kept: dict[str, str]) -> None:
    await desk.verbs.set_scalar(path, {"value": value}, by=BY)
    assert (await desk.office.document()).settings == kept
    if path in ("debug", "request-retry", "max-retry-interval"):
        assert await desk.verbs.scalar(path) == value


@pytest.mark.parametrize("body", [None, [], {}, {"value": None}, {"value": "yes"}, {"value": {}}, "true"])
@pytest.mark.parametrize("path", sorted(SCALARS))
async def test_a_body_that_makes_no_sense(desk: Desk, path: str, body: Any) -> None:
    with pytest.raises(Malformed, match=r"^invalid (body|strategy)$"):
        await desk.verbs.set_scalar(path, body, by=BY)
    assert (await desk.office.document()).settings == {}


async def test_numbers_out_of_range_and_settings_of_the_environment(desk: Desk) -> None:
    with pytest.raises(Invalid):
        await desk.verbs.set_scalar("request-retry", {"value": 5000}, by=BY)
    with pytest.raises(Malformed):
        await desk.verbs.set_scalar("request-retry", {"value": True}, by=BY)
    desk.office.declared.sources["APP_ROUTING__STRATEGY"] = "APP_ROUTING__STRATEGY"
    with pytest.raises(Forbidden, match="which wins"):
        await desk.verbs.set_scalar("routing/strategy", {"value": "rr"}, by=BY)


async def test_the_quota_toggles_change_routing(desk: Desk) -> None:
    office = desk.office

    async def policy() -> tuple[bool, bool, str]:
        loaded = await office.in_force()
        client = HttpClient()
        fleet = Assembly(client, loaded.settings, lambda provider, state: None).fleet(loaded)
        await client.aclose()
        return fleet.quota.switch_project, fleet.quota.switch_preview_model, fleet.strategy

    assert await policy() == (True, False, "ordered")
    await desk.verbs.set_scalar("quota-exceeded/switch-project", {"value": False}, by=BY)
    await desk.verbs.set_scalar("quota-exceeded/switch-preview-model", {"value": True}, by=BY)
    await desk.verbs.set_scalar("routing/strategy", {"value": "rr"}, by=BY)
    assert await policy() == (False, True, "round_robin")
    assert await desk.verbs.scalar("quota-exceeded/switch-project") is True, "what is in force is the gateway's to say"


# --- what is seen


async def test_the_configuration_and_the_files(desk: Desk) -> None:
    await desk.verbs.put_api_keys([f"{SECRET}-one"], by=BY)
    told = await desk.verbs.config()
    assert SECRET not in str(told)
    assert (told["quota-exceeded"], told["debug"], told["routing"]) == (
        {"switch-project": True, "switch-preview-model": False}, False, {"strategy": "ordered"},
    )  # fmt: skip
    assert [provider["name"] for provider in told["providers"]] == ["anthropic", "filed"]
    assert told["providers"][0]["supported_clients"] == ["openai_chat", "gemini"]
    files = await desk.verbs.auth_files()
    assert [file["filename"] for file in files] == ["anthropic.json", "filed-a.json", "two.json"]
    assert [file["id"] for file in await desk.verbs.auth_files(auth_index("two"))] == ["two"]
    assert await desk.verbs.auth_files("nobody") == []
    assert SECRET not in str(files)


async def test_usage_names_keys_by_their_prefixes(desk: Desk) -> None:
    told = await desk.verbs.usage()
    assert told["usage"]["apis"]["k1"]["models"]["model-of-k1"]["total_tokens"] == 7
    assert (told["usage"]["total_requests"], told["failed_requests"]) == (2, 1)


async def test_a_credential_is_disabled_enabled_and_reset_by_its_index(desk: Desk) -> None:
    index = auth_index("filed/a")
    upstream = desk.bench.gateway.fleet.upstreams[0]
    assert await desk.verbs.set_disabled({"name": "filed-a.json", "disabled": True}, by=BY) is True
    assert upstream.standing.state() == "paused"
    assert await desk.verbs.set_disabled({"name": "x", "auth_index": index, "disabled": False}, by=BY) is False
    upstream.standing.failed("m", 0, "quota", 600.0, desk.bench.clock())
    assert await desk.verbs.reset_quota({"auth_index": index}, by=BY) == {"status": "ok", "auth_index": index, "models": []}
    assert upstream.standing.state() == "active"
    assert [(row.action, row.target) for row in await rows(desk.office.store)] == [
        (f"upstream.{verb}", "filed/a") for verb in ("pause", "resume", "reset")
    ]
    for body in (None, {}, {"name": "x"}, {"name": "", "disabled": True}, {"name": 5, "disabled": True}):
        with pytest.raises(Malformed, match="invalid body"):
            await desk.verbs.set_disabled(body, by=BY)
    with pytest.raises(NoCredential):
        await desk.verbs.reset_quota({"auth_index": "nobody"}, by=BY)
    with pytest.raises(Malformed):
        await desk.verbs.reset_quota([], by=BY)


async def test_the_quota_of_a_credential(desk: Desk) -> None:
    assert (await desk.verbs.quota("two"))["quota_exhausted"] is False
    with pytest.raises(NoCredential):
        await desk.verbs.quota()


# --- client keys

OLD, NEW = f"{SECRET}-old-client", f"{SECRET}-new-client"


def ring(office: Office, picture: Any) -> KeyRing:
    return KeyRing([], required=True, directory=Directory(pools=picture.document.pools, keys=picture.keys, pepper=PEPPER))


async def test_keys_of_another_system_go_on_working_and_are_never_shown(desk: Desk, tmp_path: Path) -> None:
    office = desk.office
    await desk.verbs.put_api_keys([OLD, NEW], by=BY)
    prefixes = await desk.verbs.api_keys()
    assert len(prefixes) == 2
    assert SECRET not in str((prefixes, await office.keys.all(), await rows(office.store)))
    caller = ring(office, await office.store.picture()).identify(OLD.encode())
    assert (caller.pool, caller.barred, caller.key_prefix in prefixes) == (POOL, None, True)
    for path in (tmp_path / "state").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


async def test_a_list_says_which_keys_there_are(desk: Desk) -> None:
    await desk.verbs.put_api_keys({"items": [OLD]}, by=BY)
    (prefix,) = await desk.verbs.api_keys()
    await desk.verbs.put_api_keys([prefix, NEW], by=BY)
    assert prefix in await desk.verbs.api_keys()
    await desk.verbs.put_api_keys([NEW], by=BY)
    assert prefix not in await desk.verbs.api_keys()
    assert sorted(view.state for view in await desk.office.keys.all()) == ["active", "revoked"]


async def test_of_a_long_list_all_are_looked_up_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.verbs.put_api_keys([f"{NEW}-{number}" for number in range(9)], by=BY)
    prefixes, store, looks = await desk.verbs.api_keys(), desk.office.store, []
    look = store.picture

    async def counted() -> Picture:
        looks.append(1)
        return await look()

    monkeypatch.setattr(store, "picture", counted)
    await desk.verbs.put_api_keys([*prefixes, f"{NEW}-3"], by=BY)
    assert len(looks) < len(prefixes)
    assert await desk.verbs.api_keys() == prefixes


async def test_a_list_with_a_key_that_cannot_be_let_in_changes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.verbs.put_api_keys([OLD, NEW], by=BY)
    await desk.verbs.put_api_keys([NEW], by=BY)
    before = await desk.office.store.picture()
    with pytest.raises(Forbidden, match="until it was revoked"):
        await desk.verbs.put_api_keys([f"{NEW}-2", OLD], by=BY)
    with pytest.raises(Malformed, match="prefix of a key that is not there"):
        await desk.verbs.put_api_keys([f"{NEW}-2", "sk-fk-0123456789ab"], by=BY)
    with pytest.raises(Forbidden, match="the master key"):
        await desk.verbs.put_api_keys([f"{NEW}-2", MASTER], by=BY)
    monkeypatch.setattr("fkproxy.control.keys.MAX_KEYS", 3)
    with pytest.raises(Forbidden, match="there are 2 keys already, of 3"):
        await desk.verbs.put_api_keys([f"{NEW}-2", f"{NEW}-3"], by=BY)
    assert await desk.office.store.picture() == before
    refused = [(row.action, row.outcome, row.note) for row in (await rows(desk.office.store))[-3:]]
    assert refused == [("key.create", "refused", "forbidden")] * 3
    await desk.verbs.put_api_keys([f"{NEW}-2", f"{NEW}-2"], by=BY)
    assert len(await desk.verbs.api_keys()) == 1


async def test_one_key_takes_the_place_of_another(desk: Desk) -> None:
    await desk.verbs.put_api_keys([OLD], by=BY)
    await desk.verbs.patch_api_keys({"old": OLD, "new": NEW}, by=BY)
    assert await desk.office.keys.presented(OLD) is None
    await desk.verbs.patch_api_keys({"index": 0, "value": f"{NEW}-2"}, by=BY)
    desk.office.now_s += 1
    await desk.verbs.patch_api_keys({"old": "not there at all", "new": f"{NEW}-3"}, by=BY)
    assert len(await desk.verbs.api_keys()) == 2
    await desk.verbs.patch_api_keys({"index": 0, "value": f"{NEW}-2"}, by=BY)
    assert len(await desk.verbs.api_keys()) == 2


async def test_deleting_is_revoking(desk: Desk) -> None:
    await desk.verbs.put_api_keys([OLD, NEW, f"{NEW}-2"], by=BY)
    await desk.verbs.delete_api_key(value=OLD, by=BY)
    await desk.verbs.delete_api_key(index=1, by=BY)
    (prefix,) = await desk.verbs.api_keys()
    await desk.verbs.delete_api_key(value=prefix, by=BY)
    assert await desk.verbs.api_keys() == []
    for where in ({"index": 0}, {"index": -1}, {"value": OLD}, {"value": "\ud800"}):
        with pytest.raises(Malformed, match="item not found"):
            await desk.verbs.delete_api_key(**where, by=BY)
    with pytest.raises(Malformed, match="missing index or value"):
        await desk.verbs.delete_api_key(by=BY)


WRONG: list[Any] = [
    None,
    {},
    {"items": []},
    {"items": "x"},
    [5],
    ["short"],
    ["with spaces in the middle"],
    ["é" * 20],
    ["sk-fk-0123456789ab"],
]


@pytest.mark.parametrize("body", WRONG, ids=str)
async def test_what_is_no_list_of_keys_changes_nothing(desk: Desk, body: Any) -> None:
    await desk.verbs.put_api_keys([OLD], by=BY)
    with pytest.raises(Malformed):
        await desk.verbs.put_api_keys(body, by=BY)
    assert len(await desk.verbs.api_keys()) == 1


@pytest.mark.parametrize(
    "body", [None, {}, {"old": OLD}, {"index": 0}, {"index": 9, "value": NEW}, {"index": True, "value": NEW}, {"old": OLD, "new": "short"}]
)
async def test_what_is_no_exchange_of_keys(desk: Desk, body: Any) -> None:
    await desk.verbs.put_api_keys([OLD], by=BY)
    with pytest.raises(Malformed):
        await desk.verbs.patch_api_keys(body, by=BY)
    assert await desk.office.keys.presented(OLD) is not None


async def test_the_pool_of_these_keys_is_made_once(desk: Desk, store: Store) -> None:
    await desk.verbs.put_api_keys([OLD], by=BY)
    await desk.verbs.put_api_keys([OLD, NEW], by=BY)
    assert [row.target for row in await rows(store) if row.action == "pool.create"] == [POOL]
