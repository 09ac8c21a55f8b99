"""Where an installation remembers."""

from __future__ import annotations

from pathlib import Path

import pytest

from fkproxy.place import place_of
from fkproxy.settings import load

STATE = {"STATE_DIRECTORY": "/var/lib/x"}
SERVER = "postgresql://user:secret@db.example:5433/gateway?sslmode=require"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (STATE, "/var/lib/x/fkllmproxy.db"),
        (STATE | {"APP_STORE__DIRECTORY": "/srv/y"}, "/srv/y/fkllmproxy.db"),
        (STATE | {"APP_STORE__URL": "sqlite:////srv/other.db"}, "/srv/other.db"),
        (STATE | {"APP_STORE__URL": SERVER}, "PostgreSQL database gateway on db.example, and /var/lib/x"),
        (
            STATE | {"APP_STORE__URL": "postgresql://fk@/gateway?host=/run/postgresql"},
            "PostgreSQL database gateway on this host, and /var/lib/x",
        ),
        (
            STATE | {"APP_STORE__URL": "postgresql://fk@/gateway?host=db.example"},
            "PostgreSQL database gateway on db.example, and /var/lib/x",
        ),
    ],
)
def test_it_is_told_without_a_password(variables: dict[str, str], told: str) -> None:
    assert str(place_of(load(environ=variables))) == told


@pytest.mark.parametrize("variables", [{}, STATE | {"APP_STORE__URL": "none"}])
def test_there_may_be_none(variables: dict[str, str]) -> None:
    assert place_of(load(environ=variables)) is None


def test_files_stand_beside_the_database(tmp_path: Path) -> None:
    place = place_of(load(environ={"APP_STORE__DIRECTORY": str(tmp_path)}))
    assert place is not None
    assert place.url == f"sqlite://{tmp_path}/fkllmproxy.db"
    assert place.database == tmp_path / "fkllmproxy.db"
    beside = (place.snapshot, place.key_file, place.journal, place.backups)
    assert beside == (tmp_path / "in-force.json", tmp_path / "secrets.key", tmp_path / "journal", tmp_path / "backups")


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "sqlite:///var/lib/a/fkllmproxy.db"),
        ({"XDG_STATE_HOME": "/x"}, "sqlite:///x/fkllmproxy/fkllmproxy.db"),
        ({"HOME": "/home/me"}, "sqlite:///home/me/.local/state/fkllmproxy/fkllmproxy.db"),
        ({"HOME": "/h", "APP_STORE__DIRECTORY": "/own"}, "sqlite:///own/fkllmproxy.db"),
        ({"HOME": "/h", "APP_STORE__URL": "postgresql://u:p@h/d"}, "postgresql://u:p@h/d"),
        ({"HOME": "/h", "APP_STORE__URL": "none"}, None),
        ({}, None),
    ],
)
def test_where_it_remembers(environ: dict[str, str], url: str | None) -> None:
    place = place_of(load(environ=environ))
    assert (place.url if place is not None else None) == url
