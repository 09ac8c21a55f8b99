"""A fleet from a configuration, and a new one from a new configuration without forgetting what was seen. Floor 4."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence

from fkproxy.adapters.http import HttpClient
from fkproxy.dialects import UPSTREAM_DIALECTS
from fkproxy.fleet import Fleet, QuotaPolicy, Stand
from fkproxy.hedging import HedgePolicy, Hedger
from fkproxy.limits.breaker import Breaker
from fkproxy.limits.standing import Standing
from fkproxy.limits.takeover import Takeover
from fkproxy.providers import Member, Signature, Workshop
from fkproxy.settings import FallbackAlias, Hedging, LoadedSettings, Provider, Settings, table_of
from fkproxy.telemetry.metrics import UpstreamRow
from fkproxy.upstream import Upstream

__all__ = ["Assembly", "rows"]

logger = logging.getLogger("fkproxy.assembly")


class Assembly:
    """Builds fleets. What is configured as before goes on as before: connections, breakers, cooldowns, counts.

    Of what is configured in another way an operator's pause goes on: for the same credential of a provider under whatever name, and for a
    new one under the same name. Where its provider, or some of it, is disabled, a pause that nobody has waits for who comes back.
    """

    def __init__(self, client: HttpClient, settings: Settings, count_transition: Callable[[str, str], None]) -> None:
        self._settings = settings
        self._workshop = Workshop(client)
        self._count_transition = count_transition
        self._kept: dict[Signature, Upstream] = {}
        self._waiting: dict[Signature, str] = {}
        self._stands: dict[FallbackAlias, Stand] = {}
        self._hedging: tuple[Hedging, Hedger] | None = None

    def credential_cache(self) -> tuple[int, int]:
        """(hits, misses) of the cache of minted tokens."""
        tokens = self._workshop.minted_tokens
        return sum(each.hits for each in tokens), sum(each.misses for each in tokens)

    async def aclose(self) -> None:
        """Wait for what must not be cut off, renewals of tokens, and for what calls have left: children."""
        for upstream in self._kept.values():
            await upstream.adapter.aclose()
        await self._workshop.aclose()

    def fleet(self, loaded: LoadedSettings, before: Fleet | None = None) -> Fleet:
        """All upstreams of a configuration, with its settings. Raises `ValueError`, and then no fleet has changed."""
        self._settings = loaded.settings
        built = self._workshop.build(loaded)
        paused, waiting = self._paused(built.members, {provider.name for provider in loaded.providers if _rests(provider)})
        upstreams = [self._kept.get(member.signature) or self._upstream(member, paused) for member in built.members]
        for member, upstream in zip(built.members, upstreams, strict=True):
            _tune(upstream, member, loaded.settings)
        file = loaded.routing
        fleet = Fleet(
            upstreams,
            table_of(built.rules, file),
            strategy=file.strategy,
            accounts=[member.account for member in built.members],
            quota=QuotaPolicy(
                switch_project=file.quota_exceeded.switch_project, switch_preview_model=file.quota_exceeded.switch_preview_model
            ),
            stands={alias.model: self._stands.get(alias) or _stand(alias) for alias in file.fallback_aliases},
            selector=before.selector if before is not None else None,
            hedger=self._hedger(file.hedging),
        )
        self._kept = {member.signature: upstream for member, upstream in zip(built.members, upstreams, strict=True)}
        self._waiting = waiting
        self._workshop.settle(built)
        self._stands = {alias: fleet.stands[alias.model] for alias in file.fallback_aliases}
        return fleet

    def _paused(self, members: Sequence[Member], resting: Collection[str]) -> tuple[set[Signature], dict[Signature, str]]:
        """Those that follow one that an operator holds: with its credential and name, else its credential, else a new one by its name.

        And the pauses that nobody follows and that wait, because their provider is one of `resting`, each with the name of its upstream.
        """
        paused: set[Signature] = set()
        waiting: dict[Signature, str] = {}
        held = {signature: upstream.key for signature, upstream in self._kept.items() if upstream.standing.state() == "paused"}
        known = {signature.credential for signature in (*self._kept, *self._waiting)}
        for signature, key in (self._waiting | held).items():
            # Who was there before beside it is nobody's follower.
            free = [member for member in members if member.signature == signature or member.signature not in self._kept]
            of_credential = [member for member in free if member.signature.credential == signature.credential]
            of_both = [member for member in of_credential if member.key == key]
            new = [member for member in members if member.key == key and member.signature.credential not in known]
            followers = of_both or of_credential or new
            paused.update(member.signature for member in followers)
            if not followers and key.partition("/")[0] in resting:
                waiting[signature] = key
        return paused, waiting

    def _hedger(self, asked: Hedging | None) -> Hedger | None:
        """What was learnt of an upstream's usual time stays while the table does."""
        if asked is None:
            self._hedging = None
        elif self._hedging is None or self._hedging[0] != asked:
            self._hedging = (asked, Hedger(HedgePolicy(after_s=asked.after, share=asked.share)))
        return self._hedging[1] if self._hedging is not None else None

    def _upstream(self, member: Member, paused: Collection[Signature]) -> Upstream:
        policy, cooldown = self._settings.circuit_breaker, self._settings.cooldown
        adapter = member.adapter

        def changed(old: str, new: str, reason: str) -> None:
            self._count_transition(adapter.provider_key, new)
            told = {"provider_key": adapter.provider_key, "credential": adapter.credential.name, "from": old, "to": new, "reason": reason}
            logger.warning("circuit breaker", extra=told)

        breaker = Breaker(
            failure_threshold=policy.failure_threshold,
            window_s=policy.window_secs,
            open_s=policy.timeout_secs,
            success_threshold=policy.success_threshold,
            observer=changed,
        )
        standing = Standing(max_s=cooldown.max_secs, exhausted_max_s=cooldown.exhausted_max_secs)
        upstream = Upstream(adapter, UPSTREAM_DIALECTS[adapter.dialect], breaker, standing, member.terms, member.probe)
        if member.signature in paused:
            upstream.standing.pause()
        return upstream


def _rests(provider: Provider) -> bool:
    """Some of it is not in use, and may be again."""
    return provider.disabled or any(entry.disabled for entry in provider.credentials)


def _tune(upstream: Upstream, member: Member, settings: Settings) -> None:
    """The settings as they are now, for an upstream that was there before, too."""
    policy, cooldown = settings.circuit_breaker, settings.cooldown
    upstream.terms = member.terms
    upstream.standing.tune(max_s=cooldown.max_secs, exhausted_max_s=cooldown.exhausted_max_secs)
    upstream.breaker.tune(
        failure_threshold=policy.failure_threshold,
        window_s=policy.window_secs,
        open_s=policy.timeout_secs,
        success_threshold=policy.success_threshold,
    )


def _stand(alias: FallbackAlias) -> Stand:
    return Stand(Takeover(error_ratio=alias.error_ratio, window_s=alias.window, min_calls=alias.min_calls, probe_s=alias.probe), alias.to)


def rows(fleet: Fleet) -> list[UpstreamRow]:
    """The upstreams as metrics show them."""
    now, now_s = time.monotonic(), time.time()
    return [
        UpstreamRow(
            provider_key=upstream.provider_key,
            credential=upstream.credential,
            breaker=upstream.breaker.state(now),
            state=upstream.state(now_s),
            refused=upstream.refuses_credential,
            in_flight=upstream.in_flight,
            quota=_quota(upstream),
            children=_children(upstream),
            retry_after_s=_finite(upstream.retry_after_s(now)),
        )
        for upstream in fleet.upstreams
    ]


def _quota(upstream: Upstream) -> dict[str, float]:
    quota = upstream.quota
    if quota is None:
        return {}
    values = {
        "quota_remaining": quota.quota_remaining,
        "quota_reset_seconds": quota.quota_reset_seconds,
        "quota_usage_percentage": quota.usage_percentage,
        "quota_exhausted": None if quota.quota_exhausted is None else float(quota.quota_exhausted),
    }
    return {name: value for name, value in values.items() if value is not None}


def _children(upstream: Upstream) -> dict[str, float]:
    children = upstream.adapter.children
    if children is None:
        return {}
    names = ("processes", "restarts", "resident_bytes", "waiting")
    return {name: getattr(children, name) for name in names}


def _finite(seconds: float) -> float:
    return seconds if seconds != float("inf") else -1.0
