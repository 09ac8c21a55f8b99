"""What an instance told, as lines for people. Floor 4. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["Column", "explanation_lines", "fields", "item_lines", "lines_of", "moment", "plain", "upstream_lines", "when"]

Column = tuple[str, Callable[[Mapping[str, Any]], str]]
"""A heading, and what stands below it for one row."""


def fields(**names: str) -> list[Column]:
    """Columns that show a field each: heading in lower case → the field's name; `a.b` looks inside."""

    def column(heading: str, name: str) -> Column:
        return heading.replace("_", " ").upper(), lambda row: _shown(_inside(row, name))

    return [column(heading, name) for heading, name in names.items()]


def _inside(row: Any, name: str) -> Any:
    for part in name.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return row


def _shown(value: Any) -> str:
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6f}".rstrip("0").rstrip(".")
        case list():
            return ",".join(map(str, value))
        case dict():
            return ",".join(f"{name}={_shown(inner)}" for name, inner in value.items()) or "-"
        case _:
            return str(value)


def lines_of(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A table; the headings alone where there are no rows."""
    yield from _table([tuple(heading for heading, _ in columns), *(tuple(show(row) for _, show in columns) for row in rows)])


def when(name: str, unit_s: float = 1.0) -> Callable[[Mapping[str, Any]], str]:
    """A column's content: the unix time in this field as UTC. `unit_s`: what it is counted in."""

    def show(row: Mapping[str, Any]) -> str:
        at = _inside(row, name)
        return moment(at * unit_s) if at else "-"

    return show


def moment(at_s: float) -> str:
    """Unix seconds as UTC, and says so; what commands take as a time again."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at_s))


def plain(text: str) -> str:
    """What may go to a terminal. Models are called whatever clients say, and some of what they say steers it."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def item_lines(found: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """One thing with all its fields, each on a line; what it holds stands below it, further in."""
    for name, value in found.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from item_lines(value, f"{indent}  ")
        elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
            yield f"{indent}{name}:"
            for each in value:
                first, *rest = item_lines(each, f"{indent}    ")
                yield from (f"{indent}  - {first.lstrip()}", *rest)
        elif unit_s := _unit_s_of_time(name, value):
            yield f"{indent}{name.rpartition('_')[0]}: {moment(value * unit_s)}"
        else:
            yield f"{indent}{name}: {_shown(value)}"


_LONG_AGO_S = 1e9
"""Seconds above it are a time, below it a duration."""


def _unit_s_of_time(name: str, value: Any) -> float | None:
    """What a field that holds a time counts in; None for any other one."""
    if isinstance(value, (int, float)):
        for suffix, unit_s in (("_s", 1.0), ("_ms", 1e-3)):
            if name.endswith(suffix) and value * unit_s > _LONG_AGO_S:
                return unit_s
    return None


def upstream_lines(upstreams: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A table for people; models that are kept out stand below their upstream."""
    rows: list[tuple[str, ...]] = [("UPSTREAM", "STATE", "BREAKER", "AGAIN IN", "FAILURES", "UNDER WAY", "LAST ERROR")]
    for each in upstreams:
        wait_s = each["retry_after_s"]
        again = "when resumed" if wait_s is None else f"{wait_s:g} s" if wait_s else "-"
        state = f"{each['state']} ({each['cause']})" if each["cause"] else each["state"]
        rows.append(
            (
                each["key"],
                state,
                each["breaker"],
                again,
                str(each["consecutive_failures"]),
                str(each["in_flight"]),
                each["last_error"] or "-",
            )
        )
        for model in each["models"]:
            held = f"{model['state']} ({model['cause']})"
            rows.append((f"  {model['model_id']}", held, "", f"{model['retry_after_s']:g} s", "", "", ""))
    yield from _table(rows)


def explanation_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What happened to one call, for people."""
    yield f"{found['request_id']}: {found['route']} {found['status']}{' ' + found['error_code'] if found.get('error_code') else ''}"
    asked, got = found.get("model_requested"), found.get("model_id")
    yield f"asked for {asked}, {found.get('attempts', 0)} attempts, {found.get('duration_ms', 0):g} ms in all"
    rows: list[tuple[str, ...]] = [("UPSTREAM", "MODEL", "VERDICT", "REASON", "HTTP", "TOOK", "AGAIN IN")]
    for each in found["candidates"]:
        name = f"{each['provider_key']}/{each['credential']}" if each.get("credential") else each["provider_key"]
        took, wait = each.get("duration_ms"), each.get("retry_after_s")
        rows.append(
            (
                name,
                each.get("model_id", got or "-"),
                each["verdict"].replace("_", " "),
                each.get("reason") or "-",
                str(each.get("upstream_status") or "-"),
                f"{took:g} ms" if took is not None else "-",
                f"{wait:g} s" if wait is not None else "-",
            )
        )
    yield from _table(rows)
    for name in ("notes", "losses"):
        if found.get(name):
            yield f"{name}: {', '.join(found[name])}"
    if found.get("waited_ms"):
        yield f"waited: {found['waited_ms']:g} ms"
    if found.get("reasoning_requested") or found.get("reasoning_applied"):
        yield f"thinking: asked for {found.get('reasoning_requested') or '-'}, applied {found.get('reasoning_applied') or '-'}"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
