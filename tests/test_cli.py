"""The command line: what it prints, where, and the exit code."""

from __future__ import annotations

import json
import os
import pickle
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fkproxy import __version__, cli, smoke
from fkproxy.app import create_app
from fkproxy.assembly import Assembly
from fkproxy.server import CannotListen
from fkproxy.settings import load

KEY = "0123456789abcdef-the-key"
PARENT: Any = SimpleNamespace(kept=b"")
"""The main process of a worker that follows nobody."""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("APP_", "GOOGLE_", "GEMINI_", "OPENAI_", "CREDENTIALS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setattr("fkproxy.server.serve", lambda loaded, _parent: calls.append(loaded))
    return calls


@pytest.fixture
def smoked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str | None]]:
    """What the smoke test was asked to do; it fails for the model `broken` and for the address `nonsense`."""
    asked: list[tuple[str, str | None, str | None]] = []

    def run(url: str, key: str | None, model: str | None) -> Iterator[smoke.Step]:
        asked.append((url, key, model))
        if url == "nonsense":
            raise ValueError("'nonsense' is not an http address")
        yield smoke.Step(name="health", ok=True, duration_ms=1.5, detail="ok")
        yield smoke.Step(name="chat", ok=model != "broken", duration_ms=2.5, detail="done")

    monkeypatch.setattr(smoke, "run", run)
    return asked


def test_a_worker_that_follows_goes_on_with_what_was_reloaded_and_not_with_what_was_not_yet(
    served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, copies = tmp_path / "etc", tmp_path / "copies"
    files.mkdir()

    def readable(path: Path, _: object) -> Path:
        return copies / path.name if path.parent == files and copies.exists() else path

    for module in ("copies", "providers_file"):
        monkeypatch.setattr(f"fkproxy.settings.{module}.readable", readable)
    entry = '[[providers]]\nname = "{0}"\nadapter = "openai"\ncredentials = [{{ file = "key" }}]\n'
    (files / "key").write_text("first-key")
    (files / "providers.toml").write_text(entry.format("one"))
    kept = pickle.dumps(load(environ={"APP_PROVIDERS_FILE": str(files / "providers.toml")}))
    (files / "providers.toml").write_text(entry.format("one") + entry.format("two"))
    shutil.copytree(files, copies)
    (files / "key").write_text("another-key")
    (files / "providers.toml").write_text("nonsense")
    parent: Any = SimpleNamespace(kept=kept)
    assert cli.main(["serve"], parent) == 0
    assert [(each.name, each.credentials[0].key.get_secret_value()) for each in served[0].providers] == [
        ("one", "first-key"),
        ("two", "first-key"),
    ]


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_serving_is_what_it_does_unless_told_otherwise(
    arguments: list[str], served: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_SERVER__PORT", "4321")
    assert cli.main(arguments, PARENT) == 0
    (loaded,) = served
    settings, environment, warnings = loaded.settings, loaded.environment, loaded.warnings
    assert settings.server.port == 4321
    assert environment.journal is False
    assert "the built-in sandbox answers" in str(warnings[0]), "which the server logs: every line under the journal is JSON"
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""


def test_an_address_that_cannot_be_had_is_one_plain_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: object) -> None:
        raise CannotListen("port 4000 on 127.0.0.1 is in use")

    monkeypatch.setattr("fkproxy.server.serve", refuse)
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    assert cli.main(["serve"], PARENT) == 1
    assert capsys.readouterr().err == "fkllmproxy: port 4000 on 127.0.0.1 is in use\n"


@pytest.mark.parametrize("journal", [True, False])
def test_what_the_first_build_finds_is_told_like_what_a_check_finds(
    journal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("the token file cannot be used any more")

    monkeypatch.setattr(Assembly, "fleet", refuse)
    monkeypatch.setattr(cli, "is_journal", lambda _: journal)
    monkeypatch.setattr("fkproxy.telemetry.logs.configure", lambda **_: None)
    monkeypatch.setattr("fkproxy.server.serve", lambda loaded, _: create_app(loaded))
    monkeypatch.setenv("APP_STORE__URL", "none")
    assert cli.main(["serve"], PARENT) == 1
    told = caplog.messages if journal else capsys.readouterr().err.splitlines()
    assert told[0] == ("not started: " if journal else "") + "providers: the token file cannot be used any more"


@pytest.mark.parametrize("command", [[], ["serve"], ["check"], ["smoke"]])
def test_a_wrong_configuration_starts_nothing(
    command: list[str], served: list[Any], smoked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_SERVER__PORT", "70000")
    monkeypatch.setenv("APP_SERVER__PROT", "1")
    assert cli.main(command, PARENT) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "APP_SERVER__PROT: there is no such setting",
        "    did you mean APP_SERVER__PORT?",
        "APP_SERVER__PORT: '70000' is not between 1 and 65535",
        "fkllmproxy: 2 problems in the configuration; nothing was started",
    ]
    assert (served, smoked) == ([], [])


def test_check_prints_what_is_in_force(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("APP_AUTH__MASTER_KEY", KEY)
    monkeypatch.setenv("APP_STORE__DIRECTORY", "/srv/state")
    assert cli.main(["check"]) == 0
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()]
    assert ["APP_SERVER__PORT", "4000", "default"] in lines
    assert ["APP_AUTH__MASTER_KEY", "set", f"({len(KEY)}", "characters)", "APP_AUTH__MASTER_KEY"] in lines
    assert printed.out.endswith("ok: the configuration is valid; 127.0.0.1:4000, a key is required\n")
    assert "warning: providers: none is configured" in printed.out
    assert "store: /srv/state/fkllmproxy.db" in printed.out.splitlines()
    assert "0123456789" not in printed.out + printed.err


def test_check_says_what_a_profile_gives_and_what_it_does_not_let_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_PROFILE", "prod")
    monkeypatch.setenv("APP_AUTH__MASTER_KEY", secrets.token_hex(24))
    assert cli.main(["check"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["APP_CONCURRENCY__MAX_STREAMS_PER_KEY", "20", "profile", "prod"] in lines
    monkeypatch.setenv("APP_AUTH__MASTER_KEY", "changeme-changeme")
    assert cli.main(["check"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("APP_AUTH__MASTER_KEY: can be guessed")
    assert "openssl rand -hex 24" in printed.err
    assert "changeme" not in printed.out + printed.err


def test_check_speaks_json_in_either_case(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("APP_STORE__URL", "none")
    assert cli.main(["check", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["ok"], body["store"]) == (True, None)
    assert {"name": "APP_SERVER__PORT", "value": "4000", "source": "default", "default": "4000", "unit": None} in body["settings"]
    assert len(body["warnings"]) == 1
    monkeypatch.setenv("APP_SERVER__PORT", "x")
    assert cli.main(["check", "--json"]) == 1
    printed = capsys.readouterr()
    message = "'x' is not a whole number between 1 and 65535"
    assert json.loads(printed.out) == {"ok": False, "problems": [{"name": "APP_SERVER__PORT", "message": message, "hint": ""}]}
    assert printed.err == ""


@pytest.mark.parametrize("before", [True, False])
def test_the_environment_file_may_stand_before_or_after_the_command(
    before: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("APP_SERVER__PORT=4321\n")
    option = ["--env-file", str(env_file)]
    assert cli.main([*option, "check"] if before else ["check", *option]) == 0
    assert f"APP_SERVER__PORT in {env_file}" in capsys.readouterr().out


def test_an_environment_file_in_the_working_directory_is_not_read_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("APP_SERVER__PORT=4321\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check"]) == 0
    assert "4321" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:4000"),
        ("0.0.0.0", "http://127.0.0.1:4000"),
        ("::", "http://[::1]:4000"),
        ("h.example", "http://h.example:4000"),
    ],
)
def test_smoke_finds_its_own_instance_and_key(host: str, url: str, smoked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_SERVER__HOST", host)
    monkeypatch.setenv("APP_AUTH__MASTER_KEY", KEY)
    assert cli.main(["smoke"]) == 0
    assert smoked == [(url, KEY, None)]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of a service on this host, whose socket unit listens elsewhere than they say and whose key is a credential."""
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "app_auth__master_key").write_text(KEY)
    (tmp_path / "env").write_text("APP_LOG__LEVEL=warning\n")
    monkeypatch.setattr("fkproxy.installation.places.ENV_FILE", tmp_path / "env")
    monkeypatch.setattr("fkproxy.installation.places._CREDENTIALS", tmp_path / "credentials")
    monkeypatch.setattr("fkproxy.installation.manager.socket_address", lambda: ("::1", 4100))
    return tmp_path / "env"


def test_what_the_service_was_given_is_known_to_whoever_asks_it(service: Path, smoked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["smoke"]) == 0
    monkeypatch.setenv("APP_SERVER__PORT", "4321")
    assert cli.main(["smoke"]) == 0
    assert smoked == [("http://[::1]:4100", KEY, None), ("http://127.0.0.1:4321", KEY, None)]


def test_a_providers_file_with_a_fault_keeps_nobody_from_asking_what_runs(
    service: Path, smoked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    providers = service.with_name("providers.toml")
    providers.write_text("hedgign = {}\n")
    service.write_text(f"APP_PROVIDERS_FILE={providers}\n")
    assert cli.main(["check", "--env-file", str(service)]) == 1
    assert "did you mean hedging?" in capsys.readouterr().err
    assert cli.main(["smoke"]) == 0
    assert smoked == [("http://[::1]:4100", KEY, None)]


@pytest.mark.parametrize(
    "client",
    [
        {"OPENAI_BASE_URL": "http://127.0.0.1:4000/v1"},
        {"ANTHROPIC_BASE_URL": "http://127.0.0.1:4000", "ANTHROPIC_API_KEY_FILE": "/nowhere"},
        {"OPENAI_API_KEY": "the key, and what it is for"},
        {"ALL_PROXY": "socks5://127.0.0.1:1080"},
        {"https_proxy": "https://proxy.example:3128"},
    ],
)
def test_what_is_for_the_clients_of_a_shell_keeps_nobody_from_asking_what_runs(
    client: dict[str, str], service: Path, smoked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in client.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["smoke"]) == 0
    assert smoked == [("http://[::1]:4100", KEY, None)]
    assert cli.main(["check"]) == 1


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--check"], ["store", "verify"], ["store", "rotate-key"]])
def test_who_may_not_read_the_settings_of_the_service_gets_no_store_in_the_place_of_its_own(
    command: list[str], service: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "env").write_text("what it says is not for everybody\n")
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    assert cli.main(command) == 1
    assert str(service) in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_an_upstream_is_not_judged_by_half_of_what_is_said_of_it(
    service: Path, smoked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other half, in a variable that its vendor has named, may be there for the clients of this shell."""
    user = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    (tmp_path / "user.json").write_text(json.dumps(user))
    monkeypatch.setenv("APP_VERTEX__CREDENTIALS_FILE", str(tmp_path / "user.json"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    assert (cli.main(["check"]), cli.main(["smoke"])) == (0, 0)
    assert smoked == [("http://[::1]:4100", KEY, None)]


def test_the_settings_of_the_service_are_checked_as_it_will_have_them(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--env-file", str(service)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "store: /var/lib/fkllmproxy/fkllmproxy.db" in lines
    assert any(line.startswith("APP_AUTH__MASTER_KEY ") and f"set ({len(KEY)} characters)" in line for line in lines)


def test_smoke_with_address_and_key_needs_no_configuration(
    smoked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_SERVER__PORT", "wrong")
    key_file = tmp_path / "key"
    key_file.write_text("another-key\n")
    assert cli.main(["smoke", "http://h.example:1", "--key-file", str(key_file), "--model", "broken"]) == 1
    assert smoked == [("http://h.example:1", "another-key", "broken")]
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [["ok", "health"], ["FAIL", "chat"]]


@pytest.mark.parametrize(
    "command",
    [
        ["smoke", "http://127.0.0.1:1"],
        ["keys", "list", "--url", "http://127.0.0.1:1"],
        ["selftest", "--against", "http://127.0.0.1:1", "--model", "m"],
    ],
)
@pytest.mark.parametrize("content", [None, b"\xff", b"", f"{KEY}\nsecond line".encode(), f"\ufeff{KEY}".encode()])
def test_a_key_file_that_does_not_hold_one_key_is_a_wrong_command_line(
    command: list[str], content: bytes | None, smoked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_file = tmp_path / "key"
    if content is not None:
        key_file.write_bytes(content)
    assert cli.main([*command, "--key-file", str(key_file)]) == 2
    printed = capsys.readouterr()
    assert str(key_file) in printed.err
    assert KEY not in printed.out + printed.err
    assert smoked == []


def test_an_address_that_is_none_is_a_wrong_command_line(smoked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["smoke", "nonsense"]) == 2
    assert capsys.readouterr().err == "fkllmproxy: 'nonsense' is not an http address\n"


def test_a_change_of_the_host_is_made_to_its_end_whether_or_not_anybody_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def upgrade(file: Path, say: Any) -> None:
        for step in ("trial", "takeover", "bookkeeping"):
            done.append(step)
            say(step)

    monkeypatch.setattr("fkproxy.installation.upgrade", upgrade)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as unread:
        monkeypatch.setattr("sys.stdout", unread)
        assert cli.main(["upgrade", "new"]) == 0
    assert done == ["trial", "takeover", "bookkeeping"]


@pytest.mark.parametrize(
    "arguments", [["check"], ["check", "--json"], ["version"], ["--version"], ["--help"], ["keys", "create", "--help"]]
)
def test_what_cannot_be_printed_is_one_plain_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-m", "fkproxy", *arguments], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"fkllmproxy: the system: No space left on device\n")


@pytest.mark.parametrize("arguments", [["check"], ["version"], ["--version"], ["usage", "--help"]])
def test_whoever_has_read_enough_hears_nothing_more(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as unread:
        done = subprocess.run([sys.executable, "-m", "fkproxy", *arguments], stdout=unread, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b"")


def test_what_the_locale_has_no_letters_for_is_printed_all_the_same() -> None:
    latin = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1:strict"}
    done = subprocess.run([sys.executable, "-m", "fkproxy", "usage", "--help"], env=latin, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"by key, pool, model \\u2026; to the hour" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "closed", "exit_code", "told"),
    [
        ("version", ">&-", 0, ""),
        ("check", ">&- 2>&- <&-", 0, ""),
        ("check --env-file /nonexistent", "2>&-", 1, ""),
        ("providers put vendor -", "<&-", 2, "fkllmproxy: - cannot be read as JSON: Expecting value: line 1 column 1 (char 0)\n"),
    ],
)
def test_closed_streams_are_empty_ones(arguments: str, closed: str, exit_code: int, told: str) -> None:
    command = f"exec {shlex.quote(sys.executable)} -m fkproxy {arguments} {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout if "2>&-" in closed else "", done.stderr) == (exit_code, "", told)


def test_an_interrupt_ends_it_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fkproxy.server.serve", interrupt)
    assert cli.main([]) == 130


def test_the_version_is_told_by_command_and_by_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fkllmproxy {__version__}\n" * 2


@pytest.mark.parametrize("arguments", [["start"], ["check", "--yaml"], ["--env-file"]])
def test_a_wrong_command_line_is_told_apart_from_a_wrong_configuration(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: fkllmproxy" in capsys.readouterr().err
