"""Every client dialect towards every upstream dialect, case by case. Floor 4.

One process of this program answers as every vendor does (its sandbox serves all dialects); a second one, under test, has it as its
upstreams; a third one has it as an upstream that speaks OpenAI Responses only. No network is needed.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import msgspec

from fkproxy.dialects import DIALECTS
from fkproxy.model.errors import Unrepresentable
from fkproxy.selftest.asking import Client
from fkproxy.selftest.cases import CASES, Case, Refused, Wrong
from fkproxy.selftest.processes import serving

__all__ = ["Cell", "against", "as_table", "run"]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One case of one pair. `outcome`: ok, refused or FAILED; `detail` says why."""

    client: str
    upstream: str
    case: str
    outcome: str
    detail: str = ""


def run(command: Sequence[str], variables: Mapping[str, str]) -> Iterator[Cell]:
    """All pairs, each cell as it is done. Raises `NotReady`."""
    generous = {"APP_RATE_LIMIT__ENABLED": "false", "APP_CIRCUIT_BREAKER__FAILURE_THRESHOLD": "1000000"}
    with ExitStack() as stack:
        vendor = stack.enter_context(serving(command, variables, **generous))
        openai = {"OPENAI_API_KEY": vendor.key, "OPENAI_BASE_URL": f"{vendor.url}/v1"}
        others = {"GOOGLE_API_KEY": vendor.key, "APP_VERTEX__API_KEY_BASE_URL": vendor.url}
        others |= {"ANTHROPIC_API_KEY": vendor.key, "ANTHROPIC_BASE_URL": vendor.url}
        tested = stack.enter_context(serving(command, variables, **generous, **openai, **others))
        responses = stack.enter_context(serving(command, variables, **generous, **openai, APP_OPENAI__API="responses"))
        upstreams = (
            ("openai_chat", tested, "openai/sandbox"),
            ("openai_responses", responses, "openai/sandbox"),
            ("anthropic", tested, "anthropic/sandbox"),
            ("gemini", tested, "gemini/sandbox"),
        )
        for name in DIALECTS:
            for upstream, running, model in upstreams:
                client = Client(name, running.url, running.key)
                for case in CASES:
                    yield _cell(case, client, upstream, model, sandbox=True)


def against(url: str, key: str | None, models: Sequence[str]) -> Iterator[Cell]:
    """The same towards models of any running gateway, as far as it can be asked of a model that takes no orders. Raises `ValueError`."""
    for name in DIALECTS:
        for model in models:
            client = Client(name, url, key)
            for case in CASES:
                if not case.sandbox_only:
                    yield _cell(case, client, model, model, sandbox=False)


def _cell(case: Case, client: Client, upstream: str, model: str, *, sandbox: bool) -> Cell:
    outcome, detail = "ok", ""
    try:
        case.run(client, model, sandbox)
    except (Refused, Unrepresentable) as reason:
        outcome, detail = "refused", str(reason)
    except Wrong as reason:
        outcome, detail = "FAILED", str(reason)
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        outcome, detail = "FAILED", f"{type(error).__name__}: {error}"
    return Cell(client=client.dialect.name, upstream=upstream, case=case.name, outcome=outcome, detail=detail)


def as_table(cells: Sequence[Cell]) -> str:
    """For people: a block for each client dialect, cases down, upstreams across; what is not ok is told below."""
    upstreams = list(dict.fromkeys(cell.upstream for cell in cells))
    cases = list(dict.fromkeys(cell.case for cell in cells))
    found = {(cell.client, cell.upstream, cell.case): cell for cell in cells}
    width = max(len(case) for case in cases)
    lines: list[str] = []
    for client in dict.fromkeys(cell.client for cell in cells):
        lines.append(f"{'client: ' + client:<{width + 8}}" + "".join(f"{upstream:<18}" for upstream in upstreams))
        for case in cases:
            row = [found[client, upstream, case].outcome for upstream in upstreams]
            lines.append(f"  {case:<{width + 6}}" + "".join(f"{outcome:<18}" for outcome in row))
        lines.append("")
    told = [f"{cell.outcome}: {cell.client} -> {cell.upstream}, {cell.case}: {cell.detail}" for cell in cells if cell.outcome != "ok"]
    counts = {outcome: sum(1 for cell in cells if cell.outcome == outcome) for outcome in ("ok", "refused", "FAILED")}
    return "\n".join([*lines, *told, ", ".join(f"{count} {outcome}" for outcome, count in counts.items())])
