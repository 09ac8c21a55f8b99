"""The whole way through this very program, once: does this file work on this host? Floor 4."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from fkproxy import smoke
from fkproxy.selftest.processes import NotReady, serving
from fkproxy.smoke import Step

__all__ = ["run"]


def run(command: Sequence[str], variables: Mapping[str, str]) -> Iterator[Step]:
    """Start, refuse a wrong key, answer, stream, end; each step as it is done, ending at the first that fails."""
    began = time.monotonic()
    try:
        with serving(command, variables) as running:
            yield Step(name="start", ok=True, duration_ms=_since(began), detail="it answers")
            yield from _asked(running.url, running.key)
            began = time.monotonic()
            running.stop()
            yield Step(name="stop", ok=running.exit_code == 0, duration_ms=_since(began), detail=f"exit code {running.exit_code}")
    except NotReady as error:
        yield Step(name="start", ok=False, duration_ms=_since(began), detail=f"it did not get ready: {error}")


def _asked(url: str, key: str) -> Iterator[Step]:
    wrong = [step for step in smoke.run(url, f"{key}-wrong", None) if step.name == "models"]
    refused = bool(wrong) and not wrong[0].ok and wrong[0].detail.startswith("401")
    duration_ms = wrong[0].duration_ms if wrong else 0.0
    yield Step(name="keys", ok=refused, duration_ms=duration_ms, detail="a wrong key is refused" if refused else "a wrong key was let in")
    yield from smoke.run(url, key, None)


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
