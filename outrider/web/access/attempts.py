"""How often an address may be wrong: ten failures a minute, then it is told to wait.

An attempt is counted before it is looked at and taken back when it was right, so that a hundred at
once are no hundred guesses. One's own success takes nothing else back: whoever has an account could
otherwise guess another's forever.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.clock import Clock

MOST = 10
WINDOW_S = 60.0
# Addresses that are remembered; a flood from more pushes the oldest out and holds no memory.
MOST_ADDRESSES = 10_000


class Attempts:
    """Failures of the last minute, by address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def blocked_s(self, address: str) -> float:
        """Return for how long an address must wait; 0 when it may try."""
        now_s, failed = self._clock.monotonic(), self._failed.get(_network(address))
        while failed and failed[0] <= now_s - WINDOW_S:
            failed.popleft()
        return failed[0] + WINDOW_S - now_s if failed and len(failed) >= MOST else 0.0

    def count(self, address: str) -> None:
        """Count an attempt, before it is known to be wrong."""
        name = _network(address)
        self._failed.setdefault(name, deque(maxlen=MOST)).append(self._clock.monotonic())
        self._failed.move_to_end(name)
        while len(self._failed) > MOST_ADDRESSES:
            self._failed.popitem(last=False)

    def take_back(self, address: str) -> None:
        """Uncount the newest attempt: it was right."""
        if failed := self._failed.get(_network(address)):
            failed.pop()


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6 the /64 that a single customer gets.

    >>> _network("192.0.2.7"), _network("2001:db8::7")
    ('192.0.2.7', '2001:db8::/64')
    """
    try:
        if ipaddress.ip_address(address).version == 6:  # noqa: PLR2004
            return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
    except ValueError:
        pass  # no address: a test's client, a unix socket
    return address
