"""Tokens for Vertex AI, minted by a local endpoint for a service account made here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.auth.exceptions import RefreshError, TransportError

from fkproxy.adapters.google_auth import GoogleTokens, _mapped
from fkproxy.model.errors import UpstreamRefusedCredential, UpstreamUnavailable
from tests.e2e.processes import TokenEndpoint, service_account

NOW_S = 1_800_000_000.0


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    running = TokenEndpoint()
    yield running
    running.close()


@pytest.fixture
def tokens(endpoint: TokenEndpoint, tmp_path: Path) -> GoogleTokens:
    return GoogleTokens(credentials_file=service_account(tmp_path, endpoint.url), project_id=None)


async def test_a_token_is_fetched_once_and_kept(tokens: GoogleTokens, endpoint: TokenEndpoint) -> None:
    assert tokens.project_id == "project-of-the-tests"
    for after_s in (0.0, 10.0, 3200.0):
        assert await tokens.token(NOW_S + after_s) == "minted-access-token"
    assert len(endpoint.grants) == 1
    assert "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer" in endpoint.grants[0]
    assert (tokens.misses, tokens.hits) == (1, 2)


async def test_many_calls_at_once_make_one_request(tokens: GoogleTokens, endpoint: TokenEndpoint) -> None:
    found = await asyncio.gather(*(tokens.token(NOW_S) for _ in range(50)))
    assert set(found) == {"minted-access-token"}
    assert len(endpoint.grants) == 1


async def test_a_token_near_its_end_still_serves_while_the_next_is_fetched(tokens: GoogleTokens, endpoint: TokenEndpoint) -> None:
    await tokens.token(NOW_S)
    endpoint.token = "the-next-token"
    assert await tokens.token(NOW_S + 3400) == "minted-access-token"
    assert await tokens.token(NOW_S + 3401) == "minted-access-token"
    async with asyncio.timeout(30):
        while await tokens.token(NOW_S + 3402) != "the-next-token":  # noqa: ASYNC110 - the renewal runs in the background
            await asyncio.sleep(0.01)
    assert len(endpoint.grants) == 2


async def test_a_token_past_its_end_is_never_given(tokens: GoogleTokens, endpoint: TokenEndpoint) -> None:
    await tokens.token(NOW_S)
    endpoint.token = "the-next-token"
    assert await tokens.token(NOW_S + 3600) == "the-next-token"


async def test_a_caller_that_leaves_does_not_take_the_fetch_with_it(tokens: GoogleTokens, endpoint: TokenEndpoint) -> None:
    first = asyncio.create_task(tokens.token(NOW_S))
    second = asyncio.create_task(tokens.token(NOW_S))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "minted-access-token"
    assert len(endpoint.grants) == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_refusal_names_no_secret_and_is_not_asked_for_again_at_once(tmp_path: Path, endpoint: TokenEndpoint) -> None:
    endpoint.refuses = True
    tokens = GoogleTokens(credentials_file=service_account(tmp_path, endpoint.url), project_id="p")
    for _ in range(5):
        with pytest.raises(UpstreamRefusedCredential) as caught:
            await tokens.token(NOW_S)
        assert "canary" not in str(caught.value)
    asked = len(endpoint.grants)
    endpoint.refuses = False
    assert await tokens.token(NOW_S + 10) == "minted-access-token"
    assert len(endpoint.grants) == asked + 1


async def test_an_endpoint_that_is_away_is_unavailable(tmp_path: Path) -> None:
    tokens = GoogleTokens(credentials_file=service_account(tmp_path, "http://127.0.0.1:1/token"), project_id=None)
    with pytest.raises(UpstreamUnavailable):
        await tokens.token(NOW_S)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_endpoint_that_fails_for_now_is_no_refusal(
    tokens: GoogleTokens, endpoint: TokenEndpoint, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)
    endpoint.fails_with, endpoint.says = status, b"<html>busy</html>"
    with pytest.raises(UpstreamUnavailable):
        await tokens.token(NOW_S)
    assert tokens.describe(NOW_S).state == "active"


def test_a_machine_whose_metadata_server_is_away_has_not_been_refused() -> None:
    away = RefreshError("no answer")
    away.__cause__ = TransportError("no answer")
    assert isinstance(_mapped(away), UpstreamUnavailable)
    assert isinstance(_mapped(RefreshError("invalid_grant")), UpstreamRefusedCredential)


@pytest.mark.parametrize(
    "says",
    [
        b"<html>sign in to this network</html>",
        b"",
        b"[1]",
        b'{"access_token": "x", "expires_in": "soon"}',
        b'{"access_token": null}',
        b"{}",
    ],
)
async def test_an_answer_without_a_token_is_told_and_not_asked_for_again_at_once(
    tokens: GoogleTokens, endpoint: TokenEndpoint, says: bytes
) -> None:
    endpoint.says = says
    for _ in range(3):
        with pytest.raises((UpstreamUnavailable, UpstreamRefusedCredential)) as caught:
            await tokens.token(NOW_S)
        assert "sign in" not in str(caught.value)
    assert len(endpoint.grants) == 1
    endpoint.says = None
    assert await tokens.token(NOW_S + 10) == "minted-access-token"


async def test_a_clock_that_was_set_back_delays_no_fetch(tokens: GoogleTokens, endpoint: TokenEndpoint) -> None:
    ahead_s = NOW_S + 86400
    endpoint.refuses = True
    with pytest.raises(UpstreamRefusedCredential):
        await tokens.token(ahead_s)
    endpoint.refuses = False
    assert await tokens.token(NOW_S) == "minted-access-token"
    endpoint.token = "the-next-token"
    assert not await tokens.renew("minted-access-token", NOW_S)
    assert await tokens.renew("minted-access-token", NOW_S - 86400)


def test_a_file_without_credentials_is_refused_at_once(tmp_path: Path) -> None:
    for name, text in (("no.json", "{}"), ("broken.json", "{"), ("key.json", '{"type":"service_account","client_email":"a"}')):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(ValueError, match=name):
            GoogleTokens(credentials_file=path, project_id=None)


def test_without_a_project_nobody_can_be_called(tmp_path: Path, endpoint: TokenEndpoint) -> None:
    tokens = GoogleTokens(credentials_file=None, project_id=None)
    with pytest.raises(UpstreamRefusedCredential):
        _ = tokens.project_id


async def test_a_failure_that_many_calls_are_told_does_not_keep_what_they_held(tmp_path: Path) -> None:
    tokens = GoogleTokens(credentials_file=service_account(tmp_path, "http://127.0.0.1:9/token"), project_id=None)
    told = []
    for after_s in range(4):
        with pytest.raises(UpstreamUnavailable) as caught:
            await tokens.token(NOW_S + after_s)
        told.append(caught.value)
    assert len({id(error) for error in told}) == 4


async def test_calls_that_are_refused_with_a_fresh_token_do_not_each_fetch_another(tokens: GoogleTokens, endpoint: TokenEndpoint) -> None:
    held = await tokens.token(NOW_S)
    endpoint.token = "the-next-token"
    for after_s in range(5):
        assert not await tokens.renew(held, NOW_S + after_s)
    assert len(endpoint.grants) == 1
    assert await tokens.renew(held, NOW_S + 31)
    assert await tokens.renew(held, NOW_S + 32), "somebody else's call had the old one still"
    assert len(endpoint.grants) == 2
