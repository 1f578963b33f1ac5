"""What is wrong with a plan, in words: EXPLAIN's tree read into findings.

A finding names the node, the figures it rests on and the next step. From a plan that was only made
(not run) come those that the estimates show; misestimates, spills and wasted rows need
:func:`outrider.database.explain.analysed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outrider.database import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

# Fewer rows than this are read faster than an index could be looked up.
MANY_ROWS = 1000
FILTERED_RATIO = 0.95
MISESTIMATE = 10.0
MANY_LOOPS = 1000
HEAP_READS_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a plan; ``code`` is stable, ``remedy`` the next step."""

    code: str
    text: str
    remedy: str


def of(plan: dict[str, Any]) -> list[Finding]:
    """Return what is wrong with a plan, outermost node first."""
    return [
        finding
        for node, loops in _with_loops(plan, 1.0)
        for look in _LOOKS
        for finding in look(node, loops)
    ]


def _with_loops(node: dict[str, Any], loops: float) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield each node and how often it runs: as measured, else as the planner expects."""
    yield node, node.get("Actual Loops", loops)
    children = node.get("Plans", [])
    for child in children:
        repeated = loops
        if node["Node Type"] == "Nested Loop" and child.get("Parent Relationship") == "Inner":
            repeated = loops * max(children[0].get("Plan Rows", 1), 1)
        # These keep what they read the first time.
        if node["Node Type"] in {"Materialize", "Memoize", "Hash"}:
            repeated = 1.0
        yield from _with_loops(child, repeated)


def _filtering(node: dict[str, Any], _: float) -> Iterator[Finding]:
    if node["Node Type"] != "Seq Scan" or "Filter" not in node:
        return
    removed, kept = node.get("Rows Removed by Filter"), node.get("Actual Rows", 0)
    if removed is None:
        return
    seen = removed + kept
    if seen > MANY_ROWS and removed / seen > FILTERED_RATIO:
        yield Finding(
            "seq_scan_filters",
            f"{node['Relation Name']} is read whole: {seen:,.0f} rows, {kept:,.0f} kept by"
            f" {node['Filter']}.",
            "An index on what is compared; `outrider db indexes` says whether one helps.",
        )


def _misestimated(node: dict[str, Any], _: float) -> Iterator[Finding]:
    if "Actual Rows" not in node or "Relation Name" not in node:
        return
    expected, seen = max(node["Plan Rows"], 1), max(node["Actual Rows"], 1)
    wrong = max(expected / seen, seen / expected)
    if wrong > MISESTIMATE and max(expected, seen) > MANY_ROWS:
        yield Finding(
            "misestimate",
            f"{node['Relation Name']}: {expected:,.0f} rows expected, {seen:,.0f} came"
            f" ({wrong:,.0f} times off), so the rest of the plan may be wrong.",
            f"ANALYZE {node['Relation Name']}; for columns that go together CREATE STATISTICS.",
        )


def _spilling(node: dict[str, Any], _: float) -> Iterator[Finding]:
    if node.get("Sort Space Type") == "Disk":
        yield Finding(
            "sort_spills",
            f"a sort by {', '.join(node.get('Sort Key', ['?']))} went to disk"
            f" ({node['Sort Space Used'] / 1024:,.0f} MiB, {node.get('Sort Method', 'external')}).",
            "An index in that order, or SET work_mem for this statement.",
        )
    if node.get("Hash Batches", 1) > max(node.get("Original Hash Batches", 1), 1) or (
        node["Node Type"] == "Hash" and node.get("Hash Batches", 1) > 1
    ):
        yield Finding(
            "hash_spills",
            f"a hash join went to disk in {node['Hash Batches']} parts.",
            "SET work_mem for this statement, or join fewer rows.",
        )


def _looping(node: dict[str, Any], loops: float) -> Iterator[Finding]:
    if node.get("Parent Relationship") != "Inner" or loops <= MANY_LOOPS:
        return
    if "Relation Name" in node:
        yield Finding(
            "nested_loop_many",
            f"{node['Relation Name']} is looked up {loops:,.0f} times, once for each outer row"
            f" ({node['Node Type']}).",
            "Fewer outer rows, or ANALYZE the outer table so that a hash join is chosen.",
        )


def _lossy(node: dict[str, Any], _: float) -> Iterator[Finding]:
    if node.get("Lossy Heap Blocks", 0) > 0:
        yield Finding(
            "lossy_bitmap",
            f"{node['Relation Name']}: {node['Lossy Heap Blocks']:,} pages were read whole, since"
            " the bitmap of rows did not fit.",
            "Raise work_mem for this statement.",
        )


def _heap_reads(node: dict[str, Any], _: float) -> Iterator[Finding]:
    reads, rows = node.get("Heap Fetches", 0), node.get("Actual Rows", 0)
    if (
        node["Node Type"] == "Index Only Scan"
        and reads > MANY_ROWS
        and reads > rows * HEAP_READS_RATIO
    ):
        yield Finding(
            "index_only_reads_heap",
            f"{node['Relation Name']}: {reads:,} of {rows:,} rows of an index-only scan were read"
            " from the table after all.",
            f"VACUUM {node['Relation Name']}; let autovacuum come more often.",
        )


_LOOKS = (_filtering, _misestimated, _spilling, _looping, _lossy, _heap_reads)


def explained(plan: dict[str, Any]) -> list[str]:
    """Return the plan's nodes as short lines, for people."""
    return [
        " ".join(filter(None, (node["Node Type"], node.get("Relation Name"), _priced(node))))
        for node in explain.nodes(plan)
    ]


def _priced(node: dict[str, Any]) -> str:
    return f"cost {node['Total Cost']:,.0f}"
