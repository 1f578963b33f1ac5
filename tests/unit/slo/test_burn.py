from __future__ import annotations

import pytest

from outrider.slo import burn
from outrider.slo.burn import Counts

BUDGET = 0.01


def after(
    bad_events: int, *, per_h: float, minutes: float, covered: float = 1.0
) -> dict[float, Counts]:
    """Windows of a service that was good, until the last events, so many minutes, all failed."""
    windows = {}
    for span_s in burn.WINDOWS_S:
        total = max(round(per_h * span_s / 3600), 1)
        bad = round(bad_events * min(1.0, span_s / (60 * minutes)))
        windows[span_s] = Counts(min(bad, total), max(total, bad), covered)
    return windows


def looks(per_h: float) -> float:
    return per_h * 720 * BUDGET


def test_an_outage_of_a_busy_service_pages_at_the_burn_of_the_book() -> None:
    before = after(500, per_h=3600, minutes=8.3)
    then = after(530, per_h=3600, minutes=8.8)

    assert burn.decide(before, budget=BUDGET, looks=looks(3600), guarded=False).page is None
    assert burn.decide(then, budget=BUDGET, looks=looks(3600), guarded=False).page == burn.TIERS[0]
    assert burn.decide(then, budget=BUDGET, looks=looks(3600)).page == burn.TIERS[0]


def test_one_failure_of_a_quiet_service_pages_by_the_book_and_not_with_the_guard() -> None:
    windows = after(1, per_h=1, minutes=1)

    assert burn.decide(windows, budget=BUDGET, looks=looks(1), guarded=False).page
    assert burn.decide(windows, budget=BUDGET, looks=looks(1)) == burn.Decision(None, None)


def test_failures_one_after_the_other_of_a_quiet_service_page() -> None:
    windows = after(3, per_h=1, minutes=150)

    assert burn.decide(windows, budget=BUDGET, looks=looks(1)).page


def test_what_is_over_does_not_page() -> None:
    windows = after(40, per_h=50, minutes=60) | {300.0: Counts(0, 4), 1800.0: Counts(0, 25)}

    assert burn.decide(windows, budget=BUDGET, looks=looks(50)).page is None


def test_a_slow_burn_is_a_ticket_and_no_page() -> None:
    windows = {span_s: Counts(round(span_s / 3600 * 2), round(span_s / 3600 * 50))
               for span_s in burn.WINDOWS_S}  # fmt: skip

    decision = burn.decide(windows, budget=BUDGET, looks=looks(50))

    assert (decision.page, decision.ticket) == (None, burn.TIERS[2])


def test_half_the_spending_is_enough_where_the_bound_itself_burns_at_the_tiers_rate() -> None:
    windows = after(5, per_h=50, minutes=6) | {300.0: Counts(5, 5)}

    assert burn.decide(windows, budget=BUDGET, looks=looks(50), guarded=False).page is None
    assert burn.decide(windows, budget=BUDGET, looks=looks(50)).page == burn.TIERS[0]


def test_a_busy_service_is_looked_at_more_often_and_has_to_be_surer() -> None:
    assert burn.doubt_allowed(burn.TIERS[0], 1000) < burn.doubt_allowed(burn.TIERS[0], 10)


def test_what_was_not_measured_counts_as_good() -> None:
    young = after(40, per_h=3600, minutes=1, covered=0.02)

    assert burn.decide(young, budget=BUDGET, looks=looks(3600), guarded=False).page is None
    assert Counts(1, 10, 0.5).burn(0.1) == pytest.approx(0.5)
    assert Counts(0, 0).burn(0.1) == 0
