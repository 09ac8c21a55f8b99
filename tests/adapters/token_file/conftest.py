"""What the tests of token files share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.token_file import TokenFile
from tests.adapters.token_file.files import Make
from tests.fakes.upstream import FakeUpstream


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient(connect_timeout_s=30.0)
    yield made
    await made.aclose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token.json"


@pytest.fixture
def make(client: HttpClient, path: Path) -> Make:
    def build(upstream: FakeUpstream | None = None, **more: Any) -> TokenFile:
        endpoint = {} if upstream is None else {"token_endpoint": upstream.url + "/oauth/token"}
        return TokenFile(client, name="main", path=path, user_agent="tests", **(endpoint | {"client_id": "the-client"} | more))

    return build
