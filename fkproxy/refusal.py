"""What a client is told when nobody served its call: of several reasons the most useful one.

Floor 3. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from fkproxy.model.errors import (
    ConcurrencyExceeded,
    FallbackExhausted,
    FkproxyError,
    NoUpstreamAvailable,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamTimeout,
)
from fkproxy.telemetry.record import Skipped

__all__ = ["FULL", "nobody", "told"]

FULL = frozenset(("busy", "requests_per_minute", "tokens_per_minute"))
"""Reasons to pass an upstream over that are limits of the configuration."""

_WORDS = {"failure": "failing", "model_missing": "without the model"}
"""What is said of an upstream that is held for one of them: to be at a limit is something else."""

_QUOTAS = frozenset(("quota", "model_quota"))
_REFUSALS = frozenset(("credential", "permission"))
"""Causes of holds for which a client does best not to ask again by itself."""

_LIMITS = FULL | {"limited", "exhausted"}


def told(failures: Sequence[tuple[str, UpstreamError]], skipped: Sequence[Skipped]) -> FkproxyError | None:
    """Of (upstream, what it failed with) and of those that were passed over; None when nobody was tried."""
    errors = [error for _, error in failures]
    if not errors:
        return None
    if all(isinstance(error, UpstreamModelMissing) for error in errors):
        able = [each for each in skipped if each.cause != "model_missing"]
        return nobody(able) if able else errors[-1]
    if all(isinstance(error, UpstreamRejected) for error in errors):
        return errors[-1]
    if all(isinstance(error, UpstreamRefusedCredential) for error in errors):
        back = [each for each in skipped if each.cause not in _REFUSALS and each.retry_after_s is not None]
        return nobody(back) if back else errors[-1]
    waits = [error.retry_after_s for error in errors if error.retry_after_s is not None]
    waits += [each.retry_after_s for each in skipped if each.retry_after_s is not None]
    soonest_s = min(waits, default=None)
    if all(isinstance(error, UpstreamRateLimited | UpstreamQuotaExhausted) for error in errors):
        errors[-1].retry_after_s = soonest_s
        return errors[-1]
    if all(isinstance(error, UpstreamOverloaded) for error in errors):
        # Who names no time may be asked again at any.
        errors[-1].retry_after_s = soonest_s if all(error.retry_after_s is not None for error in errors) else None
        return errors[-1]
    if len(errors) == 1 or all(isinstance(error, UpstreamTimeout) for error in errors):
        return errors[-1]
    return FallbackExhausted(tuple((name, error.code, error.upstream_status) for name, error in failures), soonest_s)


def nobody(skipped: Sequence[Skipped]) -> FkproxyError:
    """Every upstream was passed over."""
    soonest_s = min((each.retry_after_s for each in skipped if each.retry_after_s is not None), default=None)
    reasons = {each.reason for each in skipped}
    causes = {each.cause for each in skipped}
    if causes == {"model_missing"}:
        return UpstreamModelMissing(404, "no upstream has this model")
    if causes and causes <= _QUOTAS:
        return UpstreamQuotaExhausted(
            "the quotas of all of the gateway's accounts for this model are used up", retry_after_s=soonest_s, upstream_status=None
        )
    if causes and causes <= _REFUSALS:
        return UpstreamRefusedCredential("every upstream for this model has refused the gateway's credential")
    if reasons == {"busy"}:
        return ConcurrencyExceeded(len(skipped))
    if reasons and reasons <= _LIMITS and not any(each.guessed for each in skipped):
        return UpstreamRateLimited("every upstream for this model is at its limit", retry_after_s=soonest_s, upstream_status=None)
    names = tuple((each.upstream, _WORDS.get(each.cause, each.reason.replace("_", " "))) for each in skipped)
    return NoUpstreamAvailable(names, soonest_s)
