"""Orders to a supervisor over its unix socket: one JSON line out, one JSON line back.

Only the owner of the supervisor, and root, may give orders: the kernel says who is at the other
end. The socket lies in a folder that only its owner can enter besides. A client needs the standard
library only, so that the command line stays quick.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from outrider import errors
from outrider.supervisor.audit import Peer

if TYPE_CHECKING:
    from pathlib import Path

SOCKET = "control.sock"
_LONGEST_ORDER = 64 * 1024
_REFUSALS = {
    kind.__name__: kind for kind in (errors.BadArgument, errors.UnknownBot, errors.OutriderError)
}

Handler = Callable[[dict[str, Any], Peer], Awaitable[Any]]


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


async def serve(
    run_dir: Path, handle: Handler, *, refused: Callable[[Peer], None]
) -> asyncio.Server:
    """Listen for orders and pass each to ``handle``; tell ``refused`` of who may give none."""
    path = run_dir / SOCKET
    path.unlink(missing_ok=True)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            contextlib.closing(writer),
            contextlib.suppress(ConnectionError, asyncio.LimitOverrunError, ValueError),
        ):
            peer = peer_of(writer.get_extra_info("socket"))
            if peer.uid not in (0, _owner()):
                refused(peer)
                answer = _refusal(
                    errors.BadArgument(
                        f"user {peer.uid} may give no orders here; run it as the owner of the"
                        f" supervisor (user {_owner()}) or as root."
                    )
                )
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
                return
            while line := await reader.readline():
                writer.write(json.dumps(await _answer(handle, line, peer)).encode() + b"\n")
                await writer.drain()

    server = await asyncio.start_unix_server(converse, str(path), limit=_LONGEST_ORDER)
    os.chmod(path, 0o600)  # noqa: PTH101 - a socket, not a file
    return server


def peer_of(connection: socket.socket) -> Peer:
    """Return who is at the other end of a unix socket, as the kernel knows it."""
    form = struct.Struct("iII")
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size)
    pid, uid, _ = form.unpack(said)
    return Peer(pid, uid)


def _owner() -> int:
    return os.geteuid()


async def _answer(handle: Handler, line: bytes, peer: Peer) -> dict[str, Any]:
    try:
        return {"ok": True, "result": await handle(_order(line), peer)}
    except errors.OutriderError as refusal:
        return _refusal(refusal)
    except Exception as fault:  # noqa: BLE001 - told to who gave the order, who waits for an answer
        return {"ok": False, "type": "", "error": f"{type(fault).__name__}: {fault}"}


def _refusal(refusal: errors.OutriderError) -> dict[str, Any]:
    return {"ok": False, "type": type(refusal).__name__, "error": str(refusal)}


def _order(line: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        order = json.loads(line)
        if isinstance(order, dict):
            return order
    raise errors.BadArgument('an order is a JSON object, such as {"do": "snapshot"}.')
