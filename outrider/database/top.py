"""Which statements cost most, and which became slower than they were.

What bots measured themselves (with the p99, which the server does not keep) comes first; what only
``pg_stat_statements`` saw is added. Both are summed by fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Order = Literal["total", "p99", "calls", "regression"]
# Half as slow again, and by something that a user could notice in sum.
REGRESSED_RATIO = 1.5
LEAST_CALLS = 20
# What a new run weighs in a baseline: about the last ten runs are remembered.
LEARNING = 0.1


class Seen(Protocol):
    """One shape of statement as somebody measured it."""

    @property
    def fingerprint_id(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def calls(self) -> int: ...  # noqa: D102
    @property
    def total_s(self) -> float: ...  # noqa: D102
    @property
    def p99_s(self) -> float | None: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def errors(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Cost:
    """A shape of statement and its cost; ``p99_s`` is None where only the server counted."""

    fingerprint_id: str
    text: str
    calls: int
    total_s: float
    p99_s: float | None = None
    rows: int = 0
    errors: int = 0
    of_bots: bool = False

    @property
    def known_as(self) -> str:
        """Return the name in a baseline: a bot's time has the way to the server in it."""
        return f"{self.fingerprint_id}@bots" if self.of_bots else self.fingerprint_id

    @property
    def mean_s(self) -> float:
        """Return seconds a call."""
        return self.total_s / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a shape took before, smoothed."""

    mean_s: float
    runs: int = 1


def merged(of_bots: Iterable[Seen], of_server: Iterable[Seen] = ()) -> list[Cost]:
    """Sum by fingerprint. What bots and server both saw is counted once, as the bots saw it."""
    bots, server = _summed(of_bots), _summed(of_server)
    return list({**server, **bots}.values())


def top(
    costs: Iterable[Cost], *, by: Order = "total", most: int = 10,
    baseline: Mapping[str, Baseline] | None = None,
) -> list[Cost]:  # fmt: skip
    """Return the statements that lead in an order; by regression, only those that became slower."""
    if by == "regression":
        slower = [(factor, cost) for cost in costs if (factor := slowed(cost, baseline or {}))]
        slower.sort(key=lambda each: -each[1].total_s * (1 - 1 / each[0]))
        return [cost for _, cost in slower[:most]]
    return sorted(costs, key=_KEYS[by], reverse=True)[:most]


def slowed(cost: Cost, baseline: Mapping[str, Baseline]) -> float | None:
    """Return how many times slower a statement is than before; None when it is not, or unknown."""
    before = baseline.get(cost.known_as)
    if before is None or cost.calls < LEAST_CALLS or before.mean_s <= 0:
        return None
    factor = cost.mean_s / before.mean_s
    return factor if factor >= REGRESSED_RATIO else None


def learnt(baseline: Mapping[str, Baseline], costs: Iterable[Cost]) -> dict[str, Baseline]:
    """Return the baseline with one more run; what regressed is not taken for normal at once.

    A statement that stays slow becomes normal after about ten runs.
    """
    found = dict(baseline)
    for cost in costs:
        if not cost.calls:
            continue
        before = baseline.get(cost.known_as)
        if before is None:
            found[cost.known_as] = Baseline(cost.mean_s)
            continue
        weight = max(LEARNING, 1 / (before.runs + 1))
        mean_s = before.mean_s + weight * (cost.mean_s - before.mean_s)
        found[cost.known_as] = Baseline(mean_s, before.runs + 1)
    return found


def since(earlier: Iterable[Cost], now: Iterable[Cost]) -> list[Cost]:
    """Return what was added between two readings of running sums; a reset starts anew."""
    before = {cost.fingerprint_id: cost for cost in earlier}
    found = []
    for cost in now:
        old = before.get(cost.fingerprint_id)
        if old is None or cost.calls < old.calls:
            found.append(cost)
        elif cost.calls > old.calls:
            found.append(
                replace(
                    cost,
                    calls=cost.calls - old.calls,
                    total_s=max(cost.total_s - old.total_s, 0.0),
                    rows=max(cost.rows - old.rows, 0),
                    errors=max(cost.errors - old.errors, 0),
                )
            )
    return found


def _summed(seen: Iterable[Seen]) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    for each in seen:
        old = found.get(each.fingerprint_id)
        if old is None:
            found[each.fingerprint_id] = Cost(
                each.fingerprint_id,
                each.text,
                each.calls,
                each.total_s,
                each.p99_s,
                each.rows,
                each.errors,
                getattr(each, "of_bots", False),
            )
            continue
        # A p99 over several bots lies below the greatest of theirs: a safe side to err on.
        p99s = [value for value in (old.p99_s, each.p99_s) if value is not None]
        found[each.fingerprint_id] = replace(
            old,
            calls=old.calls + each.calls,
            total_s=old.total_s + each.total_s,
            p99_s=max(p99s, default=None),
            rows=old.rows + each.rows,
            errors=old.errors + each.errors,
        )
    return found


_KEYS: dict[str, Callable[[Cost], float]] = {
    "total": lambda cost: cost.total_s,
    "p99": lambda cost: -1.0 if cost.p99_s is None else cost.p99_s,
    "calls": lambda cost: float(cost.calls),
}
