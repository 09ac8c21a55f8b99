"""Everything that can go wrong with a call, as one tree.

Floor 0. Values only.

    FkproxyError                            status   retry  breaker   code
    ├ ClientError                                                     the caller's mistake
    │ ├ InvalidRequest(path, expected)      400      –      –         invalid_request
    │ ├ Unrepresentable(what, dialect)      400      –      –         unsupported_parameter
    │ ├ NotAuthenticated                    401      –      –         invalid_api_key
    │ │ ├ KeyExpired                        401      –      –         key_expired
    │ │ └ KeyRevoked                        401      –      –         key_revoked             while its call was under way
    │ ├ NotAllowed                          403      –      –         forbidden
    │ │ ├ KeyPaused                         403      –      –         key_paused
    │ │ ├ PoolInactive(state)               403      –      –         pool_inactive
    │ │ ├ ModelNotAllowed(model)            403      –      –         model_not_allowed
    │ │ ├ AdministratorKey                  403      –      –         administrator_key
    │ │ └ ForeignPage                       403      –      –         origin_not_allowed
    │ ├ UnknownModel(model)                 404      –      –         model_not_found
    │ ├ UnknownRoute / MethodNotAllowed     404/405  –      –         not_found / method_not_allowed
    │ ├ RequestTimeout(after_s)             408      –      –         request_timeout
    │ ├ RequestTooLarge(limit_bytes)        413      –      –         request_too_large
    │ └ UnsupportedCoding(coding)           415      –      –         unsupported_coding
    ├ AdmissionError
    │ ├ RateLimited(retry_after_s)          429      –      –         rate_limit_exceeded
    │ ├ ConcurrencyExceeded                 429      –      –         concurrency_exceeded
    │ ├ TokenBudgetExceeded(limit, window)  429      –      –         token_budget_exceeded
    │ ├ SpendBudgetExceeded(limit, window)  429      –      –         spend_budget_exceeded
    │ └ NoUpstreamAvailable(reasons)        503      –      –         service_unavailable
    ├ UpstreamError                                                   theirs
    │ ├ UpstreamRejected(upstream_status)   as sent  –      –         upstream_rejected       tried again if it may pass elsewhere
    │ │ └ UpstreamModelMissing              404      yes    –         upstream_model_not_found
    │ ├ UpstreamRefusedCredential           502      yes    –         upstream_authentication
    │ ├ UpstreamRateLimited(retry_after_s)  429      yes    –         upstream_rate_limited   the target rests until then
    │ ├ UpstreamQuotaExhausted              429      yes    –         upstream_quota_exhausted
    │ ├ UpstreamOverloaded                  503      yes    yes       upstream_overloaded
    │ ├ UpstreamFailed(upstream_status)     502      yes    yes       upstream_error          500 and its kin
    │ ├ UpstreamTimeout(phase)              504      yes    yes       timeout
    │ ├ UpstreamUnavailable                 502      yes    yes       bad_gateway
    │ ├ UpstreamSpawnFailed(binary, why)    500      yes    yes       spawn_error             a child process
    │ ├ UpstreamProtocolError               502      yes    yes       upstream_protocol_error
    │ └ FallbackExhausted(attempts)         502      –      –         fallback_exhausted      several were tried, none served
    └ InternalError                         500      –      –         internal_error

`str(error)` is for the caller: what was expected and what came. It may quote the caller's own field names and what the upstream
answered about the caller's own request; it never goes to a log or a metric. `code` is from the closed set above and does.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AdministratorKey",
    "AdmissionError",
    "ClientError",
    "ConcurrencyExceeded",
    "FallbackExhausted",
    "FkproxyError",
    "ForeignPage",
    "InternalError",
    "InvalidRequest",
    "KeyExpired",
    "KeyPaused",
    "KeyRevoked",
    "MethodNotAllowed",
    "ModelNotAllowed",
    "NoUpstreamAvailable",
    "NotAllowed",
    "NotAuthenticated",
    "PoolInactive",
    "RateLimited",
    "RequestTimeout",
    "RequestTooLarge",
    "SpendBudgetExceeded",
    "TokenBudgetExceeded",
    "UnknownModel",
    "UnknownRoute",
    "Unrepresentable",
    "UnsupportedCoding",
    "UpstreamError",
    "UpstreamFailed",
    "UpstreamModelMissing",
    "UpstreamOverloaded",
    "UpstreamProtocolError",
    "UpstreamQuotaExhausted",
    "UpstreamRateLimited",
    "UpstreamRefusedCredential",
    "UpstreamRejected",
    "UpstreamSpawnFailed",
    "UpstreamTimeout",
    "UpstreamUnavailable",
]


class FkproxyError(Exception):
    """Base of all errors a call can end with."""

    status: int = 500
    code: ClassVar[str] = "internal_error"
    retry: bool = False
    breaker: ClassVar[bool] = False
    retry_after_s: float | None = None
    param: str | None = None


class ClientError(FkproxyError):
    """The caller has to change something."""

    status = 400
    code = "invalid_request"


class InvalidRequest(ClientError):
    """A field is missing or is not what the dialect says. `path` is the field as the client wrote it, `messages[2].content`."""

    def __init__(self, path: str | None, expected: str) -> None:
        super().__init__(f"{path}: {expected}" if path else expected)
        self.param = path
        self.expected = expected


class Unrepresentable(ClientError):
    """The target's dialect has no way to say `what`, and leaving it out would change the meaning."""

    code = "unsupported_parameter"

    def __init__(self, what: str, dialect: str, hint: str = "") -> None:
        super().__init__(f"{what} cannot be carried to a {dialect} upstream{': ' + hint if hint else ''}")
        self.param = what
        self.dialect = dialect
        self.hint = hint


class NotAuthenticated(ClientError):
    status = 401
    code = "invalid_api_key"

    def __init__(self, message: str = "no valid API key was given") -> None:
        super().__init__(message)


class KeyExpired(NotAuthenticated):
    """The key's own end has come, or that of a secret which a rotation replaced."""

    code = "key_expired"

    def __init__(self) -> None:
        super().__init__("the API key has expired: ask your administrator for another one")


class KeyRevoked(NotAuthenticated):
    """It was revoked or deleted while its call was under way. Who comes with it later hears what strangers hear, `invalid_api_key`."""

    code = "key_revoked"

    def __init__(self) -> None:
        super().__init__("the API key was revoked")


class NotAllowed(ClientError):
    status = 403
    code = "forbidden"


class KeyPaused(NotAllowed):
    code = "key_paused"

    def __init__(self) -> None:
        super().__init__("the API key is paused: ask your administrator")


class PoolInactive(NotAllowed):
    """`state`: paused, disabled, archived, or missing."""

    code = "pool_inactive"

    def __init__(self, state: str) -> None:
        super().__init__(f"the pool of this API key is {state}: ask your administrator")
        self.state = state


class ModelNotAllowed(NotAllowed):
    """There may be such a model, and this key or its pool may not ask for it."""

    code = "model_not_allowed"

    def __init__(self, model: str) -> None:
        super().__init__(f"this API key may not ask for the model {model!r}; GET /v1/models lists those it may")
        self.param = "model"
        self.model = model


class AdministratorKey(NotAllowed):
    """The master key at a client's route, where clients have keys of their own."""

    code = "administrator_key"

    def __init__(self) -> None:
        super().__init__("this is the administrator's key, which opens /admin/api: a call needs the key of a pool")


class ForeignPage(NotAllowed):
    """A web page of another site makes the browser of somebody who needs no key here ask."""

    code = "origin_not_allowed"

    def __init__(self) -> None:
        super().__init__("web pages of other sites may not call while no key is required: name this one's in APP_CORS__ALLOWED_ORIGINS")


class UnknownModel(ClientError):
    status = 404
    code = "model_not_found"

    def __init__(self, model: str, hint: str = "") -> None:
        super().__init__(f"the model {model!r} is not served here{'; ' + hint if hint else ''}")
        self.param = "model"
        self.model = model


class UnknownRoute(ClientError):
    status = 404
    code = "not_found"

    def __init__(self, method: str, path: str, meant: str | None = None) -> None:
        hint = f", but there is {meant}: look at the client's base URL" if meant is not None else ""
        super().__init__(f"there is no {method} {path} here{hint}")


class MethodNotAllowed(ClientError):
    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: tuple[str, ...], status: int = 405) -> None:
        """`status`: 426 to who would go on over a WebSocket."""
        super().__init__(f"{method} is not allowed here; use {' or '.join(allowed)}")
        self.allowed, self.status = allowed, status


class RequestTimeout(ClientError):
    """The client did not send its body in time."""

    status = 408
    code = "request_timeout"

    def __init__(self, after_s: float) -> None:
        super().__init__(f"the request body did not arrive within {after_s:g} s")
        self.after_s = after_s


class RequestTooLarge(ClientError):
    status = 413
    code = "request_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the request body is larger than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class UnsupportedCoding(ClientError):
    status = 415
    code = "unsupported_coding"

    def __init__(self, coding: str, taken: tuple[str, ...]) -> None:
        super().__init__(f"the request body is compressed with {coding[:40]!r}; send it as it is, or with {' or '.join(taken)}")
        self.taken = taken


class AdmissionError(FkproxyError):
    """The request is fine, but not now."""

    status = 429
    code = "rate_limit_exceeded"


class RateLimited(AdmissionError):
    """`retry_after_s`: seconds until one more request would pass; None: none ever will."""

    def __init__(self, retry_after_s: float | None, message: str = "Rate limit exceeded") -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ConcurrencyExceeded(AdmissionError):
    code = "concurrency_exceeded"

    def __init__(self, limit: int, retry_after_s: float | None = 1.0, what: str = "streams are open") -> None:
        super().__init__(f"{limit} {what} already, which is the limit")
        self.limit = limit
        self.retry_after_s = retry_after_s


class TokenBudgetExceeded(AdmissionError):
    """`window`: day or week. `retry_after_s`: until the window ends; None: a limit of 0 has no end."""

    code = "token_budget_exceeded"

    def __init__(self, limit: float, window: str, retry_after_s: float | None) -> None:
        super().__init__(f"what is left of this key's limit of {limit:.0f} tokens a {window} (UTC) does not suffice for this call")
        self.limit = limit
        self.window = window
        self.retry_after_s = retry_after_s


class SpendBudgetExceeded(AdmissionError):
    """`window`: day or month. `limit` in USD."""

    code = "spend_budget_exceeded"

    def __init__(self, limit: float, window: str, retry_after_s: float | None) -> None:
        super().__init__(f"what is left of this key's limit of {limit:g} USD a {window} (UTC) does not suffice for this call")
        self.limit = limit
        self.window = window
        self.retry_after_s = retry_after_s


class NoUpstreamAvailable(AdmissionError):
    """Every upstream for the model was skipped. `reasons`: (provider_key, why), without content."""

    status = 503
    code = "service_unavailable"

    def __init__(self, reasons: tuple[tuple[str, str], ...] = (), retry_after_s: float | None = None) -> None:
        listed = ", ".join(f"{provider}: {why}" for provider, why in reasons)
        super().__init__(f"no upstream is available for this model{' (' + listed + ')' if listed else ''}")
        self.reasons = reasons
        self.retry_after_s = retry_after_s


class UpstreamError(FkproxyError):
    """The upstream's doing. `upstream_status` is its HTTP status where there was one.

    `ours`: not its doing after all, for this process or this host had nothing left to ask it with.
    """

    status = 502
    code = "upstream_error"
    ours = False

    def __init__(self, message: str, *, upstream_status: int | None = None) -> None:
        super().__init__(message)
        self.upstream_status = upstream_status


class UpstreamRejected(UpstreamError):
    """The upstream says that the request is wrong (400, 404, 413, 422 …): the caller gets that status and the upstream's words.

    `elsewhere`: another account or vendor may take it as it is. `details`: what the upstream says besides, as JSON, which only clients of
    its own dialect can read.
    """

    TOO_LONG: ClassVar[str] = "context_length_exceeded"
    """The `native_code` of a conversation that is longer than the model takes, whichever dialect said so: only OpenAI has a word for it.
    Clients shorten the conversation when they hear of it in their own dialect's words.
    """

    code = "upstream_rejected"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        native_code: str | None = None,
        details: str | None = None,
        elsewhere: bool = False,
    ) -> None:
        super().__init__(message, upstream_status=status)
        self.status = status
        self.param = param
        self.native_code = native_code
        self.details = details
        self.retry = elsewhere or self.retry


class UpstreamModelMissing(UpstreamRejected):
    """404: this upstream does not have the model; another one may."""

    status = 404
    code = "upstream_model_not_found"
    retry = True


class UpstreamQuotaExhausted(UpstreamError):
    """402, or a 429 that says that the account's money or allowance is used up: waiting a few seconds does not help.

    `whole_account` False: only what it allows for this model. `retry_after_s`: until it is allowed again, where the vendor says so.
    """

    status = 429
    code = "upstream_quota_exhausted"
    retry = True

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, upstream_status: int | None = 429, whole_account: bool = True
    ) -> None:
        super().__init__(message, upstream_status=upstream_status)
        self.retry_after_s = retry_after_s
        self.whole_account = whole_account


class UpstreamRefusedCredential(UpstreamError):
    """401 or 403 for the gateway's own credential. The caller's key is fine, so the caller is not told 401."""

    code = "upstream_authentication"
    retry = True


class UpstreamRateLimited(UpstreamError):
    status = 429
    code = "upstream_rate_limited"
    retry = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, upstream_status: int | None = 429) -> None:
        super().__init__(message, upstream_status=upstream_status)
        self.retry_after_s = retry_after_s


class UpstreamOverloaded(UpstreamError):
    status = 503
    code = "upstream_overloaded"
    retry = True
    breaker = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, upstream_status: int | None = 503) -> None:
        super().__init__(message, upstream_status=upstream_status)
        self.retry_after_s = retry_after_s


class UpstreamFailed(UpstreamError):
    retry = True
    breaker = True


class UpstreamTimeout(UpstreamError):
    """`phase`: connect, first_byte, silence, stall or total; `child` for a process that does not answer."""

    status = 504
    code = "timeout"
    retry = True
    breaker = True

    def __init__(self, phase: str, after_s: float) -> None:
        super().__init__(f"the upstream did not answer in time ({phase}, {after_s:g} s)")
        self.phase = phase
        self.after_s = after_s


class UpstreamUnavailable(UpstreamError):
    """No connection, or the connection broke. `message` says which, without the address."""

    code = "bad_gateway"
    retry = True
    breaker = True

    def __init__(self, message: str, *, upstream_status: int | None = None, ours: bool = False) -> None:
        super().__init__(message, upstream_status=upstream_status)
        self.ours = ours


class UpstreamSpawnFailed(UpstreamError):
    """The program that should answer could not be started. `binary` and `why` are for the log; the caller cannot change them."""

    status = 500
    code = "spawn_error"
    retry = True
    breaker = True

    def __init__(self, binary: str, why: str) -> None:
        super().__init__("the upstream's program could not be started")
        self.binary = binary
        self.why = why


class UpstreamProtocolError(UpstreamError):
    """The upstream's bytes are not what its dialect says."""

    code = "upstream_protocol_error"
    retry = True
    breaker = True


class FallbackExhausted(UpstreamError):
    """Several upstreams were tried and none served. `attempts`: (upstream, code, its HTTP status), without content."""

    code = "fallback_exhausted"

    def __init__(self, attempts: tuple[tuple[str, str, int | None], ...], retry_after_s: float | None = None) -> None:
        listed = "; ".join(f"{name}: {code}{f' ({status})' if status else ''}" for name, code, status in attempts)
        super().__init__(f"no upstream served this call ({listed})", upstream_status=attempts[-1][2] if attempts else None)
        self.attempts = attempts
        self.retry_after_s = retry_after_s


class InternalError(FkproxyError):
    """Our own fault."""

    def __init__(self, message: str = "internal error") -> None:
        super().__init__(message)
