"""Values and their distance from normal in words, by the unit that a series' name ends with."""

from __future__ import annotations

import time

from outrider import units
from outrider.samples import bot_of, is_counter

_SUFFIXES = ("_bytes", "_ratio", "_s", "_seconds")


def value(series: str, number: float) -> str:
    """Return a value of a series for people; of a counter it is a rate per second.

    >>> value("bot.canary.rss_bytes", 2.2e8), value("host.cpu.used_ratio", 0.256)
    ('209.8 MiB', '25.6 %')
    >>> value("bot.canary.updates_total", 2.5), value("redis.latency_s", 0.0004)
    ('2.5/s', '0.4 ms')
    """
    name, rate = series.removesuffix("_total"), "/s" if is_counter(series) else ""
    if name.endswith("_bytes"):
        return units.show_bytes(number) + rate
    if name.endswith("_ratio") and not rate:
        return f"{number * 100:.3g} %"
    if name.endswith("_s") and not rate:
        sign, size = "-" if number < 0 else "", abs(number)
        return sign + (f"{size * 1000:.3g} ms" if size < 1 else units.show_duration(size))
    return f"{number:.4g}{rate}"


def span(series: str, low: float, high: float) -> str:
    """Return a range of a series for people.

    >>> span("host.cpu.used_ratio", 0.1, 0.25), span("x_bytes", 1e6, 3e6)
    ('10 - 25 %', '976.6 KiB - 2.9 MiB')
    """
    first, last = value(series, low), value(series, high)
    number, _, unit = last.partition(" ")
    if unit and first.endswith(f" {unit}"):
        return f"{first.removesuffix(unit).rstrip()} - {number} {unit}"
    return first if first == last else f"{first} - {last}"


def subject(series: str) -> str:
    """Return whose what a series is.

    >>> subject("bot.canary.rss_bytes"), subject("host.cpu.used_ratio")
    ("canary's rss", 'host cpu used')
    """
    bot = bot_of(series)
    rest = series.removeprefix(f"bot.{bot}.") if bot else series
    rest = rest.removesuffix("_total")
    for suffix in _SUFFIXES:
        rest = rest.removesuffix(suffix)
    plain = rest.replace(".", " ").replace("_", " ")
    return f"{bot}'s {plain}" if bot else plain


def clock(at_s: float, now_s: float) -> str:
    """Return a time of day, with its date when it is not today's; local, as people read it."""
    at = time.localtime(at_s)
    today = at[:3] == time.localtime(now_s)[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", at)


def off(now: float, center: float) -> str:
    """Return how far a value is from another, in words.

    >>> off(140.0, 100.0), off(50.0, 100.0), off(1000.0, 100.0), off(3.0, 0.0)
    ('40 % above', '50 % below', '10 times', 'above')
    """
    if center == 0 or (now < 0) != (center < 0):
        return "above" if now > center else "below"
    ratio = now / center
    if ratio >= 3:  # noqa: PLR2004 - from there on a factor says more than a share
        return f"{ratio:.3g} times"
    return f"{abs(ratio - 1) * 100:.0f} % {'above' if now > center else 'below'}"
