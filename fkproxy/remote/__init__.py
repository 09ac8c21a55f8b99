"""The administrator's verbs on the command line, against a running instance. Floor 4. Standard library only, as `smoke.py`.

administrator.py   one instance's `/admin/api`
verbs.py           what commands share: parsers, paths, results
teams.py           pools, keys
configuration.py   providers, settings, the whole configuration
records.py         calls, usage, explanations, the audit log
commands.py        all of them, with upstreams and the store
values.py          what people type: durations, times, amounts
tables.py          what comes back, as lines for people
"""

from fkproxy.remote.administrator import Administrator, Refusal
from fkproxy.remote.commands import add_commands
from fkproxy.remote.tables import plain
from fkproxy.remote.verbs import Act, Result

__all__ = ["Act", "Administrator", "Refusal", "Result", "add_commands", "plain"]
