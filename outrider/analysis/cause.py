"""Why the fleet is not as usual: the parts that changed, ranked by how much they explain.

Drawn from what worked on public faults: go down the fleet's own graph from what people notice to
the parts that changed and rest on nothing that changed; judge a change by the shift of its median;
and let a cause not begin after what it is to explain. For a part *p* ::

    own(p)     = its strongest signal, raised by the others:  1 - (1 - s1) * prod(1 - 0.3 * si)
    unexplained(p) = of the parts d below p that changed no later than p:
                     the product of 1 - 0.85 * own(d)           where p can't work without d
                     the least of 1 - 0.6 * own(d) * min(1, 4 / size(p))  where d only slows p,
                     and less where others of p's kind are not slowed
    covers(p)  = share of the symptoms (slow, failing or silent handlers) that have p below them
    score(p)   = own(p) * unexplained(p) * (0.7 + 0.3 * covers(p))

Two parts are known by inference. The *database* is slow when queries of two bots or more are; a
platform (*api*) is to blame for handlers that wait or fail while nothing that we can see of their
bot changed, the more the longer it lasts, and it is the common one when that is so of two bots. A
score below 0.45 is no cause: one signal that changed by just what counts is not enough.

``confidence`` is the share of injected faults whose first cause had a score like this and was the
right one: see ``_CONFIDENCE`` and ``benchmarks.diagnose``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from outrider import units
from outrider.analysis import graph as graphs
from outrider.samples import bot_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from outrider.analysis.graph import Graph
    from outrider.analysis.onset import Change

LEAST_SCORE = 0.45
MOST_CAUSES = 5
# Seen by people, or only the way from a cause to them: never a cause.
_SYMPTOMS = frozenset({"handlers", "loads"})
_ODD = 0.3
_NEEDED, _SLOWED = 0.85, 0.6
# A core that is short makes a wait so many times the least that counts; what is more, it does not.
_SLOWED_TIMES = 4.0
_SLOWED_ALIKE = frozenset({"loop", "queries", "pool"})
_SHORT = 0.7
_LATER_TICKS = 3.0
_SUPPORT = 0.3
# By elimination nothing is known for sure, so it must last: 5 ticks count 0.7, 12 count 0.94.
_LASTING_TICKS = 3.0
_INFERRED = 0.85
# One bot that waits may have to thank itself: for a mix of calls, for people who press twice.
_ALONE = 0.6
_MOST_EVIDENCE = 6
# Score and share of right first causes at it, (right + 1) / (all + 2), in one run of
# benchmarks.diagnose: 2 of 4 below 0.55 (two looks at quiet named one), 28 of 30 above. Too few
# were wrong to tell 0.6 from 0.9 by more than these steps.
_CONFIDENCE = ((0.45, 0.5), (0.6, 0.85), (0.75, 0.91), (0.9, 0.93))


@dataclass(frozen=True, slots=True)
class Evidence:
    """One series that changed: in words, and its numbers in the units of the signal.

    ``spreads`` is the change in robust standard deviations, ``onset_s`` when it began.
    """

    series: str
    words: str
    before: float
    now: float
    spreads: float
    onset_s: float


@dataclass(frozen=True, slots=True)
class Cause:
    """A part of the fleet that explains what is wrong.

    ``kind`` is what it is (``pool``), ``subject`` whose (``canary``), ``lead_s`` how long before
    the first symptom it changed (negative: after; None: nobody notices yet), ``path`` the way from
    a symptom down to it, ``explains`` the bots that suffer by it.
    """

    part: str
    kind: str
    subject: str
    words: str
    confidence: float
    score: float
    onset_s: float
    lead_s: float | None
    explains: tuple[str, ...]
    path: tuple[str, ...]
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """What is known of one part: how odd it is, by how much, since when."""

    own: float
    size: float
    onset_s: float
    changes: tuple[Change, ...]


def rank(changes: Sequence[Change], graph: Graph, *, step_s: float) -> list[Cause]:
    """Return the causes of what changed, the likeliest first; none when nothing is wrong."""
    parts = _parts(changes)
    if not parts:
        return []
    edges = _with_inferred(parts, graph, step_s)
    symptoms = {
        part: found for part, found in parts.items()
        if graphs.kind_of(part) == "handlers" and found.own >= _ODD
    }  # fmt: skip
    scored = []
    for part, found in parts.items():
        if graphs.kind_of(part) in _SYMPTOMS:
            continue
        covered, suffering = _covered(part, symptoms, parts, edges)
        reach = 0.7 + 0.3 * covered if symptoms else 0.85
        score = found.own * _unexplained(part, parts, edges, step_s) * reach
        if score >= LEAST_SCORE:
            scored.append((score, part, suffering))
    scored.sort(key=lambda entry: (-entry[0], parts[entry[1]].onset_s, entry[1]))
    return [
        _cause(part, score, suffering, parts, edges)
        for score, part, suffering in scored[:MOST_CAUSES]
    ]


def _parts(changes: Iterable[Change]) -> dict[str, _Part]:
    grouped: dict[str, list[Change]] = {}
    for change in changes:
        grouped.setdefault(change.column.part, []).append(change)
    return {part: _part(found) for part, found in grouped.items()}


def _part(changes: list[Change]) -> _Part:
    changes = sorted(changes, key=lambda change: -change.strength)
    quiet = 1.0 - changes[0].strength
    for other in _witnesses(changes)[1:]:
        quiet *= 1.0 - _SUPPORT * other.strength
    strong = [each for each in changes if each.strength >= _ODD] or changes[:1]
    return _Part(
        1.0 - quiet, max(each.size for each in strong),
        min(each.onset_s for each in strong), tuple(changes),
    )  # fmt: skip


def _witnesses(changes: list[Change]) -> list[Change]:
    """Return the first change of each kind from each bot: five caches of a bot say one thing."""
    first: dict[tuple[str, str | None], Change] = {}
    for change in changes:
        first.setdefault((change.column.signal.pattern, bot_of(change.column.series)), change)
    return list(first.values())


def _with_inferred(parts: dict[str, _Part], graph: Graph, step_s: float) -> Graph:
    """Add what is known only by what it does to others; return the graph with its edges."""
    if outside := parts.get("outside"):
        # Where there are cores to spare, nobody is kept waiting by others' work.
        short = parts["cpu"].own if "cpu" in parts else 0.0
        parts["outside"] = replace(outside, own=outside.own * max(_ODD, min(1.0, short / _SHORT)))
    slow = [part for part in parts if graphs.kind_of(part) == "queries"]
    needs = dict(graph.needs) | _in_common(parts, "database", slow, graph)
    waiting = _callers(parts, graph, step_s)
    inferred = set(waiting) - set(parts)
    parts.update(waiting)
    if len(waiting) == 1:
        for api in inferred:
            parts[api] = replace(parts[api], own=_ALONE * parts[api].own)
    return graphs.Graph(needs | _in_common(parts, "api", list(waiting), graph), graph.soft)


def _callers(parts: Mapping[str, _Part], graph: Graph, step_s: float) -> dict[str, _Part]:
    """Return, as ``api:BOT``, what each bot calls outside, where that is seen or must be so."""
    # Whom the fleet itself asks is no caller of a platform: its refusals are its own.
    asked = {
        graphs.owner_of(lower)
        for part, below in graph.needs.items() if graphs.kind_of(part) == "handlers"
        for lower in below
        if graphs.kind_of(lower) == "life" and graphs.owner_of(lower) != graphs.owner_of(part)
    }  # fmt: skip
    found = {}
    for part in parts:
        bot = graphs.owner_of(part)
        seen = parts.get(f"api:{bot}")
        if seen is None and graphs.kind_of(part) == "handlers" and bot not in asked:
            seen = _waits_outside(part, parts, graph, step_s)
        if seen is not None and seen.own >= _ODD:
            found[f"api:{bot}"] = seen
    return found


def _in_common(
    parts: dict[str, _Part], part: str, through: Sequence[str], graph: Graph
) -> dict[str, frozenset[str]]:
    """Blame what two or more odd parts have in common; return their edges to it."""
    through = [each for each in through if parts[each].own >= _ODD]
    if len(through) < 2:  # noqa: PLR2004 - one alone has nothing in common with others
        return {}
    _infer(parts, part, [parts[each] for each in through])
    own = {each: graph.needs.get(each, frozenset()) for each in (part, *through)}
    # What they all need, the common part needs.
    own[part] |= frozenset.intersection(*(own[each] for each in through)) - {part}
    return own | {each: own[each] | {part} for each in through}


def _infer(parts: dict[str, _Part], part: str, through: Iterable[_Part]) -> None:
    """Blame what several parts have in common, with their evidence behind its own."""
    seen = list(through)
    quiet = math.prod(1.0 - _INFERRED * each.own for each in seen)
    own = parts.get(part)
    changes = tuple(each.changes[0] for each in seen)
    onset_s = min(each.onset_s for each in seen)
    size = max(each.size for each in seen)
    if own:
        quiet *= 1.0 - own.own
        changes = own.changes + changes
        onset_s, size = min(own.onset_s, onset_s), max(own.size, size)
    parts[part] = _Part(1.0 - quiet, size, onset_s, changes)


def _waits_outside(
    part: str, parts: Mapping[str, _Part], graph: Graph, step_s: float
) -> _Part | None:
    """Return handlers' waiting or failing as far as nothing below them explains it."""
    felt = [
        change for change in parts[part].changes
        if change.column.signal.role in ("duration", "error") and change.strength >= _ODD
    ]  # fmt: skip
    if not felt:
        return None
    found = _part(felt)
    lasted = 1.0 - 2.0 ** -(max(change.ticks for change in felt) / _LASTING_TICKS)
    own = _INFERRED * lasted * found.own
    own *= _unexplained(part, {**parts, part: found}, graph, step_s)
    return replace(found, own=own) if own >= _ODD else None


def _unexplained(part: str, parts: Mapping[str, _Part], graph: Graph, step_s: float) -> float:
    """Return the share of a part's oddness that what it rests on leaves open."""
    found = parts[part]
    left, slowed = 1.0, 1.0
    alike = _alike(part, parts, graph)
    # What did not change hands nothing up, so the way down is through what did.
    for below, is_soft in graph.below(part, through=parts).items():
        lower = parts[below]
        if lower.onset_s > found.onset_s + _LATER_TICKS * step_s:
            continue
        if is_soft:
            slowing = lower.own * min(1.0, _SLOWED_TIMES / max(found.size, 1.0)) * alike
            slowed = min(slowed, 1.0 - _SLOWED * slowing)
        else:
            left *= 1.0 - _NEEDED * lower.own
    return left * slowed


def _alike(part: str, parts: Mapping[str, _Part], graph: Graph) -> float:
    """Return how far a part shares its lot: 1 when all of its kind are odd, a quarter when none is.

    A core that is short slows all loops and all queries; what one bot has alone is its own.
    """
    kind = graphs.kind_of(part)
    others = [each for each in graph.needs if graphs.kind_of(each) == kind and each != part]
    if kind not in _SLOWED_ALIKE or not others:
        return 1.0
    odd = sum(1 for each in others if each in parts and parts[each].own >= _ODD)
    return 0.25 + 0.75 * odd / len(others)


def _covered(
    part: str, symptoms: Mapping[str, _Part], parts: Mapping[str, _Part], graph: Graph
) -> tuple[float, tuple[str, ...]]:
    """Return the share of the symptoms that a part explains, and the bots that show them."""
    whole = sum(found.own for found in symptoms.values())
    covered, bots = 0.0, []
    for symptom, found in symptoms.items():
        is_soft = graph.below(symptom).get(part)
        if is_soft is None or (is_soft and part not in graph.below(symptom, through=parts)):
            continue
        covered += found.own * (0.5 if is_soft else 1.0)
        bots.append(graphs.owner_of(symptom))
    return (covered / whole if whole else 0.0), tuple(sorted(bots))


def _cause(
    part: str,
    score: float,
    suffering: tuple[str, ...],
    parts: Mapping[str, _Part],
    graph: Graph,
) -> Cause:
    found = parts[part]
    felt_s = [parts[f"handlers:{bot}"].onset_s for bot in suffering]
    kind, subject = graphs.kind_of(part), graphs.owner_of(part)
    first = f"handlers:{suffering[0]}" if suffering else part
    return Cause(
        part=part,
        kind=kind,
        subject=subject,
        words=f"{title(part)}; {_words(found.changes[0])}",
        confidence=confidence(score),
        score=round(score, 3),
        onset_s=found.onset_s,
        lead_s=min(felt_s) - found.onset_s if felt_s else None,
        explains=suffering,
        path=_way(first, part, graph),
        evidence=tuple(
            Evidence(
                change.column.series, _words(change), change.before, change.now,
                round(change.spreads, 1), change.onset_s,
            )
            for change in found.changes[:_MOST_EVIDENCE]
        ),
    )  # fmt: skip


def confidence(score: float) -> float:
    """Return how likely a first cause of this score is the right one.

    >>> confidence(0.3), confidence(0.675), confidence(1.0)
    (0.0, 0.88, 0.93)
    """
    if score < LEAST_SCORE:
        return 0.0
    scores, shares = zip(*_CONFIDENCE, strict=True)
    return round(float(np.interp(score, scores, shares)), 3)


def _way(top: str, part: str, graph: Graph) -> tuple[str, ...]:
    """Return the shortest way down the graph, both ends included."""
    ways: list[tuple[str, ...]] = [(top,)]
    seen = {top}
    for way in ways:
        if way[-1] == part:
            return way
        lower = graph.needs.get(way[-1], frozenset()) | graph.soft.get(way[-1], frozenset())
        for below in sorted(lower - seen):
            seen.add(below)
            ways.append((*way, below))
    return (part,)


_TITLES = {
    "cpu": "The CPU of the host is short",
    "outside": "Processes outside the fleet take the CPU",
    "memory": "The memory of the host is short",
    "disk space": "Disk space runs out",
    "disk": "A disk is too slow",
    "network": "The network loses packets",
    "files": "Open files of the host run out",
    "life": "{0} does not run",
    "process": "{0} takes the CPU",
    "leak": "{0} leaks",
    "loop": "Something blocks the event loop of {0}",
    "queries": "Queries of {0} are slow",
    "pool": "The connection pool of {0} is exhausted",
    "database": "The database is slow",
    "redis": "Redis {0} does not keep up",
    "cache": "The cache {0} is cold",
    "api": "The platform's API is slow or refuses calls",
    "queue": "The queue {0} is full",
    "workers": "Workers do not take tasks",
    "broker": "The broker of {0} does not answer",
}


def title(part: str) -> str:
    """Return what a cause in a part means, in words.

    >>> title("pool:canary"), title("cache:courier.parcels")
    ('The connection pool of canary is exhausted', 'The cache courier.parcels is cold')
    """
    kind, _, rest = part.partition(":")
    if kind == "api" and rest:
        return f"What {rest} calls outside is slow or refuses"
    if kind == "workers" and rest:
        return f"Workers of {rest} do not take tasks"
    return _TITLES[kind].format(rest).replace("  ", " ")


def _words(change: Change) -> str:
    """Return a change as an operator would say it."""
    line = change.column.signal
    before, now = (show(value, line.unit) for value in (change.before, change.now))
    whose = graphs.owner_of(change.column.part) if ":" in change.column.part else ""
    whose = f" of {whose}" if whose and whose not in change.column.words else ""
    if line.role == "state" and not line.unit:
        return change.column.words
    verb = " takes" if line.role == "duration" else ":"
    return f"{change.column.words}{whose}{verb} {now} instead of {before}"


def show(value: float, unit: str) -> str:
    """Return a number with its unit.

    >>> show(0.93, "ratio"), show(0.0042, "s"), show(2.5, "cores"), show(3 << 20, "bytes")
    ('93%', '4.2 ms', '2.5 cores', '3.0 MiB')
    """
    match unit:
        case "ratio":
            return f"{value:.0%}"
        case "s":
            return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
        case "bytes":
            return units.show_bytes(value)
        case "bytes/s":
            return f"{units.show_bytes(value)}/s"
        case "cores":
            return f"{value:.2g} cores"
        case _:
            return f"{value:.3g}{unit}"
