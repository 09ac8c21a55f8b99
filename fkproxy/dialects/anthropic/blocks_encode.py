"""Parts of messages as blocks. Floor 1. Pure."""

from __future__ import annotations

import base64
from typing import Any

from fkproxy.dialects.anthropic.blocks import NAME, REDACTED
from fkproxy.dialects.anthropic.caching import MARK, mark_of
from fkproxy.dialects.arguments import as_object
from fkproxy.dialects.envelope import close_envelope
from fkproxy.dialects.foreign import carried
from fkproxy.dialects.media import registered_type, web_address_of
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.parts import Extra, Media, Opaque, Part, Reasoning, Refusal, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import Loss
from fkproxy.wire import json

__all__ = ["Block", "BlockWriter"]

Block = dict[str, Any]

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")


class BlockWriter:
    """`own`: the request came in this dialect, and every note of its decoder counts."""

    def __init__(self, *, own: bool, losses: list[Loss]) -> None:
        self._own = own
        self._losses = losses

    def blocks(self, parts: tuple[Part, ...]) -> list[Block]:
        """The blocks of a message. Raises `Unrepresentable`."""
        return [block for part in parts if (block := self._block(part)) is not None]

    def _block(self, part: Part) -> Block | None:
        match part:
            case Text() if self._own and "block.*" in part.extra:
                whole: Block = part.extra["block.*"]
                return whole
            case Text():
                self._foreign(part.seal)
                # "text content blocks must contain non-whitespace text", says the 400.
                return {"type": "text", "text": part.text, **self._more_of(part.extra)} if part.text.strip() or self._own else None
            case Refusal():
                return {"type": "text", "text": part.text} if part.text.strip() else None
            case Media():
                self._foreign(part.seal)
                return {**self._media(part), **self._more_of(part.extra)}
            case Reasoning():
                return self._reasoning(part)
            case ToolCall():
                return self._call(part)
            case ToolResult():
                return self._result(part)
            case Opaque():
                if part.dialect != NAME:
                    raise Unrepresentable(f"a {part.kind} part", NAME)
                value: Block = part.value
                return value

    def _more_of(self, extra: Extra) -> Extra:
        return carried(extra, True) if self._own else mark_of(extra)

    def _foreign(self, seal: Seal | None) -> None:
        if seal is not None:
            self._losses.append(Loss(field="seal"))

    def _reasoning(self, part: Reasoning) -> Block | None:
        """A thought goes back with its own signature or not at all."""
        extra = carried(part.extra, self._own)
        if part.seal is not None and part.seal.dialect == NAME:
            if part.redacted or part.seal.data.startswith(REDACTED):
                return {"type": "redacted_thinking", "data": part.seal.data.removeprefix(REDACTED), **extra}
            return {"type": "thinking", "thinking": part.text, "signature": part.seal.data, **extra}
        if self._own:
            signature = {"signature": part.extra["$signature"]} if "$signature" in part.extra else {}
            if part.seal is not None:
                signature = {"signature": close_envelope(part.seal, NAME)}
            return {"type": "thinking", "thinking": part.text, **signature, **extra}
        self._foreign(part.seal)
        self._losses.append(Loss(field="reasoning"))
        return None

    def _call(self, call: ToolCall) -> Block:
        self._foreign(call.seal)
        given = as_object(call.arguments, self._losses)
        block: Block = {"type": "tool_use", "id": call.id, "name": call.name, "input": given, **self._more_of(call.extra)}
        if self._own and "$no_input" in call.extra:
            del block["input"]
        return block

    def _result(self, result: ToolResult) -> Block:
        block: Block = {"type": "tool_result", "tool_use_id": result.call_id}
        content = self._own_content(result) if self._own else self._content(result)
        if content is not None:
            block["content"] = content
        if result.is_error and not self._own and isinstance(content, list) and any(inner["type"] != "text" for inner in content):
            # "all content must be type `text` if `is_error` is true", says the 400.
            self._losses.append(Loss(field="tool_result.is_error"))
        elif result.is_error or (self._own and "$is_error" in result.extra):
            block["is_error"] = result.is_error
        # A string has no place for the mark of the part that it was.
        marks = [] if self._own else [mark for part in result.parts if (mark := mark_of(part.extra))]
        return {**block, **(marks[-1] if marks else {}), **self._more_of(result.extra)}

    def _own_content(self, result: ToolResult) -> Any:
        if "content.*" in result.extra:
            return result.extra["content.*"]
        if "$no_content" in result.extra:
            return None
        if "$string" in result.extra:
            return "".join(part.text for part in result.parts if isinstance(part, Text))
        return self.blocks(result.parts)

    def _content(self, result: ToolResult) -> Any:
        """A string where there is but one text, None where there is nothing."""
        blocks = [{name: value for name, value in block.items() if name != MARK} for block in self.blocks(result.parts)]
        if result.structured is not None:
            value = result.structured
            text = value if isinstance(value, str) else json.encode(value).decode()
            if text.strip():
                blocks.insert(0, {"type": "text", "text": text})
        if not blocks:
            return None
        return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks

    def _media(self, media: Media) -> Block:
        if media.detail not in (None, "auto"):
            self._losses.append(Loss(field="image_url.detail"))
        if media.kind not in ("image", "file"):
            raise Unrepresentable("audio" if media.kind == "audio" else "a video", NAME)
        if media.file_id is not None and not self._own:
            raise Unrepresentable("a file by its id", NAME, "ids are only known to the vendor that gave them")
        if media.kind == "image":
            return {"type": "image", "source": self._image(media)}
        return {"type": "document", "source": self._document(media), **({"title": media.name} if media.name is not None else {})}

    def _more(self, media: Media) -> Block:
        return media.extra.get("source.*", {}) if self._own else {}

    def _image(self, media: Media) -> Block:
        if media.data is not None:
            mime_type = media.mime_type if self._own else registered_type(media.mime_type)
            if mime_type not in _IMAGES and not self._own:
                raise Unrepresentable(f"an image of type {media.mime_type}", NAME, f"{', '.join(_IMAGES)} are what it takes")
            return {"type": "base64", "media_type": mime_type, "data": media.data, **self._more(media)}
        return self._linked(media)

    def _document(self, media: Media) -> Block:
        if media.data is None:
            return self._linked(media)
        mime_type = media.mime_type or ""
        if "$text" in media.extra if self._own else mime_type.startswith("text/"):
            text = base64.b64decode(media.data).decode("utf-8", "replace")
            return {"type": "text", "media_type": mime_type if self._own else "text/plain", "data": text, **self._more(media)}
        if mime_type != "application/pdf" and not self._own:
            raise Unrepresentable(f"a file of type {mime_type or 'unknown'}", NAME, "PDF and plain text are what it takes")
        return {"type": "base64", "media_type": mime_type, "data": media.data, **self._more(media)}

    def _linked(self, media: Media) -> Block:
        if media.file_id is not None:
            return {"type": "file", "file_id": media.file_id, **self._more(media)}
        return {"type": "url", "url": media.url if self._own else web_address_of(media, NAME), **self._more(media)}
