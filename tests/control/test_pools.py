"""Pools, from their making to their end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from fkproxy.control.key_views import NewKey
from fkproxy.control.pools import NewPool, PoolPatch, PoolView
from fkproxy.control.refusals import Forbidden, Invalid, Unknown
from fkproxy.directory import Pool
from fkproxy.storage.values import Conflict
from tests.control.acting import BY, NOW_S, Office, entry, rows, told


async def test_a_new_pool_is_active_and_written_down(office: Office) -> None:
    new = NewPool(name="research", label=" Research ", upstreams=("filed/a", "anthropic"), strategy="sticky", fallbacks={"a": ("b", "b")})
    view = await office.pools.create(new, by=BY)
    assert (view.name, view.label, view.state, view.created_s, view.keys) == ("research", "Research", "active", NOW_S, {})
    assert (view.upstreams, view.strategy, view.fallbacks, view.models) == (("filed/a", "anthropic"), "sticky", {"a": ("b",)}, ("*",))
    assert await office.pools.get("research") == view == (await office.pools.all())[-1]
    assert await told(office.store) == [("pool.create", "done", ("label", "upstreams", "strategy", "fallbacks"))]
    assert [info.summary for info in await office.config.revisions()] == ["pool research created", "begun"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "team"}, "name is the name of a pool already"),
    ({"name": "Team"}, "name is no name; a lower-case letter"),
    ({"name": "a" * 33}, "name is no name"),
    ({"name": "../etc"}, "name is no name"),
    ({"label": "a\tb"}, "label holds control characters"),
    ({"upstreams": ["filed/b"]}, r"upstreams\[0\] is no upstream; did you mean filed/a\?"),
    ({"upstreams": ["filed", "?"]}, r"upstreams\[1\] is no upstream; there are anthropic, filed, filed/a, sandbox"),
    ({"models": ["a b"]}, r"models\[0\] is no model's name"),
    ({"excluded_models": ["\n"]}, r"excluded_models\[0\] is no model's name"),
    ({"fallbacks": {"": ["a"]}}, r"fallbacks\[0\] is no model's name"),
    ({"fallbacks": {"a": ["b", "a"]}}, r"fallbacks\[0\] names the model itself"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), REFUSED, ids=lambda value: str(value)[:40])
async def test_what_a_pool_must_not_be(office: Office, fields: dict[str, Any], expected: str) -> None:
    before = await office.document()
    with pytest.raises(Invalid, match=expected):
        await office.pools.create(msgspec.convert({"name": "new", **fields}, NewPool), by=BY)
    if "name" not in fields:
        with pytest.raises(Invalid, match=expected):
            await office.pools.update("team", msgspec.convert(fields, PoolPatch), by=BY)
    assert await office.document() == before
    assert {outcome for _, outcome, _ in await told(office.store)} == {"refused"}


async def test_a_patch_changes_what_it_names(office: Office) -> None:
    await office.pools.update("team", PoolPatch(models=("a-*",), strategy="weighted"), by=BY)
    view = await office.pools.update("team", PoolPatch(strategy=None, upstreams=("filed",)), by=BY)
    assert (view.models, view.strategy, view.upstreams) == (("a-*",), None, ("filed",))
    action, outcome, changed = (await told(office.store))[-1]
    assert (action, outcome, set(changed)) == ("pool.update", "done", {"upstreams", "strategy"})


STEPS: list[tuple[str, list[str], str]] = [
    ("pause", ["pause"], "paused"),
    ("resume", ["pause", "resume"], "active"),
    ("twice", ["pause", "pause"], "paused"),
    ("disable", ["pause", "disable"], "disabled"),
    ("no pause of a disabled one", ["disable", "!pause"], "disabled"),
    ("archive", ["disable", "archive"], "archived"),
    ("no pause of an archived one", ["archive", "!pause", "!disable"], "archived"),
    ("back from the archive", ["archive", "resume"], "active"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "state"), [case[1:] for case in STEPS], ids=[case[0] for case in STEPS])
async def test_the_states_of_a_pool(office: Office, steps: list[str], state: str) -> None:
    for step in steps:
        verb: Callable[..., Awaitable[PoolView]] = getattr(office.pools, step.strip("!"))
        if step.startswith("!"):
            with pytest.raises(Forbidden, match="resume it first"):
                await verb("team", by=BY)
        else:
            await verb("team", by=BY)
    assert (await office.pools.get("team")).state == state
    assert [row.action for row in await rows(office.store)] == [f"pool.{step.strip('!')}" for step in steps]


async def test_a_state_that_is_there_already_makes_no_revision(office: Office) -> None:
    first = await office.pools.pause("team", by=BY)
    again = await office.pools.pause("team", by=BY)
    assert first.revision == again.revision == 2


async def test_archived_pools_can_be_left_out_of_the_list(office: Office) -> None:
    assert [view.name for view in await office.pools.all(archived=False)] == ["team", "spare"]
    assert [view.name for view in await office.pools.all()] == ["team", "old", "spare"]


async def test_a_pool_shows_how_many_keys_it_has(office: Office) -> None:
    made = [(await office.keys.create(NewKey(pool="team", expires_s=NOW_S + 5 + number), by=BY)).key.id for number in range(4)]
    await office.keys.pause(made[2], by=BY)
    await office.keys.revoke(made[3], by=BY)
    office.now_s += 5
    assert (await office.pools.get("team")).keys == {"expired": 1, "active": 1, "paused": 1, "revoked": 1}
    assert (await office.pools.pause("team", by=BY)).keys == {"expired": 1, "pool_paused": 1, "paused": 1, "revoked": 1}


async def test_deleting_needs_the_archive_and_no_living_key(office: Office) -> None:
    id_ = (await office.keys.create(NewKey(pool="team"), by=BY)).key.id
    with pytest.raises(Forbidden, match="only an archived pool"):
        await office.pools.delete("team", by=BY)
    await office.pools.archive("team", by=BY)
    with pytest.raises(Forbidden, match="has 1 keys that are not revoked"):
        await office.pools.delete("team", by=BY)
    await office.keys.revoke(id_, by=BY)
    await office.pools.delete("team", by=BY)
    assert [view.name for view in await office.pools.all()] == ["old", "spare"]


@pytest.mark.parametrize("verb", ["get", "pause", "resume", "disable", "archive", "delete"])
async def test_a_pool_that_is_not_there(office: Office, verb: str) -> None:
    with pytest.raises(Unknown, match=r"no such pool; did you mean team\?"):
        await getattr(office.pools, verb)("teem", **({} if verb == "get" else {"by": BY}))
    assert [(row.target, row.outcome) for row in await rows(office.store)] == ([] if verb == "get" else [("-", "refused")])


async def test_who_looked_at_an_older_revision_is_told(office: Office) -> None:
    seen = (await office.pools.get("team")).revision
    await office.pools.update("spare", PoolPatch(label="x"), by=BY, based_on=seen)
    with pytest.raises(Conflict):
        await office.pools.update("team", PoolPatch(label="y"), by=BY, based_on=seen)
    last = (await rows(office.store))[-1]
    assert (last.outcome, last.note, (await office.pools.get("team")).label) == ("refused", "conflict", "")


async def test_an_upstream_that_has_gone_since_does_not_keep_a_pool_from_changing(office: Office) -> None:
    await office.pools.update("team", PoolPatch(upstreams=("filed",)), by=BY)
    office.declared = msgspec.structs.replace(office.declared, providers=())
    assert (await office.pools.update("team", PoolPatch(label="x"), by=BY)).upstreams == ("filed",)
    with pytest.raises(Invalid, match="is no upstream"):
        await office.pools.update("team", PoolPatch(upstreams=("filed",)), by=BY)


async def test_managed_providers_are_upstreams_too(office: Office) -> None:
    await office.providers.put("one", entry("one"), by=BY)
    assert (await office.pools.update("team", PoolPatch(upstreams=("one",)), by=BY)).upstreams == ("one",)


async def test_the_number_of_pools_has_a_bound(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.control.pools.MAX_POOLS", 3)
    with pytest.raises(Forbidden, match="3 pools already"):
        await office.pools.create(NewPool(name="fourth"), by=BY)


def test_what_a_pool_is_and_what_it_may_be_are_the_same_fields() -> None:
    assert set(Pool.__struct_fields__) - {"name", "state", "created_s"} == set(PoolPatch.__struct_fields__)
    assert set(PoolView.__struct_fields__) - {"keys", "revision"} == set(Pool.__struct_fields__)
