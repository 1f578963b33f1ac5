from __future__ import annotations

import numpy as np
import pytest

from outrider.settings import Scale
from outrider.supervisor.autoscale import Target
from outrider.supervisor.load import Load


def load(
    *rates: float, first_s: float = 0.0, service_rate: float = 10.0, used_ratio: float = 0.9
) -> Load:
    count = len(rates)
    times_s = np.arange(first_s, first_s + 10.0 * count, 10.0, dtype=np.float64)
    held = np.ones(count, dtype=np.float64)
    arrived = np.array(rates, dtype=np.float64)
    return Load(times_s, arrived, 0.0 * held, 2.0 * held, service_rate * held, used_ratio * held)


def test_the_newest_row_decides_after_those_before_it_were_shown() -> None:
    decision = Target("owl", Scale(max=20)).decide(load(*[20.0] * 30, 90.0))

    assert decision is not None
    assert decision.wanted >= 9
    assert (decision.bot, decision.replicas, decision.rate) == ("owl", 2, 90.0)
    assert "up from 2" in decision.reason


def test_a_row_is_shown_once() -> None:
    target = Target("owl", Scale(max=20))
    rows = load(20.0, 20.0)

    assert target.decide(rows) is not None
    assert target.decide(rows) is None


def test_nothing_to_show_decides_nothing() -> None:
    assert Target("owl", Scale(max=20)).decide(load()) is None


def test_who_idles_is_as_quick_as_before() -> None:
    target = Target("owl", Scale(max=20, cool_down_s=0))
    target.decide(load(200.0, 200.0))

    decision = target.decide(load(*[0.0] * 200, first_s=20.0, service_rate=np.nan))

    assert decision is not None
    assert (decision.wanted, decision.service_rate) == (1, 10.0)


def test_a_full_host_gets_no_more_replicas() -> None:
    full = Target("owl", Scale(max=20)).decide(load(90.0), host_busy=0.97)
    calm = Target("owl", Scale(max=20)).decide(load(90.0), host_busy=0.5)

    assert full is not None
    assert calm is not None
    assert (full.wanted, calm.wanted) == (2, 9)
    assert "the host's CPU is 97% busy" in full.reason


@pytest.mark.parametrize("used_ratio", [0.1, np.nan])
def test_one_that_waits_rather_than_computes_is_added_on_a_full_host(used_ratio: float) -> None:
    decision = Target("owl", Scale(max=20)).decide(
        load(90.0, used_ratio=used_ratio), host_busy=0.97
    )

    assert decision is not None
    assert decision.wanted == 9


def test_a_dry_run_is_marked() -> None:
    decision = Target("owl", Scale(max=20, dry_run=True)).decide(load(90.0))

    assert decision is not None
    assert decision.dry_run
