"""Each upstream as this host reaches it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fkproxy.doctor import upstreams
from fkproxy.settings import load
from tests.doctor.patients import told
from tests.e2e.processes import free_port
from tests.fakes.upstream import FakeUpstream, reply

LIST = json.dumps({"object": "list", "data": [{"id": "small", "object": "model", "created": 1, "owned_by": "x"}]}).encode()
ANSWER = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "small",
        "choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "H"}}],
    }
).encode()
REFUSED = json.dumps({"error": {"message": "Incorrect API key", "type": "invalid_request_error", "code": "invalid_api_key"}}).encode()


async def examined(*scripts: Any, live: bool = False) -> tuple[list[tuple[str, str]], FakeUpstream]:
    async with FakeUpstream(*scripts) as fake:
        loaded = load(environ={"OPENAI_BASE_URL": f"{fake.url}/v1", "OPENAI_API_KEY": "sk-canary"})
        findings = await asyncio.to_thread(upstreams.check, loaded, live=live)
    return told(findings), fake


async def test_reached_and_accepted() -> None:
    found, fake = await examined(reply(b""), reply(LIST))
    assert [severity for severity, _ in found] == ["ok", "ok"]
    assert found[-1][1] == "the credential is accepted"
    assert fake.asked[-1].target == "/v1/models"


async def test_a_refused_credential_is_an_error_without_the_credential() -> None:
    found, _ = await examined(reply(b""), reply(REFUSED, status="401 Unauthorized"))
    assert found[-1][0] == "error"
    assert "refused" in found[-1][1]
    assert "sk-canary" not in str(found)


async def test_a_server_without_a_list_leaves_it_open() -> None:
    found, _ = await examined(reply(b""), reply(b"{}", status="404 Not Found"))
    words = "the credential could not be tried at no cost (404): it has no list of models, or its base URL is another one"
    assert found[-1] == ("note", words)


async def test_one_token_is_asked_for_only_when_wanted() -> None:
    found, fake = await examined(reply(b""), reply(LIST), reply(LIST), reply(ANSWER), live=True)
    assert found[-1][0] == "ok"
    assert found[-1][1].startswith("small answered in")
    asked = json.loads(fake.asked[-1].body)
    assert (asked["model"], asked.get("max_completion_tokens", asked.get("max_tokens"))) == ("small", 1)


async def test_an_upstream_that_fails_live_is_an_error() -> None:
    found, _ = await examined(reply(b""), reply(LIST), reply(LIST), reply(b"{}", status="500 Internal Server Error"), live=True)
    assert found[-1][0] == "error"


@pytest.mark.parametrize(
    ("url", "words"), [("http://no-such-host.invalid/v1", "cannot be resolved"), ("http://127.0.0.1:{port}/v1", "no connection")]
)
def test_an_upstream_that_cannot_be_reached(url: str, words: str) -> None:
    loaded = load(environ={"OPENAI_BASE_URL": url.format(port=free_port()), "OPENAI_API_KEY": "sk-canary"})
    found = told(upstreams.check(loaded, live=True))
    assert found[-1][0] == "error"
    assert words in found[-1][1]


def test_a_certificate_nobody_knows_is_an_error() -> None:
    import ssl

    import trustme

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)

    async def run() -> list[tuple[str, str]]:
        async with FakeUpstream(reply(b""), ssl_context=context) as fake:
            loaded = load(environ={"OPENAI_BASE_URL": f"{fake.url}/v1", "OPENAI_API_KEY": "sk-canary"})
            return told(await asyncio.to_thread(upstreams.check, loaded, live=False))

    assert asyncio.run(run())[-1][1].startswith("its certificate is not trusted")


@pytest.mark.parametrize("transport", ["app_server", "exec"])
def test_a_program_on_this_host_is_left_to_the_service(tmp_path: Path, transport: str) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(f'[[providers]]\nname = "coder"\nadapter = "codex"\ncodex = {{ home = "{tmp_path}", transport = "{transport}" }}\n')
    findings = upstreams.check(load(environ={"APP_PROVIDERS_FILE": str(path)}), live=False)
    ((severity, text),) = told(findings)
    assert severity == "note"
    assert text.startswith("a child of the service")
