"""What is remembered of a call. Metadata only: nothing anybody said is in here.

Floor 2. Values only.
"""

from __future__ import annotations

import msgspec

from fkproxy.dialects.base import Operation
from fkproxy.limits.standing import GUESSES
from fkproxy.model.usage import Usage

__all__ = [
    "ENFORCED_MODEL",
    "MAX_AGENT_CHARS",
    "OTHER",
    "RECORD_BYTES",
    "USAGE_ESTIMATED",
    "Attempt",
    "CallRecord",
    "Skipped",
    "known_method",
    "upstream_key",
]


RECORD_BYTES = 1500
"""What a record takes up in memory, about. Records are kept and queued by their number: what clients choose in them has a bound."""

MAX_AGENT_CHARS = 200

OTHER = "other"
"""What stands for a client's word that is none of those that there are."""

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

ENFORCED_MODEL = "enforced_model:"
"""How the note begins that names the model which was asked for in place of the client's."""

USAGE_ESTIMATED = "usage_estimated"
"""The note that the upstream did not say, or not to its end, what was used."""


def known_method(method: str) -> str:
    """The method of a request as it is kept and told: a client may put anything there."""
    return method if method in _METHODS else OTHER


def upstream_key(provider_key: str, credential: str) -> str:
    """The name of an upstream: `provider`, or `provider/credential` where the provider has several."""
    return f"{provider_key}/{credential}" if credential else provider_key


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One try at one upstream.

    `outcome`: "ok", the error's code (also of what ended the call from outside), `internal_error`, `client_ended`, or `abandoned` for one
    that was asked beside another and was slower; `status` the upstream's HTTP status, where there was one.
    """

    provider_key: str
    credential: str = ""
    model_id: str = ""
    outcome: str = "ok"
    status: int | None = None
    duration_ms: float = 0.0
    ttft_ms: float | None = None

    @property
    def upstream(self) -> str:
        """See `upstream_key`."""
        return upstream_key(self.provider_key, self.credential)


class Skipped(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One upstream that was not tried, and why: a state (`limited`), `circuit_open`, `busy`, or a limit.

    `cause`: of a state, what it came from (see `limits.standing`).
    """

    provider_key: str
    credential: str = ""
    model_id: str = ""
    reason: str = ""
    cause: str = ""
    retry_after_s: float | None = None

    @property
    def upstream(self) -> str:
        """See `upstream_key`."""
        return upstream_key(self.provider_key, self.credential)

    @property
    def guessed(self) -> bool:
        """The gateway's own guess keeps it out, nothing that a vendor or an operator said."""
        return self.cause in GUESSES or self.reason == "circuit_open"


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """One call, written once when it is over, whatever its end.

    `route` is the route's template, never the path the client sent. `auth` is `key` (a valid key), `none` (no key needed) or
    `refused`. `key_id` is a short hash of the master key, or the id of a client key, which has a `pool` and a `key_prefix` (its beginning,
    safe to show) too. `status` is what the client got, or 499 if it left before an answer; `error_code` is from the closed set of
    `model/errors.py`. `provider_key`, `credential` and `model_id` are those of the last attempt. `notes` are the decisions that were out
    of the ordinary (`fallback:model`, `takeover:model`, `safety_valve`, `waited`, `enforced_model:model`, `enforced_thinking:effort high`,
    `maximum_thinking:budget 8192`, `usage_estimated`). `usage` and `cost_usd` are what counts against limits, too; None: nothing, or not
    known. `operation` is the dialect's word for what was asked.
    `model_requested` and `user_agent` are a client's own words, cut off where they are longer than any name.
    Times in milliseconds: `duration_ms` the whole call; `upstream_ms` the part of it spent waiting for upstreams; `waited_ms` for a body
    that came slowly, for the key's turn, for an upstream to be free or back; `ttft_ms` from the call's start to the first content.
    """

    request_id: str
    started_s: float
    method: str
    route: str
    status: int
    duration_ms: float
    dialect: str | None = None
    stream: bool = False
    model_requested: str | None = None
    model_id: str | None = None
    provider_key: str | None = None
    credential: str = ""
    upstream_dialect: str | None = None
    attempts: int = 0
    tries: tuple[Attempt, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    waited_ms: float = 0.0
    upstream_status: int | None = None
    upstream_ms: float = 0.0
    ttft_ms: float | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    finish_reason: str | None = None
    error_code: str | None = None
    losses: tuple[str, ...] = ()
    reasoning_requested: str | None = None
    reasoning_applied: str | None = None
    auth: str = "none"
    key_id: str | None = None
    peer: str | None = None
    user_agent: str | None = None
    client_ended: bool = False
    request_bytes: int = 0
    response_bytes: int = 0
    operation: Operation = "chat"
    pool: str | None = None
    key_prefix: str | None = None

    @property
    def usage_missing(self) -> bool:
        """The upstream should have said how many tokens it counted, and did not. A count of tokens takes none."""
        return (self.usage is None or USAGE_ESTIMATED in self.notes) and self.operation != "count_tokens"

    @property
    def total_tokens(self) -> int:
        """In and out, as far as they are known."""
        usage = self.usage
        return (usage.input_tokens or 0) + (usage.output_tokens or 0) if usage is not None else 0
