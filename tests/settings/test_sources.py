"""Where a value comes from, which place wins, and names that mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fkproxy.settings import LoadedSettings, Problem, SettingsError, describe, load
from fkproxy.settings.sources import RETIRED

KEY = "a-key-from-the-environment"
OTHER = "a-key-from-somewhere-else"


def written(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def key_and_source(loaded: LoadedSettings) -> tuple[str | None, str]:
    key = loaded.settings.auth.master_key
    (row,) = [row for row in describe(loaded) if row.name == "APP_AUTH__MASTER_KEY"]
    return key.get_secret_value() if key is not None else None, row.source


def problems(environ: dict[str, str], env_file: Path | None = None) -> list[Problem]:
    with pytest.raises(SettingsError) as caught:
        load(env_file, environ)
    return caught.value.problems


def test_the_environment_wins_over_the_file_and_that_over_the_credentials(tmp_path: Path) -> None:
    env_file = Path(written(tmp_path / "env", f"APP_AUTH__MASTER_KEY={OTHER}\n"))
    written(tmp_path / "app_auth__master_key", "a-key-from-a-credential\n")
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert key_and_source(load(env_file, {**credentials, "APP_AUTH__MASTER_KEY": KEY})) == (KEY, "APP_AUTH__MASTER_KEY")
    assert key_and_source(load(env_file, credentials)) == (OTHER, f"APP_AUTH__MASTER_KEY in {env_file}")
    assert key_and_source(load(None, credentials)) == ("a-key-from-a-credential", "credential app_auth__master_key")
    assert key_and_source(load(None, {})) == (None, "default")


def test_a_blank_value_is_as_good_as_none(tmp_path: Path) -> None:
    env_file = Path(written(tmp_path / "env", f"APP_AUTH__MASTER_KEY={OTHER}\n"))
    blank = {"APP_AUTH__MASTER_KEY": "  ", "APP_AUTH__MASTER_KEY_FILE": "", "APP_SERVER__PORT": "", "GOOGLE_API_KEY": " "}
    loaded = load(env_file, blank)
    assert key_and_source(loaded)[0] == OTHER
    assert loaded.settings.server.port == 4000
    assert loaded.settings.vertex.api_key is None


@pytest.mark.parametrize(
    ("names", "section", "field"),
    [
        (["APP_VERTEX__API_KEY", "APP__VERTEX__API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"], "vertex", "api_key"),
        (["APP_OPENAI__API_KEY", "APP__OPENAI__API_KEY", "OPENAI_API_KEY"], "openai", "api_key"),
        (["APP_VERTEX__PROJECT_ID", "APP__VERTEX__PROJECT_ID", "GOOGLE_CLOUD_PROJECT"], "vertex", "project_id"),
        (["APP_VERTEX__REGION", "APP__VERTEX__REGION", "GOOGLE_CLOUD_LOCATION"], "vertex", "region"),
        (["APP_OPENAI__BASE_URL", "APP__OPENAI__BASE_URL", "OPENAI_BASE_URL"], "openai", "base_url"),
    ],
)
def test_the_stronger_name_of_a_setting_wins(names: list[str], section: str, field: str) -> None:
    values = [f"http://value-{i}" if field == "base_url" else f"value-{i}" for i in range(len(names))]
    given = dict(zip(names, values, strict=True))
    for name, expected in zip(names, values, strict=True):
        found: Any = getattr(getattr(load(environ=given).settings, section), field)
        assert (found if isinstance(found, str) else found.get_secret_value()) == expected
        del given[name]


@pytest.mark.parametrize(
    "name", ["APP_AUTH__MASTER_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY", "APP_OPENAI__EXTRA_HEADERS"]
)
def test_every_secret_can_stand_in_a_file(tmp_path: Path, name: str) -> None:
    text = "X-Team: blue-and-green" if name.endswith("HEADERS") else KEY
    path = written(tmp_path / "secret", f"{text}\r\n")
    from_file, from_variable = load(environ={f"{name}_FILE": path}), load(environ={name: text})
    assert from_file.settings == from_variable.settings
    assert f"{name}_FILE, file {path}" in {row.source for row in describe(from_file)}


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_secret_that_others_can_read_is_reported(tmp_path: Path, mode: int, warned: bool) -> None:
    path = written(tmp_path / "key", KEY, mode)
    found = [warning for warning in load(environ={"APP_AUTH__MASTER_KEY_FILE": path}).warnings if path in warning.message]
    assert [warning.hint for warning in found] == ([f"chmod 600 {path}"] if warned else [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: no such file"),
        (b"\n", "is empty"),
        (b"k" * 65537, "is larger than 65536 bytes"),
        (b"\xff" * 16, "not UTF-8"),
    ],
)
def test_a_secret_file_that_cannot_be_used_says_which_and_why(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    (problem,) = problems({"APP_AUTH__MASTER_KEY_FILE": str(path)})
    assert problem.name == "APP_AUTH__MASTER_KEY_FILE"
    assert str(path) in problem.message
    assert said in problem.message
    assert problem.hint


def test_a_secret_and_its_file_together_are_refused(tmp_path: Path) -> None:
    (problem,) = problems({"GOOGLE_API_KEY": KEY, "GOOGLE_API_KEY_FILE": written(tmp_path / "key", OTHER)})
    assert problem == Problem("GOOGLE_API_KEY", "GOOGLE_API_KEY and GOOGLE_API_KEY_FILE are both set", "remove one of them")


def test_what_is_not_secret_has_no_file_form(tmp_path: Path) -> None:
    (problem,) = problems({"APP_SERVER__PORT_FILE": written(tmp_path / "port", "4001")})
    assert problem.hint == "did you mean APP_SERVER__PORT?"


def test_a_credential_directory_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (problem,) = problems({"CREDENTIALS_DIRECTORY": str(tmp_path / "absent")})
    assert problem.name == "CREDENTIALS_DIRECTORY"
    assert "no such file" in problem.message


def test_a_credential_for_a_path_setting_is_the_path_itself(tmp_path: Path) -> None:
    path = written(tmp_path / "google_application_credentials", "{}")
    loaded = load(environ={"CREDENTIALS_DIRECTORY": str(tmp_path), "GOOGLE_API_KEY": KEY})
    assert str(loaded.settings.vertex.credentials_file) == path


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("APP_SERVER__PROT", "APP_SERVER__PORT"),
        ("APP_SERVER_PORT", "APP_SERVER__PORT"),
        ("app_server__port", "APP_SERVER__PORT"),
        ("APP_AUTH__MASTERKEY_FILE", "APP_AUTH__MASTER_KEY_FILE"),
        ("APP_RATELIMIT__CAPACITY", "APP_RATE_LIMIT__CAPACITY"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_the_nearest_one(name: str, near: str) -> None:
    (problem,) = problems({name: "1"})
    assert problem == Problem(name, "there is no such setting", f"did you mean {near}?")


def test_a_name_near_nothing_is_refused_too(tmp_path: Path) -> None:
    env_file = Path(written(tmp_path / "env", "APP_ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ=1\n"))
    (problem,) = problems({}, env_file)
    assert problem.name.endswith(f" in {env_file}")
    assert "did you mean" not in problem.hint


def test_other_names_are_the_environments_own_business_but_are_told_of_in_the_file(tmp_path: Path) -> None:
    env_file = Path(
        written(tmp_path / "env", "HTTPS_PROXY=http://proxy.example:3128\nno_proxy=*\nHttp_Proxy=x\nGOGLE_API_KEY=hunter2secret\n")
    )
    loaded = load(env_file, {"PATH": "/bin"})
    told = [warning.name for warning in loaded.warnings if warning.message == "is not a setting"]
    assert told == [f"Http_Proxy in {env_file}", f"GOGLE_API_KEY in {env_file}"]
    assert "hunter2" not in str(loaded.warnings)


def test_an_old_spelling_works_and_is_reported() -> None:
    loaded = load(environ={"APP__SERVER__PORT": "4001"})
    assert loaded.settings.server.port == 4001
    assert Problem("APP__SERVER__PORT", "is an old spelling that still works", "write APP_SERVER__PORT") in loaded.warnings
    assert load(environ={"APP__SERVER__PORT": "4001", "APP_SERVER__PORT": "4002"}).settings.server.port == 4002


@pytest.mark.parametrize("name", RETIRED)
def test_a_retired_name_is_reported_and_does_not_stop_the_start(name: str) -> None:
    (warning,) = [warning for warning in load(environ={name: "true"}).warnings if warning.name == name]
    assert warning.message == "retired: has no effect"
    assert warning.hint == RETIRED[name]
