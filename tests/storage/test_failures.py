"""What drivers raise, in our words."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from fkproxy.storage.database import Database
from fkproxy.storage.failures import MESSAGES, told
from fkproxy.storage.values import StoreUnavailable

POSTGRESQL = {
    "08006": "unreachable",
    "25006": "read_only",
    "28P01": "unreachable",
    "3D000": "unreachable",
    "40001": "locked",
    "40P01": "locked",
    "53100": "full",
    "53300": "unreachable",
    "55P03": "locked",
    "57014": "timeout",
    "57P01": "unreachable",
    "25P03": "timeout",
    "XX001": "broken",
    "22003": "broken",
}
SQLITE = {
    sqlite3.SQLITE_BUSY_SNAPSHOT: "locked",
    sqlite3.SQLITE_LOCKED_SHAREDCACHE: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_IOERR_SHMSIZE: "full",
    sqlite3.SQLITE_IOERR_WRITE: "broken",
    sqlite3.SQLITE_READONLY_DIRECTORY: "read_only",
    sqlite3.SQLITE_READONLY_DBMOVED: "gone",
    sqlite3.SQLITE_CORRUPT_INDEX: "broken",
    sqlite3.SQLITE_NOTADB: "broken",
    sqlite3.SQLITE_INTERRUPT: "timeout",
}


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_every_state_of_the_server_has_a_reason(database: Database) -> None:
    found = {}
    for state in POSTGRESQL:
        statement = f"DO $$ BEGIN RAISE EXCEPTION 'canary' USING ERRCODE = '{state}'; END $$"
        with pytest.raises(StoreUnavailable) as caught:
            await run(database, statement)
        assert "canary" not in str(caught.value)
        assert caught.value.code == state
        found[state] = caught.value.reason
    assert found == POSTGRESQL


async def run(database: Database, statement: str) -> None:
    async with database.begin() as connection:
        await connection.exec_driver_sql(statement)


@pytest.mark.parametrize("code", SQLITE)
def test_every_code_of_sqlite_has_a_reason(code: int) -> None:
    error = sqlite3.OperationalError("canary")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_NAME"
    result = told(OperationalError("SELECT 'canary'", {"canary": 1}, error))
    assert isinstance(result, StoreUnavailable)
    assert result.reason == SQLITE[code]
    assert str(result) == f"{MESSAGES[result.reason]} (SQLITE_NAME)"


@pytest.mark.parametrize(
    ("error", "reason"), [(ConnectionRefusedError(), "unreachable"), (TimeoutError(), "timeout"), (FileNotFoundError(), "unreachable")]
)
def test_what_the_system_says_of_a_server(error: OSError, reason: str) -> None:
    result = told(error)
    assert isinstance(result, StoreUnavailable)
    assert result.reason == reason
