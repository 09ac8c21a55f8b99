"""What the end-to-end tests share: one service before the fake Gemini API, one before the fake Vertex AI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import BINARY, KEY, Aimock, Service, TokenEndpoint, service, service_account

GEMINI_KEY = "AIza-canary-of-the-operator"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder drives the built file."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """The file under test must be there."""
    assert BINARY.exists(), "dist/fkllmproxy is missing; run 'make build'"


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="session")
def aimock(directory: Path) -> Iterator[Aimock]:
    running = Aimock(directory)
    yield running
    running.stop()


def gemini_settings(base_url: str) -> dict[str, str]:
    """Settings of a service that calls the Gemini API at `base_url`."""
    return {
        "APP_AUTH__MASTER_KEY": KEY,
        "GOOGLE_API_KEY": GEMINI_KEY,
        "APP_VERTEX__API_KEY_BASE_URL": base_url,
        "APP_CIRCUIT_BREAKER__FAILURE_THRESHOLD": "1000",
        "APP_RATE_LIMIT__CAPACITY": "100000",
    }


@pytest.fixture(scope="session")
def gemini_service(directory: Path, aimock: Aimock) -> Iterator[Service]:
    with service(directory, **gemini_settings(aimock.url)) as running:
        yield running


@pytest.fixture(scope="session")
def impatient_service(directory: Path, aimock: Aimock) -> Iterator[Service]:
    """Waits for seconds, not minutes; who is asked says nothing at all."""
    timeouts = {"APP_TIMEOUT__FIRST_BYTE_SECS": "1", "APP_TIMEOUT__SILENCE_SECS": "1"}
    with service(directory, **gemini_settings(aimock.url), **timeouts) as running:
        yield running


@pytest.fixture(scope="session")
def token_endpoint() -> Iterator[TokenEndpoint]:
    running = TokenEndpoint()
    yield running
    running.close()


@pytest.fixture(scope="session")
def vertex_service(directory: Path, aimock: Aimock, token_endpoint: TokenEndpoint) -> Iterator[Service]:
    settings = gemini_settings(aimock.url)
    del settings["GOOGLE_API_KEY"], settings["APP_VERTEX__API_KEY_BASE_URL"]
    credentials = service_account(directory, token_endpoint.url)
    settings |= {
        "APP_VERTEX__CREDENTIALS_FILE": str(credentials),
        "APP_VERTEX__REGION": "europe-west4",
        "APP_VERTEX__OAUTH_BASE_URL": aimock.url,
    }
    with service(directory, **settings) as running:
        yield running


@pytest.fixture(params=["gemini", "vertex"])
def google_service(request: pytest.FixtureRequest) -> Service:
    """Both ways to the same models."""
    running: Service = request.getfixturevalue(f"{request.param}_service")
    return running
