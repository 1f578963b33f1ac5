from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.cli.top.keys import Decoder


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F", ["pageup", "pagedown", "home", "end"]),
        (b"\r\n", ["enter", "enter"]),
        (b"\x7f", ["backspace"]),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), ["\N{LATIN SMALL LETTER E WITH ACUTE}"]),
        (b"\x1b[1;5C", []),  # Ctrl-Right: nobody's key
        (b"\x1bx", []),  # Alt-x
        (b"\x00\x01", []),
        (b"\xff", ["\N{REPLACEMENT CHARACTER}"]),
        (b"\x1b\x1b[A", ["esc", "up"]),
    ],
)
def test_bytes_are_keys(sent: bytes, keys: list[str]) -> None:
    assert keys == Decoder().feed(sent)


def test_a_key_may_come_in_pieces() -> None:
    decoder = Decoder()

    assert [decoder.feed(bytes([byte])) for byte in b"\x1b[5~"] == [[], [], [], ["pageup"]]
    assert not decoder.waits


def test_esc_is_a_key_once_nothing_follows() -> None:
    decoder = Decoder()

    assert decoder.feed(b"\x1b") == []
    assert decoder.waits
    assert decoder.flush() == ["esc"]
    assert decoder.feed(b"q") == ["q"]


def test_half_a_sequence_is_no_key() -> None:
    decoder = Decoder()
    decoder.feed(b"\x1b[1;")

    assert decoder.flush() == []
    assert decoder.feed(b"q") == ["q"]


@given(st.binary(max_size=200))
def test_whatever_is_sent_becomes_printable_keys_and_an_end(sent: bytes) -> None:
    decoder = Decoder()
    keys = decoder.feed(sent) + decoder.flush()

    assert all(key.isprintable() for key in keys)
    assert not decoder.waits
    assert len(decoder.feed(b"x" * 100)) >= 99  # half a letter of UTF-8 may still be open
