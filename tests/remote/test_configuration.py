"""Providers, settings and the whole configuration on the command line, against a whole gateway."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.remote.conftest import Type
from tests.remote.instance import Instance

SECRET = "sk-vendor-0123456789"
VENDOR = {
    "adapter": "openai",
    "base_url": "http://127.0.0.1:9/v1",
    "models": ["big"],
    "credentials": [{"name": "a", "key": SECRET}],
}
Write = Callable[[Any], str]


def test_a_provider_comes_changes_and_goes_and_its_secret_stays_inside(type_: Type, write: Write) -> None:
    made = type_("providers", "put", "vendor", write(VENDOR))
    assert made.code == 0
    assert "        status: sealed" in made.out.splitlines()
    assert ["vendor", "openai", "managed", "vendor/a", "no", "http://127.0.0.1:9/v1"] in type_("providers", "list").rows
    assert "vendor/a" in [row[0] for row in type_("upstreams").rows], "in force at once"
    shown = type_("providers", "show", "vendor", "--json").json()
    assert type_("providers", "put", "vendor", write(shown["entry"] | {"models": ["big", "small"]})).code == 0, "masked secrets are kept"
    changed = type_("providers", "patch", "vendor", write({"disabled": True}), "--json").json()
    assert (changed["disabled"], changed["entry"]["models"]) == (True, ["big", "small"])
    assert changed["entry"]["credentials"] == shown["entry"]["credentials"]
    assert SECRET not in made.out + str(shown) + type_("config", "export").out
    assert type_("providers", "delete", "vendor") == (0, "deleted: vendor\n", "")


def test_managed_providers_have_an_order(type_: Type, write: Write) -> None:
    type_("providers", "put", "one", write(VENDOR))
    type_("providers", "put", "two", write(VENDOR))
    assert [row[0] for row in type_("providers", "order", "two", "one").rows] == ["two", "one"]
    assert "each once" in type_("providers", "order", "two").err
    for name in ("one", "two"):
        type_("providers", "delete", name)


def test_an_entry_may_come_from_standard_input(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(VENDOR)))
    assert type_("providers", "put", "piped", "-").code == 0
    assert type_("providers", "delete", "piped").code == 0


def test_a_providers_file_that_is_not_there_is_nothing_to_reload(type_: Type) -> None:
    assert type_("providers", "reload").rows == [["sandbox", "active", "closed", "-", "0", "0", "-"]]


def test_settings_change_at_once_and_go_back(type_: Type) -> None:
    name = "APP_RATE_LIMIT__CAPACITY"
    assert [name, "7", "managed", "calls", "yes"] in type_("settings", "set", f"{name}=7", "APP_LOG__LEVEL=warning").rows
    assert [name, "7", "managed", "calls", "yes"] in type_("settings", "list", "--changed").rows
    assert "value: 7" in type_("settings", "show", name).out.splitlines()
    assert type_("settings", "clear", name, "APP_LOG__LEVEL").code == 0
    assert name not in type_("settings", "list", "--changed").out
    assert {row[0][:16] for row in type_("settings", "list", "--section", "rate_limit").rows} == {"APP_RATE_LIMIT__"}


def test_what_a_variable_says_is_not_overruled(type_: Type, gateway: Instance) -> None:
    directory = ["APP_STORE__DIRECTORY", str(gateway.directory), "APP_STORE__DIRECTORY", "-", "no"]
    assert directory in type_("settings", "list").rows, "the variable is named"
    refused = type_("settings", "set", "APP_AUTH__MASTER_KEY=sk-another-0123456789")
    assert (refused.code, "set it in the environment" in refused.err) == (1, True)


def test_the_whole_configuration_is_taken_out_put_back_and_gone_back_in(type_: Type, team: str, write: Write) -> None:
    type_("providers", "put", "vendor", write(VENDOR))
    exported = type_("config", "export").json()
    assert exported["providers"][0]["credentials"][0]["key"]["status"] == "sealed"
    assert type_("config", "export", "--with-secrets").json()["providers"][0]["credentials"][0]["key"] == SECRET
    type_("settings", "set", "APP_RATE_LIMIT__CAPACITY=7")
    type_("providers", "delete", "vendor")
    later = type_("config", "revisions").rows[0]
    assert later[3:] == ["administrator", "127.0.0.0/24", "provider", "vendor", "deleted"]
    assert "providers.vendor" in type_("config", "diff", str(exported["revision"]), later[0]).out.splitlines()
    back = type_("config", "rollback", str(exported["revision"]))
    assert back.out == f"revision {int(later[0]) + 1} is in force: providers 1, pools 1, settings 0\n"
    assert type_("config", "export", "--with-secrets").json()["providers"][0]["credentials"][0]["key"] == SECRET
    restored = type_("config", "restore", write({**exported, "providers": []}), "--json").json()
    assert (restored["providers"], [pool["name"] for pool in restored["pools"]]) == ([], [team])
    assert len(type_("config", "revisions", "--limit", "1").rows) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["providers", "put", "x", "/nonexistent.json"], 2, "cannot be read as JSON"),
        (["providers", "show", "vendr"], 1, "there is no such provider"),
        (["settings", "set", "APP_RATE_LIMIT__CAPACITYY=1"], 1, "did you mean APP_RATE_LIMIT__CAPACITY"),
        (["settings", "set", "APP_RATE_LIMIT__CAPACITY=many"], 1, "APP_RATE_LIMIT__CAPACITY: 'many' is not a whole number"),
        (["settings", "set", "APP_SERVER__PORT=1"], 1, "takes effect at a start only"),
        (["settings", "list", "--section", "rate_limits"], 1, "did you mean rate_limit"),
        (["config", "rollback", "4711"], 1, "there is no such revision"),
        (["config", "diff", "0", "4711"], 1, "there is no such revision"),
    ],
)
def test_what_cannot_be_done_is_told_plainly(arguments: list[str], code: int, told: str, type_: Type) -> None:
    said = type_(*arguments)
    assert (said.code, said.out) == (code, "")
    assert told in said.err
