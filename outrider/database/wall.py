"""The wall: how many connections a fleet may ever open together, and how many it should.

``wall = max_connections - reserved - others - operations``. *Reserved* are the server's own
(superusers, ``reserved_connections``); *others* what clients and poolers that are no bots of this
fleet hold; *operations* what people and Outrider need to repair and to look.

The *advice* is softer: beyond ``ceil((2 cores + spindles) / active)`` connections a server only
queues inside instead of outside (HikariCP, "About pool sizing": its rule is the case of ``active``
1). ``active`` is the share of a transaction in which the server works; bots that call an API inside
a transaction have 0.02 to 0.2, and would lose four fifths of their throughput to Hikari's rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from outrider.errors import BadArgument

OPERATIONS = 3
# An active share measured on an idle server says nothing; no server works this little.
_LEAST_ACTIVE = 0.005


@dataclass(frozen=True, slots=True)
class Wall:
    """What a server leaves to the bots. ``advice`` is None where nothing was measured."""

    max_connections: int
    reserved: int = 0
    others: int = 0
    operations: int = OPERATIONS
    advice: int | None = None

    def __post_init__(self) -> None:
        for name in ("reserved", "others", "operations"):
            if getattr(self, name) < 0:
                raise BadArgument(f"{name} = {getattr(self, name)}; give 0 or more.")
        if self.connections < 1:
            raise BadArgument(
                f"max_connections = {self.max_connections} leaves the bots nothing: {self.words()};"
                " raise it, or close other clients."
            )

    @property
    def connections(self) -> int:
        """Return the most connections that all bots may have open together."""
        return self.max_connections - self.reserved - self.others - self.operations

    def words(self) -> str:
        """Say where the connections go.

        >>> Wall(100, reserved=3, others=4).words()
        '100 - 3 reserved - 4 of other clients - 3 for operations = 90'
        """
        return (
            f"{self.max_connections} - {self.reserved} reserved - {self.others} of other clients"
            f" - {self.operations} for operations = {self.connections}"
        )


def advised(*, cores: int, active_ratio: float, spindles: int = 0) -> int:
    """Return beyond how many connections a server gets slower, not quicker.

    >>> advised(cores=2, active_ratio=0.1)
    40
    """
    if cores < 1 or spindles < 0 or not 0 <= active_ratio <= 1:
        raise BadArgument(
            f"cores = {cores}, spindles = {spindles}, active_ratio = {active_ratio}: give at least"
            " one core, no fewer than 0 spindles, and a ratio from 0 to 1."
        )
    return math.ceil((2 * cores + spindles) / max(active_ratio, _LEAST_ACTIVE))
