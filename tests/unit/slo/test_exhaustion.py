from __future__ import annotations

import pytest

from outrider.slo.burn import Counts
from outrider.slo.exhaustion import Exhaustion, ahead

MONTH_S = 30 * 86_400.0


def test_a_burn_of_ten_spends_a_whole_budget_in_a_tenth_of_the_period() -> None:
    found = ahead(1.0, Counts(1000, 10_000), budget=0.01, period_s=MONTH_S)

    assert found is not None
    assert found.eta_s == pytest.approx(MONTH_S / 10)
    assert found.upper_s is not None
    assert found.lower_s < found.eta_s < found.upper_s


def test_few_events_leave_open_whether_it_is_spent_at_all() -> None:
    found = ahead(1.0, Counts(1, 20), budget=0.01, period_s=MONTH_S)

    assert found is not None
    assert found.upper_s is None


@pytest.mark.parametrize("recent", [Counts(0, 1000), Counts(0, 0), Counts(5, 1000)])
def test_a_budget_that_lasts_its_period_is_not_heading_for_its_end(recent: Counts) -> None:
    assert ahead(1.0, recent, budget=0.01, period_s=MONTH_S) is None


def test_what_is_spent_is_spent_now() -> None:
    assert Exhaustion(0.0, 0.0, 0.0) == ahead(-0.1, Counts(0, 5), budget=0.01, period_s=MONTH_S)
