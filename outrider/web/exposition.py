"""Our series in Prometheus' words: base units, bounded labels, types only where they are known.

``host.cpu.used_ratio`` becomes ``outrider_host_cpu_used_ratio{host}``, ``bot.canary.rss_bytes``
``outrider_bot_rss_bytes{host,bot}``, and a bot's timing a summary in seconds. What counts is a
counter, the rest are gauges. Names that fall together, or that would break the format, are left out
and counted: one bot with odd names must not cost the scrape.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outrider.samples import bot_of, is_counter
from outrider.store import keys
from outrider.web import records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from outrider.samples import Row

MOST_SAMPLES = 20_000
_ODD = re.compile(r"[^a-zA-Z0-9_]+")
_BUILT_IN = re.compile(
    r"(?!bot\.).*|bot\.[^.]+\.(up|ready|failed|state|restarts_total|crashes_total|cpu_seconds_total|cpu_ratio"
    r"|rss_bytes|pss_bytes|threads|fds|children|uptime_s|heartbeat_age_s|loop_lag_s|io_.+_total"
    r"|switches_.+_total|frames_dropped_total)"
)
_QUEUE = re.compile(r"celery\.queue\.(.+)\.length")
# What each type adds to its name; no other metric may be called like that.
_SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "summary": ("", "_count", "_sum", "_created"),
    "gauge": ("",),
    "unknown": ("",),
}

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; a summary has its count besides."""

    name: str
    kind: str
    labels: Labels
    value: float
    count: float | None = None
    help: str = ""


@dataclass(slots=True)
class _Families:
    """The metrics of one scrape, free of clashes. ``dropped`` counts what was left out."""

    kept: dict[str, list[Sample]] = field(default_factory=dict)
    _taken: dict[str, str] = field(default_factory=dict)
    _labels: set[tuple[str, ...]] = field(default_factory=set)
    dropped: int = 0

    def add(self, sample: Sample) -> None:
        names = [sample.name + suffix for suffix in _SUFFIXES[sample.kind]]
        owner = f"{sample.kind} {sample.name} {[*sample.labels]}"
        mark = (sample.name, *sample.labels.values())
        clash = any(self._taken.get(name, owner) != owner for name in names)
        if _absurd(sample) or clash or mark in self._labels or len(self._labels) >= MOST_SAMPLES:
            self.dropped += 1
            return
        self._taken.update(dict.fromkeys(names, owner))
        self._labels.add(mark)
        self.kept.setdefault(sample.name, []).append(sample)


def samples(row: Row) -> Iterator[Sample]:
    """Yield a row's samples, the built-in ones first: they stay when there are too many.

    >>> from outrider.samples import Row
    >>> [(s.name, s.labels) for s in samples(Row("a", 0.0, {"bot.c.uptime_s": 9.0}))]
    [('outrider_bot_uptime_seconds', {'host': 'a', 'bot': 'c'})]
    """
    # A series that the row has not comes as NaN.
    there = {name for name, value in row.values.items() if not math.isnan(value)}
    timings = {
        name.removesuffix(".sum_s")
        for name in there
        if name.endswith(".sum_s") and name.removesuffix(".sum_s") + ".count" in there
    }
    in_timing = {timing + end for timing in timings for end in (".count", ".sum_s")}
    for name in sorted(there - in_timing, key=lambda name: (not _BUILT_IN.fullmatch(name), name)):
        yield _plain(row, name)
    for timing in sorted(timings):
        metric, labels = _named(row.host, timing)
        total_s, count = row.values[f"{timing}.sum_s"], row.values[f"{timing}.count"]
        yield Sample(f"{metric}_seconds", "summary", labels, total_s, count, help=_help(timing))


def render(
    rows: Iterable[Row], alerts: Iterable[dict[str, Any]], *, reachable: bool, accept: str
) -> tuple[bytes, str]:
    """Return ``(body, content type)``: OpenMetrics when ``accept`` asks for it, else plain text."""
    from prometheus_client.exposition import choose_encoder

    families = _Families()
    rows = list(rows)
    families.add(
        Sample("outrider_dashboard_redis_up", "gauge", {}, float(reachable), help="Redis answers.")
    )
    for sample in (*_alert_samples(alerts), *(s for row in rows for s in samples(row))):
        families.add(sample)
    dropped = Sample(
        "outrider_dashboard_dropped_samples", "gauge", {}, families.dropped,
        help="Samples left out of this scrape: names that clash, or too many.",
    )  # fmt: skip
    families.kept[dropped.name] = [dropped]
    encode: Callable[[Any], bytes]
    encode, content_type = choose_encoder(accept)
    return encode(_Collected(families)), content_type


@dataclass(frozen=True, slots=True)
class _Collected:
    """What the encoders ask: something with ``collect()``."""

    families: _Families

    def collect(self) -> Iterator[Any]:
        from prometheus_client import metrics_core

        kinds = {
            "counter": metrics_core.CounterMetricFamily,
            "summary": metrics_core.SummaryMetricFamily,
            "gauge": metrics_core.GaugeMetricFamily,
            "unknown": metrics_core.UnknownMetricFamily,
        }
        for name, held in self.families.kept.items():
            labels = list(held[0].labels)
            family: Any = kinds[held[0].kind](name, held[0].help or name, labels=labels)
            for sample in held:
                given = [sample.labels[label] for label in labels]
                if sample.count is None:
                    family.add_metric(given, sample.value)
                else:
                    family.add_metric(given, sample.count, sample.value)
            yield family


def _alert_samples(alerts: Iterable[dict[str, Any]]) -> Iterator[Sample]:
    for alert in alerts:
        if alert["state"] == "firing":
            labels = {name: alert[name] for name in ("rule", "instance", "host", "severity")}
            yield Sample("outrider_alert_firing", "gauge", labels, 1.0, help="An alert fires.")


def _plain(row: Row, series: str) -> Sample:
    metric, labels = _named(row.host, series)
    kind = "gauge"
    if is_counter(series):
        kind, metric = "counter", metric.removesuffix("_total")
    if metric.endswith("_s"):
        metric = metric.removesuffix("_s") + "_seconds"
    return Sample(metric, kind, labels, row.values[series], help=_help(series))


def _named(host: str, series: str) -> tuple[str, Labels]:
    labels = {} if host == keys.FLEET else {"host": records.clean(host)}
    if queue := _QUEUE.fullmatch(series):
        return "outrider_celery_queue_length", labels | {"queue": records.clean(queue[1])}
    if bot := bot_of(series):
        series = "bot." + series.split(".", 2)[-1]
        labels["bot"] = records.clean(bot)
    return "outrider_" + _ODD.sub("_", series).strip("_"), labels


def _absurd(sample: Sample) -> bool:
    """Tell what Prometheus would refuse a whole scrape for: a total that can't be one."""
    if sample.kind not in ("counter", "summary"):
        return False
    count = sample.count or 0.0
    return sample.value < 0 or count < 0 or not count.is_integer()


def _help(series: str) -> str:
    bot = bot_of(series)
    return f"Series {records.clean('bot.NAME.' + series.split('.', 2)[-1] if bot else series)}."
