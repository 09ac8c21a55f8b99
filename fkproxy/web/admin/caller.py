"""Who asks, as the audit log is to know it. Floor 4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request
from litestar.exceptions import ValidationException

from fkproxy.control.ledger import By
from fkproxy.storage.values import Actor
from fkproxy.web.peers import network
from fkproxy.wire.numbers import whole_number

__all__ = ["Asked", "Asking", "asking", "based_on"]

Asked = Request[Any, Any, Any]

Asking = Callable[[Request[Any, Any, Any]], By]
"""Makes of a request who asks."""


def asking(
    peer_of: Callable[[Request[Any, Any, Any]], str | None],
    keys_required: Callable[[], bool],
    request_id: Callable[[Request[Any, Any, Any]], str],
) -> Asking:
    """`administrator` came with the master key, `local` from this host where there is none."""

    def by(request: Request[Any, Any, Any]) -> By:
        kind = "administrator" if keys_required() else "local"
        return By(actor=Actor(kind=kind, peer=network(peer_of(request))), request_id=request_id(request))  # type: ignore[arg-type]  # a literal, chosen above

    return by


def based_on(request: Request[Any, Any, Any]) -> int | None:
    """The revision that `If-Match` names, as a number or an entity tag (RFC 9110 §13.1.1); None where it says nothing or `*`.

    Raises `ValidationException`.
    """
    given = request.headers.get("if-match", "*").strip()
    if given == "*":
        return None
    revision = whole_number(given.removeprefix("W/").strip('"'))
    if revision is None:
        raise ValidationException("If-Match is not a revision")
    return revision
