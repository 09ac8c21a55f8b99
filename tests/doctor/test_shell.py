"""What in a shell's environment is for its clients."""

from __future__ import annotations

import pytest

from fkproxy.doctor.shell import without_clients

HERE = "http://127.0.0.1:4000"


@pytest.mark.parametrize(
    ("variables", "kept"),
    [
        ({"OPENAI_BASE_URL": f"{HERE}/v1", "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "vendor"}, {"ANTHROPIC_API_KEY"}),
        ({"OPENAI_BASE_URL": " http://localhost:4000/v1 ", "PATH": "/bin"}, {"PATH"}),
        ({"ANTHROPIC_BASE_URL": HERE, "ANTHROPIC_AUTH_TOKEN": "k", "ANTHROPIC_API_KEY": "k"}, set()),
        ({"GOOGLE_GEMINI_BASE_URL": f"{HERE}/", "GEMINI_API_KEY": "k", "GOOGLE_CLOUD_PROJECT": "p"}, {"GOOGLE_CLOUD_PROJECT"}),
        ({"OPENAI_BASE_URL": "https://api.example.com/v1", "OPENAI_API_KEY": "vendor"}, {"OPENAI_BASE_URL", "OPENAI_API_KEY"}),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1", "OPENAI_API_KEY": "vendor"}, {"OPENAI_BASE_URL", "OPENAI_API_KEY"}),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:port/v1", "OPENAI_API_KEY": "k"}, {"OPENAI_BASE_URL", "OPENAI_API_KEY"}),
        ({"OPENAI_BASE_URL": "", "OPENAI_API_KEY": "vendor"}, {"OPENAI_BASE_URL", "OPENAI_API_KEY"}),
        ({"OPENAI_API_BASE": "http://gateway.example:4000/v1", "OPENAI_API_KEY": "k"}, set()),
        ({"GOOGLE_GEMINI_BASE_URL": "http://gateway.example:4000", "GOOGLE_API_KEY": "k", "GEMINI_API_KEY": "k"}, set()),
        ({"GOOGLE_VERTEX_BASE_URL": "no address", "GOOGLE_API_KEY": "k", "GEMINI_API_KEY": "vendor"}, {"GEMINI_API_KEY"}),
        ({"ANTHROPIC_VERTEX_BASE_URL": "http://gateway.example:4000/v1", "ANTHROPIC_AUTH_TOKEN": "k"}, set()),
        ({"GOOGLE_GEMINI_BASE_URL": " ", "GEMINI_API_KEY": "vendor"}, {"GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY"}),
    ],
)
def test_what_leads_here_or_is_no_setting_and_the_keys_for_it_are_for_clients(variables: dict[str, str], kept: set[str]) -> None:
    assert without_clients(variables, "127.0.0.1", 4000) == {name: variables[name] for name in kept}
