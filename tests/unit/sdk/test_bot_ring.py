from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from outrider.sdk import ring
from outrider.sdk.ring import Ring


def filled(count: int, size: int = 10) -> Ring:
    kept = Ring()
    for number in range(1, count + 1):
        kept.keep(number, number.to_bytes(4, "big") * size)
    return kept


def handed(kept: Ring, most: int = 10**9) -> list[int]:
    numbers: list[int] = []

    def take(message: bytes) -> bool:
        if len(numbers) < most:
            numbers.append(int.from_bytes(message[:4], "big"))
            return True
        return False

    kept.hand_over(take)
    return numbers


def test_frames_are_handed_over_oldest_first_until_no_more_is_taken() -> None:
    kept = filled(5)

    assert handed(kept, most=2) == [1, 2]
    assert handed(kept) == [3, 4, 5]
    assert (len(kept), kept.dropped) == (0, 0)


@given(st.integers(0, 3000))
def test_every_frame_is_kept_or_counted(count: int) -> None:
    kept = filled(count)

    assert len(kept) + kept.dropped == count
    assert len(kept) <= ring.MOST_FRAMES


def test_a_long_outage_is_covered_evenly() -> None:
    numbers = handed(filled(10 * ring.MOST_FRAMES))
    gaps = {after - before for before, after in itertools.pairwise(numbers)}

    assert gaps == {16}
    assert numbers[0] <= 16
    assert numbers[-1] > 10 * ring.MOST_FRAMES - 16
    assert len(numbers) >= ring.MOST_FRAMES / 2


def test_large_frames_are_bounded_by_their_bytes() -> None:
    kept = filled(100, size=8192)

    assert len(kept) * 4 * 8192 <= ring.MOST_BYTES
    assert len(kept) > 10


def test_after_an_outage_every_frame_is_kept_again() -> None:
    kept = filled(10 * ring.MOST_FRAMES)
    dropped = kept.dropped
    handed(kept)
    for number in (2001, 2002, 2003):
        kept.keep(number, b"....")

    assert (len(kept), kept.dropped) == (3, dropped)


def test_frames_that_come_late_are_handed_over_in_their_place() -> None:
    kept = filled(3)
    kept.keep(6, (6).to_bytes(4, "big"))
    kept.keep(5, (5).to_bytes(4, "big"))

    assert handed(kept) == [1, 2, 3, 5, 6]
