"""Managed providers as the claude-code-fallback system lists them: `GET` and `POST /admin/config`. Floor 3. Pure.

    {"name", "baseUrl", "apiKey", "authHeader"?, "headers"?, "modelMapping"?, "format"?, "disabled"?, "retry"?}

Its `baseUrl` is the whole address of the endpoint; ours ends before the operation. Its names are any text; ours are short words, so the
text is kept as label. What our entries say besides stands in the list under our names, and is kept where a list does not mention it.
A provider that has no place in this shape (several credentials, another adapter) stands there as our entry, with `adapter`.
Secrets are shown as `masked:<fingerprint>`, and such a text keeps the secret that is stored, if it is still that one: the address beside
it must not get another one's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fkproxy.control.refusals import Fault, Invalid
from fkproxy.control.secret_fields import is_masked, mask, normal, secrets_of

__all__ = ["MASKED", "PRIMARY", "PRIMARY_PROVIDER", "WrongList", "as_list", "entries_of"]

PRIMARY = "anthropic-primary"
"""What that system calls the one upstream that is not in the list."""

PRIMARY_PROVIDER = "anthropic"
"""The provider of ours that is it."""

_ENDPOINTS: Mapping[str, str] = {"anthropic": "/v1/messages", "openai": "/chat/completions"}
"""Its formats, which are names of adapters as well → what its address has after ours."""

_DEFAULT_FORMAT = "anthropic"
_DEFAULT_HEADER = "x-api-key"
_BEARER = "Authorization"

_EVERY_MODEL = ["claude-*", "*"]
"""There every provider may be asked for every model; `*` alone would give way to providers that name the model. A list that says nothing
of a new provider's models says these."""

_PLAIN: Mapping[str, str] = {"headers": "headers", "modelMapping": "model_mapping", "disabled": "disabled", "retry": "retries"}
"""Its field → ours, with the same meaning."""

_THEIRS = frozenset(("name", "baseUrl", "apiKey", "authHeader", "format", *_PLAIN))
_MAPPED = frozenset(("name", "label", "adapter", "base_url", "auth_header", *_PLAIN.values()))
"""Fields of ours that its fields say."""

MASKED = "masked:"
"""What a secret that is shown begins with."""

_MASKED = re.compile(MASKED + r"([A-Za-z0-9:_-]{0,80})")


class WrongList(Invalid):
    """With the words of that system."""

    def __init__(self, message: str) -> None:
        super().__init__([Fault("providers", message)])
        self.args = (message,)


# --- ours → theirs


def as_list(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The entries of an export, in order."""
    return [_item(entry) for entry in entries]


def _item(entry: Mapping[str, Any]) -> dict[str, Any]:
    credential = _only_credential(entry)
    ending = _ENDPOINTS.get(str(entry.get("adapter")))
    if ending is None or credential is None or "base_url" not in entry:
        return dict(entry)
    item: dict[str, Any] = {
        "name": entry.get("label") or entry["name"],
        "baseUrl": f"{entry['base_url']}{ending}",
        "apiKey": _text(credential["key"]),
    }
    header = entry.get("auth_header", _DEFAULT_HEADER if entry["adapter"] == _DEFAULT_FORMAT else _BEARER)
    if header != _DEFAULT_HEADER:
        item["authHeader"] = header
    for theirs, ours in _PLAIN.items():
        if ours in entry:
            item[theirs] = entry[ours]
    if "headers" in item:
        item["headers"] = {name: _text(value) for name, value in item["headers"].items()}
    if entry["adapter"] != _DEFAULT_FORMAT:
        item["format"] = entry["adapter"]
    rest = {name: value for name, value in credential.items() if name != "key"}
    more = {name: value for name, value in entry.items() if name not in _MAPPED and name != "credentials"}
    if entry["adapter"] != _DEFAULT_FORMAT and more.setdefault("models", None) == _EVERY_MODEL:
        del more["models"]
    return item | more | ({"credentials": [rest]} if rest else {})


def _only_credential(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    credentials = entry.get("credentials") or []
    return credentials[0] if len(credentials) == 1 and "key" in credentials[0] else None


def _text(secret: Any) -> str:
    return f"{MASKED}{secret['fingerprint']}" if is_masked(secret) else str(secret)


# --- theirs → ours


def entries_of(
    given: Any, before: Sequence[Mapping[str, Any]], fields: Collection[str], taken: Collection[str] = ()
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """(entries with secrets in the clear or masked, paths of what has no meaning here).

    `before`: the entries there are, and after them those there were; the first of the same name keeps what the list does not mention.
    `fields`: those that an entry of ours may have. `taken`: names of other providers. Raises `WrongList`.
    """
    if not isinstance(given, list):
        raise WrongList("Config must be an array")
    stored = {str(entry.get("label") or entry.get("name")): entry for entry in reversed(before)}
    entries: list[dict[str, Any]] = []
    ignored: list[str] = []
    seen: set[str] = set()
    listed = {item["name"] for item in given if isinstance(item, Mapping) and isinstance(item.get("name"), str)}
    used = {*taken, *(str(entry["name"]) for name, entry in stored.items() if name in listed)}
    used |= {str(item.get("name")) for item in given if _is_ours(item)}
    for number, item in enumerate(given):
        if _is_ours(item):
            entries.append(normal(item))
            continue
        _checked(item)
        name = item["name"]
        if name in seen:
            raise WrongList("Invalid provider: two have the same name")
        seen.add(name)
        old = stored.get(name)
        slug = str(old["name"]) if old is not None else _slug(name, used)
        used.add(slug)
        unknown = [field for field in item if field not in _THEIRS and field not in fields]
        ignored += [f"[{number}].{field}" for field in unknown]
        entries.append(_entry(item, old or {}, slug, {field: item[field] for field in item if field in fields and field not in _MAPPED}))
    return entries, tuple(ignored)


def _is_ours(item: Any) -> bool:
    """An entry as we have it, which has no place in their shape."""
    return isinstance(item, Mapping) and "adapter" in item and "baseUrl" not in item


def _checked(item: Any) -> None:
    wanted = ("name", "baseUrl", "apiKey")
    if not isinstance(item, Mapping) or not all(isinstance(item.get(field), str) and item[field] for field in wanted):
        raise WrongList("Invalid provider: missing name, baseUrl, or apiKey")
    kind = item.get("format", _DEFAULT_FORMAT)
    if not isinstance(kind, str) or kind not in _ENDPOINTS:
        raise WrongList('Invalid provider format: must be "anthropic" or "openai"')
    if item["name"] == PRIMARY:
        raise WrongList(f"Invalid provider: {PRIMARY} is the name of another one")
    if not item["baseUrl"].endswith(_ENDPOINTS[kind]):
        raise WrongList(f"Invalid provider: baseUrl must be the whole address, which ends in {_ENDPOINTS[kind]} for {kind}")


def _entry(item: Mapping[str, Any], before: Mapping[str, Any], slug: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """`before`: the entry of that name, empty for a new one. `more`: what the item says in our words."""
    kind = str(item.get("format", _DEFAULT_FORMAT))
    kept = {name: value for name, value in before.items() if name not in _MAPPED and name != "credentials"}
    entry: dict[str, Any] = {"name": slug, "adapter": kind, "base_url": item["baseUrl"].removesuffix(_ENDPOINTS[kind]), **kept, **more}
    if item["name"] != slug:
        entry["label"] = item["name"]
    header = item.get("authHeader") or _DEFAULT_HEADER
    if header != _DEFAULT_HEADER or kind != _DEFAULT_FORMAT:
        entry["auth_header"] = header
    for theirs, ours in _PLAIN.items():
        if item.get(theirs) is not None:
            entry[ours] = item[theirs]
    held = {shown["fingerprint"] for _, shown in secrets_of(before) if is_masked(shown)}
    if isinstance(entry.get("headers"), Mapping):
        entry["headers"] = {name: _secret(value, held) for name, value in entry["headers"].items()}
    if kind not in (_DEFAULT_FORMAT, before.get("adapter")):
        entry.setdefault("models", list(_EVERY_MODEL))
    credential = _credential(more.get("credentials"), before)
    key = item["apiKey"]
    entry["credentials"] = [{**credential, "key": _secret(key.removeprefix("Bearer ") if header == _BEARER else key, held)}]
    return {name: value for name, value in entry.items() if value is not None}


def _credential(given: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    """What its list says of the one credential besides the key, or what is stored."""
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], Mapping):
        return dict(given[0])
    return dict(_only_credential(before) or {})


def _secret(value: Any, held: Collection[str]) -> Any:
    """What was shown of a secret, as an entry has it. `held`: the fingerprints of those that there are."""
    found = _MASKED.fullmatch(value) if isinstance(value, str) else None
    if found is not None and found[1] not in held:
        raise WrongList("Invalid provider: an apiKey or a header is masked, and there is no secret that it stands for")
    return mask(found[1], None, "sealed") if found is not None else value


def _slug(name: str, used: Collection[str]) -> str:
    """A name of ours that nobody has, as like the given one as may be."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
    plain = plain if plain[:1].isalpha() else f"provider-{plain}".rstrip("-")
    candidate, number = plain[:32].rstrip("-"), 1
    while candidate in used:
        number += 1
        candidate = f"{plain[:28].rstrip('-')}-{number}"
    return candidate
