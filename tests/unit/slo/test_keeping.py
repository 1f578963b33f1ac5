from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from outrider import sketch
from outrider.alerts import defaults, frame, state
from outrider.alerts.engine import Engine
from outrider.settings import Settings
from outrider.slo import burn, history, indicator, keeping, maintenance, objective, series, status
from outrider.slo.burn import Counts
from outrider.slo.keeping import Budgets
from outrider.slo.objective import Objective
from outrider.store import keys, tiers, upkeep
from outrider.store.redis import RedisStore
from tests.unit.slo.conftest import KEPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from outrider.store.sketches import SketchStore
    from outrider.store.tiers import Tiers

ALIVE = Objective("alive", "alive", indicator.parse("alive"), 0.99)
T0 = 1_000_000  # a tick


class Fleet:
    """Hosts that write rows, and the pass over them."""

    def __init__(
        self,
        client: redis.Redis,
        stores: Tiers,
        sketches: SketchStore,
        objectives: Sequence[Objective] = (ALIVE,),
    ) -> None:
        self.stores = stores
        self.budgets = Budgets(client, stores, sketches, objectives)
        self.rows: dict[int, dict[str, float]] = {}

    def tick(self, tick: int, *ups: float, host: str = "alpha") -> dict[str, float]:
        """Let a host write its row of a tick, and return what the next tick's pass says."""
        names = [f"bot.b{place}.up" for place in range(len(ups))]
        self.stores.raw.append(host, tick, dict(zip(names, ups, strict=True)))
        return self.next(tick + 1)

    def next(self, tick: int) -> dict[str, float]:
        self.rows[tick] = self.budgets.advance(tick)
        self.stores.raw.append(keys.FLEET, tick, self.rows[tick])
        return self.rows[tick]


@pytest.fixture
def fleet(client: redis.Redis, stores: Tiers, sketches: SketchStore) -> Fleet:
    return Fleet(client, stores, sketches)


def test_a_tick_counts_the_rows_before_it_once(fleet: Fleet) -> None:
    fleet.tick(T0, 1, 0)
    first = fleet.tick(T0 + 1, 1, 1)

    again = fleet.budgets.advance(T0 + 2)

    assert first == again
    assert (first["slo.alive.good_total"], first["slo.alive.total_total"]) == (3, 4)
    assert first["slo.alive.by.b1.good_total"] == 1


def test_a_late_tick_changes_nothing(fleet: Fleet) -> None:
    fleet.tick(T0, 1)
    newest = fleet.tick(T0 + 5, 1)

    assert newest == fleet.budgets.advance(T0 + 3)


def test_two_workers_count_a_tick_once(
    fleet: Fleet, client: redis.Redis, stores: Tiers, sketches: SketchStore
) -> None:
    other = Budgets(client, stores, sketches, [ALIVE])
    for tick in range(T0, T0 + 6):
        stores.raw.append("alpha", tick, {"bot.b0.up": float(tick % 2)})
        whose = (fleet.budgets, other)[tick % 2]
        values = whose.advance(tick + 1)
        assert values == (other, fleet.budgets)[tick % 2].advance(tick + 1)
        stores.raw.append(keys.FLEET, tick + 1, values)

    assert (values["slo.alive.good_total"], values["slo.alive.total_total"]) == (3, 6)
    assert values["slo.alive.burn_ratio.1h"] == pytest.approx(0.5 / 0.01 * 60 / 3600, abs=1e-3)


def test_a_host_that_comes_later_is_added(fleet: Fleet) -> None:
    fleet.tick(T0, 1)
    values = fleet.tick(T0 + 1, 0, host="beta")

    assert (values["slo.alive.good_total"], values["slo.alive.total_total"]) == (1, 2)


def test_latency_is_counted_from_histograms(
    client: redis.Redis, stores: Tiers, sketches: SketchStore
) -> None:
    answers = Objective(
        "answers", "answers", indicator.parse("timed:handle<0.5s"), 0.9, method="occurrences"
    )
    fleet = Fleet(client, stores, sketches, [answers])
    fleet.tick(T0, 1)
    sketches.append("alpha", T0 + 1, {"bot.b0.handle": sketch.of([0.1, 0.2, 0.9])})
    values = fleet.tick(T0 + 1, 1)

    assert (values["slo.answers.good_total"], values["slo.answers.total_total"]) == (2, 3)


def test_an_outage_pages_through_the_alerts_and_clears_when_it_is_over(fleet: Fleet) -> None:
    rules = Engine(
        [rule for rule in defaults.of_settings(Settings(host="alpha")) if "burns" in rule.name]
    )
    alerts: dict[str, state.Alert] = {}
    changed: list[tuple[str, str, int]] = []
    for tick in range(T0, T0 + 500):
        values = fleet.tick(tick, float(not 100 <= tick - T0 < 200))
        row = frame.of_values(values, at_s=(tick + 1) * 10.0)
        alerts, changes = rules.evaluate(alerts, row, host=keys.FLEET, tick=tick + 1)
        changed += [
            (each.rule, each.to, tick - T0) for each in changes if each.rule.endswith("burns fast")
        ]

    assert [(rule, to) for rule, to, _ in changed] == [
        ("error budget burns fast", "firing"), ("error budget burns fast", "resolved")
    ]  # fmt: skip
    fired, cleared = (tick for *_, tick in changed)
    # Half of 14.4 % of an hour's 360 ticks, as an outage of all ticks leaves no doubt.
    assert 100 + 25 <= fired <= 100 + 30
    assert cleared > 200


def test_each_bot_is_held_to_its_objective_when_asked(
    client: redis.Redis, stores: Tiers, sketches: SketchStore
) -> None:
    fleet = Fleet(client, stores, sketches, [replace(ALIVE, each=True)])
    values = {}
    for tick in range(T0, T0 + 60):
        values = fleet.tick(tick, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0)

    assert values["slo.alive.by.b9.page"] == 1
    assert values["slo.alive.by.b0.page"] == 0
    assert values["slo.alive.by.b9.burn_ratio.1h"] == pytest.approx(100 * 600 / 3600, rel=0.01)


def test_maintenance_is_counted_apart(fleet: Fleet, client: redis.Redis) -> None:
    now_s = (T0 + 1) * 10.0
    maintenance.plan(
        client, start_s=now_s, end_s=now_s + 20, reason="disks", author="ann", now_s=now_s
    )
    for tick in range(T0, T0 + 5):
        values = fleet.tick(tick, 0)

    assert values["slo.alive.excluded_total"] == 2
    assert values["slo.alive.total_total"] == 3


def test_windows_read_from_any_tier_are_what_their_ticks_add_up_to(
    fleet: Fleet, client: redis.Redis, stores: Tiers, sketches: SketchStore
) -> None:
    start = T0 // 360 * 360  # an hour's beginning
    ups = [float(tick % 7 > 0) for tick in range(900)]
    for place, up in enumerate(ups):
        fleet.tick(start + place, up)
    end_s = (start + len(ups)) * 10.0

    def brute(first: int, last: int) -> Counts:
        return Counts(sum(not up for up in ups[first:last]), last - first)

    unit = series.unit("alive")
    for first, last in ((0, 900), (10, 11), (123, 456), (899, 900)):  # counted a tick later
        found = history.counts(stores, unit, (start + first + 1) * 10.0, (start + last + 1) * 10.0)
        assert brute(first, last) == found

    upkeep.seal(stores, sketches, keys.FLEET, end_s + 7200)
    stores.raw.expire(keys.FLEET, end_s)
    found = history.counts(stores, unit, (start + 30) * 10.0, (start + 600) * 10.0)
    assert brute(29, 599) == found


def test_another_worker_begins_with_the_same_windows(
    fleet: Fleet, client: redis.Redis, stores: Tiers, sketches: SketchStore
) -> None:
    for tick in range(T0, T0 + 300):
        values = fleet.tick(tick, float(tick % 3 > 0))

    other = Budgets(client, stores, sketches, [ALIVE])

    assert values == other.advance(T0 + 300)


def test_what_cannot_be_read_begins_anew_and_is_said(
    fleet: Fleet, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client.set(keys.SLO_STATE, b"{damaged")

    assert fleet.tick(T0, 1)["slo.alive.total_total"] == 1
    assert "begins anew" in caplog.text


def test_the_status_says_what_is_left_until_when_and_who_spent_it(
    fleet: Fleet, client: redis.Redis, stores: Tiers
) -> None:
    for tick in range(T0, T0 + 60):
        fleet.tick(tick, 1, float(tick % 2))

    (found,) = status.of_all(client, stores, [ALIVE])

    assert (found["total"], found["good"]) == (120, 90)
    assert [share["who"] for share in found["spent_by"]] == ["b1", "b0"]
    assert found["spent_by"][0]["spent_ratio"] == 1
    ahead = found["exhaustion"]
    assert ahead["lower_s"] < ahead["eta_s"] < ahead["upper_s"]
    left_s = found["left_ratio"] * ALIVE.period_s * 0.01 / 0.25
    assert ahead["eta_s"] == pytest.approx(left_s)


def test_what_was_not_counted_yet_is_said_to_be_nothing(client: redis.Redis, stores: Tiers) -> None:
    (found,) = status.of_all(client, stores, [ALIVE])

    assert (found["total"], found["left_ratio"], found["good_ratio"]) == (0, None, None)


def test_looks_follow_the_traffic() -> None:
    assert keeping.looks(ALIVE, burn.Counts(0, 1000, 0.5)) == pytest.approx(20)
    assert keeping.looks(ALIVE, burn.Counts(0, 0, 0.0)) == 0
    assert len(objective.BUILT_IN) == 2


_HOSTS = ("alpha", "beta")
_deliveries = st.lists(
    st.tuples(
        st.tuples(*(st.sampled_from([None, 0.0, 1.0]) for _ in _HOSTS)),  # None: no row
        st.integers(0, 2),  # how often the pass is delivered again
        st.booleans(),  # whether by another worker
        st.booleans(),  # whether the row of the fleet is lost
    ),
    min_size=2,
    max_size=30,
)


@given(made=_deliveries)
@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_budgets_are_what_raw_rows_add_up_to_however_passes_come(
    made: list[tuple[tuple[float | None, ...], int, bool, bool]],
    client: redis.Redis,
    sketches: SketchStore,
    valkey_url: str,
) -> None:
    client.flushall()
    raw = RedisStore(valkey_url, client=client)
    stores = tiers.of_redis(raw, KEPT, client=client)
    workers = [Budgets(client, stores, sketches, [ALIVE]) for _ in range(2)]
    for tick, (ups, again, other, is_lost) in enumerate(made, start=T0):
        for host, up in zip(_HOSTS, ups, strict=True):
            if up is not None:
                raw.append(host, tick, {"bot.b0.up": up})
        for delivery in range(again + 1):
            values = workers[(other + delivery) % 2].advance(tick + 1)
            if not is_lost:
                raw.append(keys.FLEET, tick + 1, values)
    end = T0 + len(made)

    columns = [raw.read(host, "bot.b0.up", T0 * 10.0, end * 10.0)[1] for host in _HOSTS]
    good, total = sum(int(each.sum()) for each in columns), sum(map(len, columns))
    values = workers[0].advance(end)
    assert (good, total) == (
        values.get("slo.alive.good_total", 0), values.get("slo.alive.total_total", 0)
    )  # fmt: skip
    if total:
        left = 1 - (total - good) / total * (end * 10 - _begun_s(client)) / ALIVE.period_s / 0.01
        assert left == pytest.approx(values["slo.alive.left_ratio"], abs=1e-4)


def _begun_s(client: redis.Redis) -> float:
    return keeping.load(client).budgets["alive"].begun_s
