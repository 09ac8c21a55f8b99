"""From settings to upstreams: the registry of adapters. Floor 4. To add a provider: its adapter, and its lines here."""

from __future__ import annotations

import time

from fkproxy import __version__
from fkproxy.adapters.anthropic import ANTHROPIC_BASE_URL, AnthropicApi, VertexClaude
from fkproxy.adapters.base import Adapter
from fkproxy.adapters.gemini import GeminiApi, VertexAi, vertex_base_url
from fkproxy.adapters.google_auth import GoogleTokens
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.openai import OPENAI_BASE_URL, OpenAiCompatible
from fkproxy.adapters.sandbox import Sandbox
from fkproxy.dialects import DIALECTS
from fkproxy.settings import Settings

__all__ = ["build_adapters"]

_USER_AGENT = f"fkproxy/{__version__}"


def build_adapters(settings: Settings, client: HttpClient) -> tuple[list[Adapter], GoogleTokens | None]:
    """The upstreams that the settings ask for, in order of preference, and the token source that metrics report on.

    A Gemini API key wins over Vertex AI credentials. The sandbox stands in while nothing is configured, and answers only to its own
    name when it is switched on beside real providers.
    """
    adapters: list[Adapter] = []
    tokens: GoogleTokens | None = None
    vertex, openai, anthropic = settings.vertex, settings.openai, settings.anthropic
    if vertex.credentials_file is not None or vertex.ambient_credentials:
        tokens = GoogleTokens(credentials_file=vertex.credentials_file, project_id=vertex.project_id)
    if vertex.api_key is not None:
        adapters.append(
            GeminiApi(
                client,
                DIALECTS["gemini"],
                provider_key="gemini",
                base_url=vertex.api_key_base_url,
                api_key=vertex.api_key.get_secret_value(),
                user_agent=_USER_AGENT,
            )
        )
    elif tokens is not None:
        adapters.append(
            VertexAi(
                client,
                tokens,
                provider_key="vertex",
                base_url=vertex.oauth_base_url or vertex_base_url(vertex.region),
                region=vertex.region,
                user_agent=_USER_AGENT,
                now=time.time,
            )
        )
    if tokens is not None and vertex.claude_models:
        adapters.append(
            VertexClaude(
                client,
                tokens,
                provider_key="vertex-claude",
                base_url=vertex.oauth_base_url or vertex_base_url(vertex.region),
                region=vertex.region,
                models=vertex.claude_models,
                beta_features=anthropic.vertex_beta_features,
                user_agent=_USER_AGENT,
                now=time.time,
            )
        )
    if anthropic.api_key is not None or anthropic.auth_token is not None or anthropic.base_url is not None:
        adapters.append(
            AnthropicApi(
                client,
                DIALECTS["anthropic"],
                provider_key="anthropic",
                base_url=anthropic.base_url or ANTHROPIC_BASE_URL,
                api_key=anthropic.api_key.get_secret_value() if anthropic.api_key is not None else None,
                auth_token=anthropic.auth_token.get_secret_value() if anthropic.auth_token is not None else None,
                models=anthropic.models,
                beta_features=anthropic.beta_features,
                user_agent=_USER_AGENT,
            )
        )
    if openai.api_key is not None or openai.base_url is not None:
        adapters.append(
            OpenAiCompatible(
                client,
                DIALECTS["openai_chat"],
                provider_key=openai.provider_key,
                base_url=openai.base_url or OPENAI_BASE_URL,
                api_key=openai.api_key.get_secret_value() if openai.api_key is not None else None,
                models=openai.models,
                api=openai.api or ("both" if openai.base_url is None else "chat_completions"),
                extra_headers={name: value.get_secret_value() for name, value in openai.extra_headers.items()},
                user_agent=_USER_AGENT,
            )
        )
    if settings.sandbox.enabled or (settings.sandbox.enabled is None and not adapters):
        adapters.append(Sandbox(answer_everything=not adapters))
    return adapters, tokens
