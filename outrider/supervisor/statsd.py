"""The UDP socket that takes StatsD datagrams, in the supervisor's event loop.

It lives here since the supervisor runs for as long as bots do and has a loop already. Datagrams are
taken in batches: after each the socket is left alone for a moment, so that ten thousand a second
wake the loop fifty times and not ten thousand; a batch is bounded, so that bots and orders have
their turn in between. What the kernel had no room for meanwhile, it counts.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from outrider.errors import BadArgument
from outrider.metrics.statsd import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.settings import StatsdSettings

# Lines taken before others have their turn: a millisecond's work.
LINES_AT_ONCE = 256
REST_S = 0.02
_LARGEST_BYTES = 1 << 16
_BUFFER_BYTES = 4 << 20
# Of linux/socket.h, where Python has no names: a larger buffer for root, and the kernel's counts.
_SO_RCVBUFFORCE, _SO_MEMINFO, _DROPS = 33, 55, 8


class Listener:
    """Takes datagrams at an address from :meth:`open` to :meth:`close`."""

    def __init__(self, host: str, port: int, *, now: Callable[[], float] = time.time) -> None:
        self._host, self._port, self._now = host, port, now
        self._tally = Tally()
        self._buffer = memoryview(bytearray(_LARGEST_BYTES))
        self._socket: socket.socket | None = None
        self._resting: asyncio.TimerHandle | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def open(self) -> None:
        """Listen.

        Raises:
            BadArgument: the address can't be had.
        """
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
            )[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setblocking(False)
            self._socket.bind(address)
        except OSError as error:
            self.close()
            raise BadArgument(
                f"[statsd] can't listen on {self._host}:{self._port} ({error.strerror}); "
                "choose another host or port, or end the program that has it."
            ) from None
        for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):  # the second for root only
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
            except OSError:
                break
        self._listen()

    def close(self) -> None:
        """Listen no more. Safe to repeat."""
        if self._resting:
            self._resting.cancel()
        if self._socket:
            if self._socket.fileno() >= 0 and self._resting is None:
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
        self._socket = self._resting = None

    def snapshot(self) -> dict[str, Any]:
        """Return all totals; ``dropped`` is None where the kernel does not tell."""
        return {**self._tally.snapshot(self._now()), "dropped": self._dropped()}

    def _listen(self) -> None:
        self._resting = None
        assert self._socket is not None
        asyncio.get_running_loop().add_reader(self._socket, self._drain)

    def _drain(self) -> None:
        assert self._socket is not None
        taken, now_s = 0, self._now()
        while taken < LINES_AT_ONCE:
            try:
                size = self._socket.recv_into(self._buffer)
            except OSError:  # nothing is left
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._socket)
                self._resting = loop.call_later(REST_S, self._listen)
                return
            taken += self._tally.take(bytes(self._buffer[:size]), now_s)

    def _dropped(self) -> int | None:
        assert self._socket is not None
        try:
            said = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_DROPS + 1))
            return int(struct.unpack_from("I", said, 4 * _DROPS)[0])
        except (OSError, struct.error):
            return None


def of_settings(settings: StatsdSettings) -> Listener | None:
    """Return a listener as the settings have it; None when it is switched off."""
    return Listener(settings.host, settings.port) if settings.enabled else None
