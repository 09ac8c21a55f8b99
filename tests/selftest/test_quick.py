"""The self-test: it passes for this program, and fails for one that does not work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fkproxy.selftest import quick


def test_this_program_passes_whatever_the_settings_of_the_host() -> None:
    variables = {**os.environ, "APP_SERVER__PORT": "nonsense", "GOOGLE_API_KEY": "k" * 39}
    steps = list(quick.run([sys.executable, "-m", "fkproxy"], variables))
    assert [(step.name, step.ok) for step in steps] == [
        (name, True) for name in ("start", "keys", "health", "models", "chat", "stream", "stop")
    ]


def test_a_program_that_ends_at_once_fails_with_its_own_words(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho out of paper >&2\nexit 7\n")
    program.chmod(0o755)
    (step,) = quick.run([str(program)], os.environ)
    assert (step.name, step.ok) == ("start", False)
    assert "out of paper" in step.detail


def test_a_program_that_is_not_there_fails(tmp_path: Path) -> None:
    (step,) = quick.run([str(tmp_path / "none")], os.environ)
    assert not step.ok
    assert "No such file" in step.detail
