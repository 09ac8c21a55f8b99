"""What `APP_PROFILE` changes: defaults, and for `prod` what is not let pass. Floor 4.

Whatever somebody says, in the environment, a file or the store, wins over a profile's default; over what `prod` does not let pass, nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping

from pydantic import SecretStr

from fkproxy.settings.problems import Problem
from fkproxy.settings.schema import Settings
from fkproxy.settings.sources import Collected, Found

__all__ = ["PROFILES", "check_production", "from_profile", "lay", "said"]

_NAME = "APP_PROFILE__NAME"
_SOURCE = "profile "

PROFILES: Mapping[str, Mapping[str, str]] = {
    "dev": {
        "APP_RATE_LIMIT__CAPACITY": "1000",
        "APP_RATE_LIMIT__REFILL_PER_SECOND": "100",
        "APP_CONCURRENCY__MAX_STREAMS_PER_KEY": "1000",
        "APP_CORS__ENABLED": "true",
        "APP_CORS__ALLOWED_ORIGINS": "http://localhost:*,https://localhost:*,http://127.0.0.1:*,app://obsidian.md,capacitor://localhost",
        "APP_SANDBOX__ENABLED": "true",
    },
    "prod": {
        "APP_AUTH__REQUIRE_AUTH": "true",
        "APP_CODEX__PARALLEL_TOOL_CALLS": "false",
        "APP_CONCURRENCY__MAX_STREAMS_PER_KEY": "20",
        "APP_SANDBOX__ENABLED": "false",
    },
}
"""Profile → setting → default, in the order of the schema. Pages of apps on a desk have the last two origins of `dev`."""

_LEAST_UNGUESSABLE = 24
"""Characters of a key: 96 bits where they are hex digits."""

_LEAST_DISTINCT = 8

_TRIED_FIRST = (
    *("0123456789", "1234567890", "123456789", "12345678", "abcdefgh", "abcdef", "1234", "qwerty", "sk-"),
    *("changeme", "change", "default", "example", "sample", "secret", "password", "passwd", "letmein", "please", "replace"),
    *("test", "demo", "dummy", "local", "admin", "master", "proxy", "gateway", "fkllmproxy", "token", "your", "api", "key"),
)
"""What examples and hurried keys are made of: `changeme-changeme`, `sk-test-1234567890abcdef`. A key may hold them; they do not count."""


def lay(collected: Collected) -> None:
    """Add the defaults of the profile that was chosen, under everything that was found."""
    chosen = collected.found.get(_NAME)
    if chosen is not None:
        for name, value in PROFILES.get(chosen.value, {}).items():
            collected.found.setdefault(name, Found(value, name, _SOURCE + chosen.value))


def from_profile(source: str) -> bool:
    """Whether a value with this source is a profile's default."""
    return source.startswith(_SOURCE)


def said(collected: Collected, name: str) -> bool:
    """Whether somebody has said it, and not just a profile."""
    return name in collected.found and not from_profile(collected.found[name].source)


def check_production(settings: Settings, collected: Collected, wrong: Collection[str]) -> None:
    """Add to the problems of `collected` what `prod` does not let pass, but for what is in a section of `wrong`."""
    if settings.profile.name == "prod":
        for check, section in _CHECKS:
            if section not in wrong:
                check(settings, collected)


def _access(settings: Settings, collected: Collected) -> None:
    if not settings.auth.require_auth:
        text = "is off: whoever reaches the port may call, through a proxy on this host too"
        _refuse(collected, "APP_AUTH__REQUIRE_AUTH", text, "leave it out, and set APP_AUTH__MASTER_KEY")


def _key(settings: Settings, collected: Collected) -> None:
    _strong(collected, "APP_AUTH__MASTER_KEY", settings.auth.master_key)


def _token(settings: Settings, collected: Collected) -> None:
    _strong(collected, "APP_METRICS__TOKEN", settings.metrics.token)


def _strong(collected: Collected, name: str, secret: SecretStr | None) -> None:
    if secret is None:
        return
    left = secret.get_secret_value().lower()
    for word in _TRIED_FIRST:
        left = left.replace(word, "")
    if len(left) < _LEAST_UNGUESSABLE or len(set(left)) < _LEAST_DISTINCT:
        text = f"can be guessed: without words that everybody tries first, {_LEAST_UNGUESSABLE} different enough characters are the least"
        _refuse(collected, name, text, "make another one, for example with 'openssl rand -hex 24'")


def _pages(settings: Settings, collected: Collected) -> None:
    if settings.cors.enabled and "*" in settings.cors.allowed_origins:
        _refuse(collected, "APP_CORS__ALLOWED_ORIGINS", "lets every page of the web call", "name the origins of your own pages")


def _sandbox(settings: Settings, collected: Collected) -> None:
    if settings.sandbox.enabled:
        _refuse(collected, "APP_SANDBOX__ENABLED", "answers clients with made-up texts", "leave it out, or set it to false")


def _proxies(settings: Settings, collected: Collected) -> None:
    for network in settings.server.trusted_proxies:
        if ipaddress.ip_network(network, strict=False).prefixlen == 0:
            text = f"{network} is everybody: anybody may call himself any address"
            _refuse(collected, "APP_SERVER__TRUSTED_PROXIES", text, "name the addresses of your own proxies")


def _own_tools(settings: Settings, collected: Collected) -> None:
    if settings.codex.own_tools:
        text = "lets whoever has a key read what the service can, its settings among it"
        _refuse(collected, "APP_CODEX__OWN_TOOLS", text, "leave it out, or give such a gateway a machine of its own")


def _refuse(collected: Collected, name: str, text: str, hint: str) -> None:
    """By the name that the operator wrote."""
    found = collected.found.get(name)
    collected.problems.append(Problem(found.name if found is not None and found.name else name, f"{text}; not with the profile prod", hint))


_CHECKS: tuple[tuple[Callable[[Settings, Collected], None], str], ...] = (
    (_access, "auth"),
    (_key, "auth"),
    (_token, "metrics"),
    (_pages, "cors"),
    (_sandbox, "sandbox"),
    (_own_tools, "codex"),
    (_proxies, "server"),
)
"""Each check and the section it rests on."""
