from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from outrider.samples import Row
from outrider.slo import counting, indicator
from outrider.slo.counting import State
from outrider.slo.maintenance import Maintenance
from outrider.slo.objective import Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

ALIVE = Objective("alive", "alive", indicator.parse("alive"), 0.99)
WORK = Objective("work", "work", indicator.parse("work"), 0.9)
EVENTS = Objective("events", "events", indicator.parse("work"), 0.9, method="occurrences")
ALL = [ALIVE, WORK, EVENTS]


def counted(state: State, rows: Sequence[Row], planned: Sequence[Maintenance] = ()) -> State:
    counting.count(
        state, ALL, rows, interval_s=10.0, sketches=lambda *_: {}, maintenance=planned
    )  # fmt: skip
    return state


def row(host: str, tick: int, up: float, count: int, errors: int) -> Row:
    values = {
        "bot.a.up": float(up),
        "bot.a.handle_update.count": float(count),
        "bot.a.handle_update.errors_total": float(errors),
    }
    return Row(host, tick * 10.0, values)


ticks = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 20), st.booleans(), st.booleans()),
    max_size=60,
)


@hypothesis_settings(deadline=None)
@given(ticks, st.data())
def test_counters_are_the_sums_over_all_ticks_however_often_rows_come(
    made: list[tuple[bool, int, int, bool, bool]], data: st.DataObject
) -> None:
    rows, expected = [], {"alive": [0, 0], "work": [0, 0], "events": [0, 0]}
    count = errors = 0
    for tick, (up, new, failing, missing, begins_anew) in enumerate(made, start=1):
        bad = min(new, failing)
        if begins_anew:
            count = errors = 0
        count, errors = count + new, errors + bad
        if missing:
            continue
        rows.append(row("h", tick, up, count, errors))
    before = None
    for each in rows:
        was_up = each.values["bot.a.up"]
        now = (
            each.values["bot.a.handle_update.count"],
            each.values["bot.a.handle_update.errors_total"],
        )
        expected["alive"][0] += int(was_up)
        expected["alive"][1] += 1
        grown = [0, 0] if before is None else [
            int(new - old if new >= old else new) for new, old in zip(now, before, strict=True)
        ]  # fmt: skip
        before = now
        total = max(grown)
        good = max(0, grown[0] - grown[1])
        expected["events"] = [expected["events"][0] + good, expected["events"][1] + total]
        if total:
            expected["work"][0] += good >= 0.9 * total
            expected["work"][1] += 1

    state, at = State(), 0
    while at < len(rows):
        again = data.draw(st.integers(0, 3))
        until = data.draw(st.integers(at + 1, len(rows)))
        counted(state, rows[max(0, at - again) : until])
        if data.draw(st.booleans()):  # through Redis and back
            state = msgspec.json.decode(msgspec.json.encode(state), type=State)
        at = until

    for slug, (good, total) in expected.items() if rows else ():
        budget = state.budgets[slug]
        assert (good, total) == (budget.all.good, budget.all.total)
        assert budget.all.total == sum(each.total for each in budget.by.values())


def test_a_burst_within_a_tick_is_one_bad_slice_and_many_bad_events() -> None:
    state = counted(State(), [row("h", 1, 1, 0, 0), row("h", 2, 1, 50, 50)])

    assert (state.budgets["work"].all.good, state.budgets["work"].all.total) == (0, 1)
    assert (state.budgets["events"].all.good, state.budgets["events"].all.total) == (0, 50)


def test_planned_maintenance_is_counted_apart() -> None:
    planned = Maintenance("1", 20.0, 40.0, "disks", "ann", slo="alive", bot="a")
    rows = [row("h", tick, 0, 0, 0) for tick in range(1, 6)]

    state = counted(State(), rows, [planned])

    alive = state.budgets["alive"].all
    assert (alive.good, alive.total, alive.excluded) == (0, 3, 2)


def test_bots_of_two_hosts_are_told_apart_and_added_up() -> None:
    state = counted(State(), [row("h", 1, 1, 0, 0)])
    counted(state, [Row("i", 10.0, {"bot.b.up": 0.0})])

    budget = state.budgets["alive"]
    assert (budget.all.good, budget.all.total) == (1, 2)
    assert {who: each.good for who, each in budget.by.items()} == {"a": 1, "b": 0}


def test_a_row_that_comes_after_a_later_one_is_not_counted() -> None:
    state = counted(State(), [row("h", 5, 1, 0, 0)])

    counted(state, [row("h", 4, 1, 0, 0), row("h", 5, 1, 0, 0)])

    assert state.budgets["alive"].all.total == 1


def test_hosts_are_held_to_ticks() -> None:
    ticks = Objective("ticks", "ticks", indicator.parse("ticks"), 0.99)
    state = State()

    counting.count(
        state, [ticks], [Row("h", 10.0, {}), Row("h", 50.0, {})],
        interval_s=10.0, sketches=lambda *_: {},
    )  # fmt: skip

    assert (state.budgets["ticks"].by["h"].good, state.budgets["ticks"].by["h"].total) == (2, 5)
