from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from outrider.analysis import sizing
from outrider.samples import Window
from outrider.settings import BotSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIB = 1 << 20


def bot(memory: str | None = None, cpu: float | None = None) -> BotSettings:
    return BotSettings.model_validate({"entry": "m:f", "limits": {"memory": memory, "cpu": cpu}})


def window(**columns: NDArray[np.float64]) -> Window:
    names = tuple(name.replace("__", ".") for name in columns)
    values = np.array(list(columns.values()), dtype=np.float64).T
    return Window(names, np.arange(len(values), dtype=np.float64), values)


def flat(value: float, count: int = 200) -> NDArray[np.float64]:
    return np.full(count, value)


@pytest.mark.parametrize(
    ("limit_mib", "verdict"),
    [
        (None, "missing"),
        (150, "tight"),
        (153, "tight"),
        (160, None),
        (270, None),
        (300, "generous"),
    ],
)
def test_a_memory_limit_is_judged_by_what_is_needed(
    limit_mib: int | None, verdict: str | None
) -> None:
    limit = None if limit_mib is None else limit_mib * MIB
    found = sizing.suggest_memory("canary", flat(140.0 * MIB), limit=limit)

    assert verdict == (found.verdict if found else None)
    if found:
        assert (found.needed, found.given, found.suggested) == (140 * MIB, limit, 180 * MIB)


def test_what_is_suggested_is_left_alone_afterwards() -> None:
    used = np.random.default_rng(7).normal(100 * MIB, 5 * MIB, 1000)
    first = sizing.suggest_memory("canary", used, limit=None)

    assert first is not None
    assert sizing.suggest_memory("canary", used, limit=first.suggested) is None


def test_one_outlier_in_two_hundred_does_not_decide() -> None:
    used = flat(100.0 * MIB)
    used[17] = 900 * MIB
    found = sizing.suggest_memory("canary", used, limit=None)

    assert found is not None
    assert found.suggested == 130 * MIB


def test_too_few_samples_give_no_advice_and_gaps_do_not_count() -> None:
    gaps = flat(1.0)
    gaps[: len(gaps) - sizing.LEAST_SAMPLES + 1] = np.nan

    assert sizing.suggest_cpu("canary", flat(1.0, 99), limit=None) is None
    assert sizing.suggest_cpu("canary", gaps, limit=None) is None


def test_an_idle_bot_still_gets_the_least_limit() -> None:
    found = sizing.suggest_cpu("canary", flat(0.0), limit=None)

    assert found is not None
    assert found.suggested == pytest.approx(0.05)


def test_the_neediest_instance_of_all_hosts_decides() -> None:
    one = window(**{"bot__canary-1__rss_bytes": flat(50.0 * MIB)})
    two = window(**{"bot__canary-2__rss_bytes": flat(90.0 * MIB)})
    (found,) = sizing.suggest({"canary": bot(memory="60MiB")}, [one, two])

    assert (found.bot, found.verdict, found.needed) == ("canary", "tight", 90 * MIB)


def test_a_bot_whose_name_ends_in_a_number_is_no_instance_of_another() -> None:
    seen = window(
        **{
            "bot__canary__cpu_ratio": flat(0.1),
            "bot__canary-2__cpu_ratio": flat(3.0),
        }
    )
    bots = {"canary": bot(cpu=0.15), "canary-2": bot(cpu=4.0)}

    assert sizing.suggest(bots, [seen]) == []


def test_a_bot_that_nobody_measured_gets_no_advice() -> None:
    assert sizing.suggest({"canary": bot()}, []) == []
    assert sizing.suggest({"canary": bot()}, [window(host__load=flat(1.0))]) == []
