"""The settings of the process: every one, from the environment to a checked value. Floor 4. The only reader of the environment.

schema.py    every setting: default, unit, help
values.py    kinds of values: how a text becomes one
envfile.py   files of `NAME=value` lines
sources.py   where values come from, and names that mean nothing
checks.py    what must hold between settings
profiles.py  other defaults for a purpose, and what one of them does not let pass
copies.py    files that only root may read, as the unit copies them
loading.py   all of it together, with every problem found at once
problems.py  what a problem is

providers_schema.py  the providers file: every field
locating.py          TOML and YAML with the line of each value
providers_file.py    a providers file, read and checked
providers_table.py   the providers of a configuration, and the routing table that follows

managed.py            what is managed through the gateway itself, over what was declared
managed_providers.py  its providers
"""

from fkproxy.settings.checks import open_to_others
from fkproxy.settings.loading import (
    LoadedSettings,
    ProcessEnvironment,
    Row,
    describe,
    is_journal,
    load,
    load_providers,
    process_variables,
    successor_variables,
)
from fkproxy.settings.managed import MANAGED, Judge, effective
from fkproxy.settings.problems import Problem, SettingsError
from fkproxy.settings.providers_schema import Child, CredentialEntry, FallbackAlias, Hedging, Provider, ProvidersFile
from fkproxy.settings.providers_table import (
    expressions_of,
    member_name,
    members_of,
    named_by_variables,
    routing_of,
    rule_of,
    table_of,
    vendors_address,
)
from fkproxy.settings.schema import Settings

__all__ = [
    "MANAGED",
    "Child",
    "CredentialEntry",
    "FallbackAlias",
    "Hedging",
    "Judge",
    "LoadedSettings",
    "Problem",
    "ProcessEnvironment",
    "Provider",
    "ProvidersFile",
    "Row",
    "Settings",
    "SettingsError",
    "describe",
    "effective",
    "expressions_of",
    "is_journal",
    "load",
    "load_providers",
    "member_name",
    "members_of",
    "named_by_variables",
    "open_to_others",
    "process_variables",
    "routing_of",
    "rule_of",
    "successor_variables",
    "table_of",
    "vendors_address",
]
