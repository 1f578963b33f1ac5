from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from outrider.errors import BadArgument
from outrider.slo import attribution, backtest, indicator, maintenance, page, report
from outrider.slo.burn import Counts
from outrider.slo.keeping import Budgets
from outrider.slo.objective import Objective
from outrider.store import keys, upkeep

if TYPE_CHECKING:
    import redis

    from outrider.store.sketches import SketchStore
    from outrider.store.tiers import Tiers

NASTY = '"><script>alert(1)</script>'
ALIVE = Objective(f"alive {NASTY}", "alive", indicator.parse("alive"), 0.99)
START_S, END_S = report.month("2026-11", "Europe/Berlin")
FIRST = int(START_S / 10) + 8640  # the second day
TICKS = 400


@pytest.fixture
def kept(client: redis.Redis, stores: Tiers, sketches: SketchStore) -> Tiers:
    """A fleet of two bots, of which one is down for a hundred ticks, twenty of them planned."""
    budgets = Budgets(client, stores, sketches, [ALIVE])
    maintenance.plan(
        client, start_s=(FIRST + 180) * 10.0, end_s=(FIRST + 200) * 10.0, reason=NASTY,
        author="ann", now_s=FIRST * 10.0, bot="b",
    )  # fmt: skip
    for tick in range(FIRST, FIRST + TICKS):
        down = 100 <= tick - FIRST < 200
        stores.raw.append("alpha", tick, {"bot.a.up": 1.0, "bot.b.up": float(not down)})
        stores.raw.append(keys.FLEET, tick + 1, budgets.advance(tick + 1))
    upkeep.seal(stores, sketches, keys.FLEET, END_S)
    return stores


def built(client: redis.Redis, stores: Tiers, now_s: float = END_S) -> dict[str, Any]:
    calls = [
        {"rule": "error budget burns fast", "instance": "slo.alive.page", "severity": "critical",
         "from": "pending", "to": "firing", "at_s": START_S + 90_000},
        {"rule": "error budget burns fast", "instance": "slo.alive.page", "severity": "critical",
         "from": "firing", "to": "inactive", "at_s": START_S + 91_000},
        {"rule": "bot is down", "instance": "bot.b.up", "severity": "critical",
         "from": "pending", "to": "firing", "at_s": START_S + 90_000},
    ]  # fmt: skip
    return report.build(
        client, stores, [ALIVE], START_S, END_S, maintenance=maintenance.planned(client),
        calls=calls, timezone="Europe/Berlin", now_s=now_s,
    )  # fmt: skip


def test_a_month_is_what_its_ticks_add_up_to(client: redis.Redis, kept: Tiers) -> None:
    (found,) = built(client, kept)["objectives"]

    assert (found["bad"], found["total"], found["excluded"]) == (80, 2 * TICKS - 20, 20)
    assert not found["is_kept"]
    assert found["spent_ratio"] == pytest.approx(80 / (780 * 0.01), abs=1e-4)
    assert [(share["who"], share["bad"]) for share in found["spent_by"]] == [("b", 80), ("a", 0)]
    assert [call["rule"] for call in found["calls"]] == ["error budget burns fast"]
    assert sum(day["bad"] for day in found["days"]) == 80
    assert [day["day"] for day in found["days"] if day["total"]] == ["2026-11-02"]
    assert len(found["days"]) == 30
    assert found["measured_since_s"] == FIRST * 10


def test_a_month_that_is_not_over_goes_as_far_as_it_went(client: redis.Redis, kept: Tiers) -> None:
    now_s = (FIRST + 150) * 10.0
    found = built(client, kept, now_s)

    assert found["until_s"] == now_s
    assert found["objectives"][0]["total"] == 2 * 149  # what is measured now is counted next
    assert len(found["objectives"][0]["days"]) == 2


def test_the_page_needs_no_network_and_escapes_names(client: redis.Redis, kept: Tiers) -> None:
    found = built(client, kept)
    tags: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))

    text = page.render(found)
    Reader().feed(text)

    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe"}
    assert not any(name in ("src", "href") for _, attrs in tags for name in attrs)
    assert sum(tag == "rect" for tag, _ in tags) == 30
    for said in ("November 2026", "0 of 1 objectives kept", "missed", "Planned maintenance", "ann"):
        assert said in text
    assert json.loads(json.dumps(found)) == found


def test_an_empty_month_is_a_page_too(client: redis.Redis, stores: Tiers) -> None:
    assert "nothing was measured" in page.render(built(client, stores))


def test_months_end_where_the_next_begins() -> None:
    assert report.month("2026-12", "UTC")[1] == report.month("2027-01", "UTC")[0]
    with pytest.raises(BadArgument, match="write it like 2026-11"):
        report.month("November", "UTC")


def test_a_replay_counts_as_the_ticks_did_and_calls_as_they_did(
    client: redis.Redis, kept: Tiers, sketches: SketchStore
) -> None:
    found = backtest.replay(
        kept.raw, sketches.merged, ALIVE, FIRST * 10.0, (FIRST + TICKS) * 10.0,
        maintenance=maintenance.planned(client),
    )  # fmt: skip
    last = kept.raw.last(keys.FLEET)
    assert last is not None

    assert last.values["slo.alive.good_total"] == found.good
    assert last.values["slo.alive.total_total"] == found.total
    assert found.by["b"] == Counts(80, 380)
    times, pages = kept.raw.read(keys.FLEET, "slo.alive.page", START_S, END_S)
    (call,) = [call for call in found.calls if call.what == "page"]
    assert times[pages > 0][0] == call.start_s
    # The plain rule waits for a burn that this outage does not reach within its hundred ticks.
    assert [call.what for call in found.plain if call.what == "page"] == []


def test_a_replay_of_nothing_is_nothing(stores: Tiers, sketches: SketchStore) -> None:
    found = backtest.replay(stores.raw, sketches.merged, ALIVE, 0.0, 7200.0)

    assert (found.total, found.calls, found.first_s) == (0, [], None)


def test_a_budget_that_nobody_spent_is_ranked_by_name() -> None:
    ranked = attribution.rank({"b": Counts(0, 5), "a": Counts(0, 0)})

    assert [(share.who, share.spent_ratio) for share in ranked] == [("a", 0), ("b", 0)]
