"""Passes bytes between two addresses, for a machine that has no network: `relay.py FROM TO`, each `host:port` or the path of a socket.

Standard library only.
"""

from __future__ import annotations

import asyncio
import sys


async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


async def relay(own: str, other: str) -> None:
    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = other.rpartition(":")
        there = asyncio.open_connection(host, int(port)) if host else asyncio.open_unix_connection(other)
        try:
            source, target = await there
        except OSError:
            writer.close()
            return
        await asyncio.gather(pass_on(reader, target), pass_on(source, writer))

    host, _, port = own.rpartition(":")
    listening = asyncio.start_server(join, host, int(port)) if host else asyncio.start_unix_server(join, own)
    async with await listening as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(relay(*sys.argv[1:]))
