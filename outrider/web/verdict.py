"""The one sentence an operator reads first, and the judgement of a bot that it rests on.

The worst thing wins: what is down, then what is silent, then what an alert says, then what is not
ready yet, then what the analysis remarks. A sentence is a list of parts, texts and times, so that
each reader writes the times in its own zone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Part = str | float
Entry = Mapping[str, Any]

# A bot speaks once a second; ten frames missed in a row is no accident.
HEARTBEAT_LATE_S = 10.0
MOST_NAMED = 3
SEVERITY = {"critical": 3, "warning": 2, "unknown": 1, "off": 0, "ok": 0}
_HEALTH = {
    "running": "ok",
    "ready": "ok",
    "starting": "warning",
    "backoff": "critical",
    "failed": "critical",
    "stopped": "off",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the fleet does: ``ok``, ``warning``, ``critical`` or ``unknown``, and the sentence."""

    state: str
    parts: list[Part]
    why: str | None = None
    advice: str | None = None

    def text(self, now_s: float, zone: dt.tzinfo | None = None) -> str:
        """Return the sentence with its times in ``zone``; in this machine's own when None.

        >>> Verdict("critical", ["canary is down since ", 50_520.0, "."]).text(60_000.0, dt.UTC)
        'canary is down since 14:02.'
        """
        today = _local(now_s, zone).date()
        return "".join(
            part if isinstance(part, str) else _time(_local(part, zone), today)
            for part in self.parts
        )

    def shown(self, now_s: float) -> dict[str, Any]:
        """Return it for a page or a terminal."""
        return {
            "state": self.state,
            "text": self.text(now_s),
            "parts": self.parts,
            "why": self.why,
            "advice": self.advice,
        }


def health(state: str, *, known: bool, heartbeat_age_s: float | None) -> str:
    """Return how a bot does: ``ok``, ``warning``, ``critical``, ``off`` or ``unknown``.

    >>> health("ready", known=True, heartbeat_age_s=45.0)
    'warning'
    """
    if not known:
        return "unknown"
    found = _HEALTH.get(state, "unknown")
    late = heartbeat_age_s is not None and heartbeat_age_s > HEARTBEAT_LATE_S
    return "warning" if found == "ok" and late else found


def judge(hosts: Sequence[Entry], bots: Sequence[Entry], alerts: Sequence[Entry]) -> Verdict:
    """Return the verdict on a fleet as ``view.snapshot`` describes it."""
    if not any(host["fresh"] for host in hosts):
        return _blind(hosts)
    down = [bot for bot in bots if bot["health"] == "critical"]
    silent = [host for host in hosts if not host["fresh"]]
    firing = [a for a in alerts if a["state"] == "firing" and a["severity"] != "info"]
    if down:
        parts = _some(down, len(bots), "bot", "down")
        return Verdict("critical", parts, down[0]["reason"], _advice(hosts, down[0]["host"]))
    if silent:
        parts = _some(silent, len(hosts), "host", "silent")
        return Verdict("critical", parts, None, f"See whether {silent[0]['name']} runs.")
    if firing:
        state = max((alert["severity"] for alert in firing), key=lambda name: SEVERITY.get(name, 1))
        first = firing[0]
        return Verdict(
            state, _alerts(bots, firing), first["summary"], _advice(hosts, first["host"])
        )
    return _uneasy(hosts, bots) or _calm(hosts, bots)


def _uneasy(hosts: Sequence[Entry], bots: Sequence[Entry]) -> Verdict | None:
    """Say which bots are not well though they are not down; None when all are."""
    late = [bot for bot in bots if bot["health"] == "warning"]
    unseen = [bot for bot in bots if bot["health"] == "unknown"]
    if late:
        what = "starting" if all(bot["state"] == "starting" for bot in late) else "not responding"
        parts = _some(late, len(bots), "bot", what)
        return Verdict("warning", parts, late[0]["reason"], _advice(hosts, late[0]["host"]))
    if unseen:
        why = f"the supervisor of {unseen[0]['host']} does not answer."
        parts = _some(unseen, len(bots), "bot", "unknown")
        return Verdict("warning", parts, why, "See whether it runs: outrider supervise")
    return None


def _blind(hosts: Sequence[Entry]) -> Verdict:
    """Say that nothing is measured now; a page of old numbers must never look healthy."""
    if not hosts:
        return Verdict(
            "unknown", ["Nothing has reported yet."], advice="Start the fleet: outrider up"
        )
    newest = max((host["at_s"] for host in hosts if host["at_s"]), default=None)
    if newest is None:
        return Verdict("unknown", ["The first measurement is on its way."])
    return Verdict(
        "critical",
        ["Nothing was measured since ", newest, "."],
        advice="See whether the workers and beat run.",
    )


def _calm(hosts: Sequence[Entry], bots: Sequence[Entry]) -> Verdict:
    remarked = next((host for host in hosts if SEVERITY.get(host["state"], 0) > 1), None)
    if remarked:
        words = f"{_bots_are(bots)}, but on {remarked['name']}: {remarked['verdict']}"
        return Verdict(
            remarked["state"],
            [words.rstrip(".") + "."],
            "; ".join(remarked["evidence"][1:]) or None,
            _advice(hosts, remarked["name"]),
        )
    return Verdict("ok", [_bots_are(bots) + "."], None, _advice(hosts))


def _advice(hosts: Sequence[Entry], near: str = "") -> str | None:
    """Return what the analysis recommends: for the host in question, or else for another."""
    ordered = sorted(hosts, key=lambda host: host["name"] != near)
    return next((host["advice"][0] for host in ordered if host["advice"]), None)


def _some(found: Sequence[Entry], of: int, kind: str, what: str) -> list[Part]:
    """Say which, in the form "1 of 6 bots is down: canary since 14:02"."""
    names = [(entry["name"], entry["since_s"]) for entry in found]
    return [f"{len(found)} of {of} {kind}{_s(of)} {_is(len(found))} {what}: ", *_named(names)]


def _alerts(bots: Sequence[Entry], firing: Sequence[Entry]) -> list[Part]:
    fires = "alert fires" if len(firing) == 1 else "alerts fire"
    names = [
        (f"{alert['rule']} on {alert['on']}" if alert["on"] else alert["rule"], alert["since_s"])
        for alert in firing
    ]
    return [f"{_bots_are(bots)}, but {len(firing)} {fires}: ", *_named(names)]


def _named(names: Sequence[tuple[str, float | None]]) -> Iterator[Part]:
    for place, (name, since_s) in enumerate(names[:MOST_NAMED]):
        yield f", {name}" if place else name
        if since_s:
            yield " since "
            yield since_s
    more = len(names) - MOST_NAMED
    yield f" and {more} more." if more > 0 else "."


def _bots_are(bots: Sequence[Entry]) -> str:
    off = [bot for bot in bots if bot["health"] == "off"]
    well = sum(bot["health"] == "ok" for bot in bots)
    if not bots:
        return "The host is measured and no bot is declared"
    if well == len(bots):
        return "The bot is healthy" if well == 1 else f"All {well} bots are healthy"
    if off and well + len(off) == len(bots):
        return f"{well} of {len(bots)} bots {_is(well)} healthy and {len(off)} stopped on purpose"
    return f"{well} of {len(bots)} bots {_is(well)} healthy"


def _local(at_s: float, zone: dt.tzinfo | None) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_s, tz=dt.UTC).astimezone(zone)


def _time(at: dt.datetime, today: dt.date) -> str:
    return at.strftime("%H:%M" if at.date() == today else "%d %b %H:%M")


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
