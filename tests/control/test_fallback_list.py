"""The list of providers as another system has it."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.control.fallback_list import PRIMARY, WrongList, as_list, entries_of

FIELDS = frozenset(("name", "adapter", "base_url", "credentials", "weight", "prices", "models", "headers", "disabled", "label"))

ROUTER = "https://r.example/api/v1/chat/completions"
SAID = {"headers": {}, "modelMapping": {}, "disabled": False, "retry": 0}

ITEMS: list[dict[str, Any]] = [
    {"name": "spare", "baseUrl": "https://spare.example/v1/messages", "apiKey": "k"},
    {"name": "deep", "baseUrl": "https://deep.example/anthropic/v1/messages", "apiKey": "k", "authHeader": "Authorization"},
    {"name": "router", "baseUrl": ROUTER, "apiKey": "k", "authHeader": "Authorization", "format": "openai"},
    {"name": "own", "baseUrl": "http://10.0.0.1:8080/chat/completions", "apiKey": "k", "format": "openai"},
    {"name": "odd", "baseUrl": "https://odd.example/v1/messages", "apiKey": "k", "authHeader": "X-Odd-Key"},
    {
        "name": "My Provider (EU)",
        "baseUrl": "https://eu.example/v1/messages",
        "apiKey": "k",
        "headers": {"X-Team": "blue"},
        "modelMapping": {"claude-opus-4-6": "their-opus"},
        "disabled": True,
        "retry": 3,
    },
    {"name": "said", "baseUrl": "https://s.example/v1/messages", "apiKey": "k", **SAID},
    {"name": "more", "baseUrl": "https://m.example/v1/messages", "apiKey": "k", "weight": 3, "credentials": [{"name": "a", "weight": 2}]},
]  # fmt: skip


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: str(item["name"]))
def test_what_was_posted_comes_back(item: dict[str, Any]) -> None:
    entries, ignored = entries_of([item], [], FIELDS)
    assert (as_list(entries), ignored) == ([item], ())


def test_what_becomes_of_an_item() -> None:
    entries, _ = entries_of([ITEMS[2], ITEMS[5], ITEMS[3], ITEMS[0]], [], FIELDS)
    assert entries[0] == {
        "name": "router",
        "adapter": "openai",
        "base_url": "https://r.example/api/v1",
        "auth_header": "Authorization",
        "models": ["claude-*", "*"],
        "credentials": [{"key": "k"}],
    }
    assert entries[1] == {
        "name": "my-provider-eu",
        "label": "My Provider (EU)",
        "adapter": "anthropic",
        "base_url": "https://eu.example",
        "headers": {"X-Team": "blue"},
        "model_mapping": {"claude-opus-4-6": "their-opus"},
        "disabled": True,
        "retries": 3,
        "credentials": [{"key": "k"}],
    }
    assert entries[2]["auth_header"] == "x-api-key"
    assert "auth_header" not in entries[3]


GOOD = ITEMS[0]
WHOLE = "Invalid provider: baseUrl must be the whole address, which ends in"

WRONG: list[tuple[Any, str]] = [
    ({}, "Config must be an array"),
    (None, "Config must be an array"),
    ("[]", "Config must be an array"),
    (["x"], "Invalid provider: missing name, baseUrl, or apiKey"),
    ([{}], "Invalid provider: missing name, baseUrl, or apiKey"),
    ([{**GOOD, "apiKey": ""}], "Invalid provider: missing name, baseUrl, or apiKey"),
    ([{**GOOD, "apiKey": 5}], "Invalid provider: missing name, baseUrl, or apiKey"),
    ([GOOD, {**GOOD, "name": None}], "Invalid provider: missing name, baseUrl, or apiKey"),
    ([{**GOOD, "format": "telex"}], 'Invalid provider format: must be "anthropic" or "openai"'),
    ([{**GOOD, "format": {}}], 'Invalid provider format: must be "anthropic" or "openai"'),
    ([GOOD, GOOD], "Invalid provider: two have the same name"),
    ([{**GOOD, "name": PRIMARY}], f"Invalid provider: {PRIMARY} is the name of another one"),
    ([{**GOOD, "baseUrl": "https://x.example"}], f"{WHOLE} /v1/messages for anthropic"),
    ([{**GOOD, "format": "openai"}], f"{WHOLE} /chat/completions for openai"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words"), WRONG, ids=lambda value: str(value)[-60:])
def test_what_is_wrong_is_said_in_that_systems_words(given: Any, words: str) -> None:
    with pytest.raises(WrongList) as caught:
        entries_of(given, [], FIELDS)
    assert str(caught.value) == words


def test_an_empty_list_is_one() -> None:
    assert entries_of([], [{"name": "one"}], FIELDS) == ([], ())


def test_what_has_no_meaning_here_is_told_and_left_out() -> None:
    entries, ignored = entries_of([GOOD | {"colour": "red", "weight": 2}], [], FIELDS)
    assert (entries[0]["weight"], "colour" in entries[0], ignored) == (2, False, ("[0].colour",))


def test_what_a_list_does_not_mention_is_kept_and_what_it_would_say_is_not() -> None:
    mask = {"fingerprint": "sha256:f", "version": None, "status": "sealed"}
    before = [
        {"name": "my", "label": "My", "adapter": "anthropic", "base_url": "https://old.example", "weight": 7, "prices": {"m": {}},
         "disabled": True, "headers": {"X": mask}, "credentials": [{"name": "a", "weight": 2, "key": mask}]}
    ]  # fmt: skip
    entries, _ = entries_of([{"name": "My", "baseUrl": "https://new.example/v1/messages", "apiKey": "masked:sha256:f"}], before, FIELDS)
    assert entries == [
        {"name": "my", "label": "My", "adapter": "anthropic", "base_url": "https://new.example", "weight": 7, "prices": {"m": {}},
         "credentials": [{"name": "a", "weight": 2, "key": mask}]}
    ]  # fmt: skip


def test_secrets_are_shown_as_texts_and_the_texts_stand_for_them() -> None:
    mask = {"fingerprint": "sha256:f", "version": None, "status": "sealed"}
    before = {
        "name": "one",
        "adapter": "anthropic",
        "base_url": "https://a.example",
        "headers": {"X": mask},
        "credentials": [{"key": mask}],
    }
    (item,) = as_list([before])
    assert (item["apiKey"], item["headers"]) == ("masked:sha256:f", {"X": "masked:sha256:f"})
    entries, _ = entries_of([item], [before], FIELDS)
    assert entries == [before]


EVERY = ["claude-*", "*"]


@pytest.mark.parametrize(
    ("before", "more", "models"),
    [
        ([], {}, EVERY),
        ([], {"models": None}, None),
        ([], {"models": ["m"]}, ["m"]),
        ([{"name": "own", "adapter": "openai"}], {}, None),
        ([{"name": "own", "adapter": "openai", "models": ["m"]}], {}, ["m"]),
        ([{"name": "own", "adapter": "openai", "models": ["m"]}], {"models": None}, None),
        ([{"name": "own", "adapter": "anthropic"}], {}, EVERY),
    ],
)
def test_a_provider_may_be_asked_for_every_model_that_is_new_and_about_which_nothing_else_is_said(
    before: list[dict[str, Any]], more: dict[str, Any], models: list[str] | None
) -> None:
    entries, _ = entries_of([{**ITEMS[3], **more}], before, FIELDS)
    assert entries[0].get("models") == models
    again, _ = entries_of(as_list(entries), [], FIELDS)
    assert again == entries, "a backup says it, too"


def test_a_key_that_says_bearer_itself_is_taken_without_it() -> None:
    entries, _ = entries_of([{**ITEMS[1], "apiKey": "Bearer k"}], [], FIELDS)
    assert entries[0]["credentials"] == [{"key": "k"}]


OTHERS: list[dict[str, Any]] = [
    {"name": "v", "adapter": "vertex", "region": "global", "credentials": [{"credentials_file": "/x.json"}]},
    {"name": "two", "adapter": "openai", "base_url": "https://a.example", "credentials": [{"name": "a", "key": "1"}, {"key": "2"}]},
    {"name": "own", "adapter": "anthropic", "credentials": [{"key": "1"}]},
    {"name": "open", "adapter": "openai", "base_url": "http://localhost:9"},
]  # fmt: skip


@pytest.mark.parametrize("entry", OTHERS, ids=lambda entry: str(entry["name"]))
def test_what_has_no_place_in_that_shape_stands_there_in_ours(entry: dict[str, Any]) -> None:
    assert as_list([entry]) == [entry]
    assert entries_of([entry], [], FIELDS) == ([entry], ())


@pytest.mark.parametrize(
    ("name", "used", "slug"),
    [
        ("OpenRouter", (), "openrouter"),
        ("OpenRouter", ("openrouter",), "openrouter-2"),
        ("openrouter", ("openrouter", "openrouter-2"), "openrouter-3"),
        ("3rd party", (), "provider-3rd-party"),
        ("日本", (), "provider"),
        ("日本", ("provider",), "provider-2"),
        ("a" * 60, (), "a" * 32),
        ("a" * 60, ("a" * 32,), "a" * 28 + "-2"),
        ("--x--", (), "x"),
    ],
)
def test_names_become_short_words_that_nobody_has(name: str, used: tuple[str, ...], slug: str) -> None:
    entries, _ = entries_of([{**GOOD, "name": name}], [], FIELDS, used)
    assert entries[0]["name"] == slug
    assert as_list(entries)[0]["name"] == name


def test_a_new_name_takes_none_that_comes_later_in_the_list() -> None:
    before = {"name": "my", "label": "My", "adapter": "anthropic", "base_url": "https://a.example", "credentials": []}
    entries, _ = entries_of([GOOD | {"name": "my!"}, GOOD | {"name": "My"}], [before], FIELDS)
    assert [entry["name"] for entry in entries] == ["my-2", "my"]
    assert entries_of([GOOD | {"name": "my!"}], [before], FIELDS)[0][0]["name"] == "my", "nobody has it any more"
    ours = {"name": "v", "label": "V", "adapter": "vertex", "region": "global", "credentials": [{"credentials_file": "/x.json"}]}
    for stored in ([ours], []):
        entries, _ = entries_of([GOOD | {"name": "v!"}, ours], stored, FIELDS)
        assert [entry["name"] for entry in entries] == ["v-2", "v"], "one that stands there as an entry of ours"
