"""What is managed, over what was declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fkproxy.directory import Document
from fkproxy.settings import Judge, LoadedSettings, effective, load
from fkproxy.storage.secrets import SecretBox
from tests.fakes.box import box, lost_box

SECRET = "canary-secret-0123456789"


def entry(name: str, sealing: SecretBox | None = None, **more: Any) -> dict[str, Any]:
    key = sealing.seal(SECRET) if sealing is not None else SECRET
    return {"name": name, "adapter": "anthropic", "base_url": f"https://{name}.example", "credentials": [{"key": key}], **more}


def declared(tmp_path: Path, **variables: str) -> LoadedSettings:
    (tmp_path / "providers.toml").write_text(
        'strategy = "weighted"\n[[providers]]\nname = "filed"\nadapter = "openai"\nheaders = { X-Team = "canary-header" }\n'
        'proxy = "http://user:canary-proxy@proxy.example:3128"\n[[providers.credentials]]\nenv = "FILED_KEY"\n'
        'proxy = "http://user:canary-own@own.example:3128"\n'
    )
    return load(
        environ={
            "APP_PROVIDERS_FILE": str(tmp_path / "providers.toml"),
            "FILED_KEY": "canary-filed",
            "ANTHROPIC_API_KEY": "canary-variable",
            **variables,
        }
    )


def test_variables_come_first_then_the_file_then_what_is_managed(tmp_path: Path) -> None:
    loaded = effective(declared(tmp_path), Document(providers=(entry("b", box()), entry("a", box()))), box())
    assert [provider.name for provider in loaded.providers] == ["anthropic", "filed", "b", "a"]
    key = loaded.providers[2].credentials[0].key
    assert key is not None
    assert key.get_secret_value() == SECRET
    assert [provider.name for provider in loaded.routing.providers] == ["filed"]


def test_an_empty_document_changes_nothing(tmp_path: Path) -> None:
    loaded = declared(tmp_path, APP_RATE_LIMIT__CAPACITY="7")
    assert effective(loaded, Document(), box()) == loaded


def test_settings_are_laid_over_defaults_and_not_over_the_environment(tmp_path: Path) -> None:
    base = declared(tmp_path, APP_RATE_LIMIT__CAPACITY="7")
    document = Document(
        settings={
            "APP_RATE_LIMIT__CAPACITY": "8",
            "APP_RATE_LIMIT__ENABLED": "off",
            "APP_ROUTING__STRATEGY": "round_robin",
            "APP_ROUTING__SWITCH_PREVIEW_MODEL": "yes",
            "APP_CORS__ALLOWED_ORIGINS": "https://app.example, https://b.example",
            "APP_CORS__ENABLED": "true",
        }
    )
    loaded = effective(base, document, box())
    assert (loaded.settings.rate_limit.capacity, loaded.settings.rate_limit.enabled) == (7, False)
    assert loaded.settings.cors.allowed_origins == ("https://app.example", "https://b.example")
    assert (loaded.routing.strategy, loaded.routing.quota_exceeded.switch_preview_model) == ("round_robin", True)
    assert (loaded.sources["APP_RATE_LIMIT__CAPACITY"], loaded.sources["APP_RATE_LIMIT__ENABLED"]) == (
        "APP_RATE_LIMIT__CAPACITY",
        "managed",
    )
    assert [(warning.name, warning.hint) for warning in loaded.warnings] == [
        ("APP_RATE_LIMIT__CAPACITY", "APP_RATE_LIMIT__CAPACITY says something else")
    ]
    assert effective(base, Document(), box()).routing.strategy == "weighted"


@pytest.mark.parametrize(
    ("settings", "name", "message"),
    [
        ({"APP_RATE_LIMIT__CAPACITY": "0"}, "APP_RATE_LIMIT__CAPACITY", "'0' is not between 1 and 1000000000000"),
        ({"APP_RATE_LIMIT__CAPACITY": f"1{'0' * 310}"}, "APP_RATE_LIMIT__CAPACITY", "is not between 1 and 1000000000000"),
        ({"APP_RATE_LIMIT__CAPACITY": "many"}, "APP_RATE_LIMIT__CAPACITY", "is not a whole number between 1 and"),
        ({"APP_RATE_LIMIT__ENABLED": "maybe"}, "APP_RATE_LIMIT__ENABLED", "expected true"),
        ({"APP_TIMEOUT__TOTAL_SECS": "nan"}, "APP_TIMEOUT__TOTAL_SECS", "is not"),
        ({"APP_TIMEOUT__TOTAL_SECS": " "}, "APP_TIMEOUT__TOTAL_SECS", "is blank"),
        ({"APP_CORS__ENABLED": "on"}, "APP_CORS__ALLOWED_ORIGINS", "enabled for no origin"),
        ({"APP_CORS__ALLOWED_ORIGINS": "https://user@x.example"}, "APP_CORS__ALLOWED_ORIGINS", "is not an origin"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_and_without_effect_where_they_are_stored(
    tmp_path: Path, settings: dict[str, str], name: str, message: str
) -> None:
    base, other = declared(tmp_path), {"APP_ROUTING__MAX_ATTEMPTS": "2"}
    (fault,) = Judge(lambda: base, box).judge(Document(settings=settings)).problems
    assert (fault.field, message in fault.message) == (name, True)
    loaded = effective(base, Document(settings=settings | other, providers=(entry("one", box()),)), box())
    assert [(warning.name, message in warning.message) for warning in loaded.warnings] == [(name, True)]
    without = effective(base, Document(settings=other), box())
    assert (loaded.settings, loaded.sources) == (without.settings, without.sources)
    assert loaded.providers[-1].name == "one"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"base_url": "ftp://x"}, "providers[0].base_url cannot be used"),
    ({"base_url": "http://127.0.0.1:4000/v1"}, "providers[0].base_url is this gateway's own address"),
    ({"base_url": "http://169.254.169.254/latest"}, "providers[0].base_url is a link-local address"),
    ({"name": "filed"}, "providers[0].name filed is the name of a provider from the providers file already"),
    ({"name": "anthropic"}, "providers[0].name anthropic is the name of a provider from a variable already"),
    ({"name": "sandbox"}, "providers[0].name must not be sandbox"),
    ({"name": "No Name"}, "providers[0].name holds characters"),
    ({"wieght": 2}, "providers[0].wieght is not known; did you mean weight?"),
    ({"weight": 0}, "providers[0].weight is out of range"),
    ({"adapter": "telex"}, "providers[0].adapter is none of"),
    ({"credentials": [{"env": "APP_AUTH__MASTER_KEY"}]}, "providers[0].credentials[0].env is for the providers file"),
    ({"credentials": [{"file": "/etc/passwd"}]}, "providers[0].credentials[0].file is for the providers file"),
    ({"credentials": [{"systemd_credential": "x"}]}, "providers[0].credentials[0].systemd_credential is for the providers file"),
    ({"credentials": [{"token_file": "tokens.json"}]}, "providers[0].credentials[0].token_file is not an absolute path"),
    *(
        ({"base_url": None, "credentials": [{"token_file": "/x.json"}], **fields}, f"providers[0].{place} would be sent what a file")
        for fields, place in (
            ({"base_url": "https://one.example"}, "base_url"),
            ({"quota": {"url": "https://q.example", "quota_remaining": "a"}}, "quota"),
            ({"credentials": [{"token_file": "/x.json", "token_endpoint": "https://one.example"}]}, "credentials[0].token_endpoint"),
            ({"adapter": "vertex", "base_url": "https://one.example", "credentials": [{"credentials_file": "/x.json"}]}, "base_url"),
            ({"adapter": "vertex_claude", "base_url": "https://one.example", "credentials": []}, "base_url"),
            ({"adapter": "vertex", "base_url": "http://aiplatform.googleapis.com", "credentials": []}, "base_url"),
            ({"adapter": "vertex", "base_url": "https://aiplatform.googleapis.com:8443", "credentials": []}, "base_url"),
            ({"adapter": "vertex", "base_url": "https://x-aiplatform.googleapis.com.one.example", "credentials": []}, "base_url"),
            ({"base_url": "https://x-api.anthropic.com"}, "base_url"),
            ({"quota": {"url": "https://api.openai.com/", "quota_remaining": "a"}}, "quota"),
        )
    ),
    ({"base_url": None, "credentials": [{"token_file": "/x.json"}]}, "providers[0].credentials[0].token_file cannot be used"),
    ({"adapter": "vertex", "base_url": None, "region": "global", "credentials": []}, ""),
    ({"credentials": []}, ""),
    ({"credentials": [{}]}, "providers[0].credentials[0] names no secret"),
    ({"proxy": "http://u:p@proxy.example"}, "providers[0].proxy holds a password"),
    ({"credentials": [{"key": SECRET, "proxy": "http://u:p@x.example"}]}, "providers[0].credentials[0].proxy holds a password"),
    ({"adapter": "codex", "base_url": None}, "providers[0].adapter starts a program on this host"),
    ({"headers": {"Host": "x"}}, "providers[0].headers cannot be used: the header Host cannot be set"),
    ({"headers": {"X-A": "a\r\nb"}}, "providers[0].headers cannot be used: the value of the header X-A is not printable"),
    ({"quota": {"url": "http://169.254.169.254/", "quota_remaining": "a"}}, "providers[0].quota.url is a link-local address"),
    ({"quota": {"url": "https://q.example/", "quota_remaining": "a["}}, "providers[0].quota cannot be used"),
    ({"fallbacks": ["nobody"]}, "providers[0].fallbacks[0] nobody is no provider; there are anthropic, filed, one"),
    ({"excluded_models": ["*"]}, "providers[0] (one) can never be asked"),
    ({"model_mapping": {"a": "a"}}, "providers[0].model_mapping.a is mapped to itself"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), REFUSED, ids=lambda value: str(value)[:50])
def test_every_problem_of_an_entry_has_its_path(tmp_path: Path, fields: dict[str, Any], expected: str) -> None:
    base = declared(tmp_path, APP_AUTH__MASTER_KEY="canary-master-0123456789")
    verdict = Judge(lambda: base, box).judge(Document(providers=({**entry("one"), **fields},)))
    assert "canary" not in str(verdict)
    told = [str(fault).replace("providers[0] (one) names", "providers[0] names") for fault in verdict.problems]
    assert any(line.startswith(expected) for line in told) if expected else told == []


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"client_headers": ["x-team", "x-api-key"]}, "providers[0].client_headers[1]"),
    ({"auth_header": "te"}, "providers[0].auth_header"),
    ({"proxy": "https://proxy.example:3128"}, "providers[0].proxy"),
    ({"base_url": "https://a..example"}, "providers[0].base_url"),
    ({"priority": 2_000_000}, "providers[0].priority"),
    ({"limits": {"requests_per_minute": 10**13}}, "providers[0].limits.requests_per_minute"),
    ({"prices": {"m": {"input": 2e6, "output": 1}}}, "providers[0].prices.m.input"),
    ({"adapter": "vertex", "base_url": "https://v.example", "credentials": [{"credentials_file": "/x.json"}]}, "providers[0].base_url"),
    ({"base_url": None, "credentials": [{"token_file": "/nowhere/token.json"}]}, "providers[0].credentials[0].token_file"),
    ({"prefix": "filed"}, "providers[0].prefix"),
    ({"excluded_models": ["*"]}, "providers[0]"),
]


@pytest.mark.parametrize(("fields", "warned"), UNFIT, ids=lambda value: str(value)[:50])
def test_an_entry_that_was_right_once_takes_its_provider_and_nothing_else(tmp_path: Path, fields: dict[str, Any], warned: str) -> None:
    document = Document(providers=(entry("one", box(), **fields), entry("two", box(), fallbacks=["one"])))
    loaded = effective(declared(tmp_path), document, box())
    one, two = loaded.providers[-2:]
    assert (one.name, one.disabled, two.disabled, two.fallbacks) == ("one", True, False, ("one",))
    (warning,) = loaded.warnings
    assert (warning.name, warning.message.endswith("and the provider is left out")) == (warned, True)
    assert warned in [problem.field for problem in Judge(lambda: declared(tmp_path), box).judge(document).problems]


def test_two_that_do_not_fit_for_different_reasons_are_both_left_out(tmp_path: Path) -> None:
    document = Document(
        providers=(entry("one", box(), priority=2_000_000), entry("two", box(), proxy="http://u:p@x.example"), entry("three"))
    )
    loaded = effective(declared(tmp_path), document, box())
    assert [(provider.name, provider.disabled) for provider in loaded.providers[-3:]] == [("one", True), ("two", True), ("three", False)]
    assert [warning.name for warning in loaded.warnings] == ["providers[0].priority", "providers[1].proxy"]


def test_a_name_that_is_taken_now_and_a_fallback_that_is_gone_take_nothing_else(tmp_path: Path) -> None:
    document = Document(providers=(entry("filed", box()), entry("two", box(), fallbacks=["gone", "three"]), entry("three", box())))
    loaded = effective(declared(tmp_path), document, box())
    assert [provider.name for provider in loaded.providers] == ["anthropic", "filed", "two", "three"]
    assert (loaded.providers[1].adapter, loaded.providers[2].fallbacks) == ("openai", ("three",))
    assert [warning.name for warning in loaded.warnings] == ["providers[0].name", "providers[1].fallbacks[0]"]
    shown = Judge(lambda: declared(tmp_path), box).providers(document)
    assert [(view.name, view.source, view.disabled) for view in shown[1:3]] == [("filed", "file", False), ("filed", "managed", True)]


def test_one_that_does_not_fit_hides_nothing_that_is_wrong_with_another(tmp_path: Path) -> None:
    document = Document(
        providers=(entry("one", priority=2_000_000), entry("two", fallbacks=["nobody"]), entry("three", base_url="https://t.example"))
    )

    def trial(loaded: LoadedSettings) -> None:
        raise ValueError(loaded.providers[-1].base_url)

    told = [(problem.field, problem.message) for problem in Judge(lambda: declared(tmp_path), box, trial).judge(document).problems]
    assert [field for field, _ in told] == ["providers[0].priority", "providers[1].fallbacks[0]", "providers"]
    assert told[-1][1] == "cannot be used: https://t.example"


VENDORS_OWN: list[dict[str, Any]] = [
    *(
        {"adapter": adapter, "base_url": f"https://{host}", "credentials": []}
        for adapter in ("vertex", "vertex_claude")
        for host in ("us-central1-aiplatform.googleapis.com", "AIplatform.googleapis.com", "aiplatform.googleapis.com/v1")
    ),
    {"adapter": "vertex", "region": "eu", "base_url": "https://aiplatform.eu.rep.googleapis.com", "credentials": []},
    {"base_url": "https://api.anthropic.com"},
    {"base_url": None, "quota": {"url": "https://api.anthropic.com/usage", "quota_remaining": "a"}},
    {"adapter": "openai", "base_url": "https://api.openai.com/v1"},
]


@pytest.mark.parametrize("fields", VENDORS_OWN, ids=lambda value: str(value)[:70])
def test_what_a_file_of_this_machine_holds_may_go_to_the_vendors_own_address(tmp_path: Path, fields: dict[str, Any]) -> None:
    token_file = tmp_path / "token.json"
    token_file.write_text('{"access_token": "a"}')
    provider = {**entry("one"), "credentials": [{"token_file": str(token_file)}], **fields}
    assert Judge(lambda: declared(tmp_path), box).judge(Document(providers=(provider,))).problems == ()


METADATA = [
    *(
        "169.254.169.254",
        "169.254.169.254.",
        "[::ffff:169.254.169.254]",
        "2852039166",
        "0xA9FEA9FE",
        "0251.0376.0251.0376",
        "169.254.43518",
    ),
    *(
        "[fe80::1]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "１６９.254.169.254",
        "169。254。169。254",
    ),
    *(
        "192.0.0.192",
        "[fd00:ec2::23]",
        "[fd20:ce::254]",
        "[fd00:c1::a9fe:a9fe]",
        "[::169.254.169.254]",
        "[::ffff:0:a9fe:a9fe]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[2002:6464:64c8::]",
        "[fd00:ec2::254%eth0]",
    ),
]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.0.0.1", "[::10.0.0.1]", "[2002:a00:1::]", "[fd00:ec2::1]", "models.example"])
def test_models_on_this_host_and_beside_it_may_be_asked(tmp_path: Path, host: str) -> None:
    document = Document(providers=(entry("one", box(), base_url=f"http://{host}/v1"),))
    assert Judge(lambda: declared(tmp_path), box).judge(document).problems == ()


@pytest.mark.parametrize("host", METADATA)
def test_no_spelling_of_an_address_with_credentials_of_the_machine_is_taken(tmp_path: Path, host: str) -> None:
    def told(**fields: Any) -> list[str]:
        verdict = Judge(lambda: declared(tmp_path), box).judge(Document(providers=({**entry("one", box()), **fields},)))
        return [fault.field for fault in verdict.problems]

    url = f"http://{host}/latest"
    assert told(base_url=url) == ["providers[0].base_url"]
    assert told(proxy=f"http://{host}:80") == ["providers[0].proxy"]
    assert told(credentials=[{"key": SECRET, "proxy": f"http://{host}:80"}]) == ["providers[0].credentials[0].proxy"]
    assert told(credentials=[{"key": SECRET, "token_endpoint": url}]) == ["providers[0].credentials[0].token_endpoint"]
    assert told(quota={"url": f"{url}?a=b", "quota_remaining": "a"}) == ["providers[0].quota.url"]


def test_a_fallback_may_be_a_provider_that_is_disabled_for_now(tmp_path: Path) -> None:
    document = Document(providers=(entry("one", fallbacks=["two"]), entry("two", disabled=True)))
    assert Judge(lambda: declared(tmp_path), box).judge(document).problems == ()


def test_a_lost_secret_takes_its_credential_and_nothing_else(tmp_path: Path) -> None:
    lost = lost_box().seal("gone")
    both = [{"name": "a", "key": lost}, {"name": "b", "key": box().seal(SECRET)}]
    document = Document(providers=(entry("one", credentials=both), entry("two", credentials=[{"key": lost}]), entry("three", box())))
    loaded = effective(declared(tmp_path), document, box())
    one, two, three = loaded.providers[-3:]
    assert [credential.disabled for credential in one.credentials] == [True, False]
    assert (one.disabled, two.disabled, three.disabled) == (False, True, False)
    assert [warning.name for warning in loaded.warnings] == ["providers[0].credentials[0].key", "providers[1].credentials[0].key"]


def test_what_a_newer_program_wrote_is_left_out_when_it_is_in_force_and_refused_when_it_is_written(tmp_path: Path) -> None:
    document = Document(providers=(entry("one", box(), colour="red", timeouts={"tea-time": 5}),), settings={"APP_ROUTING__COLOUR": "red"})
    loaded = effective(declared(tmp_path), document, box())
    assert loaded.providers[-1].name == "one"
    assert [warning.name for warning in loaded.warnings] == ["APP_ROUTING__COLOUR", "providers[0].timeouts.tea_time", "providers[0].colour"]
    assert len(Judge(lambda: declared(tmp_path), box).judge(document).problems) == 3


WORDS: list[tuple[dict[str, Any], str]] = [
    ({"strategy": "clever"}, "providers[0].strategy"),
    ({"api": "both_and_more"}, "providers[0].api"),
    ({"thinking": "astronomic"}, "providers[0].thinking"),
    ({"quota": {"url": "https://quota.example/", "method": "QUERY", "quota-remaining": "left"}}, "providers[0].quota.method"),
    ({"adapter": "newest", "tier": "x"}, "providers[0].adapter"),
]


@pytest.mark.parametrize(("fields", "warned"), WORDS)
def test_a_word_of_a_newer_program_takes_its_field_or_its_provider_and_nothing_else(
    tmp_path: Path, fields: dict[str, Any], warned: str
) -> None:
    document = Document(providers=(entry("one", box(), **fields), entry("two", box(), fallbacks=["one"])))
    loaded = effective(declared(tmp_path), document, box())
    one, two = loaded.providers[-2:]
    assert (one.name, one.disabled, two.disabled, two.fallbacks) == ("one", "adapter" in fields, False, ("one",))
    assert warned in [warning.name for warning in loaded.warnings]
    assert warned in [problem.field for problem in Judge(lambda: declared(tmp_path), box).judge(document).problems]


def test_a_word_of_a_newer_program_takes_its_setting_and_nothing_else(tmp_path: Path) -> None:
    settings = {"APP_ROUTING__STRATEGY": "clever", "APP_ROUTING__MAX_ATTEMPTS": "2", "APP_LOG__LEVEL": "everything"}
    document = Document(settings=settings)
    loaded = effective(declared(tmp_path), document, box())
    assert (loaded.settings.routing.strategy, loaded.settings.routing.max_attempts, loaded.settings.log.level) == (None, 2, "info")
    assert sorted(warning.name for warning in loaded.warnings) == ["APP_LOG__LEVEL", "APP_ROUTING__STRATEGY"]
    judged = Judge(lambda: declared(tmp_path), box).judge(document)
    told = {problem.field: problem.message for problem in judged.problems}
    assert told.keys() == {"APP_LOG__LEVEL", "APP_ROUTING__STRATEGY"}
    assert "is none of debug, info" in told["APP_LOG__LEVEL"]
    assert "is none of ordered" in told["APP_ROUTING__STRATEGY"]


def test_a_profiles_default_gives_way_to_what_is_managed() -> None:
    base = load(environ={"APP_PROFILE__NAME": "dev"})
    loaded = effective(base, Document(settings={"APP_RATE_LIMIT__CAPACITY": "7"}), box())
    assert (base.settings.rate_limit.capacity, loaded.settings.rate_limit.capacity) == (1000, 7)
    assert "APP_RATE_LIMIT__CAPACITY" not in [warning.name for warning in loaded.warnings]


def test_warnings_that_no_provider_answers_end_with_the_first_one() -> None:
    base = load(environ={"APP_SANDBOX__ENABLED": "false"})
    assert [warning.name for warning in base.warnings] == ["APP_SANDBOX__ENABLED"]
    assert effective(base, Document(providers=(entry("one", box()),)), box()).warnings == ()


def test_what_cannot_be_built_is_a_problem_too(tmp_path: Path) -> None:
    def trial(loaded: LoadedSettings) -> None:
        raise ValueError(f"{len(loaded.providers)} of them")

    verdict = Judge(lambda: declared(tmp_path), box, trial).judge(Document(providers=(entry("one"),)))
    assert [str(fault) for fault in verdict.problems] == ["providers cannot be used: 3 of them"]


def test_providers_are_shown_with_who_named_them_and_without_secrets(tmp_path: Path) -> None:
    several = [{"name": "x", "key": box().seal(SECRET)}, {"name": "y", "key": box().seal(SECRET + "2"), "disabled": True}]
    document = Document(providers=(entry("one", credentials=several, headers={"X-Team": box().seal("canary-blue")}),))
    found = Judge(lambda: declared(tmp_path), box).providers(document)
    assert [(each.name, each.source, each.upstreams) for each in found] == [
        ("anthropic", "environment", ("anthropic",)),
        ("filed", "file", ("filed",)),
        ("one", "managed", ("one/x",)),
    ]
    assert "canary" not in str(found)
    assert found[0].entry["credentials"] == [
        {"key": {"fingerprint": box().fingerprint("canary-variable"), "version": None, "status": "declared"}}
    ]
    assert found[1].entry["proxy"] == "http://…@proxy.example:3128"
    assert found[1].entry["credentials"][0]["proxy"] == "http://…@own.example:3128"
    assert found[2].entry["credentials"][0]["key"] == {"fingerprint": box().fingerprint(SECRET), "version": 1, "status": "sealed"}
    assert found[2].entry["headers"]["X-Team"]["status"] == "sealed"


def test_settings_are_shown_with_where_they_come_from(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("APP_STREAM__KEEP_ALIVE_SECS=5\n")
    base = load(tmp_path / "env", environ={"APP_AUTH__MASTER_KEY": "canary-master-0123456789", "APP_RATE_LIMIT__CAPACITY": "7"})
    document = Document(settings={"APP_RATE_LIMIT__CAPACITY": "8", "APP_LOG__LEVEL": "debug"})
    found = {view.name: view for view in Judge(lambda: base, box).settings(document)}
    told = {name: (view.value, view.source, view.managed) for name, view in found.items()}
    assert told["APP_RATE_LIMIT__CAPACITY"] == ("7", "environment", "8")
    assert told["APP_STREAM__KEEP_ALIVE_SECS"] == ("5", "file", None)
    assert told["APP_LOG__LEVEL"] == ("debug", "managed", "debug")
    assert told["APP_TIMEOUT__TOTAL_SECS"] == ("600", "default", None)
    assert told["APP_AUTH__MASTER_KEY"] == ("set", "environment", None)
    assert "canary" not in str(found)
    view = found["APP_TIMEOUT__TOTAL_SECS"]
    assert (view.unit, view.limits, view.live, view.default) == ("seconds", "above 0 and at most 86400", True, "600")
    assert found["APP_SERVER__HOST"].live is False
    assert found["APP_LOG__LEVEL"].choices == ("debug", "info", "warning", "error")
