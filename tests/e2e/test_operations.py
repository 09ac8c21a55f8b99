"""What an operator does with the built file: start it, look at it, break it, read its logs."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fkproxy import __version__
from tests.e2e.conftest import GEMINI_KEY, gemini_settings
from tests.e2e.plane import Admin, until
from tests.e2e.processes import BINARY, KEY, Aimock, Service, ask, clean_environment, free_port, node, service


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BINARY), *arguments], capture_output=True, text=True, timeout=60, env={**clean_environment(), **settings}, check=False
    )


def chat(model: str = "sandbox", content: Any = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": content}], **fields}


@pytest.fixture(scope="module")
def sandbox(directory: Path) -> Iterator[Service]:
    with service(directory) as running:
        yield running


@pytest.fixture(scope="module")
def keyed(directory: Path) -> Iterator[Service]:
    with service(directory, APP_AUTH__MASTER_KEY=KEY) as running:
        yield running


def test_with_nothing_configured_the_first_request_is_answered_offline(sandbox: Service) -> None:
    answer = ask(f"{sandbox.v1}/chat/completions", body=chat("any-model-at-all"))
    assert answer.status == 200
    assert answer.headers["x-fkproxy-provider"] == "sandbox"
    assert "sandbox" in answer.json()["choices"][0]["message"]["content"]
    assert ask(f"{sandbox.url}/health").json()["status"] == "ok"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "key", "status"), [("/v1/chat/completions", KEY, 413), ("/v1/chat/completions", "sk-wrong", 401), ("/nowhere", KEY, 404)]
)
def test_a_refusal_reaches_a_client_that_sends_everything_before_it_reads(
    keyed: Service, path: str, key: str, status: int, chunked: bool
) -> None:
    pieces = [b"a" * 65536] * 176
    connection = http.client.HTTPConnection("127.0.0.1", keyed.port, timeout=60)
    body: Any = iter(pieces) if chunked else b"".join(pieces)
    connection.request("POST", path, body, {"authorization": f"Bearer {key}"}, encode_chunked=chunked)
    refused = connection.getresponse()
    assert (refused.status, json.loads(refused.read()).keys()) == (status, {"error"})
    connection.request("GET", "/livez")
    assert connection.getresponse().status == 200, "the connection goes on"
    connection.close()


def test_a_refusal_reaches_node_while_it_sends(keyed: Service) -> None:
    script = f"""const reply = await fetch("{keyed.v1}/chat/completions", {{method: "POST", body: "a".repeat(11e6)}});
        console.log(reply.status, (await reply.json()).error.code)"""
    ended = subprocess.run([node(), "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "401 invalid_api_key\n", ended.stderr


def test_the_probes_and_the_method_they_want(sandbox: Service) -> None:
    for path in ("/health", "/healthz", "/readyz", "/livez", "/metrics", "/metrics/prometheus", "/v1/models"):
        answer = ask(sandbox.url + path)
        assert answer.status == 200, path
        head = ask(sandbox.url + path, method="HEAD")
        assert (head.status, head.body) == (200, b""), path
        assert ask(sandbox.url + path, method="DELETE").status == 405, path
    assert ask(f"{sandbox.url}/nowhere").status == 404
    assert ask(f"{sandbox.v1}/chat/completions").headers["allow"]


def test_a_request_id_is_taken_over_returned_and_logged(sandbox: Service) -> None:
    answer = ask(f"{sandbox.v1}/chat/completions", body=chat(), headers={"x-request-id": "from-the-client-1"})
    assert answer.headers["x-request-id"] == "from-the-client-1"
    answer = ask(f"{sandbox.v1}/chat/completions", body=chat(), headers={"x-request-id": 'bad"id with spaces'})
    assert answer.headers["x-request-id"] != 'bad"id with spaces'
    # The log is written beside the calls.
    until(lambda: any(line["req_id"] == "from-the-client-1" for line in sandbox.access_lines(1)))


def test_every_line_is_json_and_an_access_line_says_what_happened(sandbox: Service) -> None:
    ask(f"{sandbox.v1}/chat/completions", body=chat(stream=True), headers={"user-agent": "the-tests/1"})
    line = until(lambda: [line for line in sandbox.access_lines(1) if line.get("ua") == "the-tests/1"])[0]
    assert (line["level"], line["kind"], line["method"], line["route"], line["status"]) == (
        "INFO",
        "access",
        "POST",
        "/v1/chat/completions",
        200,
    )
    assert line["ts"].endswith("Z")
    assert line["dur_ms"] >= 0
    assert line["provider"] == "sandbox"
    for line in sandbox.lines():
        assert {"ts", "level"} <= line.keys()


def test_the_level_is_the_servers_too(directory: Path) -> None:
    with service(directory, APP_LOG__LEVEL="error") as running:
        assert ask(f"{running.v1}/chat/completions", body=chat()).status == 200
    assert running.lines() == []


def test_the_numbers_agree_with_the_calls(directory: Path) -> None:
    with service(directory, APP_SANDBOX__ENABLED="true") as running:
        for _ in range(3):
            assert ask(f"{running.v1}/chat/completions", body=chat()).status == 200
        assert ask(f"{running.v1}/chat/completions", body=chat(stream=True)).status == 200
        assert ask(f"{running.v1}/chat/completions", body=chat("sandbox?status=500")).status == 502
        numbers = ask(f"{running.url}/metrics").json()
        assert (numbers["total_requests"], numbers["failed_requests"], numbers["success_rate"]) == (5, 1, 80.0)
        text = ask(f"{running.url}/metrics/prometheus").body.decode()
    samples = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples if not s.labels}
    assert samples["requests_total"] == 5
    assert samples["requests_failed_total"] == 1


def test_limits_and_sizes_are_refused_in_the_clients_words(directory: Path) -> None:
    settings = {"APP_RATE_LIMIT__CAPACITY": "3", "APP_RATE_LIMIT__REFILL_PER_SECOND": "1", "APP_SERVER__MAX_REQUEST_SIZE": "2000"}
    with service(directory, **settings) as running:
        url = f"{running.v1}/chat/completions"
        big = ask(url, body=chat(content="x" * 3000))
        assert (big.status, big.json()["error"]["code"]) == (413, "request_too_large")
        # So many at once that some are refused, however long a busy machine takes for them.
        began = time.monotonic()
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda _: ask(url, body=chat()), range(100)))
        served, refused = ([answer for answer in answers if answer.status == status] for status in (200, 429))
        assert 2 <= len(served) <= 3 + time.monotonic() - began
        assert len(served) + len(refused) == 100
        assert refused
        assert int(refused[0].headers["retry-after"]) >= 1
        assert refused[0].headers["x-ratelimit-remaining"] == "0"


def test_an_endless_body_is_cut_off_at_the_limit(sandbox: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=30)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("transfer-encoding", "chunked")
    connection.endheaders()
    status = None
    try:
        for _ in range(40):
            connection.send(b"100000\r\n" + b"x" * 1048576 + b"\r\n")
    except (BrokenPipeError, ConnectionResetError):
        pass
    try:
        status = connection.getresponse().status
    except (ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError):
        status = None
    finally:
        connection.close()
    assert status in (413, None)
    until(lambda: any(line["status"] == 413 for line in sandbox.access_lines(1)))


def test_a_body_with_broken_framing_is_answered_in_the_clients_dialect(sandbox: Service) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.port)) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        answer = _until(client, b"invalid_request_error")
    assert answer.startswith(b"HTTP/1.1 400")


def test_the_breaker_opens_is_told_and_closes_again(directory: Path) -> None:
    dead = free_port()
    settings = {
        "OPENAI_API_KEY": "sk-upstream",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{dead}/v1",
        "APP_OPENAI__MODELS": "model-*",
        "APP_CIRCUIT_BREAKER__FAILURE_THRESHOLD": "2",
        "APP_CIRCUIT_BREAKER__SUCCESS_THRESHOLD": "1",
        "APP_AUTH__MASTER_KEY": KEY,
    }
    with service(directory, **settings) as running:
        url, admin = f"{running.v1}/chat/completions", Admin.of(running)
        # It is over when we say so, not while we look.
        admin.patch("/settings", {"APP_CIRCUIT_BREAKER__TIMEOUT_SECS": 3600})
        assert [ask(url, key=KEY, body=chat("model-a")).status for _ in range(3)] == [502, 502, 503]
        health = ask(f"{running.url}/health")
        assert health.status == 503
        assert health.json()["upstreams"][0]["breaker"] == "open"
        assert health.json()["upstreams"][0]["last_error"] == "bad_gateway"
        with service(directory, APP_SERVER__PORT=str(dead), APP_SANDBOX__ENABLED="true"):
            assert ask(url, key=KEY, body=chat("model-a")).status == 503, "it is not asked"
            admin.patch("/settings", {"APP_CIRCUIT_BREAKER__TIMEOUT_SECS": 1})
            until(lambda: ask(url, key=KEY, body=chat("model-a")).status, lambda status: status == 200)
            assert ask(f"{running.url}/health").json()["upstreams"][0]["breaker"] == "closed"
        transitions = [line for line in running.lines() if line.get("msg") == "circuit breaker"]
        assert [(line["from"], line["to"]) for line in transitions] == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


def test_a_client_that_leaves_takes_its_upstream_call_with_it(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        settings = {"OPENAI_API_KEY": "sk-upstream", "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream.getsockname()[1]}/v1"}
        with service(directory, **settings) as running:
            for stream in (True, False):
                body = json.dumps(chat("gpt-x", stream=stream)).encode()
                head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                client = socket.create_connection(("127.0.0.1", running.port))
                client.sendall(head + body)
                upstream.settimeout(60)
                connection, _ = upstream.accept()
                connection.settimeout(60)
                got = b""
                while b"gpt-x" not in got:
                    got += connection.recv(65536)
                if stream:
                    frame = b'data: {"id":"1","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                    connection.sendall(b"%x\r\n%s\r\n" % (len(frame), frame))
                    assert b'"content":"a"' in _until(client, b'"content":"a"')
                else:
                    time.sleep(0.3)
                client.close()
                # The upstream sees its connection end although it never said a word more.
                while connection.recv(65536):
                    pass
                connection.close()
            ended = running.access_lines(2)
            assert [line["client_ended"] for line in ended] == [True, True]


def _until(sock: socket.socket, mark: bytes) -> bytes:
    sock.settimeout(60)
    got = b""
    while mark not in got:
        piece = sock.recv(65536)
        if not piece:
            break
        got += piece
    return got


def test_a_stop_lets_open_streams_end(directory: Path) -> None:
    with service(directory) as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        body = json.dumps(chat("sandbox?chunks=10&delay_ms=100", stream=True))
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        reply = connection.getresponse()
        reply.read(20)
        os.kill(running.pid, signal.SIGTERM)
        assert reply.read().endswith(b"data: [DONE]\n\n")
        connection.close()


# --- the command line


def test_version_and_help() -> None:
    assert run("version").stdout.strip() == f"fkllmproxy {__version__}"
    assert run("--version").stdout.strip() == f"fkllmproxy {__version__}"
    assert "smoke" in run("--help").stdout


def test_check_masks_secrets_and_tells_sources() -> None:
    ended = run("check", APP_AUTH__MASTER_KEY=KEY, GOOGLE_API_KEY=GEMINI_KEY)
    assert ended.returncode == 0, ended.stderr
    assert KEY not in ended.stdout
    assert GEMINI_KEY not in ended.stdout
    assert "APP_AUTH__MASTER_KEY" in ended.stdout
    assert "GOOGLE_API_KEY" in ended.stdout


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"APP_SERVER__PROT": "1"}, "APP_SERVER__PORT"),
        ({"APP_SERVER__PORT": "70000"}, "65535"),
        ({"APP_SERVER__HOST": "0.0.0.0"}, "APP_AUTH__MASTER_KEY"),
        ({"APP_AUTH__MASTER_KEY": "short"}, "16"),
        ({"APP_AUTH__MASTER_KEY_FILE": "/nonexistent/key"}, "/nonexistent/key"),
        ({"APP_VERTEX__CREDENTIALS_FILE": "/nonexistent/sa.json"}, "/nonexistent/sa.json"),
        ({"APP_RATE_LIMIT__CAPACITY": "many"}, "APP_RATE_LIMIT__CAPACITY"),
    ],
)
def test_a_wrong_configuration_is_one_plain_message(settings: dict[str, str], words: str) -> None:
    for command in ("serve", "check"):
        ended = run(command, **settings)
        assert ended.returncode == 1
        assert words in ended.stderr
        assert "Traceback" not in ended.stdout + ended.stderr


def test_a_port_in_use_is_said_plainly(sandbox: Service) -> None:
    ended = run("serve", APP_SERVER__PORT=str(sandbox.port))
    assert ended.returncode == 1
    assert f"port {sandbox.port}" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_smoke_goes_all_the_way_and_fails_where_it_must(gemini_service: Service, aimock: Aimock, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY + "\n")
    ended = run("smoke", gemini_service.url, "--key-file", str(key_file), "--model", "gemini-2.5-flash")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("ok ") == 4
    key_file.write_text("sk-wrong")
    ended = run("smoke", gemini_service.url, "--key-file", str(key_file), "--model", "gemini-2.5-flash")
    assert ended.returncode == 1
    assert "FAIL" in ended.stdout
    assert run("smoke", f"http://127.0.0.1:{free_port()}").returncode == 1
    assert aimock.journal()


def test_a_worker_that_dies_is_replaced(directory: Path) -> None:
    with service(directory) as running:
        children = subprocess.run(["pgrep", "-P", str(running.pid)], capture_output=True, text=True, check=True).stdout.split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)

        def status() -> int:
            try:
                return ask(f"{running.v1}/chat/completions", body=chat()).status
            except OSError:
                return 0

        until(status, lambda found: found == 200)


def test_settings_of_the_tests_are_those_of_the_product() -> None:
    assert run("check", **gemini_settings("http://127.0.0.1:1")).returncode == 0


def test_the_built_file_tests_itself(tmp_path: Path) -> None:
    done = subprocess.run([BINARY, "selftest"], env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("0 FAILED")
    with service(tmp_path, APP_AUTH__MASTER_KEY=KEY, APP_RATE_LIMIT__ENABLED="false") as running:
        (tmp_path / "key").write_text(KEY)
        command = [BINARY, "selftest", "--json", "--against", running.url, "--model", "sandbox", "--key-file", tmp_path / "key"]
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, "the sandbox calls no tools unless it is told to"
    assert {cell["case"] for cell in json.loads(done.stdout) if cell["outcome"] == "FAILED"} == {"parallel tools", "JSON schema"}
