"""Plans, costs, locks and indexes are judged on plain data."""

from __future__ import annotations

from typing import Any

from outrider.database import index_advice, index_health, locks, plan_findings, top
from outrider.database.candidates import Candidate
from outrider.database.catalog import Index


def scan(**fields: Any) -> dict[str, Any]:
    known = {"Node Type": "Seq Scan", "Relation Name": "t", "Total Cost": 10.0, "Plan Rows": 100}
    return known | fields


def codes(plan: dict[str, Any]) -> list[str]:
    return [finding.code for finding in plan_findings.of(plan)]


def test_a_scan_that_filters_much_is_found() -> None:
    seen = {"Filter": "(a = 1)", "Actual Rows": 100, "Actual Loops": 1}
    assert codes(scan(**seen, **{"Rows Removed by Filter": 99_900})) == ["seq_scan_filters"]
    assert codes(scan(**seen, **{"Rows Removed by Filter": 100})) == []


def test_a_wrong_estimate_is_found() -> None:
    assert codes(scan(**{"Actual Rows": 50_000, "Actual Loops": 1})) == ["misestimate"]


def test_spills_are_found() -> None:
    sort = {
        "Node Type": "Sort", "Total Cost": 1.0, "Plan Rows": 1, "Sort Key": ["a"],
        "Sort Space Type": "Disk", "Sort Space Used": 2048, "Sort Method": "external merge",
        "Plans": [scan()],
    }  # fmt: skip
    assert codes(sort) == ["sort_spills"]
    assert codes({"Node Type": "Hash", "Total Cost": 1.0, "Hash Batches": 8}) == ["hash_spills"]


def test_a_loop_over_many_is_found_before_it_runs() -> None:
    def loop(rows: int) -> dict[str, Any]:
        outer = scan(**{"Plan Rows": rows, "Parent Relationship": "Outer"})
        inner = scan(**{"Node Type": "Index Scan", "Parent Relationship": "Inner"})
        return {"Node Type": "Nested Loop", "Total Cost": 1.0, "Plans": [outer, inner]}

    assert codes(loop(5000)) == ["nested_loop_many"]
    assert codes(loop(50)) == []


def cost(name: str, calls: int, mean_s: float, p99_s: float | None = None) -> top.Cost:
    return top.Cost(name, name, calls, calls * mean_s, p99_s)


def test_each_order_has_its_leader() -> None:
    costs = [cost("sum", 100, 0.1, 0.2), cost("tail", 10, 0.1, 3.0), cost("many", 5000, 0.001)]
    assert [top.top(costs, by=by, most=1)[0].text for by in ("total", "p99", "calls")] == [
        "sum",
        "tail",
        "many",
    ]


def test_only_what_became_slower_is_a_regression() -> None:
    baseline = top.learnt({}, [cost("a", 100, 0.010), cost("b", 100, 0.010)])
    now = [cost("a", 100, 0.030), cost("b", 100, 0.011), cost("new", 100, 1.0), cost("a2", 3, 9.0)]
    assert [each.text for each in top.top(now, by="regression", baseline=baseline)] == ["a"]


def test_a_regression_becomes_normal_slowly() -> None:
    baseline = {"a": top.Baseline(0.010, 50)}
    once = top.learnt(baseline, [cost("a", 100, 0.030)])
    assert top.slowed(cost("a", 100, 0.030), once) is not None
    for _ in range(40):
        once = top.learnt(once, [cost("a", 100, 0.030)])
    assert top.slowed(cost("a", 100, 0.030), once) is None


def test_bots_and_server_are_not_counted_twice() -> None:
    merged = top.merged(
        [cost("a", 5, 0.1, 0.4), cost("a", 5, 0.1, 0.6)], [cost("a", 10, 0.1), cost("b", 1, 1)]
    )
    assert {each.text: (each.calls, each.p99_s) for each in merged} == {
        "a": (10, 0.6),
        "b": (1, None),
    }


def test_running_sums_give_what_was_added_also_after_a_reset() -> None:
    before = [cost("a", 100, 0.1), cost("b", 100, 0.1), cost("c", 7, 0.1)]
    now = [cost("a", 150, 0.1), cost("b", 20, 0.1), cost("c", 7, 0.1)]
    assert {each.text: each.calls for each in top.since(before, now)} == {"a": 50, "b": 20}


def session(pid: int, *blocked_by: int, transaction_s: float = 1.0) -> locks.Session:
    return locks.Session(pid, "bot", "bot", "active", "UPDATE t", transaction_s, 1.0, blocked_by)


def test_the_root_of_a_queue_is_named() -> None:
    queue = [session(1), session(2, 1), session(3, 2), session(4, 2, 3), session(9)]
    (block,) = locks.blocks(queue)
    assert block.root.pid == 1
    assert {each.pid for each in block.waiting} == {2, 3, 4}


def test_a_deadlock_ends_the_search() -> None:
    (block,) = locks.blocks([session(1, 2), session(2, 1)])
    assert len(block.waiting) == 1


def test_long_transactions_lead_with_the_longest() -> None:
    seen = [session(1), session(2, transaction_s=90.0), session(3, transaction_s=900.0)]
    assert [each.pid for each in locks.long_transactions(seen)] == [3, 2]


def judged(*indexes: Index) -> list[tuple[str, str]]:
    return [(code, index.name) for code, index, _ in index_health.judged(list(indexes), 9e6)]


def test_a_prefix_of_another_index_is_a_duplicate() -> None:
    short = Index("short", ("a",), scans=5)
    assert judged(short, Index("long", ("a", "b"), scans=5)) == [("duplicate", "short")]
    assert judged(short, Index("other", ("b", "a"), scans=5)) == []
    assert judged(short, Index("part", ("a", "b"), "x > 1", scans=5)) == []


def test_one_of_two_alike_stays_and_a_constraint_always() -> None:
    twins = Index("one", ("a",), scans=1), Index("two", ("a",), scans=1)
    assert judged(*twins) == [("duplicate", "two")]
    key = Index("pkey", ("a",), unique=True, constrains=True)
    assert judged(key, Index("again", ("a",), scans=1)) == [("duplicate", "again")]
    unique = Index("unique", ("a",), unique=True)
    assert judged(unique, Index("wide", ("a", "b"), scans=1)) == []


def test_unused_and_invalid_indexes_are_found() -> None:
    large = 5 << 20
    assert judged(Index("idle", ("a",), bytes=large)) == [("unused", "idle")]
    assert judged(Index("used", ("a",), bytes=large, scans=3)) == []
    assert judged(Index("unique", ("a",), bytes=large, unique=True)) == []
    assert judged(Index("broken", ("a",), bytes=large, valid=False)) == [("invalid", "broken")]


def joined(wide: Candidate, narrow: Candidate) -> tuple[str, ...] | None:
    found = index_advice._joined(wide, narrow)
    return found.keys if found else None


def index(*keys: str, free: int = 0, where: str | None = None) -> Candidate:
    return Candidate("public", "t", keys, where, free=free)


def test_a_wide_index_stands_for_its_beginnings() -> None:
    assert joined(index("a", "b", free=1), index("a", free=1)) == ("a", "b")
    assert joined(index("a", "b", "at", free=2), index("b", "at", free=1)) is None
    assert joined(index("a", "at", free=1), index("at")) is None
    assert joined(index("a", "b", free=2), index("a", free=1, where="x")) is None
