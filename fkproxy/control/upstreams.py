"""Upstreams as an operator sees and steers them. Floor 3."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from fkproxy.adapters.quota import Quota
from fkproxy.control.refusals import Refused
from fkproxy.fleet import Fleet
from fkproxy.model.errors import (
    FkproxyError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefusedCredential,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from fkproxy.probe import NothingToAsk, one_token
from fkproxy.upstream import Upstream

__all__ = ["ModelState", "TestFailed", "UnknownUpstream", "UpstreamControl", "UpstreamView"]

logger = logging.getLogger("fkproxy.control")


class UnknownUpstream(Refused):
    """There is no upstream of that name. `known`: those there are."""

    code = "not_found"

    def __init__(self, known: list[str]) -> None:
        super().__init__(f"there is no such upstream; there are {', '.join(known) or 'none'}")
        self.known = known


class TestFailed(Exception):
    """The upstream did not answer; the message says what came instead, and nothing that it said."""

    __test__ = False


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """A model that an upstream is not asked for now."""

    model_id: str
    state: str
    cause: str
    retry_after_s: float


class UpstreamView(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream. `key` is `provider` or `provider/credential`; times in unix seconds. `retry_after_s` None: until it is resumed."""

    key: str
    provider_key: str
    credential: str
    state: str
    cause: str | None
    breaker: str
    retry_after_s: float | None
    consecutive_failures: int
    in_flight: int
    waiting: int
    last_error: str | None
    last_error_s: float | None
    last_success_s: float | None
    credential_expires_s: float | None
    quota: Quota | None
    models: list[ModelState]


class UpstreamControl:
    """The verbs. What is paused stays so until it is resumed, or the process ends."""

    def __init__(self, fleet: Callable[[], Fleet], *, now: Callable[[], float] = time.monotonic) -> None:
        self._fleet = fleet
        self._now = now

    def all(self) -> list[UpstreamView]:
        """All of them, in the order of the configuration."""
        return [self._view(upstream) for upstream in self._fleet().upstreams]

    def get(self, key: str) -> UpstreamView:
        """One. Raises `UnknownUpstream`."""
        return self._view(self._find(key))

    def pause(self, key: str) -> UpstreamView:
        """Let no call in. Calls under way go on. Raises `UnknownUpstream`."""
        return self._steer(key, "paused", lambda upstream: upstream.standing.pause())

    def resume(self, key: str) -> UpstreamView:
        """End a pause. Raises `UnknownUpstream`."""
        return self._steer(key, "resumed", lambda upstream: upstream.standing.resume())

    def reset(self, key: str) -> UpstreamView:
        """End every cooldown and close the breaker; a pause stays. Raises `UnknownUpstream`."""
        return self._steer(key, "reset", _reset)

    def reset_all(self) -> list[UpstreamView]:
        """The same for all."""
        for upstream in self._fleet().upstreams:
            _reset(upstream)
        logger.warning("every upstream was reset by an operator")
        return self.all()

    async def test(self, key: str) -> tuple[str, float]:
        """(model, milliseconds): one token of it, whatever its state. Raises `UnknownUpstream` and `TestFailed`."""
        upstream = self._find(key)
        try:
            return await one_token(upstream.adapter)
        except NothingToAsk:
            raise TestFailed("it lists no model to ask, and none is configured by name") from None
        except TimeoutError:
            raise TestFailed("nothing came within a minute") from None
        except FkproxyError as error:
            raise TestFailed(f"{error.code}: {_without_its_words(error)}") from None

    def _steer(self, key: str, done: str, act: Callable[[Upstream], None]) -> UpstreamView:
        upstream = self._find(key)
        act(upstream)
        told = {"provider_key": upstream.provider_key, "credential": upstream.credential}
        logger.warning("an upstream was %s by an operator", done, extra=told)
        return self._view(upstream)

    def _find(self, key: str) -> Upstream:
        upstreams = self._fleet().upstreams
        for upstream in upstreams:
            if upstream.key == key:
                return upstream
        raise UnknownUpstream([upstream.key for upstream in upstreams])

    def _view(self, upstream: Upstream) -> UpstreamView:
        now, now_s, standing = self._now(), time.time(), upstream.standing
        hold = standing.hold(None)
        wait_s = upstream.retry_after_s(now)
        return UpstreamView(
            key=upstream.key,
            provider_key=upstream.provider_key,
            credential=upstream.credential,
            state=upstream.state(now_s),
            cause=hold.cause if hold is not None else None,
            breaker=upstream.breaker.state(now),
            retry_after_s=round(wait_s, 1) if wait_s != float("inf") else None,
            consecutive_failures=standing.consecutive_failures,
            in_flight=upstream.in_flight,
            waiting=len(upstream.waiting),
            last_error=upstream.last_error_code,
            last_error_s=upstream.last_error_s,
            last_success_s=upstream.last_success_s,
            credential_expires_s=upstream.adapter.credential.describe(now_s).expires_s,
            quota=upstream.quota,
            models=[
                ModelState(model_id=model, state=held.state, cause=held.cause, retry_after_s=round(standing.retry_after_s(model, now), 1))
                for model, held in standing.models().items()
            ],
        )


_OWN_WORDS = (UpstreamProtocolError, UpstreamRefusedCredential, UpstreamTimeout, UpstreamUnavailable)
"""Their messages are the gateway's, unless they tell of a reply with a status."""


def _without_its_words(error: FkproxyError) -> str:
    """An address can be of an administrator's choice: what answers there is not to be read through the gateway, and some vendors repeat
    the key that they were sent."""
    if not isinstance(error, UpstreamError) or isinstance(error, UpstreamRefusedCredential):
        return str(error)
    if error.upstream_status is not None:
        return f"the upstream answered {error.upstream_status}"
    return str(error) if isinstance(error, _OWN_WORDS) else "the upstream's reply tells of an error"


def _reset(upstream: Upstream) -> None:
    upstream.standing.reset()
    upstream.breaker.reset()
    upstream.wake()
