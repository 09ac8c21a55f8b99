"""Names that stand for models of the Codex CLI."""

from __future__ import annotations

import pytest

from fkproxy.settings.aliases import codex_aliases
from fkproxy.suffix import split_suffix

PROFILES = (None, "prod", "dev")


@pytest.mark.parametrize("profile", [None, "prod"])
@pytest.mark.parametrize(("model", "stands_for"), [(None, "default"), ("gpt-5.1", "gpt-5.1")])
def test_each_name_says_its_model_and_how_much_to_think(profile: str | None, model: str | None, stands_for: str) -> None:
    assert [(entry.alias, entry.name) for entry in codex_aliases(profile, model)] == [
        ("codex-5", stands_for),
        ("codex-5-low", f"{stands_for}(low)"),
        ("codex-5-medium", f"{stands_for}(medium)"),
        ("codex-5-high", f"{stands_for}(high)"),
        ("gpt-5.2-codex-L", "gpt-5.2(low)"),
        ("gpt-5.2-codex-M", "gpt-5.2(medium)"),
        ("gpt-5.2-codex-H", "gpt-5.2(high)"),
        ("gpt-5.2-codex-XH", "gpt-5.2(xhigh)"),
        ("gpt-5.2-LOCAL", "gpt-5.2(low)"),
    ]


def test_a_gateway_for_development_has_names_of_its_own() -> None:
    names = {entry.alias: entry.name for entry in codex_aliases("dev", None)}
    assert list(names)[:4] == ["codev-5", "codev-5-low", "codev-5-medium", "codev-5-high"]
    assert (names["codev-5"], names["codev-5.1-L"], names["codev-5.2-XH"], names["gpt-5.2-codev-M"]) == (
        "default",
        "gpt-5.1(low)",
        "gpt-5.2(xhigh)",
        "gpt-5.2(medium)",
    )
    assert "codev-5.1-XH" not in names
    assert set(names) & {entry.alias for entry in codex_aliases("prod", None)} == {"gpt-5.2-LOCAL"}


@pytest.mark.parametrize("profile", PROFILES)
def test_what_stands_in_brackets_is_understood(profile: str | None) -> None:
    for entry in codex_aliases(profile, None):
        name, reasoning = split_suffix(entry.name)
        assert "(" not in name
        assert (reasoning is None) == (entry.alias in ("codex-5", "codev-5"))
