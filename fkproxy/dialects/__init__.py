"""The registry of dialects. Floor 1. Pure. To add one: write its folder, then its line here."""

from __future__ import annotations

from fkproxy.dialects.anthropic import DIALECT as ANTHROPIC
from fkproxy.dialects.base import Dialect
from fkproxy.dialects.gemini import DIALECT as GEMINI
from fkproxy.dialects.openai_chat import DIALECT as OPENAI_CHAT

__all__ = ["DIALECTS"]

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (OPENAI_CHAT, GEMINI, ANTHROPIC)}
