"""What a check finds. Floor 4."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Finding", "Severity", "as_json", "as_table", "error", "exit_code", "note", "ok", "warning"]

Severity = Literal["ok", "note", "warning", "error"]

_EXIT_CODES: dict[Severity, int] = {"ok": 0, "note": 0, "warning": 1, "error": 2}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `fix` says what to do, "" where there is nothing to. Neither holds a secret."""

    check: str
    severity: Severity
    message: str
    fix: str = ""


def ok(check: str, message: str) -> Finding:
    """It is as it must be."""
    return Finding(check=check, severity="ok", message=message)


def note(check: str, message: str, fix: str = "") -> Finding:
    """Worth knowing; nothing is wrong."""
    return Finding(check=check, severity="note", message=message, fix=fix)


def warning(check: str, message: str, fix: str) -> Finding:
    """It works, and may not for long."""
    return Finding(check=check, severity="warning", message=message, fix=fix)


def error(check: str, message: str, fix: str) -> Finding:
    """Something does not work."""
    return Finding(check=check, severity="error", message=message, fix=fix)


def exit_code(findings: list[Finding]) -> int:
    """0 nothing to do, 1 warnings, 2 errors."""
    return max((_EXIT_CODES[finding.severity] for finding in findings), default=0)


def as_table(findings: list[Finding]) -> str:
    """For people: one line each, the fix below it, the sum at the end."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.severity:<7}  {finding.check:<{width}}  {finding.message}")
        if finding.fix:
            lines.append(f"{'':<7}  {'':<{width}}  -> {finding.fix}")
    counts = {severity: sum(1 for finding in findings if finding.severity == severity) for severity in ("error", "warning")}
    lines.append(", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items()))
    return "\n".join(lines)


def as_json(findings: list[Finding]) -> str:
    """For programs: `{"exit_code", "findings": [{"check", "severity", "message", "fix"}]}`."""
    return msgspec.json.format(msgspec.json.encode({"exit_code": exit_code(findings), "findings": findings}), indent=2).decode()
