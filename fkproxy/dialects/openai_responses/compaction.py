"""A conversation that is made shorter: asked for here, answered by a model of any vendor. Floor 1. Pure.

A request whose last item is a `compaction_trigger` is answered with one `compaction` item, which stands for what was said until then; its
`encrypted_content` is the vendor's. Another vendor's model is asked for a summary in words. Its text goes out in an envelope in that place,
comes back with the next request, and is read out as what it is, to whoever is asked then: nothing is kept here.

Source: `ResponseCompactionItem`, `CompactionTrigger` and `ResponseCompactionCompactingEvent` of openai 3.52, read 2026-11; openai/codex,
codex-rs/core/src/compact_remote_v2.rs, which wants exactly one such item, and keeps the user's messages in front of it.
"""

from __future__ import annotations

from typing import Any

from fkproxy.dialects.envelope import open_envelope
from fkproxy.dialects.foreign import in_place_of_what_was_said

__all__ = ["ABOUT_ALL", "ASK", "COMPACTION", "SUMMARY", "is_trigger", "summary_of"]

_TRIGGER = "compaction_trigger"
COMPACTION = "compaction"
ABOUT_ALL = (_TRIGGER, COMPACTION)
"""Items that are about all that was said before them."""

SUMMARY = "summary"
"""Stands in an envelope where others name the dialect whose seal they hold. This one holds words, which everybody may read."""

ASK = """\
The context is nearly full. What you write now takes the place of this conversation: whoever goes on with the work will have your words \
and little else. Use no tools and do not go on with the work yourself. Write a summary that it can be taken up from:

- what the user wants, with every requirement, limit and preference that still holds;
- what has been done and found out: files, commands, results, names, numbers and identifiers exactly as they are;
- what was decided and why, and what was tried and failed;
- where the work stands, what is under way, and the next steps in their order.

Be complete where leaving something out would mean doing it again, and brief everywhere else. Take over what still matters of an earlier \
summary. Write nothing but the summary."""
"""What the model is asked in place of the trigger."""


def is_trigger(item: Any) -> bool:
    """It asks for the conversation to be made shorter, which it may as the last one only."""
    return isinstance(item, dict) and item.get("type") == _TRIGGER


def summary_of(item: dict[str, Any]) -> str | None:
    """What the model is told where an item stands for what was said before; None for one that only its vendor can read, or another item."""
    sealed = item.get("encrypted_content") if item.get("type") == COMPACTION else None
    if not isinstance(sealed, str):
        return None
    seal = open_envelope(sealed, "")
    return in_place_of_what_was_said(seal.data) if seal.dialect == SUMMARY else None
