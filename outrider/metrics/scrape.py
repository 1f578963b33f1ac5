"""Prometheus endpoints that bots have already, scraped once a tick and turned into series.

Each target is asked in a thread of its own (see ``concurrently``): a dead one delays the tick by
its own timeout at most, and the others not at all. What is not wanted is thrown away before it is
parsed, since parsing is most of the cost. At most ``limit`` series of a target are kept, first
those that were kept before; the rest is counted in ``scrape.NAME.dropped`` and logged once.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outrider.metrics import exposed
from outrider.metrics.concurrently import Crew
from outrider.metrics.fetch import Fetch
from outrider.store.connection import without_password

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outrider.metrics.exposed import Found, Histograms
    from outrider.settings import ScrapeSettings

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Scraped:
    """What one look at a target brought."""

    values: dict[str, float]
    samples: int
    dropped: int
    took_s: float


@dataclass(slots=True)
class _Target:
    settings: ScrapeSettings
    histograms: Histograms = field(default_factory=dict)
    kept: dict[str, None] = field(default_factory=dict)
    trouble: str = ""
    overflowing: bool = False

    def keep(self, found: Found) -> Scraped:
        """Return what there is room for; series that were kept before come first."""
        settings = self.settings
        prefix = f"bot.{settings.bot}." if settings.bot else f"scrape.{settings.name}."
        earlier = [name for name in self.kept if name in found.values]
        names = dict.fromkeys([*earlier, *found.values])
        self.kept = dict.fromkeys(list(names)[: settings.limit])
        dropped = found.dropped + len(names) - len(self.kept)
        values = {prefix + name: found.values[name] for name in self.kept}
        return Scraped(values, found.samples, dropped, 0.0)


class _Scrape:
    """A job for the crew: fetch, parse, keep."""

    def __init__(self, target: _Target) -> None:
        self._target = target
        self._fetch = Fetch(
            target.settings.url.get_secret_value(), timeout_s=target.settings.timeout_s
        )
        self.timeout_s = target.settings.timeout_s

    def run(self) -> Scraped:
        start_s = time.perf_counter()
        page = self._fetch.run()
        took_s = time.perf_counter() - start_s
        found = exposed.read(page.text, page.content_type, wanted=self._target.settings.metrics)
        self._target.histograms = exposed.quantiles(found, self._target.histograms)
        scraped = self._target.keep(found)
        scraped.took_s = took_s
        return scraped

    def cancel(self) -> None:
        self._fetch.cancel()


class ScrapeCollector:
    """Collects ``scrape.NAME.*``, or ``bot.BOT.*`` of targets that belong to a bot."""

    def __init__(self, targets: Iterable[ScrapeSettings]) -> None:
        self._targets = {target.name: _Target(target) for target in targets}
        self._crew: Crew[Scraped] = Crew()

    def collect(self, now_s: float) -> dict[str, float]:
        """Ask every target at once. One that is away is ``scrape.NAME.up`` 0 and nothing else."""
        del now_s
        values: dict[str, float] = {}
        own: dict[str, float] = {}
        jobs = {name: _Scrape(target) for name, target in self._targets.items()}
        for name, answer in self._crew.ask(jobs).items():
            target = self._targets[name]
            if isinstance(answer, Exception):
                own[f"scrape.{name}.up"] = 0.0
                _say_away(target, answer)
                continue
            _say_here(target, answer)
            values |= answer.values
            own |= {
                f"scrape.{name}.up": 1.0,
                f"scrape.{name}.duration_s": round(answer.took_s, 3),
                f"scrape.{name}.samples": float(answer.samples),
                f"scrape.{name}.dropped": float(answer.dropped),
            }
        return values | own


def _say_away(target: _Target, error: Exception) -> None:
    """Log why a target is away, once for each reason."""
    why = str(error) or type(error).__name__
    if why != target.trouble:
        shown = without_password(target.settings.url.get_secret_value())
        logger.warning("scrape %s (%s): %s", target.settings.name, shown, why)
    target.trouble = why


def _say_here(target: _Target, scraped: Scraped) -> None:
    name = target.settings.name
    if target.trouble:
        logger.info("scrape %s answers again", name)
    target.trouble = ""
    if scraped.dropped and not target.overflowing:
        logger.warning(
            "scrape %s: %d series more than its limit of %d were left out; "
            "choose with metrics = [...], or raise limit",
            name, scraped.dropped, target.settings.limit,
        )  # fmt: skip
    target.overflowing = bool(scraped.dropped)
