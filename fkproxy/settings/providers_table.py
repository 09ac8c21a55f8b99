"""The providers of a configuration, whoever named them: well-known variables or a file; and the routing table that follows. Floor 4."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from fkproxy.model.names import is_pattern
from fkproxy.routing import Member, RoutingTable, Rule
from fkproxy.settings.aliases import codex_aliases
from fkproxy.settings.checks import google_credentials, is_own_address
from fkproxy.settings.locating import Place
from fkproxy.settings.problems import Problem
from fkproxy.settings.providers_file import ProvidersSource
from fkproxy.settings.providers_schema import Child, CredentialEntry, ModelEntry, Provider, ProvidersFile, Quota
from fkproxy.settings.schema import Settings
from fkproxy.telemetry.record import upstream_key

__all__ = [
    "DEFAULT_MODELS",
    "SANDBOX",
    "check_providers",
    "expressions_of",
    "homeless",
    "member_name",
    "members_of",
    "named_by_variables",
    "namesakes",
    "routing_of",
    "rule_of",
    "table_of",
    "upstreams_of",
    "vendors_address",
]

SANDBOX = "sandbox"

DEFAULT_MODELS: dict[str, tuple[str, ...]] = {
    "anthropic": ("claude-*",),
    "codex": ("codex-*",),
    "gemini": ("gemini-*", "gemma-*", "learnlm-*"),
    "openai": ("*",),
    "vertex": ("gemini-*", "gemma-*", "learnlm-*"),
    "vertex_claude": ("claude-*",),
}
"""By adapter: what its vendor's models are called."""

_DATE_MARKS = {"anthropic": "-", "vertex_claude": "@"}
"""`claude-haiku-4-5-20251001` is `claude-haiku-4-5@20251001` on Vertex AI; a server of somebody's own has names of its own.

Source: platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai, read 2026-11.
"""


def vendors_address(adapter: str, region: str | None) -> str:
    """Where the vendor of an adapter is asked when nothing else is said; of one that asks nobody on the network ""."""
    # Imported here: who only reads settings need not load adapters.
    from fkproxy.adapters.anthropic import ANTHROPIC_BASE_URL
    from fkproxy.adapters.gemini import GEMINI_BASE_URL
    from fkproxy.adapters.openai import OPENAI_BASE_URL
    from fkproxy.adapters.vertex import vertex_base_url

    on_vertex = vertex_base_url(region or "global")
    return {
        "openai": OPENAI_BASE_URL,
        "anthropic": ANTHROPIC_BASE_URL,
        "gemini": GEMINI_BASE_URL,
        "vertex": on_vertex,
        "vertex_claude": on_vertex,
    }.get(adapter, "")


def named_by_variables(settings: Settings) -> list[Provider]:
    """The providers that well-known variables ask for, in order of preference. A Gemini API key wins over Vertex AI."""
    vertex, openai, anthropic = settings.vertex, settings.openai, settings.anthropic
    found: list[Provider] = []
    google = vertex.credentials_file is not None or vertex.ambient_credentials
    on_vertex = CredentialEntry(
        credentials_file=vertex.credentials_file, projects=(vertex.project_id,) if vertex.project_id is not None else ()
    )
    if vertex.api_key is not None:
        found.append(
            Provider(name="gemini", adapter="gemini", base_url=vertex.api_key_base_url, credentials=(CredentialEntry(key=vertex.api_key),))
        )
    elif google:
        found.append(
            Provider(name="vertex", adapter="vertex", base_url=vertex.oauth_base_url, region=vertex.region, credentials=(on_vertex,))
        )
    if google and vertex.claude_models:
        found.append(
            Provider(
                name="vertex-claude",
                adapter="vertex_claude",
                base_url=vertex.oauth_base_url,
                region=vertex.region,
                credentials=(on_vertex,),
                models=vertex.claude_models,
                beta_features=anthropic.vertex_beta_features,
            )
        )
    if anthropic.api_key is not None or anthropic.auth_token is not None or anthropic.base_url is not None:
        found.append(
            Provider(
                name="anthropic",
                adapter="anthropic",
                base_url=anthropic.base_url,
                credentials=_secret(anthropic.api_key or anthropic.auth_token),
                models=anthropic.models,
                beta_features=anthropic.beta_features,
                auth_header="authorization" if anthropic.api_key is None and anthropic.auth_token is not None else None,
            )
        )
    if openai.api_key is not None or openai.base_url is not None:
        found.append(
            Provider(
                name=openai.provider_key,
                adapter="openai",
                base_url=openai.base_url,
                api=openai.api,
                credentials=_secret(openai.api_key),
                models=openai.models,
                headers=openai.extra_headers,
                client_headers=("openai-beta",),
            )
        )
    if settings.codex.binary is not None:
        found.append(_codex(settings))
    return found


def _codex(settings: Settings) -> Provider:
    codex = settings.codex
    child = Child(
        binary=codex.binary or "codex",
        home=codex.home,
        model=codex.model,
        model_provider=codex.model_provider,
        own_tools=codex.own_tools,
        parallel_tool_calls=codex.parallel_tool_calls,
        sandbox=codex.sandbox,
        environment=codex.pass_environment,
        processes=codex.max_processes,
        calls_per_process=codex.calls_per_process,
        memory_limit=codex.memory_limit,
        max_age=codex.max_age_secs,
        start_timeout=codex.start_timeout_secs,
        tool_wait=codex.tool_wait_secs,
    )
    return Provider(name="codex", adapter="codex", codex=child, models=codex.models or codex_aliases(settings.profile.name, codex.model))


def homeless(providers: Iterable[Provider]) -> list[Problem]:
    """What is wrong where the process has no directory of its own: the Codex CLI needs one."""
    text = "there is no directory for the Codex CLI, which needs a home"
    hint = "set APP_CODEX__HOME, or codex.home in the providers file"
    return [
        Problem(f"provider {provider.name}", text, hint)
        for provider in providers
        if provider.adapter == "codex" and not provider.disabled and (provider.codex is None or provider.codex.home is None)
    ]


def namesakes(beside: Sequence[Provider]) -> list[Problem]:
    """Of those that variables name, the one whose name an operator chose, if another one or the built-in one has it."""
    names = [SANDBOX, *(provider.name for provider in beside)]
    return [
        Problem("APP_OPENAI__PROVIDER_KEY", f"{name} is the name of another provider", "choose another name, or leave it out")
        for name in sorted(set(names))
        if names.count(name) > 1
    ]


def _secret(key: object) -> tuple[CredentialEntry, ...]:
    return (CredentialEntry(key=key),) if key is not None else ()  # type: ignore[arg-type]  # SecretStr or None


def members_of(provider: Provider) -> Iterator[tuple[CredentialEntry, str | None]]:
    """Credential × project: each one an upstream. A provider without credentials is one upstream without any."""
    entries = [entry for entry in provider.credentials if not entry.disabled] if provider.credentials else [CredentialEntry()]
    for entry in entries:
        for project in entry.projects or (None,):
            yield entry, project


def member_name(entry: CredentialEntry, project: str | None, *, several: bool) -> str:
    """What tells a member from the provider's others; "" where it is the only one. `several`: there are more."""
    if project is None or not (several or entry.name):
        return entry.name
    return f"{entry.name}.{project}" if entry.name else project


def _date_mark(provider: Provider) -> str:
    if provider.adapter == "anthropic" and provider.base_url is not None:
        vendors = urlsplit(vendors_address(provider.adapter, provider.region))
        if urlsplit(provider.base_url).hostname != vendors.hostname:
            return ""
    return _DATE_MARKS.get(provider.adapter, "")


def upstreams_of(provider: Provider) -> list[str]:
    """Its upstreams as pools and operators name them."""
    members = list(members_of(provider))
    return [upstream_key(provider.name, member_name(entry, project, several=len(members) > 1)) for entry, project in members]


def rule_of(provider: Provider) -> Rule:
    """What routing needs of a provider."""
    names = {entry.alias: entry.name for entry in provider.models if isinstance(entry, ModelEntry)}
    return Rule(
        provider_key=provider.name,
        models=tuple(entry for entry in provider.models if isinstance(entry, str)) or (() if names else DEFAULT_MODELS[provider.adapter]),
        members=tuple(
            Member(weight=entry.weight, priority=entry.priority, account=entry.name or provider.name if project is not None else "")
            for entry, project in members_of(provider)
        ),
        names={**names, **provider.model_mapping},
        excluded=provider.excluded_models,
        prefix=provider.prefix,
        previews=provider.preview_models,
        fallbacks=provider.fallbacks,
        priority=provider.priority,
        weight=provider.weight,
        strategy=provider.strategy,
        date_mark=_date_mark(provider),
    )


def expressions_of(quota: Quota) -> dict[str, str]:
    """What is to be read out of the vendor's reply."""
    values = {name: getattr(quota, name) for name in ("quota_remaining", "quota_reset_seconds", "usage_percentage", "quota_exhausted")}
    return {name: value for name, value in values.items() if value is not None}


def routing_of(file: ProvidersFile, settings: Settings) -> ProvidersFile:
    """What the file says besides its providers, but for what settings say instead."""
    own = settings.routing
    switches = {"switch_project": own.switch_project, "switch_preview_model": own.switch_preview_model}
    said = {name: value for name, value in switches.items() if value is not None}
    return file.model_copy(
        update={"strategy": own.strategy or file.strategy, "quota_exceeded": file.quota_exceeded.model_copy(update=said)}
    )


def table_of(rules: Iterable[Rule], file: ProvidersFile) -> RoutingTable:
    """The table of all rules, in order of preference. Previews that nobody switches to are on no model's way."""
    if not file.quota_exceeded.switch_preview_model:
        rules = [msgspec.structs.replace(rule, previews={}) if rule.previews else rule for rule in rules]
    return RoutingTable(list(rules), fallbacks=file.fallbacks, force_prefix=file.force_model_prefix)


def check_providers(
    source: ProvidersSource, beside: Sequence[Provider], settings: Settings, origins: Mapping[str, str] | None = None
) -> None:
    """Add to the problems of `source` what no single entry shows.

    `beside`: the providers that there are already; `origins`: by name, who named them, if it was no variable.
    """
    check = _Check(source, beside, settings, origins or {})
    check.names()
    for number, provider in enumerate(source.file.providers):
        check.provider(number, provider)
    if not source.problems:
        check.ways()


class _Check:
    def __init__(self, source: ProvidersSource, beside: Sequence[Provider], settings: Settings, origins: Mapping[str, str]) -> None:
        self._source = source
        self._origins = origins
        self._file = source.file
        self._beside = beside
        self._settings = settings
        self._all = [*beside, *source.file.providers]
        self._known = {provider.name for provider in self._all if not provider.disabled}
        self._named = {provider.name for provider in self._all}

    def names(self) -> None:
        seen = {provider.name: self._origins.get(provider.name, "a variable") for provider in self._beside}
        place: Place
        for number, provider in enumerate(self._file.providers):
            place = ("providers", number, "name")
            if provider.name == SANDBOX:
                self._source.problem(place, f"must not be {SANDBOX}: that is the built-in one")
            elif provider.name in seen:
                self._source.problem(place, f"{provider.name} is the name of a provider from {seen[provider.name]} already")
            seen[provider.name] = self._source.at(("providers", number))
            if provider.prefix and provider.prefix != provider.name and provider.prefix in self._known:
                where = ("providers", number, "prefix")
                self._source.problem(where, f"{provider.prefix} is the name of another provider: {provider.prefix}/model would mean both")

    def provider(self, number: int, provider: Provider) -> None:
        place: Place = ("providers", number)
        names: set[str] = set()
        for position, entry in enumerate(provider.credentials):
            if entry.name in names:
                self._source.problem((*place, "credentials", position, "name"), f"{entry.name!r} is there twice")
            names.add(entry.name)
            self._credential((*place, "credentials", position), provider, entry)
        if provider.credentials and all(entry.disabled for entry in provider.credentials) and not provider.disabled:
            self._source.problem((*place, "credentials"), "are all disabled", "enable one, or disable the provider")
        if provider.adapter in ("vertex", "vertex_claude") and provider.region is None and provider.base_url is None:
            self._source.problem((*place, "region"), "is missing", "for example europe-west1, or global")
        if provider.adapter == "codex":
            self._child(place, provider)
        elif provider.codex is not None:
            self._source.problem((*place, "codex"), "has no meaning for this adapter")
        if provider.api is not None and provider.adapter != "openai":
            self._source.problem((*place, "api"), "has no meaning for this adapter")
        server = self._settings.server
        if provider.base_url is not None and is_own_address(provider.base_url, server.host, server.port):
            self._source.problem((*place, "base_url"), "is this gateway's own address: a call would go round in circles")
        self._models(place, provider)
        if provider.quota is not None:
            self._quota((*place, "quota"), provider.quota)
        for position, name in enumerate(provider.fallbacks):
            if name == provider.name:
                self._source.problem((*place, "fallbacks", position), "is the provider itself")
            elif name not in self._named:
                self._source.problem(
                    (*place, "fallbacks", position), f"{name} is no provider", f"there are {', '.join(sorted(self._named))}"
                )

    def _child(self, place: Place, provider: Provider) -> None:
        for field in ("base_url", "region", "headers", "client_headers", "auth_header", "proxy", "quota", "credentials"):
            if getattr(provider, field):
                self._source.problem(
                    (*place, field), "has no meaning for this adapter", "the Codex CLI has its own configuration and login"
                )

    def _credential(self, place: Place, provider: Provider, entry: CredentialEntry) -> None:
        google = provider.adapter in ("vertex", "vertex_claude")
        secret = (entry.key, entry.token_file, entry.env, entry.file, entry.systemd_credential)
        if google and any(each is not None for each in secret):
            self._source.problem(place, "is no Google credentials file, which this adapter needs", "credentials_file = …")
        if not google and (entry.credentials_file is not None or entry.projects):
            self._source.problem(place, "names Google credentials or projects, which this adapter does not use")
        if not google and not entry.disabled and not provider.disabled and all(each is None for each in secret):
            self._source.problem(place, "names no secret", "give it key, env, file, systemd_credential or token_file")
        if entry.token_file is not None and not provider.disabled and not entry.disabled:
            self._token_file((*place, "token_file"), entry)
        if entry.credentials_file is not None and not google_credentials(entry.credentials_file, entry.projects):
            self._source.problem((*place, "credentials_file"), "is not a Google credentials file that can be used")
        if len(set(entry.projects)) < len(entry.projects):
            self._source.problem((*place, "projects"), "names a project twice")

    def _token_file(self, place: Place, entry: CredentialEntry) -> None:
        # Imported here: few installations have one.
        from fkproxy.adapters.http import HttpClient
        from fkproxy.adapters.token_file import TokenFile

        assert entry.token_file is not None
        try:
            tokens = TokenFile(
                HttpClient(),
                name=entry.name,
                path=entry.token_file,
                user_agent="",
                token_endpoint=entry.token_endpoint,
                client_id=entry.client_id,
            )
        except ValueError as error:
            self._source.problem(place, f"cannot be used: {error}")
            return
        if not tokens.renewable:
            text = "holds nothing to renew its token with: it serves until the token's end"
            self._source.warnings.append(Problem(self._source.at(place), text, "token_endpoint = …, and a refresh token in the file"))
        elif not os.access(entry.token_file, os.W_OK) or not os.access(entry.token_file.parent, os.W_OK):
            text = "cannot be written here: renewed tokens would be lost when the gateway stops"
            hint = "keep it below /var/lib/fkllmproxy, owned by the service"
            self._source.warnings.append(Problem(self._source.at(place), text, hint))

    def _quota(self, place: Place, quota: Quota) -> None:
        # Imported here: few installations have one.
        from fkproxy.adapters.http import HttpClient
        from fkproxy.adapters.quota import QuotaProbe
        from fkproxy.adapters.secret import StaticSecret

        headers = {name: value.get_secret_value() for name, value in quota.headers.items()}
        body = quota.body.encode() if quota.body is not None else b""
        try:
            QuotaProbe(HttpClient(), StaticSecret("", ""), url=quota.url, headers=headers, expressions=expressions_of(quota), body=body)
        except ValueError as error:
            self._source.problem(place, f"cannot be used: {error}")

    def _models(self, place: Place, provider: Provider) -> None:
        aliases: dict[str, str] = {}
        for position, entry in enumerate(provider.models):
            if not isinstance(entry, ModelEntry):
                continue
            where = (*place, "models", position, "alias")
            if entry.alias in aliases:
                self._source.problem(where, f"{entry.alias} stands for {aliases[entry.alias]} already")
            elif entry.alias in provider.model_mapping:
                self._source.problem(where, f"{entry.alias} is mapped to {provider.model_mapping[entry.alias]} already")
            aliases[entry.alias] = entry.name
        for name, model in provider.model_mapping.items():
            if name == model:
                self._source.problem((*place, "model_mapping", name), "is mapped to itself")

    def ways(self) -> None:
        """Every name that is mentioned leads somewhere, and nowhere in circles."""
        active = [provider for provider in self._all if not provider.disabled]
        table = table_of([rule_of(provider) for provider in active], self._file)
        for number, provider in enumerate(self._file.providers):
            if not provider.disabled and not self._reachable(table, provider):
                self._source.problem(("providers", number), f"({provider.name}) can never be asked: every model of it is excluded")
        for name, models in self._file.fallbacks.items():
            for position, model in enumerate(models):
                place: Place = ("fallbacks", name, position)
                if model == name:
                    self._source.problem(place, "is the model itself")
                elif not table.serves(model):
                    self._source.problem(place, f"{model} is served by nobody")
        stands = {alias.model: alias.to for alias in self._file.fallback_aliases}
        for number, alias in enumerate(self._file.fallback_aliases):
            where: Place = ("fallback_aliases", number)
            if [each.model for each in self._file.fallback_aliases].count(alias.model) > 1:
                self._source.problem((*where, "model"), f"{alias.model} is there twice")
            for field in ("model", "to"):
                if not table.serves(getattr(alias, field)):
                    self._source.problem((*where, field), f"{getattr(alias, field)} is served by nobody")
            if alias.to in stands:
                circle = alias.to == alias.model or stands[alias.to] == alias.model
                told = "leads in a circle" if circle else f"{alias.to} has a stand-in of its own"
                self._source.problem((*where, "to"), told)

    @staticmethod
    def _reachable(table: RoutingTable, provider: Provider) -> bool:
        rule = rule_of(provider)
        whole = RoutingTable([rule])
        asked = [pattern for pattern in rule.models if not is_pattern(pattern)] + list(rule.names)
        patterns = [pattern for pattern in rule.models if is_pattern(pattern)]
        blocked = {pattern.lower() for pattern in rule.excluded}
        if "*" in blocked:
            return False
        return bool([pattern for pattern in patterns if pattern.lower() not in blocked]) or any(map(whole.serves, asked))
