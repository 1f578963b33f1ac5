from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from outrider.metrics.gather import Gatherer

if TYPE_CHECKING:
    from collections.abc import Mapping


def broken() -> Mapping[str, float]:
    raise KeyError("broken")


def test_parts_make_a_row_that_says_what_it_cost() -> None:
    moments = iter([10.0, 10.0123])
    row = Gatherer(perf=lambda: next(moments)).row({
        "host": lambda: {"host.load.1m": 1.0},
        "bots": lambda: {"bot.a.up": 1.0},
    })  # fmt: skip

    assert row == {
        "host.load.1m": 1.0, "bot.a.up": 1.0, "collector.host.up": 1.0, "collector.bots.up": 1.0,
        "collector.errors_total": 0.0, "collector.duration_s": 0.012,
    }  # fmt: skip


def test_one_that_fails_costs_its_own_part_only_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gatherer = Gatherer()
    rows = [gatherer.row({"bad": broken, "good": lambda: {"x": 1.0}}) for _ in range(3)]

    assert [row["collector.errors_total"] for row in rows] == [1.0, 2.0, 3.0]
    assert all((row["x"], row["collector.bad.up"]) == (1.0, 0.0) for row in rows)
    assert len(caplog.records) == 1
    assert "broken" in caplog.text


def test_one_that_works_again_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gatherer = Gatherer()
    gatherer.row({"it": broken})
    row = gatherer.row({"it": dict})

    assert row["collector.it.up"] == 1.0
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_what_is_fatal_is_raised() -> None:
    with pytest.raises(KeyError):
        Gatherer(fatal=(KeyError,)).row({"it": broken})


def test_what_was_measured_counts_before_what_was_said() -> None:
    row = Gatherer().row({"said": lambda: {"bot.a.up": 0.0}, "seen": lambda: {"bot.a.up": 1.0}})

    assert row["bot.a.up"] == 1.0
