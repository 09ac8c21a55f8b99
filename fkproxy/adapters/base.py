"""What an adapter is: a dialect plus an address and a credential.

Floor 2.

It owns URL, authentication, headers and quirks, and maps no messages. An exchange is one request under way; whoever holds it must
`close()` it, which is what cancels the upstream's work when the client has gone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from fkproxy.adapters.http import Address
from fkproxy.dialects.base import ModelEntry, Operation

__all__ = ["Adapter", "Children", "Credential", "CredentialStatus", "Exchange", "Pulled", "Timeouts", "UpstreamCall"]


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Deadlines in seconds.

    `silence_s` is the longest pause between two pieces of a body, `stall_s` between two pieces of content, however many signs of life
    come in between; `total_s` bounds the whole call.
    """

    connect_s: float = 10.0
    first_byte_s: float = 120.0
    silence_s: float = 120.0
    stall_s: float = 300.0
    total_s: float = 600.0


class UpstreamCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request for an upstream, body already in its dialect.

    `client_headers` are the client's own, names in lower case, where it speaks the upstream's dialect; an adapter passes on what its
    list allows and nothing else. `variant` is `Peek.variant` where the body is the client's own;
    `dialect` is the body's, where an upstream speaks several. `caller`: whose call it is, for an upstream that keeps something between
    calls.
    """

    model: str
    stream: bool
    body: bytes
    request_id: str
    client_headers: Mapping[bytes, bytes] | None = None
    operation: Operation = "chat"
    variant: str = ""
    dialect: str = ""
    caller: str = ""


class CredentialStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a credential is. `expires_s` and `refreshed_s` are unix seconds; None: it does not say, or never.

    `reauth_required`: nothing but a new sign-in by the operator helps; an old token may serve on until its end.
    """

    state: Literal["active", "refreshing", "reauth_required"] = "active"
    expires_s: float | None = None
    refreshed_s: float | None = None


class Children(msgspec.Struct, frozen=True, kw_only=True):
    """The processes that an upstream consists of.

    `waiting`: turns that wait for clients' tools. `restarts`: how often one was started because another had ended by itself.
    `retry_after_s`: until one is started again; 0 if one may be now.
    """

    processes: int = 0
    waiting: int = 0
    restarts: int = 0
    resident_bytes: int = 0
    version: str = ""
    retry_after_s: float = 0.0


class Credential(Protocol):
    """One secret of a provider. `now` is unix seconds."""

    name: str

    @property
    def renewable(self) -> bool:
        """True when `renew` may find another token."""
        ...

    async def token(self, now: float) -> str:
        """What is sent to the upstream. Raises `UpstreamRefusedCredential` or `UpstreamUnavailable`."""
        ...

    async def renew(self, refused: str, now: float) -> bool:
        """The upstream refused this token: True if a different one is had now. Raises nothing for a failed renewal."""
        ...

    def describe(self, now: float) -> CredentialStatus:
        """For health, metrics and routing."""
        ...


class Exchange(Protocol):
    """One request under way."""

    @property
    def status(self) -> int:
        """HTTP status; valid once `head` returned True."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Reply headers, names in lower case; valid once `head` returned True."""
        ...

    async def head(self, wait_s: float) -> bool:
        """True once status and headers are here, False if they are not after `wait_s` seconds (then call again).

        Raises `UpstreamUnavailable` or `UpstreamProtocolError`.
        """
        ...

    async def chunk(self, wait_s: float) -> bytes | None:
        """The next bytes of the body, b"" at its end, None if nothing came for `wait_s` seconds (then call again).

        Raises `UpstreamUnavailable` when the connection breaks before the end.
        """
        ...

    def at_once(self) -> bytes | None:
        """The rest of the body if all of it is here already, else None."""
        ...

    async def pour(self, into: Callable[[bytes], bool], wait_s: float) -> bool:
        """Hand over the body as it comes, b"" at its end, until `into` gives False; it must not raise. True if it was given anything,
        False if nothing came for `wait_s` seconds (then call again). May return sooner. Raises as `chunk`.

        A stream's pieces are handed over the moment they come, without waking the task that waits: half of what a piece would cost.
        """
        ...

    def close(self) -> None:
        """Give the connection back if the reply is complete, else cut it. May be called twice."""
        ...


class Pulled(ABC):
    """`Exchange.pour` and `at_once` for those that have `chunk` only."""

    @abstractmethod
    async def chunk(self, wait_s: float) -> bytes | None:
        """See `Exchange.chunk`."""

    def at_once(self) -> bytes | None:
        """See `Exchange.at_once`."""
        return None

    async def pour(self, into: Callable[[bytes], bool], wait_s: float) -> bool:
        """See `Exchange.pour`."""
        piece = await self.chunk(wait_s)
        if piece is None:
            return False
        into(piece)
        return True


class Adapter(Protocol):
    """One upstream: provider × credential."""

    provider_key: str
    dialect: str
    models: tuple[str, ...]
    """Patterns (fnmatch) of the model names this upstream serves."""
    spoken: frozenset[str]
    """Dialects in which it can be asked: `dialect`, into which everything else is translated, and those whose clients' bytes pass."""
    operations: frozenset[Operation]
    """What it can be asked for."""

    @property
    def credential(self) -> Credential:
        """What it is asked with."""
        ...

    @property
    def address(self) -> Address | None:
        """What it connects to; None for one without a network."""
        ...

    @property
    def children(self) -> Children | None:
        """Those of an upstream that consists of processes."""
        ...

    async def send(self, call: UpstreamCall) -> Exchange:
        """Connected and written. Raises `UpstreamUnavailable`, `UpstreamTimeout` (phase connect), `UpstreamRefusedCredential`."""
        ...

    async def list_models(self) -> list[ModelEntry]:
        """What the upstream says it serves. Raises `UpstreamError`."""
        ...

    async def verify(self) -> None:
        """Prove, at no cost, that the credential is accepted. Raises `UpstreamError`."""
        ...

    async def aclose(self) -> None:
        """Close idle connections."""
        ...
