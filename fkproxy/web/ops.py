"""What an operator, a probe or a model picker asks for: health, metrics, model lists, and the answer for paths that do not exist.

Floor 4.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from fkproxy import __version__
from fkproxy.access import ANONYMOUS, Caller
from fkproxy.call import Headers
from fkproxy.catalogue import Catalogue
from fkproxy.control.strangers import Heard
from fkproxy.dialects.base import Dialect, ModelEntry
from fkproxy.gateway import Gateway, error_headers
from fkproxy.model.errors import FkproxyError, InternalError, MethodNotAllowed, NotAuthenticated, UnknownModel, UnknownRoute
from fkproxy.suffix import split_suffix
from fkproxy.supervision import SUPERVISOR_AGENT
from fkproxy.telemetry.entry import shown_to_all
from fkproxy.telemetry.logs import dropped_lines
from fkproxy.telemetry.metrics import Metrics
from fkproxy.telemetry.provider_stats import ProviderStats
from fkproxy.telemetry.record import CallRecord
from fkproxy.upstream import Upstream
from fkproxy.web.asgi import AsgiClient, Door, Endpoint, Inbound, Receive, Scope, Send
from fkproxy.web.guesses import Guesses
from fkproxy.web.paths import Paths
from fkproxy.web.verify import Verifier
from fkproxy.wire import json
from fkproxy.wire.times import rfc3339

__all__ = ["Ops"]

logger = logging.getLogger("fkproxy.web.ops")

_JSON = b"application/json"
_NO_STORE = (b"cache-control", b"no-cache, no-store, must-revalidate")
_METHODS = ("GET", "HEAD", "OPTIONS")


class _Answer(msgspec.Struct, frozen=True):
    body: bytes
    content_type: bytes = _JSON
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


_Ask = Callable[[Inbound, Caller], Awaitable[_Answer]]
_Guard = Callable[[Inbound], Caller]
_Logged = Callable[[Inbound, int], bool]
"""Whether an answer with that status is worth a line."""

_LONGEST_S = 60.0
"""A scraper that was not told of a new key goes on asking; when it is told its figures are to come back soon."""

_SCRAPER = Caller("metrics")
"""Who came with the metrics' own token."""


class Ops:
    """The endpoints, by path. Health is open to everybody and names no secret; the rest wants a key where calls want one: metrics the
    administrator's, lists of models that of whoever may call them."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        door: Door,
        metrics: Metrics,
        stats: ProviderStats,
        catalogue: Catalogue,
        dialects: Sequence[Dialect],
        observe: Callable[[CallRecord], None],
        store: Callable[[], dict[str, Any] | None] = lambda: None,
        metrics_token: str | None = None,
        heard: Heard = lambda network, told: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._door = door
        self._keys = gateway.clientele.keys
        self._metrics = metrics
        self._verifier = Verifier(self._keys, metrics.count_verification, now=now)
        self._stats = stats
        self._catalogue = catalogue
        self._default = dialects[0]
        self._paths = Paths(dialects)
        # Where clients that say who they are look for the id.
        self._id_headers = [
            (each.request_id_header, header) for each in dialects if each.request_id_header for header in each.client_headers
        ]
        self._by_start: dict[str, list[Dialect]] = {}
        for dialect in dialects:
            for start in {_start(path): None for path in (*dialect.models_paths, *(route.path for route in dialect.routes))}:
                self._by_start.setdefault(start, []).append(dialect)
        self._models_paths = tuple(dict.fromkeys(path for dialect in dialects for path in dialect.models_paths))
        self._observe = observe
        self._store = store
        self._metrics_token = metrics_token.encode() if metrics_token is not None else None
        self._now = now
        self._guesses = Guesses(_LONGEST_S, now, heard)
        self._started = now()

    def endpoints(self) -> dict[str, Endpoint]:
        """Path → endpoint; a path that ends in `{target}` stands for all below it."""
        found = {
            "/health": self._endpoint("/health", self._health, _open, logged=_not_our_own),
            "/healthz": self._endpoint("/healthz", self._health, _open),
            "/readyz": self._endpoint("/readyz", self._health, _open),
            "/livez": self._endpoint("/livez", self._live, _open),
            "/verify": self._endpoint("/verify", self._verified, self._verifier, logged=_refused),
            "/metrics": self._endpoint("/metrics", self._metrics_json, self._scraper),
            "/v1/metrics/providers": self._endpoint("/v1/metrics/providers", self._providers, _open),
            "/metrics/prometheus": self._endpoint("/metrics/prometheus", self._metrics_prometheus, self._scraper),
        }
        for path in self._models_paths:
            found[path] = self._endpoint(path, self._list, self._lister)
            found[path + "/{target}"] = self._endpoint(path + "/{target}", self._one(path + "/"), self._lister)
        return found

    def look(self, route: str) -> Endpoint:
        """HEAD at a path that calls are posted to: would one with this key be let in? Nothing is called."""

        async def answer(_: Inbound, __: Caller) -> _Answer:
            return _Answer(b"")

        return self._endpoint(route, answer, lambda inbound: self._keys.admit(inbound.presented_key, time.time()))

    async def unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        """404 in the dialect whose paths look most like the one asked for."""

        async def refuse(inbound: Inbound, _: Caller) -> _Answer:
            meant = self._paths.meant(inbound.path)
            raise UnknownRoute(inbound.method, inbound.path, meant[0].path if meant else None)

        await self._endpoint("(unknown)", refuse, _open, methods=None)(scope, receive, send)

    # --- answers

    async def _live(self, _: Inbound, __: Caller) -> _Answer:
        return _Answer(json.encode({"status": "ok", "ok": True, "version": __version__}))

    async def _health(self, _: Inbound, __: Caller) -> _Answer:
        at = self._now()
        upstreams = [_describe(upstream, at) for upstream in self._gateway.fleet.upstreams]
        callable_now = [entry for entry in upstreams if entry["breaker"] != "open" and entry["state"] != "paused"]
        if not callable_now:
            status = "unavailable"
        elif len(callable_now) == len(upstreams) and all(entry["state"] in ("active", "refreshing") for entry in upstreams):
            status = "ok"
        else:
            status = "degraded"
        body = {
            "status": status,
            "ok": bool(callable_now),
            "version": __version__,
            "timestamp": rfc3339(time.time()),
            "uptime_s": round(at - self._started, 1),
            "pid": os.getppid(),
            "calls_in_flight": self._gateway.in_flight,
            "streams_open": self._gateway.slots.total,
            "log_lines_dropped": dropped_lines(),
            "upstreams": upstreams,
        }
        if (store := self._store()) is not None:
            body["store"] = store
        return _Answer(json.encode(body), status=200 if callable_now else 503)

    async def _verified(self, _: Inbound, caller: Caller) -> _Answer:
        """A proxy may pass these headers on to what it guards."""
        named = ((b"x-fkproxy-key-id", caller.key_id), (b"x-fkproxy-pool", caller.pool))
        return _Answer(json.encode({"ok": True}), headers=tuple((name, value.encode()) for name, value in named if value is not None))

    async def _metrics_json(self, _: Inbound, __: Caller) -> _Answer:
        return _Answer(json.encode(self._metrics.json()))

    async def _metrics_prometheus(self, _: Inbound, __: Caller) -> _Answer:
        body, content_type = self._metrics.prometheus()
        return _Answer(body, content_type.encode())

    async def _providers(self, _: Inbound, __: Caller) -> _Answer:
        """By provider, and the same as a list: both shapes are in use."""
        now, now_s = self._now(), time.time()
        found: dict[str, Any] = {}
        for upstream in self._gateway.fleet.upstreams:
            key = upstream.provider_key
            entry = found.setdefault(key, {"provider": key, "provider_key": key, **self._stats.of(key, now_s), "credentials": []})
            figures = self._stats.of_credential(key, upstream.credential, now_s)
            entry["credentials"].append({**_describe(upstream, now), **figures})
        for entry in found.values():
            states = [credential["state"] for credential in entry["credentials"]]
            entry["state"] = "active" if "active" in states else states[0]
        return _Answer(json.encode({**found, "providers": found, "data": list(found.values())}))

    async def _list(self, inbound: Inbound, caller: Caller) -> _Answer:
        return _Answer(self._dialect(inbound).encode_models(await self._models(caller)))

    def _one(self, prefix: str) -> _Ask:
        async def answer(inbound: Inbound, caller: Caller) -> _Answer:
            name = unquote(inbound.path[len(prefix) :])
            model, _ = split_suffix(name)
            gateway = self._gateway
            found = await self._catalogue.model(model, gateway.fleet_of(caller.pool))
            for entry in gateway.clientele.listed(caller, [found] if found is not None else [], gateway.fleet):
                if entry.id == model:
                    return _Answer(_first(self._dialect(inbound), msgspec.structs.replace(entry, id=name)))
            raise UnknownModel(name)

        return answer

    async def _models(self, caller: Caller) -> list[ModelEntry]:
        """Those that the caller may ask for."""
        gateway = self._gateway
        entries = await self._catalogue.models(gateway.fleet_of(caller.pool))
        return gateway.clientele.listed(caller, entries, gateway.fleet)

    # --- who may ask

    def _scraper(self, inbound: Inbound) -> Caller:
        """Who has the metrics' own token, and the administrator. The master key is not guessed here faster than elsewhere."""
        token, presented = self._metrics_token, inbound.presented_key
        if token is None and not self._keys.closed:
            return ANONYMOUS
        peer = inbound.peer or "unknown"
        try:
            self._guesses.check(peer)
            if token is not None and presented is not None and hmac.compare_digest(presented, token):
                caller = _SCRAPER
            else:
                caller = self._keys.check_administrator(presented)
        except FkproxyError as error:
            self._metrics.count_refused_administrator()
            if presented and isinstance(error, NotAuthenticated):
                self._guesses.failed(peer)
            raise
        self._guesses.succeeded(peer)
        return caller

    def _lister(self, inbound: Inbound) -> Caller:
        return self._keys.check(inbound.presented_key, time.time())

    # --- the way in and out

    def _endpoint(
        self, route: str, ask: _Ask, guard: _Guard, *, methods: tuple[str, ...] | None = _METHODS, logged: _Logged = lambda _, __: True
    ) -> Endpoint:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            began, began_s = self._now(), time.time()
            inbound = self._door.enter(scope)
            client = AsgiClient(self._door, inbound, receive, send)
            if inbound.method == "OPTIONS" and (methods is not None or (self._door.cors is not None and inbound.origin is not None)):
                await client.preflight(methods or _METHODS)
                return
            auth, caller, error_code = "none", ANONYMOUS, None
            request_id = inbound.request_id.encode()
            headers: Headers = [(b"x-request-id", request_id), _NO_STORE]
            headers += [(name, request_id) for name, header in self._id_headers if header in inbound.headers]
            try:
                if methods is not None and inbound.method not in methods:
                    raise MethodNotAllowed(inbound.method, methods)
                auth = "refused"
                caller = guard(inbound)
                auth = "none" if caller.key_id is None else "key"
                answer = await ask(inbound, caller)
                headers += answer.headers
            except Exception as raised:
                error = raised if isinstance(raised, FkproxyError) else InternalError()
                if error is not raised:
                    logger.error("a request failed in the gateway", exc_info=raised, extra={"request_id": inbound.request_id})
                error_code = error.code
                answer = _Answer(self._dialect(inbound).encode_error(error, inbound.request_id), status=error.status)
                headers += error_headers(error)
            try:
                length = b"%d" % len(answer.body)
                await client.start(answer.status, [(b"content-type", answer.content_type), (b"content-length", length), *headers])
                await client.finish(answer.body)
            except asyncio.CancelledError:
                client.gone = True
                raise
            finally:
                record = CallRecord(
                    request_id=inbound.request_id,
                    started_s=began_s,
                    method=inbound.method,
                    route=route,
                    status=answer.status,
                    duration_ms=(self._now() - began) * 1000,
                    error_code=error_code,
                    auth=auth,
                    key_id=caller.key_id,
                    pool=caller.pool,
                    key_prefix=caller.key_prefix,
                    peer=inbound.peer,
                    user_agent=inbound.user_agent,
                    client_ended=client.gone,
                    response_bytes=len(answer.body),
                )
                if logged(inbound, answer.status):
                    self._observe(record)
            await client.linger()

        return serve

    def _dialect(self, inbound: Inbound) -> Dialect:
        """Who asks: by the first segment of the path, else by the one that was meant; where dialects share it, by the client's headers."""
        near = self._by_start.get(_start(inbound.path)) or [meant.dialect for meant in self._paths.meant(inbound.path)]
        known = [dialect for dialect in near if any(header in inbound.headers for header in dialect.client_headers)]
        return (known or near or [self._default])[0]


def _start(path: str) -> str:
    """The first segment of a path."""
    return "".join(path.split("/", 2)[1:2])


def _open(_: Inbound) -> Caller:
    return ANONYMOUS


def _not_our_own(inbound: Inbound, status: int) -> bool:
    return inbound.user_agent != SUPERVISOR_AGENT or status >= 500


def _refused(_: Inbound, status: int) -> bool:
    """Not those that were let in, which have a line at what they asked for, nor those that have to wait, which would fill the log."""
    return status not in (200, 429)


def _first(dialect: Dialect, entry: ModelEntry) -> bytes:
    """The one entry of a list of one, as the dialect writes entries."""
    lists = json.loads(dialect.encode_models([entry]))
    return json.encode(next(value[0] for value in lists.values() if isinstance(value, list)))


def _describe(upstream: Upstream, at: float) -> dict[str, Any]:
    standing = upstream.standing
    entry: dict[str, Any] = {"provider_key": upstream.provider_key}
    if upstream.credential:
        entry["credential"] = upstream.credential
    entry |= {"state": upstream.state(time.time()), "breaker": upstream.breaker.state(at)}
    wait_s = upstream.retry_after_s(at)
    if 0 < wait_s < float("inf"):
        entry["retry_after_s"] = round(wait_s, 1)
    hold = standing.hold(None)
    if hold is not None:
        entry["cause"] = hold.cause
    # Callers choose the names, and health is open to everybody.
    models = {
        shown_to_all(model): {"state": held.state, "cause": held.cause, "retry_after_s": round(standing.retry_after_s(model, at), 1)}
        for model, held in standing.models().items()
    }
    if models:
        entry["models"] = models
    entry["consecutive_failures"] = standing.consecutive_failures
    for name, value in (("last_error_at", upstream.last_error_s), ("last_success_at", upstream.last_success_s)):
        entry[name] = _time(value)
    entry["last_error"] = upstream.last_error_code
    if upstream.quota is not None:
        entry["quota"] = {name: value for name, value in msgspec.structs.asdict(upstream.quota).items() if value is not None}
    if (children := upstream.adapter.children) is not None:
        entry["children"] = msgspec.structs.asdict(children)
    credential = upstream.adapter.credential.describe(time.time())
    if credential.expires_s is not None:
        entry["credential_expires_at"] = _time(credential.expires_s)
    return entry


def _time(seconds: float | None) -> str | None:
    return rfc3339(seconds) if seconds else None
