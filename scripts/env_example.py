#!/usr/bin/env python3
"""Make packaging/env.example from the settings' own schema.

scripts/env_example.py            print it
scripts/env_example.py --write    bring the file up to date
scripts/env_example.py --check    exit 1 if the file is not up to date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fkproxy.settings.loading import shown  # noqa: E402 - after the path is set
from fkproxy.settings.profiles import PROFILES  # noqa: E402 - after the path is set
from fkproxy.settings.schema import Settings, Slot, slots  # noqa: E402 - after the path is set

TARGET = ROOT / "packaging" / "env.example"
_WIDTH = 110

_HEAD = """\
# Settings of fkllmproxy, every one with its default. For EnvironmentFile= of systemd, or 'fkllmproxy serve --env-file FILE'.
#
# The environment wins over --env-file, and that over systemd's credentials. A blank value is as good as none. Yes and no are
# true, 1, yes, on and false, 0, no, off. 'fkllmproxy check' says what is in force and where it comes from.
#
# A secret can stand here, or in a file named by the same name with _FILE (up to 64 KiB, mode 600), or come as a systemd
# credential named like the setting in lower case: LoadCredential=app_auth__master_key:/etc/fkllmproxy/app_auth__master_key
#
# HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are honoured, here and in the environment.
"""


def render() -> str:
    """The whole file."""
    parts = [_HEAD]
    for section, members in groupby(slots(), key=lambda slot: slot.section):
        about = (Settings.model_fields[section].annotation.__doc__ or "").strip()
        parts.append(f"\n\n# ---- {section}: {about}\n")
        parts += ["\n" + "".join(f"{line}\n" for line in _setting(slot)) for slot in members]
    return "".join(parts)


def _setting(slot: Slot) -> Iterator[str]:
    yield from _comment(slot.info.description or "")
    facts = [f"Unit: {slot.unit}." if slot.unit else "", f"{slot.limits.capitalize()}." if slot.limits else ""]
    facts += [
        f"One of {', '.join(slot.choices)}." if slot.choices else "",
        f"Also read: {', '.join(slot.variables)}." if slot.variables else "",
    ]
    facts += [f"With the profile {profile}: {values[slot.name]}." for profile, values in PROFILES.items() if slot.name in values]
    yield from _comment(" ".join(filter(None, facts)))
    if slot.secret:
        yield f"# Or in a file: {slot.name}_FILE=/etc/fkllmproxy/{slot.name.lower()}"
    default = shown(slot.default)
    yield f"#{slot.name}={'' if default == '-' else default}"


def _comment(text: str) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > _WIDTH:
            yield line
            line = "#"
        line += f" {word}"
    if line != "#":
        yield line


def main() -> int:
    """Run from the command line; the exit code."""
    parser = argparse.ArgumentParser(description="Make packaging/env.example from the settings' own schema.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="bring the file up to date")
    action.add_argument("--check", action="store_true", help="exit 1 if the file is not up to date")
    options = parser.parse_args()
    text = render()
    if options.write:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(text, encoding="utf-8")
    elif options.check:
        if not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
            print(f"{TARGET.relative_to(ROOT)} is not up to date; run scripts/env_example.py --write", file=sys.stderr)
            return 1
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
