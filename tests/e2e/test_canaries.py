"""Nothing that was said, and no secret, is in anything that is kept, written or answered: each of them carries a canary.

Looked for as it is, in another case, in hexadecimal, percent-encoded and in base64, in: the database with its WAL, backups, the copy of
what is in force, the journal, the log, exports, every answer of the administrator's API, pages of errors, health and metrics.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plane import Admin, Key, until, vendors
from tests.e2e.processes import Answer, Service, ask, service
from tests.fakes.chaos import OPENING, Script, chunk, delta, whole

SAID = (
    *("prompt", "system", "reply", "streamed", "thought", "argument", "result", "filename", "file", "image", "linked", "toolname"),
    *("description", "metadata", "user", "suffix", "vendorerror", "unknownfield", "header", "cookie", "query", "stop"),
)
SECRETS = ("master", "provider", "vendorheader", "wrongkey", "tokenquery", "typedname", "typedkey", "typedfield", "refusedkey")


def canary(place: str) -> str:
    """A word that tells where it was put. Ten letters in a row would not do: names of models may look like anything."""
    return f"xq7{place}q7x"


MASTER = f"sk-{canary('master')}-0123456789"
PROVIDER_KEY = f"sk-{canary('provider')}-0123456789"
PROVIDER_HEADER = f"Bearer {canary('vendorheader')}"
IMAGE = base64.b64encode(f"\x89PNG {canary('image')} image".encode()).decode()
FILE = base64.b64encode(f"%PDF {canary('file')} file".encode()).decode()


def forms(word: str) -> Iterator[bytes]:
    """What it may look like, each in lower case."""
    raw = word.encode()
    yield raw
    yield raw.hex().encode()
    yield "".join(f"%{byte:02x}" for byte in raw).encode()
    for shift in range(3):
        # Of a text in base64 the first and last letters depend on what stands beside it.
        yield base64.b64encode(bytes(shift) + raw)[4 if shift else 0 : -4].lower()


_FORMS = {form: place for place in (*SAID, *SECRETS) for form in forms(canary(place))}
_ANY = re.compile(b"|".join(map(re.escape, _FORMS)))


def found_in(data: bytes) -> set[str]:
    return {_FORMS[match] for match in _ANY.findall(data.lower())}


# --- what is said


ARGUMENTS = json.dumps({"a": canary("argument")})
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": canary("toolname"), "arguments": ARGUMENTS}}


def vendor_scripts() -> tuple[Script, Script]:
    message = {"role": "assistant", "content": canary("reply"), "reasoning_content": canary("thought"), "tool_calls": [TOOL_CALL]}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    reply = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
    body = json.dumps({**reply, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode()
    pieces = [delta(canary("streamed")), delta(canary("streamed")), delta(finish="stop"), delta(usage=usage)]
    return whole(body), [OPENING, *map(chunk, pieces), chunk(b"[DONE]") + b"0\r\n\r\n"]


def vendor_refusal() -> tuple[Script, Script]:
    """A vendor that quotes what it was asked and with which key, as some do."""
    message = f"Incorrect API key provided: {canary('refusedkey')}; you said {canary('vendorerror')}"
    refusal = whole(
        json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": canary("vendorerror")}}).encode(), "401 No"
    )
    return refusal, refusal


def chat(model: str, **more: Any) -> dict[str, Any]:
    function = {"name": canary("toolname"), "description": canary("description"), "parameters": {"type": "object", "properties": {}}}
    parts = [
        {"type": "text", "text": canary("prompt")},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
        {"type": "image_url", "image_url": {"url": f"https://images.example/{canary('linked')}.png"}},
        {"type": "file", "file": {"filename": f"{canary('filename')}.pdf", "file_data": f"data:application/pdf;base64,{FILE}"}},
    ]
    messages = [
        {"role": "system", "content": canary("system")},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": canary("result")},
    ]
    said = {"metadata": {"k": canary("metadata")}, "user": canary("user"), "stop": [canary("stop")]}
    return {"model": model, "messages": messages, "tools": [{"type": "function", "function": function}], **said, **more}


def messages(model: str, **more: Any) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
    content = [{"type": "text", "text": canary("prompt")}, {"type": "image", "source": source}]
    said = {"system": canary("system"), "metadata": {"user_id": canary("user")}, "stop_sequences": [canary("stop")]}
    return {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": content}], **said, **more}


def calls(key: Key) -> Iterator[tuple[str, object, dict[str, str]]]:
    """(path, body, headers) of calls that go well and of calls that do not."""
    headers = {"x-custom": canary("header"), "cookie": f"session={canary('cookie')}", "openai-organization": canary("header")}
    good = {**headers, "authorization": f"Bearer {key.secret}"}
    for model in ("m", "refused", "nobody-has-it", f"m({canary('suffix')})", f"m?{canary('suffix')}=1", f"{canary('suffix')} said here"):
        for stream in (False, True):
            yield "/v1/chat/completions", chat(model, stream=stream), good
            yield "/v1/messages", messages(model, stream=stream), good
    yield "/v1/responses", {"model": "m", "input": canary("prompt"), "instructions": canary("system"), "user": canary("user")}, good
    yield "/v1/chat/completions", chat("m", **{canary("unknownfield"): canary("unknownfield")}), good
    yield "/v1/chat/completions", {"model": "m", "messages": canary("prompt")}, good
    yield "/v1/chat/completions", f'{{"model": "m", "messages": "{canary("prompt")}'.encode(), good
    yield f"/v1/models/m:{canary('query')}?key={canary('query')}", chat("m"), good
    yield f"/v1beta/models/m:generateContent?key={key.secret}", {"contents": [{"parts": [{"text": canary("prompt")}]}]}, headers
    for name in ("authorization", "x-api-key", "x-goog-api-key", "api-key"):
        wrong = f"Bearer sk-{canary('wrongkey')}" if name == "authorization" else f"sk-{canary('wrongkey')}"
        yield "/v1/chat/completions", chat("m"), {**headers, name: wrong}


# --- what an administrator types into the wrong field


def typed(admin: Admin) -> Iterator[Answer]:
    provider = {"adapter": "openai", "base_url": "http://127.0.0.1:9/v1", "credentials": [{"name": "a", "key": canary("typedkey")}]}
    yield admin.answer("PUT", "/providers/wrong", {**provider, "nonsense": canary("typedfield")})
    yield admin.answer("PUT", "/providers/wrong", {**provider, "timeouts": {"connect": canary("typedfield")}})
    yield admin.answer("PUT", "/providers/wrong", {**provider, "credentials": [{"name": "a", "key": {"typed": canary("typedkey")}}]})
    yield admin.answer("PUT", f"/providers/sk-{canary('typedname')}-AbCd", {"adapter": "none"})
    yield admin.answer("POST", "/providers/validate", [{**provider, "name": "x", "adapter": canary("typedfield")}])
    yield admin.answer("PATCH", "/settings", {"APP_AUTH__MASTER_KEY": canary("typedkey")})
    yield admin.answer("PATCH", "/settings", {"APP_LOG__LEVEL": canary("typedfield"), canary("typedname"): "1"})
    yield admin.answer("PUT", "/config", {"providers": [{**provider, "name": "x", "priority": canary("typedfield")}], "pools": []})
    yield admin.answer("POST", "/keys", {"pool": canary("typedname")})
    for method, path in (
        ("GET", "/keys/{}"),
        ("POST", "/keys/{}/revoke"),
        ("DELETE", "/keys/{}"),
        ("GET", "/pools/{}"),
        ("DELETE", "/providers/{}"),
    ):
        yield admin.answer(method, path.format(f"sk-{canary('typedname')}"))
        yield admin.answer(method, path.format(f"sk-fk-0123456789ab-{canary('typedname')}"))
    yield admin.answer("POST", f"/upstreams/pause?key=sk-{canary('typedname')}")
    yield ask(f"{admin.url}/keys?token={canary('tokenquery')}")
    yield ask(f"{admin.url}/keys", headers={"x-management-secret": canary("wrongkey")})
    yield ask(f"{admin.root}/v0/management/config", headers={"x-management-key": canary("wrongkey")})


# --- where it is looked for


def answers_of(admin: Admin, key: Key) -> Iterator[tuple[str, bytes]]:
    described = admin.get("/openapi.json")["paths"]
    names = {"key": key.id, "pool": "p", "provider": "managed", "name": "APP_AUTH__MASTER_KEY", "revision": "1", "request_id": "marker"}
    for path, methods in described.items():
        if "get" in methods:
            asked = path.removeprefix("/admin/api")
            for name, value in names.items():
                asked = re.sub(rf"\{{{name}(:\w+)?\}}", value, asked)
            if asked == "/config/diff":
                asked += "?older=1&newer=2"
            answer = admin.answer("GET", asked)
            assert answer.status in (200, 404), (asked, answer.body)
            yield asked, answer.body + str(answer.headers).encode()
    for kind in ("csv", "jsonl"):
        exported = admin.answer("GET", f"/calls/export?format={kind}").body
        assert exported.count(b"\n") > 20
        yield f"export as {kind}", exported
    root = Admin(admin.root, MASTER)
    for path in ("/admin/config", "/admin/provider-states", "/admin/settings", "/v0/management/config", "/v0/management/auth-files"):
        yield path, ask(root.root + path, key=MASTER).body
    for path in ("/v0/management/usage", "/v0/management/api-keys", "/health", "/metrics", "/metrics/prometheus", "/v1/metrics/providers"):
        yield path, ask(root.root + path, key=MASTER).body
    for path in ("/nothing", "/admin/api/nothing", "/v1/models"):
        yield path, ask(root.root + path, key=key.secret).body


def files_of(state: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(state.rglob("*")):
        # A part of the journal, or a copy that is being made, may be gone by now.
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                yield str(path.relative_to(state)), path.read_bytes()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Everything that was written and answered, by where."""
    directory = tmp_path_factory.mktemp("canaries")
    state = directory / "state"
    seen: dict[str, bytes] = {}
    settings = {"APP_AUTH__MASTER_KEY": MASTER, "APP_LOG__LEVEL": "debug", "APP_STORE__DIRECTORY": str(state)}
    with vendors() as (vendor,), service(directory, APP_RATE_LIMIT__ENABLED="false", **settings) as running:
        vendor.faults[PROVIDER_KEY] = vendor_scripts()
        vendor.faults["refused"] = vendor_refusal()
        admin = Admin(running.url, MASTER)
        until(lambda: admin.store()["state"], lambda state: state == "open")
        admin.pool("p")
        key = managed(admin, vendor.url)
        statuses = {ask(running.url + path, body=body, headers=headers).status for path, body, headers in calls(key)}
        assert {200, 400, 401, 404} <= statuses
        for number, answer in enumerate(typed(admin)):
            assert answer.status in (400, 401, 403, 404, 405, 409, 422) or b"problems" in answer.body, (number, answer.status, answer.body)
            seen[f"typed {number}"] = answer.body
        marker = {"model": "m", "messages": []}
        ask(f"{running.v1}/chat/completions", key=key.secret, body=marker, headers={"x-request-id": "marker"})
        seen |= {f"journal under way: {name}": data for name, data in files_of(state)}
        until(lambda: admin.calls("&request_id=marker"))
        admin.post("/store/backup")
        seen |= {f"running: {name}": data for name, data in files_of(state)}
        seen |= dict(answers_of(admin, key))
        shown_on_purpose(admin, running, seen)
    seen |= {f"stopped: {name}": data for name, data in files_of(state)}
    seen["log"] = running.log.read_bytes()
    shutil.rmtree(directory)
    return seen


def managed(admin: Admin, url: str) -> Key:
    """A provider whose secrets come through the API, a key that was rotated."""
    entry = {"adapter": "openai", "base_url": url, "models": ["m"], "headers": {"x-vendor": PROVIDER_HEADER}}
    admin.put("/providers/managed", {**entry, "credentials": [{"name": "a", "key": PROVIDER_KEY}]})
    admin.put("/providers/refusing", {**entry, "models": ["refused"], "credentials": [{"name": "a", "key": "refused"}]})
    first = admin.key("p", label="of the canaries")
    return Key(admin.post(f"/keys/{first.id}/rotate", {"overlap_s": 0}))


def shown_on_purpose(admin: Admin, running: Service, seen: dict[str, bytes]) -> None:
    """What would be found is found where it must be, and a client's own secret nowhere else."""
    exported = admin.answer("GET", "/config?secrets=true").body
    assert found_in(exported) == {"provider", "vendorheader"}
    made = admin.key("p")
    unseen = made.secret.removeprefix(made.prefix).encode()
    assert ask(f"{running.v1}/models", key=made.secret).status == 200
    assert not [name for name, data in seen.items() if unseen in data]
    seen["the rest of a client key"] = unseen


def test_nothing_that_was_said_is_anywhere(seen: dict[str, bytes]) -> None:
    leaks = {name: places for name, data in seen.items() if (places := found_in(data) & set(SAID))}
    assert not leaks


def test_no_secret_is_anywhere(seen: dict[str, bytes]) -> None:
    leaks = {name: places for name, data in seen.items() if (places := found_in(data) & set(SECRETS))}
    assert not leaks
    secret = seen.pop("the rest of a client key")
    assert not [name for name, data in seen.items() if secret in data]


def test_the_places_are_the_ones_there_are(seen: dict[str, bytes]) -> None:
    names = " ".join(seen)
    for place in (
        "fkllmproxy.db",
        "fkllmproxy.db-wal",
        "fkllmproxy.db-shm",
        "backups/",
        "in-force.json",
        "journal/calls-",
        "/audit",
        "/usage",
    ):
        assert place in names, place
    assert all(seen[name] for name in seen if name.endswith((".db", "-wal", ".json", ".jsonl", "log")))


@pytest.mark.parametrize("place", [*SAID, *SECRETS])
def test_a_canary_would_be_seen(place: str) -> None:
    word = canary(place)
    for text in (
        word,
        word.upper(),
        word.encode().hex(),
        base64.b64encode(f"x{word}".encode()).decode(),
        base64.b64encode(f"xy{word}z".encode()).decode(),
    ):
        assert found_in(f"before {text} behind".encode()) == {place}
