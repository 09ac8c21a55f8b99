"""Every setting: its default, its unit, its help. Floor 4.

A setting is `APP_<SECTION>__<NAME>` in the environment. To add one: a field here; `packaging/env.example` and the unknown-name check
follow from it. `_setting(...)` keeps beside the field what pydantic has no place for: the unit, the well-known variables that set it
too, and whether it may change while calls are under way: then it can be managed through the gateway itself. Secrets, addresses and files
never can.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.fields import FieldInfo

from fkproxy.routing import Strategy
from fkproxy.settings.values import (
    MOST,
    MOST_BYTES,
    Bool,
    Credential,
    HeaderValues,
    Host,
    LogLevel,
    MasterKey,
    Names,
    Networks,
    Origins,
    ProviderKey,
    SealingKeys,
    StoreUrl,
    Url,
)

__all__ = ["Section", "Settings", "Slot", "slots"]


def _setting(
    default: Any, text: str, *, unit: str | None = None, variables: tuple[str, ...] = (), live: bool = False, **limits: Any
) -> Any:
    return Field(default, description=text, json_schema_extra={"unit": unit, "variables": list(variables), "live": live}, **limits)


def _live(default: Any, text: str, *, unit: str | None = None, **limits: Any) -> Any:
    return _setting(default, text, unit=unit, live=True, **limits)


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(Section):
    """Defaults for a purpose."""

    name: Literal["dev", "prod"] | None = _setting(
        None,
        "Other defaults: dev for a desk, prod for a service that others reach. What is said elsewhere wins; but prod does not start while"
        " calls need no key, a key can be guessed, every page may call, every address is a trusted proxy, or the sandbox is on.",
        variables=("APP_PROFILE",),
    )


class Server(Section):
    """Where it listens and what it accepts."""

    host: Host = _setting("127.0.0.1", "Address to listen on. Anything but loopback needs APP_AUTH__MASTER_KEY.")
    port: int = _setting(4000, "Port to listen on.", ge=1, le=65535)
    max_request_size: int = _live(
        10 * 1024 * 1024,
        "Largest request body, unpacked; a larger one is answered 413.",
        unit="bytes",
        ge=1024,
        le=MOST_BYTES,
    )
    trusted_proxies: Networks = _setting(
        (), "Addresses and networks of load balancers, separated by commas, whose X-Forwarded-For names the client."
    )
    drain_timeout_secs: int = _setting(30, "How long calls under way may go on after a stop was asked for.", unit="seconds", ge=1, le=3600)
    lame_duck_secs: float = _setting(
        3.0,
        "Before that: how long it goes on answering and asks clients to close their kept connections, so that none writes to a closed one.",
        unit="seconds",
        ge=0,
        le=60,
    )
    backlog: int = _setting(1024, "Connections that may wait to be accepted.", ge=128, le=65535)


class Auth(Section):
    """Who may call."""

    require_auth: Bool = _setting(False, "Calls must present a key. On by itself as soon as there is one.")
    master_key: MasterKey | None = _setting(None, "The key clients present; 16 characters or more.")


class Vertex(Section):
    """Google's models: the Gemini API with a key, or Vertex AI with a service account. A key wins."""

    api_key: Credential | None = _setting(None, "Key of the Gemini API.", variables=("GOOGLE_API_KEY", "GEMINI_API_KEY"))
    api_key_base_url: Url = _setting("https://generativelanguage.googleapis.com", "Address of the Gemini API.")
    credentials_file: Path | None = _setting(
        None, "JSON file with the credentials for Vertex AI.", variables=("GOOGLE_APPLICATION_CREDENTIALS",)
    )
    ambient_credentials: Bool = _setting(
        False, "Take the credentials for Vertex AI from the machine: a metadata server, or gcloud's login."
    )
    project_id: str | None = _setting(
        None, "Google Cloud project; the one in the credentials if not set.", variables=("GOOGLE_CLOUD_PROJECT",), pattern=r"^[a-z0-9.:-]+$"
    )
    region: str = _setting(
        "us-central1", "Location of Vertex AI, or global.", variables=("GOOGLE_CLOUD_LOCATION",), pattern=r"^[a-z0-9-]+$"
    )
    oauth_base_url: Url | None = _setting(None, "Address of Vertex AI; follows from the region if not set.")
    claude_models: Names = _setting(
        (), "Claude models of this project, separated by commas, as Vertex AI names them; * and ? stand for any characters."
    )


class Anthropic(Section):
    """The Anthropic API."""

    api_key: Credential | None = _setting(None, "Key of the Anthropic API.", variables=("ANTHROPIC_API_KEY",))
    auth_token: Credential | None = _setting(
        None, "A bearer token instead of a key, for a gateway in front of it.", variables=("ANTHROPIC_AUTH_TOKEN",)
    )
    base_url: Url | None = _setting(
        None, "Its address, up to and without /v1/messages; Anthropic's own if not set.", variables=("ANTHROPIC_BASE_URL",)
    )
    models: Names = _setting(("claude-*",), "Model names that go there, separated by commas; * and ? stand for any characters.")
    beta_features: Names = _setting(
        ("*",), "Preview features (anthropic-beta) that clients may ask for, separated by commas; * and ? stand for any characters."
    )
    vertex_beta_features: Names = _setting(
        ("context-1m-*", "interleaved-thinking-*", "fine-grained-tool-streaming-*", "token-efficient-tools-*"),
        "The same for Claude on Vertex AI, which refuses features that it does not have.",
    )


class OpenAi(Section):
    """Any server that speaks OpenAI chat completions."""

    api_key: Credential | None = _setting(None, "Key of that server.", variables=("OPENAI_API_KEY",))
    base_url: Url | None = _setting(
        None, "Its address, up to and without /chat/completions; OpenAI's own if not set.", variables=("OPENAI_BASE_URL",)
    )
    models: Names = _setting(
        ("*",),
        "Model names that go there, separated by commas; * and ? stand for any characters, * alone for all that no other provider names.",
    )
    api: Literal["chat_completions", "responses", "both"] | None = _setting(
        None,
        "What it speaks. With both, clients of either pass through and all others are translated to chat completions; not set: both for"
        " OpenAI's own address, chat_completions elsewhere.",
    )
    extra_headers: HeaderValues = _setting(
        {}, "Headers to add: 'Name: value' pairs separated by commas, or a JSON object where a value holds a comma. Values are secret."
    )
    provider_key: ProviderKey = _setting("openai", "What it is called in logs, metrics and 'provider/model' names.")


class Codex(Section):
    """The Codex CLI on this host, as a child process: see docs/providers.md."""

    binary: str | None = _setting(
        None, "The program: a path, or a name that is looked for in PATH. Set, it is a provider.", variables=("CODEX_BIN",)
    )
    home: Path | None = _setting(
        None,
        "Its CODEX_HOME, with login and config.toml, writable by the service; not set: codex in the store's directory.",
        variables=("CODEX_HOME",),
    )
    model: str | None = _setting(
        None, "The model that the names of APP_CODEX__MODELS stand for; not set: as its config.toml says.", variables=("CODEX_MODEL",)
    )
    models: Names = _setting(
        (),
        "Model names that go there, separated by commas; * and ? stand for any characters. Not set: codex-5 (profile dev: codev-5),"
        " codex-5-low and others, whose ending says how much to think.",
    )
    model_provider: str | None = _setting(
        None, "One of its config.toml's model_providers; its own if not set.", pattern=r"^[A-Za-z0-9_-]+$"
    )
    own_tools: Bool = _setting(False, "It may use its own tools (a shell in its sandbox, patches, search) beside the client's.")
    parallel_tool_calls: Bool = _setting(True, "Clients that do not say otherwise are asked for several of their tools at once.")
    sandbox: Literal["read-only", "workspace-write"] = _setting("read-only", "What its own tools may do to files.")
    pass_environment: Names = _setting(
        (), "Variables that are passed on to it, separated by commas, for a model provider's env_key. It gets no others with a secret."
    )
    max_processes: int = _setting(2, "Children at most.", ge=1, le=32)
    calls_per_process: int = _setting(8, "Calls at once in one child; beyond all of them calls wait, then are answered 429.", ge=1, le=64)
    memory_limit: int = _setting(
        512 * 1024 * 1024, "Memory above which a child is replaced.", unit="bytes", ge=64 * 1024 * 1024, le=MOST_BYTES
    )
    max_age_secs: float = _setting(21600.0, "Age at which a child is replaced; 0 for never.", unit="seconds", ge=0, le=31_536_000)
    start_timeout_secs: float = _setting(20.0, "How long a child may take to start.", unit="seconds", gt=0, le=300)
    tool_wait_secs: float = _setting(300.0, "How long a turn waits for what the client's tools give.", unit="seconds", ge=0, le=3600)


class Providers(Section):
    """More providers, and what belongs to them: see docs/providers.md."""

    file: Path | None = _setting(
        None,
        "TOML or YAML file with providers, credentials, fallbacks; beside those that variables name.",
        variables=("APP_PROVIDERS_FILE",),
    )


class Routing(Section):
    """How often one call is tried, and what is tried first."""

    max_attempts: int = _live(5, "Attempts of one call, whatever their number of upstreams.", ge=1, le=100)
    max_wait_secs: float = _live(
        5.0, "The one pause that a call may make for an upstream that is back soon, or busy.", unit="seconds", ge=0, le=300
    )
    retry_budget: int = _live(
        500, "Further attempts that all calls together may have under way or lost; they come back with time and success.", ge=0, le=MOST
    )
    strategy: Strategy | None = _live(None, "Which provider of one priority is next; not set: as the providers file says, or ordered.")
    switch_project: Bool | None = _live(
        None, "When a quota is spent, try the credential's other projects; not set: as the providers file says, or on."
    )
    switch_preview_model: Bool | None = _live(
        None, "When a quota is spent, try the model's preview; not set: as the providers file says, or off."
    )


class Cooldown(Section):
    """How long an upstream is left alone after failures, where there is another one."""

    max_secs: float = _live(
        300.0,
        "At most. By failures in a row: 30 seconds from 3, 60 from 5, 300 from 10; after a 429 what the vendor says.",
        unit="seconds",
        ge=0,
        le=86400,
    )
    exhausted_max_secs: float = _live(
        3600.0, "At most, when its quota or money is spent; then one call tries again.", unit="seconds", ge=0, le=604800
    )


class Log(Section):
    """What it writes to stdout."""

    level: LogLevel = _live("info", "Least level that is written; of libraries other than the server warning, or above.")
    format: Literal["json", "pretty"] = _setting("json", "One JSON object a line, or text for a terminal.")


class RateLimit(Section):
    """Token bucket: one for each key, one for each peer address where no key is needed."""

    enabled: Bool = _live(True, "Limit calls at all.")
    capacity: int = _live(100, "Calls that may come at once.", unit="calls", ge=1, le=MOST)
    refill_per_second: int = _live(10, "Calls a second in the long run.", unit="calls per second", ge=1, le=MOST)
    tokens_per_minute: int = _live(
        0,
        "Tokens a minute, of input and output together: reserved by estimate, then put right; 0 for no limit.",
        unit="tokens",
        ge=0,
        le=MOST,
    )


class CircuitBreaker(Section):
    """One for each upstream: connect errors, timeouts, 5xx and overload count; the client's mistakes do not."""

    failure_threshold: int = _live(10, "Failures within the window that fence an upstream off.", ge=1, le=MOST)
    window_secs: int = _live(60, "Length of that window.", unit="seconds", ge=1, le=86400)
    timeout_secs: int = _live(60, "How long it stays fenced off until a probe.", unit="seconds", ge=1, le=86400)
    success_threshold: int = _live(3, "Probes in a row that must succeed before it is let in again.", ge=1, le=MOST)


class Concurrency(Section):
    """Streams, calls of one key, and bytes of requests that may be under way at the same time."""

    max_streams: int = _live(1000, "By all callers.", unit="streams", ge=1, le=4000)
    max_streams_per_key: int = _live(100, "By one key.", unit="streams", ge=1, le=4000)
    max_calls_per_key: int = _live(
        0,
        "Calls of one key, streams or not; the next ones wait for APP_ROUTING__MAX_WAIT_SECS at most, then are refused; 0 for no limit.",
        unit="calls",
        ge=0,
        le=MOST,
    )
    max_body_bytes: int = _live(
        512 * 1024 * 1024,
        "Bodies of more than 64 KB together, until the reply begins, half of it for one key; the next ones wait unread for half of"
        " APP_TIMEOUT__FIRST_BYTE_SECS, then are refused. One that is alone always passes.",
        unit="bytes",
        ge=1024 * 1024,
        le=MOST_BYTES,
    )


class Timeout(Section):
    """Deadlines for an upstream, each on its own."""

    connect_secs: float = _live(10.0, "Name, connection and TLS.", unit="seconds", gt=0, le=300)
    first_byte_secs: float = _live(
        120.0, "From the request to the head of the reply; also for the client's body.", unit="seconds", gt=0, le=86400
    )
    silence_secs: float = _live(120.0, "Between two pieces of the reply.", unit="seconds", gt=0, le=86400)
    stall_secs: float = _live(
        300.0, "Between two pieces of content of a stream, whatever signs of life come in between.", unit="seconds", gt=0, le=86400
    )
    total_secs: float = _live(600.0, "The whole call.", unit="seconds", gt=0, le=86400)


class Stream(Section):
    """How a silent upstream is bridged."""

    keep_alive_secs: float = _live(10.0, "A client hears a comment after so much silence.", unit="seconds", gt=0, le=15)
    commit_after_secs: float = _live(
        10.0, "Until then an upstream's failure can still be answered with a proper status.", unit="seconds", gt=0, le=15
    )


class Cors(Section):
    """Web pages that call from a browser."""

    enabled: Bool = _live(False, "Answer browsers that ask whether they may call.")
    allowed_origins: Origins = _live(
        (), "Origins such as https://app.example, separated by commas; http://localhost:* is any port of it, * is all."
    )
    max_age_secs: int = _live(600, "How long a browser may remember the answer.", unit="seconds", ge=0, le=86400)


class Store(Section):
    """What it remembers: pools, keys, managed providers and settings, the log of calls and that of changes. Never what was said."""

    directory: Path | None = _setting(
        None,
        "Where the database and the files beside it are; not set: the service's own directory, /var/lib/fkllmproxy, and for a process of a"
        " user ~/.local/state/fkllmproxy.",
    )
    url: StoreUrl | None = _setting(
        None,
        "postgresql://user:password@host/database instead of an SQLite file in that directory; none for no store at all: then there are no"
        " pools, no keys but the master key, and no log of calls but the journal's.",
    )
    secret_keys: SealingKeys | None = _setting(
        None,
        "What secrets are sealed with: version:key pairs separated by commas, each key 32 bytes in base64; the highest version seals, the"
        " others still open. Not set: a file in that directory, made at the first start.",
    )
    keep_calls_days: int = _setting(30, "How long the log of calls goes back; 0 for ever.", unit="days", ge=0, le=3660)
    keep_calls: int = _setting(
        2_000_000,
        "How many calls it holds at most, about 500 bytes each: above it the oldest go, whatever their age; 0 for any number.",
        unit="calls",
        ge=0,
        le=1_000_000_000,
    )
    keep_usage_days: int = _setting(400, "How long the sums by hour go back; 0 for ever.", unit="days", ge=0, le=3660)
    keep_audit_days: int = _setting(0, "How long the audit log goes back; 0 for ever.", unit="days", ge=0, le=36600)
    journal_max_size: int = _setting(
        512 * 1024 * 1024,
        "Records of calls that may wait on the disk while the database is away; above it the oldest go, and are counted.",
        unit="bytes",
        ge=1024 * 1024,
        le=MOST_BYTES,
    )


class Metrics(Section):
    """Who may read /metrics and /metrics/prometheus."""

    token: MasterKey | None = _setting(
        None, "A token for them alone, sent as 'Authorization: Bearer'; the master key opens them too. Not set: a key where calls need one."
    )


class Sandbox(Section):
    """The built-in upstream that answers without a network."""

    enabled: Bool | None = _setting(None, "On or off; not set: on while nothing else is configured.")


class Settings(Section):
    """All of them."""

    profile: Profile = Profile()
    server: Server = Server()
    auth: Auth = Auth()
    vertex: Vertex = Vertex()
    openai: OpenAi = OpenAi()
    anthropic: Anthropic = Anthropic()
    codex: Codex = Codex()
    providers: Providers = Providers()
    routing: Routing = Routing()
    cooldown: Cooldown = Cooldown()
    log: Log = Log()
    rate_limit: RateLimit = RateLimit()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    concurrency: Concurrency = Concurrency()
    timeout: Timeout = Timeout()
    stream: Stream = Stream()
    cors: Cors = Cors()
    store: Store = Store()
    metrics: Metrics = Metrics()
    sandbox: Sandbox = Sandbox()


class Slot(msgspec.Struct, frozen=True):
    """One setting and every name it answers to."""

    section: str
    field: str
    info: FieldInfo

    @property
    def name(self) -> str:
        """`APP_<SECTION>__<NAME>`."""
        return f"APP_{self.section}__{self.field}".upper()

    @property
    def unit(self) -> str | None:
        """None for what is counted in nothing but itself."""
        unit: str | None = self._extra("unit")
        return unit

    @property
    def variables(self) -> tuple[str, ...]:
        """Well-known variables that set it too."""
        return tuple(self._extra("variables"))

    @property
    def old_spelling(self) -> str:
        """`APP__<SECTION>__<NAME>`, which the earlier system understood."""
        return self.name.replace("APP_", "APP__", 1)

    @property
    def names(self) -> tuple[str, ...]:
        """Every variable that sets it, the strongest first."""
        return (self.name, self.old_spelling, *self.variables)

    @property
    def default(self) -> Any:
        """Its value when nobody says anything."""
        return self.info.get_default(call_default_factory=True)

    @property
    def choices(self) -> tuple[str, ...]:
        """The only values there are; none where anything goes."""
        return next((get_args(kind) for kind in _types(self.info.annotation) if get_origin(kind) is Literal), ())

    @property
    def limits(self) -> str:
        """Of a number, in words: "between 1 and 65535"; "" for what is none."""
        rules = {name: getattr(rule, name) for rule in self.info.metadata for name in ("gt", "ge", "le") if hasattr(rule, name)}
        most = rules.get("le")
        if "gt" in rules:
            return f"above {rules['gt']:g}" + (f" and at most {most:g}" if most is not None else "")
        if "ge" in rules:
            return f"between {rules['ge']} and {most}" if most is not None else f"at least {rules['ge']}"
        return ""

    @property
    def secret(self) -> bool:
        """Its value must not be shown, and may stand in a file."""
        return SecretStr in _types(self.info.annotation)

    @property
    def live(self) -> bool:
        """It may change while calls are under way, and so be managed through the gateway itself."""
        live: bool = self._extra("live")
        return live

    @property
    def is_path(self) -> bool:
        """Its value is the path of a file."""
        return Path in _types(self.info.annotation)

    def _extra(self, key: str) -> Any:
        assert isinstance(self.info.json_schema_extra, dict)
        return self.info.json_schema_extra[key]


def _types(annotation: object) -> Iterator[object]:
    yield annotation
    for inner in get_args(annotation):
        yield from _types(inner)


def slots() -> tuple[Slot, ...]:
    """Every setting, in the order of the schema."""
    found: list[Slot] = []
    for section, outer in Settings.model_fields.items():
        kind = outer.annotation
        assert isinstance(kind, type)
        assert issubclass(kind, Section)
        found += [Slot(section, name, info) for name, info in kind.model_fields.items()]
    return tuple(found)
