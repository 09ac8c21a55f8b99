"""What is seen of upstreams, keys and usage in the shapes of the systems this one replaces. Floor 3. Pure: JSON-able values.

    provider_states        `GET /admin/provider-states`: epoch milliseconds, null for never
    auth_files             `GET /v0/management/auth-files`: one entry for each upstream
    quota_of               `GET /v0/management/kiro-quota`
    configuration          `GET /v0/management/config`
    usage                  `GET /v0/management/usage`

An upstream is found again by its `auth_index`, which is made of its name and so outlives a restart. No secret is in any of these.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from fkproxy.control.refusals import Refused
from fkproxy.control.seams import NamedProvider
from fkproxy.control.upstreams import UpstreamView
from fkproxy.storage.calls_values import UsageRow

__all__ = ["NoCredential", "auth_files", "auth_index", "configuration", "found", "provider_states", "quota_of", "states_of", "usage"]

_STATUSES: Mapping[str, str] = {"active": "active", "paused": "disabled", "refreshing": "refreshing"}
"""Of an upstream → there; all others are errors."""

_QUOTA_PROVIDER = "kiro"
"""Whose quota is meant when none is named."""


class NoCredential(Refused):
    """No upstream answers to that index, id or file name. `index` as it was asked for; None where nothing was."""

    code = "not_found"

    def __init__(self, index: str | None) -> None:
        super().__init__("no kiro credential found" if index is None else "no credential found")
        self.index = index


# --- GET /admin/provider-states


def provider_states(
    views: Sequence[UpstreamView], providers: Sequence[NamedProvider], primary: tuple[str, str], now_s: float
) -> dict[str, dict[str, Any]]:
    """Provider → state, by the name that its operator gave it. `primary`: what that system calls the provider which is always there."""
    always, behind = primary
    states = {always: _state(states_of(views, behind), now_s)}
    for provider in providers:
        if provider.name != behind:
            states[str(provider.entry.get("label") or provider.name)] = _state(states_of(views, provider.name), now_s)
    return states


def states_of(views: Sequence[UpstreamView], provider: str) -> list[UpstreamView]:
    """The upstreams of a provider."""
    return [view for view in views if view.provider_key == provider]


def _state(views: Sequence[UpstreamView], now_s: float) -> dict[str, Any]:
    """Of the provider as a whole: it is as well as its best upstream."""
    waits = [view.retry_after_s or 0.0 for view in views]
    wait_s = min(waits, default=0.0)
    failures = min((view.consecutive_failures for view in views), default=0)
    return {
        "consecutiveFailures": failures,
        "lastFailure": _ms(view.last_error_s for view in views) if failures else None,
        "lastSuccess": _ms(view.last_success_s for view in views),
        "cooldownUntil": round((now_s + wait_s) * 1000) if wait_s > 0 else None,
    }


def _ms(times_s: Iterable[float | None]) -> int | None:
    newest = max((at for at in times_s if at is not None), default=None)
    return round(newest * 1000) if newest is not None else None


# --- /v0/management


def auth_index(key: str) -> str:
    """Sixteen hex digits that stand for an upstream, the same in every process."""
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def auth_files(views: Sequence[UpstreamView], providers: Sequence[NamedProvider], now_s: float) -> list[dict[str, Any]]:
    """One for each upstream and for each that is disabled, by file name."""
    by_name = {provider.name: provider for provider in providers}
    files = [_file(view, by_name.get(view.provider_key), now_s) for view in views]
    seen = {view.key for view in views}
    for provider in providers:
        files += [_base(key, provider, "disabled", "disabled in the configuration") for key in provider.upstreams if key not in seen]
    return sorted(files, key=lambda file: str(file["name"]))


def _file(view: UpstreamView, provider: NamedProvider | None, now_s: float) -> dict[str, Any]:
    waiting = view.state in ("limited", "exhausted", "reauth_required") or view.breaker == "open"
    status = "error" if view.breaker == "open" else _STATUSES.get(view.state, "error")
    file = _base(view.key, provider, status, view.cause or view.last_error or "") | {"unavailable": waiting or view.state == "paused"}
    if view.retry_after_s:
        file["next_retry_after"] = _timestamp(now_s + view.retry_after_s)
    if view.last_success_s is not None or view.last_error_s is not None:
        file["updated_at"] = _timestamp(max(view.last_success_s or 0.0, view.last_error_s or 0.0))
    if view.credential_expires_s is not None:
        file["expires_at"] = _timestamp(view.credential_expires_s)
    return file


def _base(key: str, provider: NamedProvider | None, status: str, message: str) -> dict[str, Any]:
    name, _, credential = key.partition("/")
    path = _token_file(provider, credential)
    filename = PurePath(path).name if path is not None else f"{key.replace('/', '-')}.json"
    index = auth_index(key)
    return {
        "id": key,
        "auth_index": index,
        "index": index,
        "name": filename,
        "filename": filename,
        "type": name,
        "provider": name,
        "label": str(provider.entry.get("label") or "") if provider is not None else "",
        "account": credential,
        "status": status,
        "status_message": message,
        "disabled": status == "disabled",
        "unavailable": status == "disabled",
        "runtime_only": path is None,
        "source": "memory" if path is None else "file",
    }


def _token_file(provider: NamedProvider | None, credential: str) -> str | None:
    """The file that the credential is kept fresh in."""
    entries = provider.entry.get("credentials") or [] if provider is not None else []
    for position, entry in enumerate(entries):
        name = entry.get("name") or (str(position + 1) if len(entries) > 1 else "")
        path = entry.get("token_file") or entry.get("credentials_file")
        if path and (name == credential or credential.startswith(f"{name}.") or not name):
            return str(path)
    return None


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def found(views: Sequence[UpstreamView], providers: Sequence[NamedProvider], name: str) -> UpstreamView:
    """By index, id or file name. Raises `NoCredential`: another's is never told instead."""
    by_name = {provider.name: provider for provider in providers}
    for view in views:
        file = _base(view.key, by_name.get(view.provider_key), "", "")
        if name in (file["auth_index"], file["id"], file["filename"]):
            return view
    raise NoCredential(name)


def quota_of(views: Sequence[UpstreamView], providers: Sequence[NamedProvider], name: str | None) -> dict[str, Any]:
    """What is left of a credential's quota; null where its vendor does not say. Raises `NoCredential`."""
    if name is None:
        candidates = [view for view in views if view.provider_key == _QUOTA_PROVIDER] or [view for view in views if view.quota is not None]
        if not candidates:
            raise NoCredential(None)
        view = candidates[0]
    else:
        view = found(views, providers, name)
    quota = view.quota
    exhausted = quota.quota_exhausted if quota is not None else None
    return {
        "auth_index": auth_index(view.key),
        "profile_arn": "",
        "provider_key": view.provider_key,
        "remaining_quota": quota.quota_remaining if quota is not None else None,
        "usage_percentage": quota.usage_percentage if quota is not None else None,
        "quota_exhausted": exhausted if exhausted is not None else view.state == "exhausted",
        "quota_reset_seconds": quota.quota_reset_seconds if quota is not None else None,
        "usage": {"asked_at": _timestamp(quota.asked_s)} if quota is not None else {},
    }


def configuration(
    providers: Sequence[NamedProvider], scalars: Mapping[str, Any], prefixes: Sequence[str], clients: Sequence[str]
) -> dict[str, Any]:
    """`scalars`: "quota-exceeded/switch-project" → value, and so on. `prefixes` of client keys; `clients`: dialects that are understood."""
    told: dict[str, Any] = {}
    for path, value in scalars.items():
        table, *inner = path.split("/")
        if inner:
            told.setdefault(table, {})[inner[0]] = value
        else:
            told[table] = value
    return told | {
        "usage-statistics-enabled": True,
        "api-keys": list(prefixes),
        "providers": [
            {
                "name": provider.name,
                "supported_clients": list(clients),
                "source": provider.source,
                "disabled": provider.disabled,
                "auth_index": [auth_index(key) for key in provider.upstreams],
            }
            for provider in providers
        ],
    }


# --- usage


def usage(
    by_key: Sequence[UsageRow],
    models: Mapping[str, Sequence[UsageRow]],
    by_hour: Sequence[UsageRow],
    names: Mapping[str, str],
) -> dict[str, Any]:
    """Sums by key, model, day and hour of the day (UTC). `by_hour` has every call, `by_key` those of as many keys as are told.

    `models`: key → its models; `names`: key → what it is shown as.
    """
    failed = sum(row.failed for row in by_hour)
    return {
        "usage": {
            "total_requests": sum(row.calls for row in by_hour),
            "success_count": sum(row.calls - row.failed for row in by_hour),
            "failure_count": failed,
            "total_tokens": sum(map(_tokens, by_hour)),
            "apis": {names.get(str(row.group), str(row.group) or "-"): _sums(row) | {"models": _models(models, row)} for row in by_key},
            "requests_by_day": _by("%Y-%m-%d", by_hour, lambda row: row.calls),
            "requests_by_hour": _by("%H", by_hour, lambda row: row.calls),
            "tokens_by_day": _by("%Y-%m-%d", by_hour, _tokens),
            "tokens_by_hour": _by("%H", by_hour, _tokens),
        },
        "failed_requests": failed,
    }


def _tokens(row: UsageRow) -> int:
    return row.tokens_input + row.tokens_output


def _sums(row: UsageRow) -> dict[str, Any]:
    return {"total_requests": row.calls, "total_tokens": _tokens(row)}


def _models(models: Mapping[str, Sequence[UsageRow]], row: UsageRow) -> dict[str, Any]:
    return {
        str(each.group) or "-": _sums(each)
        | {
            "tokens": {
                "input_tokens": each.tokens_input,
                "output_tokens": each.tokens_output,
                "reasoning_tokens": each.tokens_reasoning,
                "cached_tokens": each.tokens_cached_input,
                "total_tokens": _tokens(each),
            },
            "failed": each.failed,
        }
        for each in models.get(str(row.group), ())
    }


def _by(form: str, rows: Sequence[UsageRow], count: Any) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in rows:
        name = time.strftime(form, time.gmtime(float(row.group)))
        sums[name] = sums.get(name, 0) + count(row)
    return sums
