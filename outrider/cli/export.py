"""Stored series as CSV, JSON or Parquet, block by block, so that years fit in little memory.

A file appears under its name when it is complete: until then it is written beside it, and removed
when anything stops the export.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from outrider import outside
from outrider.errors import BadArgument
from outrider.samples import is_counter
from outrider.store import aggregates
from outrider.store.tiers import FIVE_MINUTES, HOURS, RAW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from outrider.samples import Window
    from outrider.store.base import SeriesStore
    from outrider.store.tiers import Tiers

OF_RAW = ("time", "time_s", "host", "series", "value")
OF_BUCKETS = (
    "time", "time_s", "host", "series",
    "min", "max", "mean", "count", "last", "increase", "rate_per_s",
)  # fmt: skip
FORMATS = ("csv", "json", "parquet")
_TEXTS = ("time", "host", "series")
# How much is read at once.
_BLOCK_S = {RAW: 6 * 3600.0, FIVE_MINUTES: 5 * 86_400.0, HOURS: 60 * 86_400.0}
# A bucket is left out until the seal that completes it has surely run.
_SETTLED_S = 1800.0

Record = tuple[str | float | None, ...]


class Writer(Protocol):
    """Puts records into a file of one format."""

    def write(self, records: list[Record]) -> None:
        """Add records."""
        ...

    def close(self) -> None:
        """Write what ends the file."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """What is exported: patterns of series, of some hosts, in ``[start_s, end_s)``, by step."""

    patterns: tuple[str, ...]
    hosts: tuple[str, ...]
    start_s: float
    end_s: float
    step: str
    now_s: float

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of a record's fields."""
        return OF_RAW if self.step == RAW else OF_BUCKETS

    def blocks(self) -> Iterator[tuple[str, float, float]]:
        """Yield ``(host, start_s, end_s)`` of every read, in order."""
        size_s = _BLOCK_S[self.step]
        for host in self.hosts:
            start_s = self.start_s
            while start_s < self.end_s:
                end_s = min((start_s // size_s + 1) * size_s, self.end_s)
                yield host, start_s, end_s
                start_s = end_s


def records(stores: Tiers, selection: Selection, block: tuple[str, float, float]) -> list[Record]:
    """Return the records of one block, by time and series."""
    host, start_s, end_s = block
    store = stores.named(selection.step)
    if selection.step == RAW:
        window = store.window(host, start_s, end_s)
        return list(_raw(host, window, _chosen(window.names, selection.patterns)))
    end_s = min(end_s, selection.now_s - _SETTLED_S - store.interval_s + 1e-6)
    window = store.window(host, start_s, end_s)
    chosen = _chosen(aggregates.series_of(window.names), selection.patterns)
    return list(_buckets(host, store, window, chosen))


def opened(
    path: str, form: str, columns: tuple[str, ...]
) -> contextlib.AbstractContextManager[Writer]:
    """Open a file, or standard output for ``-``, for records of a format.

    Raises:
        BadArgument: it can't be written, or Parquet is asked for and pyarrow is not there.
    """
    if form == "parquet":
        _pyarrow()
    return _opened(path, form, columns)


@contextlib.contextmanager
def _opened(path: str, form: str, columns: tuple[str, ...]) -> Iterator[Writer]:
    if path == "-":
        writer = _writer(sys.stdout.buffer, form, columns)
        yield writer
        writer.close()
        sys.stdout.buffer.flush()
        return
    whole = Path(path)
    part = whole.with_name(f".{whole.name}.{os.getpid()}.part")
    try:
        file = part.open("xb")
    except OSError as error:
        raise BadArgument(
            f"--out {path}: can't be written ({error.strerror}); name a file in a folder of yours."
        ) from None
    try:
        with file:
            writer = _writer(file, form, columns)
            yield writer
            writer.close()
        part.replace(whole)
    finally:  # also after Ctrl-C
        part.unlink(missing_ok=True)


def _writer(file: IO[bytes], form: str, columns: tuple[str, ...]) -> Writer:
    kinds: dict[str, Callable[[IO[bytes], tuple[str, ...]], Writer]] = {
        "csv": _Csv, "json": _Json, "parquet": _Parquet
    }  # fmt: skip
    return kinds[form](file, columns)


class _Csv:
    def __init__(self, file: IO[bytes], columns: tuple[str, ...]) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._csv = csv.writer(self._text, lineterminator="\n")
        self._csv.writerow(columns)

    def write(self, records: list[Record]) -> None:
        self._csv.writerows([_cell(value) for value in record] for record in records)

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


def _cell(value: str | float | None) -> str:
    """Return a value as CSV; text that a spreadsheet would run is disarmed by an apostrophe."""
    if isinstance(value, str):
        return outside.cell(value)
    return "" if value is None else repr(value)


class _Json:
    """One array of objects, one a line. NaN is null; an infinity is a number beyond all, 1e999."""

    def __init__(self, file: IO[bytes], columns: tuple[str, ...]) -> None:
        self._file = file
        self._columns = columns
        self._between = b"[\n"

    def write(self, records: list[Record]) -> None:
        for record in records:
            pairs = zip(self._columns, record, strict=True)
            fields = ", ".join(f'"{name}": {_json(value)}' for name, value in pairs)
            self._file.write(self._between + b"{" + fields.encode() + b"}")
            self._between = b",\n"

    def close(self) -> None:
        self._file.write(b"\n]\n" if self._between == b",\n" else b"[]\n")


def _json(value: str | float | None) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "null" if math.isnan(value) else "1e999" if value > 0 else "-1e999"
    return json.dumps(value)


class _Parquet:
    def __init__(self, file: IO[bytes], columns: tuple[str, ...]) -> None:
        self._arrow = arrow = _pyarrow()
        kinds = [
            arrow.dictionary(arrow.int32(), arrow.string()) if name in ("host", "series")
            else arrow.timestamp("us", tz="UTC") if name == "time"
            else arrow.float64()
            for name in columns
        ]  # fmt: skip
        self._schema = arrow.schema(list(zip(columns, kinds, strict=True)))
        self._writer = _parquet().ParquetWriter(file, self._schema, compression="zstd")

    def write(self, records: list[Record]) -> None:
        if not records:
            return
        columns = [list(column) for column in zip(*records, strict=True)]
        columns[0] = [datetime.fromtimestamp(float(at_s or 0), UTC) for at_s in columns[1]]
        arrays = [
            self._arrow.array(column, kind)
            for column, kind in zip(columns, self._schema.types, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise BadArgument(
            "--format parquet needs pyarrow, which is not installed: "
            "pip install 'outrider[parquet]', or take csv or json."
        ) from None
    return pa


def _parquet() -> Any:
    import pyarrow.parquet

    return pyarrow.parquet


def _chosen(names: tuple[str, ...] | list[str], patterns: tuple[str, ...]) -> list[str]:
    return sorted(name for name in names if any(fnmatchcase(name, each) for each in patterns))


def _raw(host: str, window: Window, chosen: list[str]) -> Iterator[Record]:
    columns = [(name, window.column(name), _present(window.column(name))) for name in chosen]
    for row, at_s in enumerate(window.times_s.tolist()):
        shown = iso(at_s)
        for name, values, there in columns:
            if there[row]:
                yield shown, at_s, host, name, float(values[row])


def _buckets(host: str, store: SeriesStore, window: Window, chosen: list[str]) -> Iterator[Record]:
    columns = {
        name: {what: window.column(name + what) for what in aggregates.OF_COUNTER}
        if is_counter(name)
        else {what: window.column(name + what) for what in aggregates.OF_GAUGE}
        for name in chosen
    }
    for row, at_s in enumerate(window.times_s.tolist()):
        shown = iso(at_s)
        for name, by_what in columns.items():
            bucket = {what: float(values[row]) for what, values in by_what.items()}
            count = bucket[aggregates.COUNT]
            if not count > 0:
                continue
            least, most, mean, increase, rate = None, None, None, None, None
            if is_counter(name):
                increase = bucket[aggregates.INCREASE]
                rate = increase / store.interval_s
            else:
                least, most = bucket[aggregates.MIN], bucket[aggregates.MAX]
                mean = bucket[aggregates.SUM] / count
            last = bucket[aggregates.LAST]
            yield shown, at_s, host, name, least, most, mean, count, last, increase, rate


def _present(column: Any) -> Any:
    from outrider.store import rows

    bits = np.ascontiguousarray(column).view(np.uint64)
    return bits != np.array([rows.MISSING]).view(np.uint64)[0]


def iso(at_s: float) -> str:
    """Return a time as ISO 8601 in UTC.

    >>> iso(1700000000.5)
    '2023-11-14T22:13:20.500000Z'
    """
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
