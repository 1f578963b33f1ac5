from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from outrider.samples import Window
from outrider.settings import Scale
from outrider.supervisor import load

NAN = np.nan


def window(**series: Any) -> Window:
    """Rows every ten seconds; ``__`` in a name stands for a dot."""
    names = tuple(name.replace("__", ".") for name in series)
    values = np.array(list(series.values()), dtype=float).T
    return Window(names, np.arange(0.0, 10.0 * len(values), 10.0, dtype=np.float64), values)


def test_rate_speed_and_replicas_come_from_the_bots_own_timing() -> None:
    rows = window(
        bot__owl__ready=[1, 1, 1],
        bot__owl__handle_update__count=[100, 150, 200],
        bot__owl__handle_update__sum_s=[10, 20, 30],
    )

    found = load.of_bot(["owl"], Scale(max=4), rows)

    assert found.rate[1:].tolist() == [5.0, 5.0]
    assert found.service_rate[1:] == pytest.approx([5.0, 5.0])
    assert found.replicas.tolist() == [1.0, 1.0, 1.0]
    assert found.queue.tolist() == [0.0, 0.0, 0.0]


def test_instances_are_added_up_and_one_that_begins_counts_from_nothing() -> None:
    rows = window(
        **{
            "bot__owl__ready": [1, 1, 1],
            "bot__owl-2__ready": [NAN, NAN, 1],
            "bot__owl__handle_update__count": [100, 150, 200],
            "bot__owl-2__handle_update__count": [NAN, NAN, 30],
        }
    )

    found = load.of_bot(["owl", "owl-2"], Scale(max=4), rows)

    assert found.replicas.tolist() == [1.0, 1.0, 2.0]
    assert found.rate[1:].tolist() == [5.0, 8.0]


def test_a_restart_counts_what_was_done_since() -> None:
    rows = window(bot__owl__handle_update__count=[100, 150, 20])

    assert load.of_bot(["owl"], Scale(max=4), rows).rate[1:].tolist() == [5.0, 2.0]


def test_what_the_queue_grew_arrived_as_well() -> None:
    rows = window(
        bot__owl__handle_update__count=[100, 150, 200], bot__owl__updates__backlog=[0, 40, 20]
    )

    found = load.of_bot(["owl"], Scale(max=4), rows)

    assert found.rate[1:].tolist() == [9.0, 3.0]
    assert found.queue.tolist() == [0.0, 40.0, 20.0]


def test_a_named_counter_is_the_rate() -> None:
    rows = window(bot__owl__asked_total=[0, 70, 70], bot__owl__handle_update__count=[0, 50, 50])

    assert load.of_bot(["owl"], Scale(max=4, rate="asked"), rows).rate[1:].tolist() == [7.0, 0.0]


def test_a_queue_of_the_fleet_is_taken_from_its_last_row() -> None:
    rows = window(bot__owl__handle_update__count=[0, 0, 0])
    fleet = Window(("celery.queue.mail.length",), np.array([0.0, 10.0]), np.array([[3.0], [8.0]]))

    found = load.of_bot(["owl"], Scale(max=4, queue="celery.queue.mail.length"), rows, fleet)

    assert found.queue.tolist() == [3.0, 8.0, 8.0]


def test_a_busy_replica_can_do_no_more_than_its_cpu_allows() -> None:
    counts = [20.0 * tick for tick in range(40)]
    rows = window(
        bot__owl__ready=[1] * 40,
        bot__owl__cpu_ratio=[0.8] * 40,
        bot__owl__handle_update__count=counts,
        bot__owl__handle_update__sum_s=[count * 0.01 for count in counts],
    )
    by_time = load.of_bot(["owl"], Scale(max=4), rows)
    with_less = load.of_bot(["owl"], Scale(max=4), rows, cores=0.8)

    assert by_time.service_rate[-1] == pytest.approx(2.5)  # two a second at 80 % of a core
    assert with_less.service_rate[-1] == pytest.approx(2.0)


def test_an_idle_bots_cpu_says_nothing() -> None:
    rows = window(
        bot__owl__ready=[1, 1, 1],
        bot__owl__cpu_ratio=[0.1, 0.1, 0.1],
        bot__owl__handle_update__count=[0, 10, 20],
        bot__owl__handle_update__sum_s=[0, 0.1, 0.2],
    )

    assert load.of_bot(["owl"], Scale(max=4), rows).service_rate[-1] == pytest.approx(100.0)


def test_concurrency_multiplies_what_a_replica_does() -> None:
    rows = window(
        bot__owl__handle_update__count=[0, 10, 20], bot__owl__handle_update__sum_s=[0, 10, 20]
    )

    assert load.of_bot(["owl"], Scale(max=4, concurrency=8), rows).service_rate[-1] == (
        pytest.approx(8.0)
    )


def test_a_bot_that_said_nothing_has_no_known_speed() -> None:
    found = load.of_bot(["owl"], Scale(max=4), window(host__load__1m=[1, 1]))

    assert np.isnan(found.service_rate).all()
    assert found.replicas.tolist() == [0.0, 0.0]


def test_every_series_that_is_read_is_named() -> None:
    scale = Scale(max=4, rate="asked", queue="celery.queue.mail.length")

    assert load.names_of_bot(["owl"], scale) == {
        "bot.owl.ready", "bot.owl.cpu_ratio", "bot.owl.handle_update.count",
        "bot.owl.handle_update.sum_s", "bot.owl.asked_total", "celery.queue.mail.length",
    }  # fmt: skip


def test_pools_of_celery_are_read_from_the_fleets_rows() -> None:
    fleet = window(
        celery__shop__workers__processes=[4, 4, 4],
        celery__shop__queue__mail__length=[0, 20, 20],
        celery__shop__queue__pay__length=[0, 10, 10],
        celery__shop__tasks__runtime__count=[0, 50, 100],
        celery__shop__tasks__runtime__sum_s=[0, 25, 50],
    )

    found = load.of_celery("shop", fleet)

    assert found.rate[1:].tolist() == [8.0, 5.0]
    assert found.queue.tolist() == [0.0, 30.0, 30.0]
    assert found.replicas.tolist() == [4.0, 4.0, 4.0]
    assert found.service_rate[-1] == pytest.approx(2.0)
