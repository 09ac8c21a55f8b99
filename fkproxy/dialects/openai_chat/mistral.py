"""What Mistral's models and its API want of a chat completion. Floor 1. Pure.

Sources, read 2026-11: its 400s ("Tool call id was … but must be a-z, A-Z, 0-9, with a length of 9.", "Unexpected role 'user' after role
'tool'", "Unexpected role 'system' after role 'assistant'", "Expected last role User or Tool (or Assistant with prefix True)"), which
servers of its open models give, too, as its tokenizer's checks are theirs (some of the newest models take any id and order); its 422s
("extra_forbidden", for `user`, `stream_options.include_usage` and others), which its API alone gives, to every field that the request of
its own client, mistralai, does not have, and to files in OpenAI's words (its own: `DocumentURLChunk`; danny-avila/LibreChat#12144);
mistral.ai/news/mistral-small-4 for `reasoning_effort`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from fkproxy.model.request import Loss

__all__ = ["fit_body", "is_mistral", "takes_stream_options"]

_NAMES = "(mistral|ministral|magistral|codestral|devstral|mathstral|pixtral|mixtral|voxtral)"
_MISTRAL = re.compile(rf"(^|/|\bft:)((open|labs)-)?{_NAMES}(-|:|$)", re.IGNORECASE)
_SERVED = re.compile(rf"(ft:)?(open-{_NAMES}-[a-z0-9.-]+|(labs-)?{_NAMES}-((?!instruct)[a-z0-9.-])*?(latest|\d{{4}}))(:.*)?")
"""As its API calls them, and who serves the open ones does not: `mistral-large-latest`, `open-mistral-nemo`, `devstral-medium-2507`."""
_ADJUSTABLE = re.compile(r"mistral-(small|medium)-(latest|(2[6-9]|[3-9]\d)\d\d)")
"""Those that think as they are told, from Mistral Small 4 on: not at all, or hard ("Must be one of (none, high)"). Others take no word
about it ("reasoning_effort is not enabled for this model").
"""

_HEARD = "(understood)"
"""What the model says between a tool and the user."""
_REFUSED = ("logit_bias", "logprobs", "top_logprobs", "user")


def is_mistral(model: str) -> bool:
    """It is one of Mistral's, whoever serves it."""
    return _MISTRAL.search(model) is not None


def _is_served(model: str) -> bool:
    return _SERVED.fullmatch(model) is not None


@lru_cache(maxsize=256)
def takes_stream_options(model: str) -> bool:
    """Where it does not, the usage comes unasked, in the last chunk."""
    return not _is_served(model)


def fit_body(body: dict[str, Any], model: str, losses: list[Loss]) -> None:
    """Change a body that came from another dialect into what a model of Mistral's takes."""
    body["messages"] = messages = _alternating(body["messages"], losses)
    if not _is_served(model):
        return
    last = messages[-1] if messages else {}
    if last.get("role") == "assistant" and "tool_calls" not in last:
        last["prefix"] = True
    for message in messages:
        if (refusal := message.pop("refusal", None)) is not None and message["content"] is None:
            message["content"] = refusal
        if isinstance(message["content"], list):
            message["content"] = list(map(_document, message["content"]))
    if "seed" in body:
        body["random_seed"] = body.pop("seed")
    body.pop("stream_options", None)
    losses += [Loss(field=name) for name in _REFUSED if body.pop(name, None)]
    _fit_reasoning(body, model, losses)
    _fit_tools(body)


def _alternating(messages: list[dict[str, Any]], losses: list[Loss]) -> list[dict[str, Any]]:
    """The messages, with a word of the model's behind the results of its tools where it is not its turn anyway.

    What the system says behind the model, or behind a tool, goes as the user's.
    """
    found: list[dict[str, Any]] = []
    for message in messages:
        before, role = found[-1]["role"] if found else None, message["role"]
        if role == "system" and before in ("assistant", "tool"):
            losses.append(Loss(field="messages[].role", action="converted"))
            role = "user"
        if role == "user" and before == "tool":
            losses.append(Loss(field="messages[].role", action="converted"))
            found.append({"role": "assistant", "content": _HEARD})
        found.append({**message, "role": role})
    return found


def _document(part: dict[str, Any]) -> dict[str, Any]:
    """The part in Mistral's words, if it is a file; its content is an address of the kind `data:`."""
    file = part.get("file", {})
    if "file_data" not in file:
        return part
    return {"type": "document_url", "document_url": file["file_data"], "document_name": file["filename"]}


def _fit_reasoning(body: dict[str, Any], model: str, losses: list[Loss]) -> None:
    effort = body.pop("reasoning_effort", None)
    if effort is None:
        return
    if _ADJUSTABLE.fullmatch(model):
        body["reasoning_effort"] = taken = "none" if effort == "none" else "high"
        if taken != effort:
            losses.append(Loss(field="reasoning.effort", action="converted"))
    elif effort != "none":
        losses.append(Loss(field="reasoning"))


def _fit_tools(body: dict[str, Any]) -> None:
    """A choice among some of the tools is told by offering those only, and every function says its parameters."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = {tool["function"]["name"] for tool in allowed["tools"]}
        body["tools"] = [tool for tool in body["tools"] if tool["function"]["name"] in names]
        body["tool_choice"] = allowed["mode"]
    for tool in body.get("tools", ()):
        tool["function"].setdefault("parameters", {"type": "object", "properties": {}})
