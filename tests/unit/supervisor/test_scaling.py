from __future__ import annotations

import math
import random

import pytest

from outrider.errors import BadArgument
from outrider.supervisor.scaling import Scaler, Tuning

NAN = math.nan


class Bot:
    """Replicas that serve ten pieces of work a second each, and a queue that holds the rest."""

    def __init__(self, scaler: Scaler, *, step_s: float = 5.0, replicas: int = 1) -> None:
        self.scaler, self.step_s, self.replicas = scaler, step_s, replicas
        self.at_s = self.queue = self.late = self.work = 0.0

    def see(self, rate: float) -> int:
        """Let a step pass with a rate; return how many replicas there are in the next."""
        self.at_s += self.step_s
        self.queue = max(0.0, self.queue + (rate - 10.0 * self.replicas) * self.step_s)
        self.work += rate
        self.late += rate if self.queue > 2.0 * 10.0 * self.replicas else 0.0
        self.replicas = self.scaler.observe(self.at_s, rate, self.queue, self.replicas, 10.0)
        return self.replicas


def test_a_steady_load_gets_just_what_it_needs() -> None:
    bot = Bot(Scaler())

    for _ in range(100):
        bot.see(42.0)

    assert {bot.see(42.0) for _ in range(100)} == {5}


def test_a_jump_is_answered_at_once_with_room_for_what_waits() -> None:
    bot = Bot(Scaler(), replicas=3)
    for _ in range(50):
        bot.see(28.0)

    assert bot.see(100.0) >= 11
    assert "up from 3" in bot.scaler.reason
    assert "of it waits" in bot.scaler.reason


def test_a_lower_need_is_believed_after_the_cool_down() -> None:
    bot = Bot(Scaler(cool_down_s=60.0))
    for _ in range(50):
        bot.see(100.0)
    most = bot.replicas

    seen = [bot.see(20.0) for _ in range(20)]

    assert seen[:11] == [most] * 11
    assert "but for the cool-down" in bot.scaler.reason or seen[-1] < most
    assert seen[-1] <= 3
    assert "down from" in bot.scaler.reason or "stays at" in bot.scaler.reason


def test_fewer_than_the_tolerance_are_not_taken_away() -> None:
    scaler = Scaler(tolerance=0.2, cool_down_s=0.0)
    for tick in range(50):
        scaler.observe(5.0 * tick, 100.0, 0.0, 11, 10.0)

    assert scaler.observe(255.0, 100.0, 0.0, 12, 10.0) == 12
    assert scaler.observe(260.0, 100.0, 0.0, 15, 10.0) < 15


def test_the_answer_is_always_within_the_bounds() -> None:
    scaler = Scaler(minimum=2, maximum=6)
    chance = random.Random(1)

    answers = {
        scaler.observe(5.0 * tick, chance.choice([0.0, 5.0, 1e9]), chance.random() * 1e6, 3, 10.0)
        for tick in range(500)
    }

    assert answers == {2, 3, 4, 5, 6} & answers
    assert {2, 6} & answers


def test_more_than_the_most_says_how_many_were_needed() -> None:
    scaler = Scaler(maximum=4)

    assert scaler.observe(0.0, 200.0, 0.0, 4, 10.0) == 4
    assert "20 are needed, 4 is the most allowed" in scaler.reason


def test_no_load_and_no_least_needs_nobody() -> None:
    bot = Bot(Scaler(minimum=0), replicas=2)

    for _ in range(2000):
        bot.see(0.0)

    assert bot.replicas == 0
    assert bot.see(5.0) >= 1


@pytest.mark.parametrize(
    ("rate", "queue", "service_rate"),
    [(NAN, 0.0, 10.0), (1.0, NAN, 10.0), (1.0, 0.0, NAN), (1.0, 0.0, 0.0), (1.0, 0.0, -1.0),
     (math.inf, 0.0, 10.0)],
)  # fmt: skip
def test_what_is_not_known_changes_nothing(rate: float, queue: float, service_rate: float) -> None:
    scaler = Scaler()
    scaler.observe(0.0, 50.0, 0.0, 7, 10.0)

    assert scaler.observe(5.0, rate, queue, 7, service_rate) == 7
    assert "not known" in scaler.reason


def test_negative_numbers_count_as_none() -> None:
    assert Scaler().observe(0.0, -5.0, -3.0, 1, 10.0) == 1


@pytest.mark.parametrize("later_s", [0.0, -100.0, 1e7])
def test_a_clock_that_stands_goes_back_or_leaps_is_survived(later_s: float) -> None:
    bot = Bot(Scaler())
    for _ in range(50):
        bot.see(42.0)

    bot.at_s += later_s - 5.0

    assert [bot.see(42.0) for _ in range(30)][-1] == 5


def test_work_that_was_late_raises_the_margin_and_work_in_time_lowers_it() -> None:
    scaler = Scaler(tuning=Tuning(margin=3.0))
    scaler.observe(0.0, 10.0, 0.0, 1, 10.0)
    calm = scaler.margin
    scaler.observe(5.0, 10.0, 100.0, 1, 10.0)

    assert calm < 3.0 < scaler.margin


def test_the_margin_stays_within_its_bounds() -> None:
    tuning = Tuning(least_margin=1.5, most_margin=4.0)
    late, calm = Scaler(tuning=tuning), Scaler(tuning=tuning)
    for tick in range(5000):
        late.observe(5.0 * tick, 10.0, 1000.0, 1, 10.0)
        calm.observe(5.0 * tick, 10.0, 0.0, 1, 10.0)

    assert (late.margin, calm.margin) == (4.0, 1.5)


def test_a_noisy_load_is_served_in_time_at_a_modest_price() -> None:
    bot, chance = Bot(Scaler()), random.Random(7)
    spent = needed = 0.0
    for _ in range(20_000):
        rate = max(0.0, chance.gauss(100.0, 25.0))
        spent += bot.replicas
        needed += rate / 10.0
        bot.see(rate)

    assert bot.late / bot.work < 0.001
    assert spent / needed < 1.7


def test_a_surge_at_the_same_minute_of_every_hour_is_prepared_for() -> None:
    bot = Bot(Scaler())

    def day(hours: int) -> float:
        before = bot.late
        for _ in range(hours):
            for tick in range(720):
                bot.see(300.0 if 360 <= tick < 366 else 60.0)
        return bot.late - before

    day(12)

    assert day(1) == 0.0
    for _ in range(350):
        bot.see(60.0)
    before = bot.replicas
    for _ in range(9):
        bot.see(60.0)
    assert bot.replicas > before + 5
    assert "at this time of the hour or day" in bot.scaler.reason


def test_the_same_surge_at_any_minute_is_not_expected_at_one() -> None:
    bot, chance = Bot(Scaler()), random.Random(3)
    for _ in range(48):
        begin = chance.randrange(700)
        for tick in range(720):
            bot.see(300.0 if begin <= tick < begin + 6 else 60.0)

    for _ in range(700):
        bot.see(60.0)
        assert "at this time" not in bot.scaler.reason


def test_a_slow_start_is_looked_ahead_for() -> None:
    quick, slow = Scaler(), Scaler(start_s=60.0)
    for tick in range(100):
        rate = 50.0 + 2.0 * tick
        at_s = 5.0 * tick
        wanted = [s.observe(at_s, rate, 0.0, 30, 10.0) for s in (quick, slow)]

    assert wanted[1] > wanted[0] + 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"minimum": -1}, "minimum = -1"), ({"minimum": 5, "maximum": 3}, "maximum = 3"),
     ({"minimum": 0, "maximum": 0}, "maximum >= 1")],
)  # fmt: skip
def test_impossible_bounds_are_refused_by_name(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        Scaler(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"target_wait_s": 0.0}, {"cool_down_s": -1.0}, {"tolerance": 1.0}, {"start_s": -0.1}]
)
def test_impossible_times_are_refused_by_name(wrong: dict[str, float]) -> None:
    name, value = next(iter(wrong.items()))

    with pytest.raises(BadArgument, match=f"{name} = {value}"):
        Scaler(**wrong)  # type: ignore[arg-type]
