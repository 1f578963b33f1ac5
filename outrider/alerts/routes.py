"""Routes: which channels are told of an alert, in what groups, how often, and when not."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider import hours
from outrider.alerts import labels
from outrider.alerts.message import RANK, digest
from outrider.settings_notify import parse_level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.settings import Settings
    from outrider.settings_notify import NotifySettings, RouteSettings

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Route:
    """One ``[[route]]``, with what it takes from ``[notify]``.

    ``levels`` of escalation are pairs of seconds and channels.
    """

    name: str
    match: dict[str, str]
    channels: tuple[str, ...]
    proceed: bool
    group_by: tuple[str, ...]
    group_wait_s: float
    group_interval_s: float
    repeat_s: float
    levels: tuple[tuple[float, tuple[str, ...]], ...]
    quiet: tuple[str, ...]
    digest_s: float | None
    urgent: str
    zone: zoneinfo.ZoneInfo

    def group(self, found: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Return the name of an alert's group on this route, and the labels its members share."""
        shared = {name: found.get(name, "") for name in self.group_by}
        return digest(self.name, *(f"{name}={value}" for name, value in shared.items())), shared

    def recipients(self, level: int) -> tuple[str, ...]:
        """Return the channels that are told at a level of escalation; 0 is nobody but its own."""
        added = (name for _, names in self.levels[:level] for name in names)
        return tuple(dict.fromkeys((*self.channels, *added)))

    def not_before_s(self, severity: str, now_s: float) -> float:
        """Return when a message may go out: now, or when quiet hours or a digest's time end."""
        if self.urgent != "never" and RANK[severity] >= RANK[self.urgent]:
            return now_s
        due_s = now_s
        if self.digest_s:
            due_s = (now_s // self.digest_s + 1) * self.digest_s
        return hours.end_s(self.quiet, due_s, self.zone) or due_s


def of_settings(settings: Settings) -> list[Route]:
    """Return the routes in their order, the one for what no other takes last."""
    notify, zone = settings.notify, zoneinfo.ZoneInfo(settings.timezone)
    every = tuple(notify.channels())
    given = [_route(route, notify, every, zone) for route in settings.route]
    default = Route(
        DEFAULT, {}, every, proceed=False, group_by=notify.group_by,
        group_wait_s=notify.group_wait_s, group_interval_s=notify.group_interval_s,
        repeat_s=notify.repeat_s, levels=(), quiet=(), digest_s=None, urgent="critical", zone=zone,
    )  # fmt: skip
    return [*given, default]


def of(routes: list[Route], found: Mapping[str, str]) -> list[Route]:
    """Return the routes that an alert with these labels takes: the first, more if it says so."""
    taken: list[Route] = []
    for route in routes:
        if route.name == DEFAULT and taken:
            break
        if labels.matches(route.match, found):
            taken.append(route)
            if not route.proceed:
                break
    return taken


def _route(
    given: RouteSettings, notify: NotifySettings, every: tuple[str, ...], zone: zoneinfo.ZoneInfo
) -> Route:
    def own(name: str) -> float:
        value = getattr(given, name)
        return float(getattr(notify, name) if value is None else value)

    return Route(
        given.name, given.match, given.channels or every, given.proceed,
        notify.group_by if given.group_by is None else given.group_by,
        own("group_wait_s"), own("group_interval_s"), own("repeat_s"),
        tuple(parse_level(text) for text in given.escalate),
        given.quiet, given.digest_s, given.urgent, zone,
    )  # fmt: skip
