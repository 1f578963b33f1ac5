from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider import sketch
from outrider.metrics import frame as frames
from outrider.metrics.frame import Frame

NAMES = st.text(max_size=20)
NUMBERS = st.floats(allow_nan=False)
TOTALS = st.floats(0, 1e300)
COUNTS = st.integers(0, sketch.MOST_COUNT)
BUCKETS = st.dictionaries(
    st.just(sketch.ZERO_BUCKET) | st.integers(sketch.LOWEST, sketch.HIGHEST), COUNTS, max_size=5
)
FRAMES = st.builds(
    Frame,
    bot=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", fullmatch=True),
    pid=st.integers(1, 2**31),
    at_s=TOTALS,
    ready=st.booleans(),
    loop_lag_s=st.none() | TOTALS,
    counters=st.dictionaries(NAMES, TOTALS, max_size=5),
    gauges=st.dictionaries(NAMES, NUMBERS, max_size=5),
    timings=st.dictionaries(NAMES, st.tuples(COUNTS, TOTALS, TOTALS), max_size=5),
    dropped=COUNTS,
    since_s=TOTALS,
    number=COUNTS,
    buckets=st.dictionaries(NAMES, BUCKETS, max_size=5),
    lag=BUCKETS,
    refused=COUNTS,
    left_out=COUNTS,
)
NONSENSE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(FRAMES)
def test_a_frame_comes_back_as_it_was_sent(frame: Frame) -> None:
    assert frame == frames.decode(frames.encode(frame))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_value_error(message: bytes) -> None:
    try:
        frames.decode(message)
    except ValueError:
        return


@given(message=FRAMES.map(frames.encode), data=st.data())
def test_a_damaged_frame_is_a_frame_or_a_value_error(message: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(message) - 1))
    damaged = bytearray(message)
    damaged[place] = data.draw(st.integers(0, 255))
    for attempt in (bytes(damaged), message[:place]):
        try:
            frames.series(frames.decode(attempt), now_s=0.0)
        except ValueError:
            continue


@given(
    st.dictionaries(
        st.sampled_from([*Frame.__struct_fields__, "unknown"]), NONSENSE, max_size=9
    ).map(msgspec.msgpack.encode)
)
def test_the_right_fields_with_wrong_values_are_a_value_error(message: bytes) -> None:
    try:
        values = frames.series(frames.decode(message), now_s=0.0)
    except ValueError:
        return
    assert all(isinstance(value, float | int) for value in values.values())


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_nesting_is_refused_without_harm(depth: int) -> None:
    with pytest.raises(ValueError):
        frames.decode(b"\x91" * depth)


@pytest.mark.parametrize("bot", ["", "a.b", "a b", "a\n", "../a", "a" * 64, "\N{SNOWMAN}", "-a"])
def test_a_bot_whose_name_would_break_its_series_is_refused(bot: str) -> None:
    with pytest.raises(ValueError, match=r"\$\.bot"):
        frames.decode(frames.encode(Frame(bot, 1, 1.0)))


def test_series_are_named_after_the_bot() -> None:
    frame = Frame(
        "canary", 1, 10.0, ready=True, loop_lag_s=0.25, counters={"updates": 3.0},
        gauges={"queue": 2.0}, timings={"handle": (4, 1.5, 0.75)}, dropped=5,
        refused=6, left_out=7,
    )  # fmt: skip

    assert frames.series(frame, now_s=12.0) == {
        "bot.canary.ready": 1.0,
        "bot.canary.heartbeat_age_s": 2.0,
        "bot.canary.loop_lag_s": 0.25,
        "bot.canary.frames_dropped_total": 5.0,
        "bot.canary.refused_total": 6.0,
        "bot.canary.left_out": 7.0,
        "bot.canary.updates_total": 3.0,
        "bot.canary.queue": 2.0,
        "bot.canary.handle.count": 4.0,
        "bot.canary.handle.sum_s": 1.5,
        "bot.canary.handle.max_s": 0.75,
    }


def test_a_frame_from_the_future_has_no_negative_age() -> None:
    assert frames.series(Frame("b", 1, 10.0), now_s=9.0)["bot.b.heartbeat_age_s"] == 0.0


@pytest.mark.parametrize(
    "forged",
    [
        {"counters": {"c": math.nan}},
        {"counters": {"c": math.inf}},
        {"counters": {"c": -1.0}},
        {"timings": {"t": (1, math.nan, 1.0)}},
        {"timings": {"t": (2**60, 1.0, 1.0)}},
        {"timings": {"t": (1, 1.0, math.inf)}},
        {"buckets": {"t": {10**9: 1}}},
        {"buckets": {"t": {-(10**9): 1}}},
        {"buckets": {"t": {1: 2**60}}},
        {"buckets": {"t": {1: -1}}},
        {"buckets": {"t": dict.fromkeys(range(-1037, 1012), 1)}},
        {"lag": {10**9: 1}},
        {"loop_lag_s": math.nan},
        {"at_s": math.nan},
        {"gauges": {"x" * 300: 1.0}},
        {"gauges": {str(number): 1.0 for number in range(10_001)}},
        {"number": -1},
    ],
)
def test_numbers_that_counting_cannot_give_are_refused(forged: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Expected"):
        frames.decode(msgspec.msgpack.encode({"bot": "b", "pid": 1, "at_s": 1.0} | forged))


def test_a_frame_that_grows_too_large_loses_histograms_first_and_tells_how_many() -> None:
    names = [f"timing-{number}" for number in range(200)]
    frame = Frame(
        "b", 1, 1.0, counters=dict.fromkeys(names, 2.0), gauges=dict.fromkeys(names, 3.0),
        timings=dict.fromkeys(names, (1000, 1.0, 1.0)),
        buckets=dict.fromkeys(names, dict.fromkeys(range(1000), 300)),
    )  # fmt: skip
    message = frames.encode(frame)
    came = frames.decode(message)

    assert 0.9 * frames.MOST_BYTES < len(message) <= frames.MOST_BYTES
    assert (came.counters, came.gauges) == (frame.counters, frame.gauges)
    assert came.timings == frame.timings
    assert list(came.buckets) == names[: 200 - came.left_out]
    assert 0 < len(came.buckets) < 200


def test_counters_are_the_last_to_be_left_out() -> None:
    long = [f"{number}-{chr(0x1F600) * 60}" for number in range(600)]
    frame = Frame(
        "b", 1, 1.0, counters=dict.fromkeys(long[:400], 2.0), gauges=dict.fromkeys(long, 3.0)
    )
    came = frames.decode(frames.encode(frame))

    assert came.counters == frame.counters
    assert list(came.gauges) == long[: 600 - came.left_out]
    assert 0 < came.left_out < 600


@given(FRAMES)
def test_a_frame_comes_back_from_a_snapshot_in_json(frame: Frame) -> None:
    plain = json.loads(json.dumps(msgspec.to_builtins(frame)))

    assert frame == frames.from_plain(plain)
