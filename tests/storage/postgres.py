"""A PostgreSQL server of one's own: private directory, unix socket only, gone with the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import asyncpg

OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "autovacuum": "off",
    "max_wal_size": "256MB",
    "logging_collector": "off",
}


class Server:
    """`start`, `stop` and `freeze` it; `fresh` gives the URL of an empty database."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="fk-pg-"))
        # It ends with the tests, however these end.
        self._as_user = ["setpriv", "--pdeathsig=QUIT"]
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(self._home, "postgres", "postgres")
            self._as_user += ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._process: subprocess.Popen[bytes] | None = None
        self._made = False
        initdb = [str(_program("initdb")), "-D", str(self._home / "data"), "-U", "fk", "-E", "UTF8", "--no-locale", "--auth=trust", "-N"]
        subprocess.run([*self._as_user, *initdb], check=True, stdout=subprocess.DEVNULL, cwd=self._home)

    @property
    def socket(self) -> str:
        """The path at which it listens."""
        return str(self._home / ".s.PGSQL.5432")

    def url(self, database: str) -> str:
        return f"postgresql://fk@/{database}?host={self._home}"

    def start(self) -> None:
        options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
        command = [*self._as_user, str(_program("postgres")), "-D", str(self._home / "data"), "-k", str(self._home), *options]
        log = (self._home / "log").open("ab")
        with log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._home, start_new_session=True)
        until = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < until, (self._home / "log").read_text()
            time.sleep(0.05)

    def stop(self, *, orderly: bool = True) -> None:
        """Its connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT if orderly else signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def freeze(self, frozen: bool) -> None:
        """As if the host hung: connections stay, nobody answers."""
        assert self._process is not None
        pid = self._process.pid
        for each in [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(each), signal.SIGSTOP if frozen else signal.SIGCONT)

    def remove(self) -> None:
        self.stop(orderly=False)
        shutil.rmtree(self._home)

    async def execute(self, statement: str, database: str = "postgres") -> None:
        connection = await asyncpg.connect(self.url(database), timeout=5)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def fresh(self) -> str:
        """The URL of an empty database: always the same one, emptied, which is quicker than another."""
        if not self._made:
            await self.execute("CREATE DATABASE store")
            self._made = True
        await self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'store'")
        await self.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", "store")
        return self.url("store")

    def _answers(self) -> bool:
        """The last line of its lock file says so (postmaster.pid, PM_STATUS_READY)."""
        with contextlib.suppress(FileNotFoundError):
            return (self._home / "data" / "postmaster.pid").read_text().endswith("ready   \n")
        return False


def _program(name: str) -> Path:
    """Where Debian's package `postgresql` puts it, or the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which(name)
    assert found or on_path, "PostgreSQL is not installed: apt-get install postgresql"
    return found[-1] if found else Path(str(on_path))
