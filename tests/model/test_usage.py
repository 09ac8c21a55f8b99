"""Token counts."""

from __future__ import annotations

import pytest

from fkproxy.model.usage import MAX_TOKENS, Usage, tier_of

NAMES = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")


@pytest.mark.parametrize("name", NAMES)
def test_nobody_can_have_used_less_than_nothing_or_too_much(name: str) -> None:
    counts = (None, 0, MAX_TOKENS, -1, MAX_TOKENS + 1, 10**400)
    assert [Usage(**{name: count}).credible for count in counts] == [True, True, True, False, False, False]


@pytest.mark.parametrize("word", [None, "default", "standard", "auto", "scale", "FAST", "", 7, ["fast"], {"fast": 1}])
def test_what_is_no_tier_with_a_price_is_the_standard_one(word: object) -> None:
    assert tier_of(word) is None


def test_two_words_of_a_vendor_are_one_tier() -> None:
    assert [tier_of(word) for word in ("fast", "priority", "ultrafast", "flex")] == ["fast", "fast", "ultrafast", "flex"]


def test_reasoning_or_a_tier_alone_counts_nothing() -> None:
    assert not Usage(reasoning_tokens=1, tier="fast").counts
    assert Usage(input_tokens=0).counts
    assert Usage(output_tokens=0).counts
