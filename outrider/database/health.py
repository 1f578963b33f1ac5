"""The part of the database report on queries: slower statements, indexes, blocks, bloat, age.

Plain data. Reads only, and copies nothing: missing indexes come from HypoPG where it is installed,
else from statistics. `outrider db indexes` tries them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.database import bloat, index_advice, index_health, locks, reported, top
from outrider.database.server import first_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outrider.database.index_advice import Advice
    from outrider.database.top import Cost
    from outrider.database.workload import Workload

ADVISED = 20
_ORDERS: tuple[top.Order, ...] = ("total", "p99", "calls")
WITHIN_S = 20.0
# Others have no plan that an index could change.
_PLANNED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "(")


def build(engine: sa.Engine, workload: Workload) -> dict[str, Any]:
    """Return the report on one PostgreSQL; what can't be asked is said in ``note``."""
    slower = top.top(workload.costs, by="regression", baseline=workload.baseline)
    report: dict[str, Any] = {
        "top": {by: costs(top.top(workload.costs, by=by)) for by in _ORDERS},
        "regressed": [
            _cost(cost) | {"times_slower": top.slowed(cost, workload.baseline)} for cost in slower
        ],
        "note": "",
    }
    try:
        advice = index_advice.advise(engine, asked(workload), copies=False, within_s=WITHIN_S)
        report["missing_indexes"] = proposals(advice)
        with engine.connect() as connection:
            seen = locks.sessions(connection)
            report["idle_indexes"] = [
                dataclasses.asdict(each) | {"ddl": each.ddl}
                for each in index_health.look(connection)
            ]
            report["blocked"] = [
                {"by": block.root.words(), "waiting": [each.words() for each in block.waiting]}
                for block in locks.blocks(seen)
            ]
            report["long_transactions"] = [each.words() for each in locks.long_transactions(seen)]
            report["bloated"] = [
                dataclasses.asdict(each) | {"dead_ratio": each.dead_ratio}
                for each in bloat.tables(connection)
            ]
            age = bloat.age(connection)
            report["wraparound"] = {
                "transactions": age.transactions,
                "used_ratio": age.used_ratio,
                "alarming": age.alarming,
            }
    except sa.exc.SQLAlchemyError as error:
        report["note"] = f"not all could be asked: {first_line(error)}"
    return report


def asked(workload: Workload, *, most: int = ADVISED) -> list[index_advice.Asked]:
    """Return the dearest statements, as the advisor wants them."""
    over_s = workload.over_s
    return [
        index_advice.Asked(cost.text, cost.calls / over_s if over_s else None, cost.mean_s)
        for cost in top.top(workload.costs, most=most)
        if cost.text.upper().startswith(_PLANNED) and cost.fingerprint_id != reported.OTHER
    ]


def proposals(advice: Advice) -> list[dict[str, Any]]:
    """Return proposals as plain data."""
    return [
        {
            "ddl": each.ddl,
            "gain": round(each.gain, 1),
            "size_bytes": each.size_bytes,
            "write_s_per_s": each.write_s_per_s,
            "confidence": each.confidence,
            "replaces": list(each.replaces),
            "statements": [
                {
                    "text": gain.text,
                    "cost_before": gain.cost_before,
                    "cost_after": gain.cost_after,
                    "quicker": gain.quicker,
                }
                for gain in each.gains
            ],
        }
        for each in advice.proposals
    ]


def costs(found: Iterable[Cost]) -> list[dict[str, Any]]:
    """Return costs as plain data."""
    return [_cost(each) for each in found]


def _cost(cost: Cost) -> dict[str, Any]:
    return dataclasses.asdict(cost) | {"mean_s": cost.mean_s}
