"""What is seen, in the shapes of other systems."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fkproxy.adapters.quota import Quota
from fkproxy.control.compat import NoCredential, auth_files, auth_index, configuration, found, provider_states, quota_of, usage
from fkproxy.control.seams import NamedProvider
from fkproxy.control.upstreams import ModelState, UpstreamView
from fkproxy.storage.calls_values import UsageRow

NOW_S = 1_800_000_000.0


def view(key: str, **more: Any) -> UpstreamView:
    provider, _, credential = key.partition("/")
    well: dict[str, Any] = {
        **dict.fromkeys(("cause", "last_error", "last_error_s", "last_success_s", "credential_expires_s", "quota")),
        **dict.fromkeys(("retry_after_s", "consecutive_failures", "in_flight", "waiting"), 0),
        **{"state": "active", "breaker": "closed", "models": []},
    }
    return UpstreamView(key=key, provider_key=provider, credential=credential, **{**well, **more})


def provider(name: str, *upstreams: str, **more: Any) -> NamedProvider:
    entry = {"name": name, **more.pop("entry", {})}
    return NamedProvider(name=name, source="managed", disabled=False, upstreams=upstreams or (name,), entry=entry, **more)


PROVIDERS = [provider("main"), provider("spare", "spare/a", "spare/b"), provider("odd", entry={"label": "Odd One"})]


def test_states_of_providers_in_milliseconds_with_the_primary_always_there() -> None:
    views = [
        view("main", consecutive_failures=3, last_error_s=NOW_S - 1, last_success_s=NOW_S - 60, retry_after_s=29.0),
        view("spare/a", consecutive_failures=5, last_error_s=NOW_S - 2, retry_after_s=50.0),
        view("spare/b", consecutive_failures=1, last_error_s=NOW_S - 9),
        view("odd", last_error_s=NOW_S - 5, last_success_s=NOW_S - 4),
    ]
    assert provider_states(views, PROVIDERS, ("primary", "main"), NOW_S) == {
        "primary": {"consecutiveFailures": 3, "lastFailure": 1799999999000, "lastSuccess": 1799999940000, "cooldownUntil": 1800000029000},
        "spare": {"consecutiveFailures": 1, "lastFailure": 1799999998000, "lastSuccess": None, "cooldownUntil": None},
        "Odd One": {"consecutiveFailures": 0, "lastFailure": None, "lastSuccess": 1799999996000, "cooldownUntil": None},
    }
    assert provider_states([], [], ("primary", "main"), NOW_S) == {
        "primary": {"consecutiveFailures": 0, "lastFailure": None, "lastSuccess": None, "cooldownUntil": None}
    }


def test_one_file_for_each_upstream_with_an_index_that_outlives_a_restart() -> None:
    providers = [
        provider("filed", "filed/me", entry={"credentials": [{"name": "me", "token_file": "/var/lib/x/me@example.json"}]}),
        provider(
            "google", "google/p1", "google/p2", entry={"credentials": [{"credentials_file": "/etc/g.json", "projects": ["p1", "p2"]}]}
        ),
        provider("main", entry={"label": "Main"}),
        provider("off"),
    ]
    views = [view("filed/me"), view("google/p1"), view("google/p2"), view("main")]
    files = auth_files(views, providers, NOW_S)
    assert [(file["filename"], file["source"], file["status"]) for file in files] == [
        ("g.json", "file", "active"),
        ("g.json", "file", "active"),
        ("main.json", "memory", "active"),
        ("me@example.json", "file", "active"),
        ("off.json", "memory", "disabled"),
    ]
    assert all(file["auth_index"] == file["index"] == auth_index(file["id"]) for file in files)
    assert auth_index("main") == "026e63cb9e60d1ef"
    assert len({file["auth_index"] for file in files}) == 5
    assert [file["label"] for file in files if file["id"] == "main"] == ["Main"]
    assert msgspec.json.encode(files)


STATES: list[tuple[dict[str, Any], str, bool, bool]] = [
    ({}, "active", False, False),
    ({"state": "paused", "retry_after_s": None}, "disabled", True, True),
    ({"state": "refreshing"}, "refreshing", False, False),
    ({"state": "limited", "retry_after_s": 12.0}, "error", False, True),
    ({"state": "exhausted", "retry_after_s": 12.0}, "error", False, True),
    ({"state": "reauth_required"}, "error", False, True),
    ({"breaker": "open", "retry_after_s": 5.0}, "error", False, True),
]


@pytest.mark.parametrize(("state", "status", "disabled", "unavailable"), STATES, ids=lambda value: str(value)[:40])
def test_the_status_of_an_upstream(state: dict[str, Any], status: str, disabled: bool, unavailable: bool) -> None:
    (file,) = auth_files([view("one", **state)], [provider("one")], NOW_S)
    assert (file["status"], file["disabled"], file["unavailable"]) == (status, disabled, unavailable)
    assert ("next_retry_after" in file) == bool(state.get("retry_after_s"))


def test_times_are_written_as_that_system_does() -> None:
    (file,) = auth_files([view("one", retry_after_s=60.0, last_success_s=NOW_S, credential_expires_s=NOW_S + 1)], [], NOW_S)
    assert (file["next_retry_after"], file["updated_at"], file["expires_at"]) == (
        "2027-01-15T08:01:00Z", "2027-01-15T08:00:00Z", "2027-01-15T08:00:01Z",
    )  # fmt: skip


QUOTA = Quota(quota_remaining=12.5, usage_percentage=75.0, quota_exhausted=False, quota_reset_seconds=60.0, asked_s=NOW_S)


def test_the_quota_of_the_credential_that_was_named_and_of_no_other() -> None:
    views = [view("plain"), view("kiro/a", quota=QUOTA), view("kiro/b", state="exhausted")]
    told = quota_of(views, [], None)
    assert (told["auth_index"], told["remaining_quota"], told["usage_percentage"], told["quota_exhausted"]) == (
        auth_index("kiro/a"),
        12.5,
        75.0,
        False,
    )
    for name in (auth_index("kiro/b"), "kiro/b", "kiro-b.json"):
        told = quota_of(views, [], name)
        assert (told["auth_index"], told["remaining_quota"], told["quota_exhausted"]) == (auth_index("kiro/b"), None, True)
        assert found(views, [], name).key == "kiro/b"
    with pytest.raises(NoCredential) as caught:
        quota_of(views, [], "99")
    assert caught.value.index == "99"


def test_without_a_name_any_quota_that_is_known_is_told() -> None:
    assert quota_of([view("plain"), view("other", quota=QUOTA)], [], None)["provider_key"] == "other"
    with pytest.raises(NoCredential, match="no kiro credential found"):
        quota_of([view("plain")], [], None)


def test_the_configuration_has_tables_as_there_and_the_providers_beside() -> None:
    told = configuration(PROVIDERS[:1], {"debug": False, "quota-exceeded/a": True, "quota-exceeded/b": False}, ["sk-fk-1"], ["x", "y"])
    assert told == {
        "debug": False,
        "quota-exceeded": {"a": True, "b": False},
        "usage-statistics-enabled": True,
        "api-keys": ["sk-fk-1"],
        "providers": [
            {"name": "main", "supported_clients": ["x", "y"], "source": "managed", "disabled": False, "auth_index": [auth_index("main")]}
        ],
    }


def row(group: str | int, calls: int, failed: int = 0) -> UsageRow:
    return UsageRow(
        group=group, calls=calls, failed=failed, client_ended=0, tokens_input=10 * calls, tokens_output=calls, tokens_cached_input=1,
        tokens_cache_write=0, tokens_reasoning=2, cost_usd=0.0, cost_unknown=0,
    )  # fmt: skip


def test_usage_by_key_model_day_and_hour() -> None:
    hours = [row(0, 1), row(3600, 2, 1), row(86400, 4, 1)]
    told = usage([row("k1", 4, 1), row("", 2)], {"k1": [row("m", 5, 1)]}, hours, {"k1": "sk-fk-1"})
    assert told["failed_requests"] == told["usage"]["failure_count"] == 2
    totals = [told["usage"][name] for name in ("total_requests", "success_count", "total_tokens")]
    assert totals == [7, 5, 77], "calls of keys beyond those that are told count as well"
    assert told["usage"]["apis"]["sk-fk-1"]["models"]["m"] == {
        "total_requests": 5, "total_tokens": 55, "failed": 1,
        "tokens": {"input_tokens": 50, "output_tokens": 5, "reasoning_tokens": 2, "cached_tokens": 1, "total_tokens": 55},
    }  # fmt: skip
    assert told["usage"]["apis"]["-"] == {"total_requests": 2, "total_tokens": 22, "models": {}}
    assert told["usage"]["requests_by_day"] == {"1970-01-01": 3, "1970-01-02": 4}
    assert told["usage"]["requests_by_hour"] == {"00": 5, "01": 2}
    assert told["usage"]["tokens_by_day"] == {"1970-01-01": 33, "1970-01-02": 44}
    assert told["usage"]["tokens_by_hour"] == {"00": 55, "01": 22}


def test_models_that_rest_are_no_secret_of_the_state() -> None:
    resting = [ModelState(model_id="m", state="limited", cause="rate_limited", retry_after_s=5.0)]
    assert provider_states([view("main", models=resting)], PROVIDERS[:1], ("p", "x"), NOW_S)["main"]["cooldownUntil"] is None
