"""What a profile changes, what wins over it, and what `prod` does not let pass."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from fkproxy.control.refusals import Fault
from fkproxy.directory import Document
from fkproxy.settings import LoadedSettings, Settings, SettingsError, describe, effective, load
from fkproxy.settings.managed import Judge
from fkproxy.settings.profiles import PROFILES
from fkproxy.settings.schema import slots
from tests.fakes.box import box

STRONG = secrets.token_hex(24)
PROD = {"APP_PROFILE": "prod", "APP_AUTH__MASTER_KEY": STRONG}
LIVE = {slot.name for slot in slots() if slot.live}


def problems(environ: dict[str, str], env_file: Path | None = None) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(env_file, environ)
    return {problem.name: str(problem) for problem in caught.value.problems}


def told(loaded: LoadedSettings) -> dict[str, tuple[str, str]]:
    return {row.name: (row.value, row.source) for row in describe(loaded)}


def test_without_a_profile_nothing_changes() -> None:
    assert load(environ={}).settings == Settings()
    assert load(environ={"APP_PROFILE": " "}).settings == Settings()


@pytest.mark.parametrize("profile", PROFILES)
def test_each_default_of_a_profile_is_in_force_and_says_where_it_comes_from(profile: str) -> None:
    shown = told(load(environ={"APP_PROFILE": profile, "APP_AUTH__MASTER_KEY": STRONG}))
    assert {name: shown[name] for name in PROFILES[profile]} == {
        name: (value, f"profile {profile}") for name, value in PROFILES[profile].items()
    }
    others = {name for name, (_, source) in shown.items() if source != f"profile {profile}"}
    assert others == {slot.name for slot in slots()} - PROFILES[profile].keys()
    assert shown["APP_PROFILE__NAME"] == (profile, "APP_PROFILE")


@pytest.mark.parametrize("name", PROFILES["dev"])
def test_what_somebody_says_wins_wherever_he_does(name: str, tmp_path: Path) -> None:
    value = {"APP_CORS__ALLOWED_ORIGINS": "https://app.example"}.get(name, "false" if PROFILES["dev"][name] == "true" else "7")
    (tmp_path / "env").write_text(f"APP_PROFILE=dev\n{name}={value}\n")
    assert told(load(tmp_path / "env", {}))[name] == (value, f"{name} in {tmp_path / 'env'}")
    assert told(load(environ={"APP_PROFILE__NAME": "dev", name: value}))[name] == (value, name)
    if name in LIVE:
        base = load(environ={"APP_PROFILE": "dev"})
        document = Document(settings={name: value})
        assert told(effective(base, document, box()))[name] == (value, "managed")
        view = next(view for view in Judge(lambda: base, box).settings(document) if view.name == name)
        assert (view.value, view.source) == (value, "managed")
        view = next(view for view in Judge(lambda: base, box).settings(Document()) if view.name == name)
        assert (view.value, view.source, view.source_detail) == (PROFILES["dev"][name], "profile", "profile dev")


def test_what_only_a_profile_says_is_nobodys_mistake() -> None:
    off = load(environ={"APP_PROFILE": "dev", "APP_CORS__ENABLED": "false"})
    assert [warning.name for warning in off.warnings] == ["providers"], "the sandbox answers all the same"
    off = effective(load(environ={"APP_PROFILE": "dev"}), Document(settings={"APP_CORS__ENABLED": "false"}), box())
    assert [warning.name for warning in off.warnings] == ["providers"]


def test_a_profile_that_there_is_not() -> None:
    assert problems({"APP_PROFILE": "production"})["APP_PROFILE"] == "APP_PROFILE: 'production' is none of dev, prod"


def test_prod_serves_nobody_without_a_provider_and_says_so() -> None:
    loaded = load(environ=PROD)
    assert loaded.settings.sandbox.enabled is False
    assert [warning.name for warning in loaded.warnings] == ["APP_SANDBOX__ENABLED"]
    assert load(environ={**PROD, "OPENAI_API_KEY": "sk-upstream"}).warnings == ()


@pytest.mark.parametrize(
    ("environ", "name", "hint"),
    [
        ({"APP_AUTH__MASTER_KEY": ""}, "APP_AUTH__MASTER_KEY", "openssl rand -hex 24"),
        ({"APP_AUTH__MASTER_KEY": "", "APP_AUTH__REQUIRE_AUTH": "no"}, "APP_AUTH__REQUIRE_AUTH", "set APP_AUTH__MASTER_KEY"),
        ({"APP_AUTH__REQUIRE_AUTH": "no"}, "APP_AUTH__REQUIRE_AUTH", "leave it out"),
        ({"APP_METRICS__TOKEN": "metrics-token-of-the-team"}, "APP_METRICS__TOKEN", "openssl rand -hex 24"),
        (
            {"APP_CORS__ENABLED": "yes", "APP_CORS__ALLOWED_ORIGINS": "https://app.example,*"},
            "APP_CORS__ALLOWED_ORIGINS",
            "name the origins",
        ),
        ({"APP_SANDBOX__ENABLED": "on", "OPENAI_API_KEY": "sk-upstream"}, "APP_SANDBOX__ENABLED", "set it to false"),
        ({"CODEX_BIN": "codex", "CODEX_HOME": "/srv/codex", "APP_CODEX__OWN_TOOLS": "on"}, "APP_CODEX__OWN_TOOLS", "leave it out"),
        ({"APP_SERVER__TRUSTED_PROXIES": "10.0.0.1,0.0.0.0/0"}, "APP_SERVER__TRUSTED_PROXIES", "0.0.0.0/0 is everybody"),
        ({"APP_SERVER__TRUSTED_PROXIES": "::/0"}, "APP_SERVER__TRUSTED_PROXIES", "name the addresses"),
    ],
)
def test_what_prod_does_not_let_pass_is_told_with_what_to_do(environ: dict[str, str], name: str, hint: str) -> None:
    found = problems({**PROD, **environ})
    assert found.keys() == {name}
    assert hint in found[name]
    without = {**PROD, "APP_PROFILE": "", **environ}
    assert load(environ=without).settings.profile.name is None
    assert load(environ={**without, "APP_PROFILE": "dev"}).settings.profile.name == "dev"


@pytest.mark.parametrize(
    "key",
    [
        "codex-local-secret",
        "changemechangemechangeme",
        "sk-test-1234567890abcdef1234567890abcdef",
        "Sk-Your-Master-Key-Please-Change-Me",
        "0123456789abcdef0123456789abcdef",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "correct-horse-battery",
        "e3b0c44298fc1c149afbf4c",
    ],
)
def test_prod_takes_no_key_that_can_be_guessed_and_does_not_repeat_it(key: str, tmp_path: Path) -> None:
    found = problems({**PROD, "APP_AUTH__MASTER_KEY": key})
    assert found.keys() == {"APP_AUTH__MASTER_KEY"}
    assert key not in str(found)
    (tmp_path / "key").write_text(key)
    assert problems({"APP_PROFILE": "prod", "APP_AUTH__MASTER_KEY_FILE": str(tmp_path / "key")}).keys() == {"APP_AUTH__MASTER_KEY_FILE"}


@pytest.mark.parametrize("make", [lambda: secrets.token_hex(16), lambda: f"sk-{secrets.token_urlsafe(32)}"])
def test_prod_takes_every_key_that_was_made_by_chance(make: object) -> None:
    assert callable(make)
    for _ in range(50):
        assert load(environ={**PROD, "APP_AUTH__MASTER_KEY": make()}).settings.auth.require_auth


def test_all_faults_are_told_at_once_and_none_that_rests_on_a_wrong_value() -> None:
    environ = {"APP_PROFILE": "prod", "APP_AUTH__MASTER_KEY": "short", "APP_SANDBOX__ENABLED": "on", "APP_CORS__ALLOWED_ORIGINS": "*"}
    assert problems({**environ, "APP_CORS__ENABLED": "on"}).keys() == {
        "APP_AUTH__MASTER_KEY",
        "APP_SANDBOX__ENABLED",
        "APP_CORS__ALLOWED_ORIGINS",
    }


def test_what_is_managed_is_held_to_it_too() -> None:
    base = load(environ={**PROD, "APP_CORS__ENABLED": "true", "APP_CORS__ALLOWED_ORIGINS": "https://app.example"})
    assert Judge(lambda: base, box).judge(Document(settings={"APP_CONCURRENCY__MAX_STREAMS_PER_KEY": "50"})).problems == ()
    base = load(environ={**PROD, "APP_CORS__ENABLED": "false"})
    document = Document(settings={"APP_CORS__ALLOWED_ORIGINS": "*"})
    assert Judge(lambda: base, box).judge(document).problems == (), "it has no effect"
    base = load(environ=PROD)
    document = Document(settings={"APP_CORS__ENABLED": "true", "APP_CORS__ALLOWED_ORIGINS": "*"})
    (fault,) = Judge(lambda: base, box).judge(document).problems
    assert fault == Fault(
        "APP_CORS__ALLOWED_ORIGINS", "lets every page of the web call; not with the profile prod", "name the origins of your own pages"
    )
    loaded = effective(base, document, box())
    assert loaded.settings.cors == base.settings.cors, "stored already, it has no effect"
    assert [warning.name for warning in loaded.warnings if "not with the profile prod" in warning.message] == ["APP_CORS__ALLOWED_ORIGINS"]
