"""The administrator's verbs, put together. Floor 4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

from fkproxy.administration import Administration
from fkproxy.control.audit import AuditControl
from fkproxy.control.calls import CallControl
from fkproxy.control.compat_verbs import CompatControl, Wished
from fkproxy.control.config import ConfigControl
from fkproxy.control.documents import Documents
from fkproxy.control.key_views import Spending
from fkproxy.control.keys import KeyControl
from fkproxy.control.ledger import Ledger
from fkproxy.control.pools import PoolControl
from fkproxy.control.providers import ProviderControl
from fkproxy.control.settings import SettingControl
from fkproxy.control.store import StoreControl
from fkproxy.control.upstreams import UpstreamControl
from fkproxy.dialects import CLIENT_DIALECTS
from fkproxy.settings import LoadedSettings
from fkproxy.settings.managed import Judge

__all__ = ["Verbs", "verbs"]


class Verbs(TypedDict):
    """Fields of `web.admin.AdminPlane`."""

    ledger: Ledger
    keys: KeyControl
    pools: PoolControl
    providers: ProviderControl
    settings: SettingControl
    config: ConfigControl
    audit: AuditControl
    calls: CallControl
    compat: CompatControl
    store: StoreControl


def verbs(
    administration: Administration,
    upstreams: UpstreamControl,
    trial: Callable[[LoadedSettings], object],
    status: Callable[[], dict[str, Any] | None],
) -> Verbs:
    """`trial` builds what follows from a configuration and lets it go; it raises `ValueError`. `status`: the store as /health shows it."""
    ledger, place = administration.ledger, administration.place
    documents = Documents(ledger, Judge(lambda: administration.declared, administration.box, trial), administration.box)

    async def spent() -> dict[str, Spending]:
        return administration.spending()

    def wished() -> Wished:
        routing = administration.loaded.routing
        spent_quota = routing.quota_exceeded
        return Wished(
            strategy=routing.strategy,
            switch_project=spent_quota.switch_project,
            switch_preview_model=spent_quota.switch_preview_model,
        )

    master = administration.declared.settings.auth.master_key
    keys = KeyControl(ledger, administration.pepper, spent, master.get_secret_value() if master is not None else None)
    pools, providers = PoolControl(documents), ProviderControl(documents)
    settings, calls = SettingControl(documents), CallControl(administration.calls, ledger)
    return Verbs(
        ledger=ledger,
        keys=keys,
        pools=pools,
        providers=providers,
        settings=settings,
        config=ConfigControl(documents),
        audit=AuditControl(ledger),
        calls=calls,
        compat=CompatControl(
            settings=settings,
            keys=keys,
            pools=pools,
            providers=providers,
            upstreams=upstreams,
            calls=calls,
            wished=wished,
            clients=[dialect.name for dialect in CLIENT_DIALECTS],
            ledger=ledger,
        ),
        store=StoreControl(administration.store, status, place.backups if place is not None else None, ledger),
    )
