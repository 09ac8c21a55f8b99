"""What is given as a file, piece by piece, to whoever takes it. Floor 4.

No piece is made before the one before it was taken, so a slow reader costs a page of memory and no transaction. One that stopped is given
up, and so is a file whose rest the store does not give: the connection ends before the file's end, which a client takes for a failure.
"""

from __future__ import annotations

import asyncio
import logging

from litestar.exceptions import LitestarException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from fkproxy.storage.values import StoreError

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
        except LitestarException as error:  # what becomes of a failure after the head was sent
            if stopped:
                logger.warning("a file was not given to its end: its reader stopped")
            elif (failure := _of_store(error.__cause__)) is not None:
                logger.warning("a file was not given to its end: the store cannot be used", extra={"reason": str(failure)})
            else:
                raise

    return serve


def _of_store(error: BaseException | None) -> BaseException | None:
    """What the store raised, which comes in the group of the tasks that give a stream."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, StoreError) else None
