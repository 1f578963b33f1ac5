"""Looks at a server for some windows before and after a change, and says whether it got worse.

Each window is one number a measure: work per transaction from the server's own counters, and the
time of statements that are tried now and then. Worse is what both windows after agree on: more than
a fifth above the mean before, and further above its highest than that varied (the A/A noise).
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.database import server as servers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BEFORE, AFTER = 3, 2
WINDOW_S = 20.0
_WORSE = 1.2
# Fewer transactions say nothing of the next ones.
_LEAST_TRANSACTIONS = 20
# Rises that are small in themselves, however many times what was before.
_MATERIAL = {
    "ms per transaction": 0.05, "temp bytes per transaction": 4096.0,
    "rollbacks per transaction": 0.02,
}  # fmt: skip

_COUNTERS = """
SELECT sum(xact_commit + xact_rollback) AS transactions, sum(temp_bytes) AS temp_bytes,
  sum(xact_rollback) AS rollbacks, {active} AS active_ms,
  extract(epoch FROM clock_timestamp()) AS at_s
FROM pg_stat_database
"""
_ACTIVE_SINCE = 14  # active_time

Look = dict[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a change; ``worse`` names the measures that rose, with before and after."""

    worse: dict[str, tuple[float, float]] = field(default_factory=dict)
    measures: dict[str, tuple[float, float]] = field(default_factory=dict)
    refused: str | None = None

    @property
    def is_worse(self) -> bool:
        """Tell whether the change should be taken back."""
        return bool(self.worse or self.refused)

    def words(self) -> str:
        """Say it in one line.

        >>> Verdict({"ms per transaction": (1.0, 2.5)}).words()
        'ms per transaction rose from 1 to 2.5'
        """
        if self.refused:
            return f"the server refused a connection: {self.refused}"
        if self.worse:
            return "; ".join(
                f"{name} rose from {before:.3g} to {after:.3g}"
                for name, (before, after) in self.worse.items()
            )
        if not self.measures:
            return f"fewer than {_LEAST_TRANSACTIONS} transactions a window: nothing to judge by"
        return "no worse: " + ", ".join(
            f"{name} {before:.3g} -> {after:.3g}" for name, (before, after) in self.measures.items()
        )

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "words": self.words(),
            "measures": {name: list(pair) for name, pair in self.measures.items()},
        }


def judge(before: Sequence[Look], after: Sequence[Look]) -> Verdict:
    """Compare windows after a change with those before it. All measures are better when lower.

    >>> judge([{"ms": 1.0}, {"ms": 1.1}, {"ms": 1.0}], [{"ms": 2.0}, {"ms": 1.9}]).is_worse
    True
    >>> judge([{"ms": 1.0}, {"ms": 1.9}, {"ms": 1.2}], [{"ms": 2.0}, {"ms": 1.9}]).is_worse
    False
    """
    shared = set.intersection(*(set(look) for look in (*before, *after)))
    measures, worse = {}, {}
    for name in sorted(shared):
        old, new = [look[name] for look in before], [look[name] for look in after]
        measures[name] = (statistics.fmean(old), statistics.fmean(new))
        noise = max(old) + (max(old) - min(old))
        least = statistics.fmean(old) + _MATERIAL.get(name, 0.0)
        if min(new) > max(_WORSE * statistics.fmean(old), noise, least):
            worse[name] = measures[name]
    return Verdict(worse, measures)


class Watch:
    """Looks at a server, window by window; blocks for each."""

    def __init__(
        self,
        engine: sa.Engine,
        *,
        window_s: float = WINDOW_S,
        probe: Callable[[], Look] | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._engine = engine
        self._window_s = window_s
        self._probe = probe
        self._sleep = sleep

    @property
    def lasts_s(self) -> float:
        """Return how long all windows take."""
        return (BEFORE + AFTER) * self._window_s

    def before(self) -> list[Look]:
        """Return the windows before a change. Raises SQLAlchemyError: the server is away."""
        return self._windows(BEFORE)

    def after(self, before: Sequence[Look]) -> Verdict:
        """Return what came of a change; a server that refuses us now is worse, not an error."""
        try:
            return judge(before, self._windows(AFTER))
        except sa.exc.OperationalError as error:
            return Verdict(refused=servers.first_line(error))

    def _windows(self, count: int) -> list[Look]:
        counters, looks = [self._counters()], []
        for _ in range(count):
            self._sleep(self._window_s)
            probed = self._probe() if self._probe else {}
            counters.append(self._counters())
            looks.append({**per_transaction(*counters[-2:]), **probed})
        return looks

    def _counters(self) -> Look:
        with self._engine.connect() as connection:
            major = int((connection.dialect.server_version_info or (0,))[0])
            active = "sum(active_time)" if major >= _ACTIVE_SINCE else "NULL"
            row = connection.execute(sa.text(_COUNTERS.format(active=active))).mappings().one()
            return {name: float(value) for name, value in row.items() if value is not None}


def per_transaction(old: Look, new: Look) -> Look:
    """Return what a transaction cost between two looks; nothing when too few ran.

    >>> per_transaction({"transactions": 0.0, "temp_bytes": 0.0},
    ...                 {"transactions": 100.0, "temp_bytes": 500.0})
    {'temp bytes per transaction': 5.0}
    """
    grown = {name: new[name] - old[name] for name in new.keys() & old.keys()}
    ran = grown["transactions"]
    if ran < _LEAST_TRANSACTIONS:
        return {}
    named = {
        "active_ms": "ms per transaction", "temp_bytes": "temp bytes per transaction",
        "rollbacks": "rollbacks per transaction",
    }  # fmt: skip
    return {text: grown[name] / ran for name, text in named.items() if name in grown}
