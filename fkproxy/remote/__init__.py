"""The administrator's verbs on the command line, against a running instance. Floor 4. Standard library only, as `smoke.py`.

administrator.py  one instance's `/admin/api`
commands.py       what may be typed, and what it asks for
tables.py         what comes back, as lines for people
"""

from fkproxy.remote.administrator import Administrator, Refusal
from fkproxy.remote.commands import Act, Result, add_commands

__all__ = ["Act", "Administrator", "Refusal", "Result", "add_commands"]
