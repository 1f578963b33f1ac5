from __future__ import annotations

import pytest

from outrider.analysis import cause, graph
from outrider.analysis.onset import Change
from outrider.analysis.resources import of_series
from outrider.analysis.signals import Column

SERIES = {
    "handlers": "bot.{}.handle.sum_s", "queries": "bot.{}.db.query_seconds_total",
    "pool": "bot.{}.db.pool.waiting", "loop": "bot.{}.loop_lag_s",
    "process": "bot.{}.cpu_ratio", "cpu": "host.pressure.cpu.some_ratio",
    "outside": "host.cpu.outside_cores", "database": "db.server.locks.waiting",
}  # fmt: skip


def changed(part: str, *, size: float = 4.0, at_s: float = 100.0) -> Change:
    kind, owner = graph.kind_of(part), graph.owner_of(part)
    series = SERIES[kind].format(owner)
    found = of_series(series)
    assert found is not None
    return Change(Column(series, found[0], part, found[0].words), 1.0, 5.0, size, 9.0, at_s, 20)


def ranked(*changes: Change, parts: str = "") -> list[str]:
    known = {change.column.part for change in changes} | set(parts.split())
    found = cause.rank(changes, graph.of_parts(known), step_s=1.0)
    return [each.part for each in found]


def test_five_caches_of_a_bot_that_say_the_same_are_one_witness() -> None:
    def away(cache: str, bot: str) -> Change:
        found = of_series(f"bot.{bot}.cache.{cache}.away")
        assert found is not None
        series = f"bot.{bot}.cache.{cache}.away"
        return Change(Column(series, found[0], "redis", "w"), 0.0, 1.0, 2.0, 9.0, 100.0, 20)

    def score(*changes: Change) -> float:
        graph_ = graph.of_parts({"redis"})
        return cause.rank(changes, graph_, step_s=1.0)[0].score

    assert score(away("x", "a")) == score(away("x", "a"), away("y", "a"), away("z", "a"))
    assert score(away("x", "a")) < score(away("x", "a"), away("x", "b"))


def test_nothing_changed_has_no_cause() -> None:
    assert ranked() == []


def test_handlers_are_what_suffers_and_never_the_cause() -> None:
    found = ranked(changed("handlers:a"), changed("queries:a"))

    assert found == ["queries:a"]


def test_the_lowest_part_of_a_chain_is_the_cause() -> None:
    found = ranked(
        changed("handlers:a"), changed("pool:a"), changed("queries:a"), changed("database")
    )

    assert found == ["database"]


def test_slow_queries_of_two_bots_are_the_databases_doing_and_of_one_its_own() -> None:
    assert ranked(changed("queries:a"), changed("queries:b"))[0] == "database"
    assert ranked(changed("queries:a"), parts="queries:b") == ["queries:a"]


def test_a_short_core_explains_a_little_waiting_and_not_a_lot() -> None:
    busy = (changed("cpu"), changed("outside"))

    assert ranked(*busy, changed("queries:a", size=2))[0] == "outside"
    assert ranked(*busy, changed("queries:a", size=50))[0] == "queries:a"


def test_a_short_core_slows_all_loops_and_a_loop_that_is_slow_alone_is_blocked() -> None:
    busy = (changed("cpu", size=2), changed("outside", size=2))

    assert ranked(*busy, changed("loop:a"), parts="loop:b loop:c")[0] == "loop:a"
    assert ranked(*busy, changed("loop:a"), changed("loop:b"), changed("loop:c"))[0] == "outside"


def test_cores_that_others_take_while_there_are_some_to_spare_hurt_nobody() -> None:
    assert ranked(changed("outside", size=1.5)) == []


def test_what_began_later_explains_nothing() -> None:
    found = ranked(changed("queries:a", at_s=100.0), changed("database", at_s=110.0))

    assert "queries:a" in found


@pytest.mark.parametrize(("size", "count"), [(1.0, 0), (4.0, 1)])
def test_a_change_that_just_counts_is_not_enough(size: float, count: int) -> None:
    assert len(ranked(changed("pool:a", size=size))) == count


def test_the_graph_leads_from_handlers_to_what_they_need_and_to_needed_bots() -> None:
    found = graph.of_parts(
        ["handlers:a", "pool:a", "queries:a", "cpu", "life:b", "handlers:b"], {"a": ("b",)}
    )

    below = found.below("handlers:a")
    assert below["pool:a"] is False
    assert below["life:b"] is False
    assert below["cpu"] is True
    assert "pool:a" not in found.below("handlers:b")
