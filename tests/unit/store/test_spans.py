from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.store import spans
from outrider.store.spans import CHUNK, HEAD, RANGE, Piece


@pytest.mark.parametrize(
    ("interval_s", "range_ticks", "chunk_ticks"),
    [(10.0, 60, 720), (1.0, 300, 900), (5.0, 60, 720), (300.0, 60, 720), (7.0, 300, 900),
     (3600.0, 60, 720), (0.5, 600, 1200), (7.77, 60, 720)],
)  # fmt: skip
def test_ranges_and_chunks_of_an_interval(
    interval_s: float, range_ticks: int, chunk_ticks: int
) -> None:
    assert (range_ticks, chunk_ticks) == (
        spans.spans(interval_s).range_ticks,
        spans.spans(interval_s).chunk_ticks,
    )


@given(interval_s=st.integers(1, 4000), tick=st.integers(-(10**9), 10**9))
def test_pieces_begin_and_end_with_five_minutes(interval_s: int, tick: int) -> None:
    for kind in (HEAD, CHUNK):
        piece = spans.piece(kind, tick, interval_s)
        assert 0 == piece.start_s % 300 == piece.end_s % 300
        assert piece.start_s <= tick * interval_s < piece.end_s
        assert piece.end_s - piece.start_s >= 300


@given(
    kind=st.sampled_from("hms"),
    step_s=st.floats(1e-3, 1e6),
    first=st.integers(-(2**52), 2**52),
    ticks=st.integers(1, 10**6),
)
def test_a_piece_is_known_by_its_name(kind: str, step_s: float, first: int, ticks: int) -> None:
    assert Piece(kind, step_s, first, ticks) == spans.named(Piece(kind, step_s, first, ticks).name)


@pytest.mark.parametrize(
    "name", ["", "1699999200", "h:10:1", "h:10:1:2:3", "x:10:1:2", "h:0:1:2", "h:10:1:0", "h:a:1:2"]
)
def test_other_names_are_no_pieces(name: str) -> None:
    assert spans.named(name) is None


def at(kind: str, place: int) -> Piece:
    """The piece of ten-second ticks that range number ``place`` lies in."""
    return spans.piece(kind, place * 60, 10.0)


def plan(pieces: list[Piece], now_s: float) -> list[tuple[list[Piece], Piece]]:
    return [(list(step.sources), step.target) for step in spans.plan(pieces, now_s)]


def test_a_range_is_sealed_an_interval_after_its_end() -> None:
    assert plan([at(HEAD, 0)], 609.9) == []
    assert plan([at(HEAD, 0)], 610) == [([at(HEAD, 0)], at(RANGE, 0))]


def test_late_rows_join_the_sealed_range() -> None:
    assert plan([at(HEAD, 0), at(RANGE, 0), at(RANGE, 1)], 2000) == [
        ([at(RANGE, 0), at(HEAD, 0)], at(RANGE, 0))
    ]


def test_what_is_sealed_waits_for_the_end_of_its_chunk() -> None:
    pieces = [at(RANGE, place) for place in range(11)]
    assert plan(pieces, 7209) == []
    assert plan([*pieces, at(HEAD, 11)], 7210) == [([*pieces, at(HEAD, 11)], at(CHUNK, 0))]


def test_a_chunk_is_left_alone_until_a_late_row_comes() -> None:
    assert plan([at(CHUNK, 0)], 1e6) == []
    assert plan([at(HEAD, 3), at(CHUNK, 0)], 1e6) == [([at(CHUNK, 0), at(HEAD, 3)], at(CHUNK, 0))]


def test_pieces_of_another_interval_are_sealed_by_their_own() -> None:
    old = spans.piece(HEAD, 0, 1.0)
    assert plan([old, at(HEAD, 0)], 610) == [
        ([old], spans.piece(RANGE, 0, 1.0)), ([at(HEAD, 0)], at(RANGE, 0)),
    ]  # fmt: skip
