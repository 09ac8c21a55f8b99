"""Keys and pools outlive the process, and the data plane outlives the store: restart, handover, a start from the copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.installed import installation
from tests.e2e.plane import SLOW, Admin, Key, providers, until, vendors
from tests.e2e.processes import KEY, Service, ask, free_port, service
from tests.e2e.sdks import Streaming, by_anthropic, by_openai, refusal


class House:
    """One state directory, in which a service is started again and again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.state = directory / "state"
        self.database = self.state / "fkllmproxy.db"
        self.copy = self.state / "in-force.json"
        self._port = str(free_port())

    @contextmanager
    def run(self, **settings: str) -> Iterator[tuple[Service, Admin]]:
        place = {"APP_SERVER__PORT": self._port, "APP_STORE__DIRECTORY": str(self.state), "APP_AUTH__MASTER_KEY": KEY}
        with service(self._directory, **place, **settings) as running:
            yield running, Admin(running.url)

    def files(self) -> list[Path]:
        """The database's own."""
        return sorted(self.state.glob("fkllmproxy.db*"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def opened(admin: Admin) -> Admin:
    until(lambda: admin.store()["state"], lambda state: state == "open")
    return admin


def test_keys_pools_and_what_was_used_survive_a_restart(house: House) -> None:
    with house.run() as (running, admin):
        opened(admin).pool("p", models=["sandbox"])
        good, paused, limited = admin.key("p"), admin.key("p"), admin.key("p", limits={"tokens_per_day": 100})
        admin.post(f"/keys/{paused.id}/pause")
        until(lambda: by_openai(running, limited.secret, "sandbox"), lambda said: not isinstance(said, str))
        used = until(lambda: admin.get("/usage")["rows"])
    with house.run() as (running, admin):
        # At once: nobody waits for the store here.
        assert isinstance(by_anthropic(running, good.secret, "sandbox"), str)
        assert refusal(by_openai(running, good.secret, "m")) == (403, "model_not_allowed")
        assert refusal(by_openai(running, paused.secret, "sandbox")) == (403, "key_paused")
        opened(admin)
        until(lambda: by_openai(running, limited.secret, "sandbox"), lambda said: not isinstance(said, str))
        assert refusal(by_openai(running, limited.secret, "sandbox")) == (429, "token_budget_exceeded")
        assert admin.get("/usage")["rows"][0]["tokens_output"] >= used[0]["tokens_output"] > 0
        assert admin.get("/audit/verify")["ok"]


def test_both_processes_of_a_handover_know_what_is_revoked(tmp_path: Path) -> None:
    with vendors() as (vendor,):
        file = providers(tmp_path, ("one", vendor, ["m"], "key-a"), ("two", vendor, [SLOW], SLOW))
        with installation(tmp_path, APP_AUTH__MASTER_KEY=KEY, APP_PROVIDERS_FILE=file) as running:
            admin = opened(Admin(running.url))
            admin.pool("p")
            key, other = admin.key("p"), admin.key("p")
            first = running.main_pid()
            with Streaming(running, key) as stream, Streaming(running, other) as untouched:
                running.hand_over()
                assert running.first.poll() is None, "the old one still has calls"
                assert by_openai(running, key.secret, "m") != "", "the new one knows the key"
                opened(admin).post(f"/keys/{key.id}/revoke")
                assert refusal(by_openai(running, key.secret, "m")) == (401, "invalid_api_key")
                assert stream.ended_with() == "key_revoked"
                assert running.main_pid() != first
                pieces = untouched.pieces
                until(lambda: untouched.pieces > pieces + 5)
            assert running.first.wait(50) == 0
            rows = until(lambda: admin.calls(f"&key_id={key.id}"), lambda rows: len(rows) == 3)
            assert {row["error_code"] for row in rows} == {None, "invalid_api_key", "key_revoked"}
            assert until(lambda: admin.calls(f"&key_id={other.id}"))[0]["ended_by"] == "client"


def test_it_starts_from_the_copy_while_the_database_is_away(house: House, tmp_path: Path) -> None:
    with house.run() as (running, admin):
        opened(admin).pool("p")
        key, revoked = admin.key("p"), admin.key("p")
        admin.post(f"/keys/{revoked.id}/revoke")
        assert isinstance(by_openai(running, key.secret, "sandbox"), str)
        before = len(until(lambda: admin.calls(f"&key_id={key.id}")))
    away = tmp_path / "away"
    away.mkdir()
    for file in house.files():
        file.rename(away / file.name)
    with house.run() as (running, admin):
        assert isinstance(by_openai(running, key.secret, "sandbox"), str)
        assert refusal(by_openai(running, revoked.secret, "sandbox")) == (401, "invalid_api_key")
        assert until(lambda: admin.store()["state"], lambda state: state != "opening") == "gone"
        assert (admin.metric("fkproxy_store_up"), admin.metric("fkproxy_store_away_seconds") >= 0) == (0.0, True)
        for method, path, body in (
            ("POST", "/keys", {"pool": "p"}),
            ("POST", f"/keys/{key.id}/revoke", None),
            ("PATCH", "/pools/p", {"label": "x"}),
            ("GET", "/calls", None),
        ):
            told = admin.answer(method, path, body)
            assert (told.status, told.json()["error"]["code"]) == (503, "store_unavailable"), path
            assert int(told.headers["retry-after"]) >= 1
        assert ask(f"{running.url}/health").json()["status"] == "ok", "the store is not what calls need"
        assert isinstance(by_anthropic(running, key.secret, "sandbox"), str)
        assert not house.files(), "a lost database does not come back empty"
        for moved in away.iterdir():
            shutil.move(moved, house.state)
        opened(admin)
        rows = until(lambda: admin.calls(f"&key_id={key.id}"), lambda rows: len(rows) == before + 2)
        assert {row["status"] for row in rows} == {200}
        made = admin.key("p")
        assert isinstance(by_openai(running, made.secret, "sandbox"), str)
        assert admin.get("/audit/verify")["ok"]
        assert admin.metric("fkproxy_store_up") == 1.0


def test_a_database_that_is_deleted_is_missed_until_somebody_says_so(house: House) -> None:
    with house.run() as (running, admin):
        opened(admin).pool("p")
        key = admin.key("p")
        for path in house.files():
            path.unlink()
        assert until(lambda: admin.store()["state"], lambda state: state != "open") == "gone"
        assert isinstance(by_openai(running, key.secret, "sandbox"), str)
        assert admin.answer("POST", "/keys", {"pool": "p"}).status == 503
    with house.run() as (running, admin):
        assert until(lambda: admin.store()["state"], lambda state: state != "opening") == "gone"
        assert isinstance(by_openai(running, key.secret, "sandbox"), str)
    house.copy.unlink()
    with house.run() as (running, admin):
        opened(admin)
        assert refusal(by_openai(running, key.secret, "sandbox")) == (401, "invalid_api_key")
        assert isinstance(by_openai(running, KEY, "sandbox"), str), "no client has a key of its own"
        admin.pool("p")
        fresh = admin.key("p")
    with house.run() as (running, admin):
        assert isinstance(by_openai(running, fresh.secret, "sandbox"), str)
        rows = until(lambda: opened(admin).calls(f"&key_id={key.id}"))
        assert len(rows) == 2, "records that no store had taken are in the new one"


def test_a_backup_takes_the_place_of_the_database(house: House) -> None:
    with house.run() as (running, admin):
        opened(admin).pool("p")
        kept = admin.key("p")
        backup = Path(admin.post("/store/backup")["path"])
        lost = admin.key("p")
        assert isinstance(by_openai(running, lost.secret, "sandbox"), str)
        for path in house.files():
            path.unlink()
        until(lambda: admin.store()["state"], lambda state: state == "gone")
        fresh = house.database.with_name("put-back")
        shutil.copyfile(backup, fresh)
        fresh.rename(house.database)
        opened(admin)
        assert isinstance(by_openai(running, kept.secret, "sandbox"), str)
        assert refusal(by_openai(running, lost.secret, "sandbox")) == (401, "invalid_api_key")
        again = Key(admin.post(f"/keys/{kept.id}/rotate", {"overlap_s": 0}))
        assert isinstance(by_openai(running, again.secret, "sandbox"), str)
        assert house.copy.stat().st_mode & 0o777 == 0o600
        assert admin.get("/audit/verify")["ok"]
