"""Folds what others call their numbers, labels and all, into one of our dotted names.

Prometheus and DogStatsD tell series apart by labels; a row has names only. A label becomes a part
of the name, before the unit, which stays at the end: ``http_requests_total{code="200"}`` is
``http_requests.code_200_total``. What others send is bounded: in letters, in labels, in length.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 160
MOST_LABELS = 8
_LONGEST_VALUE = 40
_ODD_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]+|\.{2,}")
_ODD_IN_LABEL = re.compile(r"[^A-Za-z0-9_-]+")
# The units that Prometheus writes at the end of a name, and how they end a series.
_UNITS = {"_seconds": "_s", "_bytes": "_bytes", "_ratio": "_ratio", "_percent": "_percent"}


def fold(name: str, labels: Mapping[str, str] | None = None, end: str = "") -> str:
    """Return one name of a name, labels and what must stand at the end.

    >>> fold("http_requests", {"method": "get", "code": "200"}, "_total")
    'http_requests.code_200.method_get_total'
    >>> fold("fs_free", {"mount": "/"}, "_bytes")
    'fs_free.mount_root_bytes'

    A name that would be too long is cut; a sum of what was cut off keeps it apart from others.
    """
    parts = [_ODD_IN_NAME.sub("_", name).strip("._") or "unnamed"]
    given = sorted((labels or {}).items())
    parts += [f"{_label(key)}_{_value(value)}" for key, value in given[:MOST_LABELS] if value]
    whole = ".".join(parts)
    if len(whole) + len(end) > LONGEST or len(given) > MOST_LABELS:
        mark = f"-{zlib.crc32(repr((name, given)).encode()):08x}"
        whole = whole[: LONGEST - len(end) - len(mark)] + mark
    return whole + end


def unit(name: str) -> tuple[str, str]:
    """Return a name without its unit, and how a series ends that has it.

    >>> unit("request_duration_seconds"), unit("queue_size")
    (('request_duration', '_s'), ('queue_size', ''))
    """
    for ending, ours in _UNITS.items():
        if name.endswith(ending) and name != ending:
            return name.removesuffix(ending), ours
    return name, ""


def _label(key: str) -> str:
    return _ODD_IN_LABEL.sub("_", key)[:_LONGEST_VALUE]


def _value(value: str) -> str:
    if value == "/":
        return "root"
    if len(value) > _LONGEST_VALUE:
        value = f"{value[: _LONGEST_VALUE - 9]}-{zlib.crc32(value.encode()):08x}"
    return _ODD_IN_LABEL.sub("_", value).strip("_") or "none"
