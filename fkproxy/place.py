"""Where this installation remembers: the database and the files beside it. Floor 4."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgspec

from fkproxy.settings import LoadedSettings

__all__ = ["Place", "place_of"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are kept. `url` as `open_store` wants it; `database`: the file of an SQLite store."""

    url: str
    directory: Path
    secret_keys: str | None

    @property
    def snapshot(self) -> Path:
        """The copy of what is in force."""
        return self.directory / "in-force.json"

    @property
    def key_file(self) -> Path:
        """The keys that secrets are sealed with, where none are configured."""
        return self.directory / "secrets.key"

    @property
    def journal(self) -> Path:
        """Records of calls on their way into the store."""
        return self.directory / "journal"

    @property
    def database(self) -> Path | None:
        """The file of an SQLite store."""
        return Path("/" + self.url.removeprefix("sqlite:").lstrip("/")) if self.url.startswith("sqlite:") else None

    @property
    def backups(self) -> Path:
        """Copies of an SQLite store."""
        return self.directory / "backups"

    def __str__(self) -> str:
        """For people; without any password."""
        if self.database is not None:
            return str(self.database)
        server = urlsplit(self.url)
        host = server.hostname or dict(parse_qsl(server.query)).get("host", "/")
        return f"PostgreSQL database {server.path.lstrip('/')} on {'this host' if host.startswith('/') else host}, and {self.directory}"


def place_of(loaded: LoadedSettings) -> Place | None:
    """Where this process is to remember; None: nowhere."""
    store, directory = loaded.settings.store, loaded.environment.state_directory
    url = store.url.get_secret_value() if store.url is not None else None
    if url == "none" or directory is None:
        return None
    keys = store.secret_keys.get_secret_value() if store.secret_keys is not None else None
    return Place(url=url or f"sqlite://{directory / 'fkllmproxy.db'}", directory=directory, secret_keys=keys)
