"""Whatever is sent to the administrator's API: nothing breaks, and every answer is of a described shape.

`FKLLMPROXY_FUZZ_EXAMPLES` (10): how many requests schemathesis makes up for each operation; `FKLLMPROXY_FUZZ_SEED` (1): which ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plane import Admin, until
from tests.e2e.processes import KEY, Service, ask, clean_environment, service

EXAMPLES = os.environ.get("FKLLMPROXY_FUZZ_EXAMPLES", "10")
SEED = os.environ.get("FKLLMPROXY_FUZZ_SEED", "1")
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    *("response_headers_conformance", "missing_required_header", "unsupported_method", "use_after_free"),
)

NUMBERS = ("", "0", "-1", "1_0", "0x10", "%D9%A1", "1e15", "1e309", "-1e309", "1e308", "nan", "inf", "-inf", "9" * 400)
BOUNDS = (str(2**31), str(2**53 + 1), str(2**63), str(-(2**63) - 1), str(2**64), f"{'9' * 20}-1", f"1-{'9' * 20}")
TEXTS = ("%00", "a%00b", "%ff", "%ed%a0%80", "%F0%9F%98%80", "%0a", "%25", "*", "[]", "null", "..%2f..", "'%20OR%201=1--", "a" * 5000)
TYPED = (*NUMBERS, *BOUNDS, *TEXTS)

BODIES = (
    *(b"", b"null", b"1", b'"x"', b"[]", b"{}", b"{", b"\xff\xfe", b"[null]", b'{"a":"\\ud800"}', b'{"a":1e999}'),
    *(b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"[1" + b",1" * 200_000 + b"]"),
    *(b'{"pool":"p","label":"\\u0000"}', b'{"pool":"p","label":"\\ud800"}', b'{"pool":"p","models":["[[[["]}', b'{"pool":"\\u0000"}'),
    *(b'{"pool":"p","expires_s":1e308}', b'{"pool":"p","limits":{"tokens_per_day":99999999999999999999999}}', b'{"overlap_s":1e308}'),
    *(b'{"name":"q","label":"\\ud800"}', b'{"name":"q","fallbacks":{"a":["a"]}}', b'{"names":["\\u0000"]}'),
    *(b'{"APP_LOG__LEVEL":"\\u0000"}', b'{"APP_RATE_LIMIT__CAPACITY":1e308}', b'{"APP_CORS__ALLOWED_ORIGINS":"*,\\u2028"}'),
    *(b'{"adapter":"openai","base_url":"http://["}', b'{"adapter":"openai","base_url":"http://x:999999"}', b'{"adapter":{"a":1}}'),
    *(b'{"quota":{"headers":5},"headers":5,"credentials":5}', b'{"credentials":[{"name":"a","key":{"sealed":{"id":1}}}]}'),
    b'{"credentials":[{"key":{"sealed":{"id":"x","version":1,"data":"!!","fingerprint":"x"}}}]}',
    b'{"providers":[null],"pools":[null],"settings":{"a":"\\u0000"}}',
    b'{"pools":[{"name":"p","created_s":1e308}]}',
)
OTHER_TYPES = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/msgpack", "%")
SMALL = BODIES[:7]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("fuzz"), APP_AUTH__MASTER_KEY=KEY) as found:
        yield found
    broken = [line for line in found.lines() if line.get("level") == "ERROR"]
    assert not broken, broken[:3]


@pytest.fixture(scope="module")
def admin(running: Service) -> Admin:
    admin = Admin.of(running)
    admin.pool("p")
    ask(f"{running.v1}/chat/completions", key=KEY, body={"model": "sandbox", "messages": []}, headers={"x-request-id": "one"})
    until(lambda: admin.calls())
    return admin


@pytest.fixture(scope="module")
def operations(admin: Admin) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, path with names of things that are there, description)."""
    names = {"key": admin.key("p").id, "pool": "p", "provider": "sandbox", "name": "APP_LOG__LEVEL", "revision": "1", "request_id": "one"}
    paths = admin.get("/openapi.json")["paths"]
    return [(method.upper(), _named(path, names), operation) for path, each in paths.items() for method, operation in each.items()]


def _named(path: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def told(url: str, method: str, body: bytes | None = None, kind: str = "application/json") -> str | None:
    """What is wrong with the answer; None when it is good."""
    answer = ask(url, key=KEY, method=method, body=body, headers={"content-type": kind})
    if answer.status < 400:
        return None
    fine = answer.status < 500 and {"code", "message"} <= set(answer.json()["error"])
    return None if fine else f"{method} {url[:200]} {(body or b'')[:60]!r} {kind}: {answer.status} {answer.body[:200]!r}"


def test_every_parameter_takes_what_nobody_thought_of(running: Service, operations: list[tuple[str, str, dict[str, Any]]]) -> None:
    wrong = []
    for method, path, operation in operations:
        for parameter in operation.get("parameters", []):
            others = "".join(f"&{each['name']}=1" for each in operation["parameters"] if each.get("required") and each is not parameter)
            if parameter["in"] == "query":
                wrong += [told(f"{running.url}{path}?{parameter['name']}={value}{others}", method) for value in TYPED]
    assert not [each for each in wrong if each]
    assert len(wrong) > 1000


def test_every_path_takes_what_nobody_thought_of(running: Service, admin: Admin) -> None:
    wrong = []
    for path, each in admin.get("/openapi.json")["paths"].items():
        for method, operation in each.items():
            names = [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"]
            values = [value for value in TYPED if value] if names else []
            wrong += [told(running.url + _named(path, dict.fromkeys(names, value)), method.upper(), b"{}") for value in values]
    assert not [each for each in wrong if each]
    assert len(wrong) > 500


def test_every_body_is_taken_or_refused(running: Service, operations: list[tuple[str, str, dict[str, Any]]]) -> None:
    wrong = []
    for method, path, _ in operations:
        if method in ("POST", "PUT", "PATCH"):
            wrong += [told(running.url + path, method, body) for body in BODIES]
            wrong += [told(running.url + path, method, body, kind) for body in SMALL for kind in OTHER_TYPES]
    assert not [each for each in wrong if each]
    assert len(wrong) > 500


def test_what_schemathesis_makes_up(running: Service, admin: Admin, tmp_path: Path) -> None:
    options = ["--checks", ",".join(CHECKS), "--max-examples", EXAMPLES, "--seed", SEED, "--continue-on-failure", "--no-color"]
    options += ["--suppress-health-check", "too_slow"]  # which would be the machine
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{admin.url}/openapi.json", *options]
    done = subprocess.run(
        [*command, "--header", f"authorization: Bearer {KEY}", "--generation-database", "none"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert admin.get("/audit/verify")["ok"]
