"""From an address to a connection: name, socket, tunnel, TLS, under one deadline.

Floor 2. Every foreign exception of the HTTP client is mapped in this file.

The sockets are connected here and not by `loop.create_connection`, because uvloop knows no `happy_eyeballs_delay` and would wait for
a dead IPv6 route until the deadline. Messages name the cause and never the address: they reach callers.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable
from itertools import chain, zip_longest

from fkproxy.adapters.http.origin import Address, is_metadata
from fkproxy.adapters.http.proxy import Proxy
from fkproxy.adapters.http.resolver import Resolver, SocketAddress
from fkproxy.model.errors import UpstreamError, UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable

__all__ = ["connect", "default_ssl_context"]

ATTEMPT_DELAY_S = 0.25
"""RFC 8305 §5: the recommended Connection Attempt Delay is 250 ms."""

_MAX_PROXY_REPLY_BYTES = 16 * 1024

_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # A model may think for minutes without a byte: probes tell that silence from a peer that has vanished.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)

_OS_REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ECONNABORTED: "connection aborted",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.EADDRNOTAVAIL: "network unreachable",
    errno.ETIMEDOUT: "connection timed out",
    errno.EACCES: "connection forbidden by this host",
    errno.EPERM: "connection forbidden by this host",
    errno.EMFILE: "this process has no file descriptors left",
    errno.EAGAIN: "this process may not have another thread",
    errno.ENFILE: "this host has no file descriptors left",
}

_OURS = (errno.EMFILE, errno.EAGAIN, errno.ENFILE)
"""Of these: what no upstream can help."""

_NAME_REASONS = {
    socket.EAI_NONAME: "host name not found",
    socket.EAI_NODATA: "host name not found",
    socket.EAI_AGAIN: "name resolution failed for now",
}

# X509_V_ERR_* of OpenSSL's x509_vfy.h. Its own texts are kept where they quote nothing.
_CERTIFICATE_REASONS = {
    9: "certificate is not yet valid",
    10: "certificate has expired",
    18: "self-signed certificate",
    19: "self-signed certificate in the chain",
    20: "certificate is from an unknown authority",
    21: "certificate is from an unknown authority",
    23: "certificate has been revoked",
    62: "certificate is for another host",
    64: "certificate is for another IP address",
}


def default_ssl_context() -> ssl.SSLContext:
    """The system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR, which OpenSSL reads itself. ALPN: HTTP/1.1 only."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def connect(
    address: Address,
    ssl_context: ssl.SSLContext | None,
    resolver: Resolver,
    protocol_factory: Callable[[], asyncio.Protocol],
    timeout_s: float,
) -> asyncio.BaseProtocol:
    """A protocol with its transport, ready to be written to. `ssl_context` None: plain TCP.

    Raises `UpstreamTimeout` (phase connect) after `timeout_s` in all, `UpstreamUnavailable`, and `UpstreamProtocolError` for a proxy that
    does not speak HTTP. Cancelled or failed, it leaves no socket open.
    """
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            proxy = address.proxy
            host, port = (address.host, address.port) if proxy is None else (proxy.host, proxy.port)
            sock = await _open_socket(host, port, resolver)
            if proxy is not None and address.tunnelled:
                await _tunnel(sock, address, proxy)
            _, protocol = await asyncio.get_running_loop().create_connection(
                protocol_factory, sock=sock, ssl=ssl_context, server_hostname=address.host if ssl_context is not None else None
            )
            return protocol
    except OSError as error:
        if deadline.expired():
            raise UpstreamTimeout("connect", timeout_s) from error
        raise _unavailable(error) from error


def _unavailable(error: OSError) -> UpstreamError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamUnavailable(f"TLS: {_CERTIFICATE_REASONS.get(error.verify_code, 'certificate is not valid')}")
    if isinstance(error, ssl.SSLError):
        return UpstreamUnavailable(f"TLS: {(error.reason or 'handshake failed').replace('_', ' ').lower()}")
    if isinstance(error, socket.gaierror):
        return UpstreamUnavailable(_NAME_REASONS.get(error.errno or 0, "name resolution failed"))
    return UpstreamUnavailable(_OS_REASONS.get(error.errno or 0, "connection failed"), ours=error.errno in _OURS)


async def _open_socket(host: str, port: int, resolver: Resolver) -> socket.socket:
    """A connected socket to the first of the host's addresses that answers (RFC 8305).

    Raises `OSError`, the first attempt's, and `UpstreamUnavailable` for a name that leads only to where machines keep credentials.
    """
    addresses = await _resolve(host, port, resolver)
    if len(addresses) == 1:
        return await _attempt(addresses[0])
    return await _race(addresses)


async def _resolve(host: str, port: int, resolver: Resolver) -> list[SocketAddress]:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        found = await resolver.look_up(host, port)
        # A name may lead anywhere, and somewhere else the next time it is asked for. Who means such an address writes it.
        allowed = [(family, address) for family, address in found if not is_metadata(str(address[0]))]
        if not allowed:
            raise UpstreamUnavailable("the host's name leads to a link-local address") from None
        return _interleave(allowed)
    return [(socket.AF_INET, (host, port)) if version == 4 else (socket.AF_INET6, (host, port, 0, 0))]


def _interleave(addresses: Iterable[SocketAddress]) -> list[SocketAddress]:
    """Families take turns, the preferred one first (RFC 8305 §4)."""
    by_family: dict[int, list[SocketAddress]] = {}
    for address in addresses:
        by_family.setdefault(address[0], []).append(address)
    return [address for address in chain.from_iterable(zip_longest(*by_family.values())) if address is not None]


async def _attempt(address: SocketAddress) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        for option in _SOCKET_OPTIONS:
            sock.setsockopt(*option)
        await asyncio.get_running_loop().sock_connect(sock, address[1])
    except (OSError, asyncio.CancelledError):
        sock.close()
        raise
    return sock


async def _race(addresses: list[SocketAddress]) -> socket.socket:
    """The first to connect; each attempt starts when the one before failed or has had its time."""
    waiting = addresses[::-1]
    attempts: list[asyncio.Task[socket.socket]] = []
    winner: socket.socket | None = None
    try:
        while winner is None:
            if waiting:
                attempts.append(asyncio.create_task(_attempt(waiting.pop())))
            running = [attempt for attempt in attempts if not attempt.done()]
            if running:
                await asyncio.wait(running, timeout=ATTEMPT_DELAY_S if waiting else None, return_when=asyncio.FIRST_COMPLETED)
            winner = next((attempt.result() for attempt in attempts if attempt.done() and attempt.exception() is None), None)
            if winner is None and not waiting and all(attempt.done() for attempt in attempts):
                await attempts[0]
        return winner
    finally:
        # Nothing is waited for here, where a cancellation would leave what is open: an attempt that is cancelled closes its own.
        for attempt in attempts:
            if not attempt.cancel() and attempt.exception() is None and (outcome := attempt.result()) is not winner:
                outcome.close()


async def _tunnel(sock: socket.socket, address: Address, proxy: Proxy) -> None:
    """CONNECT (RFC 9110 §9.3.6). The socket is left where TLS begins; it is closed if that fails."""
    loop = asyncio.get_running_loop()
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [f"CONNECT {host}:{address.port} HTTP/1.1", f"host: {host}:{address.port}"]
    if proxy.authorization is not None:
        lines.append(f"proxy-authorization: {proxy.authorization}")
    reply = b""
    try:
        await loop.sock_sendall(sock, "".join(line + "\r\n" for line in (*lines, "")).encode("latin-1"))
        while reply.find(b"\r\n\r\n") < 0 and len(reply) < _MAX_PROXY_REPLY_BYTES:
            data = await loop.sock_recv(sock, 4096)
            if not data:
                raise UpstreamUnavailable("the proxy closed the connection")
            reply += data
        _check_tunnel(reply)
    except (OSError, UpstreamError, asyncio.CancelledError):
        sock.close()
        raise


def _check_tunnel(reply: bytes) -> None:
    version, _, rest = reply.partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/1.") or not status.isdigit():
        raise UpstreamProtocolError("the proxy's reply is not HTTP/1.1")
    if not status.startswith(b"2"):
        raise UpstreamUnavailable(f"the proxy refused the tunnel with status {status.decode()}")
    # A successful reply to CONNECT has no body, and a TLS server does not speak first: nothing may follow.
    if not reply.endswith(b"\r\n\r\n") or reply.count(b"\r\n\r\n") != 1:
        raise UpstreamProtocolError("the proxy sent more than a reply to CONNECT")
