"""The sums that are kept by the hour follow the rows."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fkproxy.storage import files
from fkproxy.storage.database import Database
from fkproxy.storage.schema import bring_up
from fkproxy.telemetry.record import CallRecord
from tests.storage.journal import bring_in
from tests.storage.test_calls_import import sums
from tests.storage.test_calls_rows import CALLS


def test_the_sums_in_the_store_are_those_of_its_rows(tmp_path: Path) -> None:
    files.prepare(tmp_path / "store.db")
    with asyncio.Runner() as runner:
        database = Database(f"sqlite:///{tmp_path}/store.db")
        runner.run(bring_up(database))

        @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
        @given(pieces=st.lists(st.lists(CALLS, max_size=15), min_size=1, max_size=3))
        def add(pieces: list[list[CallRecord]]) -> None:
            before = runner.run(sums(database))[0][0]
            for piece in pieces:
                runner.run(bring_in(database, tmp_path / "calls", piece))
            rows, hours = runner.run(sums(database))
            assert rows == hours
            assert rows[0] == before + sum(map(len, pieces))

        add()
        runner.run(database.close())
