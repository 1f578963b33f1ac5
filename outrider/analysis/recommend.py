"""What to do about a cause: an action that exists, what it should bring, what it may cost.

No recommendation without evidence; no cause and no bottleneck, no recommendation. An action is a
task that can be run as it stands, or a setting to change. Each says how one sees that it helped:
the series that shall fall or rise, to where, and within how long.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from outrider.analysis.cause import show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from outrider.analysis.bottleneck import Bottleneck
    from outrider.analysis.cause import Cause

DIAGNOSE = "outrider.supervise.diagnose"
RESTART = "outrider.supervise.restart"
START = "outrider.supervise.start"
TUNE_DATABASE = "outrider.tune.database"
TUNE_PROCESS = "outrider.tune.process"
TUNE_CACHE = "outrider.tune.cache"
WARM = "outrider.warm.plan"
_NONE = "none: it only looks"
_UNKNOWN = "unknown"
_MOST = 5
# Later causes are often shadows of the first.
_SURE_ENOUGH = 0.5


@dataclass(frozen=True, slots=True)
class Check:
    """How to see that it helped: a series shall ``fall`` or ``rise`` past a value in time."""

    series: str
    direction: Literal["fall", "rise"]
    to: float
    within_s: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """An action in words, and the task with arguments, or the setting, that carries it out.

    ``gain`` is a number with its reason, or "unknown"; ``evidence`` what it rests on.
    """

    text: str
    task: str | None
    kwargs: dict[str, Any] = field(default_factory=dict)
    setting: str | None = None
    gain: str = _UNKNOWN
    risk: str = _NONE
    verify: Check | None = None
    evidence: tuple[str, ...] = ()


def against_all(
    causes: Sequence[Cause], bottleneck: Bottleneck | None, *, host: str | None = None
) -> list[Recommendation]:
    """Return what helps against the causes, or else the bottleneck, the most direct first."""
    found: list[Recommendation] = []
    for cause in causes:
        if cause is causes[0] or cause.confidence >= _SURE_ENOUGH:
            found += _against_cause(cause, host)
    unique = {(each.text, each.task, each.setting): each for each in found}
    return list(unique.values())[:_MOST] or _against_full(bottleneck)


def _against_full(bottleneck: Bottleneck | None) -> list[Recommendation]:
    """Return what helps against a bottleneck that has no known cause, the most direct first."""
    if bottleneck is None:
        return []
    bot, resource, seen = bottleneck.cause, bottleneck.resource, bottleneck.evidence
    if resource == "memory" and bot:
        return [
            Recommendation(
                f"Look into {bot}: it holds most of the memory.", DIAGNOSE, {"bot": bot},
                evidence=seen,
            ),
            Recommendation(
                f"Restart {bot} to free its memory now.", RESTART,
                {"bot": bot, "why": "memory is short"}, risk=_restarts(bot), evidence=seen,
            ),
        ]  # fmt: skip
    if resource.startswith(("database", "connection pool")):
        text = "Compare pool sizes with the server's limit."
        return [Recommendation(text, TUNE_DATABASE, evidence=seen)]
    if bot:
        text = f"Look into {bot}: it uses most of the {resource}."
        return [Recommendation(text, DIAGNOSE, {"bot": bot}, evidence=seen)]
    text = f"See which process uses the {resource}."
    return [Recommendation(text, TUNE_PROCESS, evidence=seen)]


def _against_cause(cause: Cause, host: str | None) -> list[Recommendation]:
    make = _REMEDIES.get(cause.kind)
    return make(cause, host) if make else []


def _made(cause: Cause, text: str, task: str | None, **fields: Any) -> Recommendation:
    seen = tuple(each.words for each in cause.evidence)
    return Recommendation(text, task, verify=_check(cause), evidence=seen, **fields)


def _check(cause: Cause) -> Check:
    """Return that the strongest series goes back to within a tenth of where it was."""
    first = cause.evidence[0]
    falls = first.now > first.before
    return Check(
        first.series, "fall" if falls else "rise",
        round(first.before + 0.1 * (first.now - first.before), 6), 120.0,
    )  # fmt: skip


def _restarts(bot: str) -> str:
    return f"{bot} is away for some seconds and what it holds in memory is lost"


def _on(host: str | None, **kwargs: Any) -> dict[str, Any]:
    return kwargs | ({"host": host} if host else {})


def _outside(cause: Cause, _host: str | None) -> list[Recommendation]:
    first = cause.evidence[0]
    cores = max(0.0, first.now - first.before)
    gain = f"{cores:.1f} cores, which is what others took since it began"
    text = "See which process outside the fleet takes the CPU, and end or move it."
    return [_made(cause, text, TUNE_PROCESS, gain=gain)]


def _process(cause: Cause, host: str | None) -> list[Recommendation]:
    bot, first = cause.subject, cause.evidence[0]
    gain = f"{max(0.0, first.now - first.before):.1f} cores, which is what {bot} took more"
    why = "it takes the CPU"
    return [
        _made(cause, f"Look into {bot}: what is it busy with?", DIAGNOSE,
              kwargs=_on(host, bot=bot)),
        _made(cause, f"Restart {bot} to get the cores back now.", RESTART,
              kwargs=_on(host, bot=bot, why=why), gain=gain, risk=_restarts(bot)),
        _made(cause, f"Give {bot} a limit of CPU.", None, setting=f"bots.{bot}.limits.cpu = 0.5",
              gain="an alert within a minute when it happens again", risk="none: it only alerts"),
    ]  # fmt: skip


def _leak(cause: Cause, host: str | None) -> list[Recommendation]:
    bot, first = cause.subject, cause.evidence[0]
    unit = "bytes" if first.series.endswith("bytes") else ""
    gain = f"{show(max(0.0, first.now - first.before), unit)}, which it gained since it began"
    return [
        _made(cause, f"Look into {bot}: what does it keep?", DIAGNOSE, kwargs=_on(host, bot=bot)),
        _made(cause, f"Restart {bot}: that frees what it keeps.", RESTART,
              kwargs=_on(host, bot=bot, why="it leaks"), gain=gain, risk=_restarts(bot)),
    ]  # fmt: skip


def _life(cause: Cause, host: str | None) -> list[Recommendation]:
    bot = cause.subject
    given_up = any(each.series.endswith(".failed") for each in cause.evidence)
    others = [each for each in cause.explains if each != bot]
    gain = f"{bot} works again" + (f", and {', '.join(others)} with it" if others else "")
    if given_up:
        return [_made(cause, f"Start {bot} again; it crashed too often.", START,
                      kwargs=_on(host, bot=bot), gain=gain, risk="it may crash again")]  # fmt: skip
    return [
        _made(cause, f"See why {bot} does not run.", DIAGNOSE, kwargs=_on(host, bot=bot)),
        _made(cause, f"Restart {bot}.", RESTART, kwargs=_on(host, bot=bot, why="it does not run"),
              gain=gain, risk=_restarts(bot)),
    ]  # fmt: skip


def _loop(cause: Cause, host: str | None) -> list[Recommendation]:
    bot, first = cause.subject, cause.evidence[0]
    gain = f"up to {show(max(0.0, first.now - first.before), 's')} off each of its handlers"
    text = f"Find what blocks {bot}: its stacks are in the diagnosis."
    return [_made(cause, text, DIAGNOSE, kwargs=_on(host, bot=bot), gain=gain)]


def _pool(cause: Cause, host: str | None) -> list[Recommendation]:
    bot = cause.subject
    return [
        _made(cause, "Compare pool sizes with the server's limit.", TUNE_DATABASE),
        _made(cause, f"Restart {bot}: connections that it does not give back are freed.", RESTART,
              kwargs=_on(host, bot=bot, why="its pool is exhausted"),
              gain="no more waiting for a connection, until they are held again",
              risk=_restarts(bot)),
    ]  # fmt: skip


def _database(cause: Cause, _host: str | None) -> list[Recommendation]:
    first = cause.evidence[0]
    gain = _UNKNOWN
    if first.series.endswith("query_seconds_total"):
        gain = f"up to {show(max(0.0, first.now - first.before), 's')} off each query"
    text = "See which statements take the time, and who holds locks."
    return [_made(cause, text, TUNE_DATABASE, gain=gain)]


def _redis(cause: Cause, _host: str | None) -> list[Recommendation]:
    text = "See what Redis is busy with: `outrider doctor`, and its slow log."
    return [_made(cause, text, TUNE_CACHE)]


def _cache(cause: Cause, _host: str | None) -> list[Recommendation]:
    first = cause.evidence[0]
    share = max(0.0, first.now - first.before)
    name = cause.part.partition(":")[2]
    return [
        _made(cause, f"Warm {name}: load what will be asked for next.", WARM,
              gain=f"up to {share:.0%} of its calls hit again, as many as before it was cold",
              risk="extra loads, at most the warming budget's share of demand"),
        _made(cause, "See which caches miss, and why.", TUNE_CACHE),
    ]  # fmt: skip


def _api(cause: Cause, host: str | None) -> list[Recommendation]:
    bot = cause.subject or (cause.explains[0] if cause.explains else "")
    if not bot:
        return []
    text = f"See what {bot} waits for: the log has the answers of the platform."
    return [_made(cause, text, DIAGNOSE, kwargs=_on(host, bot=bot))]


def _queue(cause: Cause, _host: str | None) -> list[Recommendation]:
    name = cause.part.partition(":")[2]
    app, _, queue = name.rpartition("/")
    where = f" of {app}" if app else ""
    tasks = cause.evidence[0].now
    return [
        _made(cause, f"Give the queue {queue}{where} more workers, or send less.", None,
              setting=f"celery worker --queues={queue} --concurrency",
              gain=f"twice the processes take twice as many of the {tasks:.0f} that wait, if the"
              " tasks wait for others and not for the CPU",
              risk="more connections to what the tasks use"),
    ]  # fmt: skip


_REMEDIES: dict[str, Callable[[Cause, str | None], list[Recommendation]]] = {
    "outside": _outside, "cpu": _outside, "process": _process, "leak": _leak, "life": _life,
    "loop": _loop, "pool": _pool, "queries": _database, "database": _database, "redis": _redis,
    "cache": _cache, "api": _api, "queue": _queue,
}  # fmt: skip
