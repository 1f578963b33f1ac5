from __future__ import annotations

import pytest

from outrider.channel.pace import MOST_WINDOW_S, Pace


def after(pace: Pace, rate_per_s: float, seconds: float, start_s: float = 0.0) -> float:
    """Send at a rate, a batch every millisecond; return the window at the end."""
    window_s = 0.0
    for step in range(int(seconds * 1000)):
        window_s = pace.note(round(rate_per_s / 1000), start_s + step / 1000)
    return window_s


@pytest.mark.parametrize("rate", [0, 1000, 5000, 9000])
def test_nothing_waits_at_light_load(rate: float) -> None:
    assert after(Pace(), rate, 1.0) == 0.0


def test_the_window_grows_with_the_rate_and_is_bounded() -> None:
    windows = [after(Pace(), rate, 1.0) for rate in (12_000, 20_000, 50_000, 90_000, 1_000_000)]

    assert windows == sorted(windows)
    assert windows[0] == pytest.approx(0.24e-3, rel=0.1)
    assert windows[2] == pytest.approx(1e-3, rel=0.1)
    assert windows[-1] == MOST_WINDOW_S


def test_a_burst_opens_it_before_its_slot_is_over() -> None:
    pace = Pace()
    windows = [pace.note(1, number * 1e-6) for number in range(2000)]

    assert any(windows)


def test_few_messages_in_a_microsecond_are_no_rate() -> None:
    pace = Pace()
    pace.note(0, 10.0)

    assert not any(pace.note(1, 10.0 + number * 1e-7) for number in range(40))


def test_it_closes_again_when_the_rate_falls() -> None:
    pace = Pace()
    assert after(pace, 50_000, 1.0) > 0

    assert after(pace, 1000, 0.2, start_s=1.0) == 0.0


def test_it_closes_at_once_after_a_silence() -> None:
    pace = Pace()
    assert after(pace, 200_000, 1.0) > 0

    assert pace.note(1, 2.0) == 0.0


def test_a_rate_at_the_border_does_not_switch_to_and_fro() -> None:
    pace = Pace()
    after(pace, 12_000, 1.0)

    assert after(pace, 9000, 1.0, start_s=1.0) > 0
