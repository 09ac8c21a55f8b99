"""Where values come from: the environment, an environment file, files that hold secrets, systemd credentials. Floor 4.

First wins: the environment, the environment file, the credential directory. Within each the setting's own name comes before the
well-known variables, and a value before the file that holds it. Blank is as good as not set.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fkproxy.settings.copies import readable
from fkproxy.settings.problems import Problem, reason
from fkproxy.settings.schema import Slot, slots

__all__ = ["RETIRED", "Collected", "Found", "Layer"]

_MAX_SECRET_BYTES = 64 * 1024

_PROXIES = frozenset(each for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY") for each in (name, name.lower()))
"""Read beside the settings."""

RETIRED: Mapping[str, str] = {
    **dict.fromkeys(
        ("APP_OPENAI__HARVESTER_URL", "APP_OPENAI__ACCESS_TOKEN_TTL_SECS", "APP_OPENAI__ARKOSE_TOKEN_TTL_SECS", "BACKEND_USER_AGENT"),
        "web sessions are not used; OPENAI_API_KEY makes it call OpenAI's API",
    ),
    "APP_ANTHROPIC__BRIDGE_URL": "there is no bridge process any more",
    **dict.fromkeys(
        (
            "APP_GEMINI_CLI__ENABLED",
            "APP_GEMINI_CLI__CLI_PATH",
            "APP_GEMINI_CLI__TIMEOUT_SECS",
            "APP_GEMINI_CLI__MAX_CONCURRENCY",
        ),
        "no command line tool is started for Gemini; GOOGLE_API_KEY or Vertex AI takes its place",
    ),
    **dict.fromkeys(("APP_CACHE__ENABLED", "APP_CACHE__DEFAULT_TTL_SECS"), "replies are never stored"),
}
"""Names of the system this one replaces that no longer mean anything, and why. They are reported and do not stop the start."""


class Found(msgspec.Struct, frozen=True):
    """A raw value, the name that gave it, and where that stands as `check` shows it."""

    value: str
    name: str
    source: str


class Layer(msgspec.Struct, frozen=True):
    """Variables that were read together: from the process's environment, or from the file at `path`."""

    values: Mapping[str, str]
    path: Path | None = None

    def place(self, name: str) -> str:
        """Where the operator finds this variable."""
        return name if self.path is None else f"{name} in {self.path}"


class Collected:
    """Raw values by `Slot.name`, with what was noticed on the way. `unreadable`: sections with a secret that could not be read."""

    def __init__(self, layers: list[Layer], credentials: Path | None, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ or {}
        self.found: dict[str, Found] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.unreadable: set[str] = set()
        known = slots()
        held = self._list(credentials) if credentials is not None else {}
        for slot in known:
            value = next(filter(None, (self._from_layer(slot, layer) for layer in layers)), None) or self._from_credentials(slot, held)
            if value is not None:
                self.found[slot.name] = value
        names = {each for slot in known for each in (*slot.names, *(f"{name}_FILE" for name in slot.names if slot.secret))}
        for layer in layers:
            for name in layer.values:
                if name not in names:
                    self._unknown(name, layer, names)
                elif name.startswith("APP__"):
                    hint = f"write {name.replace('APP__', 'APP_', 1)}"
                    self.warnings.append(Problem(layer.place(name), "is an old spelling that still works", hint))

    def _from_layer(self, slot: Slot, layer: Layer) -> Found | None:
        for name in slot.names:
            value = layer.values.get(name, "").strip()
            file_name = f"{name}_FILE"
            file = layer.values.get(file_name, "").strip() if slot.secret else ""
            if value and file:
                self.problems.append(Problem(layer.place(name), f"{name} and {file_name} are both set", "remove one of them"))
            if value and slot.is_path:
                return Found(str(self._seen(slot, Path(value))), name, layer.place(name))
            if value:
                return Found(value, name, layer.place(name))
            if file:
                content = self._read_secret(slot, layer.place(file_name), Path(file), warn=True)
                return Found(content, file_name, f"{layer.place(file_name)}, file {file}") if content is not None else None
        return None

    def _seen(self, slot: Slot, path: Path) -> Path:
        """The providers file keeps its name: what it says of itself is told with it, and it looks for its copy by itself."""
        return path if slot.section == "providers" else readable(path, self._environ)

    def _list(self, directory: Path) -> dict[str, Path]:
        try:
            return {path.name: path for path in directory.iterdir()}
        except OSError as error:
            hint = "systemd sets it for LoadCredential=; leave it out elsewhere"
            self.problems.append(Problem("CREDENTIALS_DIRECTORY", f"{directory} cannot be read: {reason(error)}", hint))
            return {}

    def _from_credentials(self, slot: Slot, held: Mapping[str, Path]) -> Found | None:
        """systemd passes `LoadCredential=app_auth__master_key:…` as a file of that name."""
        for name in map(str.lower, slot.names):
            if name in held and slot.is_path:
                return Found(str(held[name]), slot.name, f"credential {name}")
            if name in held and slot.secret:
                content = self._read_secret(slot, slot.name, held[name], warn=False)
                return Found(content, slot.name, f"credential {name}") if content is not None else None
        return None

    def _read_secret(self, slot: Slot, name: str, path: Path, *, warn: bool) -> str | None:
        try:
            with readable(path, self._environ).open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(_MAX_SECRET_BYTES + 1)
            text = data.decode("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            self.unreadable.add(slot.section)
            self.problems.append(Problem(name, f"{path} cannot be read: {reason(error)}", "check that it exists and who may read it"))
            return None
        if len(data) > _MAX_SECRET_BYTES or not text.strip():
            fault = "is empty" if not text.strip() else f"is larger than {_MAX_SECRET_BYTES} bytes"
            self.unreadable.add(slot.section)
            self.problems.append(Problem(name, f"{path} {fault}", "it must hold the secret and nothing else"))
            return None
        if warn and stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
            self.warnings.append(Problem(name, f"{path} can be read by other users", f"chmod 600 {path}"))
        return text

    def _unknown(self, name: str, layer: Layer, names: set[str]) -> None:
        where = layer.place(name)
        if name in RETIRED:
            self.warnings.append(Problem(where, "retired: has no effect", RETIRED[name]))
        elif name.upper().startswith("APP_"):
            current = sorted(each for each in names if not each.startswith("APP__"))
            near = difflib.get_close_matches(name.upper(), current, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else "'fkllmproxy check' lists every setting"
            self.problems.append(Problem(where, "there is no such setting", hint))
        elif layer.path is not None and name not in _PROXIES:
            hint = "correct its spelling, or remove it; what is for the system's libraries reaches them only where systemd reads this file"
            self.warnings.append(Problem(where, "is not a setting", hint))
