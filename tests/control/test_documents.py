"""What differs between two documents, and whether one may be written."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.control.documents import changed_fields
from fkproxy.control.refusals import Invalid
from fkproxy.directory import Document, Pool
from tests.control.acting import Office, entry
from tests.fakes.box import box

CASES: list[tuple[Any, Any, tuple[str, ...]]] = [
    ({"a": 1}, {"a": 1}, ()),
    ({"a": 1}, {"a": 2, "b": 3}, ("a", "b")),
    ({"a": 1}, {}, ("a",)),
    ({"timeouts": {"connect": 1}}, {"timeouts": {"connect": 2}}, ("timeouts.connect",)),
    ({"headers": {"a canary": 1}}, {"headers": {"another": 1}}, ("headers",)),
    ({"credentials": [{"key": box().seal("1")}, 2]}, {"credentials": [{"key": box().seal("2")}, 2]}, ("credentials[0].key",)),
    ({"credentials": [1]}, {"credentials": [1, 2]}, ("credentials",)),
    (Document(), Document(pools=(Pool(name="a"),)), ("pools.a",)),
    (Document(settings={"A": "1"}), Document(settings={"A": "2"}), ("settings.A",)),
    (Document(providers=({"name": "a"}, {"name": "b"})), Document(providers=({"name": "b"}, {"name": "a"})), ("order",)),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "paths"), CASES, ids=lambda value: str(value)[:40])
def test_what_differs_is_told_by_its_path_and_never_by_its_value(before: Any, after: Any, paths: tuple[str, ...]) -> None:
    assert changed_fields(before, after) == paths


def test_there_is_an_end_to_it() -> None:
    found = changed_fields({}, {f"f{number}": 1 for number in range(500)})
    assert (len(found), found[-1]) == (101, "…")


async def test_what_was_wrong_before_is_passed_over_if_asked(office: Office) -> None:
    before = Document(providers=(entry("filed"),), pools=(Pool(name="a", upstreams=("gone",)),))
    with pytest.raises(Invalid) as caught:
        await office.documents.check(before)
    assert [fault.field for fault in caught.value.faults] == ["providers[0].name", "pools.a.upstreams[0]"]
    await office.documents.check(before, before)


async def test_what_was_wrong_before_is_known_again_where_it_stands_now(office: Office) -> None:
    left = (entry("filed"), entry("two", fallbacks=["providers[7]"]), entry("two"))
    before = Document(providers=(entry("one"), *left))
    await office.documents.check(Document(providers=left), before)
    with pytest.raises(Invalid):
        await office.documents.check(Document(providers=(entry("anthropic"), *left)), before)


async def test_upstreams_are_all_that_a_pool_may_name(office: Office) -> None:
    two = [{"name": "a", "key": "1"}, {"name": "b", "key": "2"}]
    document = Document(providers=(entry("one"), entry("two", credentials=two), entry("off", disabled=True)))
    assert office.documents.upstreams(document) == {
        "anthropic", "filed", "filed/a", "one", "two", "two/a", "two/b", "off", "sandbox",
    }  # fmt: skip
