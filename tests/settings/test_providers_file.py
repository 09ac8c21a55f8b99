"""A providers file, and everything that can be wrong with it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fkproxy.settings import Problem, SettingsError, load, load_providers
from tests.e2e.processes import service_account

GOOD = """
strategy = "weighted"

[fallbacks]
gpt-5 = ["claude-x"]

[[fallback_aliases]]
model = "gpt-5-spark"
to = "gpt-5"
error_ratio = 0.02

[[providers]]
name = "main"
adapter = "openai"
prefix = "team"
models = ["gpt-*", { name = "o9-2026-01-01", alias = "o9" }]
excluded-models = ["*:free"]
strategy = "round_robin"
thinking = "high"
auth-header = "X-Key"
headers = { X-Team = "blue" }
timeouts = { first-byte = 30 }
limits = { max_concurrency = 4 }
fallbacks = ["spare"]

[[providers.credentials]]
env = "FIRST_KEY"

[[providers.credentials]]
name = "second"
file = "second.key"
weight = 3

[[providers]]
name = "spare"
adapter = "anthropic"
base_url = "https://claude.example"
[[providers.credentials]]
systemd_credential = "spare-key"
"""


def problems(tmp_path: Path, text: str, name: str = "providers.toml", **environ: str) -> list[Problem]:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(environ={"APP_PROVIDERS_FILE": str(path), **environ})
    return caught.value.problems


def told(found: list[Problem], tmp_path: Path) -> list[str]:
    return [str(problem).replace(f"{tmp_path}/", "") for problem in found]


def test_a_file_is_read_with_its_secrets(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(GOOD)
    (tmp_path / "second.key").write_text("sk-second-key\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "spare-key").write_text("sk-ant-spare\n")
    environ = {
        "APP_PROVIDERS_FILE": str(path),
        "FIRST_KEY": "sk-first-key",
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
        "GOOGLE_API_KEY": "AIza-key",
    }
    loaded = load(environ=environ)
    assert [provider.name for provider in loaded.providers] == ["gemini", "main", "spare"], "beside those that variables name"
    main = loaded.providers[1]
    secrets = [entry.key.get_secret_value() for entry in main.credentials if entry.key is not None]
    assert secrets == ["sk-first-key", "sk-second-key"]
    assert [entry.name for entry in main.credentials] == ["1", "second"]
    assert (main.excluded_models, main.auth_header, main.timeouts.first_byte, main.limits.max_concurrency) == (("*:free",), "X-Key", 30, 4)
    assert loaded.routing.fallback_aliases[0].error_ratio == 0.02
    assert "sk-first" not in repr(loaded.providers)
    (tmp_path / "second.key").write_text("sk-rotated-key\n")
    again = load_providers(loaded)
    entry = again.providers[1].credentials[1]
    assert entry.key is not None
    assert entry.key.get_secret_value() == "sk-rotated-key"


def test_yaml_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "providers.yaml"
    path.write_text(
        "providers:\n  - name: local\n    adapter: openai\n    base-url: http://127.0.0.1:11434/v1\n    model_mapping: {gpt-4o: llama3}\n"
    )
    (provider,) = load(environ={"APP_PROVIDERS_FILE": str(path)}).providers
    assert (provider.base_url, provider.model_mapping) == ("http://127.0.0.1:11434/v1", {"gpt-4o": "llama3"})


def test_every_problem_is_told_at_once_with_its_line_and_without_secrets(tmp_path: Path) -> None:
    text = """
[[providers]]
name = "main"
adaptor = "openai"
[[providers.credentials]]
key = "sk with spaces and secret"

[[providers]]
name = "Second!"
adapter = "opnai"
weight = 0
thinking = "very"
nonsense = 1
"""
    found = told(problems(tmp_path, text), tmp_path)
    assert "providers.toml:4: providers[0].adaptor is not known; did you mean adapter?" in found
    assert any(line.startswith("providers.toml:2: providers[0].adapter is missing") for line in found)
    assert any(line.startswith("providers.toml:6: providers[0].credentials[0].key cannot be used") for line in found)
    assert any(line.startswith("providers.toml:9: providers[1].name holds characters") for line in found)
    assert any(line.startswith("providers.toml:10: providers[1].adapter is none of 'openai'") for line in found)
    assert any(line.startswith("providers.toml:11: providers[1].weight is out of range") for line in found)
    assert any("thinking cannot be used" in line for line in found)
    assert any("nonsense is not known; there are name, adapter" in line for line in found)
    assert not any("secret" in line for line in found)


ONE = '[[providers]]\nname = "one"\nadapter = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ONE + ONE, "providers.toml:6: providers[1].name one is the name of a provider from providers.toml:1 already"),
        (ONE.replace('"one"', '"sandbox"'), "providers.toml:2: providers[0].name must not be sandbox"),
        (ONE.replace('"one"', '"gemini"'), "providers.toml:2: providers[0].name gemini is the name of a provider from a variable already"),
        (ONE + 'prefix = "gemini"\n', "providers.toml:5: providers[0].prefix gemini is the name of another provider"),
        (ONE + 'fallbacks = ["one", "two"]\n', "providers.toml:5: providers[0].fallbacks[0] is the provider itself"),
        (ONE + 'fallbacks = ["two"]\n', "providers.toml:5: providers[0].fallbacks[0] two is no provider; there are gemini, one"),
        (ONE + 'excluded_models = ["*"]\n', "providers.toml:1: providers[0] (one) can never be asked"),
        (ONE + 'models = ["a"]\nexcluded_models = ["A"]\n', "providers.toml:1: providers[0] (one) can never be asked"),
        (ONE + 'models = [{name = "a", alias = "x"}, {name = "b", alias = "x"}]\n', "models[1].alias x stands for a already"),
        (ONE + 'model_mapping = {a = "a"}\n', "providers.toml:5: providers[0].model_mapping.a is mapped to itself"),
        (ONE.replace("127.0.0.1:9", "127.0.0.1:4000"), "providers[0].base_url is this gateway's own address"),
        (ONE.replace("openai", "gemini") + 'api = "both"\n', "providers[0].api has no meaning for this adapter"),
        ('[[providers]]\nname = "v"\nadapter = "vertex"\n', "providers[0].region is missing"),
        (ONE + "codex = { processes = 1 }\n", "providers.toml:5: providers[0].codex has no meaning for this adapter"),
        (ONE.replace("openai", "codex"), "providers.toml:4: providers[0].base_url has no meaning for this adapter"),
        *(
            (
                '[[providers]]\nname = "c"\nadapter = "codex"\n' + line + "\n",
                f"providers[0].{line.split()[0]} has no meaning for this adapter",
            )
            for line in (
                *('region = "global"', 'headers = { x-a = "b" }', 'client_headers = ["x-a"]', 'auth_header = "x-key"', 'proxy = "direct"'),
                *('api = "both"', 'quota = { url = "http://127.0.0.1:9/q", quota_remaining = "a" }', 'credentials = [{ key = "k" }]'),
            )
        ),
        ('[[providers]]\nname = "c"\nadapter = "codex"\ncodex = { sandbox = "danger-full-access" }\n', "codex.sandbox is none of"),
        ('[[providers]]\nname = "c"\nadapter = "codex"\ncodex = { processes = 0 }\n', "codex.processes is out of range"),
        (
            ONE + 'proxy = "https://proxy.example:3128"\n',
            "providers.toml:5: providers[0].proxy cannot be used: a proxy URL must begin with http://",
        ),
        (ONE + 'proxy = "proxy.example:3128"\n', "providers[0].proxy cannot be used: expected direct, or the address of an HTTP proxy"),
        (ONE + "priority = 99999999999999999999\n", "providers[0].priority is out of range"),
        (ONE + f"limits = {{ requests_per_minute = 1{'0' * 310} }}\n", "providers[0].limits.requests_per_minute is out of range"),
        *(
            (ONE + f'prices = {{ "*" = {{ input = {price}, output = 1 }} }}\n', "providers[0].prices.*.input is out of range")
            for price in ("inf", "nan", "1e300")
        ),
        *(
            (ONE + f'prices = {{ "*" = {{ input = 1, output = 1, tiers = {{ {tier} }} }} }}\n', f"providers[0].prices.*.tiers.{told}")
            for tier, told in (("flex = -1", "flex is out of range"), ("fast = nan", "fast is out of range"), ("priority = 2", "priority"))
        ),
        *(
            (ONE + f'client_headers = ["x-a", "{name}"]\n', f"client_headers[1] cannot be used: the header {name} cannot be passed on")
            for name in ("authorization", "X-Api-Key", "api-key", "x-goog-api-key")
        ),
        *(
            (ONE + f'client_headers = ["{name}"]\n', f"providers[0].client_headers[0] cannot be used: the header {name} cannot be set")
            for name in ("Content-Length", "host", "connection", "transfer-encoding", "keep-alive")
        ),
        (ONE + 'auth_header = "Host"\n', "providers.toml:5: providers[0].auth_header cannot be used: the header Host cannot be set"),
        (ONE + "[[providers.credentials]]\n", "providers.toml:5: providers[0].credentials[0] names no secret"),
        (ONE + '[[providers.credentials]]\nkey = "a"\nenv = "B"\n', "credentials[0].env and key are two places for one secret"),
        (
            ONE + '[[providers.credentials]]\nenv = "NOT_SET"\n',
            "providers.toml:6: providers[0].credentials[0].env names NOT_SET, which is not",
        ),
        (ONE + '[[providers.credentials]]\nfile = "gone.key"\n', "credentials[0].file cannot be read: no such file"),
        (ONE + '[[providers.credentials]]\nfile = "\\u0000"\n', "credentials[0].file cannot be used: no path holds a null character"),
        (ONE + '[[providers.credentials]]\nfile = "spaces.key"\n', "holds a secret that cannot travel in a header"),
        (ONE + '[[providers.credentials]]\nfile = "empty.key"\n', "credentials[0].file is empty"),
        (ONE + '[[providers.credentials]]\nkey = "a"\ndisabled = true\n', "credentials are all disabled"),
        (ONE + '[[providers.credentials]]\ncredentials_file = "x.json"\n', "names Google credentials or projects"),
        (ONE + '[[providers.credentials]]\ntoken_file = "gone.json"\n', "credentials[0].token_file cannot be used"),
        (ONE + '[[providers.credentials]]\ntoken_file = "empty.key"\n', "is not a token file that can be used"),
        (
            '[[providers]]\nname = "v"\nadapter = "vertex"\nregion = "global"\n[[providers.credentials]]\ncredentials_file = "empty.key"\n',
            "credentials_file is not a Google credentials file that can be used",
        ),
        (
            '[[providers]]\nname = "v"\nadapter = "vertex"\nregion = "global"\n[[providers.credentials]]\nkey = "k"\n',
            "is no Google credentials",
        ),
        (
            ONE + '[[providers.credentials]]\nname = "a"\nkey = "k"\n[[providers.credentials]]\nname = "a"\nkey = "l"\n',
            "providers.toml:9: providers[0].credentials[1].name 'a' is there twice",
        ),
        (
            ONE + '[providers.quota]\nurl = "http://127.0.0.1:9/q"\nquota_remaining = "a["\n',
            "providers.toml:5: providers[0].quota cannot be used: quota_remaining",
        ),
        (ONE + '[providers.quota]\nurl = "http://127.0.0.1:9/q"\n', "providers[0].quota cannot be used: at least one expression"),
        ('[fallbacks]\na = ["a"]\n' + ONE, "providers.toml:2: fallbacks.a[0] is the model itself"),
        ('[fallbacks]\na = ["x"]\n' + ONE + 'models = ["a"]\n', "providers.toml:2: fallbacks.a[0] x is served by nobody"),
        ('[[fallback_aliases]]\nmodel = "a"\nto = "b"\n[[fallback_aliases]]\nmodel = "b"\nto = "a"\n' + ONE, "to leads in a circle"),
        ('[[fallback_aliases]]\nmodel = "a"\nto = "a"\n' + ONE, "fallback_aliases[0].to leads in a circle"),
        ('[[fallback_aliases]]\nmodel = "a"\nto = "z"\n' + ONE + 'models = ["a"]\n', "fallback_aliases[0].to z is served by nobody"),
        ('providers = "x"\n', "providers is not a list"),
        ("a =\n", "providers.toml:1:"),
    ],
)
def test_what_no_single_entry_shows(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "spaces.key").write_text("two words")
    (tmp_path / "empty.key").write_text("\n")
    found = told(problems(tmp_path, text, GOOGLE_API_KEY="AIza-key"), tmp_path)
    assert any(expected in line for line in found), found
    assert not any("two words" in line for line in found)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("providers.json", "{}", "is neither TOML nor YAML"),
        ("providers.yaml", "- a\n", "holds no tables"),
        ("providers.yaml", "a: [\n", "providers.yaml:2:"),
        ("providers.toml", "# " + "x" * 5_000_000, "is larger than"),
    ],
)
def test_files_that_are_none(name: str, text: str, expected: str, tmp_path: Path) -> None:
    assert any(expected in line for line in told(problems(tmp_path, text, name), tmp_path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: no such file"):
        load(environ={"APP_PROVIDERS_FILE": str(tmp_path / "gone.toml")})


def test_a_reload_with_a_fault_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(ONE)
    loaded = load(environ={"APP_PROVIDERS_FILE": str(path)})
    path.write_text(ONE + "nonsense = 1\n")
    with pytest.raises(SettingsError, match="nonsense"):
        load_providers(loaded)
    assert [provider.name for provider in loaded.providers] == ["one"]
    plain = load(environ={})
    assert load_providers(plain) is plain


@pytest.mark.parametrize(
    ("field", "adapter"), [("file", 'adapter = "openai"'), ("credentials_file", 'adapter = "vertex"\nregion = "global"')]
)
def test_a_secret_that_is_newer_than_the_services_copy_of_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, adapter: str
) -> None:
    original, copy = service_account(tmp_path, "http://127.0.0.1:1/token"), tmp_path / "copy"
    if field == "file":
        original.write_text("first-key")
    shutil.copy2(original, copy)
    for module in ("copies", "providers_file"):
        monkeypatch.setattr(f"fkproxy.settings.{module}.readable", lambda path, _: copy if path == original else path)
    path = tmp_path / "providers.toml"
    path.write_text(f'[[providers]]\nname = "one"\n{adapter}\n[[providers.credentials]]\n{field} = "{original.name}"\n')
    loaded = load(environ={"APP_PROVIDERS_FILE": str(path)})
    original.write_text("another-key")
    with pytest.raises(SettingsError, match=rf"credentials\[0\]\.{field} has changed since the service was given its copy"):
        load_providers(loaded)
    path.write_text(path.read_text().replace("[[providers.", "disabled = true\n[[providers."))
    load_providers(loaded)


@pytest.mark.parametrize("why", [PermissionError, FileNotFoundError])
@pytest.mark.parametrize("hidden", ["providers.toml", "vendor-key"])
def test_a_reload_takes_no_copy_of_a_file_that_the_service_cannot_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: str, why: type[OSError]
) -> None:
    """It would say that all is well, and have read what was there before. A start has just been given its copies."""
    path, original, copy = tmp_path / "providers.toml", tmp_path / hidden, tmp_path / f"copy-of-{hidden}"
    (tmp_path / "vendor-key").write_text("first-key")
    path.write_text(ONE + '[[providers.credentials]]\nfile = "vendor-key"\n')
    shutil.copy2(original, copy)
    copy = copy.rename(copy.with_suffix(original.suffix))
    for module in ("copies", "providers_file"):
        monkeypatch.setattr(f"fkproxy.settings.{module}.readable", lambda path, _: copy if path == original else path)
    look = os.stat

    def refused(path: object, *args: object, **options: object) -> os.stat_result:
        if path == original:
            raise why
        return look(path, *args, **options)  # type: ignore[arg-type]  # whatever it takes

    monkeypatch.setattr(os, "stat", refused)
    loaded = load(environ={"APP_PROVIDERS_FILE": str(path)})
    with pytest.raises(SettingsError, match=r"may have changed since the service was given its copy.* systemctl reload fkllmproxy"):
        load_providers(loaded)
    assert load_providers(loaded, trust="whatever").providers == loaded.providers


def test_a_secret_may_stand_in_the_environment_file(tmp_path: Path) -> None:
    path, env_file = tmp_path / "providers.toml", tmp_path / "env"
    path.write_text(ONE + '[[providers.credentials]]\nenv = "TEAM_KEY"\n')
    env_file.write_text(f"APP_PROVIDERS_FILE={path}\nTEAM_KEY=sk-of-the-file\nOTHER_KEY=sk-of-nobody\n")
    for environ, expected in (({}, "sk-of-the-file"), ({"TEAM_KEY": "sk-of-the-process"}, "sk-of-the-process")):
        loaded = load(env_file, environ)
        for each in (loaded, load_providers(loaded)):
            key = each.providers[0].credentials[0].key
            assert key is not None
            assert key.get_secret_value() == expected
            assert [warning.name for warning in each.warnings] == [f"OTHER_KEY in {env_file}"], "the other one has an effect"
        assert "sk-of" not in repr(loaded)


def test_warnings_of_a_reload_are_those_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    (tmp_path / "tokens.json").write_text('{"access_token": "canary-token"}')
    plain, warned = (ONE + f"[[providers.credentials]]\n{line}\n" for line in ('key = "k"', 'token_file = "tokens.json"'))
    path.write_text(plain)
    loaded = load(environ={"APP_PROVIDERS_FILE": str(path), "APP_CORS__ALLOWED_ORIGINS": "*"})
    for text, expected in ((warned, f"{path}:6"), (plain, None), (warned, f"{path}:6")):
        path.write_text(text)
        loaded = load_providers(loaded)
        assert [warning.name for warning in loaded.warnings] == ["APP_CORS__ALLOWED_ORIGINS", *filter(None, [expected])]


def test_a_token_file_that_cannot_be_renewed_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    (tmp_path / "tokens.json").write_text('{"access_token": "canary-token"}')
    path.write_text(ONE + '[[providers.credentials]]\ntoken_file = "tokens.json"\n')
    (warning,) = load(environ={"APP_PROVIDERS_FILE": str(path)}).warnings
    assert str(warning).startswith(f"{path}:6: holds nothing to renew its token with")
    assert "canary" not in str(warning)
