"""What databases say, in our words. Floor 2. The only place that knows the drivers' exceptions.

The exception that was raised is not chained: PostgreSQL quotes values of rows in its messages. Its code is kept.
"""

from __future__ import annotations

import sqlite3
import ssl
import sys

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from fkproxy.storage.values import Conflict, Reason, StoreError, StoreUnavailable

__all__ = ["MESSAGES", "connecting", "told"]

MESSAGES: dict[Reason, str] = {
    "locked": "the database is locked: another process writes, or holds it, for too long",
    "full": "no space is left for the database",
    "read_only": "the database can only be read",
    "gone": "the database file is not there any more",
    "unreachable": "the database server cannot be reached",
    "timeout": "the database took too long",
    "broken": "the database refused",
}

_SQLITE: dict[int, Reason] = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_PROTOCOL: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_PERM: "read_only",
    sqlite3.SQLITE_CANTOPEN: "read_only",  # the file is there (see `Database`), but it or what belongs beside it may not be opened
    sqlite3.SQLITE_INTERRUPT: "timeout",
}
"""Primary result code (https://sqlite.org/rescode.html) → reason; everything else is `broken`."""

_SQLITE_EXTENDED: dict[int, Reason] = {
    sqlite3.SQLITE_READONLY_DBMOVED: "gone",
    sqlite3.SQLITE_IOERR_SHMSIZE: "full",  # the index of the WAL could not grow
}

_POSTGRESQL: dict[str, Reason] = {
    "08": "unreachable",  # connection exceptions
    "25006": "read_only",
    "28": "unreachable",  # the login is refused
    "3D": "unreachable",  # no such database
    "40": "locked",  # deadlock, or serialization
    "53": "unreachable",  # too many connections, out of memory
    "53100": "full",
    "55P03": "locked",  # lock_timeout
    "57": "unreachable",  # shutting down, starting up
    "57014": "timeout",  # statement_timeout
    "25P03": "timeout",  # idle_in_transaction_session_timeout
}
"""SQLSTATE, or its class (https://www.postgresql.org/docs/15/errcodes-appendix.html) → reason."""

_SAID: dict[str, str] = {
    "28": "the database server refuses the login",
    "3D": "the database server has no such database",
    "3F": "there is no schema to make the tables in",
    "42501": "the user of the database may not do this",
    "42704": "the URL of the store has a parameter that the database server does not know",
    "53300": "the database server has no connection left",
}
"""The same, for what somebody has to mend whom the reason alone would send elsewhere."""

_NO_FILE = "the socket of the database server, or a file that the URL of the store names, is not there or may not be read"
_CONNECTING: dict[str, str] = {
    **dict.fromkeys(("FileNotFoundError", "NotADirectoryError", "IsADirectoryError", "PermissionError"), _NO_FILE),
    "ClientConfigurationError": "a parameter of the URL of the store cannot be used: look at sslmode, sslrootcert, host and port",
    # Itself and none of its kinds: asyncpg raises it, where it is asked for TLS or tries it first.
    "ConnectionError": "the database server, or what stands before it, ends the connection or does not agree to TLS",
    "TargetServerAttributeNotMatched": "no database server is one of those that the URL of the store asks for",
}
"""The same, of exceptions without a code, by their names."""


def connecting() -> tuple[type[Exception], ...]:
    """What comes out of a connection in the making, which SQLAlchemy does not dress up. asyncpg is loaded by who connects with it.

    A ValueError is of the URL, and quotes it.
    """
    driver = sys.modules.get("asyncpg")
    return (OSError, ValueError) if driver is None else (OSError, ValueError, driver.PostgresError, driver.InterfaceError)


def told(error: BaseException) -> StoreError:
    """The exception that says the same as `error`, which came out of SQLAlchemy, a driver or the operating system."""
    if isinstance(error, IntegrityError):
        return Conflict()
    if isinstance(error, PoolTimeout):
        return _unavailable("locked")
    cause: BaseException | None = error
    while isinstance(cause, DBAPIError):
        cause = cause.orig
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause)
    state = _sqlstate(cause)
    if state is not None:
        reason = _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2]) or "broken"
        return StoreUnavailable(reason, _SAID.get(state) or _SAID.get(state[:2]) or MESSAGES[reason], state)
    if isinstance(cause, ssl.SSLError):
        return StoreUnavailable("unreachable", _of_tls(cause), cause.reason or "")
    if isinstance(cause, TimeoutError):
        return _unavailable("timeout")
    # SQLAlchemy's translations have the driver's own exception behind them.
    for kind in (type(cause).__name__, type(cause.__cause__ if cause is not None else None).__name__):
        if kind in _CONNECTING:
            return StoreUnavailable("unreachable", _CONNECTING[kind], kind)
    if isinstance(cause, OSError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return _unavailable("unreachable")
    # The driver says so without a code when a connection was closed under it: no server answered.
    lost = any(kind.__name__ in ("InterfaceError", "InternalClientError") for kind in type(cause).__mro__)
    return _unavailable("unreachable" if lost else "broken", type(cause).__name__)


def _of_tls(error: ssl.SSLError) -> str:
    """What OpenSSL says of a certificate names at most the host."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the database server is not accepted: {error.verify_message.rstrip('.')}"
    return "there is no TLS with the database server: what it says, or a file that the URL of the store names, is not understood"


def _of_sqlite(error: sqlite3.Error) -> StoreUnavailable:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return _unavailable("broken", type(error).__name__)
    reason = _SQLITE_EXTENDED.get(code) or _SQLITE.get(code & 0xFF, "broken")
    return _unavailable(reason, error.sqlite_errorname)


def _sqlstate(error: BaseException | None) -> str | None:
    """asyncpg's exceptions carry it, and so do SQLAlchemy's translations of them."""
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def _unavailable(reason: Reason, code: str = "") -> StoreUnavailable:
    return StoreUnavailable(reason, MESSAGES[reason], code)
