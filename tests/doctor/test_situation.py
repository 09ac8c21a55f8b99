"""What the doctor looks at."""

from __future__ import annotations

from pathlib import Path

import pytest

from fkproxy.doctor import situation


def test_settings_in_a_folder_that_only_root_may_look_into_are_the_services_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(situation, "ENV_FILE", tmp_path / "env")
    monkeypatch.setattr(Path, "exists", refused)
    found = situation.look(None, {"APP_SERVER__PORT": "4321"})
    assert found.env_file == tmp_path / "env"
    assert [problem.name for problem in found.problems] == [str(tmp_path / "env")]
