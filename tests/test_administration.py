"""What is in force while the store is there, while it is not, and after a start without it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from fkproxy.access import KeyRing, digest
from fkproxy.administration import Administration
from fkproxy.clientele import Clientele
from fkproxy.control.ledger import By
from fkproxy.directory import ClientKey, Directory, Document, KeySecret, Pool
from fkproxy.limits.steady import SteadyClock
from fkproxy.model.errors import NotAuthenticated
from fkproxy.model.usage import Usage
from fkproxy.place import place_of
from fkproxy.settings import LoadedSettings, SettingsError, load, load_providers
from fkproxy.storage.calls_values import Begins, Retention, Spent
from fkproxy.storage.values import Actor, AuditEntry, Picture, StoreError, StoreUnavailable
from tests.storage.journal import leave
from tests.telemetry.records import record

BY = By(actor=Actor(kind="local"))
PROVIDER = {"name": "managed", "adapter": "openai", "base_url": "http://127.0.0.1:9/v1", "models": ["m"]}


def loaded(directory: Path, **settings: str) -> LoadedSettings:
    return load(environ={"APP_STORE__DIRECTORY": str(directory / "state"), **settings})


def administered(directory: Path, **settings: str) -> Administration:
    declared = loaded(directory, **settings)
    return Administration(declared, place_of(declared))


class Applied:
    """What was put in force, in order; `fault` refuses it."""

    def __init__(self) -> None:
        self.taken: list[tuple[LoadedSettings, Directory]] = []
        self.fault: ValueError | None = None

    def __call__(self, settings: LoadedSettings, directory: Directory) -> None:
        if self.fault is not None and any(provider.name == "managed" for provider in settings.providers):
            raise self.fault
        self.taken.append((settings, directory))


@asynccontextmanager
async def running(made: Administration) -> AsyncIterator[Administration]:
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def opened(made: Administration) -> None:
    async with asyncio.timeout(30):
        while made.status is None or made.status.state != "open":  # noqa: ASYNC110 - a status has no event
            await asyncio.sleep(0.01)


async def change(made: Administration, document: Document, *keys: ClientKey) -> None:
    async with made.store().change(AuditEntry(actor=BY.actor, action="config.restore")) as transaction:
        transaction.put_document(document, "changed")
        for key in keys:
            transaction.put_key(key)
    await made.changed()


async def test_without_a_place_every_verb_says_why_not(caplog: pytest.LogCaptureFixture) -> None:
    made = Administration(load(environ={}), None)
    with pytest.raises(StoreUnavailable, match="keeps nothing"):
        made.store()
    assert (made.status, made.journal) == (None, None)
    for _ in range(1001):
        made.ledger.leave(BY, "admin.refuse", "admin", outcome="refused")
    assert [record for record in caplog.records if record.levelno == logging.ERROR] == [], "nobody empties what would wait for a store"
    await made.run()
    await made.ready()


async def test_a_change_is_in_force_when_it_is_done(tmp_path: Path) -> None:
    applied = Applied()
    made = administered(tmp_path)
    made.use(applied, None)
    async with running(made):
        await opened(made)
        document = Document(providers=(PROVIDER,), pools=(Pool(name="team"),), settings={"APP_RATE_LIMIT__CAPACITY": "7"})
        await change(made, document, ClientKey(id="k", pool="team"))
    settings, directory = applied.taken[-1]
    assert settings.settings.rate_limit.capacity == 7
    assert [provider.name for provider in settings.providers] == ["managed"]
    assert ([pool.name for pool in directory.pools], [key.id for key in directory.keys], len(directory.pepper)) == (["team"], ["k"], 32)


async def test_a_change_of_keys_alone_builds_nothing_anew(tmp_path: Path) -> None:
    applied = Applied()
    made = Administration(loaded(tmp_path), place_of(loaded(tmp_path)))
    clientele = everybody(made)
    made.use(applied, clientele)
    async with running(made):
        await opened(made)
        document = Document(providers=(PROVIDER,), pools=(Pool(name="team"),))
        await change(made, document, ClientKey(id="a", pool="team"))
        built = len(applied.taken)
        await change(made, document, ClientKey(id="b", pool="team"))
        assert (len(applied.taken), {key.id for key in made.directory.keys}) == (built, {"a", "b"})
        assert (clientele.keys.terms("b") is not None, made.loaded.providers[-1].name) == (True, "managed")
        applied.fault = ValueError("cannot be built")
        await change(made, msgspec.structs.replace(document, settings={"APP_LOG__LEVEL": "debug"}), ClientKey(id="c", pool="team"))
        applied.fault = None
        await change(made, msgspec.structs.replace(document, settings={"APP_LOG__LEVEL": "debug"}), ClientKey(id="d", pool="team"))
        assert (len(applied.taken), made.loaded.settings.log.level) == (built + 1, "debug"), "what could not be built is tried again"


async def test_a_start_without_the_store_goes_on_with_what_was_in_force(tmp_path: Path) -> None:
    before = administered(tmp_path)
    async with running(before):
        await opened(before)
        await change(before, Document(providers=(PROVIDER,), pools=(Pool(name="team"),)), ClientKey(id="k", pool="team"))
    (tmp_path / "state" / "fkllmproxy.db").rename(tmp_path / "elsewhere.db")
    after = administered(tmp_path)
    assert [provider.name for provider in after.loaded.providers] == ["managed"]
    assert [key.id for key in after.directory.keys] == ["k"]
    assert after.directory.pepper == before.directory.pepper
    await after.ready()


@pytest.mark.parametrize(("number", "state"), [(errno.ENOSPC, "full"), (errno.EROFS, "read_only")])
async def test_a_copy_that_could_not_be_written_is_written_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, state: str
) -> None:
    made = administered(tmp_path)
    async with running(made):
        await opened(made)
        with monkeypatch.context() as patched:

            def refuse(path: Path, picture: Picture) -> None:
                raise OSError(number, "canary")

            patched.setattr("fkproxy.storage.snapshot.write", refuse)
            await change(made, Document(pools=(Pool(name="team"),)), ClientKey(id="k", pool="team", state="revoked"))
            assert (made.status.state, made.status.message) == (state, f"in-force.json cannot be written ({os.strerror(number)})")
        await opened(made)
    assert [key.state for key in administered(tmp_path).directory.keys] == ["revoked"]


@pytest.mark.parametrize("damaged", [False, True], ids=["copy", "damaged_copy"])
@pytest.mark.parametrize("emptied", [False, True], ids=["removed", "emptied"])
async def test_a_store_that_was_there_is_waited_for_and_not_made_anew(tmp_path: Path, emptied: bool, damaged: bool) -> None:
    before = administered(tmp_path)
    async with running(before):
        await opened(before)
        await change(before, Document(pools=(Pool(name="team"),)), ClientKey(id="k", pool="team"))
    file, copy = tmp_path / "state" / "fkllmproxy.db", tmp_path / "state" / "in-force.json"
    file.unlink()
    if emptied:
        file.touch()
    if damaged:
        copy.write_bytes(b"half a file")
    kept = copy.read_bytes()
    after = administered(tmp_path)
    async with running(after):
        async with asyncio.timeout(30):
            while after.status.state == "opening":  # noqa: ASYNC110 - a status has no event
                await asyncio.sleep(0.01)
        assert after.status.state == "gone"
        assert ([key.id for key in after.directory.keys], after.directory.known) == ([] if damaged else ["k"], not damaged)
    assert copy.read_bytes() == kept


async def test_a_damaged_copy_is_waited_for_and_made_again(tmp_path: Path) -> None:
    before = administered(tmp_path)
    async with running(before):
        await opened(before)
        await change(before, Document(pools=(Pool(name="team"),)), ClientKey(id="k", pool="team"))
    (tmp_path / "state" / "in-force.json").write_bytes(b"half a file")
    after = administered(tmp_path)
    assert after.directory.keys == ()
    async with running(after):
        await after.ready()
        assert [key.id for key in after.directory.keys] == ["k"]


def everybody(made: Administration) -> Clientele:
    return Clientele(KeyRing((), required=False, directory=made.directory))


async def test_who_may_call_is_taken_although_the_rest_cannot_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    applied = Applied()
    made = administered(tmp_path)
    clientele = everybody(made)
    made.use(applied, clientele)
    document = Document(providers=(PROVIDER,), pools=(Pool(name="team"),))
    async with running(made):
        await opened(made)
        applied.fault = ValueError("its file is not there")
        for state in ("active", "revoked"):
            await change(made, document, ClientKey(id="k", pool="team", state=state))
            assert clientele.keys.terms("k") is not None
            assert [key.state for key in made.directory.keys] == [state]
        assert applied.taken[-1][0].providers == ()
        assert [str(problem) for problem in made.problems] == ["providers: its file is not there"]
        assert [record.name for record in caplog.records if record.levelname == "ERROR"] == ["fkproxy.administration"], "it is said once"
        applied.fault = None
        await change(made, document, ClientKey(id="k", pool="team"))
        assert (made.problems, [provider.name for provider in made.loaded.providers]) == ((), ["managed"])


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("1:" + "A" * 43 + "=", "sealed with version 2 of the key, which is not among those given"),
        ("no key at all", "is not version:base64"),
    ],
)
async def test_who_may_call_is_taken_although_everything_is_sealed_with_a_key_that_is_not_here(
    tmp_path: Path, keys: str, reason: str
) -> None:
    made = administered(tmp_path)
    clientele = everybody(made)
    made.use(lambda _, directory: clientele.replace(directory), clientele)
    document = Document(providers=(PROVIDER,), pools=(Pool(name="team"),))
    async with running(made):
        await opened(made)
        key = ClientKey(id="k", pool="team", secrets=(KeySecret(prefix="sk", digest=digest(made.pepper(), b"sk-1")),))
        await change(made, document, key)
        assert clientele.keys.check(b"sk-1", 0.0).key_id == "k"
        made.place = msgspec.structs.replace(made.place, secret_keys=keys)
        made.store().secrets.learn({2: bytes(32)})
        await made.store().reseal(AuditEntry(actor=BY.actor, action="secret.rotate"))
        with pytest.raises(StoreError, match=reason):
            await change(made, Document(pools=document.pools), msgspec.structs.replace(key, state="revoked"))
        with pytest.raises(NotAuthenticated):
            clientele.keys.check(b"sk-1", 0.0)
        assert [provider.name for provider in made.loaded.providers] == ["managed"], "what was in force goes on"
        async with asyncio.timeout(30):
            while made.status.state != "broken":  # noqa: ASYNC110 - a status has no event
                await asyncio.sleep(0.01)
        async with made.store().change(AuditEntry(actor=BY.actor, action="key.delete")) as transaction:
            transaction.delete_key("k")
        with pytest.raises(StoreError, match=reason):
            await made.changed()
        assert clientele.keys.required, "it may be the store of somebody else"


DECLARED = '[[providers]]\nname = "declared"\nadapter = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'


async def test_a_reload_goes_on_with_the_last_document_that_could_be_until_the_newest_can(tmp_path: Path) -> None:
    applied = Applied()
    path = tmp_path / "providers.toml"
    path.write_text(DECLARED)
    declared = loaded(tmp_path, APP_PROVIDERS_FILE=str(path))
    made = Administration(declared, place_of(declared))
    made.use(applied, everybody(made))
    async with running(made):
        await opened(made)
        await change(made, Document(settings={"APP_RATE_LIMIT__CAPACITY": "7"}))
        applied.fault = ValueError("its file is not there")
        await change(made, Document(providers=(PROVIDER,), settings={"APP_RATE_LIMIT__CAPACITY": "8"}))
        path.write_text(DECLARED.replace("declared", "renamed"))
        await made.reload()
        settings, _ = applied.taken[-1]
        assert ([provider.name for provider in settings.providers], settings.settings.rate_limit.capacity) == (["renamed"], 7)
        assert made.problems
        applied.fault = None
        await made.reload()
        settings, _ = applied.taken[-1]
        assert ([provider.name for provider in settings.providers], settings.settings.rate_limit.capacity) == (["renamed", "managed"], 8)
        assert made.problems == ()


async def test_a_reload_that_cannot_be_built_is_refused_with_its_reason(tmp_path: Path) -> None:
    def refuse(settings: LoadedSettings, directory: Directory) -> None:
        raise ValueError("its file is not there")

    declared = loaded(tmp_path)
    made = Administration(declared, place_of(declared))
    made.use(refuse, everybody(made))
    with pytest.raises(SettingsError, match="its file is not there"):
        await made.reload()
    assert made.loaded is declared


async def test_of_two_reloads_the_one_that_began_last_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    applied = Applied()
    path = tmp_path / "providers.toml"
    path.write_text(DECLARED)
    declared = loaded(tmp_path, APP_PROVIDERS_FILE=str(path))
    made = Administration(declared, place_of(declared))
    made.use(applied, everybody(made))
    going, go = threading.Event(), threading.Event()

    def slow_once(before: LoadedSettings) -> LoadedSettings:
        found = load_providers(before)
        if not going.is_set():
            going.set()
            assert go.wait(20)
        return found

    monkeypatch.setattr("fkproxy.administration.load_providers", slow_once)
    first = asyncio.create_task(made.reload())
    await asyncio.to_thread(going.wait, 20)
    path.write_text(DECLARED.replace("declared", "renamed"))
    second = asyncio.create_task(made.reload())
    await asyncio.wait([second], timeout=0.2)
    go.set()
    await asyncio.gather(first, second)
    assert [provider.name for provider in made.loaded.providers] == ["renamed"]


async def test_a_reload_of_the_file_keeps_what_is_managed(tmp_path: Path) -> None:
    applied = Applied()
    path = tmp_path / "providers.toml"
    path.write_text('[[providers]]\nname = "declared"\nadapter = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n')
    declared = loaded(tmp_path, APP_PROVIDERS_FILE=str(path))
    made = Administration(declared, place_of(declared))
    made.use(applied, None)
    async with running(made):
        await opened(made)
        await change(made, Document(providers=(PROVIDER,)))
        path.write_text(path.read_text().replace("declared", "renamed"))
        await made.reload()
    assert [provider.name for provider in applied.taken[-1][0].providers] == ["renamed", "managed"]


async def test_the_key_of_the_secrets_is_needed_for_the_copy_too(tmp_path: Path) -> None:
    before = administered(tmp_path)
    async with running(before):
        await opened(before)
        await change(before, Document(pools=(Pool(name="team"),)), ClientKey(id="k", pool="team"))
    shutil.move(tmp_path / "state" / "secrets.key", tmp_path / "secrets.key")
    after = administered(tmp_path)
    assert (after.directory.keys, after.directory.known) == ((), False)


@pytest.mark.parametrize("url", ["", "postgresql://u:p@127.0.0.1:9/d"])
def test_a_store_that_was_never_asked_may_have_keys(tmp_path: Path, url: str) -> None:
    declared = loaded(tmp_path, **({"APP_STORE__URL": url} if url else {}))
    assert Administration(declared, place_of(declared)).directory.known is (not url)
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "fkllmproxy.db").touch()
    assert not Administration(declared, place_of(declared)).directory.known


def test_what_is_managed_is_given_up_for_what_is_declared(tmp_path: Path) -> None:
    declared = loaded(tmp_path)
    made = Administration(declared, place_of(declared))
    made.loaded = msgspec.structs.replace(declared, warnings=())
    made.give_up(ValueError("no such file"))
    assert made.loaded is declared
    assert [problem.message for problem in made.problems] == ["no such file"]


async def test_what_a_newer_program_kept_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = administered(tmp_path)
    made.use(Applied(), None)
    async with running(made):
        await opened(made)
        for pool in ("one", "two"):
            await change(made, Document(providers=({**PROVIDER, "strategy": "clever"},), pools=(Pool(name=pool),)))
    assert made.problems == ()
    assert [record.getMessage() for record in caplog.records if "of what is managed" in record.message] == [
        "of what is managed, providers[0].strategy: has a word that is not known to this version, and no effect"
    ]


async def test_budgets_begin_with_what_waits_in_the_journal_once(tmp_path: Path) -> None:
    before = administered(tmp_path)
    async with running(before):
        await opened(before)
        await change(before, Document(pools=(Pool(name="team"),)), ClientKey(id="k", pool="team"))
    now_s, used = time.time(), Usage(input_tokens=300, output_tokens=40)
    call = record(started_s=now_s, key_id="k", pool="team", usage=used, cost_usd=0.25)
    journal = tmp_path / "state" / "journal"
    leave(journal, [call, call])
    after = administered(tmp_path)
    clientele = Clientele(KeyRing((), required=False, directory=after.directory), now_s=lambda: now_s)
    after.use(Applied(), clientele)
    after.journal.write(call)
    after.journal.close(60.0)
    async with running(after):
        async with asyncio.timeout(30):
            while after.status.state != "open" or after.waiting_bytes:  # noqa: ASYNC110 - nor has the importer
                await asyncio.sleep(0.01)
    day, week, month = clientele.spent()["k"]
    assert ((day.tokens, week.tokens), (day.usd, month.usd)) == ((680, 680), (0.5, 0.5)), "its own call is counted by itself"


async def test_what_was_used_is_told_of_each_window_once_also_when_the_clock_goes_on_or_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, took_s, asked = datetime(2026, 12, 31, 23, 59, 58, tzinfo=UTC).timestamp(), 100.0, 0

    class Slow:
        async def spent(self, _: Begins) -> dict[str, Spent]:
            nonlocal asked
            asked += 1
            return {"k": Spent(asked, 5000 * asked, 9.0 * asked, 290.0)}

        async def spent_by_others(self, begins: Begins, _: str) -> dict[str, Spent]:
            nonlocal now_s
            now_s += took_s
            return await self.spent(begins)

    made = administered(tmp_path)
    who = Directory(pools=(Pool(name="team"),), keys=(ClientKey(id="k", pool="team"),))
    clientele = Clientele(KeyRing((), required=False, directory=who), now_s=lambda: now_s)
    monkeypatch.setattr("fkproxy.administration.time.time", lambda: now_s)
    made.use(Applied(), clientele)
    await made._seed_what_began()
    assert clientele.spent() == {}, "nothing is imported before what was used is known"
    made._calls = Slow()  # type: ignore[assignment]  # it is only asked
    await made._seed(made._calls, clientele)
    day, week, month = clientele.spent()["k"]
    assert (day.tokens, day.usd, month.usd) == (0, 0.0, 0.0), "another year has begun"
    assert week.tokens == 10000, "the week goes on"
    await made._seed_what_began()
    day, week, month = clientele.spent()["k"]
    assert (day.tokens, week.tokens, day.usd, month.usd) == (3, 10000, 27.0, 290.0)
    now_s -= 86400.0
    await made._seed_what_began()
    assert asked == 3, "and so is the day before"
    now_s -= 86400.0
    await made._seed_what_began()
    assert [window.tokens for window in clientele.spent()["k"]] == [4, 10000, 0]
    took_s, now_s = 0.0, datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    for step_s in (0.0, 1.0, 1.0, 2 * 86400.0):
        now_s += step_s
        await made._seed_what_began()
    assert asked == 6, "of a window that was seen to begin, as at each midnight, nobody is asked; of one that began while the host slept"


async def test_an_audit_entry_waits_for_a_store_that_is_away(tmp_path: Path) -> None:
    made = administered(tmp_path)
    await made.ledger.note(BY, "upstream.pause", "upstream", "one")
    async with running(made):
        await opened(made)
        async with asyncio.timeout(30):
            while "upstream.pause" not in [row.action for row in await made.store().audit()]:  # noqa: ASYNC110 - nor has the database
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        ({}, Retention(days=30, max_rows=2_000_000, usage_days=400)),
        ({"APP_STORE__KEEP_CALLS_DAYS": "3660", "APP_STORE__KEEP_CALLS": "7"}, Retention(days=3660, max_rows=7, usage_days=400)),
        (
            {"APP_STORE__KEEP_CALLS_DAYS": "0", "APP_STORE__KEEP_CALLS": "0", "APP_STORE__KEEP_USAGE_DAYS": "0"},
            Retention(days=None, max_rows=None, usage_days=None),
        ),
    ],
)
def test_calls_and_sums_are_kept_as_the_settings_say(tmp_path: Path, environ: dict[str, str], kept: Retention) -> None:
    declared = loaded(tmp_path, **environ)
    assert Administration(declared, place_of(declared))._retention() == kept


@pytest.mark.parametrize(
    ("days", "steady_s", "there"),
    [
        ("0", 0.0, ["store.create", "secret.make", "key.update"]),
        ("30", 0.0, ["key.update", "audit.prune"]),
        ("30", 3000.0, ["store.create", "secret.make", "key.update"]),
    ],
)
async def test_the_audit_log_goes_back_as_far_as_it_is_to_by_a_clock_that_made_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: str, steady_s: float, there: list[str]
) -> None:
    made = administered(tmp_path, APP_STORE__KEEP_AUDIT_DAYS=days)
    async with running(made):
        await opened(made)
        later_s = time.time() + 40 * 86400
        await made.store().record([AuditEntry(actor=BY.actor, action="key.update", at_s=later_s)])
        monkeypatch.setattr("fkproxy.administration.time.time", lambda: later_s)
        made._clock = SteadyClock(steady_s)
        await made._prune_audit(made.store())
        every_s = {chore.name: chore.every_s for chore in made._chores(made.store())}["the end of the audit log"]
        assert every_s <= 600.0, "who is handed over each hour is to know the time before, as with the calls"
        assert [row.action for row in reversed(await made.store().audit())] == there
        assert (await made.store().verify_audit()).ok
