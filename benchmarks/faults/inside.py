"""Faults inside a bot: runs the bot that FAULTS_ENTRY names, beside a thread that takes orders.

An order is a line of JSON on a unix socket, and its fault lasts as long as the connection: who
gives it can't leave one behind. The bots know nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_loop: list[asyncio.AbstractEventLoop] = []


def main() -> Any:
    """Take orders, and run the bot."""
    threading.Thread(target=_listen, name="faults", daemon=True).start()
    module, _, function = os.environ["FAULTS_ENTRY"].partition(":")
    result = getattr(importlib.import_module(module), function)()
    return _with_loop(result) if inspect.iscoroutine(result) else result


async def _with_loop(bot: Any) -> Any:
    _loop[:] = [asyncio.get_running_loop()]
    return await bot


def path_of(bot: str, folder: Path) -> Path:
    """Return where a bot takes orders."""
    return folder / f"{bot}.faults"


@contextlib.contextmanager
def order(bot: str, folder: Path, **what: Any) -> Iterator[None]:
    """Have a fault in a bot while the block lasts."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path_of(bot, folder)))
        connection.sendall(json.dumps(what).encode() + b"\n")
        if connection.recv(16) != b"begun\n":
            raise SystemExit(f"{bot} does not take the order {what}")
        yield
        connection.shutdown(socket.SHUT_WR)
        connection.recv(16)


def _listen() -> None:
    path = path_of(os.environ["OUTRIDER_BOT"], Path(os.environ["OUTRIDER_DATA_DIR"]))
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_obey, args=(connection,), daemon=True).start()


def _obey(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as lines:
        what = json.loads(lines.readline())
        ended = threading.Event()
        fault: Callable[..., None] = _FAULTS[what.pop("do")]
        thread = threading.Thread(target=fault, args=(ended,), kwargs=what, daemon=True)
        thread.start()
        connection.sendall(b"begun\n")
        with contextlib.suppress(OSError):
            lines.read()  # until the other side closes
        ended.set()
        thread.join(10)
        with contextlib.suppress(OSError):
            connection.sendall(b"ended\n")


def _hog(ended: threading.Event) -> None:
    while not ended.is_set():
        sum(range(20_000))


def _leak(ended: threading.Event, *, bytes_per_s: int) -> None:
    kept = []
    while not ended.wait(0.25):
        kept.append(bytearray(os.urandom(1024)) * (bytes_per_s // 4096))


def _hold(ended: threading.Event) -> None:
    """Take all connections of the pool, as code does that forgets to give them back."""
    import sqlalchemy as sa

    tables: Any = importlib.import_module("mybots.tables")
    engine = tables.engine()
    with contextlib.ExitStack() as held:
        while not ended.is_set():
            with contextlib.suppress(sa.exc.TimeoutError):
                held.enter_context(engine.connect()).execute(sa.text("SELECT 1"))


def _block(ended: threading.Event, *, seconds: float) -> None:
    while not ended.wait(seconds * 1.2):
        _loop[0].call_soon_threadsafe(time.sleep, seconds)


def _forget(ended: threading.Event) -> None:
    """Throw away what this process cached."""
    cached: Any = importlib.import_module("outrider.sdk.cached")
    while not ended.wait(0.05):
        for each in list(cached._ALL):  # noqa: SLF001 - no bot would do this to itself
            each.tiers()._memory.clear()  # noqa: SLF001


_FAULTS: dict[str, Callable[..., None]] = {
    "hog": _hog, "leak": _leak, "hold": _hold, "block": _block, "forget": _forget,
}  # fmt: skip
