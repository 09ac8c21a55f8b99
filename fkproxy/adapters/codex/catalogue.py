"""What the child believes of its models, without what it would do for them on its own. Floor 2.

Its catalogue gives nearly every model of its vendor tools that no setting turns off: `exec`, from whose scripts alone a client's tools can
be called, `apply_patch`, a clock. And it asks for an effort, a verbosity and a service tier that nobody has named (0.142 to 0.169).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fkproxy.adapters.codex.process import Process
from fkproxy.model.errors import UpstreamSpawnFailed
from fkproxy.wire import json

__all__ = ["catalogue_args"]

_TOLD_S = 20.0
"""A program that has not told its catalogue by then hangs: it takes a tenth of a second, and longer where it may ask its vendor."""

_NOTHING_OF_ITS_OWN: dict[str, Any] = {
    "tool_mode": "direct",
    "apply_patch_tool_type": None,
    "experimental_supported_tools": [],
    "multi_agent_version": None,
    "default_reasoning_level": None,
    "default_service_tier": None,
    "default_verbosity": None,
    # In its vendor's lighter form it repeats the instructions where there are no tools, and never asks for calls at once (0.169).
    "use_responses_lite": False,
}
"""What a model is taken for of which the catalogue knows nothing. Only what an entry has is changed: other releases have other fields."""


class _Catalogue(msgspec.Struct):
    models: list[dict[str, Any]]


logger = logging.getLogger("fkproxy.codex")


async def catalogue_args(binary: str, args: Sequence[str], environment: Mapping[str, str], directory: Path) -> tuple[str, ...]:
    """What tells the program to take its own catalogue so; `args` are what it is started with. The file lies in `directory`.

    Nothing for a program that does not tell its catalogue. Raises `UpstreamSpawnFailed` for one that hangs or cannot be started, and
    `OSError`.
    """
    try:
        told = msgspec.json.decode(await _told(binary, ("debug", "models", *args), environment, directory), type=_Catalogue)
    except json.MALFORMED:
        logger.warning("its models are not known, and it may use tools of its own", extra={"binary": binary})
        return ()
    models = [{name: _NOTHING_OF_ITS_OWN.get(name, value) for name, value in entry.items()} for entry in told.models]
    if not models:
        # It refuses such a file, and knows nothing that could be taken away.
        return ()
    path = directory / "models.json"
    path.write_bytes(json.encode({"models": models}))
    return ("-c", f"model_catalog_json={json.encode(str(path)).decode()}")


async def _told(binary: str, args: Sequence[str], environment: Mapping[str, str], directory: Path) -> bytes:
    process = await Process.start(binary, args, environment, directory)
    try:
        process.end_input()
        async with asyncio.timeout(_TOLD_S):
            return await process.read_line()
    except TimeoutError:
        raise UpstreamSpawnFailed(binary, f"it did not tell its models within {_TOLD_S:g} s") from None
    except ValueError:
        return b""
    finally:
        await process.stop(0.0)
