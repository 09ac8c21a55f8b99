"""From a configuration to upstreams: the registry of adapters. Floor 4. To add a provider: its adapter, and its line here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from fkproxy import __version__
from fkproxy.adapters.access import Access
from fkproxy.adapters.anthropic import ANTHROPIC_CLIENT_HEADERS, ANTHROPIC_HEADERS, AnthropicApi, VertexClaude
from fkproxy.adapters.base import Adapter, Credential, Timeouts
from fkproxy.adapters.codex import CodexCli, CodexOnce, Crew, command_of, thread_settings
from fkproxy.adapters.gemini import GeminiApi, VertexAi
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.openai import OpenAiCompatible
from fkproxy.adapters.quota import QuotaProbe
from fkproxy.adapters.sandbox import Sandbox
from fkproxy.adapters.secret import StaticSecret
from fkproxy.adapters.token_file import TokenFile
from fkproxy.children import child_of, limits_of, options_of, places
from fkproxy.dialects import DIALECTS
from fkproxy.routing import Rule
from fkproxy.settings import (
    CredentialEntry,
    LoadedSettings,
    Provider,
    expressions_of,
    member_name,
    members_of,
    rule_of,
    vendors_address,
)
from fkproxy.suffix import reasoning_of_word
from fkproxy.telemetry.prices import Pricing, Rates
from fkproxy.telemetry.record import upstream_key
from fkproxy.upstream import Terms

if TYPE_CHECKING:
    from fkproxy.adapters.google_auth import GoogleTokens

__all__ = ["Built", "Member", "Signature", "Workshop"]

_USER_AGENT = f"fkproxy/{__version__}"
_FIXED = (("content-type", "application/json"), ("user-agent", _USER_AGENT))


class Signature(msgspec.Struct, frozen=True):
    """Digests: who prints them learns nothing. `whole` changes with all that makes it another upstream; `credential` says whose it is."""

    whole: str
    credential: str


class Member(msgspec.Struct, frozen=True):
    """One upstream to be: its adapter and terms."""

    adapter: Adapter
    terms: Terms
    account: str
    signature: Signature
    probe: QuotaProbe | None = None

    @property
    def key(self) -> str:
        """As pools and operators name it."""
        return upstream_key(self.adapter.provider_key, self.adapter.credential.name)


class Built(msgspec.Struct, frozen=True):
    """The rules in order of preference, and their members in the order in which routing numbers them."""

    rules: tuple[Rule, ...]
    members: tuple[Member, ...]


class Workshop:
    """Makes adapters. Sources of tokens and children are shared by everybody who names the same ones."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._token_files: dict[str, TokenFile] = {}
        self._google: dict[tuple[object, ...], GoogleTokens] = {}
        self._crews: dict[str, Crew] = {}
        self._retired: list[Crew] = []

    @property
    def minted_tokens(self) -> list[GoogleTokens]:
        """For the metrics of their cache."""
        return list(self._google.values())

    async def aclose(self) -> None:
        """Wait for renewals under way, end children."""
        for tokens in self._token_files.values():
            await tokens.aclose()
        for crew in (*self._crews.values(), *self._retired):
            await crew.aclose()

    def settle(self, built: Built) -> None:
        """What was built is in force: children that nobody names any more end when their calls are over."""
        used = {id(crew) for member in built.members if isinstance(member.adapter, CodexCli) and (crew := member.adapter.crew)}
        for key in [key for key, crew in self._crews.items() if id(crew) not in used]:
            crew = self._crews.pop(key)
            crew.retire()
            self._retired.append(crew)

    def build(self, loaded: LoadedSettings) -> Built:
        """All of them, and the sandbox where it is wanted. Raises `ValueError` for credentials that cannot be used."""
        self._loaded = loaded
        rules: list[Rule] = []
        members: list[Member] = []
        for provider in loaded.providers:
            if provider.disabled:
                continue
            rules.append(rule_of(provider))
            several = len(list(members_of(provider))) > 1
            for entry, project in members_of(provider):
                members.append(self._member(provider, entry, project, several=several))
        sandbox, alone = loaded.settings.sandbox.enabled, not loaded.providers
        if sandbox or (sandbox is None and alone):
            adapter = Sandbox(answer_everything=alone)
            rules.append(Rule(provider_key=adapter.provider_key, models=adapter.models))
            members.append(Member(adapter, Terms(timeouts=self._timeouts(None)), "", Signature("sandbox", "sandbox")))
        return Built(tuple(rules), tuple(members))

    def _member(self, provider: Provider, entry: CredentialEntry, project: str | None, *, several: bool) -> Member:
        name = member_name(entry, project, several=several)
        adapter = _ADAPTERS[provider.adapter](self, provider, entry, name, project)
        limits = provider.limits
        terms = Terms(
            timeouts=self._timeouts(provider),
            weight=entry.weight,
            retries=provider.retries,
            reasoning=reasoning_of_word(provider.thinking) if provider.thinking is not None else None,
            pricing=_pricing(provider),
            max_concurrency=limits.max_concurrency or places(provider),
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            withheld=tuple(_withheld(name, value.get_secret_value()) for name, value in provider.headers.items()),
        )
        probe = self._probe(provider, entry, adapter.credential)
        account = entry.name or provider.name if project is not None else ""
        return Member(adapter, terms, account, _signature(provider, entry, project), probe)

    def _probe(self, provider: Provider, entry: CredentialEntry, credential: Credential) -> QuotaProbe | None:
        quota = provider.quota
        if quota is None:
            return None
        return QuotaProbe(
            self._client,
            credential,
            url=quota.url,
            headers={name: value.get_secret_value() for name, value in quota.headers.items()},
            expressions=expressions_of(quota),
            method=quota.method,
            body=quota.body.encode() if quota.body is not None else b"",
            interval_s=quota.interval,
            proxy=entry.proxy or provider.proxy,
        )

    def _timeouts(self, provider: Provider | None) -> Timeouts:
        usual, own = self._loaded.settings.timeout, provider.timeouts if provider is not None else None
        return Timeouts(
            connect_s=(own.connect if own else None) or usual.connect_secs,
            first_byte_s=(own.first_byte if own else None) or usual.first_byte_secs,
            silence_s=(own.silence if own else None) or usual.silence_secs,
            stall_s=(own.stall if own else None) or usual.stall_secs,
            total_s=usual.total_secs,
        )

    # --- adapters

    def _access(
        self,
        provider: Provider,
        entry: CredentialEntry,
        credential: Credential,
        auth_header: str,
        *more: tuple[str, str],
        passed: tuple[str, ...] = (),
    ) -> Access:
        return Access(
            self._client.origin(
                provider.base_url or vendors_address(provider.adapter, provider.region),
                proxy=entry.proxy or provider.proxy,
                connect_timeout_s=provider.timeouts.connect,
            ),
            credential,
            auth_header=provider.auth_header or auth_header,
            fixed=(*_FIXED, *more, *((name, value.get_secret_value()) for name, value in provider.headers.items())),
            client_headers=(*passed, *provider.client_headers),
        )

    def _credential(self, provider: Provider, entry: CredentialEntry, name: str) -> Credential:
        if entry.token_file is None:
            return StaticSecret(name, entry.key.get_secret_value() if entry.key is not None else "")
        proxy = entry.proxy or provider.proxy
        secret = entry.client_secret.get_secret_value() if entry.client_secret is not None else None
        signature = repr((entry.token_file, name, entry.token_endpoint, entry.client_id, secret, entry.token_request, proxy))
        if signature not in self._token_files:
            self._token_files[signature] = TokenFile(
                self._client,
                name=name,
                path=entry.token_file,
                user_agent=_USER_AGENT,
                token_endpoint=entry.token_endpoint,
                client_id=entry.client_id,
                client_secret=secret,
                encoding=entry.token_request,
                proxy=proxy,
            )
        return self._token_files[signature]

    def _tokens(self, entry: CredentialEntry, project: str | None, name: str) -> GoogleTokens:
        key = (entry.credentials_file, _stamp(entry.credentials_file), project, name)
        if key not in self._google:
            # Imported here: google-auth is slow to import, and most installations never need it.
            from fkproxy.adapters.google_auth import GoogleTokens

            self._google[key] = GoogleTokens(credentials_file=entry.credentials_file, project_id=project, name=name)
        return self._google[key]

    def openai(self, provider: Provider, entry: CredentialEntry, name: str, project: str | None) -> Adapter:
        return OpenAiCompatible(
            self._client,
            DIALECTS["openai_chat"],
            self._access(provider, entry, self._credential(provider, entry, name), "authorization"),
            provider_key=provider.name,
            models=rule_of(provider).models,
            api=provider.api or ("both" if provider.base_url is None else "chat_completions"),
        )

    def anthropic(self, provider: Provider, entry: CredentialEntry, name: str, project: str | None) -> Adapter:
        header = "x-api-key" if entry.token_file is None else "authorization"
        return AnthropicApi(
            self._client,
            DIALECTS["anthropic"],
            self._access(
                provider, entry, self._credential(provider, entry, name), header, *ANTHROPIC_HEADERS, passed=ANTHROPIC_CLIENT_HEADERS
            ),
            provider_key=provider.name,
            models=rule_of(provider).models,
            beta_features=("*",) if provider.beta_features is None else provider.beta_features,
        )

    def gemini(self, provider: Provider, entry: CredentialEntry, name: str, project: str | None) -> Adapter:
        header = "x-goog-api-key" if entry.token_file is None else "authorization"
        return GeminiApi(
            self._client,
            DIALECTS["gemini"],
            self._access(provider, entry, self._credential(provider, entry, name), header),
            provider_key=provider.name,
            models=rule_of(provider).models,
        )

    def vertex(self, provider: Provider, entry: CredentialEntry, name: str, project: str | None) -> Adapter:
        tokens = self._tokens(entry, project, name)
        return VertexAi(
            self._client,
            self._access(provider, entry, tokens, "authorization"),
            tokens,
            provider_key=provider.name,
            region=provider.region or "global",
            models=rule_of(provider).models,
        )

    def vertex_claude(self, provider: Provider, entry: CredentialEntry, name: str, project: str | None) -> Adapter:
        tokens = self._tokens(entry, project, name)
        usual = self._loaded.settings.anthropic.vertex_beta_features
        return VertexClaude(
            self._client,
            self._access(provider, entry, tokens, "authorization"),
            tokens,
            provider_key=provider.name,
            region=provider.region or "global",
            models=rule_of(provider).models,
            beta_features=usual if provider.beta_features is None else provider.beta_features,
        )

    def codex(self, provider: Provider, entry: CredentialEntry, name: str, project: str | None) -> Adapter:
        child, options, limits = child_of(provider), options_of(provider, self._loaded.environment), limits_of(provider)
        command = command_of(options, self._loaded.environment.secrets)
        if child.transport == "exec":
            return CodexOnce(
                command,
                provider_key=provider.name,
                models=rule_of(provider).models,
                name=name,
                model=options.model,
                sandbox=options.sandbox,
                start_s=limits.start_s,
            )
        key = repr((command, limits))
        if key not in self._crews:
            self._crews[key] = Crew(command, limits, __version__)
        return CodexCli(
            self._crews[key],
            provider_key=provider.name,
            models=rule_of(provider).models,
            name=name,
            settings=thread_settings(options),
            own_tools=options.own_tools,
            parallel_tools=child.parallel_tool_calls,
            tool_wait_s=child.tool_wait,
        )


_Make = Callable[[Workshop, Provider, CredentialEntry, str, str | None], Adapter]

_ADAPTERS: Mapping[str, _Make] = {
    "openai": Workshop.openai,
    "anthropic": Workshop.anthropic,
    "codex": Workshop.codex,
    "gemini": Workshop.gemini,
    "vertex": Workshop.vertex,
    "vertex_claude": Workshop.vertex_claude,
}

_SELLERS: Mapping[str, str] = {
    "anthropic": "anthropic",
    "codex": "openai",
    "gemini": "google",
    "openai": "openai",
    "vertex": "google",
    "vertex_claude": "google",
}
"""Who sells an adapter's models, in the words of the price list."""


def _public(url: str) -> bool:
    """Whether a vendor may be behind it: not at an address, nor at a name that only this host or its network knows."""
    host = urlsplit(url).hostname or ""
    return "." in host.strip(".") and not host.rpartition(".")[2].isdigit()


def _pricing(provider: Provider) -> Pricing:
    """List prices are for the vendor's own address: what stands behind another one is known by that address, or not at all."""
    own = {name: Rates(**price.model_dump()) for name, price in provider.prices.items()}
    if provider.adapter == "openai" and provider.base_url is not None:
        return Pricing(url=provider.base_url if _public(provider.base_url) else None, own=own)
    return Pricing(vendor=_SELLERS[provider.adapter], own=own)


def _withheld(name: str, value: str) -> StaticSecret:
    """What callers are not to read of a header that is added: all of it, or the credentials behind a scheme (RFC 9110 §11.6.2)."""
    return StaticSecret(name, value.rpartition(" ")[2] if name.lower() == "authorization" else value)


_OF_THE_WAY = (
    *("label", "excluded_models", "model_mapping", "preview_models", "prefix", "priority", "weight", "strategy", "fallbacks", "thinking"),
    *("prices", "retries", "disabled"),
)
"""What a provider, or one of its credentials, says of the ways to it and of its terms: another one makes no other upstream of it."""


def _signature(provider: Provider, entry: CredentialEntry, project: str | None) -> Signature:
    """Equal for two upstreams that are configured alike, secrets included. Its `credential`: for two of one provider with one secret."""
    quota = provider.quota.headers if provider.quota is not None else {}
    secrets = [entry.key, entry.client_secret, *provider.headers.values(), *quota.values()]
    told = [each.get_secret_value() if each is not None else "" for each in secrets]
    itself = provider.model_copy(update=dict.fromkeys(_OF_THE_WAY) | {"credentials": (), "headers": dict.fromkeys(provider.headers)})
    of_entry = entry.model_copy(update=dict.fromkeys(("key", "client_secret", "weight", "priority", "disabled")))
    return Signature(
        whole=_digest((itself, of_entry, project, told, _stamp(entry.credentials_file))),
        credential=_digest((provider.name, told[0], entry.token_file, entry.credentials_file, project)),
    )


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=16).hexdigest()


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Changes when the file does. None: there is none, or nobody can say."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None else None
