"""Settings that are fine alone and wrong together."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fkproxy.settings import LoadedSettings, SettingsError, load

# google-auth warns of files from strangers; this one is the operator's own.
pytestmark = pytest.mark.filterwarnings("ignore:The load_credentials_from_file method is deprecated:DeprecationWarning")

KEY = {"APP_AUTH__MASTER_KEY": "0123456789abcdef"}
USER = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}


def problems(**environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(environ=environ)
    return {problem.name: str(problem) for problem in caught.value.problems}


def warned(loaded: LoadedSettings) -> list[str]:
    return [warning.name for warning in loaded.warnings if warning.name != "providers"]


@pytest.fixture(scope="module")
def service_account() -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {"type": "service_account", "client_email": "a@b.example", "token_uri": "http://127.0.0.1:1/", "private_key": key}


@pytest.mark.parametrize(
    ("environ", "required", "warnings"),
    [
        ({}, False, []),
        (KEY, True, []),
        ({**KEY, "APP_AUTH__REQUIRE_AUTH": "true"}, True, []),
        ({**KEY, "APP_AUTH__REQUIRE_AUTH": "false"}, False, ["APP_AUTH__REQUIRE_AUTH"]),
        ({"APP_AUTH__REQUIRE_AUTH": "no"}, False, []),
    ],
)
def test_a_key_is_required_as_soon_as_there_is_one(environ: dict[str, str], required: bool, warnings: list[str]) -> None:
    loaded = load(environ=environ)
    assert loaded.settings.auth.require_auth is required
    assert warned(loaded) == warnings


def test_a_required_key_must_be_there() -> None:
    assert "openssl rand" in problems(APP_AUTH__REQUIRE_AUTH="true")["APP_AUTH__MASTER_KEY"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example", "127.0.0.1.example"])
def test_others_can_only_reach_it_with_a_key(host: str) -> None:
    assert "set APP_AUTH__MASTER_KEY" in problems(APP_SERVER__HOST=host)["APP_SERVER__HOST"]
    open_door = problems(APP_SERVER__HOST=host, APP_AUTH__REQUIRE_AUTH="false", **KEY)
    assert "leave out APP_AUTH__REQUIRE_AUTH" in open_door["APP_SERVER__HOST"]
    assert load(environ={"APP_SERVER__HOST": host, **KEY}).settings.server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert load(environ={"APP_SERVER__HOST": host}).settings.auth.require_auth is False


def test_cross_origin_calls_need_origins_and_origins_need_the_switch() -> None:
    assert "APP_CORS__ALLOWED_ORIGINS" in problems(APP_CORS__ENABLED="true")
    assert warned(load(environ={"APP_CORS__ALLOWED_ORIGINS": "*"})) == ["APP_CORS__ALLOWED_ORIGINS"]
    assert warned(load(environ={"APP_CORS__ALLOWED_ORIGINS": "*", "APP_CORS__ENABLED": "true"})) == []


def test_a_deadline_that_can_never_pass_is_reported_if_somebody_set_it() -> None:
    assert warned(load(environ={"APP_TIMEOUT__TOTAL_SECS": "60"})) == []
    environ = {"APP_TIMEOUT__TOTAL_SECS": "60", "APP_TIMEOUT__FIRST_BYTE_SECS": "61", "APP_TIMEOUT__SILENCE_SECS": "60"}
    assert warned(load(environ=environ)) == ["APP_TIMEOUT__FIRST_BYTE_SECS"]


@pytest.mark.parametrize(
    ("host", "url", "own"),
    [
        ("127.0.0.1", "http://127.0.0.1:4000/v1", True),
        ("127.0.0.1", "http://localhost:4000", True),
        ("localhost", "http://[::1]:4000", True),
        ("0.0.0.0", "http://127.0.0.1:4000", True),
        ("0.0.0.0", f"http://{socket.gethostname()}:4000", True),
        ("127.0.0.1", "http://0.0.0.0:4000", True),
        ("192.0.2.1", "http://192.0.2.1:4000", True),
        ("gateway.example", "http://Gateway.example:4000", True),
        ("127.0.0.1", "http://127.0.0.1:4001", False),
        ("127.0.0.1", "http://127.0.0.1", False),
        ("192.0.2.1", "http://192.0.2.2:4000", False),
        ("192.0.2.1", "http://127.0.0.1:4000", False),
    ],
)
@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "APP_VERTEX__API_KEY_BASE_URL", "APP_VERTEX__OAUTH_BASE_URL"])
def test_an_upstream_that_is_this_gateway_is_refused(name: str, host: str, url: str, own: bool) -> None:
    environ = {"APP_SERVER__HOST": host, name: url, **KEY}
    if own:
        assert "this gateway's own address" in problems(**environ)[name]
    else:
        load(environ=environ)


def test_the_default_port_of_the_scheme_counts_too() -> None:
    assert "OPENAI_BASE_URL" in problems(OPENAI_BASE_URL="https://127.0.0.1", APP_SERVER__PORT="443")
    assert "OPENAI_BASE_URL" in problems(OPENAI_BASE_URL="http://127.0.0.1/v1", APP_SERVER__PORT="80")


@pytest.mark.parametrize("name", ["APP_VERTEX__CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: no such file or directory"),
        ("not JSON hunter2secret", "is not a Google credentials file that can be used"),
        ("[]", "is not a Google credentials file that can be used"),
        ('{"project_id": "p"}', "is not a Google credentials file that can be used"),
        (
            '{"type": "service_account", "project_id": "p", "private_key": "hunter2secret"}',
            "is not a Google credentials file that can be used",
        ),
        ('{"type": ["service_account"]}', "is not a Google credentials file that can be used"),
    ],
)
def test_credentials_that_cannot_be_used_are_refused_by_the_path(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    path = tmp_path / "credentials.json"
    if content is not None:
        path.write_text(content)
    message = problems(**{name: str(path)})[name]
    assert f"{path} {said}" in message
    assert "hunter2" not in message


def test_a_directory_is_no_credentials_file(tmp_path: Path) -> None:
    assert "is a directory" in problems(APP_VERTEX__CREDENTIALS_FILE=str(tmp_path))["APP_VERTEX__CREDENTIALS_FILE"]


def test_a_project_must_be_named_by_somebody(tmp_path: Path, service_account: dict[str, str]) -> None:
    path = tmp_path / "credentials.json"
    given = {"APP_VERTEX__CREDENTIALS_FILE": str(path)}
    for content in (USER, {**USER, "quota_project_id": "billed"}, service_account, {"type": "external_account"}):
        path.write_text(json.dumps(content))
        assert "GOOGLE_CLOUD_PROJECT" in problems(**given)["APP_VERTEX__PROJECT_ID"]
        assert load(environ={**given, "GOOGLE_CLOUD_PROJECT": "mine"}).settings.vertex.project_id == "mine"
    path.write_text(json.dumps({**service_account, "project_id": "theirs"}))
    load(environ=given)


def test_credentials_beside_a_key_are_reported_as_unused(tmp_path: Path) -> None:
    loaded = load(environ={"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "absent"), "GEMINI_API_KEY": "k"})
    (warning,) = loaded.warnings
    assert warning.name == "GOOGLE_APPLICATION_CREDENTIALS"
    assert "GEMINI_API_KEY is set too" in warning.message


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, True),
        ({"APP_SANDBOX__ENABLED": "true"}, False),
        ({"GOOGLE_API_KEY": "k"}, False),
        ({"OPENAI_API_KEY": "k"}, False),
        ({"OPENAI_BASE_URL": "http://llm.example"}, False),
        ({"APP_VERTEX__AMBIENT_CREDENTIALS": "true"}, False),
        ({"GOOGLE_API_KEY": "k", "APP_SANDBOX__ENABLED": "false"}, False),
    ],
)
def test_the_operator_is_told_when_only_the_sandbox_answers(environ: dict[str, str], told: bool) -> None:
    assert ["providers"] * told == [warning.name for warning in load(environ=environ).warnings]


def test_the_operator_is_told_when_nothing_can_answer() -> None:
    (warning,) = load(environ={"APP_SANDBOX__ENABLED": "false"}).warnings
    assert (warning.name, "nothing can answer until one is added" in warning.message) == ("APP_SANDBOX__ENABLED", True)
