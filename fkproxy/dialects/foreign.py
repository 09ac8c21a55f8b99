"""What of a request goes to a dialect that is not its own, and what is left out. Floor 1. Pure."""

from __future__ import annotations

from collections.abc import Container

from fkproxy.model.errors import Unrepresentable
from fkproxy.model.parts import Extra, Media, Opaque, Part, Text, ToolResult
from fkproxy.model.request import ChatRequest, Loss, Tool, ToolChoice

__all__ = ["carried", "choice_of", "extra_losses", "functions_of", "in_place_of_what_was_said", "vendor_of"]


def carried(extra: Extra, own: bool) -> Extra:
    """Of a value's extra fields those that go into a request: all in their own dialect, none elsewhere.

    Names that begin with `$` are a decoder's notes to its own encoder, and so are those that end with `.*`, which hold fields from
    inside `name`.
    """
    return {name: value for name, value in extra.items() if not name.startswith("$") and not name.endswith(".*")} if own and extra else {}


_MEANINGFUL = frozenset(
    (
        *("audio", "background", "cachedContent", "cached_content.*", "container", "continuationToken", "conversation"),
        *("data_sources", "mcp_servers"),
        *("previous_response_id", "prompt", "responseFormat", "responseMimeType", "speechConfig", "thread"),
        "web_search_options",
    )
)
"""Fields of one dialect that bring in what the request itself does not say: earlier turns, documents, tools; or that ask for speech, or for
a form of the answer that no other has (`text/x.enum`).
"""

_MEANINGFUL_WITH = {"responseModalities": "AUDIO", "moderation": "'BLOCK'"}
"""Fields that do so with this word in them. Without a `speechConfig` Gemini speaks, too, in a voice of its own. `moderation` of OpenAI's
that blocks keeps an answer back, and one that does not tells scores (`ModerationPolicy`, openai 3.52).
"""

_SHORTENED = """\
The conversation up to here was shortened to make room. What follows is the summary that was written then; what it says has been done need \
not be done again. Go on from where it leaves off.

"""

_ENCRYPTED = {"compaction": "an encrypted summary (compaction)", "encrypted_content": "an encrypted message (agent_message)"}


def in_place_of_what_was_said(summary: str) -> str:
    """What a model is told that was not there when the conversation was made shorter."""
    return _SHORTENED + summary


def functions_of(request: ChatRequest) -> tuple[Tool, ...]:
    """The tools that every dialect has. What becomes of the others is `extra_losses`' business."""
    return tuple(tool for tool in request.tools if tool.kind == "function")


def vendor_of(dialect: str) -> str:
    """Whose the dialect is: a vendor with several writes its own name in front of theirs."""
    return dialect.partition("_")[0]


def _file_id(part: Part) -> str | None:
    """Of a file that only the vendor knows which gave it its id, or whose address it is, also in the result of a tool."""
    if isinstance(part, ToolResult):
        return next(filter(None, map(_file_id, part.parts)), None)
    return part.file_id if isinstance(part, Media) else None


def choice_of(request: ChatRequest, target: str) -> ToolChoice | None:
    """The choice among the tools that go to the foreign dialect `target`; None where none go: a choice without tools is refused.

    Raises `Unrepresentable` where the model must use a tool that does not go there.
    """
    choice = request.tool_choice
    if choice is None:
        return None
    functions = {tool.name for tool in functions_of(request)}
    if not functions:
        if choice.mode == "required":
            raise Unrepresentable("tool_choice", target, "no tool that it could choose goes there")
        return None
    left_out = {tool.name for tool in request.tools} - functions
    names = tuple(name for name in choice.names if name not in left_out)
    if names == choice.names:
        return choice
    if names:
        return ToolChoice(mode=choice.mode, names=names)
    if choice.mode == "required":
        raise Unrepresentable("tool_choice", target, "no tool that it could choose goes there")
    return ToolChoice(mode="none")


def _said(extra: Extra, read: Container[str] = ()) -> list[str]:
    """The names of fields that came with something in them. `read`: those that are no matter."""
    return [name for name, value in extra.items() if value not in (None, []) and name[:1] != "$" and name not in read] if extra else []


def extra_losses(request: ChatRequest, target: str = "", read: Container[str] = ()) -> list[Loss]:
    """What the foreign dialect `target` leaves out of a request because only the client's own knows it.

    `read`: fields of the request, its messages, parts and tools that are the target's own, and that it finds in `extra`.

    Raises `Unrepresentable` for a field, or a tool or file that only a vendor has, without which the request would mean something else.

    Fields of the request by name; fields deeper inside as `messages[].*` and the like: their names are the client's own words.
    """
    said, generation = _said(request.extra), request.extra.get("generationConfig.*", {})
    for name in (*said, *_said(generation)):
        word = _MEANINGFUL_WITH.get(name)
        if name in _MEANINGFUL or (word and word in str((generation if name in generation else request.extra)[name]).upper()):
            raise Unrepresentable(name.removesuffix(".*"), target)
    if request.sampling.max_output_tokens == 0:
        raise Unrepresentable("max_tokens: 0", target, "it asks for a warm prompt cache and no answer, and there is no such request")
    of_messages: list[Extra] = []
    of_parts: list[Extra] = []
    named = False
    for message in request.messages:
        if message.extra:
            of_messages.append(message.extra)
        if message.name is not None:
            named = True
        for part in message.parts:
            if isinstance(part, Opaque):
                if part.kind == "item_reference":
                    told = "nothing is stored here; with store: false clients send items whole"
                    raise Unrepresentable("an item by its id", target, told)
                if part.kind in _ENCRYPTED and "encrypted_content" in part.value:
                    raise Unrepresentable(_ENCRYPTED[part.kind], target, "only the vendor that made it can read it")
                continue
            if type(part) is not Text and (file_id := _file_id(part)) and vendor_of(request.dialect) != vendor_of(target):
                if ":" in file_id:
                    raise Unrepresentable("a file by an address of its vendor's own", target, "nobody else can read it")
                raise Unrepresentable("a file by its id", target, "ids are only known to the vendor that gave them")
            if part.extra:
                of_parts.append(part.extra)
    losses = [Loss(field=name, from_client=True) for name in said if name not in read]
    of_tools: list[Extra] = []
    for tool in request.tools:
        if tool.kind != "function":
            if not tool.optional:
                raise Unrepresentable(f"the tool {tool.kind!r}", target)
            losses.append(Loss(field=tool.kind, from_client=True))
        if tool.extra:
            of_tools.append(tool.extra)
    if request.compacts:
        losses.append(Loss(field="compaction", action="converted"))
    for field, extras in (("messages[].*", of_messages), ("messages[].content[].*", of_parts), ("tools[].*", of_tools)):
        if extras and any(_said(extra, read) for extra in extras):
            losses.append(Loss(field=field))
    if named:
        losses.append(Loss(field="messages[].name"))
    return losses
