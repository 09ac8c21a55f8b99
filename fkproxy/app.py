"""Composition: one immutable picture of everything, made from the settings. Floor 4."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fkproxy import __version__
from fkproxy.access import KeyRing
from fkproxy.adapters.http import HttpClient
from fkproxy.administration import Administration
from fkproxy.assembly import Assembly, rows
from fkproxy.call import Headers
from fkproxy.catalogue import Catalogue
from fkproxy.clientele import Clientele
from fkproxy.control.strangers import Strangers
from fkproxy.control.upstreams import UpstreamControl
from fkproxy.control_room import verbs
from fkproxy.dialects import CLIENT_DIALECTS
from fkproxy.directory import Directory
from fkproxy.explain import Explanation, Explanations, explained
from fkproxy.fleet import Fleet
from fkproxy.gateway import Gateway
from fkproxy.limits.bucket import TokenBucket
from fkproxy.limits.retry_budget import RetryBudget
from fkproxy.limits.slots import Slots
from fkproxy.model.errors import ForeignPage
from fkproxy.place import place_of
from fkproxy.policies import Policies
from fkproxy.quota_watch import QuotaWatch
from fkproxy.seals import SealStore
from fkproxy.settings import LoadedSettings, Problem, Settings, SettingsError
from fkproxy.storage.values import StoreUnavailable
from fkproxy.telemetry.logs import AccessLog, dropped_lines, set_level
from fkproxy.telemetry.metrics import Metrics, Sources, StoreRow
from fkproxy.telemetry.prices import warm_up
from fkproxy.telemetry.provider_stats import ProviderStats
from fkproxy.telemetry.record import CallRecord
from fkproxy.web.application import Application, Lazy, by_method
from fkproxy.web.asgi import Door, request_id
from fkproxy.web.chat import chat_endpoints
from fkproxy.web.cors import CorsPolicy
from fkproxy.web.ops import Ops

__all__ = ["create_app"]

logger = logging.getLogger("fkproxy.app")

_STATIC_HEADERS: Headers = [
    (b"x-api-version", __version__.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
]
"""On every reply. A reply is JSON or an event stream and never a page; these keep a browser from taking it for one."""


_STRANGERS_AT_ONCE, _STRANGERS_PER_SECOND = 1000, 0.1
"""Calls of strangers that the log of calls takes. It holds so many, and the oldest go: thousands a second from anybody without a key would
have pushed all others out of it within minutes. The access log and the metrics have each.
"""

_LEAVE_WITHIN_S = 3.0
"""How long the end may take for what goes on beside the calls."""

_LOOK_EVERY_S = 0.05
"""How soon the worker notices that it is to leave."""


def create_app(
    loaded: LoadedSettings,
    leaving: Callable[[], bool] = lambda: False,
    overdue: Callable[[], bool] = lambda: False,
    turn: Callable[[], None] = lambda: None,
    stop_accepting: Callable[[], None] = lambda: None,
    handovers_failed: Callable[[], int] = lambda: 0,
) -> Application:
    """The ASGI application. Call it in the process that serves, outside the event loop.

    `leaving`: see `web.asgi.Door`; once it is true `stop_accepting` is called, until then `turn` many times a second. Once `overdue` is
    true calls under way are ended. `handovers_failed`: see `Sources`.
    """
    administration = Administration(loaded, place_of(loaded))
    loaded = administration.loaded
    settings = loaded.settings
    access_log = AccessLog()
    client = HttpClient(connect_timeout_s=settings.timeout.connect_secs, proxies=loaded.environment.proxies)
    slots = Slots(settings.concurrency.max_streams, settings.concurrency.max_streams_per_key)
    stats, explanations, journal = ProviderStats(), Explanations(), administration.journal
    metrics = Metrics(
        __version__,
        Sources(
            credential_cache=lambda: assembly.credential_cache(),
            upstream_connections=lambda: {"idle": client.stats.idle, "busy": client.stats.open - client.stats.idle},
            upstreams=lambda: rows(gateway.fleet),
            retry_budget_left=lambda: gateway.budget.left,
            log_lines_dropped=dropped_lines,
            in_flight=lambda: (gateway.in_flight, slots.total),
            streams_limit=lambda: slots.limit,
            handovers_failed=handovers_failed,
            store=lambda: _store_row(administration),
        ),
    )
    assembly = Assembly(client, settings, metrics.count_breaker_transition)
    fleet = _first_fleet(assembly, administration)
    auth = settings.auth
    keys = KeyRing([auth.master_key.get_secret_value()] if auth.master_key is not None else [], required=auth.require_auth)
    clientele = Clientele(keys, max_wait_s=settings.routing.max_wait_secs)
    clientele.replace(administration.directory)

    strangers_calls = TokenBucket(_STRANGERS_AT_ONCE, _STRANGERS_PER_SECOND, time.monotonic())

    def observe(record: CallRecord) -> None:
        metrics.observe(record)
        stats.observe(record)
        if record.dialect is not None:
            explanations.observe(record)
            stranger = record.error_code is not None and _is_a_strangers(record, keys.required)
            if journal is not None and not (stranger and not strangers_calls.take(time.monotonic()).allowed):
                journal.write(record)
        access_log.write(record)

    def refused(record: CallRecord) -> None:
        """At an administrator's door. Lines of those that have to wait would fill the log."""
        metrics.count_refused_administrator()
        if record.status != 429:
            access_log.write(record)

    policies = Policies()
    gateway = Gateway(
        fleet=fleet,
        clientele=clientele,
        slots=slots,
        seals=SealStore(),
        budget=RetryBudget(settings.routing.retry_budget),
        observers=[observe],
        **policies.of(settings),
    )
    door = Door(trusted_proxies=settings.server.trusted_proxies, cors=_cors(settings), static=_STATIC_HEADERS, leaving=leaving)
    dialects, strangers = list(CLIENT_DIALECTS), Strangers(administration.ledger)
    catalogue = Catalogue(lambda: gateway.fleet, now=time.monotonic)
    ops = Ops(
        gateway=gateway,
        door=door,
        metrics=metrics,
        stats=stats,
        catalogue=catalogue,
        dialects=dialects,
        observe=access_log.write,
        store=lambda: _store_told(administration),
        heard=strangers,
        metrics_token=token.get_secret_value() if (token := settings.metrics.token) is not None else None,
    )

    async def watch() -> None:
        while not (leaving() or overdue()):
            turn()
            await asyncio.sleep(_LOOK_EVERY_S)
        stop_accepting()
        while not overdue():  # noqa: ASYNC110 - another process says so, in memory that is shared with it
            await asyncio.sleep(_LOOK_EVERY_S)
        if calls := gateway.end_calls():
            logger.warning("calls under way are ended: APP_SERVER__DRAIN_TIMEOUT_SECS is over", extra={"calls": calls})

    watching: list[asyncio.Task[None]] = []

    prices: list[asyncio.Task[None]] = []

    def look_for_prices() -> None:
        """Load them once, where an upstream may have some."""
        pricings = [upstream.terms.pricing for upstream in gateway.fleet.upstreams]
        if not prices and any(pricing is not None and pricing.listed for pricing in pricings):
            prices.append(asyncio.create_task(asyncio.to_thread(warm_up)))

    async def settle() -> None:
        """What is loaded beside the first calls lives for ever, too: the collector need not walk it again and again."""
        look_for_prices()
        await asyncio.gather(*prices)
        gc.collect()
        gc.freeze()

    async def open_() -> None:
        watching.append(asyncio.create_task(watch()))
        watching.append(asyncio.create_task(settle()))
        watching.append(asyncio.create_task(clientele.under_way.watch()))
        watching.append(asyncio.create_task(QuotaWatch(lambda: gateway.fleet).run()))
        watching.append(asyncio.create_task(administration.run()))
        await administration.ready()

    async def close() -> None:
        for task in (*watching, *prices):
            task.cancel()
        catalogue.close()
        # The store is closed by whoever looks after it: a database whose last user said goodbye is one file again.
        await asyncio.wait(watching, timeout=_LEAVE_WITHIN_S)
        await assembly.aclose()
        await client.aclose()
        if journal is not None:
            await asyncio.to_thread(journal.close)
        administration.ledger.end()
        access_log.close()

    def apply(loaded: LoadedSettings, directory: Directory) -> None:
        """Put in force. Calls under way keep what they began with. Raises `ValueError`, and nothing has changed then."""
        before, settings = gateway.fleet, loaded.settings
        gateway.fleet = assembly.fleet(loaded, before)
        look_for_prices()
        client.tune(settings.timeout.connect_secs)
        gateway.tune(**policies.of(settings))
        gateway.budget.tune(settings.routing.retry_budget)
        slots.limit, slots.limit_per_key = settings.concurrency.max_streams, settings.concurrency.max_streams_per_key
        clientele.tune(settings.routing.max_wait_secs)
        clientele.replace(directory)
        door.cors = _cors(settings)
        set_level(settings.log.level)
        if [upstream.key for upstream in gateway.fleet.upstreams] != [upstream.key for upstream in before.upstreams]:
            logger.warning("other upstreams are in force", extra={"upstreams": len(gateway.fleet.upstreams)})

    administration.use(apply, clientele)

    async def explain(request_id: str) -> Explanation | None:
        """From memory, else from the log of calls, if there is one."""
        found = explanations.explain(request_id, gateway.fleet_of)
        if found is not None:
            return found
        with contextlib.suppress(StoreUnavailable):
            record = await controls["calls"].record(request_id)
            return explained(record, gateway.fleet_of) if record is not None else None
        return None

    upstreams = UpstreamControl(lambda: gateway.fleet)
    controls = verbs(administration, upstreams, lambda loaded: _tried(client, loaded), lambda: _store_told(administration))

    def administer() -> Callable[[Any, Any, Any], Awaitable[None]]:
        # Imported here, with Litestar: see `web.application`.
        from fkproxy.web.admin import AdminPlane, Guard, admin_app, asking

        def peer_of(connection: Any) -> str | None:
            return door.peer_of(connection.scope)

        def id_of(request: Any) -> str:
            return request_id(request.scope)

        return admin_app(
            AdminPlane(
                guard=Guard(keys, peer_of, refused, strangers),
                by=asking(peer_of, lambda: keys.closed, id_of),
                upstreams=upstreams,
                explain=explain,
                reload=administration.reload,
                changed=administration.changed,
                opening=administration.opening,
                headers={name.decode(): value.decode() for name, value in _STATIC_HEADERS},
                **controls,
            )
        )

    return Application(
        by_method(
            chat_endpoints(gateway, door, dialects, ops.look),
            ops.endpoints(),
            {route.path: route.endings for dialect in dialects for route in dialect.routes},
        ),
        unknown=ops.unknown,
        admin=Lazy(administer),
        open_=open_,
        close=close,
    )


def _first_fleet(assembly: Assembly, administration: Administration) -> Fleet:
    """With what is managed, if that can be built; what is declared must be. Raises `SettingsError`."""
    try:
        return assembly.fleet(administration.loaded)
    except ValueError as error:
        if administration.loaded is administration.declared:
            raise SettingsError([Problem("providers", str(error))]) from error
        administration.give_up(error)
    return _first_fleet(assembly, administration)


def _tried(client: HttpClient, loaded: LoadedSettings) -> Fleet:
    """Raises `ValueError` for what cannot be built."""
    return Assembly(client, loaded.settings, lambda key, to: None).fleet(loaded)


def _is_a_strangers(record: CallRecord, key_required: bool) -> bool:
    """A call that failed did so before anybody was asked, and no good key came with it; where none is required, nobody was to be let in."""
    if record.attempts:
        return False
    return record.auth == "refused" or record.error_code == ForeignPage.code or (key_required and record.key_id is None)


def _cors(settings: Settings) -> CorsPolicy | None:
    cors = settings.cors
    return CorsPolicy(cors.allowed_origins, cors.max_age_secs) if cors.enabled else None


def _store_told(administration: Administration) -> dict[str, Any] | None:
    """The store as /health shows it: no address, no path."""
    status, journal = administration.status, administration.journal
    if status is None or journal is None:
        return None
    figures = journal.figures
    return {
        "state": status.state,
        "since_s": round(status.since_s),
        "message": status.message,
        "revision": status.revision,
        "in_force": not administration.problems,
        "journal": {"waiting_bytes": administration.waiting_bytes, "dropped": figures.dropped, "trouble": figures.trouble},
    }


def _store_row(administration: Administration) -> StoreRow:
    status, journal = administration.status, administration.journal
    if status is None or journal is None:
        return StoreRow()
    figures, up = journal.figures, status.state == "open"
    return StoreRow(
        up=up,
        away_s=0.0 if up else round(time.time() - status.since_s, 1),
        waiting_records=figures.pending_lines,
        waiting_bytes=administration.waiting_bytes,
        dropped=figures.dropped,
    )
