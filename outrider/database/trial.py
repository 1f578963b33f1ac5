"""Measures what a setting is worth: the same statements with the old value and with the new one.

A trial changes nothing: each statement runs in a READ ONLY transaction with ``SET LOCAL``, under
EXPLAIN ANALYZE, so that the server's own clock is read and no rows travel. Old and new take turns
(old new, new old, ...), so that what else the machine does falls on both alike; the answer is the
median of the ratios with its distribution-free interval (order statistics of the sign test,
Hollander and Wolfe 3.6). Where no plan differs, planner settings can't matter, and nothing is run.

The statements are the caller's, or made from the largest tables: a key, a range, a sort, groups, a
join. Those are not the bots' own work; what they show is whether a setting can matter on these data
at all.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PAIRS, _LEAST_PAIRS = 15, 8
# A trial that would take longer makes do with fewer pairs; eight are the least for the interval.
_BUDGET_S = 15.0
_CONFIDENCE = 0.99
# A gain of less is not worth a setting that somebody must remember.
_LEAST_GAIN = 0.03
_STATEMENT_TIMEOUT_MS = 2000
# They change nothing but the plan; the others may change how the same plan runs.
_PLANNER_ONLY = frozenset({"random_page_cost", "effective_cache_size"})
TRIED = _PLANNER_ONLY | {
    "work_mem", "effective_io_concurrency", "jit", "max_parallel_workers_per_gather",
}  # fmt: skip
NOT_TRIED = "can't be tried in one session; an apply is watched instead"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the new value did against the old; ``ratio`` below 1 means it is quicker.

    ``verdict`` is ``gain``, ``no gain``, ``worse`` or ``not measured``.
    """

    verdict: str
    why: str
    ratio: float | None = None
    lower: float | None = None
    upper: float | None = None
    pairs: int = 0
    before_ms: float | None = None
    after_ms: float | None = None

    def words(self) -> str:
        """Say it in one line.

        >>> Outcome("no gain", "the plans of 5 statements are the same").words()
        'no gain: the plans of 5 statements are the same'
        """
        if self.ratio is None:
            return f"{self.verdict}: {self.why}"
        return f"{self.verdict}: x{self.ratio:.2f} [{self.lower:.2f}, {self.upper:.2f}], {self.why}"


def judge(ratios: Sequence[float]) -> tuple[str, float, float, float]:
    """Return verdict, median and interval of ``new / old`` of each pair.

    >>> judge([0.5, 0.52, 0.48, 0.51, 0.5, 0.49, 0.5, 0.53])[0]
    'gain'
    >>> judge([0.9, 1.1, 1.0, 0.95, 1.02, 1.04, 0.97, 1.0])[0]
    'no gain'
    """
    ordered = sorted(ratios)
    rank = _rank(len(ordered))
    lower, upper = ordered[rank], ordered[-1 - rank]
    middle = statistics.median(ordered)
    verdict = "no gain"
    if upper < 1 and middle <= 1 - _LEAST_GAIN:
        verdict = "gain"
    elif lower > 1 and middle >= 1 + _LEAST_GAIN:
        verdict = "worse"
    return verdict, middle, lower, upper


def _rank(count: int) -> int:
    """Return how many values from each end the interval leaves out."""
    rank, tail = 0, 0.0
    while rank < count // 2:
        tail += math.comb(count, rank) / 2**count
        if 2 * tail > 1 - _CONFIDENCE:
            break
        rank += 1
    return max(0, rank - 1)


def of_setting(
    engine: sa.Engine,
    name: str,
    values: tuple[str, str],
    statements: Sequence[str],
    *,
    pairs: int = PAIRS,
) -> Outcome:
    """Try a setting on statements that only read. Blocks for ``2 * pairs`` runs of each.

    Raises:
        BadArgument: a statement is refused by the server (it writes, or does not parse).
    """
    if name not in TRIED:
        return Outcome("not measured", NOT_TRIED)
    if not statements:
        return Outcome("not measured", "no table has enough rows; give statements of your own")
    with engine.connect() as connection:
        usable = [each for each in statements if _finishes(connection, each)]
        if not usable:
            return Outcome("not measured", f"no statement ends in {_STATEMENT_TIMEOUT_MS / 1000} s")
        old, new = values
        if name in _PLANNER_ONLY and all(
            _plan(connection, name, old, each) == _plan(connection, name, new, each)
            for each in usable
        ):
            return Outcome("no gain", f"the plans of {len(usable)} statements are the same")
        ratios, times = _take_turns(
            lambda value: [_run_ms(connection, name, value, each) for each in usable],
            values, pairs,
        )  # fmt: skip
    return _outcome(ratios, times, f"{len(ratios)} pairs of {len(usable)} statements")


def of_commits(engine: sa.Engine, *, pairs: int = PAIRS, commits: int = 10) -> Outcome:
    """Measure what ``synchronous_commit = off`` saves a transaction that writes.

    Writes messages of one byte into the log, which no table and no reader sees.
    """

    def run(value: str) -> list[float]:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SET synchronous_commit = {value}")
            began_s = time.perf_counter()
            for _ in range(commits):
                connection.exec_driver_sql("SELECT pg_logical_emit_message(true, 'outrider', '.')")
            return [(time.perf_counter() - began_s) * 1000 / commits]

    try:
        ratios, times = _take_turns(run, ("on", "off"), pairs)
    except sa.exc.DBAPIError as error:
        return Outcome("not measured", f"the server refuses ({error.orig})".replace("\n", " "))
    return _outcome(ratios, times, f"{len(ratios)} pairs of {commits} commits")


def total_ms(engine: sa.Engine, statements: Sequence[str]) -> float:
    """Return how long statements take together as the server is set now."""
    with engine.connect() as connection:
        told = [_explain(connection, each, {}, analyze=True) for each in statements]
    return sum(float(each["Planning Time"]) + float(each["Execution Time"]) for each in told)


def _outcome(ratios: list[float], times: tuple[float, float], why: str) -> Outcome:
    verdict, middle, lower, upper = judge(ratios)
    return Outcome(verdict, why, middle, lower, upper, len(ratios), *times)


def _take_turns(
    run: Callable[[str], list[float]], values: tuple[str, str], pairs: int
) -> tuple[list[float], tuple[float, float]]:
    """Return the ratio of each pair (all statements count alike) and the median times."""
    old, new = values
    run(old)  # pages and catalogs are read once
    began_s = time.perf_counter()
    run(new)
    pair_s = 2 * (time.perf_counter() - began_s)
    pairs = min(pairs, max(_LEAST_PAIRS, int(_BUDGET_S / max(pair_s, 1e-6))))
    ratios, before, after = [], [], []
    for turn in range(pairs):
        if turn % 2:
            second, first = run(new), run(old)
        else:
            first, second = run(old), run(new)
        logs = [math.log(b / a) for a, b in zip(first, second, strict=True) if a > 0 and b > 0]
        ratios.append(math.exp(statistics.fmean(logs)) if logs else 1.0)
        before.append(sum(first))
        after.append(sum(second))
    return ratios, (statistics.median(before), statistics.median(after))


def _finishes(connection: sa.Connection, statement: str) -> bool:
    import psycopg  # an extra: trials are PostgreSQL's

    try:
        _explain(connection, statement, {}, analyze=True)
    except psycopg.errors.QueryCanceled:
        return False
    except psycopg.Error as error:
        said = str(error).splitlines()[0]
        raise BadArgument(
            f"{statement[:80]!r} can't be tried: {said}; give SELECTs without parameters."
        ) from None
    return True


def _run_ms(connection: sa.Connection, name: str, value: str, statement: str) -> float:
    told = _explain(connection, statement, {name: value}, analyze=True)
    return float(told["Planning Time"]) + float(told["Execution Time"])


def _plan(connection: sa.Connection, name: str, value: str, statement: str) -> Any:
    return _shape(_explain(connection, statement, {name: value}, analyze=False)["Plan"])


def _shape(node: Mapping[str, Any]) -> Any:
    """Return a plan without its costs, which differ wherever a price does."""
    return {
        key: [_shape(child) for child in value] if key == "Plans" else value
        for key, value in node.items()
        if key not in {"Startup Cost", "Total Cost"}
    }


def _explain(
    connection: sa.Connection, statement: str, values: Mapping[str, str], *, analyze: bool
) -> dict[str, Any]:
    options = "ANALYZE, TIMING OFF, FORMAT JSON" if analyze else "FORMAT JSON"
    connection.exec_driver_sql("BEGIN READ ONLY")
    try:
        _set(connection, "statement_timeout", str(_STATEMENT_TIMEOUT_MS))
        for name, value in values.items():
            _set(connection, name, value)
        # Prepared, so that the server takes one statement: a second could leave READ ONLY.
        driver: Any = connection.connection.driver_connection
        told = driver.execute(f"EXPLAIN ({options}) {statement}", prepare=True).fetchone()
    finally:
        connection.exec_driver_sql("ROLLBACK")
    found: dict[str, Any] = told[0][0]
    return found


def _set(connection: sa.Connection, name: str, value: str) -> None:
    connection.execute(
        sa.text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value}
    )
