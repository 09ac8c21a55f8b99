"""Each upstream as this host reaches it: name, TLS, clock, credential; one token of it if asked. Floor 4."""

from __future__ import annotations

import asyncio
import email.utils
import http.client
import socket
import ssl
import time
from collections.abc import Iterable

from fkproxy.adapters.base import Adapter
from fkproxy.adapters.http import Address, HttpClient, default_ssl_context
from fkproxy.doctor.finding import Finding, error, note, ok, warning
from fkproxy.model.errors import FkproxyError, UpstreamError, UpstreamRefusedCredential, UpstreamRejected
from fkproxy.probe import NothingToAsk, one_token
from fkproxy.providers import Workshop
from fkproxy.settings import LoadedSettings

__all__ = ["check"]

_TIMEOUT_S = 10.0
_LIVE_TIMEOUT_S = 60.0
_CERTIFICATE_WARNING_DAYS = 14
_SKEW_WARNING_S = 30.0


def check(loaded: LoadedSettings, *, live: bool) -> list[Finding]:
    """Every configured upstream, in order of preference."""
    return asyncio.run(_check_all(loaded, live=live))


async def _check_all(loaded: LoadedSettings, *, live: bool) -> list[Finding]:
    client = HttpClient(connect_timeout_s=_TIMEOUT_S, proxies=loaded.environment.proxies)
    workshop = Workshop(client)
    try:
        try:
            members = workshop.build(loaded).members
        except ValueError as failure:
            return [error("upstreams", str(failure), "correct the file, then 'fkllmproxy check'")]
        findings: list[Finding] = []
        for member in members:
            adapter = member.adapter
            credential = f"/{adapter.credential.name}" if adapter.credential.name else ""
            name = f"upstream {adapter.provider_key}{credential}"
            if adapter.children is not None:
                # Started from here it would leave files in the service's home that the service cannot write.
                findings.append(note(name, "a child of the service, whose login the service sees: 'fkllmproxy smoke' asks it"))
                continue
            if adapter.address is None:
                findings.append(note(name, "built in; it answers without a model", "set a provider's key, see packaging/env.example"))
                continue
            reached = await asyncio.to_thread(list, _reach(name, adapter.address))
            findings += reached
            if all(finding.severity != "error" for finding in reached):
                findings += await _credential(name, adapter)
                if live:
                    findings += await _one_token(name, adapter)
        return findings
    finally:
        await workshop.aclose()
        await client.aclose()


def _reach(name: str, address: Address) -> Iterable[Finding]:
    """Name, connection, certificate, clock; blocking, for a thread."""
    if address.proxy is not None:
        yield note(name, f"{address.authority} is reached through a proxy; name and TLS are not looked at from here")
        return
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as failure:
        yield error(
            name, f"{address.host} cannot be resolved ({failure.strerror})", f"getent hosts {address.host}; look at /etc/resolv.conf"
        )
        return
    yield ok(name, f"{address.host} is {found[0][4][0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}")
    connection: http.client.HTTPConnection
    if address.scheme == "https":
        connection = http.client.HTTPSConnection(address.host, address.port, timeout=_TIMEOUT_S, context=default_ssl_context())
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_S)
    try:
        connection.connect()
        if isinstance(connection.sock, ssl.SSLSocket):
            yield _certificate(name, connection.sock)
        connection.request("HEAD", "/", headers={"user-agent": "fkllmproxy-doctor"})
        with connection.getresponse() as reply:
            yield from _clock(name, reply.headers.get("date"))
    except ssl.SSLCertVerificationError as failure:
        yield error(
            name, f"its certificate is not trusted ({failure.verify_message})", "apt-get install ca-certificates; look at the clock"
        )
    except ssl.SSLError as failure:
        yield error(name, f"TLS fails ({failure.reason})", f"openssl s_client -connect {address.host}:{address.port}")
    except TimeoutError:
        yield error(name, f"no connection within {_TIMEOUT_S:g} s", "look at the firewall, or set HTTPS_PROXY")
    except OSError as failure:
        yield error(name, f"no connection ({failure.strerror})", "look at the firewall, or set HTTPS_PROXY")
    except http.client.HTTPException as failure:
        yield warning(name, f"it does not answer as HTTP does ({type(failure).__name__})", "look at the base URL")
    finally:
        connection.close()


def _certificate(name: str, connection: ssl.SSLSocket) -> Finding:
    certificate = connection.getpeercert() or {}
    ends = ssl.cert_time_to_seconds(str(certificate["notAfter"])) if "notAfter" in certificate else time.time()
    days = int((ends - time.time()) / 86400)
    if days < _CERTIFICATE_WARNING_DAYS:
        return warning(name, f"{connection.version()}, its certificate ends in {days} days", "whoever runs it must renew it")
    return ok(name, f"{connection.version()}, certificate good for {days} days")


def _clock(name: str, date: str | None) -> Iterable[Finding]:
    try:
        told = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return
    skew_s = time.time() - told
    if abs(skew_s) > _SKEW_WARNING_S:
        yield warning(
            name, f"this host's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} it", "timedatectl set-ntp true"
        )


async def _credential(name: str, adapter: Adapter) -> Iterable[Finding]:
    try:
        async with asyncio.timeout(_TIMEOUT_S * 2):
            await adapter.verify()
    except UpstreamRefusedCredential as failure:
        return [error(name, f"the credential is refused: {failure}", "rotate it, see the runbook")]
    except UpstreamRejected as failure:
        # Some servers have no list of models: that says nothing about the credential.
        why = ": it has no list of models, or its base URL is another one" if failure.upstream_status == 404 else ""
        told = f"the credential could not be tried at no cost ({failure.upstream_status}){why}"
        return [note(name, told, "fkllmproxy doctor --live")]
    except (UpstreamError, TimeoutError) as failure:
        return [error(name, f"the credential could not be tried: {failure or 'no answer in time'}", "look at the vendor's status page")]
    return [ok(name, "the credential is accepted")]


async def _one_token(name: str, adapter: Adapter) -> Iterable[Finding]:
    try:
        model, took_ms = await one_token(adapter, _LIVE_TIMEOUT_S)
    except NothingToAsk:
        return [warning(name, "it lists no model to ask", "fkllmproxy smoke --model MODEL")]
    except UpstreamRejected as refused:
        return [warning(name, f"no model that was tried answered: {refused}", "fkllmproxy smoke --model MODEL")]
    except (FkproxyError, TimeoutError) as failure:
        told = failure or f"nothing within {_LIVE_TIMEOUT_S:g} s"
        return [error(name, f"no model answered: {told}", "look at the vendor's status page")]
    return [ok(name, f"{model} answered in {took_ms:.0f} ms")]
