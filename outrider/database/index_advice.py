"""Indexes that are missing: those with which the planner does a statement for half the cost.

Candidates come from the statement, the verdict from the planner (see ``index_trial``).
Of those that save nearly as much as the best, the smallest wins: an index is paid for by every
write. What is proposed for several statements is merged, so that one wide index stands instead of
itself and its beginnings. Where it is known how often a statement runs, an index must save more
time than its upkeep takes.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from outrider.database import (
    access,
    candidates,
    catalog,
    estimate,
    explain,
    fingerprint,
    index_trial,
)
from outrider.database.candidates import Candidate
from outrider.database.server import first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from outrider.database.catalog import Table
    from outrider.database.index_trial import Planner

# Less than twice as quick is within what a changed plan may cost elsewhere.
LEAST_GAIN = 2.0
# A plan this cheap is done in about a millisecond: no index is felt.
LEAST_COST = 100.0
# A narrower index may give away this share of what the best one saves.
GIVEN_AWAY = 0.03
MOST_TOGETHER = 3
# A further index for the same statement must take this much of what is left.
STEP = 0.7
# What a further B-tree entry costs a write: measured 5 to 20 µs here, more when it is not cached.
WRITE_S = 20e-6


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement to advise on. What is not known of its load is None."""

    text: str
    calls_per_s: float | None = None
    mean_s: float | None = None


@dataclass(frozen=True, slots=True)
class Gain:
    """What an index does for one statement: planned costs, and times quicker where it was run."""

    fingerprint_id: str
    text: str
    cost_before: float
    cost_after: float
    quicker: float | None = None
    saved_s_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A missing index. ``write_s_per_s`` is the upkeep at the table's present rate of writes."""

    index: Candidate
    gains: tuple[Gain, ...]
    size_bytes: int
    write_s_per_s: float
    confidence: str
    replaces: tuple[str, ...] = ()

    @property
    def ddl(self) -> str:
        """Return the statement that builds it without blocking writes."""
        return self.index.ddl(concurrently=True) + ";"

    @property
    def gain(self) -> float:
        """Return how many times cheaper the statement becomes that gains most."""
        return max(each.cost_before / max(each.cost_after, 0.01) for each in self.gains)


@dataclass(frozen=True, slots=True)
class Advice:
    """Proposals, those that save most first, and what could not be judged, with the reason."""

    proposals: tuple[Proposal, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Plan:
    """A statement, and where it was planned."""

    statement: explain.Statement
    planner: Planner
    tables: tuple[Table, ...]

    def cost(self, index: Candidate) -> float:
        self.planner.take(self.tables)
        return self.planner.plan(self.statement, (index,)).cost


@dataclass(slots=True)
class _Chosen:
    index: Candidate
    gains: list[Gain] = field(default_factory=list)
    plans: list[_Plan] = field(default_factory=list)


def advise(
    engine: sa.Engine,
    asked: Iterable[Asked],
    *,
    hypothetical: bool = True,
    copies: bool = True,
    most_rows: int = index_trial.SAMPLE_ROWS,
    within_s: float = math.inf,
) -> Advice:
    """Return the indexes that these statements miss.

    Asks and plans; writes nothing but temporary tables of its own session. Without HypoPG it
    copies the tables (at most ``most_rows`` of each), which takes about a second a table; without
    ``copies`` either, it reckons from statistics. What is not reached ``within_s`` is skipped.

    Raises:
        sqlalchemy.exc.OperationalError: the server is away.
    """
    until_s = time.monotonic() + within_s
    alone = engine.execution_options(isolation_level="AUTOCOMMIT")
    # Two sessions: where a copy stands, the table's own name leads to it.
    with alone.connect() as connection, alone.connect() as beside:
        copy = index_trial.Copy(beside, most_rows=most_rows)
        planner: Planner = copy
        quick: Planner | None = None
        if hypothetical and index_trial.can_hypothesise(connection):
            quick = index_trial.Hypothetical(connection)
        if not copies or connection.execute(sa.text("SELECT pg_is_in_recovery()")).scalar():
            planner = quick or estimate.Estimate(connection)
        advisor = _Advisor(connection, planner, quick)
        try:
            for each in asked:
                if time.monotonic() > until_s:
                    advisor.skip(each, "no time was left for it.")
                else:
                    advisor.look(each)
            return advisor.advice()
        finally:
            copy.close()


class _Advisor:
    def __init__(self, connection: sa.Connection, planner: Planner, quick: Planner | None) -> None:
        self._connection = connection
        self._planner = planner
        self._quick = quick
        self._tables: dict[str, Table] = {}
        self._chosen: dict[Candidate, _Chosen] = {}
        self._skipped: list[tuple[str, str]] = []
        self._extensions = set(
            connection.execute(sa.text("SELECT extname FROM pg_extension")).scalars()
        )
        self._c_collation = connection.execute(
            sa.text(
                "SELECT datcollate IN ('C', 'POSIX') FROM pg_database"
                " WHERE datname = current_database()"
            )
        ).scalar_one()

    def skip(self, asked: Asked, reason: str) -> None:
        self._skipped.append((asked.text, reason))

    def look(self, asked: Asked) -> None:
        try:
            self._look(asked)
        except explain.Unexplainable as error:
            self.skip(asked, str(error))
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            self.skip(asked, first_line(error))

    def advice(self) -> Advice:
        merged = _merged(list(self._chosen.values()))
        proposals = [self._proposal(each) for each in merged]
        proposals.sort(key=lambda each: -_worth(each))
        return Advice(tuple(proposals), tuple(self._skipped))

    def _look(self, asked: Asked) -> None:
        statement = explain.read(asked.text)
        names = access.tables([statement.tree])
        unknown = names - self._tables.keys()
        if unknown:
            self._tables |= catalog.read(self._connection, unknown)
        tables = {name: self._tables[name] for name in names if name in self._tables}
        if len(tables) < len(names):
            # A view, a name of WITH, or nothing: then the server says what it misses.
            explain.plan(self._connection, statement)
        if all(table.rows < candidates.LEAST_ROWS for table in tables.values()):
            return
        _one_of_each_name(tables)
        accesses = access.of([statement.tree], {name: t.columns for name, t in tables.items()})
        tried = self._candidates(accesses, tables)
        if not tried:
            return
        # Planning on the real tables is cheap; a copy is only made for what is worth it.
        if explain.plan(self._connection, statement)["Total Cost"] < LEAST_COST:
            return
        planner = self._planner_for(tried)
        plan = _Plan(statement, planner, tuple(tables.values()))
        planner.take(plan.tables)
        for index, gain in _choose(planner, statement, tried, asked):
            if self._pays(index, gain, asked):
                chosen = self._chosen.setdefault(index, _Chosen(index))
                chosen.gains.append(gain)
                chosen.plans.append(plan)

    def _candidates(
        self, accesses: list[access.Access], tables: dict[str, Table]
    ) -> list[Candidate]:
        found: dict[Candidate, None] = {}
        for each in accesses:
            for index in candidates.of(
                each, tables[each.table], extensions=self._extensions, c_collation=self._c_collation
            ):
                found[index] = None
        return self._planner.buildable(list(found))

    def _planner_for(self, tried: Sequence[Candidate]) -> Planner:
        """Return HypoPG where it can be trusted: of an expression it has no statistics."""
        plain = all(index.method == "btree" and "(" not in "".join(index.keys) for index in tried)
        return self._quick if self._quick is not None and plain else self._planner

    def _pays(self, index: Candidate, gain: Gain, asked: Asked) -> bool:
        if gain.saved_s_per_s is None:
            return True
        upkeep = self._table(index).writes_per_s * WRITE_S
        if gain.saved_s_per_s >= upkeep:
            return True
        self.skip(
            asked,
            f"{index.ddl()} would save {gain.saved_s_per_s:.2g} s a second, and cost"
            f" {upkeep:.2g} s of writing.",
        )
        return False

    def _size(self, chosen: _Chosen) -> int:
        plan = chosen.plans[0]
        plan.planner.take(plan.tables)
        return plan.planner.size_bytes(chosen.index)

    def _table(self, index: Candidate) -> Table:
        return next(
            t for t in self._tables.values() if (t.schema, t.name) == (index.schema, index.table)
        )

    def _proposal(self, chosen: _Chosen) -> Proposal:
        table = self._table(chosen.index)
        keys = tuple(key.replace('"', "") for key in chosen.index.keys)
        replaces = tuple(
            index.name
            for index in table.indexes
            if not (index.unique or index.constrains or index.predicate or chosen.index.where)
            and index.method == chosen.index.method
            and not index.included
            and index.keys == keys[: len(index.keys)]
        )
        return Proposal(
            chosen.index,
            tuple(chosen.gains),
            self._size(chosen),
            table.writes_per_s * WRITE_S,
            chosen.plans[0].planner.confidence,
            replaces,
        )


def _choose(
    planner: Planner, statement: explain.Statement, tried: Sequence[Candidate], asked: Asked
) -> Iterator[tuple[Candidate, Gain]]:
    """Yield the indexes to build for a statement, and what they do for it."""
    found = _fewest(planner, statement, tried)
    if found is None:
        return
    chosen, before, cost = found
    quicker = planner.quicker(statement, chosen)
    if quicker is not None and quicker < LEAST_GAIN:
        return
    saved = None
    if asked.calls_per_s is not None and asked.mean_s is not None:
        saved = asked.calls_per_s * asked.mean_s * (1 - cost / before)
    shape = fingerprint.of(asked.text)
    for index in chosen:
        yield index, Gain(shape.id, shape.text, before, cost, quicker, saved)


def _fewest(
    planner: Planner, statement: explain.Statement, tried: Sequence[Candidate]
) -> tuple[tuple[Candidate, ...], float, float] | None:
    """Return the fewest and smallest indexes that do nearly as well as all together.

    With the statement's cost before and after; None where all together do not help enough.
    """
    before = planner.plan(statement, ()).cost
    if before < LEAST_COST:
        return None
    everything = planner.plan(statement, tried)
    if not everything.used or everything.cost > before / LEAST_GAIN:
        return None
    allowed = everything.cost + GIVEN_AWAY * (before - everything.cost)
    chosen: tuple[Candidate, ...] = ()
    cost = before
    while cost > allowed and len(chosen) < MOST_TOGETHER:
        step = _next(planner, statement, tried, chosen, allowed)
        if step is None or step[1] > cost * STEP:
            break
        index, after = step
        chosen, cost = (*chosen, index), after
    if not chosen or cost > before / LEAST_GAIN:
        # Only together do they help, as the arms of an OR.
        chosen = tuple(sorted(everything.used, key=repr))
        cost = planner.plan(statement, chosen).cost
        if len(chosen) > MOST_TOGETHER or cost > before / LEAST_GAIN:
            return None
    return tuple(planner.plan(statement, chosen).used), before, cost


def _next(
    planner: Planner,
    statement: explain.Statement,
    tried: Sequence[Candidate],
    chosen: tuple[Candidate, ...],
    allowed: float,
) -> tuple[Candidate, float] | None:
    """Return the smallest index that suffices beside those chosen, else the most helpful."""
    plans = []
    for index in tried:
        if index in chosen:
            continue
        found = planner.plan(statement, (*chosen, index))
        if index in found.used:
            plans.append((index, found.cost))
    if not plans:
        return None
    enough = [each for each in plans if each[1] <= allowed]
    if enough:
        return min(enough, key=lambda each: (_weight(planner, each[0]), each[1]))
    return min(plans, key=lambda each: each[1])


def _weight(planner: Planner, index: Candidate) -> tuple[int, int]:
    """Return what decides between indexes that do alike: size in powers of two, then keys."""
    size = planner.size_bytes(index)
    return len(f"{size:b}"), len(index.keys)


def _merged(chosen: list[_Chosen]) -> list[_Chosen]:
    """Let a wider index stand for a narrower one that is its beginning, or can be made so."""
    kept: list[_Chosen] = []
    for each in sorted(chosen, key=lambda one: -len(one.index.keys)):
        for place, wide in enumerate(kept):
            joined = _joined(wide.index, each.index)
            if joined is None:
                continue
            together = _Chosen(joined, wide.gains + each.gains, wide.plans + each.plans)
            if _serves(together):
                kept[place] = together
                break
        else:
            kept.append(each)
    return kept


def _serves(chosen: _Chosen) -> bool:
    """Tell whether one index helps all its statements; notes what each then costs."""
    gains = []
    for plan, gain in zip(chosen.plans, chosen.gains, strict=True):
        after = plan.cost(chosen.index)
        if after > gain.cost_before / LEAST_GAIN:
            return False
        gains.append(dataclasses.replace(gain, cost_after=after))
    chosen.gains = gains
    return True


def _joined(wide: Candidate, narrow: Candidate) -> Candidate | None:
    """Return one index that does the work of both; None where there is none.

    >>> from outrider.database.candidates import Candidate
    >>> pair = Candidate("public", "t", ("a", "b", "at"), free=2)
    >>> _joined(pair, Candidate("public", "t", ("b",), free=1)).keys
    ('b', 'a', 'at')
    """
    same = (wide.schema, wide.table, wide.where, wide.method)
    if same != (narrow.schema, narrow.table, narrow.where, narrow.method) or wide.method != "btree":
        return None
    if len(narrow.keys) > len(wide.keys):
        return None
    equal = set(narrow.keys[: narrow.free])
    rest = [key for key in wide.keys[: wide.free] if key not in equal]
    if not equal <= set(wide.keys[: wide.free]):
        return None
    keys = (*narrow.keys[: narrow.free], *rest, *wide.keys[wide.free :])
    if keys[: len(narrow.keys)] != narrow.keys:
        return None
    return Candidate(wide.schema, wide.table, keys, wide.where, free=narrow.free)


def _worth(proposal: Proposal) -> float:
    """Return seconds saved a second where load is known, else planned cost saved."""
    saved = [each.saved_s_per_s for each in proposal.gains if each.saved_s_per_s is not None]
    if saved:
        return 1e9 * sum(saved)
    return sum(each.cost_before - each.cost_after for each in proposal.gains)


def _one_of_each_name(tables: dict[str, Table]) -> None:
    """Refuse two tables of one name: as copies they could not be told apart."""
    seen: dict[str, int] = {}
    for table in tables.values():
        if seen.setdefault(table.name, table.oid) != table.oid:
            raise explain.Unexplainable(
                f"two tables named {table.name} in different schemas can't be told apart as copies."
            )
