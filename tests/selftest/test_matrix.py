"""Every client dialect towards every upstream dialect: nothing fails, and only what is known to be impossible is refused."""

from __future__ import annotations

import os
import sys

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.selftest.cases import CASES
from fkproxy.selftest.matrix import Cell, against, as_table, run
from fkproxy.selftest.processes import NotReady, serving

COMMAND = [sys.executable, "-m", "fkproxy"]


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return list(run(COMMAND, os.environ))


def test_every_pair_and_every_case_is_tried(cells: list[Cell]) -> None:
    assert {(cell.client, cell.upstream) for cell in cells} == {(client, upstream) for client in DIALECTS for upstream in DIALECTS}
    assert len(cells) == len(DIALECTS) ** 2 * len(CASES)


def test_nothing_fails_and_the_refusals_have_a_reason(cells: list[Cell]) -> None:
    assert [cell for cell in cells if cell.outcome == "FAILED"] == []
    refused = [cell for cell in cells if cell.outcome == "refused"]
    assert {(cell.case, "openai_responses" in (cell.client, cell.upstream)) for cell in refused} == {("stop", True)}
    assert all("no stop sequences" in cell.detail for cell in refused)


def test_the_table_has_a_block_for_each_client_and_the_sum(cells: list[Cell]) -> None:
    table = as_table(cells)
    assert all(f"client: {client}" in table for client in DIALECTS)
    assert table.splitlines()[-1].endswith("0 FAILED")


def test_a_running_gateway_can_be_tried_and_is_found_wanting() -> None:
    with serving(COMMAND, os.environ, APP_RATE_LIMIT__ENABLED="false") as running:
        cells = list(against(running.url, running.key, ["sandbox", "sandbox?status=500"]))
    found = {(cell.upstream, cell.case): cell.outcome for cell in cells if cell.client == "openai_chat"}
    assert found["sandbox", "text"] == found["sandbox", "stream"] == found["sandbox", "usage"] == "ok"
    assert found["sandbox", "parallel tools"] == "FAILED", "it calls no tool unless it is told to"
    assert {outcome for (model, _), outcome in found.items() if "?" in model} == {"FAILED"}


def test_a_gateway_that_is_not_there_fails_every_case() -> None:
    assert {cell.outcome for cell in against("http://127.0.0.1:1", None, ["m"])} == {"FAILED", "refused"}, "what a dialect cannot even ask"


def test_a_program_that_does_not_start_is_told() -> None:
    with pytest.raises(NotReady, match="No such file"):
        list(run(["/nonexistent"], os.environ))
