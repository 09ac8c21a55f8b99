"""A chat request, whoever sent it. Floor 0. Values only."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from fkproxy.model.parts import Extra, Message

__all__ = [
    "EFFORTS",
    "ChatRequest",
    "Effort",
    "Loss",
    "OutputFormat",
    "ReasoningConfig",
    "Sampling",
    "Tool",
    "ToolChoice",
]

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)
"""The least first."""

_EFFORT_UP_TO: tuple[tuple[int, Effort], ...] = ((0, "none"), (1024, "low"), (8192, "medium"))
"""Efforts that budgets in tokens mean, as Google's own compatible endpoint has them (ai.google.dev, "OpenAI compatibility", read 2026-11);
above it is high."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How tokens are drawn. None means the caller did not say, and nothing is sent."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    choices: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None


class ReasoningConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How much the model may think, in whichever form the caller used.

    `budget_tokens`: 0 is off, -1 is "as the model likes". `include_thoughts` None: the caller did not say.
    """

    effort: Effort | None = None
    budget_tokens: int | None = None
    include_thoughts: bool | None = None

    @property
    def meant_effort(self) -> Effort | None:
        """The effort that is asked for, or that a budget means; None for "as the model likes"."""
        budget = self.budget_tokens
        if self.effort is None and budget is not None and budget >= 0:
            return next((word for limit, word in _EFFORT_UP_TO if budget <= limit), "high")
        return self.effort


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A function the client offers (`kind="function"`), or a tool the vendor runs itself (any other `kind`, kept in `value`).

    `optional`: the client offers it as a matter of course; a vendor that does not have it may leave it out, and says so.
    """

    name: str
    kind: str = "function"
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    value: Any = None
    optional: bool = False
    extra: Extra = {}


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """`names` narrows the choice to these tools; with mode `required` and one name it forces that tool."""

    mode: Literal["auto", "none", "required"]
    names: tuple[str, ...] = ()


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What the answer must look like. `schema_` is a JSON Schema and set only for `json_schema`."""

    kind: Literal["text", "json", "json_schema"]
    schema_: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The request in the hub's words. `dialect` says whose fields the `extra` mappings hold.

    `compacts`: the last message asks for a summary of the others, which the client puts in their place.
    """

    dialect: str
    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = True
    sampling: Sampling = Sampling()
    reasoning: ReasoningConfig | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    user: str | None = None
    compacts: bool = False
    extra: Extra = {}


class Loss(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One thing the target dialect could not say, by its name in the source dialect (`logit_bias`, `messages[].name`).

    `from_client`: the name is a key that the client wrote, which may be a word of its own.
    """

    field: str
    action: Literal["dropped", "converted"] = "dropped"
    from_client: bool = False
