from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.metrics import frame as frames
from outrider.metrics.frame import Frame

NAMES = st.text(max_size=20)
NUMBERS = st.floats(allow_nan=False)
FRAMES = st.builds(
    Frame,
    bot=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", fullmatch=True),
    pid=st.integers(1, 2**31),
    at_s=NUMBERS,
    ready=st.booleans(),
    loop_lag_s=st.none() | NUMBERS,
    counters=st.dictionaries(NAMES, NUMBERS, max_size=5),
    gauges=st.dictionaries(NAMES, NUMBERS, max_size=5),
    timings=st.dictionaries(NAMES, st.tuples(st.integers(0, 2**60), NUMBERS, NUMBERS), max_size=5),
    dropped=st.integers(0, 2**31),
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
    )  # fmt: skip

    assert frames.series(frame, now_s=12.0) == {
        "bot.canary.ready": 1.0,
        "bot.canary.heartbeat_age_s": 2.0,
        "bot.canary.loop_lag_s": 0.25,
        "bot.canary.frames_dropped_total": 5.0,
        "bot.canary.updates_total": 3.0,
        "bot.canary.queue": 2.0,
        "bot.canary.handle.count": 4.0,
        "bot.canary.handle.sum_s": 1.5,
        "bot.canary.handle.max_s": 0.75,
    }


def test_a_frame_from_the_future_has_no_negative_age() -> None:
    assert frames.series(Frame("b", 1, 10.0), now_s=9.0)["bot.b.heartbeat_age_s"] == 0.0


def test_a_longest_that_is_no_number_is_shown_as_none() -> None:
    frame = Frame("b", 1, 0.0, timings={"t": (1, 1.0, math.inf)})

    assert frames.series(frame, now_s=0.0)["bot.b.t.max_s"] == 0.0
