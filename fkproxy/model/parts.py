"""What a message is made of.

Floor 0. Values only.

Two devices keep what the hub itself has no word for:

- `extra` on a value holds the wire fields of the dialect the request came from that the hub does not interpret. An encoder
  writes them back only when it encodes into that same dialect (`ChatRequest.dialect`); towards any other dialect it reports them.
- a `Seal` is opaque provider state (thought signature, encrypted reasoning) that has to come back in the next turn. It is
  replayed only to the dialect that made it.
"""

from __future__ import annotations

from typing import Any, Literal, final

import msgspec

__all__ = [
    "Extra",
    "Media",
    "MediaKind",
    "Message",
    "Opaque",
    "Part",
    "Reasoning",
    "Refusal",
    "Role",
    "Seal",
    "Text",
    "ToolCall",
    "ToolResult",
]

Extra = dict[str, Any]
"""JSON fields kept as they came; treat as read-only."""

Role = Literal["system", "user", "assistant", "tool"]
MediaKind = Literal["image", "audio", "video", "file"]


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """Opaque provider state bound to the part it came with."""

    dialect: str
    data: str


@final
class Text(msgspec.Struct, frozen=True, kw_only=True, tag="text", omit_defaults=True, gc=False):
    """Visible text."""

    text: str
    seal: Seal | None = None
    extra: Extra = {}


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal", omit_defaults=True, gc=False):
    """The model's own words of refusal (OpenAI `refusal`)."""

    text: str
    extra: Extra = {}


class Media(msgspec.Struct, frozen=True, kw_only=True, tag="media", omit_defaults=True, gc=False):
    """An image, a sound, a video or a file. Exactly one of `data`, `url`, `file_id` is set.

    `url` is one that every vendor may read. `file_id` is what only the one knows whose dialect the request came in, be it an address.
    `data` is base64 text as it came (validated by the decoder), `mime_type` is None when the wire did not say.
    """

    kind: MediaKind
    mime_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    name: str | None = None
    detail: str | None = None
    seal: Seal | None = None
    extra: Extra = {}


class Reasoning(msgspec.Struct, frozen=True, kw_only=True, tag="reasoning", omit_defaults=True, gc=False):
    """A thought, or its summary. `text` may be empty when only the seal is known."""

    text: str = ""
    redacted: bool = False
    seal: Seal | None = None
    extra: Extra = {}


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, tag="tool_call", omit_defaults=True, gc=False):
    """The model asks for a tool. `arguments` is JSON text as the model wrote it (may be invalid JSON)."""

    id: str
    name: str
    arguments: str = "{}"
    seal: Seal | None = None
    extra: Extra = {}


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, tag="tool_result", omit_defaults=True, gc=False):
    """The answer to a tool call. `name` is None where the dialect does not repeat it.

    `structured` is the result as a JSON value where the dialect sends JSON instead of text (Gemini); then `parts` holds media only.
    """

    call_id: str
    name: str | None = None
    parts: tuple[Text | Media, ...] = ()
    structured: Any = None
    is_error: bool = False
    extra: Extra = {}


class Opaque(msgspec.Struct, frozen=True, kw_only=True, tag="opaque", omit_defaults=True, gc=False):
    """A block the hub does not know. It goes back to its own dialect untouched and is refused or reported everywhere else."""

    dialect: str
    kind: str
    value: Any


Part = Text | Refusal | Media | Reasoning | ToolCall | ToolResult | Opaque


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One turn, or a piece of one. `tool` messages hold `ToolResult` parts only."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    extra: Extra = {}
