"""Figures for readers: tables, what the machine was, how it compares with the last committed result. Pure but for `machine`."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.goals import GOALS, Goal, Measured, Value, evaluate

__all__ = ["BEGIN", "END", "comparison", "insert", "missed", "result", "section"]

BEGIN, END = "<!-- made by bench.run: begin -->", "<!-- made by bench.run: end -->"
SUBJECTS = ("direct", "nginx", "bare relay", "same dialect", "other dialect", "LiteLLM", "Portkey")
FIGURES = {
    "requests_per_s": "requests/s, saturated",
    "cpu_us_per_request": "CPU µs/request, saturated",
    "p50_ms": "latency p50, ms",
    "p99_ms": "latency p99, ms",
    "first_byte_p50_ms": "first byte of a stream p50, ms",
    "first_byte_p99_ms": "first byte of a stream p99, ms",
    "cpu_us_per_event": "CPU µs/streamed event",
    "cpu_ms_per_50_kb_prompt": "CPU ms, prompt of 50 KB",
    "cpu_ms_per_200_kb_prompt": "CPU ms, prompt of 200 KB",
    "cpu_ms_per_800_kb_prompt": "CPU ms, prompt of 800 KB",
    "start_s": "start to ready, s",
    "idle_mb": "memory idle, MB",
    "kb_per_open_stream": "memory KB/open stream",
}
FRESH = {"nginx": "fresh, nginx", "bare relay": "fresh, bare relay", "same dialect": "fresh", "other dialect": "fresh, other dialect"}
"""Subject → the one of its kind that was started for what a start and an open stream cost."""


def result(measured: Measured, *, settings: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
    """Everything, for a file."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "versions": dict(versions),
        "settings": dict(settings),
        "measured": {
            subject: {name: [round(value, 5) for value in values] for name, values in figures.items()}
            for subject, figures in measured.items()
        },
    }


def machine() -> dict[str, str]:
    """What it ran on."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "CPU": model[1] if model else platform.processor(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release().partition("-")[0],
    }


def versions(root: Path, binary: Path) -> dict[str, str]:
    """Of what takes part, peers apart."""
    lock = dict(re.findall(r"^([\w.-]+)==(\S+)", (root / "requirements" / "runtime.txt").read_text(), re.MULTILINE))
    nginx = subprocess.run([shutil.which("nginx") or "nginx", "-v"], capture_output=True, text=True).stderr
    own = subprocess.run([str(binary), "version"], capture_output=True, text=True).stdout.split()
    return {
        "fkllmproxy": own[-1] if own else "?",
        "python": sys.version.split()[0],
        "granian": lock["granian"],
        "uvloop": lock["uvloop"],
        "nginx": nginx.strip().rpartition("/")[2],
    }


def section(found: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    measured: Measured = found["measured"]
    settings = found["settings"]
    machine_, versions_ = found["machine"], found["versions"]
    facts = f"{found['date']}, {machine_['CPU']}, {machine_['cores']} cores, Linux {machine_['kernel']}; "
    facts += ", ".join(f"{name} {version}" for name, version in versions_.items())
    facts += f"; {settings['rounds']} rounds of {settings['seconds']:g} s, {settings['rows']:,} rows in the full log; "
    facts += f"others took {settings['others_percent']} % of the processor meanwhile."
    return "\n".join([facts, "", goal_table(measured), "", subject_table(measured)])


def goal_table(measured: Measured) -> str:
    """One row for each goal."""
    lines = ["| | goal | measured | range | |", "|---|---|---|---|---|"]
    for goal in GOALS:
        value = evaluate(goal, measured)
        told = f"{_number(value.median)} | {_number(value.least)} to {_number(value.most)}" if value else "– | –"
        lines.append(f"| {goal.name} | {goal.bound} {goal.unit} | {told} | {goal.verdict(value)} |")
    return "\n".join(lines)


def subject_table(measured: Measured) -> str:
    """One column for each subject that was there: medians."""
    there = [name for name in SUBJECTS if name in measured]
    lines = ["| | " + " | ".join(there) + " |", "|---" * (len(there) + 1) + "|"]
    for figure, told in FIGURES.items():
        cells = []
        for subject in there:
            values = measured[subject].get(figure) or measured.get(FRESH.get(subject, ""), {}).get(figure)
            cells.append(_number(Value.of(values).median) if values else "–")
        if set(cells) != {"–"}:
            lines.append(f"| {told} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def missed(found: Mapping[str, Any]) -> list[Goal]:
    """Goals that were measured and not met."""
    return [goal for goal in GOALS if goal.verdict(evaluate(goal, found["measured"])) == "missed"]


def comparison(found: Mapping[str, Any], committed: Mapping[str, Any]) -> str:
    """Each goal's figure beside the committed one, and how many times as much it is."""
    lines = [f"| beside the result of {committed['date']} | now | then | × |", "|---|---|---|---|"]
    for goal in GOALS:
        now, then = evaluate(goal, found["measured"]), evaluate(goal, committed["measured"])
        if now and then:
            times = f"{now.median / then.median:.2f}" if then.median > 0 else "–"
            lines.append(f"| {goal.name}, {goal.unit} | {_number(now.median)} | {_number(then.median)} | {times} |")
    return "\n".join(lines)


def insert(document: str, text: str) -> str:
    """The document with the text between its marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or END not in rest:
        raise ValueError(f"the document has no {BEGIN} with a {END} after it")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _number(value: float) -> str:
    """Three digits that count, or all of a large one."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
