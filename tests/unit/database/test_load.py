from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from outrider.database import load
from outrider.samples import Window
from outrider.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOTS = Settings.model_validate(
    {"bots": {"canary": {"entry": "m:f", "instances": 2}, "owl": {"entry": "m:f"}}}
).bots


def window(minutes: int, **series: float) -> Window:
    """Series that grow by so much a tick of ten seconds."""
    ticks = minutes * 6
    names = tuple(name.replace("__", ".").replace("_N", "-") for name in series)
    columns = [[step * tick for tick in range(ticks)] for step in series.values()]
    values: NDArray[np.float64] = np.array(columns, dtype=np.float64).T
    return Window(names, np.arange(0.0, ticks * 10.0, 10.0), values)


def pool(bot: str, checkouts: float, held: float) -> dict[str, float]:
    return {
        f"bot__{bot}__db__pool__checkouts_total": checkouts,
        f"bot__{bot}__db__pool__hold_seconds_total": held,
    }


def test_the_busiest_instance_speaks_for_its_bot() -> None:
    seen = window(20, **pool("canary", 10, 1), **pool("canary_N2", 40, 8))
    found = load.of_bots(BOTS, [seen])
    assert found["canary"].rate == pytest.approx(4.0)
    assert found["canary"].hold_s == pytest.approx(0.2)


def test_who_was_not_seen_for_long_has_no_load() -> None:
    assert load.of_bots(BOTS, [window(4, **pool("canary", 10, 1))]) == {}
    assert load.of_bots(BOTS, [window(20, **pool("canary", 0, 0))]) == {}
    assert load.of_bots(BOTS, []) == {}


def test_another_bot_whose_name_begins_alike_is_not_counted() -> None:
    assert load.of_bots(BOTS, [window(20, **pool("canary_Nmini", 10, 1))]) == {}


def test_a_counter_that_begins_anew_is_no_fall() -> None:
    grown = load.growth(np.array([100.0, 130.0, 10.0, 20.0]))
    assert grown.tolist() == [0.0, 30.0, 10.0, 10.0]


def test_the_busy_minute_counts_not_the_mean() -> None:
    seen = window(20, **pool("owl", 10, 1))
    busy = np.diff(seen.values[:, 0], prepend=0.0)
    busy[-12:] = 100.0
    seen.values[:, 0] = np.cumsum(busy)
    assert load.of_bots(BOTS, [seen])["owl"].rate > 5


def test_how_much_holds_vary_comes_from_their_squares() -> None:
    squares = {"bot__canary__db__pool__hold_squares_total": 10 * 0.1**2 * (1 + 4)}
    found = load.of_bots(BOTS, [window(20, **pool("canary", 10, 1), **squares)])

    assert found["canary"].cv == pytest.approx(2.0)
    assert load.of_bots(BOTS, [window(20, **pool("canary", 10, 1))])["canary"].cv == 1.0
