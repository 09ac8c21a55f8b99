"""The sealed secrets in a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fkproxy.storage.secrets import is_sealed

__all__ = ["sealed_in"]


def sealed_in(value: object) -> Iterator[dict[str, Any]]:
    """Every sealed value in JSON or a document, in order."""
    if isinstance(value, dict):
        if is_sealed(value):
            yield value
            return
        value = list(value.values())
    elif isinstance(value, msgspec.Struct):
        value = [getattr(value, field) for field in value.__struct_fields__]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from sealed_in(item)
