"""Keys of the gateway guard another service: a real nginx and a real Traefik with the runbook's own configuration ask the built file."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.e2e.plane import Admin, until
from tests.e2e.processes import KEY, ROOT, Answer, Process, Service, ask, clean_environment, free_port, service
from tests.e2e.wrong_keys import slowed

RUNBOOK = (ROOT / "runbook.md").read_text()
GATEWAY, GUARDED = "http://127.0.0.1:4000", "http://127.0.0.1:9000"
"""What the runbook calls them."""

ADDRESSES = (f"198.51.100.{number}" for number in range(1, 255))


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


class Guarded:
    """The service behind: says 200 to everything, and keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                named = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.command, self.path, named, body))
                self.send_response(int(self.headers.get("x-answer-with", 200)))
                self.send_header("content-length", "7")
                self.end_headers()
                self.wfile.write(b"guarded")

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def do_OPTIONS(self) -> None:
                self.answer()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("verify"), APP_AUTH__MASTER_KEY=KEY, APP_SERVER__TRUSTED_PROXIES="127.0.0.1") as found:
        yield found


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    found = Guarded()
    yield found
    found.close()


@contextmanager
def nginx(directory: Path, gateway: str, guarded: str) -> Iterator[str]:
    """The address of one that stands before `guarded` and asks `gateway`."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert program is not None, "nginx is missing; run 'make test', which installs what the tests need"
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    server = block("nginx")
    for old, new in (("listen 80;", f"listen 127.0.0.1:{port};"), (GATEWAY, gateway), (GUARDED, guarded)):
        assert server.count(old) == 1
        server = server.replace(old, new)
    # Workers of root would be another user's, who cannot use the directory.
    user = "user root;\n" if os.geteuid() == 0 else ""
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"daemon off;\n{user}pid {directory}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{own}{server}}}\n"
    )
    process = Process([program, "-c", str(configuration), "-p", str(directory), "-e", "stderr"], directory / "log", clean_environment())
    try:
        process.wait_for(f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{port}"
    finally:
        code = process.stop()
    assert code == 0, process.log.read_text()


@pytest.fixture(scope="module")
def edge(running: Service, guarded: Guarded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx(tmp_path_factory.mktemp("nginx"), running.url, guarded.url) as url:
        yield url


@pytest.fixture
def address() -> str:
    """One that nobody has called from."""
    return next(ADDRESSES)


def call(edge: str, address: str, key: str | None, **more: Any) -> Answer:
    headers = {"x-forwarded-for": address, **more.pop("headers", {})}
    return ask(f"{edge}/some/path?a=b", key=key, headers=headers, **more)


def test_a_good_key_passes_with_the_whole_request(running: Service, edge: str, guarded: Guarded, address: str) -> None:
    answer = call(edge, address, KEY, body=b'{"a": 1}' * 1000)
    assert (answer.status, answer.body) == (200, b"guarded")
    method, path, headers, body = guarded.requests[-1]
    assert (method, path, len(body)) == ("POST", "/some/path?a=b", 8000)
    assert re.fullmatch("[0-9a-f]{8}", headers["x-fkproxy-key-id"])


def test_a_bad_key_gets_401_and_is_told_how_to_ask(edge: str, guarded: Guarded, address: str) -> None:
    before = len(guarded.requests)
    for key in (None, "sk-of-nobody-0123456789"):
        answer = call(edge, address, key, body=b"{}", headers={"x-fkproxy-key-id": "forged"})
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert call(edge, address, None, headers={"x-api-key": KEY}).status == 200
    assert len(guarded.requests) == before + 1


def test_who_guesses_waits_and_others_do_not(edge: str, guarded: Guarded) -> None:
    slowed(ADDRESSES, lambda address, key, _: call(edge, address, key), lambda address: [call(edge, address, KEY)])
    assert call(edge, next(ADDRESSES), KEY).status == 200


def test_a_preflight_and_the_services_own_errors_pass(edge: str, address: str) -> None:
    assert call(edge, address, None, method="OPTIONS").body == b"guarded"
    assert call(edge, address, KEY, headers={"x-answer-with": "500"}).body == b"guarded"


def test_the_question_itself_cannot_be_asked_from_outside(edge: str) -> None:
    assert ask(f"{edge}/verify", key=KEY).status == 404


def test_no_answer_is_no_yes(tmp_path: Path, guarded: Guarded, address: str) -> None:
    before = len(guarded.requests)
    with nginx(tmp_path, f"http://127.0.0.1:{free_port()}", guarded.url) as url:
        assert call(url, address, KEY).status == 500
    assert len(guarded.requests) == before


@contextmanager
def traefik(directory: Path, gateway: str, guarded: str) -> Iterator[str]:
    """The address of one with the runbook's configuration."""
    program = shutil.which("traefik", path=str(Path(sys.executable).parent))
    assert program is not None, "traefik is missing; run 'make test', which installs what the tests need"
    routes = block("yaml")
    for old, new in ((GATEWAY, gateway), (GUARDED, guarded)):
        assert routes.count(old) == 1
        routes = routes.replace(old, new)
    configuration = directory / "routes.yml"
    configuration.write_text(routes)
    port = free_port()
    arguments = [
        *("--global.checknewversion=false", "--global.sendanonymoususage=false", "--log.level=ERROR"),
        *(f"--providers.file.filename={configuration}", "--entrypoints.web.forwardedheaders.insecure=true"),
        f"--entrypoints.web.address=127.0.0.1:{port}",
    ]
    process = Process([program, *arguments], directory / "log", clean_environment())
    try:
        process.wait_for(f"http://127.0.0.1:{port}/")
        # It listens before it has read its routes.
        until(lambda: ask(f"http://127.0.0.1:{port}/").status != 404)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()


def test_traefik_asks_as_well(running: Service, guarded: Guarded, tmp_path: Path, address: str) -> None:
    with traefik(tmp_path, running.url, guarded.url) as edge:
        before = len(guarded.requests)
        bad = call(edge, address, "sk-of-nobody-0123456789", body=b"{}", headers={"x-fkproxy-key-id": "forged"})
        assert (bad.status, bad.headers["www-authenticate"], bad.json()["error"]["code"]) == (401, "Bearer", "invalid_api_key")
        assert call(edge, address, None).status == 401
        assert len(guarded.requests) == before
        good = call(edge, address, KEY, body=b'{"a": 1}' * 1000)
        assert (good.status, good.body) == (200, b"guarded")
        method, path, headers, body = guarded.requests[-1]
        assert (method, path, len(body)) == ("POST", "/some/path?a=b", 8000)
        assert re.fullmatch("[0-9a-f]{8}", headers["x-fkproxy-key-id"])
        assert call(edge, address, None, method="OPTIONS").body == b"guarded"
        slowed(ADDRESSES, lambda address, key, _: call(edge, address, key), lambda address: [call(edge, address, KEY)])


def test_keys_of_pools_are_known_at_once_and_gone_at_once(running: Service, edge: str) -> None:
    admin = Admin.of(running)
    key = admin.key(admin.pool("team"))
    assert call(edge, next(ADDRESSES), key.secret).status == 200
    assert call(edge, next(ADDRESSES), KEY).status == 401, "clients have keys of their own now"
    for verb, status in (("pause", 401), ("resume", 200), ("revoke", 401)):
        admin.post(f"/keys/{key.id}/{verb}")
        assert call(edge, next(ADDRESSES), key.secret).status == status


def test_the_repository_asks_for_nginx() -> None:
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    assert "nginx=nginx-light" in recipe[1]
