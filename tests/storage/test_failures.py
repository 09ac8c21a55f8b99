"""What drivers raise, in our words."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy.exc import OperationalError

from fkproxy.storage.database import Database
from fkproxy.storage.failures import MESSAGES, told
from fkproxy.storage.values import StoreUnavailable
from tests.storage.postgres import Server

POSTGRESQL = {
    "08006": "unreachable",
    "25006": "read_only",
    "28P01": "unreachable",
    "3D000": "unreachable",
    "40001": "locked",
    "40P01": "locked",
    "53100": "full",
    "53300": "unreachable",
    "55P03": "locked",
    "57014": "timeout",
    "57P01": "unreachable",
    "25P03": "timeout",
    "XX001": "broken",
    "22003": "broken",
}
SQLITE = {
    sqlite3.SQLITE_BUSY_SNAPSHOT: "locked",
    sqlite3.SQLITE_LOCKED_SHAREDCACHE: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_IOERR_SHMSIZE: "full",
    sqlite3.SQLITE_IOERR_WRITE: "broken",
    sqlite3.SQLITE_READONLY_DIRECTORY: "read_only",
    sqlite3.SQLITE_READONLY_DBMOVED: "gone",
    sqlite3.SQLITE_CORRUPT_INDEX: "broken",
    sqlite3.SQLITE_NOTADB: "broken",
    sqlite3.SQLITE_INTERRUPT: "timeout",
}


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_every_state_of_the_server_has_a_reason(database: Database) -> None:
    found = {}
    for state in POSTGRESQL:
        statement = f"DO $$ BEGIN RAISE EXCEPTION 'canary' USING ERRCODE = '{state}'; END $$"
        with pytest.raises(StoreUnavailable) as caught:
            await run(database, statement)
        assert "canary" not in str(caught.value)
        assert caught.value.code == state
        found[state] = caught.value.reason
    assert found == POSTGRESQL


@pytest.mark.parametrize(
    ("user", "name", "told"),
    [
        ("stranger", "postgres", "the database server refuses the login (28000)"),
        ("fk", "nowhere", "the database server has no such database (3D000)"),
        ("crowded", "postgres", "the database server has no connection left (53300)"),
        ("weak", "postgres", "the user of the database may not do this (42501)"),
        (
            "fk",
            "postgres?target_session_attrs=standby",
            "no database server is one of those that the URL of the store asks for (TargetServerAttributeNotMatched)",
        ),
        ("fk", "postgres?channel_binding=require", "the URL of the store has a parameter that the database server does not know (42704)"),
    ],
)
async def test_what_somebody_has_to_mend_at_the_server_is_said(postgres: Server, user: str, name: str, told: str) -> None:
    await postgres.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    await postgres.execute("CREATE ROLE weak LOGIN")
    database = Database(postgres.url(name).replace("fk@", f"{user}@").replace("?host", "&host" if "?" in name else "?host"))
    try:
        with pytest.raises(StoreUnavailable) as caught:
            await run(database, "CREATE TABLE nothing (id int)")
        assert str(caught.value) == told
    finally:
        await database.close()
        await postgres.execute("DROP ROLE crowded")
        await postgres.execute("DROP ROLE weak")


def certificate_of(host: str, directory: Path, *, ended_days: int = -1) -> Path:
    """A file with a certificate that ended so many days ago, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    ends = datetime.now(UTC) - timedelta(days=ended_days)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), ends - timedelta(days=9), ends)
    certificate = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False).sign(key, hashes.SHA256())
    path = directory / f"{host}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return path


@contextlib.asynccontextmanager
async def server_with(certificate: Path | None) -> AsyncIterator[int]:
    """The port of one that agrees to TLS and goes no further, or does not agree.

    Source: SSLRequest, https://www.postgresql.org/docs/15/protocol-flow.html#PROTOCOL-FLOW-SSL
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate is not None:
        context.load_cert_chain(certificate)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"N" if certificate is None else b"S")
        with contextlib.suppress(OSError):
            await (writer.drain() if certificate is None else writer.start_tls(context))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])


@pytest.mark.parametrize(
    ("host", "ended_days", "options", "said"),
    [
        ("localhost", 1, "verify-full&sslrootcert={own}", "not accepted: certificate has expired (CERTIFICATE_VERIFY_FAILED)"),
        ("db.example", -1, "verify-full&sslrootcert={own}", "not accepted: Hostname mismatch, certificate is not valid for 'localhost' ("),
        ("localhost", -1, "verify-ca&sslrootcert={other}", "not accepted: self-signed certificate ("),
        (
            "localhost",
            -1,
            "verify-full&sslrootcert=system",
            "a file that the URL of the store names, is not there or may not be read (FileNotF",
        ),
        (
            "localhost",
            -1,
            "verify-full&sslrootcert=/dev/null",
            "a file that the URL of the store names, is not understood (NO_CERTIFICATE_OR",
        ),
        ("localhost", -1, "verify-ful", "look at sslmode, sslrootcert, host and port (ClientConfigurationError)"),
        (None, -1, "require", "ends the connection or does not agree to TLS (ConnectionError)"),
    ],
)
async def test_why_there_is_no_tls_is_said(tmp_path: Path, host: str | None, ended_days: int, options: str, said: str) -> None:
    own = certificate_of(host, tmp_path, ended_days=ended_days) if host is not None else None
    other = certificate_of("other", tmp_path)
    async with server_with(own) as port:
        database = Database(f"postgresql://u:canary@localhost:{port}/d?sslmode={options.format(own=own, other=other)}")
        with pytest.raises(StoreUnavailable) as caught:
            await run(database, "SELECT 1")
    assert caught.value.reason == "unreachable"
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_a_server_that_ends_the_connection_at_once_is_not_said_to_lack_tls() -> None:
    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.close()

    async with await asyncio.start_server(end, "127.0.0.1", 0) as server:
        database = Database(f"postgresql://u@127.0.0.1:{server.sockets[0].getsockname()[1]}/d")
        with pytest.raises(StoreUnavailable, match="ends the connection or does not agree to TLS"):
            await run(database, "SELECT 1")


async def run(database: Database, statement: str) -> None:
    async with database.begin() as connection:
        await connection.exec_driver_sql(statement)


@pytest.mark.parametrize("code", SQLITE)
def test_every_code_of_sqlite_has_a_reason(code: int) -> None:
    error = sqlite3.OperationalError("canary")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_NAME"
    result = told(OperationalError("SELECT 'canary'", {"canary": 1}, error))
    assert isinstance(result, StoreUnavailable)
    assert result.reason == SQLITE[code]
    assert str(result) == f"{MESSAGES[result.reason]} (SQLITE_NAME)"


@pytest.mark.parametrize(
    ("error", "reason"), [(ConnectionRefusedError(), "unreachable"), (TimeoutError(), "timeout"), (FileNotFoundError(), "unreachable")]
)
def test_what_the_system_says_of_a_server(error: OSError, reason: str) -> None:
    result = told(error)
    assert isinstance(result, StoreUnavailable)
    assert result.reason == reason
