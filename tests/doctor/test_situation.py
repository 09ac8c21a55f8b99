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


@pytest.mark.parametrize(
    "named", [{"OPENAI_BASE_URL": "{}/v1", "OPENAI_API_KEY": "k"}, {"GOOGLE_GEMINI_BASE_URL": "{}", "GEMINI_API_KEY": "k"}]
)
def test_what_leads_the_clients_of_this_shell_here_is_no_setting(
    named: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway would call itself, and a vendor would be shown the key that is for the gateway."""
    monkeypatch.setattr(situation, "ENV_FILE", tmp_path / "env")
    variables = {"APP_SERVER__PORT": "4321", **{name: value.format("http://127.0.0.1:4321") for name, value in named.items()}}
    found = situation.look(None, variables)
    assert found.problems == ()
    assert found.loaded is not None
    assert found.loaded.providers == ()
    assert found.variables == variables


def test_what_is_wrong_is_told_whole_also_where_the_address_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(situation, "ENV_FILE", tmp_path / "env")
    found = situation.look(None, {"APP_SERVER__PORT": "x", "OPENAI_API_KEY": "not one"})
    assert {problem.name for problem in found.problems} == {"APP_SERVER__PORT", "OPENAI_API_KEY"}
