"""Fields of token files in many layouts, and the same documents with new tokens."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fkproxy.adapters.token_file import layout
from fkproxy.adapters.token_file.layout import Grant

NOW_S = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""
NEW = Grant(access_token="new-access", refresh_token="new-refresh", expires_s=NOW_S + 3600, issued_s=NOW_S)


def jwt(**claims: Any) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{middle}.seal"


FLAT = {
    "access_token": "old-access",
    "refresh_token": "old-refresh",
    "email": "canary@example.org",
    "expired": "2027-01-15T16:00:00+08:00",
    "last_refresh": "2027-01-15T15:00:00+08:00",
    "type": "a-vendor",
    "disabled": False,
}
NESTED_CAMEL = {
    "someVendorsOauth": {
        "accessToken": "old-access",
        "refreshToken": "old-refresh",
        "expiresAt": 1_800_000_000_000,
        "scopes": ["read", "write"],
        "plan": "max",
    },
    "other": {"kept": [1, {"deep": None}]},
}
NESTED_MIXED = {
    "tokens": {"id_token": "old-identity", "access_token": jwt(exp=1_800_000_000, iat=1_799_996_400), "refresh_token": "old-refresh"},
    "last_refresh": "2027-01-15T07:00:00.123456Z",
    "API_KEY": None,
}
WITH_ENDPOINT = {
    "token": {
        "access_token": "old-access",
        "refresh_token": "old-refresh",
        "token_uri": "https://vendor.example/token",
        "client_id": "the-client",
        "client_secret": "the-secret",
        "scopes": ["one"],
        "expiry": "2027-01-15T08:00:00Z",
    },
    "project_id": "p",
}
SPAN = {"access_token": "old-access", "refresh_token": "old-refresh", "expires_in": 3600, "timestamp": 1_799_996_400_000}
MILLISECONDS = {"access_token": "old-access", "refresh_token": "old-refresh", "expiry_date": 1_800_000_000_000, "scope": "one two"}
TOKEN_AS_TEXT = {"token": "old-access", "refresh_token": "old-refresh", "expiry": "2027-01-15T08:00:00"}
LAYOUTS = [FLAT, NESTED_CAMEL, NESTED_MIXED, WITH_ENDPOINT, SPAN, MILLISECONDS, TOKEN_AS_TEXT]


@pytest.mark.parametrize("document", LAYOUTS)
def test_tokens_and_their_end_are_found_in_every_layout(document: dict[str, Any]) -> None:
    grant = layout.read(document)
    assert grant.access_token in ("old-access", jwt(exp=1_800_000_000, iat=1_799_996_400))
    assert (grant.refresh_token, grant.expires_s) == ("old-refresh", NOW_S)


@pytest.mark.parametrize("document", LAYOUTS)
def test_new_tokens_stand_where_the_old_ones_stood(document: dict[str, Any]) -> None:
    made = layout.updated(document, NEW, {"id_token": "new-identity"})
    grant = layout.read(made)
    assert (grant.access_token, grant.refresh_token, grant.expires_s) == ("new-access", "new-refresh", NEW.expires_s)
    assert shape(made) == shape(document) | ({("tokens", "expires_at"): str} if document is NESTED_MIXED else {})


def shape(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], type]:
    """Path → type of every value."""
    if not isinstance(value, dict):
        return {path: type(value)}
    return {place: kind for name, inner in value.items() for place, kind in shape(inner, (*path, name)).items()}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (FLAT, FLAT | {"expired": "2027-01-15T17:00:00+08:00", "last_refresh": "2027-01-15T16:00:00+08:00"}),
        (SPAN, SPAN | {"timestamp": 1_800_000_000_000}),
        (MILLISECONDS, MILLISECONDS | {"expiry_date": 1_800_003_600_000}),
    ],
)
def test_times_keep_their_manner_and_everything_else_is_kept(document: dict[str, Any], expected: dict[str, Any]) -> None:
    made = layout.updated(document, NEW, {})
    assert made == expected | {"access_token": "new-access", "refresh_token": "new-refresh"}
    assert list(made) == list(document)


def test_an_identity_token_is_replaced_where_there_was_one() -> None:
    assert layout.updated(NESTED_MIXED, NEW, {"id_token": "new-identity"})["tokens"]["id_token"] == "new-identity"
    assert layout.updated(NESTED_MIXED, NEW, {})["tokens"]["id_token"] == "old-identity"
    assert "id_token" not in layout.updated(FLAT, NEW, {"id_token": "new-identity"})


def test_what_belongs_to_the_endpoint_is_read() -> None:
    grant = layout.read(WITH_ENDPOINT)
    assert (grant.token_endpoint, grant.client_id, grant.client_secret) == ("https://vendor.example/token", "the-client", "the-secret")
    assert (grant.scope, layout.read(MILLISECONDS).scope, layout.read(NESTED_CAMEL).scope) == ("one", "one two", "read write")


def test_a_file_with_a_refresh_token_alone_gets_the_rest_in_its_own_manner() -> None:
    assert layout.updated({"x": {"refreshToken": "r"}}, NEW, {}) == {
        "x": {"refreshToken": "new-refresh", "accessToken": "new-access", "expiresAt": "2027-01-15T09:00:00Z"}
    }
    made = layout.updated({"refresh_token": "r", "access_token": None, "expires_at": 0}, NEW, {})
    assert made == {"refresh_token": "new-refresh", "access_token": "new-access", "expires_at": 1_800_003_600}


def test_spans_are_written_as_they_were() -> None:
    document = {"access_token": "a", "expires_in": "60", "last_refresh": "2027-01-15T07:59:00Z"}
    assert layout.read(document).expires_s == NOW_S
    assert layout.updated(document, NEW, {}) == {"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": "3600"} | {
        "last_refresh": "2027-01-15T08:00:00Z"
    }


@pytest.mark.parametrize(
    ("token", "expires_s"),
    [
        (jwt(exp=1_800_000_000), NOW_S),
        (jwt(exp="soon"), None),
        (jwt(), None),
        ("a.b.c", None),
        ("a.!!!.c", None),
        ("a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c", None),
        ("opaque", None),
    ],
)
def test_the_end_of_a_jwt_is_in_it(token: str, expires_s: float | None) -> None:
    assert layout.read({"access_token": token}).expires_s == expires_s


@pytest.mark.parametrize(
    ("reply", "expires_s"),
    [
        ({"expires_in": 60}, NOW_S + 60),
        ({"expires_in": "60"}, NOW_S + 60),
        ({"expiresIn": 60.0}, NOW_S + 60),
        ({"expires_in": 0}, NOW_S + 3600),
        ({"expires_in": -5}, NOW_S + 3600),
        ({"expires_in": True}, NOW_S + 3600),
        ({}, NOW_S + 3600),
        ({"access_token": jwt(exp=int(NOW_S) + 90)}, NOW_S + 90),
        ({"access_token": jwt(exp=int(NOW_S) - 90)}, NOW_S + 3600),
    ],
)
def test_a_reply_says_how_long_its_token_lasts(reply: dict[str, Any], expires_s: float) -> None:
    grant = layout.read_reply({"access_token": "a"} | reply, Grant(refresh_token="r", client_id="c"), NOW_S)
    assert (grant.expires_s, grant.issued_s, grant.refresh_token, grant.client_id) == (expires_s, NOW_S, "r", "c")


@pytest.mark.parametrize(
    "reply", [{}, {"access_token": ""}, {"access_token": 7}, {"access_token": "canary\r\nx: y"}, {"token": "canary é"}]
)
def test_a_reply_without_a_token_is_refused(reply: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="access token") as caught:
        layout.read_reply(reply, Grant(), NOW_S)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not valid JSON"),
        (b'{"access_token": "canary', "not valid JSON"),
        (b'["canary"]', "no JSON object"),
        (b'{"email": "canary"}', "neither an access token nor a refresh token"),
        (b'{"a": {"b": {"access_token": "canary"}}}', "neither an access token nor a refresh token"),
        (b'{"a": {"access_token": "canary"}, "b": {"refresh_token": "canary"}}', "several places"),
        (b'{"access_token": "canary canary"}', "no header can carry"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_without_its_content(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        layout.read(layout.parse(data))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("like", ['{"a":1}', '{"a":1}\n', '{\n  "a": 1\n}', '{\n    "a": 1\n}\n'])
def test_a_document_keeps_its_indentation(like: str) -> None:
    assert layout.render(layout.parse(like.encode()), like.encode()) == like.encode()


def test_a_grant_does_not_show_its_secrets() -> None:
    assert repr(NEW) == str([NEW])[1:-1] == "Grant(...)"
