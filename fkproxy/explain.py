"""Why a call went where it went: every candidate, why it was passed over or how it failed, what was lost, how long it waited.

Floor 3. Metadata only. Kept for the last calls that reached a dialect's route, in memory; a header tells it with the reply.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from fkproxy.fleet import Fleet
from fkproxy.model.errors import PoolInactive, UnknownModel
from fkproxy.telemetry.entry import cleaned
from fkproxy.telemetry.record import ENFORCED_MODEL, Attempt, CallRecord, Skipped

__all__ = ["Candidate", "Explanation", "Explanations", "explained"]

_KEPT = 4096


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One upstream × model. `verdict`: `served`, `failed`, `passed_over` or `not_needed`; `reason` is an error's code or a state."""

    provider_key: str
    credential: str = ""
    model_id: str = ""
    verdict: str
    reason: str | None = None
    upstream_status: int | None = None
    duration_ms: float | None = None
    ttft_ms: float | None = None
    retry_after_s: float | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call. `candidates` in the order in which they were tried, then those passed over, then those not needed."""

    request_id: str
    started_s: float
    route: str
    status: int
    model_requested: str | None
    pool: str | None = None
    provider_key: str | None
    credential: str = ""
    model_id: str | None = None
    error_code: str | None = None
    attempts: int = 0
    candidates: list[Candidate]
    notes: tuple[str, ...] = ()
    waited_ms: float = 0.0
    losses: tuple[str, ...] = ()
    reasoning_requested: str | None = None
    reasoning_applied: str | None = None
    duration_ms: float = 0.0


class Explanations:
    """The records of the last calls, by id. Of two with one id the later one counts."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._records: deque[CallRecord] = deque(maxlen=kept)

    def observe(self, record: CallRecord) -> None:
        """Keep one. There are more calls than questions: looking through all of them then costs less than an index of them now."""
        self._records.append(record)

    def explain(self, request_id: str, fleet_of: Callable[[str | None], Fleet]) -> Explanation | None:
        """The call's way, in the words of the log of calls; None for one that is not remembered.

        `fleet_of` gives a pool's part of the fleet, or raises `PoolInactive`.
        """
        record = next((record for record in reversed(self._records) if record.request_id == request_id), None)
        return explained(cleaned(record), fleet_of) if record is not None else None


def explained(record: CallRecord, fleet_of: Callable[[str | None], Fleet]) -> Explanation:
    """The way of one call. `fleet_of`: see `Explanations.explain`."""
    candidates = [_tried(attempt) for attempt in record.tries]
    tried = {(attempt.provider_key, attempt.credential, attempt.model_id) for attempt in record.tries}
    candidates += [_skipped(skipped) for skipped in record.skipped if _place(skipped) not in tried]
    known = tried | {_place(skipped) for skipped in record.skipped}
    for provider_key, credential, model_id in _route(record, fleet_of):
        if (provider_key, credential, model_id) not in known:
            candidates.append(Candidate(provider_key=provider_key, credential=credential, model_id=model_id, verdict="not_needed"))
    return Explanation(
        request_id=record.request_id,
        started_s=record.started_s,
        route=record.route,
        status=record.status,
        model_requested=record.model_requested,
        pool=record.pool,
        provider_key=record.provider_key,
        credential=record.credential,
        model_id=record.model_id,
        error_code=record.error_code,
        attempts=record.attempts,
        candidates=candidates,
        notes=record.notes,
        waited_ms=round(record.waited_ms, 3),
        losses=record.losses,
        reasoning_requested=record.reasoning_requested,
        reasoning_applied=record.reasoning_applied,
        duration_ms=round(record.duration_ms, 3),
    )


def _route(record: CallRecord, fleet_of: Callable[[str | None], Fleet]) -> list[tuple[str, str, str]]:
    """The candidates as the configuration has them now."""
    enforced = (note.removeprefix(ENFORCED_MODEL) for note in record.notes if note.startswith(ENFORCED_MODEL))
    try:
        fleet = fleet_of(record.pool)
        route = fleet.route(next(enforced, record.model_requested or ""))
    except (PoolInactive, UnknownModel):
        return []
    upstreams = fleet.upstreams
    return [(upstreams[target.upstream].provider_key, upstreams[target.upstream].credential, target.model) for target in route.targets]


def _place(at: Skipped) -> tuple[str, str, str]:
    return at.provider_key, at.credential, at.model_id


def _tried(attempt: Attempt) -> Candidate:
    served = attempt.outcome == "ok"
    return Candidate(
        provider_key=attempt.provider_key,
        credential=attempt.credential,
        model_id=attempt.model_id,
        verdict="served" if served else "failed",
        reason=None if served else attempt.outcome,
        upstream_status=attempt.status,
        duration_ms=round(attempt.duration_ms, 3),
        ttft_ms=round(attempt.ttft_ms, 3) if attempt.ttft_ms is not None else None,
    )


def _skipped(skipped: Skipped) -> Candidate:
    return Candidate(
        provider_key=skipped.provider_key,
        credential=skipped.credential,
        model_id=skipped.model_id,
        verdict="passed_over",
        reason=skipped.reason,
        retry_after_s=round(skipped.retry_after_s, 1) if skipped.retry_after_s is not None else None,
    )
