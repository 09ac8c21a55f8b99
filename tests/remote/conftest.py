"""A gateway with a store, for all tests of a file, and the command line as a person types it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fkproxy import cli
from tests.remote.instance import KEY, Instance, instance
from tests.remote.scripted import Scripted, scripted


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """Below the headings."""
        return [line.split() for line in self.out.splitlines()[1:]]


Type = Callable[..., Said]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("APP_", "GOOGLE_", "GEMINI_", "OPENAI_", "CREDENTIALS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("APP_AUTH__MASTER_KEY", KEY)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with instance(tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.fixture
def type_(gateway: Instance, capfd: pytest.CaptureFixture[str]) -> Type:
    """Runs `fkllmproxy <arguments>` against the gateway."""

    def run(*arguments: str) -> Said:
        capfd.readouterr()
        code = cli.main([*arguments, "--url", gateway.url])
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture
def team(type_: Type) -> str:
    """A pool, made once."""
    type_("pools", "create", "team-a", "--label", "Team A", "--model", "sandbox*")
    return "team-a"


@pytest.fixture
def key(type_: Type, team: str) -> tuple[str, str]:
    """(id, secret) of a new key."""
    made = type_("keys", "create", "--pool", team, "--json").json()
    return made["key"]["id"], made["secret"]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], str]:
    """A file that holds this as JSON; its path."""

    def written(value: Any) -> str:
        (tmp_path / "given.json").write_text(json.dumps(value))
        return str(tmp_path / "given.json")

    return written


@pytest.fixture
def stand_in() -> Iterator[Scripted]:
    """See `scripted`."""
    with scripted() as running:
        yield running


@pytest.fixture
def tell(stand_in: Scripted, capfd: pytest.CaptureFixture[str]) -> Type:
    """Runs `fkllmproxy <arguments>` against the stand-in."""

    def run(*arguments: str) -> Said:
        capfd.readouterr()
        code = cli.main([*arguments, "--url", stand_in.url])
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return run
