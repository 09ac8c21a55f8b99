"""Texts to values, one setting of each kind standing for it."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.adapters.http import HttpClient, Proxies, header_block
from fkproxy.settings import SettingsError, load

KEY = "0123456789abcdef"


def value(name: str, text: str) -> Any:
    """What the setting `name` becomes; the rest is a configuration that is fine with any of them."""
    section, _, field = name.removeprefix("APP_").lower().partition("__")
    loaded = load(environ={"APP_AUTH__MASTER_KEY": KEY, "APP_CORS__ALLOWED_ORIGINS": "*", name: text})
    return getattr(getattr(loaded.settings, section), field)


def fault(name: str, text: str) -> str:
    """What is said of it."""
    with pytest.raises(SettingsError) as caught:
        value(name, text)
    (problem,) = caught.value.problems
    assert problem.name == name
    return problem.message


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        *(("APP_CORS__ENABLED", text, True) for text in ("true", "1", "yes", "on", "TRUE", " Yes ")),
        *(("APP_RATE_LIMIT__ENABLED", text, False) for text in ("false", "0", "no", "off", "Off")),
        ("APP_SANDBOX__ENABLED", "on", True),
        ("APP_SERVER__PORT", "65535", 65535),
        ("APP_SERVER__HOST", "[::1]", "::1"),
        ("APP_SERVER__HOST", "gateway.example", "gateway.example"),
        ("APP_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7,,fd00::/8", ("10.0.0.0/8", "192.0.2.7", "fd00::/8")),
        ("APP_TIMEOUT__SILENCE_SECS", "0.5", 0.5),
        ("APP_OPENAI__MODELS", "gpt-*, o3", ("gpt-*", "o3")),
        ("APP_OPENAI__BASE_URL", "https://llm.example/v1//", "https://llm.example/v1"),
        ("APP_CORS__ALLOWED_ORIGINS", "https://app.example,http://localhost:8080", ("https://app.example", "http://localhost:8080")),
        ("APP_CORS__ALLOWED_ORIGINS", "http://localhost:*,http://[::1]:*", ("http://localhost:*", "http://[::1]:*")),
        ("APP_CORS__ALLOWED_ORIGINS", "app://obsidian.md,capacitor://localhost", ("app://obsidian.md", "capacitor://localhost")),
        (
            "APP_CORS__ALLOWED_ORIGINS",
            "http://app.example:443,https://app.example:80",
            ("http://app.example:443", "https://app.example:80"),
        ),
        ("APP_LOG__LEVEL", "warning", "warning"),
        ("APP_LOG__LEVEL", "warn", "warning"),
        ("APP_LOG__LEVEL", " INFO", "info"),
        ("APP_LOG__LEVEL", "trace", "debug"),
    ],
)
def test_a_text_becomes_a_value(name: str, text: str, expected: object) -> None:
    assert value(name, text) == expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("APP_CORS__ENABLED", "maybe", "'maybe': expected true, 1, yes or on, or false, 0, no or off"),
        ("APP_SERVER__PORT", "70000", "'70000' is not between 1 and 65535"),
        ("APP_SERVER__PORT", "0", "'0' is not between 1 and 65535"),
        ("APP_SERVER__PORT", "http", "'http' is not a whole number between 1 and 65535"),
        ("APP_SERVER__PORT", "80.5", "'80.5' is not a whole number between 1 and 65535"),
        ("APP_RATE_LIMIT__CAPACITY", "0", "'0' is not between 1 and 1000000000000"),
        ("APP_CIRCUIT_BREAKER__FAILURE_THRESHOLD", f"1{'0' * 20}", f"'1{'0' * 20}' is not between 1 and 1000000000000"),
        ("APP_STREAM__KEEP_ALIVE_SECS", "15.1", "'15.1' is not above 0 and at most 15"),
        ("APP_TIMEOUT__TOTAL_SECS", "nan", "'nan' is not above 0 and at most 86400"),
        ("APP_TIMEOUT__FIRST_BYTE_SECS", "inf", "'inf' is not above 0 and at most 86400"),
        ("APP_TIMEOUT__SILENCE_SECS", "soon", "'soon' is not a number above 0 and at most 86400"),
        ("APP_LOG__LEVEL", "loud", "'loud' is none of debug, info, warning, error"),
        ("APP_OPENAI__PROVIDER_KEY", "Mine", "'Mine' holds characters that it must not, or is too long"),
        ("APP_VERTEX__REGION", "us/../x", "'us/../x' holds characters that it must not, or is too long"),
        ("APP_SERVER__HOST", "127.0.0.1:4000", "'127.0.0.1:4000': expected an address or a host name alone; the port is APP_SERVER__PORT"),
        (
            "APP_OPENAI__BASE_URL",
            "llm.example/v1",
            "'llm.example/v1': expected a URL that begins with http:// or https:// and names a host",
        ),
        ("APP_OPENAI__BASE_URL", "https://llm.example:x/", "the port in a base URL must be a number between 1 and 65535"),
        ("APP_OPENAI__BASE_URL", "http://llm.example:0/v1", "the port in a base URL must be a number between 1 and 65535"),
        ("APP_OPENAI__BASE_URL", "http://model_server!:8000/v1", "the host is missing or not a host name"),
        ("APP_OPENAI__BASE_URL", "http://-llm.example/v1", "the host is missing or not a host name"),
        ("APP_OPENAI__BASE_URL", "http://llm.example/modèle", "the path in a base URL must be percent-encoded"),
        ("APP_OPENAI__BASE_URL", "https://llm.example/?a=b", "a base URL holds no user name, no query and no fragment"),
    ],
)
def test_a_text_that_is_no_value_is_said_to_be_none(name: str, text: str, said: str) -> None:
    assert fault(name, text) == said


@pytest.mark.parametrize("network", ["10.0.0.0/33", "proxy.example", "10.0.0.256"])
def test_the_network_that_is_wrong_is_named(network: str) -> None:
    assert repr(network) in fault("APP_SERVER__TRUSTED_PROXIES", f"192.0.2.1,{network}")


@pytest.mark.parametrize(
    "origin",
    [
        *("https://app.example/", "app.example", "https://App.example", "https://app.example/page", "https://*.example", "*://app.example"),
        *("https://app.example:443", "http://app.example:80", "http://*:*", "http://localhost:80*", "null"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    assert "is not an origin" in fault("APP_CORS__ALLOWED_ORIGINS", origin)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("0123456789abcde", "15 characters"),
        ("0123456789 abcdef", "no spaces"),
        ("0123456789abcdéf", "ASCII"),
        ("0123456789\x7fabcdef", "printable"),
    ],
)
def test_a_key_that_cannot_be_used_is_not_quoted(key: str, said: str) -> None:
    message = fault("APP_AUTH__MASTER_KEY", key)
    assert said in message
    assert key not in message


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2secret@llm.example/v1",
        "https://user:hunter2℀@llm.example/v1",
        "user:hunter2secret@llm.example",
        "ftp://user:hunter2secret@llm.example",
    ],
)
def test_a_password_in_a_url_is_not_quoted(url: str) -> None:
    assert "hunter2" not in fault("APP_OPENAI__BASE_URL", url)


@pytest.mark.parametrize("password", ["hunter2/more", "hunter2[more", "hunter2℀"])
def test_a_password_of_a_proxy_is_not_quoted(password: str) -> None:
    with pytest.raises(ValueError, match="a proxy URL must look like") as caught:
        Proxies(https_url=f"http://user:{password}@proxy.example:3128")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "password",
    ["hunter2/more", "hunter2#more", "hunter2?more", "hunter2[more", "1/hunter2", "1?hunter2", "1/x?hunter2", "hunter2℀", "more@hunter2"],
)
def test_a_password_that_would_break_the_url_of_the_store_is_refused_and_not_quoted(password: str) -> None:
    message = fault("APP_STORE__URL", f"postgresql://gateway:{password}@db.example/gateway")
    assert "%2F" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://gateway:p%2Fw%23@db.example:5433/gateway?sslmode=require&application_name=a",
        "postgresql://gateway:p%40ss%word@[::1]/gateway",
        "postgresql://gateway@server:password@db.example/gateway",
        "postgresql:///gateway?host=/run/postgresql",
        "postgresql://gateway@/gateway?host=one.example,two.example&port=1,2&target_session_attrs=read-write",
    ],
)
def test_a_url_of_a_server_is_taken_as_it_is(url: str) -> None:
    assert value("APP_STORE__URL", url).get_secret_value() == url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("X-Team: blue", {"X-Team": "blue"}),
        ("X-Team: blue, X-Run:7", {"X-Team": "blue", "X-Run": "7"}),
        ("X-Team: blue\nX-Url: http://h:1/\n", {"X-Team": "blue", "X-Url": "http://h:1/"}),
        ('{"X-List": "a, b", "X-Empty": ""}', {"X-List": "a, b", "X-Empty": ""}),
    ],
)
def test_headers_are_pairs_or_json(text: str, expected: dict[str, str]) -> None:
    found = value("APP_OPENAI__EXTRA_HEADERS", text)
    assert {name: secret.get_secret_value() for name, secret in found.items()} == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hunter2secret", "expected 'Name: value' pairs"),
        ('{"X-A": hunter2secret}', "no JSON object"),
        ('{"X-A": ["hunter2secret"]}', "values are strings"),
        ("X A: hunter2secret", "a header's name"),
        (": hunter2secret", "a header's name"),
        ('{"X-A": "hunter2secret\\r\\nX-B: 1"}', "not printable ASCII"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused_without_their_values(text: str, said: str) -> None:
    message = fault("APP_OPENAI__EXTRA_HEADERS", text)
    assert said in message
    assert "hunter2" not in message


async def test_headers_that_the_http_client_keeps_to_itself_are_refused_here_too() -> None:
    client = HttpClient(connect_timeout_s=1.0, proxies=Proxies())
    origin = client.origin("http://upstream.example")
    asked = ["Host", "Connection", "Content-Length", "Transfer-Encoding", "Accept-Encoding", "TE", "Trailer", "Upgrade", "Expect"]
    asked += ["Keep-Alive", "Proxy-Authorization", "Proxy-Connection"]
    for name in asked:
        with pytest.raises(ValueError, match="set by the HTTP client itself"):
            header_block(origin, [(name, "x")])
        assert "cannot be set" in fault("APP_OPENAI__EXTRA_HEADERS", f"{name}: x")
    await client.aclose()
