"""The settings of the process: every one, from the environment to a checked value. Floor 4. The only reader of the environment.

schema.py    every setting: default, unit, help
values.py    kinds of values: how a text becomes one
envfile.py   files of `NAME=value` lines
sources.py   where values come from, and names that mean nothing
checks.py    what must hold between settings
loading.py   all of it together, with every problem found at once
problems.py  what a problem is
"""

from fkproxy.settings.loading import (
    LoadedSettings,
    ProcessEnvironment,
    Row,
    describe,
    is_journal,
    load,
    process_variables,
    successor_variables,
)
from fkproxy.settings.problems import Problem, SettingsError
from fkproxy.settings.schema import Settings

__all__ = [
    "LoadedSettings",
    "Problem",
    "ProcessEnvironment",
    "Row",
    "Settings",
    "SettingsError",
    "describe",
    "is_journal",
    "load",
    "process_variables",
    "successor_variables",
]
