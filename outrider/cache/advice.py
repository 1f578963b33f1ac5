"""What would make a cache pay more: its time to live, its room, its warming; or that it costs.

Only what the figures show is said, with the figures and the exact change. Too few calls, no advice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.analysis.recommend import Check, Recommendation
from outrider.units import show_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LEAST_CALLS = 100
LEAST_LOADS = 20
# More of the memory's calls that would hit with twice the room, or fewer with half of it.
WORTH_MORE, WORTH_LESS = 0.02, 0.005
POOR_RATIO = 0.1
_GOOD_RATIO = 0.5
_LEAST_REUSE = 0.5  # uses that a value serves after the one that loaded it
_GOOD_REUSE = 4.0
_WITHIN_S = 1800.0


def of(rows: Iterable[Mapping[str, Any]]) -> list[Recommendation]:
    """Return advice on caches, see ``outrider.cache.report.full``; most saved seconds first."""
    found = [(_seconds(row), each) for row in rows for each in _one(row)]
    return [each for _, each in sorted(found, key=lambda one: -one[0])]


def _seconds(row: Mapping[str, Any]) -> float:
    recent = row.get("recent") or {}
    return float((recent.get("load_s") or 0.0) * recent.get("misses", 0.0))


def _one(row: Mapping[str, Any]) -> list[Recommendation]:
    recent = row.get("recent") or {}
    if recent.get("calls", 0) < LEAST_CALLS:
        return []
    return [*_longer(row, recent), *_room(row, recent), *_warming(row, recent), *_away(row, recent)]


def _longer(row: Mapping[str, Any], recent: Mapping[str, Any]) -> list[Recommendation]:
    """Advise on the time to live, from the rhythm of keys: a value serves ttl / gap more uses."""
    name, gap_s, ttl_s = row["namespace"], row.get("gap_s"), row["ttl_s"]
    reuse, ratio = row.get("expected_reuse"), recent["hit_ratio"]
    if not gap_s or reuse is None or reuse >= _LEAST_REUSE or ratio >= _GOOD_RATIO:
        return []
    wanted_s = round(_GOOD_REUSE * gap_s, 1)
    seen = (
        f"{recent['calls']:.0f} calls, of which {ratio:.0%} hit",
        f"a key is asked for every {show_duration(gap_s)}, and lives {show_duration(ttl_s)}",
    )
    return [
        Recommendation(
            f"Let values of {name} live longer, if they may be that old: most expire unused.",
            None,
            setting=f'@outrider.cached(ttl_s={wanted_s:g}, namespace="{name}")',
            gain=f"about {_GOOD_REUSE / (1 + _GOOD_REUSE):.0%} of calls hit, by the rhythm of keys",
            risk=f"values up to {show_duration(wanted_s)} old",
            verify=Check(f"cache.{name}.hit_ratio", "rise", round(min(0.9, ratio + 0.1), 3),
                         _WITHIN_S),
            evidence=seen,
        )
    ]  # fmt: skip


def _room(row: Mapping[str, Any], recent: Mapping[str, Any]) -> list[Recommendation]:
    """Advise on memory, from the miss-ratio curve that each process samples."""
    name, more, evicted = row["namespace"], recent["doubled_hit_ratio"], recent["evicted"]
    less = recent["halved_hit_ratio"]
    entries = max(1, round(recent["entries"]))
    if more is None or less is None or not evicted:
        return []
    here = recent["hits_memory"] / recent["calls"]
    if more - here < WORTH_MORE:
        return []
    return [
        Recommendation(
            f"Give {name} twice the room in memory.",
            None,
            setting=f'@outrider.cached(capacity={2 * entries}, namespace="{name}")',
            gain=f"about {more:.0%} of calls found in memory instead of {here:.0%}",
            risk=f"up to {entries:,} more values in the memory of its bots together",
            verify=Check(f"cache.{name}.hit_ratio", "rise", round(here + (more - here) / 2, 3),
                         _WITHIN_S),
            evidence=(
                f"{evicted:.0f} values left memory to make room",
                f"sampled miss-ratio curve: {less:.0%} with half the room, {more:.0%} with twice",
            ),
        )
    ]  # fmt: skip


def _warming(row: Mapping[str, Any], recent: Mapping[str, Any]) -> list[Recommendation]:
    """Advise to raise the budget where it runs out and loads ahead serve; to say what is cached."""
    name, ahead = row["namespace"], row.get("ahead") or {}
    found = []
    done = ahead.get("useful", 0) + ahead.get("wasted", 0)
    if done >= LEAST_LOADS and ahead["refused"] > done and ahead["useful"] >= 0.8 * done:
        wanted = min(1.0, round(2 * float(ahead["budget"]), 3))
        found.append(
            Recommendation(
                f"Allow more loads ahead for {name}: those that were made served.",
                None,
                setting=f"[warm] budgets = {{ {name} = {wanted:g} }}",
                gain=f"up to {ahead['useful'] / done:.0%} of {ahead['refused']} loads become hits",
                risk=f"at most {wanted:.0%} more loads than caching on demand makes",
                evidence=(
                    f"{ahead['useful']} of {done} loads ahead served",
                    f"{ahead['refused']} were refused for want of budget ({ahead['budget']:g})",
                ),
            )
        )
    if recent["loads"] >= LEAST_LOADS and recent["hit_ratio"] < POOR_RATIO:
        found.append(
            Recommendation(
                f"Look whether {name} is worth a cache: hardly any call hits.",
                None,
                setting=f"outrider cache top {name}",
                gain="a look-up in Redis less for each call",
                evidence=(f"{recent['hit_ratio']:.1%} of {recent['calls']:.0f} calls hit",),
            )
        )
    return found


def _away(row: Mapping[str, Any], recent: Mapping[str, Any]) -> list[Recommendation]:
    if not recent["away"]:
        return []
    return [
        Recommendation(
            f"Bring Redis back: {recent['away']:.0f} caches of {row['namespace']} serve from"
            " memory alone.",
            None,
            setting="outrider doctor",
            evidence=(f"{recent['fallbacks']:.0f} calls did not reach Redis",),
        )
    ]
