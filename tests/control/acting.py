"""Who acts in the tests of the verbs, on what, and what was written down of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fkproxy.control.audit import AuditControl
from fkproxy.control.config import ConfigControl
from fkproxy.control.documents import Documents
from fkproxy.control.key_views import Spending
from fkproxy.control.keys import KeyControl
from fkproxy.control.ledger import By, Ledger
from fkproxy.control.pools import PoolControl
from fkproxy.control.providers import ProviderControl
from fkproxy.control.settings import SettingControl
from fkproxy.directory import ClientKey, Document, Pool
from fkproxy.settings import Judge, LoadedSettings, effective, load
from fkproxy.storage.store import Store
from fkproxy.storage.values import Actor, AuditRow

NOW_S = 1_800_000_000.0
PEPPER = b"p" * 32
BY = By(actor=Actor(kind="administrator", name="master", peer="192.0.2.0/24"), request_id="req-1")
POOLS = (Pool(name="team"), Pool(name="old", state="archived"), Pool(name="spare"))
SECRET = "sk-canary-0123456789"
MASTER = "sk-the-master-key-0123456789"


def entry(name: str, **more: Any) -> dict[str, Any]:
    """A provider as an administrator writes it."""
    return {
        "name": name,
        "adapter": "anthropic",
        "base_url": f"https://{name}.example",
        "credentials": [{"key": f"{SECRET}-{name}"}],
        **more,
    }


class Office:
    """All verbs over one store, with one provider from a variable, one from a file and one setting from each."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.now_s = NOW_S
        self.spent: dict[str, Spending] = {}
        (directory / "env").write_text("APP_STREAM__KEEP_ALIVE_SECS=5\n")
        (directory / "providers.toml").write_text(
            f'[[providers]]\nname = "filed"\nadapter = "openai"\n[[providers.credentials]]\nname = "a"\nkey = "{SECRET}-filed"\n'
        )
        environ = {
            "APP_PROVIDERS_FILE": str(directory / "providers.toml"),
            "ANTHROPIC_API_KEY": f"{SECRET}-variable",
            "APP_RATE_LIMIT__CAPACITY": "7",
        }
        self.declared = load(directory / "env", environ)
        self.ledger = Ledger(lambda: store, lambda: self.now_s)
        self.documents = Documents(self.ledger, Judge(lambda: self.declared, lambda: store.secrets), lambda: store.secrets)
        self.keys = KeyControl(self.ledger, lambda: PEPPER, self._spent, MASTER)
        self.pools = PoolControl(self.documents)
        self.providers = ProviderControl(self.documents)
        self.settings = SettingControl(self.documents)
        self.config = ConfigControl(self.documents)
        self.audit = AuditControl(self.ledger)

    async def _spent(self) -> Mapping[str, Spending]:
        return self.spent

    async def kept(self, key_id: str) -> ClientKey:
        """A key as it is stored."""
        return {key.id: key for key in (await self.store.picture()).keys}[key_id]

    async def document(self) -> Document:
        """The newest."""
        return (await self.store.picture()).document

    async def in_force(self) -> LoadedSettings:
        """What the gateway would run with."""
        return effective(self.declared, await self.document(), self.store.secrets)

    async def key_of(self, provider: str, position: int = 0) -> str | None:
        """The secret that a provider would call with."""
        (found,) = [each for each in (await self.in_force()).providers if each.name == provider]
        key = found.credentials[position].key
        return key.get_secret_value() if key is not None else None


async def begun(store: Store, document: Document) -> None:
    """The store holds `document` from now on."""
    async with Ledger(lambda: store).change(BY, "config.restore", "begun") as change:
        change.put_document(document, "begun")


async def rows(store: Store) -> list[AuditRow]:
    """What was written down since, the oldest first."""
    return [row for row in reversed(await store.audit(limit=1000)) if row.actor == BY.actor and row.target_kind != "begun"]


async def told(store: Store) -> list[tuple[str, str, tuple[str, ...]]]:
    """Action, outcome and the names of what changed."""
    return [(row.action, row.outcome, row.changed) for row in await rows(store)]
