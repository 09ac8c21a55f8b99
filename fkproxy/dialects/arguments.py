"""What a model calls a tool with, for vendors that have it as an object and not as text. Floor 1. Pure."""

from __future__ import annotations

from typing import Any

from fkproxy.model.request import Loss
from fkproxy.wire import json

__all__ = ["NONE", "as_object"]

NONE = ("", "null")
"""No arguments: both are written of tools that take none (vllm-project/vllm#43851, langroid/langroid#988)."""


def as_object(arguments: str, losses: list[Loss] | None = None) -> dict[str, Any]:
    """The object. What the model wrote that is none goes within one, which is reported as converted: better odd than lost."""
    given = {} if arguments in NONE else json.try_object(arguments)
    if given is not None:
        return given
    if losses is not None:
        losses.append(Loss(field="tool_calls[].arguments", action="converted"))
    return {"arguments": arguments}
