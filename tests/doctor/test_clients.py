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
        ("127.0.0.1:{port}/v1", "error", "not an http address"),
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


def test_what_is_not_set_is_listed() -> None:
    (found,) = told(check(patient()))
    assert found[0] == "note"
    assert "GOOGLE_GEMINI_BASE_URL" in found[1]
