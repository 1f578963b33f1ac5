"""What a collector returns and a store keeps: one row of named values per host and tick.

Series are named by dotted paths, the unit at the end: ``host.cpu.used_ratio``,
``bot.canary.rss_bytes``. What only grows ends in ``_total``, or is part of a timing
(``.count``, ``.sum_s``): a rate or a roll-up needs to know which series are counters. The second
part of a ``bot.`` series is the bot's name, which has no dots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Values = Mapping[str, float]
# A bot's name in a series; those declared in settings are lower case besides.
_COUNTERS = ("_total", ".count", ".sum_s")
BOT_NAME = "[A-Za-z0-9][A-Za-z0-9_-]{0,62}"


@dataclass(frozen=True, slots=True)
class Row:
    """All series of one host at one moment. ``at_s`` is the start of the tick."""

    host: str
    at_s: float
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Window:
    """Rows of one host side by side.

    ``times_s`` has shape ``[ticks]``, ``values`` ``[ticks, len(names)]``; a series missing at a
    tick is NaN there.
    """

    names: tuple[str, ...]
    times_s: NDArray[np.float64]
    values: NDArray[np.float64]

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one series, shape ``[ticks]``. Raises KeyError when it is not in the window."""
        try:
            return self.values[:, self.names.index(name)]
        except ValueError:
            raise KeyError(name) from None


def is_counter(series: str) -> bool:
    """Tell whether a series only grows until what it counts begins anew; its name says so.

    >>> is_counter("bot.canary.updates_total"), is_counter("bot.canary.handle.count")
    (True, True)
    >>> is_counter("bot.canary.rss_bytes")
    False
    """
    return series.endswith(_COUNTERS)


def total(name: str) -> str:
    """Return the name under which a counter is kept.

    >>> total("updates"), total("bytes_total")
    ('updates_total', 'bytes_total')
    """
    return name if name.endswith("_total") else f"{name}_total"


def bot_of(series: str) -> str | None:
    """Return the bot that a series belongs to, or None.

    >>> bot_of("bot.canary.rss_bytes"), bot_of("host.load.1m")
    ('canary', None)
    """
    area, _, rest = series.partition(".")
    return rest.partition(".")[0] if area == "bot" and rest else None
