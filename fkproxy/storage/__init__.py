"""The administrator's store: what is managed, who did what, and the calls. Floor 2.

Over SQLite or PostgreSQL, by URL. Importing this package loads no database library: those come when a store is opened, in a thread,
because a worker must start and serve without one.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fkproxy.storage.values import Opened

if TYPE_CHECKING:
    from fkproxy.storage.store import Store

__all__ = ["open_store"]


async def open_store(
    url: str,
    *,
    secret_keys: str | None = None,
    key_file: Path | None = None,
    may_make: bool = True,
    clock: Callable[[], float] = time.time,
) -> tuple[Store, Opened]:
    """The store at `url`, made or brought to this program's level if need be, and what was done for that.

    `url`: `sqlite:///absolute/path` or `postgresql://user:password@host/name`. `secret_keys`: `version:base64(32 bytes)`, several with
    commas between them; without them they are in `key_file` (beside an SQLite file it is `secrets.key`), which is made with a new store.
    `may_make`: there was no store before. Raises StoreUnavailable, `gone` where there is none that may be made; SecretLost when the keys
    are not those the store was made with; ValueError for a URL or keys of another form.
    """
    opening = await asyncio.to_thread(importlib.import_module, "fkproxy.storage.opening")
    opened: tuple[Store, Opened] = await opening.open_at(url, secret_keys=secret_keys, key_file=key_file, may_make=may_make, clock=clock)
    return opened
