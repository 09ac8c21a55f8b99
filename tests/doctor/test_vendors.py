"""What only one provider needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fkproxy.doctor import vendors
from tests.doctor.patients import RUNNING, patient, told

ACCOUNT = json.dumps({"type": "authorized_user", "client_id": "x", "client_secret": "y", "refresh_token": "z"})


def looked(**given: object) -> list[tuple[str, str]]:
    return [found for check in vendors.CHECKS.values() for found in told(check(patient(**given)))]  # type: ignore[arg-type]  # as in patient


def test_a_credentials_file_that_the_services_user_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "account.json"
    file.write_text(ACCOUNT)
    file.chmod(0o600)
    settings = {"GOOGLE_APPLICATION_CREDENTIALS": str(file), "APP_VERTEX__PROJECT_ID": "project"}
    assert ("ok", f"{file} is for its owner only") in looked(settings=settings)
    found = looked(settings=settings, service={**RUNNING, "DynamicUser": "yes"})
    assert ("error", f"the service's user cannot read {file}") in found
    monkeypatch.setattr(vendors, "ETC", tmp_path)
    found = looked(settings=settings, service={**RUNNING, "DynamicUser": "yes"})
    assert [severity for severity, _ in found] == ["ok", "note"], "of a file in its own folder the service has a copy"


def test_the_command_line_tool(tmp_path: Path) -> None:
    assert looked() == [("note", "the Codex CLI is not installed; nothing here needs it")]
    tool = tmp_path / "codex"
    tool.write_text("#!/bin/sh\necho codex-cli 0.169.0\n")
    tool.chmod(0o755)
    assert looked(variables={"PATH": str(tmp_path)}) == [("ok", f"{tool}: codex-cli 0.169.0")]
    tool.write_text("#!/nonexistent\n")
    assert looked(variables={"PATH": str(tmp_path)})[0][0] == "warning"
