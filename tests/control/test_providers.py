"""Managed providers, beside those that were declared."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.control.pools import PoolPatch
from fkproxy.control.refusals import Forbidden, Invalid, Unknown
from fkproxy.control.secret_fields import is_sealed
from fkproxy.directory import Document
from fkproxy.storage.values import Conflict
from tests.control.acting import BY, SECRET, Office, begun, entry, rows, told


async def names(office: Office) -> list[tuple[str, str]]:
    return [(provider.name, provider.source) for provider in await office.providers.all()]


async def test_a_provider_is_kept_sealed_and_shown_masked(office: Office) -> None:
    view = await office.providers.put("one", entry("one", headers={"X-Team": f"{SECRET}-header"}, weight=2), by=BY)
    (kept,) = (await office.document()).providers
    assert is_sealed(kept["credentials"][0]["key"])
    assert is_sealed(kept["headers"]["X-Team"])
    assert SECRET not in str((kept, view))
    key = view.entry["credentials"][0]["key"]
    assert (key["status"], key["version"], key["fingerprint"].startswith("sha256:")) == ("sealed", 1, True)
    assert (view.source, view.upstreams, view.entry["weight"]) == ("managed", ("one",), 2)
    assert await office.key_of("one") == f"{SECRET}-one"
    assert await names(office) == [("anthropic", "environment"), ("filed", "file"), ("one", "managed")]
    assert await told(office.store) == [("provider.create", "done", ("name", "adapter", "base_url", "credentials", "headers", "weight"))]


async def test_what_was_shown_of_a_secret_keeps_it(office: Office) -> None:
    view = await office.providers.put("one", entry("one", headers={"X-Team": "blue"}), by=BY)
    again = await office.providers.put("one", {**view.entry, "weight": 3}, by=BY)
    assert again.entry == {**view.entry, "weight": 3}
    assert await office.key_of("one") == f"{SECRET}-one"
    assert (await told(office.store))[-1] == ("provider.update", "done", ("weight",))


async def test_a_patch_merges_tables_and_null_clears(office: Office) -> None:
    await office.providers.put("one", entry("one", headers={"A": "1", "B": "2"}, timeouts={"connect": 3}, prefix="p"), by=BY)
    fields = {"headers": {"B": None, "C": "3"}, "timeouts": {"first-byte": 9}, "prefix": None, "base-url": "https://new.example"}
    view = await office.providers.patch("one", fields, by=BY)
    assert sorted(view.entry["headers"]) == ["A", "C"]
    assert (view.entry["timeouts"], "prefix" in view.entry) == ({"connect": 3, "first-byte": 9}, False)
    assert view.entry["base_url"] == "https://new.example"
    (provider,) = [each for each in (await office.in_force()).providers if each.name == "one"]
    assert {name: value.get_secret_value() for name, value in provider.headers.items()} == {"A": "1", "C": "3"}
    assert set((await told(office.store))[-1][2]) == {"prefix", "headers", "base_url", "timeouts.first-byte"}
    assert await office.key_of("one") == f"{SECRET}-one"


async def test_a_new_secret_takes_the_place_of_the_old_one(office: Office) -> None:
    before = await office.providers.put("one", entry("one"), by=BY)
    after = await office.providers.patch("one", {"credentials": [{"key": "another"}]}, by=BY)
    assert before.entry["credentials"] != after.entry["credentials"]
    assert (await office.key_of("one"), (await told(office.store))[-1][2]) == ("another", ("credentials[0].key",))


async def test_credentials_are_told_apart_by_name_and_without_one_by_fingerprint(office: Office) -> None:
    both = [{"name": "a", "key": "key-a"}, {"name": "b", "key": "key-b"}]
    view = await office.providers.put("named", entry("named", credentials=both), by=BY)
    await office.providers.patch("named", {"credentials": view.entry["credentials"][::-1]}, by=BY)
    assert [await office.key_of("named", at) for at in (0, 1)] == ["key-b", "key-a"]
    view = await office.providers.put("plain", entry("plain", credentials=[{"key": "key-1"}, {"key": "key-2"}]), by=BY)
    await office.providers.patch("plain", {"credentials": view.entry["credentials"][1:]}, by=BY)
    assert await office.key_of("plain") == "key-2"


MASK = {"fingerprint": "sha256:x", "version": 1, "status": "sealed"}
SEALED = {"sealed": {"id": "1", "version": 1, "data": "", "fingerprint": ""}}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"credentials": [{"key": MASK}]}, r"^credentials\[0\]\.key is masked, and there is no secret that it stands for"),
    ({"credentials": [{"key": SEALED}]}, r"^credentials\[0\]\.key is not a text"),
    ({"credentials": [{"key": 12345}]}, r"^credentials\[0\]\.key is not a text"),
    ({"headers": {"X": {"a": "b"}}}, r"^headers\.X is not a text"),
    ({"headers": f"X: {SECRET}"}, "^headers is not a table"),
    ({"quota": {"url": "https://q.example", "headers": f"X: {SECRET}"}}, r"^quota\.headers is not a table"),
    ({"credentials": [{"key": f"{SECRET} with spaces"}]}, r"^credentials\[0\]\.key cannot be used"),
    ({"credentials": {"key": SECRET}}, "^credentials is not a list"),
    ({"credentials": [{"env": "ANTHROPIC_API_KEY"}]}, r"^credentials\[0\]\.env is for the providers file"),
    ({"credentials": [{}]}, r"^credentials\[0\] names no secret"),
    ({"base_url": "nowhere"}, "^base_url cannot be used"),
    ({"adaptor": "x"}, "^adaptor is not known; did you mean adapter"),
    ({"fallbacks": ["nobody"]}, r"^fallbacks\[0\] nobody is no provider"),
    ({"name": "two"}, "^name cannot be changed"),
    ({"excluded_models": ["*"]}, r"^provider \(one\) can never be asked"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), REFUSED, ids=lambda value: str(value)[:50])
async def test_what_a_provider_must_not_be(office: Office, fields: dict[str, Any], expected: str) -> None:
    await office.providers.put("first", entry("first"), by=BY)
    before = await office.document()
    with pytest.raises(Invalid, match=expected) as caught:
        await office.providers.put("one", {**entry("one"), **fields}, by=BY)
    assert SECRET not in str((caught.value, caught.value.faults))
    assert await office.document() == before
    assert (await rows(office.store))[-1].note == "invalid"


@pytest.mark.parametrize("name", ["anthropic", "filed"])
async def test_declared_providers_are_changed_where_they_were_declared(office: Office, name: str) -> None:
    for waiting in (
        office.providers.put(name, entry(name), by=BY),
        office.providers.patch(name, {"weight": 2}, by=BY),
        office.providers.delete(name, by=BY),
    ):
        with pytest.raises(Forbidden, match="change it there"):
            await waiting
    assert (await office.providers.get(name)).entry["credentials"][0]["key"]["status"] == "declared"
    assert SECRET not in str(await office.providers.all())


async def test_a_provider_that_is_not_there(office: Office) -> None:
    await office.providers.put("one", entry("one"), by=BY)
    for waiting in (office.providers.get("ona"), office.providers.patch("ona", {}, by=BY), office.providers.delete("ona", by=BY)):
        with pytest.raises(Unknown, match="no such provider"):
            await waiting


async def test_deleting_is_refused_while_somebody_names_it(office: Office) -> None:
    await office.providers.put("one", entry("one"), by=BY)
    await office.providers.put("two", entry("two", fallbacks=["one"]), by=BY)
    await office.pools.update("team", PoolPatch(upstreams=("one",)), by=BY)
    with pytest.raises(Invalid) as caught:
        await office.providers.delete("one", by=BY)
    assert [fault.field for fault in caught.value.faults] == ["providers[0].fallbacks[0]", "pools.team.upstreams[0]"]
    await office.providers.patch("two", {"fallbacks": None}, by=BY)
    await office.pools.update("team", PoolPatch(upstreams=()), by=BY)
    await office.providers.delete("one", by=BY)
    assert ("one", "managed") not in await names(office)


async def test_a_new_order_is_one_of_all_managed_providers(office: Office) -> None:
    for name in ("one", "two", "three"):
        await office.providers.put(name, entry(name), by=BY)
    found = await office.providers.reorder(["three", "one", "two"], by=BY)
    assert [provider.name for provider in found][2:] == ["three", "one", "two"]
    assert [provider.name for provider in (await office.in_force()).providers][2:] == ["three", "one", "two"]
    for wrong in (["one", "two"], ["one", "two", "two"], ["one", "two", "three", "filed"]):
        with pytest.raises(Invalid, match="each once"):
            await office.providers.reorder(wrong, by=BY)


async def test_a_replaced_provider_keeps_its_place(office: Office) -> None:
    for name in ("one", "two"):
        await office.providers.put(name, entry(name), by=BY)
    await office.providers.put("one", entry("one", weight=5), by=BY)
    assert [provider.name for provider in (await office.in_force()).providers][2:] == ["one", "two"]


async def test_a_list_can_be_looked_at_without_being_taken(office: Office) -> None:
    view = await office.providers.put("one", entry("one"), by=BY)
    before = await office.document()
    verdict = await office.providers.validate([view.entry, {**entry("two"), "base_url": "x"}, "nonsense", entry("filed")])
    assert [fault.field for fault in verdict.problems] == [
        "providers[2]", "providers[1].base_url", "providers[2].name", "providers[2].adapter", "providers[3].name",
    ]  # fmt: skip
    assert (await office.providers.validate([view.entry, entry("two")])).problems == ()
    assert await office.document() == before


async def test_who_looked_at_an_older_revision_is_told(office: Office) -> None:
    await office.providers.put("one", entry("one"), by=BY, based_on=1)
    with pytest.raises(Conflict):
        await office.providers.patch("one", {"weight": 2}, by=BY, based_on=1)
    await office.providers.patch("one", {"weight": 2}, by=BY, based_on=2)


async def test_a_problem_that_is_there_already_does_not_keep_others_from_being_changed(office: Office) -> None:
    await office.providers.put("one", entry("one"), by=BY)
    office.declared = office.declared.__class__(
        **{name: getattr(office.declared, name) for name in office.declared.__struct_fields__}
        | {"providers": (*office.declared.providers, (await office.in_force()).providers[-1])}
    )
    await office.providers.put("two", entry("two"), by=BY)
    await office.providers.delete("one", by=BY)
    assert (await office.in_force()).providers[-1].name == "two"


async def test_what_does_not_fit_any_more_stands_in_the_way_of_no_other_change(office: Office) -> None:
    unfit = (entry("two", priority=2_000_000), entry("three", proxy="http://u:p@proxy.example:3128"))
    await begun(office.store, Document(providers=(entry("one"), *unfit)))
    with pytest.raises(Invalid, match="nobody is no provider"):
        await office.providers.patch("one", {"fallbacks": ["nobody"]}, by=BY)
    await office.providers.delete("one", by=BY)
    await office.providers.patch("three", {"proxy": None}, by=BY)
    assert [(each.name, each.disabled) for each in (await office.in_force()).providers[2:]] == [("two", True), ("three", False)]


async def test_the_number_of_providers_has_a_bound(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.control.providers.MAX_PROVIDERS", 1)
    await office.providers.put("one", entry("one"), by=BY)
    with pytest.raises(Forbidden, match="1 managed providers already"):
        await office.providers.put("two", entry("two"), by=BY)
    assert (await office.providers.validate([entry("one"), entry("two")])).problems[0].message == "are more than 1"
