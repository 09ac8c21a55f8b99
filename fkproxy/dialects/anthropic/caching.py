"""Marks of other dialects' clients at which the prompt is cached. Floor 1. Pure.

Here alone a client says how far its prompt is to be kept for the next turn, which then costs a tenth. Who knows that sends Anthropic's
own `cache_control` in other dialects, too: in a part, a tool, a whole message or the request, as OpenRouter and LiteLLM read it
(openrouter.ai/docs/features/prompt-caching, docs.litellm.ai/docs/completion/prompt_caching, read 2026-11). One of the request means its
last block; it is put there, since not everybody who serves these models takes it where it was.

Source: platform.claude.com/docs/en/build-with-claude/prompt-caching, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fkproxy.model.parts import Extra
from fkproxy.model.request import Loss

__all__ = ["MARK", "keep_last_marks", "mark_last", "mark_of"]

MARK = "cache_control"

_MOST = 4
""""A maximum of 4 blocks with cache_control may be provided", says the 400."""

_TTLS = (None, "5m", "1h")
"""Times are written so here; what LiteLLM's clients write for Gemini's cache (`3600s`) is refused."""

_UNMARKED = ("thinking", "redacted_thinking")
"""Blocks that take no mark."""


def mark_of(extra: Extra) -> dict[str, Any]:
    """The mark as a field of a block, nothing where there is none."""
    mark = extra.get(MARK)
    if not isinstance(mark, dict):
        return {}
    return {MARK: mark if mark.get("ttl") in _TTLS else {name: value for name, value in mark.items() if name != "ttl"}}


def mark_last(blocks: list[dict[str, Any]], extra: Extra) -> None:
    """Put a whole message's mark, or the request's, on the last of its blocks that takes one."""
    if mark := mark_of(extra):
        for index in reversed(range(len(blocks))):
            if blocks[index]["type"] not in _UNMARKED:
                blocks[index] = {**blocks[index], **mark}
                return


def keep_last_marks(blocks: Iterable[dict[str, Any]], losses: list[Loss]) -> None:
    """Take away the marks that are too many. `blocks` as they stand in the prompt: what the last keep holds what the first would."""
    marked = [block for block in blocks if MARK in block]
    for block in marked[:-_MOST]:
        del block[MARK]
        losses.append(Loss(field=MARK))
