"""Names that stand for models of the Codex CLI."""

from __future__ import annotations

import pytest

from fkproxy.settings.aliases import codex_aliases
from fkproxy.suffix import split_suffix


@pytest.mark.parametrize(("model", "stands_for"), [(None, "default"), ("gpt-5.1", "gpt-5.1")])
def test_each_name_says_its_model_and_how_much_to_think(model: str | None, stands_for: str) -> None:
    assert {entry.alias: entry.name for entry in codex_aliases(model)} == {
        "codex-5": stands_for,
        "codex-5-low": f"{stands_for}(low)",
        "codex-5-medium": f"{stands_for}(medium)",
        "codex-5-high": f"{stands_for}(high)",
        "gpt-5.2-codex-L": "gpt-5.2(low)",
        "gpt-5.2-codex-M": "gpt-5.2(medium)",
        "gpt-5.2-codex-H": "gpt-5.2(high)",
        "gpt-5.2-codex-XH": "gpt-5.2(xhigh)",
        "gpt-5.2-LOCAL": "gpt-5.2(low)",
    }


def test_what_stands_in_brackets_is_understood() -> None:
    for entry in codex_aliases(None):
        name, reasoning = split_suffix(entry.name)
        assert "(" not in name
        assert (reasoning is None) == (entry.alias == "codex-5")
