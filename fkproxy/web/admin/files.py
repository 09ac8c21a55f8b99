"""What is given as a file, piece by piece, to whoever takes it. Floor 4.

No piece is made before the one before it was taken, so a slow reader costs a page of memory and no transaction. One that stopped is given
up: its connection ends before the file's end, which a client takes for a failure.
"""

from __future__ import annotations

import asyncio
import logging

from litestar.exceptions import LitestarException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["taken_in_time"]

_TAKEN_WITHIN_S = 60.0

logger = logging.getLogger("fkproxy.web.admin")


def taken_in_time(app: ASGIApp) -> ASGIApp:
    """A middleware: each piece has to be taken within a minute."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        stopped = False

        async def within(message: Message) -> None:
            nonlocal stopped
            try:
                async with asyncio.timeout(_TAKEN_WITHIN_S):
                    await send(message)
            except TimeoutError:
                stopped = True
                raise

        try:
            await app(scope, receive, within)
        except LitestarException:  # what becomes of a failure after the head was sent
            if not stopped:
                raise
            logger.warning("a file was not given to its end: its reader stopped")

    return serve
