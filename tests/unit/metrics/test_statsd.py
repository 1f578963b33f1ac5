from __future__ import annotations

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider import sketch
from outrider.metrics import statsd
from outrider.metrics.statsd import StatsdCollector, Tally

ABOUT = 0.011  # a quantile is 1 % off at most; four digits are kept of it


def tallied(*packets: bytes, at_s: float = 0.0) -> Tally:
    tally = Tally()
    for packet in packets:
        tally.take(packet, at_s)
    return tally


def series(*packets: bytes) -> dict[str, float]:
    # As it comes over the control socket.
    said = json.loads(json.dumps(tallied(*packets).snapshot(0.0)))
    values = StatsdCollector().collect(said, 0.0)
    own = ("statsd.up", "statsd.packets_total", "statsd.refused_total", "statsd.overflow_total")
    return {name: value for name, value in values.items() if name not in own}


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b"seen:1|c", {"statsd.seen_total": 1.0}),
        (b"seen:3|c|@0.1", {"statsd.seen_total": 30.0}),
        (b"seen:1|c\nseen:2|c\n", {"statsd.seen_total": 3.0}),
        (b"seen:1:2:3|c", {"statsd.seen_total": 6.0}),
        (b"a.b-c/d e:1|c", {"statsd.a.b-c_d_e_total": 1.0}),
        (b"seen:1|c|#env:prod,shard:3", {"statsd.seen.env_prod.shard_3_total": 1.0}),
        (b"seen:1|c|#canary", {"statsd.seen.canary_yes_total": 1.0}),
        (b"seen:1|c|#b:2,a:1|c:container|T1656581400", {"statsd.seen.a_1.b_2_total": 1.0}),
        (b"queue:4|g", {"statsd.queue": 4.0}),
        (b"queue:4|g\nqueue:+2|g\nqueue:-5.5|g", {"statsd.queue": 0.5}),
        (b"users:ann|s\nusers:bob|s\nusers:ann|s", {"statsd.users": 2.0}),
        (b"seen:1|c\r\n", {"statsd.seen_total": 1.0}),
    ],
)
def test_a_datagram_becomes_series(packet: bytes, expected: dict[str, float]) -> None:
    assert series(packet) == expected


def test_timings_are_seconds_with_their_quantiles() -> None:
    values = series(b"\n".join(b"took:%d|ms" % number for number in range(1, 1001)))

    assert values["statsd.took.count"] == 1000.0
    assert values["statsd.took.sum_s"] == 500.5
    assert values["statsd.took.p50_s"] == pytest.approx(0.5, rel=ABOUT)
    assert values["statsd.took.p99_s"] == pytest.approx(0.99, rel=ABOUT)
    assert values["statsd.took.max_s"] == pytest.approx(1.0, rel=ABOUT)


@pytest.mark.parametrize("kind", [b"h", b"d"])
def test_histograms_are_of_no_unit(kind: bytes) -> None:
    values = series(b"size:100:200|%s" % kind)

    assert (values["statsd.size.count"], values["statsd.size.sum_total"]) == (2.0, 300.0)
    assert values["statsd.size.p50"] == pytest.approx(100, rel=ABOUT)


def test_a_sampled_timing_counts_for_those_that_were_not_sent() -> None:
    values = series(b"took:100|ms|@0.1", b"took:200|ms")

    assert values["statsd.took.count"] == 11.0
    assert values["statsd.took.sum_s"] == 1.2
    assert values["statsd.took.p50_s"] == pytest.approx(0.1, rel=ABOUT)


def test_quantiles_are_of_the_time_since_the_last_call() -> None:
    collector, tally = StatsdCollector(), tallied(b"took:100|ms")
    collector.collect(tally.snapshot(0.0), 0.0)
    tally.take(b"took:5000|ms", 1.0)
    second = collector.collect(tally.snapshot(1.0), 1.0)
    third = collector.collect(tally.snapshot(2.0), 2.0)

    assert second["statsd.took.p50_s"] == pytest.approx(5.0, rel=ABOUT)
    assert (third["statsd.took.count"], second.keys()) == (2.0, third.keys())
    assert math.isnan(third["statsd.took.p50_s"])


def test_a_tally_that_began_anew_is_read_from_there() -> None:
    collector = StatsdCollector()
    collector.collect(tallied(b"took:100|ms", b"took:100|ms").snapshot(0.0), 0.0)
    values = collector.collect(tallied(b"took:300|ms").snapshot(0.0), 0.0)

    assert values["statsd.took.p99_s"] == pytest.approx(0.3, rel=ABOUT)


def test_a_set_counts_who_was_there_in_the_last_minute() -> None:
    tally = tallied(b"users:ann|s", b"users:bob|s")
    tally.take(b"users:ann|s", statsd.SET_WINDOW_S + 10)

    assert tally.snapshot(statsd.SET_WINDOW_S + 10)["sets"] == {"users": 1}


@pytest.mark.parametrize(
    "packet",
    [
        b"nonsense", b"seen", b"seen:|c", b":1|c", b"seen:1", b"seen:x|c", b"seen:1|x",
        b"seen:1|c|@0",
        b"seen:1|c|@2", b"seen:1|c|@x", b"seen:nan|c", b"seen:inf|g", b"seen:-1|c", b"took:-5|ms",
        b"_e{5,4}:title|text", b"_sc|redis|0", b"\x00\xff\xfe", b"seen:1|c|@1e-300",
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_counted(packet: bytes) -> None:
    tally = tallied(packet)

    assert (tally.refused, tally.packets, series(packet)) == (1, 1, {})


def test_one_bad_line_does_not_cost_the_others() -> None:
    tally = tallied(b"a:1|c\nnonsense\nb:1|c")

    assert tally.snapshot(0.0)["counters"] == {"a": 1.0, "b": 1.0}
    assert tally.refused == 1


def test_names_are_bounded_and_what_has_no_room_is_counted() -> None:
    tally = tallied(*(b"n%d:1|c" % number for number in range(statsd.MOST_NAMES + 50)))
    tally.take(b"n1:1|c", 1.0)

    said = tally.snapshot(0.0)
    assert len(said["counters"]) == statsd.MOST_NAMES
    assert (said["overflow"], said["refused"], said["counters"]["n1"]) == (50, 0, 2.0)


def test_names_unheard_for_an_hour_make_room() -> None:
    tally = tallied(*(b"n%d:1|c" % number for number in range(statsd.MOST_NAMES + 1)))
    later_s = statsd.FORGOTTEN_AFTER_S + 100
    tally.take(b"n1:1|c", later_s - 50)
    tally.take(b"new:1|c", later_s)

    assert tally.snapshot(later_s)["counters"] == {"n1": 2.0, "new": 1.0}


def test_members_and_buckets_are_bounded() -> None:
    tally = Tally()
    for number in range(statsd.MOST_MEMBERS + 10):
        tally.take(b"users:%d|s" % number, 0.0)
    for power in range(-300, 300):
        for digit in range(1, 10):
            tally.take(b"size:%de%d|h" % (digit, power), 0.0)

    said = tally.snapshot(0.0)
    count, _, buckets = said["values"]["size"]
    assert said["sets"]["users"] == statsd.MOST_MEMBERS
    assert (count, sum(buckets.values())) == (5400, 5400)
    assert len(buckets) <= sketch.MOST_BUCKETS


def test_nobody_who_listens_is_a_state() -> None:
    assert StatsdCollector().collect(None, 0.0) == {"statsd.up": 0.0}


def test_what_the_listener_lost_is_a_series() -> None:
    said = tallied(b"up:0|g", b"nonsense").snapshot(0.0) | {"dropped": 7}

    assert StatsdCollector().collect(said, 0.0) == {
        "statsd.up": 1.0, "statsd.packets_total": 2.0, "statsd.refused_total": 1.0,
        "statsd.overflow_total": 0.0, "statsd.dropped_total": 7.0,
    }  # fmt: skip


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_off_by_one_per_cent_at_most(values: list[float], share: float) -> None:
    buckets = sketch.of(values)
    exact = sorted(values)[int(share * (len(values) - 1))]

    assert statsd.quantile(buckets, share) == pytest.approx(exact, rel=ABOUT)


@given(st.binary(max_size=300))
def test_whatever_is_sent_is_taken_or_counted(packet: bytes) -> None:
    tally = Tally()
    tally.take(packet, 0.0)

    StatsdCollector().collect(tally.snapshot(0.0), 0.0)


@given(
    st.lists(st.sampled_from([b"a", b":", b"|", b"1", b"c", b"ms", b"g", b"@", b"#", b"\n", b"-"]))
)
def test_whatever_looks_like_statsd_is_taken_or_counted(parts: list[bytes]) -> None:
    tally = Tally()
    with contextlib.suppress(ValueError):
        tally.take(b"".join(parts), 0.0)
    StatsdCollector().collect(tally.snapshot(0.0), 0.0)
