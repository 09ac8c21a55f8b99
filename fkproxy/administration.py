"""What the process remembers, put together: the store and its keeper, what is in force because of it, and the journal. Floor 4.

    declared   settings, variables and the providers file, as they were read
    managed    the store's document, laid over what is declared; where the newest cannot be, the last one that could
    picture    document and client keys of one moment; its copy on the disk is what a process starts from

Whatever the store does, calls go on with what was in force last.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from fkproxy.clientele import Clientele
from fkproxy.control.key_views import Spending
from fkproxy.control.ledger import Ledger
from fkproxy.directory import Directory, Document
from fkproxy.keeper import Chore, Keeper, StoreStatus
from fkproxy.limits.budget import WINDOWS, Spent, Window, window_of
from fkproxy.limits.steady import SteadyClock
from fkproxy.place import Place
from fkproxy.settings import LoadedSettings, Problem, SettingsError, load_providers
from fkproxy.settings.managed import effective
from fkproxy.storage import files, open_store, snapshot
from fkproxy.storage.calls_values import Begins, Retention
from fkproxy.storage.calls_values import Spent as KeySpent
from fkproxy.storage.values import Picture, StoreError, StoreUnavailable
from fkproxy.telemetry.journal import Journal

if TYPE_CHECKING:
    from fkproxy.storage.calls import Calls
    from fkproxy.storage.secrets import SecretBox
    from fkproxy.storage.store import Store

__all__ = ["Administration"]

logger = logging.getLogger("fkproxy.administration")

_WATCHED_S = 60.0
"""Between two looks at the clock: who looked so lately has seen the windows begin that did meanwhile."""

_FIRST_OPENING_S = 10.0
"""How long a process without a copy waits for a store that is there already, before it serves without its keys."""


class Administration:
    """`loaded` and `directory` are in force. `use` says who is told when that changes; `start` begins to look after the store."""

    def __init__(self, declared: LoadedSettings, place: Place | None) -> None:
        self.declared = declared
        self.loaded = declared
        self.directory = Directory()
        self.place = place
        self.problems: tuple[Problem, ...] = ()
        self._warned: frozenset[str] = frozenset()
        self._box: SecretBox | None = None
        self._pepper = b""
        self._sealed_pepper: dict[str, Any] = {}
        self._document = self._newest = Document()
        self._reloading = asyncio.Lock()
        self._clientele: Clientele | None = None
        self._calls: Calls | None = None
        self._seeded: set[tuple[Window, float]] = set()
        self._looked_s = float("-inf")
        self._uses: dict[str, float] = {}
        self._clock = SteadyClock()
        self.ledger = Ledger(self.store, keeps=place is not None)
        self._apply: Callable[[LoadedSettings, Directory], None] = lambda loaded, directory: None
        self.journal = Journal(place.journal, max_bytes=declared.settings.store.journal_max_size) if place is not None else None
        picture = snapshot.read(place.snapshot) if place is not None else None
        self._recalled = picture is not None and self._recall(picture)
        if place is not None and not self._recalled:
            # Where there may be client keys that nobody can look up, whoever has none is not let in.
            there = place.snapshot.exists() or place.database is None or place.database.exists()
            self.directory = Directory(known=not there)
        self._keeper: Keeper[Store] | None = None
        if place is not None:
            self._keeper = Keeper(
                open_store=self._open,
                take=self._take,
                keep=self._keep,
                chores=self._chores,
                revision=picture.revision if self._recalled and picture is not None else None,
            )

    def use(self, apply: Callable[[LoadedSettings, Directory], None], clientele: Clientele) -> None:
        """`apply` puts in force; it raises `ValueError` and has changed nothing then."""
        self._apply = apply
        self._clientele = clientele

    def give_up(self, error: ValueError) -> None:
        """What is managed cannot be built from the copy; what is declared is in force until the store says something better."""
        self._refuse([Problem("providers", str(error))])
        self.loaded, self._document = self.declared, Document()

    # --- for the verbs

    @property
    def status(self) -> StoreStatus | None:
        """How the store stands; None where there is none. One that does not take the records of calls cannot be used."""
        if self._keeper is None:
            return None
        status, calls = self._keeper.status, self._calls
        if status.state != "open" or calls is None or calls.figures.trouble is None:
            return status
        figures = calls.figures
        told = "the records of calls cannot be written to the store and wait in the journal"
        return msgspec.structs.replace(status, state=figures.trouble, since_s=figures.trouble_since_s, message=told)

    def store(self) -> Store:
        """Raises `StoreUnavailable`."""
        if self._keeper is None:
            raise StoreUnavailable(
                "unreachable", "this instance keeps nothing: APP_STORE__URL is none, or it has no directory to keep it in"
            )
        return self._keeper.store

    def calls(self) -> Calls:
        """Raises `StoreUnavailable`."""
        if self._calls is None:
            self.store()
            raise StoreUnavailable("unreachable", "the store is not open yet")
        return self._calls

    @property
    def waiting_bytes(self) -> int:
        """Of records of calls that are on the disk and not in the store."""
        if self._calls is not None and self._calls.figures.working:
            return self._calls.figures.waiting_bytes
        return self.journal.figures.disk_bytes if self.journal is not None else 0

    def box(self) -> SecretBox:
        """Raises `StoreUnavailable`."""
        return self.store().secrets if self._box is None else self._box

    def pepper(self) -> bytes:
        """Raises `StoreUnavailable`."""
        if not self._pepper:
            self.store()
            raise StoreUnavailable("unreachable", "the store is not open yet")
        return self._pepper

    def spending(self) -> dict[str, Spending]:
        """What keys have used in the windows of now, by their id; of those that called since the start of this process."""
        if self._clientele is None:
            return {}
        return {key: _spending(windows) for key, windows in self._clientele.spent().items()}

    async def opening(self) -> None:
        """Wait, for a while, for a store that is being opened for the first time: whoever asks right after a start need not ask again."""
        if self._keeper is not None and self._keeper.status.state == "opening":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_OPENING_S):
                    await self._keeper.opened.wait()

    async def changed(self) -> None:
        """Put in force what this process has just changed in the store."""
        if self._keeper is not None:
            await self._keeper.look()

    async def reload(self) -> list[Problem]:
        """The providers file as it is now, under what is managed: under the newest of it if that can be, else under what is in force.

        Gives warnings; raises `SettingsError`, and nothing has changed then.
        """
        async with self._reloading:
            declared = await asyncio.to_thread(load_providers, self.declared)
            try:
                self._put(declared, self._newest)
            except SettingsError:
                if self._newest is self._document:
                    raise
                self._put(declared, self._document)
            return list(self.loaded.warnings)

    # --- life

    async def run(self) -> None:
        """Look after the store until cancelled."""
        if self._keeper is not None:
            await self._keeper.run()

    async def ready(self) -> None:
        """Return when calls may be let in: at once with a copy of what was in force, else when the store was asked, if it is there."""
        place = self.place
        if self._keeper is None or place is None or self._recalled or (place.database is not None and not place.database.exists()):
            return
        try:
            async with asyncio.timeout(_FIRST_OPENING_S):
                await self._keeper.opened.wait()
        except TimeoutError:
            logger.error(
                "the store does not open, and there is no copy of what was in force: no client key is known, nor whether there are any"
            )

    # --- pictures

    def _recall(self, picture: Picture) -> bool:
        try:
            self._hold(picture)
        except StoreError as error:
            logger.error("the copy of what was in force cannot be used; the store has to be waited for", extra={"reason": str(error)})
            return False
        self._follow(picture.document)
        return True

    async def _take(self, picture: Picture) -> None:
        """Most changes are of keys alone: for them nothing is built anew.

        Raises `StoreError` where its secrets cannot be opened; who may call has been taken then.
        """
        before, box = self.directory, self._box
        try:
            self._hold(picture)
        except StoreError:
            if self._clientele is not None and self.directory != before:
                self._clientele.replace(self.directory)
            raise
        in_force = self._document is self._newest and self._box is box and picture.document == self._document
        if (in_force or not self._follow(picture.document)) and self._clientele is not None:
            self._clientele.replace(self.directory)

    def _hold(self, picture: Picture) -> None:
        """Who may call is taken whatever becomes of the rest: a revoked key must not live on because a provider is wrong, or because
        another host has sealed everything with a key that is not here yet. The pepper is the same for the life of an installation; where
        this is another one, no key of it is known here, and nobody is let in.

        Raises `StoreError`.
        """
        try:
            self._unseal(picture.pepper)
        except StoreError:
            if self._pepper:
                self.directory = Directory(pools=picture.document.pools, keys=picture.keys, pepper=self._pepper, known=False)
            raise
        self.directory = Directory(pools=picture.document.pools, keys=picture.keys, pepper=self._pepper)

    def _unseal(self, sealed_pepper: dict[str, Any]) -> None:
        """Raises `StoreError`."""
        if not sealed_pepper or sealed_pepper == self._sealed_pepper:
            return
        from fkproxy.storage.secrets import open_box  # a tenth of a start, for those who need it

        assert self.place is not None
        try:
            self._box, self._pepper = open_box(self.place.secret_keys, self.place.key_file, sealed_pepper)
        except ValueError as error:
            raise StoreUnavailable("broken", str(error)) from error
        self._sealed_pepper = sealed_pepper

    def _follow(self, document: Document) -> bool:
        """Put it in force; False where it cannot be, and what was in force goes on."""
        self._newest = document
        try:
            self._put(self.declared, document)
        except SettingsError as error:
            self._refuse(error.problems)
            return False
        return True

    def _put(self, declared: LoadedSettings, document: Document) -> None:
        """Raises `SettingsError`, and nothing has changed then."""
        loaded = self._laid(declared, document)
        try:
            self._apply(loaded, self.directory)
        except ValueError as error:
            raise SettingsError([Problem("providers", str(error))]) from error
        self.declared, self.loaded, self._document = declared, loaded, document
        if document is self._newest:
            self.problems = ()
        self._warn(loaded)

    def _laid(self, declared: LoadedSettings, document: Document) -> LoadedSettings:
        return effective(declared, document, self._box) if self._box is not None else declared

    def _warn(self, loaded: LoadedSettings) -> None:
        """Of what is managed and has no effect; once, until it changes."""
        warnings = frozenset(map(str, loaded.warnings)) - frozenset(map(str, self.declared.warnings))
        for warning in sorted(warnings - self._warned):
            logger.warning("of what is managed, %s", warning)
        self._warned = warnings

    def _refuse(self, problems: Sequence[Problem]) -> None:
        """It is said once, however often the rest of the picture changes."""
        known, self.problems = self.problems, tuple(problems)
        for problem in problems if self.problems != known else ():
            logger.error("what is managed cannot be put in force: %s", problem, extra={"setting": problem.name})

    # --- the keeper's hands

    async def _open(self) -> Store:
        assert self.place is not None
        # A new one would be empty, and with it in force nobody would have a key any more. A copy that cannot be used says as much.
        was_there = self._recalled or self.place.snapshot.exists()
        if was_there and self.place.database is not None and not self.place.database.exists():
            raise StoreUnavailable("gone", f"the database file is not there; {self.place.snapshot.name} says that there was one")
        try:
            store, opened = await open_store(
                self.place.url, secret_keys=self.place.secret_keys, key_file=self.place.key_file, may_make=not was_there
            )
        except ValueError as error:
            raise StoreUnavailable("broken", str(error)) from error
        if opened.key_file_made is not None:
            told = "a key that seals secrets was made: keep a copy of it, without it they cannot be read"
            logger.warning(told, extra={"file": str(opened.key_file_made)})
        # The libraries that were loaded for it live for ever: the collector need not walk them again and again.
        gc.freeze()
        if opened.migrated_from:
            logger.warning("the store was brought up to this version", extra={"from_level": opened.migrated_from, "backup": opened.backup})
        return store

    async def _keep(self, picture: Picture) -> None:
        """Raises `StoreUnavailable`, and the copy before it stands."""
        assert self.place is not None
        try:
            await asyncio.to_thread(snapshot.write, self.place.snapshot, picture)
        except OSError as error:
            raise files.unwritable(error, f"{self.place.snapshot.name} cannot be written") from error

    def _chores(self, store: Store) -> list[Chore]:
        return [
            Chore("the audit log", 5.0, self.ledger.catch_up, at_end=True),
            Chore("the log of calls", 5.0, lambda: self._log_calls(store)),
            Chore("what keys have used", 1.0, self._seed_what_began),
            Chore("the last uses of keys", 2.0, lambda: self._note_uses(store), at_end=True),
            Chore("the end of the audit log", 600.0, lambda: self._prune_audit(store)),
        ]

    async def _log_calls(self, store: Store) -> None:
        """What keys have used is asked for first; calls of this process are counted by itself."""
        from fkproxy.storage.calls import Calls  # a database library, which is loaded by now

        assert self.place is not None
        calls = self._calls = Calls(store.database, self.place.journal, retention=self._retention)
        if self._clientele is not None and not self._seeded:
            await self._seed(calls, self._clientele)
        await calls.run()

    async def _seed_what_began(self) -> None:
        """A clock that was set, after a start before its time too, has come to windows that were used already."""
        if self._seeded and self._calls is not None and self._clientele is not None:
            await self._seed(self._calls, self._clientele)

    async def _seed(self, calls: Calls, clientele: Clientele) -> None:
        """What is in the store is told at once; what waits in the journal, which may be much, when it was read: of the windows that were
        those of now when this began, for one may end meanwhile. Each is told once: the calls of this process that are no longer in the
        journal would be counted twice. Nothing was used before in one that this process has seen begin, as at each midnight."""
        assert self.journal is not None
        at_s, looked_s = time.time(), self._looked_s
        self._looked_s = at_s
        starts = {window: window_of(window, at_s)[0] for window in WINDOWS}
        if self._seeded and at_s - looked_s < _WATCHED_S:
            self._seeded.update((window, start_s) for window, start_s in starts.items() if looked_s < start_s)
        new = [window for window in WINDOWS if (window, starts[window]) not in self._seeded]
        if not new:
            return
        begins = Begins(starts["day"], starts["week"], starts["month"])
        if not self._seeded:
            _tell(clientele, new, await calls.spent(begins), at_s)
        try:
            _tell(clientele, new, await calls.spent_by_others(begins, self.journal.ending), at_s)
        except OSError as error:
            logger.warning("budgets begin without what waits in the journal: it cannot be read", extra={"reason": error.strerror})
        self._seeded.update((window, starts[window]) for window in new)

    async def _note_uses(self, store: Store) -> None:
        """Those that called since they were noted last."""
        if self._clientele is not None:
            uses = self._clientele.last_used()
            await store.touch_keys(dict(uses.items() - self._uses.items()))
            self._uses = uses

    async def _prune_audit(self, store: Store) -> None:
        """As far as the clock can be believed. What cannot be taken away stays; that is no reason to call the store unusable."""
        days, now_s = self.loaded.settings.store.keep_audit_days, self._clock.read(time.time(), time.monotonic())
        if not days or now_s is None:
            return
        from fkproxy.storage.audit_pruning import Altered  # a database library, which is loaded by now

        removed = 0
        try:
            while some := await store.prune_audit(now_s - days * 86400):
                removed += some
        except (Altered, StoreError) as error:
            logger.warning("the audit log is not shortened", extra={"reason": str(error)})
        if removed:
            logger.info("old entries of the audit log were removed", extra={"entries": removed})

    def _retention(self) -> Retention:
        kept = self.loaded.settings.store
        return Retention(days=kept.keep_calls_days or None, max_rows=kept.keep_calls or None, usage_days=kept.keep_usage_days or None)


def _tell(clientele: Clientele, windows: Sequence[Window], spent: Mapping[str, KeySpent], at_s: float) -> None:
    for window in windows:
        clientele.seed(window, {key: _used(window, used) for key, used in spent.items()}, at_s)


def _used(window: Window, used: KeySpent) -> tuple[int, float]:
    """(tokens, USD), where there is a limit of them."""
    day, week, month = (used.tokens_day, used.cost_day_usd), (used.tokens_week, 0.0), (0, used.cost_month_usd)
    return {"day": day, "week": week, "month": month}[window]


def _spending(windows: Sequence[Spent]) -> Spending:
    of = {spent.window: spent for spent in windows}
    return Spending(
        tokens_today=of["day"].tokens,
        tokens_this_week=of["week"].tokens,
        spend_usd_today=round(of["day"].usd, 9),
        spend_usd_this_month=round(of["month"].usd, 9),
    )
