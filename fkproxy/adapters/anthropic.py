"""The Anthropic API, and Claude on Vertex AI: addresses, credentials, versions.

Floor 2.

Both speak the same dialect. The API takes a key, which goes in the `x-api-key` header, or an OAuth token of the operator's own; Vertex AI
takes a Google token, has project, location and model in its path, and wants the version in the body instead of a header.

`anthropic-beta` names preview features. A client's own are passed on only if the list of the upstream allows them: an upstream refuses a
request that names one which it does not have.

Sources: docs.claude.com/en/api/versioning, /en/api/beta-headers; docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude;
read 2026-11.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

import msgspec

from fkproxy.adapters.base import Exchange, UpstreamCall
from fkproxy.adapters.google_auth import GoogleTokens
from fkproxy.adapters.http import Address, HttpClient, header_block
from fkproxy.adapters.listing import fetch_models
from fkproxy.dialects.base import Dialect, ModelEntry, Operation

__all__ = ["ANTHROPIC_BASE_URL", "ANTHROPIC_MODELS", "AnthropicApi", "VertexClaude"]

ANTHROPIC_BASE_URL = "https://api.anthropic.com"
ANTHROPIC_MODELS = ("claude-*",)

_VERSION = "2023-06-01"
_VERTEX_VERSION = "vertex-2023-10-16"
_FEATURE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_FEATURES = 32


_PATHS: dict[Operation, str] = {"chat": "/v1/messages", "count_tokens": "/v1/messages/count_tokens"}


def _features(headers: Mapping[bytes, bytes] | None, allowed: tuple[str, ...]) -> bytes:
    """The header line for those of the client's preview features that may go to this upstream; b"" without any."""
    named = headers.get(b"anthropic-beta") if headers is not None else None
    if not named:
        return b""
    wanted = [feature.strip() for feature in named.decode("latin-1").split(",")][:_MAX_FEATURES]
    passed = [feature for feature in wanted if _FEATURE.fullmatch(feature) and any(fnmatch.fnmatchcase(feature, each) for each in allowed)]
    return f"anthropic-beta: {','.join(passed)}\r\n".encode() if passed else b""


class AnthropicApi:
    """api.anthropic.com, or whatever `base_url` says. `key_header`: `x-api-key`, or `authorization` for a bearer token."""

    dialect = "anthropic"
    spoken = frozenset(("anthropic",))
    operations: frozenset[Operation] = frozenset(("chat", "count_tokens"))

    def __init__(
        self,
        client: HttpClient,
        dialect: Dialect,
        *,
        provider_key: str,
        base_url: str,
        api_key: str | None,
        auth_token: str | None,
        models: tuple[str, ...],
        beta_features: tuple[str, ...],
        user_agent: str,
    ) -> None:
        self.provider_key = provider_key
        self.models = models
        self._client = client
        self._codec = dialect
        self._beta_features = beta_features
        self._origin = client.origin(base_url)
        self.address: Address = self._origin.address
        headers = [("content-type", "application/json"), ("anthropic-version", _VERSION), ("user-agent", user_agent)]
        if api_key is not None:
            headers.append(("x-api-key", api_key))
        elif auth_token is not None:
            headers.append(("authorization", f"Bearer {auth_token}"))
        self._headers = header_block(self._origin, tuple(headers))

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`."""
        headers = self._headers + _features(call.client_headers, self._beta_features)
        return await self._client.send(self._origin, "POST", _PATHS[call.operation], headers, call.body)

    async def list_models(self) -> list[ModelEntry]:
        """See `Adapter.list_models`."""
        return await fetch_models(self._client, self._origin, "/v1/models?limit=1000", self._headers, self._codec)

    async def verify(self) -> None:
        """See `Adapter.verify`."""
        await self.list_models()

    async def aclose(self) -> None:
        """The client is shared and closed by its owner."""


class VertexClaude:
    """The Claude models of one project in one location."""

    dialect = "anthropic"
    spoken = frozenset(("anthropic",))
    operations: frozenset[Operation] = frozenset(("chat", "count_tokens"))

    def __init__(
        self,
        client: HttpClient,
        tokens: GoogleTokens,
        *,
        provider_key: str,
        base_url: str,
        region: str,
        models: tuple[str, ...],
        beta_features: tuple[str, ...],
        user_agent: str,
        now: Callable[[], float],
    ) -> None:
        self.provider_key = provider_key
        self.models = models
        self._client = client
        self._tokens = tokens
        self._now = now
        self._beta_features = beta_features
        self._region = quote(region, safe="")
        self._origin = client.origin(base_url)
        self.address: Address = self._origin.address
        self._fixed = (("content-type", "application/json"), ("user-agent", user_agent))
        self._headers = b""
        self._bearer = ""
        self._prefix = ""

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`. Raises `UpstreamRefusedCredential` when no token can be had."""
        bearer = await self._tokens.bearer(self._now())
        if bearer != self._bearer:
            self._bearer = bearer
            project = quote(self._tokens.project_id, safe=":")
            self._prefix = f"/v1/projects/{project}/locations/{self._region}/publishers/anthropic/models/"
            self._headers = header_block(self._origin, (("authorization", f"Bearer {bearer}"), *self._fixed))
        method = "streamRawPredict" if call.stream else "rawPredict"
        headers = self._headers + _features(call.client_headers, self._beta_features)
        counting = call.operation == "count_tokens"
        target = f"{self._prefix}{'count-tokens' if counting else quote(call.model, safe='-._~@')}:{method}"
        return await self._client.send(self._origin, "POST", target, headers, _with_version(call.body, keep_model=counting))

    async def list_models(self) -> list[ModelEntry]:
        """See `Adapter.list_models`. Those that are named in full: the service has no list per project."""
        return [ModelEntry(id=name, owned_by="anthropic") for name in self.models if not set(name) & set("*?[")]

    async def verify(self) -> None:
        """See `Adapter.verify`. A token is had, and the project known; whether it may call models shows with the first call."""
        await self._tokens.bearer(self._now())
        self._tokens.project_id  # noqa: B018 - raises when there is none

    async def aclose(self) -> None:
        """The client is shared and closed by its owner."""


def _with_version(body: bytes, *, keep_model: bool) -> bytes:
    """The body with the version, and without the model where that stands in the path; every other byte as it is."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if not keep_model:
        fields.pop("model", None)
    return msgspec.json.encode({"anthropic_version": _VERTEX_VERSION, **fields})
