"""What must hold between settings, and what the outside world must have ready for them. Floor 4."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fkproxy.settings.problems import Problem, reason
from fkproxy.settings.profiles import check_production, said
from fkproxy.settings.schema import Auth, Settings
from fkproxy.settings.sources import Collected

__all__ = ["check_together", "google_credentials", "is_own_address", "open_to_others"]

_CREDENTIAL_TYPES = frozenset(
    (
        "authorized_user",
        "external_account",
        "external_account_authorized_user",
        "gdch_service_account",
        "impersonated_service_account",
        "service_account",
    )
)
"""What google-auth reads from a file (its user guide, read 2026-11)."""

_LOADED_OFFLINE = frozenset(("authorized_user", "service_account"))
"""Loading the others asks the network who they are."""


def check_together(settings: Settings, collected: Collected, wrong: Collection[str]) -> None:
    """Add to the problems and warnings of `collected`. What rests on a section in `wrong` cannot be judged and is left out."""
    for check, sections in _CHECKS:
        if not any(section in wrong for section in sections):
            check(settings, collected)
    check_production(settings, collected, wrong)


def _auth(settings: Settings, collected: Collected) -> None:
    server, auth = settings.server, settings.auth
    if auth.require_auth and auth.master_key is None:
        hint = "set it, for example to what 'openssl rand -hex 24' prints"
        collected.problems.append(Problem("APP_AUTH__MASTER_KEY", "a key is required but none is set", hint))
    if not auth.require_auth and auth.master_key is not None:
        text = "is off although there is a key: anybody who can connect may call"
        collected.warnings.append(Problem("APP_AUTH__REQUIRE_AUTH", text))
    if (problem := open_to_others("APP_SERVER__HOST", server.host, auth)) is not None:
        collected.problems.append(problem)


def open_to_others(name: str, host: str, auth: Auth) -> Problem | None:
    """What is wrong with listening at `host`, which `name` has said: others can reach it, and no key is required."""
    if auth.require_auth or _is_loopback(host):
        return None
    needed = "leave out APP_AUTH__REQUIRE_AUTH" if auth.master_key is not None else "set APP_AUTH__MASTER_KEY (16 characters or more)"
    text = f"{host} can be reached from other machines and no key is required"
    return Problem(name, text, f"{needed}, or listen on 127.0.0.1")


def _cors(settings: Settings, collected: Collected) -> None:
    cors = settings.cors
    if cors.enabled and not cors.allowed_origins:
        text = "cross-origin calls are enabled for no origin"
        collected.problems.append(Problem("APP_CORS__ALLOWED_ORIGINS", text, "name origins, or * for all"))
    if not cors.enabled and said(collected, "APP_CORS__ALLOWED_ORIGINS"):
        text = "has no effect while APP_CORS__ENABLED is off"
        collected.warnings.append(Problem("APP_CORS__ALLOWED_ORIGINS", text))


def _timeouts(settings: Settings, collected: Collected) -> None:
    """Of the deadlines that somebody set; a default may be longer than the total and then simply never comes first."""
    timeout = settings.timeout
    for field in ("connect_secs", "first_byte_secs", "silence_secs", "stall_secs"):
        name = f"APP_TIMEOUT__{field}".upper()
        if said(collected, name) and getattr(timeout, field) > timeout.total_secs:
            text = f"is longer than the whole call may take, {timeout.total_secs:g} seconds, and so never passes"
            collected.warnings.append(Problem(name, text, "lower it, or raise APP_TIMEOUT__TOTAL_SECS"))


def _credentials(settings: Settings, collected: Collected) -> None:
    vertex = settings.vertex
    path = vertex.credentials_file
    if path is None:
        return
    name = collected.found["APP_VERTEX__CREDENTIALS_FILE"].name
    if vertex.api_key is not None and not vertex.claude_models:
        key = collected.found["APP_VERTEX__API_KEY"].name
        collected.warnings.append(Problem(name, f"is not used: {key} is set too, and a key wins", "remove one of them"))
        return
    try:
        content: Any = json.loads(path.read_bytes())
    except OSError as error:
        text = f"{path} cannot be read: {reason(error)}"
        collected.problems.append(Problem(name, text, "check that it exists and who may read it"))
        return
    except ValueError:
        content = None
    kind = content.get("type") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in _CREDENTIAL_TYPES or not _can_be_loaded(settings, kind):
        text = f"{path} is not a Google credentials file that can be used"
        collected.problems.append(Problem(name, text, "it must be the JSON file that Google gave you, unchanged"))
    elif not (vertex.project_id or content.get("project_id")):
        hint = f"set it, or GOOGLE_CLOUD_PROJECT, or use credentials that name one ({path} does not)"
        collected.problems.append(Problem("APP_VERTEX__PROJECT_ID", "no Google Cloud project is named", hint))


def google_credentials(path: Path, projects: Sequence[str]) -> bool:
    """Whether this is a credentials file that can be used."""
    try:
        content: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    kind = content.get("type") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in _CREDENTIAL_TYPES or not (projects or content.get("project_id")):
        return False
    return kind not in _LOADED_OFFLINE or _loads(path, projects[0] if projects else None)


def _can_be_loaded(settings: Settings, kind: str) -> bool:
    """A broken private key shows now and not at the first call."""
    return kind not in _LOADED_OFFLINE or _loads(settings.vertex.credentials_file, settings.vertex.project_id)


def _loads(path: Path | None, project_id: str | None) -> bool:
    # Imported here: google-auth is slow to import, and most installations never need it.
    from fkproxy.adapters.google_auth import GoogleTokens

    try:
        GoogleTokens(credentials_file=path, project_id=project_id)
    except ValueError:
        return False
    return True


def _circles(settings: Settings, collected: Collected) -> None:
    upstreams = {
        "APP_VERTEX__API_KEY_BASE_URL": settings.vertex.api_key_base_url,
        "APP_VERTEX__OAUTH_BASE_URL": settings.vertex.oauth_base_url,
        "APP_OPENAI__BASE_URL": settings.openai.base_url,
        "APP_ANTHROPIC__BASE_URL": settings.anthropic.base_url,
    }
    for setting, url in upstreams.items():
        if url is not None and is_own_address(url, settings.server.host, settings.server.port):
            text = "is this gateway's own address: a call would go round in circles"
            hint = "name the upstream's address, or another port; unset it here where it is for clients"
            collected.problems.append(Problem(collected.found[setting].name, text, hint))


def _claude(settings: Settings, collected: Collected) -> None:
    vertex = settings.vertex
    if vertex.claude_models and not (vertex.credentials_file or vertex.ambient_credentials):
        text = "has no effect without credentials for Vertex AI: an API key does not reach it"
        collected.warnings.append(Problem("APP_VERTEX__CLAUDE_MODELS", text, "set GOOGLE_APPLICATION_CREDENTIALS"))


def is_own_address(url: str, host: str, port: int) -> bool:
    """Whether `url` leads to a gateway that listens on this host and port."""
    parts = urlsplit(url)
    target = parts.hostname or ""
    if (parts.port or (443 if parts.scheme == "https" else 80)) != port:
        return False
    if target == host.lower() or _is_any(target):
        return True
    return (_is_loopback(target) and (_is_loopback(host) or _is_any(host))) or (_is_any(host) and target == socket.gethostname().lower())


def _providers(settings: Settings, collected: Collected) -> None:
    vertex, openai, anthropic = settings.vertex, settings.openai, settings.anthropic
    google = vertex.api_key or vertex.credentials_file or vertex.ambient_credentials
    if google or openai.api_key or openai.base_url or anthropic.api_key or anthropic.auth_token or anthropic.base_url:
        return
    if settings.codex.binary is not None:
        return
    if settings.providers.file is not None:
        return
    real = "set GOOGLE_API_KEY, GOOGLE_APPLICATION_CREDENTIALS, ANTHROPIC_API_KEY, OPENAI_API_KEY or CODEX_BIN for a real one"
    if settings.sandbox.enabled is False:
        # No reason not to start: providers that are managed through the gateway itself are not known here.
        text = "is off and no provider is configured: nothing can answer until one is added"
        collected.warnings.append(Problem("APP_SANDBOX__ENABLED", text, real))
    elif not said(collected, "APP_SANDBOX__ENABLED"):
        collected.warnings.append(Problem("providers", "none is configured, so the built-in sandbox answers", real))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


_CHECKS: tuple[tuple[Callable[[Settings, Collected], None], tuple[str, ...]], ...] = (
    (_auth, ("server", "auth")),
    (_cors, ("cors",)),
    (_timeouts, ("timeout",)),
    (_credentials, ("vertex",)),
    (_circles, ("server", "vertex", "openai", "anthropic")),
    (_claude, ("vertex",)),
    (_providers, ("vertex", "openai", "anthropic", "codex", "sandbox", "providers")),
)
"""Each check and the sections it rests on."""
