"""The providers file: every field of it. Floor 4. `docs/providers.md` and `docs/providers.schema.json` follow from here.

Names may be written with hyphens as well. Times in seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from fkproxy.adapters.http.proxy import Proxy as HttpProxy
from fkproxy.model.usage import Tier
from fkproxy.routing import Strategy
from fkproxy.settings.values import MOST, MOST_BYTES, ClientHeader, Credential, FilePath, HeaderName, HeaderValues, ProviderKey, Url
from fkproxy.suffix import reasoning_of_word

__all__ = [
    "Child",
    "CredentialEntry",
    "FallbackAlias",
    "Hedging",
    "Limits",
    "ModelEntry",
    "Price",
    "Provider",
    "ProvidersFile",
    "Quota",
    "QuotaExceeded",
    "Timeouts",
]


def _thinking(value: str) -> str:
    if reasoning_of_word(value.strip().lower()) is None:
        raise ValueError("expected none, auto, an effort (minimal, low, medium, high, xhigh, max) or a number of tokens")
    return value.strip().lower()


def _proxy(value: str) -> str:
    if value == "direct":
        return value
    if "://" not in value:
        raise ValueError("expected direct, or the address of an HTTP proxy such as http://proxy.example:3128")
    HttpProxy.parse(value)
    return value


Thinking = Annotated[str, AfterValidator(_thinking)]
Proxy = Annotated[str, AfterValidator(_proxy)]
Names = tuple[str, ...]


def _field(default: Any, text: str, **limits: Any) -> Any:
    return Field(default, description=text, **limits)


class Entry(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _with_underscores(cls, value: Any) -> Any:
        return {str(name).replace("-", "_"): inner for name, inner in value.items()} if isinstance(value, dict) else value


class CredentialEntry(Entry):
    """One secret of a provider, from one of: `key`, `env`, `file`, `systemd_credential`, `token_file`, `credentials_file`."""

    name: str = _field("", "Tells it from the provider's others, in logs and metrics.", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$|^$")
    key: Credential | None = _field(None, "The secret itself. Better kept out of this file.")
    env: str | None = _field(None, "Environment variable that holds it.", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    file: FilePath | None = _field(None, "File that holds it.")
    systemd_credential: str | None = _field(None, "Name of a systemd credential that holds it.", pattern=r"^[A-Za-z0-9_.-]{1,255}$")
    token_file: FilePath | None = _field(None, "OAuth token file of your own (JSON), kept fresh. It must be writable by the service.")
    credentials_file: FilePath | None = _field(None, "Google credentials (JSON), for vertex and vertex_claude.")
    token_endpoint: Url | None = _field(None, "Where a token file is renewed, if the file does not say.")
    client_id: str | None = _field(None, "OAuth client of a token file, if the file does not say.")
    client_secret: SecretStr | None = _field(None, "Secret of that client, if there is one.")
    token_request: Literal["form", "json"] = _field("form", "How the token endpoint wants to be asked.")
    projects: Names = _field((), "Google Cloud projects to use in turn; each has quotas of its own.")
    weight: int = _field(1, "Share among the provider's credentials.", ge=1, le=1_000_000)
    priority: int = _field(0, "Higher ones first; lower ones only when no higher one can serve.", ge=-1_000_000, le=1_000_000)
    proxy: Proxy | None = _field(None, "As the provider's, for this credential.")
    disabled: bool = _field(False, "Leave it out.")


class ModelEntry(Entry):
    """A model under another name."""

    name: str = _field(..., "What the provider calls it.", min_length=1)
    alias: str = _field(..., "What clients call it.", min_length=1)


class Timeouts(Entry):
    """Deadlines for one provider; APP_TIMEOUT__… where not set."""

    connect: float | None = _field(None, "Name, connection and TLS.", gt=0, le=300)
    first_byte: float | None = _field(None, "From the request to the head of the reply.", gt=0, le=86400)
    silence: float | None = _field(None, "Between two pieces of the reply.", gt=0, le=86400)
    stall: float | None = _field(None, "Between two pieces of content, whatever signs of life come in between.", gt=0, le=86400)


class Limits(Entry):
    """What one credential of the provider may be asked for; 0 is no limit."""

    max_concurrency: int = _field(0, "Calls under way.", ge=0, le=100_000)
    requests_per_minute: int = _field(0, "Calls a minute.", ge=0, le=MOST)
    tokens_per_minute: int = _field(0, "Tokens a minute: reserved by estimate, then put right.", ge=0, le=MOST)


class Price(Entry):
    """What a model costs, in USD for a million tokens."""

    input: float = _field(..., "Input.", ge=0, le=1_000_000)
    output: float = _field(..., "Output, reasoning included.", ge=0, le=1_000_000)
    cached_input: float | None = _field(None, "Input read from the vendor's cache; as input if not set.", ge=0, le=1_000_000)
    cache_write: float | None = _field(None, "Input written to the vendor's cache; as input if not set.", ge=0, le=1_000_000)
    cache_write_1h: float | None = _field(
        None, "Input written to the vendor's cache for an hour; as cache_write if not set.", ge=0, le=1_000_000
    )
    audio_input: float | None = _field(None, "Input that is audio; as input if not set.", ge=0, le=1_000_000)
    audio_output: float | None = _field(None, "Output that is audio; as output if not set.", ge=0, le=1_000_000)
    image_output: float | None = _field(None, "Output that is images; as output if not set.", ge=0, le=1_000_000)
    tiers: dict[Tier, Annotated[float, Field(ge=0, le=1000)]] = _field(
        {},
        "Tier of service → how many times as much all of it costs there: fast (priority, as OpenAI and Google say, too), ultrafast, flex. "
        "What is not named costs as much as the standard one.",
    )


class Quota(Entry):
    """Ask the vendor from time to time what is left. Each field is a JMESPath expression over the reply."""

    url: Url = _field(..., "What to ask.")
    method: Literal["GET", "POST"] = "GET"
    headers: HeaderValues = _field({}, "Headers; $TOKEN$ in a value stands for the credential.")
    body: str | None = _field(None, "Body of a POST.")
    interval: float = _field(300.0, "How often.", ge=10, le=86400)
    quota_remaining: str | None = None
    quota_reset_seconds: str | None = _field(None, "Seconds, or a time (RFC 3339, unix).")
    usage_percentage: str | None = None
    quota_exhausted: str | None = None


class Child(Entry):
    """For codex: how the Codex CLI is started and what it may do."""

    binary: str = _field("codex", "The program: a path, or a name that is looked for in PATH.", min_length=1)
    home: FilePath | None = _field(None, "Its CODEX_HOME, with login and config.toml; codex in the service's state directory if not set.")
    model: str | None = _field(None, "What it is asked for where a name stands for no model; what its config.toml says if not set.")
    model_provider: str | None = _field(None, "One of its config.toml's model_providers; its own if not set.", pattern=r"^[A-Za-z0-9_-]+$")
    transport: Literal["app_server", "exec"] = _field(
        "app_server", "exec: a process for each call, which is told one message; no tools of the client, no earlier turns."
    )
    own_tools: bool = _field(False, "It may use its own tools (a shell in its sandbox, patches, search) beside the client's.")
    parallel_tool_calls: bool = _field(True, "Clients that do not say otherwise are asked for several of their tools at once.")
    sandbox: Literal["read-only", "workspace-write"] = _field("read-only", "What its own tools may do to files.")
    config: Names = _field((), "Further settings for it, each name=value as its -c takes them.")
    environment: Names = _field((), "Variables that are passed on to it, for a model provider's env_key. It gets no others with a secret.")
    processes: int = _field(2, "Children at most.", ge=1, le=32)
    calls_per_process: int = _field(8, "Calls at once in one child.", ge=1, le=64)
    memory_limit: int = _field(512 * 1024 * 1024, "Bytes of memory above which a child is replaced.", ge=64 * 1024 * 1024, le=MOST_BYTES)
    max_calls: int = _field(1000, "Calls after which a child is replaced.", ge=1, le=MOST)
    max_age: float = _field(21600.0, "Seconds after which a child is replaced; 0 for never.", ge=0, le=31_536_000)
    idle: float = _field(600.0, "Seconds without a call after which a child is ended.", ge=10, le=31_536_000)
    start_timeout: float = _field(20.0, "Seconds that a child may take to start.", gt=0, le=300)
    tool_wait: float = _field(300.0, "Seconds that a turn waits for what the client's tools give.", ge=0, le=3600)


class Provider(Entry):
    """A service and the credentials for it."""

    name: ProviderKey = _field(..., "What it is called in logs, metrics and 'provider/model' names.")
    adapter: Literal["openai", "anthropic", "gemini", "vertex", "vertex_claude", "codex"] = _field(
        ..., "How to speak to it. openai: any server that speaks chat completions or Responses. codex: the Codex CLI on this host."
    )
    base_url: Url | None = _field(None, "Its address; the vendor's own if not set.")
    api: Literal["chat_completions", "responses", "both"] | None = _field(
        None, "For openai: what it speaks. Not set: both at OpenAI's own address, chat_completions elsewhere."
    )
    region: str | None = _field(None, "For vertex and vertex_claude: the location, or global.", pattern=r"^[a-z0-9-]+$")
    credentials: tuple[CredentialEntry, ...] = _field((), "Its secrets. None: one without any.")
    models: tuple[str | ModelEntry, ...] = _field(
        (), "Models it serves: names, patterns (* and ?), or name and alias. Not set: as the adapter has them."
    )
    excluded_models: Names = _field((), "Names and patterns that it must not be asked for; capitals do not matter.")
    model_mapping: dict[str, str] = _field({}, "What clients ask for (or a pattern) → what it is asked for.")
    preview_models: dict[str, str] = _field({}, "Model → its preview, used when the quota of the model is spent.")
    prefix: str = _field("", "Its models can be had as prefix/model too.", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$|^$")
    priority: int = _field(0, "Higher ones first; lower ones only when no higher one can serve.", ge=-1_000_000, le=1_000_000)
    weight: int = _field(1, "Share among providers of the same priority.", ge=1, le=1_000_000)
    strategy: Strategy = _field("sticky", "Which credential is next.")
    fallbacks: Names = _field((), "Providers to ask when this one has failed.")
    headers: HeaderValues = _field({}, "Headers to add to every request. Values are secret.")
    client_headers: tuple[ClientHeader, ...] = _field(
        (), "Headers of the client that are passed on to it; none that holds a key or is the connection's."
    )
    beta_features: Names | None = _field(None, "For anthropic and vertex_claude: preview features that clients may ask for.")
    auth_header: HeaderName | None = _field(None, "Header for the secret; in authorization it is a bearer token.")
    proxy: Proxy | None = _field(None, "direct, or the address of an HTTP proxy; not set: as the environment says.")
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    thinking: Thinking | None = _field(None, "For calls that say nothing about it: none, auto, an effort, or a number of tokens.")
    prices: dict[str, Price] = _field({}, "Model (or pattern) → what it costs, instead of the vendor's list price.")
    retries: int = _field(0, "Further tries at the same credential after a failure that may pass.", ge=0, le=10)
    quota: Quota | None = None
    codex: Child | None = _field(None, "For codex.")
    label: str = _field("", "What people call it.", max_length=100)
    disabled: bool = _field(False, "Leave it out.")

    @property
    def variables(self) -> tuple[str | None, ...]:
        """Of the environment: those that it names, for itself or for its program."""
        return (*(each.env for each in self.credentials), *(self.codex.environment if self.codex is not None else ()))


class FallbackAlias(Entry):
    """Another model stands in while too many calls of this one fail, and steps back when it works again."""

    model: str = _field(..., "The model.", min_length=1)
    to: str = _field(..., "Who stands in.", min_length=1)
    error_ratio: float = _field(0.05, "Share of failed calls above which it happens.", gt=0, lt=1)
    window: float = _field(600.0, "Time over which they are counted.", ge=10, le=86400)
    min_calls: int = _field(20, "Calls in that time before anything is decided.", ge=1, le=MOST)
    probe: float = _field(30.0, "While it stands in: how often the model itself is asked.", gt=0, le=3600)


class Hedging(Entry):
    """Ask a second upstream when the first one takes longer than usual. It costs: a reply that loses may be billed."""

    after: float = _field(0.0, "Seconds; 0: longer than 95 of 100 replies of that upstream and model took to begin.", ge=0, le=600)
    share: float = _field(0.05, "Share of all calls that may be asked twice, at most.", gt=0, le=1)


class QuotaExceeded(Entry):
    """What is tried when a quota is spent."""

    switch_project: bool = _field(True, "The credential's other projects.")
    switch_preview_model: bool = _field(False, "The model's preview, see preview_models.")


class ProvidersFile(Entry):
    """The whole file. All of it is checked, and taken whole or not at all."""

    providers: tuple[Provider, ...] = _field((), "In order of preference.")
    strategy: Strategy = _field("ordered", "Which provider of one priority is next.")
    force_model_prefix: bool = _field(False, "Models of providers with a prefix are served under it only.")
    fallbacks: dict[str, Names] = _field({}, "Model (or pattern) → models to ask for when everybody who has it failed.")
    fallback_aliases: tuple[FallbackAlias, ...] = ()
    quota_exceeded: QuotaExceeded = QuotaExceeded()
    hedging: Hedging | None = _field(None, "Off unless this table is there.")
