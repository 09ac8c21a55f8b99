"""The administrator's store: what is managed, who did what, and the calls. Floor 2.

Over SQLite or PostgreSQL, by URL. Importing this package loads no database library: those come when a store is opened, because a worker
must be able to start and serve without one.
"""

from __future__ import annotations

__all__: list[str] = []
