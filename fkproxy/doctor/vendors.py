"""What only one provider needs: its credentials file, its command line tool. Floor 4."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable

from fkproxy.children import examine
from fkproxy.doctor.finding import Finding, error, note, ok, warning
from fkproxy.doctor.host import kept
from fkproxy.doctor.situation import Situation
from fkproxy.settings.copies import ETC

__all__ = ["CHECKS"]

_COMMAND_TIMEOUT_S = 5.0


def _check_credentials_file(situation: Situation) -> Iterable[Finding]:
    """Is it there, who may read it, and can the service itself."""
    if situation.loaded is None:
        return
    credentials = situation.loaded.settings.vertex.credentials_file
    if credentials is None:
        return
    if not credentials.is_file():
        yield error("secrets", f"{credentials} is not there", "correct the path, or put the file there")
        return
    if credentials.is_relative_to("/run/credentials"):
        return
    yield from kept(credentials)
    # Of what lies in ETC the service has a copy of its own.
    copied = credentials.parent == ETC
    if not copied and situation.service.get("DynamicUser") == "yes" and not credentials.stat().st_mode & stat.S_IROTH:
        passed = f"LoadCredential=google_application_credentials:{credentials}"
        fix = f"move it to {ETC}, or pass it as a credential: 'systemctl edit fkllmproxy', [Service], {passed}"
        yield error("secrets", f"the service's user cannot read {credentials}", fix)


def _check_codex(situation: Situation) -> Iterable[Finding]:
    """The command line tool that serves as an upstream, or could."""
    told, problems = examine(situation.loaded) if situation.loaded is not None else ([], [])
    for problem in problems:
        yield warning("codex", f"{problem.name}: {problem.message}", problem.hint)
    for line in told:
        yield ok("codex", line)
    if told or problems:
        return
    found = shutil.which("codex", path=situation.variables.get("PATH"))
    if found is None:
        yield note("codex", "the Codex CLI is not installed; nothing here needs it")
        return
    try:
        done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S)  # noqa: S603 - found on PATH
    except (OSError, subprocess.TimeoutExpired) as failure:
        yield warning("codex", f"{found} does not tell its version ({type(failure).__name__})", "npm install --global @openai/codex")
        return
    yield ok("codex", f"{found}: {done.stdout.strip() or 'no version'}")


CHECKS: dict[str, Callable[[Situation], Iterable[Finding]]] = {"credentials": _check_credentials_file, "codex": _check_codex}
