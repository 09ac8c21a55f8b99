"""All of it together: every problem at once, what `check` shows, and what the process was given."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fkproxy.settings import SettingsError, describe, load, successor_variables

SECRET = "hunter2-hunter2-hunter2"


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("APP_LOG__LEVEL=loud\n")
    environ = {
        "APP_SERVER__PORT": "70000",
        "APP_SERVER__PROT": "1",
        "OPENAI_API_KEY_FILE": "/nonexistent",
        "APP_CORS__ENABLED": "true",
        "HTTPS_PROXY": "socks5://proxy.example",
        "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent.json",
    }
    with pytest.raises(SettingsError) as caught:
        load(env_file, environ)
    assert {problem.name for problem in caught.value.problems} == {
        "OPENAI_API_KEY_FILE",
        "APP_SERVER__PROT",
        "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY",
        "APP_SERVER__PORT",
        "APP_LOG__LEVEL",
        "APP_CORS__ALLOWED_ORIGINS",
        "GOOGLE_APPLICATION_CREDENTIALS",
    }
    assert all(problem.name in str(caught.value) for problem in caught.value.problems)


def test_what_a_broken_file_may_have_said_is_not_missed(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text(f"export APP_AUTH__MASTER_KEY={SECRET}\n")
    with pytest.raises(SettingsError) as caught:
        load(env_file, {"APP_SERVER__HOST": "0.0.0.0", "APP_SERVER__PORT": "x"})
    assert [problem.name for problem in caught.value.problems] == [f"{env_file}:1", "APP_SERVER__PORT"]
    with pytest.raises(SettingsError) as caught:
        load(None, {"APP_SERVER__HOST": "0.0.0.0", "APP_AUTH__MASTER_KEY_FILE": str(tmp_path / "absent")})
    assert [problem.name for problem in caught.value.problems] == ["APP_AUTH__MASTER_KEY_FILE"]


def settings_in(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if not name.startswith("FKLLMPROXY_")}


def test_who_takes_over_gets_what_the_copy_of_the_environment_file_says_now(tmp_path: Path) -> None:
    copy = tmp_path / "env"
    copy.write_text(f"APP_AUTH__MASTER_KEY={SECRET}\nAPP_LOG__LEVEL=debug\n")
    given = {"RUNTIME_DIRECTORY": str(tmp_path), "APP_SERVER__PORT": "4321"}
    environment = load(environ={**given, "APP_AUTH__MASTER_KEY": SECRET, "APP_LOG__LEVEL": "debug"}).environment
    copy.write_text(f"APP_AUTH__MASTER_KEY={SECRET}-2\n")
    now = successor_variables(environment)
    assert settings_in(now) == {**given, "APP_AUTH__MASTER_KEY": f"{SECRET}-2"}
    copy.unlink()
    assert settings_in(successor_variables(environment)) == given
    # Removed before the next one looked.
    assert settings_in(successor_variables(load(environ=now).environment)) == given


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (b"export APP_AUTH__MASTER_KEY=hunter2\n", "/etc/fkllmproxy/env:2"),
        (b"APP_AUTH__MASTER_KEY='hunter2\n", "/etc/fkllmproxy/env:2"),
        (b"APP_AUTH__MASTER_KEY=hunter2\xff\n", "/etc/fkllmproxy/env:2"),
        (None, "{copy}"),
    ],
)
def test_a_copy_of_the_environment_file_that_says_less_than_it_should_starts_nobody(tmp_path: Path, line: bytes | None, place: str) -> None:
    given, copy = {"RUNTIME_DIRECTORY": str(tmp_path)}, tmp_path / "env"
    environment = load(environ=given).environment
    if line is None:
        copy.mkdir()
    else:
        copy.write_bytes(b"# \xff\n" + line)
    with pytest.raises(SettingsError) as told:
        successor_variables(environment)
    with pytest.raises(SettingsError) as told_at_a_start:
        load(environ=given)
    assert [problem.name for problem in told.value.problems] == [place.format(copy=copy)]
    assert told.value.problems == told_at_a_start.value.problems
    assert "hunter2" not in str(told.value)


def test_what_rests_on_a_wrong_value_is_not_called_wrong_too() -> None:
    environ = {
        "APP_AUTH__MASTER_KEY": "short",
        "APP_SERVER__HOST": "0.0.0.0",
        "APP_OPENAI__BASE_URL": "nowhere",
        "APP_SANDBOX__ENABLED": "no",
    }
    with pytest.raises(SettingsError) as caught:
        load(environ=environ)
    assert [problem.name for problem in caught.value.problems] == ["APP_AUTH__MASTER_KEY", "APP_OPENAI__BASE_URL"]


def test_check_shows_values_sources_and_defaults_and_no_part_of_a_secret(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(f"{SECRET}\n")
    key.chmod(0o600)
    environ = {
        "APP_AUTH__MASTER_KEY": SECRET,
        "GOOGLE_API_KEY_FILE": str(key),
        "OPENAI_API_KEY": SECRET,
        "APP_OPENAI__EXTRA_HEADERS": f"X-Team: {SECRET}, X-Run: {SECRET}",
        "APP_OPENAI__MODELS": "gpt-*,o3",
        "APP_TIMEOUT__SILENCE_SECS": "2.50",
    }
    loaded = load(environ=environ)
    rows = {row.name: (row.value, row.source, row.default, row.unit) for row in describe(loaded)}
    masked = f"set ({len(SECRET)} characters)"
    assert rows["APP_AUTH__MASTER_KEY"] == (masked, "APP_AUTH__MASTER_KEY", "-", None)
    assert rows["APP_AUTH__REQUIRE_AUTH"] == ("true", "implied", "false", None)
    assert rows["APP_VERTEX__API_KEY"] == (masked, f"GOOGLE_API_KEY_FILE, file {key}", "-", None)
    assert rows["APP_OPENAI__API_KEY"] == (masked, "OPENAI_API_KEY", "-", None)
    assert rows["APP_OPENAI__EXTRA_HEADERS"] == (f"X-Team: {masked}, X-Run: {masked}", "APP_OPENAI__EXTRA_HEADERS", "-", None)
    assert rows["APP_OPENAI__MODELS"] == ("gpt-*,o3", "APP_OPENAI__MODELS", "*", None)
    assert rows["APP_TIMEOUT__SILENCE_SECS"] == ("2.5", "APP_TIMEOUT__SILENCE_SECS", "120", "seconds")
    assert rows["APP_TIMEOUT__TOTAL_SECS"] == ("600", "default", "600", "seconds")
    assert rows["APP_SANDBOX__ENABLED"] == ("-", "default", "-", None)
    assert "hunter2" not in f"{rows} {loaded} {loaded.settings!r} {loaded.settings.model_dump_json()}"


def test_proxies_come_from_the_environment_in_either_case() -> None:
    environ = {"https_proxy": "http://small.example:3128", "HTTPS_PROXY": "http://big.example:3128", "NO_PROXY": "direct.example"}
    proxies = load(environ=environ).environment.proxies
    chosen = proxies.choose("https", "api.example", 443)
    assert chosen is not None
    assert chosen.host == "small.example"
    assert proxies.choose("http", "api.example", 80) is None
    assert proxies.choose("https", "direct.example", 443) is None


def test_proxies_come_from_the_file_of_the_service_as_systemd_would_pass_them(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("HTTPS_PROXY=http://file.example:3128\nhttp_proxy=file.example:3128\n")
    proxies = load(env_file, {"HTTP_PROXY": "http://environment.example:3128"}).environment.proxies
    chosen = [proxies.choose(scheme, "api.example", 443) for scheme in ("https", "http")]
    assert [proxy.host for proxy in chosen if proxy is not None] == ["file.example", "environment.example"]


@pytest.mark.parametrize("in_file", [False, True])
def test_a_wrong_proxy_is_refused_without_its_password(in_file: bool, tmp_path: Path) -> None:
    env_file, wrong = tmp_path / "env", f"socks5://user:{SECRET}@proxy.example"
    env_file.write_text(f"ALL_PROXY={wrong}\n" if in_file else "")
    with pytest.raises(SettingsError) as caught:
        load(env_file, {} if in_file else {"ALL_PROXY": wrong})
    assert "http://" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_stdout_is_the_journal_only_if_the_inode_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stdout").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        status = os.fstat(stdout.fileno())
        given = {f"{status.st_dev}:{status.st_ino}": True, f"{status.st_dev}:{status.st_ino + 1}": False, "": False, "nonsense": False}
        for stream, expected in given.items():
            assert load(environ={"JOURNAL_STREAM": stream}).environment.journal is expected
    assert load(environ={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}).environment.journal is False


def test_the_process_environment_is_read_when_no_other_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("APP_", "GOOGLE_", "GEMINI_", "OPENAI_", "CREDENTIALS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("APP_SERVER__PORT", "4321")
    assert load().settings.server.port == 4321
