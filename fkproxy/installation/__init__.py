"""Putting the one file on a host, replacing it, and going back. Floor 4.

places.py    where everything goes, and the files that the build carries along
manager.py   the service manager, asked and told
trial.py     a file tried in the service's own conditions, before anything depends on it
steps.py     install, upgrade, rollback, prepare
"""

from fkproxy.installation.manager import Refused
from fkproxy.installation.steps import install, prepare, rollback, upgrade

__all__ = ["Refused", "install", "prepare", "rollback", "upgrade"]
