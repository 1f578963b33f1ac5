"""Frames that nobody took, kept until somebody does.

A frame holds totals, so that no count, no sum and no histogram is lost with it: the next one says
it all. What only a missed frame knows is *when*: how gauges stood and totals grew meanwhile. The
ring keeps that, bounded, so that whoever keeps history can fill its gap afterwards.

When it is full, every second frame goes, and from then on only every second is kept: an outage of
any length is covered from its beginning to its end, the longer, the coarser.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see outrider.sdk.instruments
if TYPE_CHECKING:
    from collections.abc import Callable

MOST_FRAMES = 120
MOST_BYTES = 1 << 20


class Ring:
    """Encoded frames by number, oldest first. Not thread-safe: its bot holds a lock."""

    def __init__(self) -> None:
        self._frames: dict[int, bytes] = {}
        self._bytes = 0
        self._every = 1
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._frames)

    def keep(self, number: int, message: bytes) -> None:
        """Keep a frame, or count it as dropped when only every so many are kept."""
        if number % self._every:
            self.dropped += 1
            return
        self._frames[number] = message
        self._bytes += len(message)
        while self._frames and (len(self) > MOST_FRAMES or self._bytes > MOST_BYTES):
            self._thin()

    def hand_over(self, send: Callable[[bytes], bool]) -> None:
        """Give frames to ``send``, oldest first, until it takes no more."""
        for number in sorted(self._frames):
            if not send(self._frames[number]):
                return
            self._bytes -= len(self._frames.pop(number))
        self._every = 1

    def _thin(self) -> None:
        self._every *= 2
        for number in [number for number in self._frames if number % self._every]:
            self._bytes -= len(self._frames.pop(number))
            self.dropped += 1
