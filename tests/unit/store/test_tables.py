from __future__ import annotations

import numpy as np
import pytest

from outrider.errors import StoreError
from outrider.store import chunks, spans, tables

ROWS = 3
SCHEMA = b"01234567"


def sealed(first: int, series: int = 4, ticks: tuple[int, ...] = (0, 1, 2)) -> bytes:
    values = np.arange(len(ticks) * series, dtype=float).reshape(len(ticks), series)
    rows = chunks.Rows(SCHEMA, first + np.array(ticks), values)
    return chunks.encode(rows, step_s=10.0, first=first, span=60, generation=0, small=True)


def table(first: int, series: int = 4, ticks: tuple[int, ...] = (0, 1, 2)) -> tables.Table:
    packed = sealed(first, series, ticks)
    head = chunks.header(packed)
    end = chunks.HEADER.size + len(head.bitmap) + 4 * (head.blobs() + 1)
    found = tables.table(spans.Piece(spans.RANGE, 10.0, first, 60), packed[:end])
    assert found is not None
    return found


def asked(known: tables.Table, place: int) -> tuple[bytes, int, int]:
    name, first, last = known.asking(place).split(b"\r\n")[1::2]
    return name, int(first), int(last)


@pytest.mark.parametrize("ticks", [(0, 1, 2), (0, 5, 59)])
def test_a_column_is_where_its_table_says(ticks: tuple[int, ...]) -> None:
    packed, known = sealed(60, ticks=ticks), table(60, ticks=ticks)
    name, first, last = asked(known, 2)

    assert name == b"m:10:60:60"
    assert chunks.column(known.head, 2, packed[first : last + 1]).tolist() == [2.0, 6.0, 10.0]


def test_what_ends_before_the_table_does_is_no_table() -> None:
    piece, packed = spans.Piece(spans.RANGE, 10.0, 60, 60), sealed(60)

    assert tables.table(piece, packed[: chunks.HEADER.size]) is None
    assert tables.table(piece, packed[: chunks.HEADER.size + 8]) is None


def test_a_damaged_header_is_no_table() -> None:
    piece, packed = spans.Piece(spans.RANGE, 10.0, 60, 60), sealed(60)

    with pytest.raises(StoreError):
        tables.table(piece, b"x" + packed[1:])


def test_those_of_a_range_are_found_and_no_others() -> None:
    known = tables.Tables()
    known.learn("h", [table(60), table(120), table(180)])

    assert [found.piece.first for found in known.between("h", 0, 1200)] == [60]
    assert [found.piece.first for found in known.between("h", 1199, 1201)] == [60, 120]
    assert known.between("h", 2400, 9999) == []
    assert known.between("other", 0, 9999) == []


def test_what_is_forgotten_is_not_found() -> None:
    known = tables.Tables()
    known.learn("h", [table(60), table(120)])
    known.forget("h", [b"m:10:60:60", b"m:10:0:60"])
    known.forget("other", [b"m:10:120:60"])

    assert [found.piece.first for found in known.between("h", 0, 9999)] == [120]


def test_a_hosts_newest_tables_are_kept() -> None:
    known = tables.Tables()
    known.learn("h", [table(60 * number) for number in range(300)])
    firsts = [found.piece.first for found in known.between("h", 0, 1e9)]

    assert [60 * number for number in range(44, 300)] == firsts


def test_tables_take_a_bounded_amount_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_BYTES", 10 * 5 * 4)  # ten tables of four series
    known = tables.Tables()
    for number in range(100):
        known.learn(f"h{number}", [table(60)])
    kept = sum(len(known.between(f"h{number}", 0, 1e9)) for number in range(100))

    assert 0 < kept <= 10
