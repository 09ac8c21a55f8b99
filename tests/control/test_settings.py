"""Settings that take effect at once."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.control.refusals import Forbidden, Invalid, Refused, Unknown
from fkproxy.directory import Document
from fkproxy.storage.values import Conflict
from tests.control.acting import BY, Office, begun, rows, told


async def test_a_setting_is_in_force_and_says_so(office: Office) -> None:
    (view,) = await office.settings.change({"APP_LOG__LEVEL": "debug"}, by=BY)
    assert (view.value, view.source, view.managed) == ("debug", "managed", "debug")
    assert (await office.in_force()).settings.log.level == "debug"
    assert await told(office.store) == [("settings.update", "done", ("APP_LOG__LEVEL",))]
    (view,) = await office.settings.change(dict.fromkeys(["APP_LOG__LEVEL"]), by=BY)
    assert (view.value, view.source, view.managed) == ("info", "default", None)
    assert (await office.in_force()).settings.log.level == "info"


VALUES: list[tuple[str, Any, str, Any]] = [
    ("APP_RATE_LIMIT__ENABLED", False, "false", False),
    ("APP_RATE_LIMIT__TOKENS_PER_MINUTE", 5000, "5000", 5000),
    ("APP_TIMEOUT__TOTAL_SECS", 12.5, "12.5", 12.5),
    ("APP_TIMEOUT__TOTAL_SECS", " 30 ", "30", 30.0),
    ("APP_CORS__ALLOWED_ORIGINS", ["https://a.example", "https://b.example"], "https://a.example,https://b.example", ("https://a.example", "https://b.example")),
    ("APP_ROUTING__STRATEGY", "sticky", "sticky", "sticky"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "kept", "in_force"), VALUES, ids=lambda value: str(value)[:30])
async def test_values_come_as_json_has_them(office: Office, name: str, value: Any, kept: str, in_force: Any) -> None:
    (view,) = await office.settings.change({name: value}, by=BY)
    assert (await office.document()).settings == {name: kept}
    section, field = name.removeprefix("APP_").lower().split("__")
    assert getattr(getattr((await office.in_force()).settings, section), field) == in_force
    assert view.source == "managed"


REFUSED: list[tuple[dict[str, Any], type[Refused], str]] = [
    ({"APP_LOG__LEVL": "debug"}, Unknown, "no such setting; did you mean APP_LOG__LEVEL"),
    ({"APP_SERVER__PORT": 5}, Forbidden, "APP_SERVER__PORT takes effect at a start only"),
    ({"APP_AUTH__MASTER_KEY": "canary-0123456789abcdef"}, Forbidden, "takes effect at a start only"),
    ({"APP_RATE_LIMIT__CAPACITY": 8}, Forbidden, "is set by APP_RATE_LIMIT__CAPACITY, which wins"),
    ({"APP_STREAM__KEEP_ALIVE_SECS": 6}, Forbidden, r"is set by APP_STREAM__KEEP_ALIVE_SECS in .*/env, which wins"),
    ({"APP_TIMEOUT__TOTAL_SECS": 0}, Invalid, "'0' is not above 0 and at most 86400"),
    ({"APP_TIMEOUT__TOTAL_SECS": float("nan")}, Invalid, "APP_TIMEOUT__TOTAL_SECS"),
    ({"APP_LOG__LEVEL": "loud"}, Invalid, "'loud' is none of debug"),
    ({"APP_LOG__LEVEL": " "}, Invalid, "APP_LOG__LEVEL is blank; clear it instead"),
    ({"APP_LOG__LEVEL": "a\nb"}, Invalid, "is no text for a setting"),
    ({"APP_CORS__ENABLED": True}, Invalid, "enabled for no origin"),
    ({"APP_RATE_LIMIT__ENABLED": True, "APP_LOG__LEVEL": "loud"}, Invalid, "loud"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "kind", "expected"), REFUSED, ids=lambda value: str(value)[:50])
async def test_what_cannot_be_set(office: Office, values: dict[str, Any], kind: type[Refused], expected: str) -> None:
    with pytest.raises(kind, match=expected):
        await office.settings.change(values, by=BY)
    assert (await office.document()).settings == {}
    (row,) = await rows(office.store)
    assert (row.action, row.outcome, row.note, "canary" in str(row)) == ("settings.update", "refused", kind.code, False)


async def test_settings_that_need_each_other_come_together(office: Office) -> None:
    await office.settings.change({"APP_CORS__ENABLED": "on", "APP_CORS__ALLOWED_ORIGINS": "https://a.example"}, by=BY)
    with pytest.raises(Invalid, match="enabled for no origin"):
        await office.settings.change(dict.fromkeys(["APP_CORS__ALLOWED_ORIGINS"]), by=BY)
    await office.settings.change(dict.fromkeys(["APP_CORS__ALLOWED_ORIGINS", "APP_CORS__ENABLED"]), by=BY)
    assert (await office.document()).settings == {}


async def test_what_the_environment_overrules_can_still_be_cleared(office: Office) -> None:
    await begun(office.store, Document(settings={"APP_RATE_LIMIT__CAPACITY": "9", "APP_FROM__TOMORROW": "x"}))
    view = await office.settings.get("APP_RATE_LIMIT__CAPACITY")
    assert (view.value, view.managed, view.source) == ("7", "9", "environment")
    await office.settings.change(dict.fromkeys(["APP_RATE_LIMIT__CAPACITY", "APP_FROM__TOMORROW"]), by=BY)
    assert (await office.document()).settings == {}
    with pytest.raises(Unknown):
        await office.settings.change(dict.fromkeys(["APP_FROM__TOMORROW"]), by=BY)


async def test_settings_by_section(office: Office) -> None:
    assert {view.section for view in await office.settings.all(section="cors")} == {"cors"}
    assert len(await office.settings.all()) > 40
    with pytest.raises(Unknown, match="no such section; did you mean cors"):
        await office.settings.all(section="core")
    assert "canary" not in str(await office.settings.all())


async def test_the_same_value_again_makes_no_revision(office: Office) -> None:
    await office.settings.change({"APP_LOG__LEVEL": "debug"}, by=BY, based_on=1)
    await office.settings.change({"APP_LOG__LEVEL": "debug"}, by=BY, based_on=2)
    await office.settings.change({"APP_LOG__LEVEL": "error"}, by=BY, based_on=2)
    with pytest.raises(Conflict):
        await office.settings.change({"APP_LOG__LEVEL": "info"}, by=BY, based_on=2)


async def test_some_are_kept_and_others_cleared_all_or_none(office: Office) -> None:
    await office.settings.change({"APP_LOG__LEVEL": "debug"}, by=BY)
    with pytest.raises(Unknown):
        await office.settings.change({"APP_ROUTING__STRATEGY": "sticky", "APP_NO__SUCH": None}, by=BY)
    assert (await office.document()).settings == {"APP_LOG__LEVEL": "debug"}
    views = await office.settings.change({"APP_ROUTING__STRATEGY": "sticky", "APP_LOG__LEVEL": None}, by=BY)
    assert {view.name: view.value for view in views} == {"APP_ROUTING__STRATEGY": "sticky", "APP_LOG__LEVEL": "info"}
    assert (await told(office.store))[-1] == ("settings.update", "done", ("APP_ROUTING__STRATEGY", "APP_LOG__LEVEL"))
    assert await office.settings.change({}, by=BY) == []
