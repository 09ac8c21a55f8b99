"""Where this shell's clients go."""

from __future__ import annotations

import pytest

from fkproxy.doctor.clients import check
from tests.doctor.patients import patient, told
from tests.doctor.test_service import answering


def looked(port: int, **variables: str) -> list[tuple[str, str]]:
    found = told(check(patient(settings={"APP_SERVER__PORT": str(port)}, variables=variables)))
    return [each for each in found if not each[1].startswith("not set in this shell")]


@pytest.mark.parametrize(
    ("value", "severity", "words"),
    [
        ("http://127.0.0.1:{port}/v1", "ok", "leads here and is let in"),
        ("http://localhost:{port}/v1/", "ok", "leads here and is let in"),
        ("http://127.0.0.1:{port}", "error", "instead of '/v1'"),
        ("https://127.0.0.1:{port}/v1", "error", "http is spoken here"),
        ("127.0.0.1:{port}/v1", "error", "not an http address"),
        ("http://127.0.0.1:99999/v1", "error", "not an http address"),
        ("http://127.0.0.1:port/v1", "error", "not an http address"),
        ("http://[::1/v1", "error", "not an http address"),
        ("https://api.example.com/v1", "note", "leads to api.example.com"),
    ],
)
def test_an_address(value: str, severity: str, words: str) -> None:
    with answering(200, b"{}") as port:
        ((found, message),) = looked(port, OPENAI_BASE_URL=value.format(port=port))
    assert found == severity
    assert words in message


def test_a_key_that_is_not_let_in_is_named_and_not_shown() -> None:
    with answering(401, b"{}") as port:
        with_key = looked(port, ANTHROPIC_BASE_URL=f"http://127.0.0.1:{port}", ANTHROPIC_AUTH_TOKEN="sk-canary")
        without = looked(port, ANTHROPIC_BASE_URL=f"http://127.0.0.1:{port}")
    assert with_key == [("error", "$ANTHROPIC_BASE_URL leads here with the key in $ANTHROPIC_AUTH_TOKEN, which is not let in")]
    assert "no key" in without[0][1]


def test_of_two_keys_of_google_the_one_is_tried_that_the_clients_send() -> None:
    with answering(401, b"{}") as port:
        variables = {"GOOGLE_API_KEY": "the-vendor-key", "GEMINI_API_KEY": "the-gateway-key"}
        (found,) = looked(port, GOOGLE_GEMINI_BASE_URL=f"http://127.0.0.1:{port}", **variables)
    assert found == ("error", "$GOOGLE_GEMINI_BASE_URL leads here with the key in $GOOGLE_API_KEY, which is not let in")


def test_a_key_that_may_see_the_models_and_not_call_is_not_let_in() -> None:
    with answering(403, b"{}") as port:
        (found,) = looked(port, OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1", OPENAI_API_KEY="sk-canary")
    assert found[0] == "error"
    assert "whose calls are refused" in found[1]
    assert "sk-canary" not in found[1]


def test_what_is_not_set_is_listed() -> None:
    (found,) = told(check(patient()))
    assert found[0] == "note"
    assert "GOOGLE_GEMINI_BASE_URL" in found[1]
