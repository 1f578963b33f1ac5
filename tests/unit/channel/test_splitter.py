from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.channel.envelopes import BadFrame
from outrider.channel.splitter import Splitter


def framed(*payloads: bytes) -> bytes:
    return b"".join(len(each).to_bytes(4, "big") + each for each in payloads)


@given(st.lists(st.binary(min_size=1, max_size=300)), st.lists(st.integers(1, 400)))
def test_frames_come_out_whole_however_the_stream_is_cut(
    payloads: list[bytes], cuts: list[int]
) -> None:
    stream, found, splitter = framed(*payloads), [], Splitter()
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        found += [bytes(payload) for payload in splitter.feed(piece)]

    assert payloads == found
    assert splitter.kept_bytes == 0


@given(st.lists(st.binary()))
def test_it_never_keeps_more_than_one_frame(pieces: list[bytes]) -> None:
    splitter = Splitter(64)
    for piece in pieces:
        try:
            for payload in splitter.feed(piece):
                assert 1 <= len(payload) <= 64
        except BadFrame:
            return
        assert splitter.kept_bytes < 4 + 64


@pytest.mark.parametrize("length", [0, 65, 2**32 - 1])
def test_a_length_that_cannot_be_is_refused_before_its_bytes_come(length: int) -> None:
    with pytest.raises(BadFrame, match=f"{length:,} bytes"):
        list(Splitter(64).feed(length.to_bytes(4, "big")))


def test_an_earlier_frame_is_not_changed_by_a_later_piece() -> None:
    splitter = Splitter()
    first = list(splitter.feed(framed(b"one")[:5]))
    first += splitter.feed(framed(b"one")[5:])
    list(splitter.feed(framed(b"two")))

    assert [bytes(each) for each in first] == [b"one"]
