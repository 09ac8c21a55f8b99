"""The headers of every request to an upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fkproxy.adapters.access import Access
from fkproxy.adapters.base import Credential, CredentialStatus
from fkproxy.adapters.http import HttpClient, Origin
from fkproxy.adapters.secret import StaticSecret


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    client = HttpClient()
    yield client.origin("https://api.example/v1")
    await client.aclose()


def lines(block: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in block.decode("latin-1").splitlines())


@pytest.mark.parametrize(
    ("header", "secret", "expected"),
    [
        ("Authorization", "k", {"authorization": "Bearer k"}),
        ("X-Api-Key", "k", {"x-api-key": "k"}),
        ("authorization", "", {}),
    ],
)
async def test_the_secret_goes_where_it_belongs(header: str, secret: str, expected: dict[str, str], origin: Origin) -> None:
    found = lines(await Access(origin, StaticSecret("", secret), auth_header=header, fixed=(("A", "1"),)).block())
    assert found == {"host": "api.example", "accept-encoding": "identity", "a": "1", **expected}


async def test_the_operators_headers_come_last_and_replace_what_we_have(origin: Origin) -> None:
    fixed = (("user-agent", "ours"), ("User-Agent", "theirs"), ("X-Api-Key", "another"))
    found = lines(await Access(origin, StaticSecret("", "k"), auth_header="x-api-key", fixed=fixed).block())
    assert (found["user-agent"], found["x-api-key"]) == ("theirs", "another")


async def test_a_clients_headers_pass_by_the_list_only(origin: Origin) -> None:
    access = Access(
        origin,
        StaticSecret("", "k"),
        auth_header="authorization",
        fixed=(("x-set", "ours"),),
        client_headers=("OpenAI-Beta", "x-set", "x-bad", "Authorization"),
    )
    sent = {
        b"openai-beta": b"a=1",
        b"cookie": b"secret",
        b"authorization": b"Bearer theirs",
        b"x-set": b"theirs",
        b"x-bad": b"a\r\nx-evil: 1",
    }
    block = await access.block(sent)
    found = lines(block)
    assert b"theirs" not in block
    assert found["openai-beta"] == "a=1"
    assert (found["authorization"], found["x-set"]) == ("Bearer k", "ours")
    assert not {"cookie", "x-bad", "x-evil"} & set(found)
    assert "openai-beta" not in lines(await access.block())


class Turning:
    """A new token every call."""

    name = ""
    renewable = True
    count = 0

    async def token(self, now: float) -> str:
        self.count += 1
        return f"token-{self.count}"

    async def renew(self, refused: str, now: float) -> bool:
        return False

    def describe(self, now: float) -> CredentialStatus:
        return CredentialStatus()


async def test_a_new_token_makes_a_new_block(origin: Origin) -> None:
    credential: Credential = Turning()
    access = Access(origin, credential, auth_header="authorization", fixed=())
    assert [lines(await access.block())["authorization"] for _ in range(2)] == ["Bearer token-1", "Bearer token-2"]


async def test_a_header_that_cannot_be_sent_is_refused_without_its_value(origin: Origin) -> None:
    with pytest.raises(ValueError, match="line end") as caught:
        Access(origin, StaticSecret("", "k"), auth_header="authorization", fixed=(("x-team", "secret\r\nx: 1"),))
    assert "secret" not in str(caught.value)
