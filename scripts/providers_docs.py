#!/usr/bin/env python3
"""Make docs/providers.md and docs/providers.schema.json from the schema of the providers file.

scripts/providers_docs.py --write    bring both up to date
scripts/providers_docs.py --check    exit 1 if one is not up to date
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fkproxy.settings.providers_schema import (  # noqa: E402 - after the path is set
    CredentialEntry,
    Entry,
    FallbackAlias,
    Hedging,
    Limits,
    ModelEntry,
    Price,
    Provider,
    ProvidersFile,
    Quota,
    QuotaExceeded,
    Timeouts,
)

EXAMPLE = ROOT / "packaging" / "providers.example.toml"
PAGE = ROOT / "docs" / "providers.md"
SCHEMA = ROOT / "docs" / "providers.schema.json"

_TABLES: tuple[tuple[str, type[Entry]], ...] = (
    ("At the top", ProvidersFile),
    ("`[[providers]]`", Provider),
    ("`[[providers.credentials]]`", CredentialEntry),
    ("an entry of `models`", ModelEntry),
    ("`timeouts`, in seconds", Timeouts),
    ("`limits`", Limits),
    ("an entry of `prices`", Price),
    ("`quota`", Quota),
    ("`[[fallback_aliases]]`", FallbackAlias),
    ("`[quota_exceeded]`", QuotaExceeded),
    ("`[hedging]`", Hedging),
)

_INTRO = """\
# The providers file

`APP_PROVIDERS_FILE` names a TOML or YAML file with providers beside those that well-known variables name. It is checked whole:
every fault is told with its line, and a file with one is not taken. `fkllmproxy check` does the same without a start. After a
change `systemctl reload fkllmproxy` takes it, whole or not at all; calls under way end with what they began with.

Made from the schema by `scripts/providers_docs.py`; [providers.schema.json](providers.schema.json) is for editors. Names may be
written with hyphens as well (`excluded-models`).

## An example

```toml
{example}```

## How a call finds its upstream

1. **The name.** `prefix/model` asks the providers with that prefix, `provider/model` that provider only, whatever its patterns say.
   A bare name goes to the providers that name it, or a pattern of it; `*` alone takes what nobody names. A suffix such as
   `model(high)` is thinking.
2. **The order.** Providers by priority, within one priority by `strategy` at the top; then the credentials of the chosen one by
   priority, and by its own `strategy`. After a failure: the next credential, then the next provider, then `fallbacks` of the
   provider, then the fallback model. Never after the first piece of content has gone to the client.
3. **The bounds.** `APP_ROUTING__MAX_ATTEMPTS` for one call, its deadline (`APP_TIMEOUT__TOTAL_SECS`), and a budget of further
   attempts for all calls together (`APP_ROUTING__RETRY_BUDGET`) that only failures use up.

| strategy | who is next |
|---|---|
| `ordered` | the first that may be asked |
| `round_robin` | each in turn |
| `weighted` | each in turn, by weight |
| `fill_first` | the one that served last, until it may not be asked |
| `least_busy` | the one with the fewest calls under way for its weight |
| `sticky` | the one that served this conversation last: prompt caches and encrypted thoughts are one account's |

A conversation is known by a header (`session-id` and its kin), by a field (`prompt_cache_key`, `previous_response_id`,
`conversation`, `metadata.user_id`, `cachedContent`, `user`), or by how it began.

## What keeps an upstream out

| seen | state | what it holds | for |
|---|---|---|---|
| 401, 403 | `reauth_required` | the credential; the model after a 403 | 30 s, doubling; an OAuth token is renewed first |
| Google's 403 for a file or a cache of a request, Anthropic's 404 for a file | `active` | nothing; the next credential may have it | |
| OpenAI's 404 for a conversation or a prompt by id | `active` | nothing; the next credential may have it | |
| OpenRouter's 404 for tools or images that it has nobody for | `active` | nothing; the next provider may take it | |
| OpenRouter's and xAI's 403 for what a request says | `active` | nothing, and nobody else is asked: the client is told | |
| 402, a spent quota | `exhausted` | the credential, or the model where the quota is its own | what the vendor says, else 60 s, doubling |
| 429, 503 with `Retry-After` | `limited` | the model | what the vendor says, else 1 s, doubling |
| 404 for the model, or another answer that says there is none | `limited` | the model | 30 s, doubling |
| three, five, ten failures in a row | `limited` | the credential | 30, 60, 300 s |
| too many failures in a while | circuit breaker | the credential | `APP_CIRCUIT_BREAKER__TIMEOUT_SECS` |

Nothing is held longer than `APP_COOLDOWN__MAX_SECS`, or `APP_COOLDOWN__EXHAUSTED_MAX_SECS` where a quota is spent. When the time is
over one call finds out; when it succeeds all follow. A model with one upstream only is never kept waiting by a cooldown, but by an open
circuit breaker. When all of several upstreams of a model are kept out by failures, the one that recovers first is tried all the same;
one whose time is over, and from which the call that finds out has no answer yet, is tried by all who have nowhere else to go. The call's
record says `safety_valve`.

## What is told when nobody served

429 with the soonest `Retry-After` when all are at their limits, or their quotas are spent; 503, and to Anthropic's clients 529, with the
soonest `Retry-After` when all have too much to do and say until when; 504 when all were too slow; 502 `upstream_authentication` when all
refuse our credentials, `fallback_exhausted` with what each attempt said when that differs; 404 when no upstream has the model; what the
last one said when a call names a file that no account of them has; 503 with the reasons when nobody could be asked.

## OAuth token files

`token_file` names a JSON file of your own with an access token and a refresh token, as command line tools of many vendors leave it: the
names and the nesting of its fields do not matter much. It is renewed before its end, when it has ended, and when an upstream refuses
it; one renewal at a time, also between two processes; written back in place, with every field that is not ours. Endpoint and client
come from the file or from here, never from us. The service must be able to write the file and its directory: `/var/lib/fkllmproxy`
is the place. A file that somebody else renews is read again.

## Quotas

With a `quota` table the vendor is asked from time to time. The fields are JMESPath expressions over its reply, with two functions
added: `subtract(a, b)` and `percent(part, whole)`. An upstream whose quota is used up is `exhausted` until the vendor says otherwise.

```toml
[providers.quota]
url = "https://vendor.example/v1/usage"
headers = { authorization = "Bearer $TOKEN$" }
quota_remaining = "subtract(limit, used)"
usage_percentage = "percent(used, limit)"
quota_reset_seconds = "resets_at"
```

## Prices

The cost of a call stands in its access line (`cost_usd`) and in `fkproxy_cost_usd_total`. It follows from the vendor's list price, which
comes with this version, or from `prices`; what neither knows stays unknown and is not counted as 0. Audio, images that a model makes, and
what Anthropic keeps cached for an hour cost what the list or the entry says of them: an entry of `prices` stands in place of the model's
whole list price; the table of its fields tells what the rest costs. A list price that changes on a day, or with the time of day, is that of
the moment when the call began. Tools that are the vendor's own are not counted.

A tier of service costs what the list has for it, or as many times the entry as its `tiers` say, by what the reply tells that it was served
in, whatever the request asked for: Anthropic's `speed`, OpenAI's `service_tier` (`priority` and `fast` are one), Google's `serviceTier`
and `trafficType`. Where neither names the tier it costs what the standard one does: the list that comes with this version has OpenAI's
`fast` and `flex` and Anthropic's `fast`, not OpenAI's `ultrafast`, and of Google's models those that speak. What Anthropic serves in the US
alone, as its reply tells (`inference_geo`), costs 1.1 times the list or the entry; what other regions cost more, no reply tells.

Where Anthropic tells of several attempts at one reply, each is counted and costs what its own model does, if that has a price: models of
`fallbacks`, the one that declined within its answer before them too, an adviser, the summary of a conversation that is shortened. A refusal
before any output costs nothing.

```toml
[providers.prices]
"claude-sonnet-*" = { input = 2.4, output = 12, cached_input = 0.24, cache_write = 3, cache_write_1h = 4.8 }
"gpt-6-astra" = { input = 10, output = 50, cached_input = 1, cache_write = 12.5, tiers = { fast = 2, flex = 0.5, ultrafast = 6 } }
"gemini-*-image" = { input = 0.3, output = 2.5, image_output = 30 }
```

## Every field
"""


def render() -> dict[Path, str]:
    """Both files."""
    parts = [_INTRO.replace("{example}", EXAMPLE.read_text())]
    for title, table in _TABLES:
        parts.append(f"\n### {title}\n\n{' '.join((table.__doc__ or '').split())}\n\n| | | default |\n|---|---|---|\n")
        parts += [f"{row}\n" for row in _rows(table)]
    schema = ProvidersFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return {PAGE: "".join(parts), SCHEMA: json.dumps(schema, indent=2) + "\n"}


def _rows(table: type[Entry]) -> Iterator[str]:
    for name, field in table.model_fields.items():
        text = (field.description or "").replace("|", "\\|")
        yield f"| `{name}` | {text} | {_default(field)} |"


def _default(field: Any) -> str:
    if field.is_required():
        return "needed"
    value = field.default
    if value is None or value == () or value == {} or value == "" or isinstance(value, Entry):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else f'{value:g}' if isinstance(value, float) else value}`"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = [path for path, text in render().items() if not path.exists() or path.read_text() != text]
    if options.write:
        for path in stale:
            path.write_text(render()[path])
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)} is not up to date; run scripts/providers_docs.py --write", file=sys.stderr)
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
