"""One door over two databases: transactions, deadlines, and failures in our words."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from fkproxy.storage.database import Database
from fkproxy.storage.values import Conflict

USES = "SELECT count(*) FROM key_uses"


async def put(database: Database, key_id: str) -> None:
    async with database.begin() as connection:
        await connection.execute(text("INSERT INTO key_uses VALUES (:id, 1.5)"), {"id": key_id})


async def count(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(text(USES))).scalar_one())


async def test_what_was_committed_is_there(database: Database) -> None:
    await put(database, "k1")
    assert await count(database) == 1


async def test_what_was_not_committed_is_not(database: Database) -> None:
    async def fail() -> None:
        async with database.begin() as connection:
            await connection.execute(text("INSERT INTO key_uses VALUES ('k1', 1.5)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await count(database) == 0


async def test_a_row_that_is_there_already_is_a_conflict_that_quotes_nothing(database: Database) -> None:
    await put(database, "a-name-in-a-row")
    with pytest.raises(Conflict) as caught:
        await put(database, "a-name-in-a-row")
    assert "a-name-in-a-row" not in str(caught.value)
    assert caught.value.__suppress_context__
