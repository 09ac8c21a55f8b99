"""The Codex CLI behind the built file, with an endpoint of ours where its vendor would be, and a look at what is left of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.codex_endpoint import Endpoint
from tests.e2e.plane import until
from tests.e2e.processes import KEY, ROOT, Service, service
from tests.e2e.weather import worker_of

__all__ = ["CODEX", "MODEL", "VENDOR_KEY", "Stage", "home_of", "settings_of", "stage"]

CODEX = ROOT / "node_modules" / ".bin" / "codex"
MODEL = "codex-5"
VENDOR_KEY = "sk-of-the-child-0123456789"


def home_of(directory: Path, base_url: str) -> Path:
    """A CODEX_HOME whose model provider is at `base_url`, and tries nothing twice. Its owner's words and servers are not for clients."""
    home = directory / "codex-home"
    home.mkdir(mode=0o700, parents=True)
    (home / "config.toml").write_text(
        'model = "gpt-5"\nmodel_provider = "local"\ndeveloper_instructions = "Be rude."\n'
        '[mcp_servers.echo]\ncommand = "/bin/cat"\n[model_providers.local]\nname = "local"\n'
        f'base_url = "{base_url}"\nwire_api = "responses"\nenv_key = "LOCAL_KEY"\nrequest_max_retries = 0\nstream_max_retries = 0\n'
    )
    return home


def settings_of(home: Path) -> dict[str, str]:
    """Of a service before one Codex CLI."""
    return {
        "CODEX_BIN": str(CODEX),
        "CODEX_HOME": str(home),
        "APP_CODEX__PASS_ENVIRONMENT": "LOCAL_KEY",
        "APP_CODEX__START_TIMEOUT_SECS": "120",  # its program is large, and not in memory the first time
        "LOCAL_KEY": VENDOR_KEY,
        "APP_AUTH__MASTER_KEY": KEY,
        "APP_CIRCUIT_BREAKER__FAILURE_THRESHOLD": "100000",
        "APP_COOLDOWN__MAX_SECS": "0.1",
        "APP_RATE_LIMIT__ENABLED": "false",
    }


class Stage:
    """A running service, its child's home, and the endpoint behind it."""

    def __init__(self, running: Service, home: Path, endpoint: Endpoint) -> None:
        self.service = running
        self.home = home
        self.endpoint = endpoint

    @property
    def worker(self) -> int:
        return worker_of(self.service.pid)

    def children(self) -> list[int]:
        """The Codex processes of this home, whoever their parent is by now; not those that are zombies."""
        return [pid for pid in _processes() if _of_home(pid, self.home)]

    def child(self) -> int:
        """The one that runs."""
        return until(self.children, lambda found: len(found) == 1)[0]

    def directories(self) -> list[str]:
        """Of children and their calls, that are still there."""
        # Unlike `rglob`, this does not mind what goes while it looks.
        return sorted(os.path.relpath(f"{place}/{name}", self.home) for place, names, _ in os.walk(self.home / "calls") for name in names)

    def nothing_waits(self) -> None:
        """No turn of a call is there any more."""
        until(lambda: [name for name in self.directories() if "/call-" in name], lambda found: not found)

    def nothing_left(self) -> None:
        until(lambda: [*map(str, self.children()), *self.directories()], lambda found: not found)


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _of_home(pid: int, home: Path) -> bool:
    with contextlib.suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"app-server" in command and f"CODEX_HOME={home}".encode() in environment
    return False


@contextmanager
def stage(directory: Path, **settings: str) -> Iterator[Stage]:
    """All of it. At the end the service must stop well, and leave nothing."""
    directory.mkdir(exist_ok=True)
    endpoint = Endpoint()
    home = home_of(directory, endpoint.url)
    try:
        with service(directory, **{**settings_of(home), **settings}) as running:
            found = Stage(running, home, endpoint)
            yield found
        found.nothing_left()
    finally:
        endpoint.close()
