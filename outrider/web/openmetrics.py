"""Families as text: Prometheus 0.0.4 or OpenMetrics, by what the scraper accepts.

Written here and not by prometheus_client, whose encoders build and sort the labels of every sample
anew: at 5,000 series they cost several times what all the rest of a scrape does. Tests hold both
formats to its parsers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from outrider.web.families import Family

    # Labels -> part -> value. The part of a summary is "count", "sum" or a quantile, of a histogram
    # "count", "sum" or a bound, of anything else "".
    Samples = Mapping[str, Mapping[str, float]]

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_BY_PART = {"summary": "quantile", "histogram": "le"}


def content_type(accept: str) -> str:
    """Return the format that an Accept header likes best; plain text when it says nothing.

    >>> content_type("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3") == OPEN
    True
    >>> content_type("*/*") == content_type("text/plain, application/openmetrics-text;q=0.1")
    True
    """
    liked: dict[str, float] = {OPEN: 0.0, PLAIN: 0.0}
    for each in accept.split(","):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        if name == "application/openmetrics-text" and given.get("version", "1.0.0") == "1.0.0":
            liked[OPEN] = max(liked[OPEN], _quality(given))
        elif name in ("text/plain", "text/*", "*/*"):
            liked[PLAIN] = max(liked[PLAIN], _quality(given))
    return OPEN if liked[OPEN] > 0 and liked[OPEN] >= liked[PLAIN] else PLAIN


def _quality(given: Mapping[str, str]) -> float:
    try:
        quality = float(given.get("q", "1"))
    except ValueError:
        return 0.0
    return quality if math.isfinite(quality) else 0.0


def text(families: Iterable[tuple[Family, Samples]], content: str) -> bytes:
    """Return a whole scrape."""
    is_open = content == OPEN
    lines: list[str] = []
    for family, samples in families:
        lines += _head(family, is_open=is_open)
        lines += _body(family, samples)
    if is_open:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _head(family: Family, *, is_open: bool) -> Iterator[str]:
    about = family.help.replace("\\", r"\\").replace("\n", r"\n")
    name: str = family.name
    kind: str = family.kind
    if is_open:
        about = about.replace('"', r"\"")
    elif kind == "counter":
        name = f"{name}_total"
    elif kind == "unknown":
        kind = "untyped"
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    if is_open and family.unit:
        yield f"# UNIT {name} {family.unit}"


def _body(family: Family, samples: Samples) -> Iterator[str]:
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    by_part = _BY_PART.get(family.kind)
    if by_part is None:
        for labels, parts in samples.items():
            for value in parts.values():
                shown = f"{{{labels}}}" if labels else ""
                yield f"{name}{shown} {number(value)}"
        return
    end = "_bucket" if by_part == "le" else ""
    for labels, parts in samples.items():
        comma = "," if labels else ""
        shown = f"{{{labels}}}" if labels else ""
        for part in sorted(parts.keys() - {"count", "sum"}, key=float):
            yield f'{name}{end}{{{labels}{comma}{by_part}="{part}"}} {number(parts[part])}'
        for part in ("count", "sum"):
            if part in parts:
                yield f"{name}_{part}{shown} {number(parts[part])}"


def number(value: float) -> str:
    """Return a value as both formats write it.

    >>> number(2), number(float("-inf")), number(1e22)
    ('2.0', '-Inf', '1e+22')
    """
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
