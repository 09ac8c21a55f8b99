"""Client keys, from their making to their end."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from fkproxy.access import digest
from fkproxy.control.key_views import KeyPatch, LimitsPatch, NewKey, Spending
from fkproxy.control.keys import DAY_S, MAX_OVERLAP_S, KeyControl
from fkproxy.control.ledger import Ledger
from fkproxy.control.refusals import Forbidden, Invalid, Refused, Unknown
from fkproxy.directory import ClientKey, Document, Pool
from fkproxy.storage.store import Store
from fkproxy.storage.values import StoreUnavailable
from tests.control.acting import BY, NOW_S, PEPPER, Office, begun, rows, told


async def test_a_new_key_shows_its_secret_once_and_keeps_a_digest_of_it(office: Office) -> None:
    made = await office.keys.create(NewKey(pool="team", label=" laptops ", limits=LimitsPatch(tokens_per_day=0)), by=BY)
    assert re.fullmatch(r"sk-fk-[0-9a-f]{12}-[\w-]{43}", made.secret)
    assert made.secret.startswith(f"{made.key.prefix}-")
    kept = await office.kept(made.key.id)
    assert (kept.secrets[0].digest, kept.label, kept.limits.tokens_per_day) == (digest(PEPPER, made.secret.encode()), "laptops", 0)
    assert (await office.keys.get(made.key.id)) == made.key == (await office.keys.all())[0]
    assert await told(office.store) == [("key.create", "done", ("pool", "label", "limits.tokens_per_day"))]
    assert (await rows(office.store))[0].target == made.key.id
    assert made.secret.removeprefix(made.key.prefix) not in repr((made, await office.keys.all(), await rows(office.store)))


@pytest.mark.parametrize("how", ["id", "prefix", "secret"])
async def test_a_key_is_found_by_its_id_its_prefix_and_even_all_of_it(office: Office, how: str) -> None:
    made = await office.keys.create(NewKey(pool="team"), by=BY)
    name = {"id": made.key.id, "prefix": made.key.prefix, "secret": made.secret}[how]
    assert (await office.keys.pause(name, by=BY)).effective_state == "paused"
    assert (await rows(office.store))[-1].target == made.key.id


async def test_nothing_of_a_key_that_is_not_there_is_written_down(office: Office) -> None:
    with pytest.raises(Unknown) as caught:
        await office.keys.pause("sk-fk-0123456789ab-" + "canary" * 7, by=BY)
    with pytest.raises(Unknown):
        await office.keys.pause("a secret of somebody", by=BY)
    assert "canary" not in repr((caught.value.args, await rows(office.store)))
    assert [(entry.target, entry.outcome, entry.note) for entry in await rows(office.store)] == [
        ("sk-fk-0123456789ab", "refused", "not_found"), ("-", "refused", "not_found"),
    ]  # fmt: skip


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"pool": "nowhere"}, "pool is no pool; there are old, spare, team"),
    ({"pool": "old"}, "pool is archived"),
    ({"label": "x" * 101}, "label is longer than 100"),
    ({"label": "a\nb"}, "label holds control characters"),
    ({"models": ["gpt-*", "a b"]}, r"models\[1\] is no model's name"),
    ({"models": [""]}, r"models\[0\] is no model's name"),
    ({"models": ["m"] * 1001}, "models holds more than 1000"),
    ({"enforced_model": "gpt-*"}, "enforced_model is not one model's name"),
    ({"enforced_model": "b", "models": ["a"]}, "enforced_model is none of the models"),
    ({"enforced_thinking": "very"}, "enforced_thinking asks for nothing"),
    ({"maximum_thinking": "12345678"}, "maximum_thinking asks for nothing"),
    ({"enforced_thinking": "low", "maximum_thinking": "high"}, "exclude each other"),
    ({"limits": {"requests_per_minute": -1}}, r"limits\.requests_per_minute is not an amount"),
    ({"limits": {"tokens_per_week": 2**53 + 1}}, r"limits\.tokens_per_week is not an amount"),
    ({"limits": {"spend_usd_per_day": -0.01}}, r"limits\.spend_usd_per_day is not an amount"),
    ({"expires_s": NOW_S}, "expires_s is not a time to come"),
    ({"expires_s": 1e300}, "expires_s is not a time to come"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), REFUSED, ids=lambda value: str(value)[:40])
async def test_what_a_key_must_not_be(office: Office, fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(Invalid, match=expected):
        await office.keys.create(msgspec.convert({"pool": "team", **fields}, NewKey), by=BY)
    assert (await office.keys.all(), await told(office.store)) == ([], [("key.create", "refused", ())])
    if "pool" not in fields:
        made = await office.keys.create(NewKey(pool="team"), by=BY)
        with pytest.raises(Invalid, match=expected):
            await office.keys.update(made.key.id, msgspec.convert(fields, KeyPatch), by=BY)
        assert await office.keys.get(made.key.id) == made.key


async def test_all_faults_are_told_at_once(office: Office) -> None:
    with pytest.raises(Invalid) as caught:
        await office.keys.create(NewKey(pool="x", label="\t", models=(" ",), limits=LimitsPatch(max_concurrency=-1)), by=BY)
    assert [fault.field for fault in caught.value.faults] == ["pool", "label", "models[0]", "limits.max_concurrency"]


async def test_a_patch_changes_what_it_names_and_null_clears(office: Office) -> None:
    limits = LimitsPatch(tokens_per_day=10, requests_per_minute=3)
    made = await office.keys.create(NewKey(pool="team", label="a", expires_s=NOW_S + 9, maximum_thinking="High", limits=limits), by=BY)
    patch = msgspec.json.decode(b'{"expires_s":null,"limits":{"tokens_per_day":null},"maximum_thinking":"high"}', type=KeyPatch)
    view = await office.keys.update(made.key.id, patch, by=BY)
    assert (view.label, view.expires_s, view.maximum_thinking) == ("a", None, "high")
    assert (view.limits.tokens_per_day, view.limits.requests_per_minute) == (None, 3)
    assert (await told(office.store))[-1] == ("key.update", "done", ("expires_s", "limits.tokens_per_day"))


async def test_enforced_and_maximum_change_places_in_one_patch(office: Office) -> None:
    made = await office.keys.create(NewKey(pool="team", enforced_thinking="low"), by=BY)
    with pytest.raises(Invalid):
        await office.keys.update(made.key.id, KeyPatch(maximum_thinking="high"), by=BY)
    view = await office.keys.update(made.key.id, KeyPatch(maximum_thinking="8192", enforced_thinking=None), by=BY)
    assert (view.enforced_thinking, view.maximum_thinking) == (None, "8192")


async def test_what_a_call_meets_is_told_beside_what_was_set(office: Office) -> None:
    id_ = (await office.keys.create(NewKey(pool="team", expires_s=NOW_S + 60), by=BY)).key.id
    states = [(await office.keys.get(id_)).effective_state]
    states.append((await office.keys.pause(id_, by=BY)).effective_state)
    states.append((await office.keys.resume(id_, by=BY)).effective_state)
    await begun(office.store, Document(pools=(Pool(name="team", state="paused"),)))
    states.append((await office.keys.get(id_)).effective_state)
    await begun(office.store, Document())
    states.append((await office.keys.get(id_)).effective_state)
    office.now_s += 60
    states.append((await office.keys.get(id_)).effective_state)
    states.append((await office.keys.revoke(id_, by=BY)).effective_state)
    assert states == ["active", "paused", "active", "pool_paused", "pool_missing", "expired", "revoked"]


async def test_a_revoked_key_stays_so(office: Office) -> None:
    id_ = (await office.keys.create(NewKey(pool="team"), by=BY)).key.id
    view = await office.keys.revoke(id_, by=BY)
    office.now_s += 1
    assert (view.state, view.revoked_s, await office.keys.revoke(id_, by=BY)) == ("revoked", NOW_S, view)
    for verb in (office.keys.pause, office.keys.resume, office.keys.rotate):
        with pytest.raises(Forbidden, match="for ever"):
            await verb(id_, by=BY)
    with pytest.raises(Forbidden, match="for ever"):
        await office.keys.update(id_, KeyPatch(label="x"), by=BY)
    with pytest.raises(Forbidden, match="for ever"):
        await office.keys.move(id_, "spare", by=BY)


async def test_a_rotation_lets_the_old_secret_live_a_little_longer(office: Office) -> None:
    made = await office.keys.create(NewKey(pool="team"), by=BY)
    again = await office.keys.rotate(made.key.id, by=BY)
    assert again.secret != made.secret
    assert [(secret.prefix, secret.expires_s) for secret in again.key.secrets] == [
        (made.key.prefix, NOW_S + DAY_S),
        (again.key.prefix, None),
    ]
    third = await office.keys.rotate(made.key.id, overlap_s=60, by=BY)
    assert [secret.expires_s for secret in third.key.secrets] == [NOW_S + 60, NOW_S + 60, None]
    office.now_s += 60
    assert [secret.prefix for secret in (await office.keys.get(made.key.id)).secrets] == [third.key.prefix]
    last = await office.keys.rotate(made.key.id, overlap_s=0, by=BY)
    assert [secret.prefix for secret in (await office.kept(made.key.id)).secrets] == [last.key.prefix]


@pytest.mark.parametrize("overlap_s", [-1.0, MAX_OVERLAP_S + 1, float("nan"), float("inf")])
async def test_an_overlap_has_a_bound(office: Office, overlap_s: float) -> None:
    made = await office.keys.create(NewKey(pool="team"), by=BY)
    with pytest.raises(Invalid, match="overlap_s is out of range"):
        await office.keys.rotate(made.key.id, overlap_s=overlap_s, by=BY)


async def test_a_key_has_a_bounded_number_of_secrets(office: Office) -> None:
    made = await office.keys.create(NewKey(pool="team"), by=BY)
    for _ in range(7):
        with_many = await office.keys.rotate(made.key.id, by=BY)
    assert len(with_many.key.secrets) == 8
    with pytest.raises(Forbidden, match="overlap of 0"):
        await office.keys.rotate(made.key.id, by=BY)
    assert len((await office.keys.rotate(made.key.id, overlap_s=0, by=BY)).key.secrets) == 1


async def test_moving_a_key(office: Office) -> None:
    id_ = (await office.keys.create(NewKey(pool="team"), by=BY)).key.id
    assert (await office.keys.move(id_, "spare", by=BY)).pool == "spare"
    assert (await told(office.store))[-1] == ("key.update", "done", ("pool",))
    for pool in ("old", "nowhere"):
        with pytest.raises(Invalid, match="pool is"):
            await office.keys.move(id_, pool, by=BY)
    assert [view.id for view in await office.keys.all(pool="spare")] == [id_]
    assert await office.keys.all(pool="team") == []


async def test_deleting_needs_an_end_or_the_prefix(office: Office) -> None:
    first, second = [(await office.keys.create(NewKey(pool="team"), by=BY)).key for _ in range(2)]
    for confirm in (None, "", second.prefix):
        with pytest.raises(Forbidden, match="confirm with its prefix"):
            await office.keys.delete(first.id, confirm=confirm, by=BY)
    await office.keys.delete(first.id, confirm=first.prefix, by=BY)
    await office.keys.revoke(second.id, by=BY)
    await office.keys.delete(second.id, by=BY)
    assert await office.keys.all() == []
    assert ((await rows(office.store))[-1].action, (await rows(office.store))[-1].target) == ("key.delete", second.id)


async def test_the_number_of_keys_has_a_bound(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.control.keys.MAX_KEYS", 1)
    await office.keys.create(NewKey(pool="team"), by=BY)
    with pytest.raises(Forbidden, match="there are 1 keys already, of 1"):
        await office.keys.create(NewKey(pool="team"), by=BY)


async def test_use_and_spending_are_shown_where_they_are_known(office: Office) -> None:
    first, second = [(await office.keys.create(NewKey(pool="team"), by=BY)).key.id for _ in range(2)]
    await office.store.touch_keys({first: NOW_S - 5})
    office.spent[first] = Spending(tokens_today=12)
    views = {view.id: view for view in await office.keys.all()}
    assert (views[first].last_used_s, views[first].spent) == (NOW_S - 5, Spending(tokens_today=12))
    assert (views[second].last_used_s, views[second].spent) == (None, None)


async def test_without_a_store_nothing_happens_and_nothing_is_made_up() -> None:
    def away() -> Store:
        raise StoreUnavailable("locked", "somebody else writes")

    keys = KeyControl(Ledger(away), lambda: PEPPER)
    for waiting in (keys.all(), keys.get("x"), keys.create(NewKey(pool="team"), by=BY), keys.revoke("x", by=BY)):
        with pytest.raises(StoreUnavailable):
            await waiting


def test_what_a_key_is_and_what_it_may_be_are_the_same_fields() -> None:
    fixed = {"id", "pool", "state", "secrets", "created_s", "revoked_s"}
    assert set(ClientKey.__struct_fields__) - fixed == set(KeyPatch.__struct_fields__)
    assert issubclass(Invalid, Refused)


async def test_a_secret_is_told_although_the_store_goes_away_after_the_change(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await office.keys.create(NewKey(pool="team"), by=BY)

    async def away() -> dict[str, float]:
        raise StoreUnavailable("locked", "somebody else writes")

    monkeypatch.setattr(office.store, "key_uses", away)
    for told_of in (await office.keys.create(NewKey(pool="team"), by=BY), await office.keys.rotate(made.key.id, overlap_s=0, by=BY)):
        kept = await office.kept(told_of.key.id)
        assert kept.secrets[-1].digest == digest(PEPPER, told_of.secret.encode())
        assert (told_of.key.effective_state, told_of.key.last_used_s) == ("active", None)
    with pytest.raises(StoreUnavailable):
        await office.keys.get(made.key.id)
