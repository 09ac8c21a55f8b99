"""A request for embeddings, and its reply. Floor 0. Values only."""

from __future__ import annotations

from typing import Literal

import msgspec

from fkproxy.model.parts import Extra
from fkproxy.model.usage import Usage

__all__ = ["EmbeddingReply", "EmbeddingRequest"]


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Texts to embed, one vector each. `single`: the client asked for one vector and gets no list."""

    dialect: str
    model: str
    texts: tuple[str, ...]
    single: bool = False
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"
    task: str | None = None
    title: str | None = None
    user: str | None = None
    extra: Extra = {}


class EmbeddingReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One vector for each text, in their order."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage | None = None
