"""Orders to a supervisor over its unix socket: one JSON line out, one JSON line back.

The socket lies in a folder that only its owner can enter, which is the access control. A client
needs the standard library only, so that the command line stays quick.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from outrider import errors

if TYPE_CHECKING:
    from pathlib import Path

SOCKET = "control.sock"
_LONGEST_ORDER = 64 * 1024
_REFUSALS = {
    kind.__name__: kind for kind in (errors.BadArgument, errors.UnknownBot, errors.OutriderError)
}

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


def ask(run_dir: Path, do: str, *, timeout_s: float = 30.0, **fields: Any) -> Any:
    """Send one order and return its result. Blocks until it is carried out.

    Raises:
        SupervisorUnavailable: nobody listens, or the answer did not come in time.
        UnknownBot: no such bot.
        BadArgument: the order makes no sense.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(run_dir / SOCKET))
            connection.sendall(json.dumps({"do": do, **fields}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline())
    except (OSError, ValueError) as error:
        raise errors.SupervisorUnavailable(
            f"no supervisor answers in {run_dir} ({error or type(error).__name__}); "
            "start one with `outrider up`."
        ) from None
    if answer["ok"]:
        return answer["result"]
    raise _REFUSALS.get(answer["type"], errors.OutriderError)(answer["error"])


def answers(run_dir: Path) -> bool:
    """Tell whether a supervisor is at work in a folder."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        probe.connect(str(run_dir / SOCKET))
        return True
    return False


async def serve(run_dir: Path, handle: Handler) -> asyncio.Server:
    """Listen for orders and pass each to ``handle``."""
    path = run_dir / SOCKET
    path.unlink(missing_ok=True)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            contextlib.closing(writer),
            contextlib.suppress(ConnectionError, asyncio.LimitOverrunError, ValueError),
        ):
            while line := await reader.readline():
                writer.write(json.dumps(await _answer(handle, line)).encode() + b"\n")
                await writer.drain()

    server = await asyncio.start_unix_server(converse, str(path), limit=_LONGEST_ORDER)
    os.chmod(path, 0o600)  # noqa: PTH101 - a socket, not a file
    return server


async def _answer(handle: Handler, line: bytes) -> dict[str, Any]:
    try:
        return {"ok": True, "result": await handle(_order(line))}
    except errors.OutriderError as refusal:
        return {"ok": False, "type": type(refusal).__name__, "error": str(refusal)}
    except Exception as fault:  # noqa: BLE001 - told to who gave the order, who waits for an answer
        return {"ok": False, "type": "", "error": f"{type(fault).__name__}: {fault}"}


def _order(line: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        order = json.loads(line)
        if isinstance(order, dict):
            return order
    raise errors.BadArgument('an order is a JSON object, such as {"do": "snapshot"}.')
