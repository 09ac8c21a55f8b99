"""The whole of what is managed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fkproxy.control.fallback_list import WrongList
from fkproxy.control.key_views import NewKey
from fkproxy.control.refusals import Forbidden, Invalid, Unknown
from fkproxy.directory import Document, Pool
from fkproxy.storage.values import Conflict, StoreUnavailable
from tests.control.acting import BY, SECRET, Office, begun, entry, rows, told
from tests.fakes.box import lost_box


async def filled(office: Office) -> None:
    credentials = [{"name": "a", "key": f"{SECRET}-a"}, {"name": "b", "key": f"{SECRET}-b"}]
    await office.providers.put("one", entry("one", headers={"X-Team": f"{SECRET}-h"}, credentials=credentials), by=BY)
    await office.settings.change({"APP_LOG__LEVEL": "debug"}, by=BY)


async def test_an_export_restores_what_there_was_without_having_held_a_secret(office: Office) -> None:
    await filled(office)
    before = await office.document()
    exported = msgspec.to_builtins(await office.config.export(by=BY))
    assert SECRET not in str(exported)
    await office.providers.patch("one", {"weight": 9}, by=BY)
    await office.config.restore(exported, by=BY)
    assert await office.document() == before
    assert (await told(office.store))[-1] == ("config.restore", "done", ("providers.one.weight",))


async def test_secrets_come_out_when_they_are_asked_for_and_that_is_written_down(office: Office) -> None:
    await filled(office)
    exported = await office.config.export(with_secrets=True, by=BY)
    assert exported.providers[0]["credentials"][1]["key"] == f"{SECRET}-b"
    assert exported.providers[0]["headers"] == {"X-Team": f"{SECRET}-h"}
    assert SECRET not in repr(exported)
    assert (await told(office.store))[-1] == ("config.export_secrets", "done", ())
    await office.config.restore({}, by=BY)
    await office.config.restore(msgspec.to_builtins(exported), by=BY)
    assert await office.key_of("one", 1) == f"{SECRET}-b"


async def test_a_masked_secret_comes_back_by_the_names_of_provider_and_credential(office: Office) -> None:
    await filled(office)
    exported = msgspec.to_builtins(await office.config.export(by=BY))
    exported["providers"][0]["credentials"].reverse()
    await office.config.restore(exported, by=BY)
    assert [await office.key_of("one", at) for at in (0, 1)] == [f"{SECRET}-b", f"{SECRET}-a"]
    exported["providers"][0]["credentials"][0]["name"] = "c"
    with pytest.raises(Invalid, match=r"providers\[0\]\.credentials\[0\]\.key is masked, and there is no secret"):
        await office.config.restore(exported, by=BY)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"colours": []}, "holds more than providers, pools and settings"),
    ({"providers": {}}, ""),
    ({"providers": {"a": 1}}, "providers is not a list"),
    ({"providers": "text"}, "providers is not a list"),
    ({"providers": [5]}, r"providers\[0\] is not a table"),
    ({"providers": [entry("one"), entry("one")]}, r"providers\[1\]\.name one is the name of a provider from providers\[0\] already"),
    ({"providers": [entry("filed")]}, "from the providers file already"),
    ({"pools": [{"name": "a"}, {"name": "a"}]}, r"pools\[1\]\.name is there twice"),
    ({"pools": [{"label": "a"}]}, r"pools\[0\] is not a pool"),
    ({"pools": [{"name": "a", "state": "odd"}]}, r"pools\[0\] is not a pool"),
    ({"pools": [{"name": "a", "colour": 1}]}, r"pools\[0\] holds fields that a pool does not have"),
    ({"pools": [{"name": "A"}]}, r"pools\[0\]\.name is no name"),
    ({"pools": [{"name": "a", "upstreams": ["x"]}]}, r"pools\.a\.upstreams\[0\] is no upstream"),
    ({"pools": [{"name": "a", "models": [" "]}]}, r"pools\.a\.models\[0\] is no model's name"),
    ({"pools": 5}, "pools is not a list"),
    ({"settings": []}, ""),
    ({"settings": ["a"]}, "settings is not a table of texts"),
    ({"settings": {"APP_LOG__LEVEL": 5}}, "settings is not a table of texts"),
    ({"settings": {"APP_LOG__LEVEL": "loud"}}, "'loud' is none of"),
    ({"settings": {"APP_SERVER__PORT": "5"}}, "takes effect at a start only"),
    ({"settings": {"APP_COLOUR": "5"}}, "APP_COLOUR is no setting"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), REFUSED, ids=lambda value: str(value)[:60])
async def test_a_configuration_is_taken_whole_or_not_at_all(office: Office, given: dict[str, Any], expected: str) -> None:
    await filled(office)
    before = await office.document()
    if not expected:
        await office.config.restore(given, by=BY)
        assert await office.document() == Document()
        return
    with pytest.raises(Invalid, match=expected) as caught:
        await office.config.restore(given, by=BY)
    assert SECRET not in str(caught.value)
    assert await office.document() == before
    assert (await told(office.store))[-1][1] == "refused"


async def test_a_pool_with_living_keys_cannot_be_left_out(office: Office) -> None:
    id_ = (await office.keys.create(NewKey(pool="team"), by=BY)).key.id
    with pytest.raises(Invalid, match="pools team is missing, and has keys that are not revoked"):
        await office.config.restore({}, by=BY)
    await office.keys.revoke(id_, by=BY)
    await office.config.restore({}, by=BY)
    assert (await office.document(), (await told(office.store))[-1][0]) == (Document(), "config.clear")


async def test_revisions_are_listed_compared_and_rolled_back(office: Office) -> None:
    await filled(office)
    seen = await office.document()
    await office.providers.patch("one", {"credentials": [{"name": "a", "key": f"{SECRET}-new"}], "weight": 2}, by=BY)
    await office.pools.pause("team", by=BY)
    assert [info.summary for info in await office.config.revisions(limit=2)] == ["pool team: pause", "provider one changed"]
    assert [info.revision for info in await office.config.revisions(before=3)] == [2, 1]
    assert await office.config.diff(3, 5) == ("providers.one.credentials", "providers.one.weight", "pools.team.state")
    assert await office.config.diff(3, 3) == ()
    exported = await office.config.rollback(3, by=BY)
    assert (await office.document(), exported.revision, await office.key_of("one")) == (seen, 6, f"{SECRET}-a")
    last = (await rows(office.store))[-1]
    assert (last.action, last.target, last.changed[-1]) == ("config.roll_back", "3", "pools.team.state")
    for revision in (99, -1, 10**30):
        with pytest.raises(Unknown, match="no such revision"):
            await office.config.rollback(revision, by=BY)
    assert await office.config.revisions(before=-5) == []
    assert len(await office.config.revisions(before=10**30, limit=10**30)) == 6


async def test_a_revision_that_does_not_fit_any_more_is_refused(office: Office) -> None:
    await office.providers.put("one", entry("one"), by=BY)
    await office.providers.delete("one", by=BY)
    office.declared = msgspec.structs.replace(office.declared, routing=office.declared.routing, providers=(*office.declared.providers,))
    await begun(office.store, Document())
    await office.config.rollback(2, by=BY)
    async with office.ledger.change(BY, "key.create", "key") as change:
        change.put_document(Document(pools=(Pool(name="other"),)), "")
    await office.keys.create(NewKey(pool="other"), by=BY)
    with pytest.raises(Invalid, match="other is missing"):
        await office.config.rollback(2, by=BY)


async def test_the_state_before_everything_is_a_revision_too(office: Office) -> None:
    await filled(office)
    await office.config.rollback(0, by=BY)
    assert await office.document() == Document()


async def test_who_looked_at_an_older_revision_is_told(office: Office) -> None:
    seen = (await office.config.export(by=BY)).revision
    await filled(office)
    with pytest.raises(Conflict):
        await office.config.restore({}, by=BY, based_on=seen)


async def test_a_lost_secret_is_said_and_kept(office: Office) -> None:
    sealed = lost_box().seal("gone")
    await begun(office.store, Document(providers=(entry("one", credentials=[{"key": sealed}]),)))
    exported = await office.config.export(by=BY)
    assert exported.providers[0]["credentials"][0]["key"]["status"] == "lost"
    with pytest.raises(Forbidden, match="a secret of one cannot be opened"):
        await office.config.export(with_secrets=True, by=BY)
    await office.config.restore(msgspec.to_builtins(exported), by=BY)
    assert (await office.document()).providers[0]["credentials"][0]["key"] == sealed


# --- the list of another system

ITEM = {"name": "My Spare", "baseUrl": "https://spare.example/v1/messages", "apiKey": f"{SECRET}-spare", "headers": {"X": f"{SECRET}-h"}}


async def test_a_list_is_taken_backed_up_cleared_and_put_back(office: Office) -> None:
    second = {"name": "router", "baseUrl": "https://r.example/v1/chat/completions", "apiKey": f"{SECRET}-r", "format": "openai"}
    assert (await office.config.replace_from_fallback_list([ITEM, second], by=BY)).count == 2
    backup = await office.config.as_fallback_list(with_secrets=True, by=BY)
    assert backup == [ITEM, second]
    assert (await office.config.replace_from_fallback_list([], by=BY)).count == 0
    assert (await office.config.as_fallback_list(by=BY), (await told(office.store))[-1][0]) == ([], "config.clear")
    await office.config.replace_from_fallback_list(backup, by=BY)
    assert (await office.key_of("my-spare"), await office.key_of("router")) == (f"{SECRET}-spare", f"{SECRET}-r")


async def test_a_masked_list_keeps_the_secrets_that_are_stored(office: Office) -> None:
    await office.config.replace_from_fallback_list([ITEM], by=BY)
    masked = await office.config.as_fallback_list(by=BY)
    assert SECRET not in str(masked)
    assert masked[0]["apiKey"].startswith("masked:sha256:")
    masked[0]["disabled"] = True
    await office.config.replace_from_fallback_list(masked, by=BY)
    assert await office.key_of("my-spare") == f"{SECRET}-spare"
    await office.config.replace_from_fallback_list([], by=BY)
    await office.config.replace_from_fallback_list(masked, by=BY)
    assert await office.key_of("my-spare") == f"{SECRET}-spare", "an earlier revision has it"
    with pytest.raises(Invalid, match="is masked, and there is no secret that it stands for"):
        await office.config.replace_from_fallback_list([{**masked[0], "name": "never seen"}], by=BY)


VENDOR = {"name": "My Vendor", "baseUrl": "https://one.example/v1/messages", "apiKey": f"{SECRET}-one", "headers": {"X": f"{SECRET}-h"}}


async def test_a_list_as_it_was_read_changes_nothing_whoever_was_called_so_before(office: Office) -> None:
    await office.config.replace_from_fallback_list([VENDOR], by=BY)
    earlier = await office.config.as_fallback_list(by=BY)
    await office.providers.delete("my-vendor", by=BY)
    now = {"name": "vendor", "label": "My Vendor", "adapter": "anthropic", "base_url": "https://two.example"}
    await office.providers.put("vendor", {**now, "credentials": [{"key": f"{SECRET}-two"}]}, by=BY)
    await office.providers.put("chat", entry("chat", credentials=[{"key": f"{SECRET}-chat"}]), by=BY)
    before = await office.document()
    await office.config.replace_from_fallback_list(await office.config.as_fallback_list(by=BY), by=BY)
    assert await office.document() == before
    with pytest.raises(Invalid, match="is masked, and there is no secret that it stands for"):
        await office.config.replace_from_fallback_list(earlier, by=BY)
    assert await office.document() == before, "its address would have got the other one's secret"


async def test_what_only_our_entries_say_survives_a_list_that_does_not(office: Office) -> None:
    await office.config.replace_from_fallback_list([ITEM], by=BY)
    await office.providers.patch("my-spare", {"weight": 5, "prices": {"m": {"input": 1, "output": 2}}}, by=BY)
    assert (await office.config.as_fallback_list(by=BY))[0]["weight"] == 5
    await office.config.replace_from_fallback_list([{**ITEM, "colour": "red"}], by=BY)
    (kept,) = (await office.document()).providers
    assert (kept["weight"], kept["prices"]) == (5, {"m": {"input": 1, "output": 2}})


async def test_a_wrong_list_changes_nothing(office: Office) -> None:
    await office.config.replace_from_fallback_list([ITEM], by=BY)
    before = await office.document()
    lists: list[Any] = [{}, [{**ITEM, "apiKey": ""}], [{**ITEM, "retry": 99}], [{**ITEM, "headers": {"Host": f"{SECRET}"}}]]
    for wrong in lists:
        with pytest.raises(Invalid) as caught:
            await office.config.replace_from_fallback_list(wrong, by=BY)
        assert SECRET not in str(caught.value)
    with pytest.raises(WrongList):
        await office.config.replace_from_fallback_list({}, by=BY)
    assert await office.document() == before


async def test_a_name_that_was_declared_elsewhere_gets_a_number(office: Office) -> None:
    await office.config.replace_from_fallback_list([{**ITEM, "name": "filed"}], by=BY)
    assert [each.name for each in (await office.in_force()).providers] == ["anthropic", "filed", "filed-2"]
    assert (await office.config.as_fallback_list(by=BY))[0]["name"] == "filed"


async def test_what_was_put_back_is_told_although_the_store_goes_away_after_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.settings.change({"APP_LOG__LEVEL": "debug"}, by=BY)
    before = await office.config.export(by=BY)
    await office.settings.change(dict.fromkeys(["APP_LOG__LEVEL"]), by=BY)

    async def away() -> None:
        raise StoreUnavailable("locked", "somebody else writes")

    with monkeypatch.context() as patched:
        patched.setattr(office.store, "picture", away)
        after = await office.config.rollback(before.revision, by=BY)
        again = await office.config.restore({"settings": {"APP_LOG__LEVEL": "debug"}}, by=BY)
    assert (after.settings, after.revision, again) == (before.settings, before.revision + 2, await office.config.export(by=BY))


async def test_too_much_is_refused_before_anybody_walks_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.control.config._shows_secrets", None)  # cannot be called
    much: list[Any] = [{}] * 100_001
    for verb in (office.config.restore({"providers": much}, by=BY), office.config.replace_from_fallback_list(much, by=BY)):
        with pytest.raises(Invalid, match="holds more than 100000 values"):
            await verb
    for verb in (office.providers.put("p", {"x": much}, by=BY), office.providers.patch("p", {"x": much}, by=BY)):
        with pytest.raises(Invalid, match="holds more than 100000 values"):
            await verb
    with pytest.raises(WrongList, match="at most 500 providers"):
        await office.config.replace_from_fallback_list(much[:501], by=BY)
