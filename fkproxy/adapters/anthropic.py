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
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fkproxy.adapters.access import Access
from fkproxy.adapters.base import Exchange, UpstreamCall
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.listing import Listing, model_in_path
from fkproxy.adapters.vertex import OverVertex
from fkproxy.dialects.base import Dialect, ModelEntry, Operation
from fkproxy.model.names import is_pattern
from fkproxy.wire import json

if TYPE_CHECKING:
    from fkproxy.adapters.google_auth import GoogleTokens

__all__ = ["ANTHROPIC_BASE_URL", "ANTHROPIC_CLIENT_HEADERS", "ANTHROPIC_HEADERS", "AnthropicApi", "VertexClaude"]

ANTHROPIC_BASE_URL = "https://api.anthropic.com"

ANTHROPIC_HEADERS = (("anthropic-version", "2023-06-01"),)
ANTHROPIC_CLIENT_HEADERS = ("anthropic-user-profile-id",)
"""What a client says of its request in a header as others do in the body: whom it is for (anthropic 2.12, `user_profile_id`). A workspace
is that of the credential."""
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


class AnthropicApi(Listing):
    """api.anthropic.com, or whatever the base URL says."""

    dialect = "anthropic"
    spoken = frozenset(("anthropic",))
    operations: frozenset[Operation] = frozenset(("chat", "count_tokens"))
    models_target = "/v1/models?limit=1000"

    def __init__(
        self,
        client: HttpClient,
        dialect: Dialect,
        access: Access,
        *,
        provider_key: str,
        models: tuple[str, ...],
        beta_features: tuple[str, ...],
    ) -> None:
        super().__init__(client, dialect, access, provider_key=provider_key, models=models)
        self._beta_features = beta_features

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`."""
        headers = await self._access.block(call.client_headers) + _features(call.client_headers, self._beta_features)
        return await self._client.send(self._origin, "POST", _PATHS[call.operation], headers, call.body)


class VertexClaude(OverVertex):
    """The Claude models of one project in one location."""

    dialect = "anthropic"
    spoken = frozenset(("anthropic",))
    operations: frozenset[Operation] = frozenset(("chat", "count_tokens"))
    publisher = "anthropic"

    def __init__(
        self,
        client: HttpClient,
        access: Access,
        tokens: GoogleTokens,
        *,
        provider_key: str,
        region: str,
        models: tuple[str, ...],
        beta_features: tuple[str, ...],
    ) -> None:
        super().__init__(client, access, tokens, provider_key=provider_key, region=region, models=models)
        self._beta_features = beta_features

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`. Raises `UpstreamRefusedCredential` when no token can be had."""
        headers = await self._access.block(call.client_headers) + _features(call.client_headers, self._beta_features)
        method = "streamRawPredict" if call.stream else "rawPredict"
        counting = call.operation == "count_tokens"
        target = f"{self._path()}{'count-tokens' if counting else model_in_path(call.model)}:{method}"
        return await self._client.send(self._origin, "POST", target, headers, _with_version(call.body, keep_model=counting))

    async def list_models(self) -> list[ModelEntry]:
        """See `Adapter.list_models`. Those that are named in full: the service has no list per project."""
        return [ModelEntry(id=name, owned_by="anthropic") for name in self.models if not is_pattern(name)]


def _with_version(body: bytes, *, keep_model: bool) -> bytes:
    """The body with the version, and without the model where that stands in the path; every other byte as it is."""
    fields = json.raw_fields(body)
    if not keep_model:
        fields.pop("model", None)
    return json.encode({"anthropic_version": _VERTEX_VERSION, **fields})
