"""Token counts."""

from __future__ import annotations

import pytest

from fkproxy.model.usage import MAX_TOKENS, Usage

NAMES = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")


@pytest.mark.parametrize("name", NAMES)
def test_nobody_can_have_used_less_than_nothing_or_too_much(name: str) -> None:
    counts = (None, 0, MAX_TOKENS, -1, MAX_TOKENS + 1, 10**400)
    assert [Usage(**{name: count}).credible for count in counts] == [True, True, True, False, False, False]
