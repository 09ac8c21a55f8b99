"""The registry of dialects. Floor 1. Pure. To add one: write its folder, then its line here."""

from __future__ import annotations

from fkproxy.dialects.anthropic import DIALECT as ANTHROPIC
from fkproxy.dialects.base import Dialect
from fkproxy.dialects.codex import DIALECT as CODEX
from fkproxy.dialects.gemini import DIALECT as GEMINI
from fkproxy.dialects.openai_chat import DIALECT as OPENAI_CHAT
from fkproxy.dialects.openai_chat.completions import DIALECT as OPENAI_COMPLETIONS
from fkproxy.dialects.openai_responses import DIALECT as OPENAI_RESPONSES

__all__ = ["CLIENT_DIALECTS", "DIALECTS", "UPSTREAM_DIALECTS"]

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (OPENAI_CHAT, GEMINI, ANTHROPIC, OPENAI_RESPONSES)}

CLIENT_DIALECTS: tuple[Dialect, ...] = (*DIALECTS.values(), OPENAI_COMPLETIONS)
"""What clients may speak; the last one no upstream is asked in."""

UPSTREAM_DIALECTS: dict[str, Dialect] = {**DIALECTS, CODEX.name: CODEX}
"""What upstreams are asked in; the last one no client speaks."""
