"""Decides how many replicas a bot should have, where a start takes milliseconds.

Up at once: a replica that is there within the tick need not be kept in reserve. So the policy asks
how few are enough until it is asked again, and for what could come until then it uses the wait that
the objective allows: with demand ``u`` (in replicas' worth), a queue ``q`` and ``d`` seconds until
the next look, the wait stays within ``w`` if::

    replicas >= (q + d * u) / (d + w)

``u`` is the forecast plus ``margin`` times the rises that it usually misses, or a part of the
largest that it missed within the hour (see :mod:`outrider.supervisor.demand`).
The margin is learned from its own failures (adaptive conformal inference, Gibbs & Candes, NeurIPS
2021): each tick whose work waited too long raises it, each that did not lowers it by the share that
may, both weighted by how much work it was. The share that waited so tends to the one allowed,
whatever the load is like, as long as the margin is within its bounds. A load whose bursts would
need more than the upper one is cheaper to serve late: that bound is what a reserve may cost.

Down with caution: to the most that was wanted within ``cool_down_s``, and not for less than
``tolerance``. The margin's constants were found on the first halves of four public load traces by
``benchmarks.loads.tuning``; ``of_record``, its cap and ``allowed_late`` by hand on the same halves,
after results on the second halves had been seen. ``benchmarks.scaling`` tells how all do on both.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from outrider.errors import BadArgument
from outrider.supervisor.demand import Demand, Outlook

_MOST_WEIGHT = 10.0  # of one tick, against the usual: a single flood must not decide for a day
_DRAIN_S = 20.0  # a queue that is no threat is worked off within this
_USUAL_S = 3600.0
_GAP_S = 900.0  # not asked for so long: levels are forgotten, rhythms are not
_FIRST_STEP_S = 5.0
_ROUNDING = 1e-9
_MOST_OF_RECORD = 1.5  # what surprised once may come again, and somewhat larger


@dataclass(frozen=True, slots=True)
class Tuning:
    """How bold the policy is; the defaults suit all loads that it was tried on."""

    allowed_late: float = 0.00025  # of work, a quarter of the 0.001 that people ask for
    used_wait: float = 0.75  # the part of that wait which is planned with; the rest is for errors
    margin: float = 2.0  # to begin with, in usual errors
    least_margin: float = 1.0
    most_margin: float = 8.0
    of_record: float = 0.5  # this times the margin is the part of the hour's largest surprise
    learn: float = 1.0  # by how much one late tick of usual work raises the margin


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the newest decision rests on; demands in replicas' worth, ``waits_s`` a replica's."""

    before: int
    wanted: int
    needed: int
    enough: int
    demand: float
    worst: float
    waits_s: float
    rhythm: float


class Scaler:
    """Tells how many replicas are wanted, at each observation; ``reason`` tells why, in words.

    ``start_s`` is how long a replica takes until it works: the forecast reaches as far.

    >>> scaler = Scaler(maximum=20)
    >>> scaler.observe(0.0, rate=30.0, queue=0, replicas=3, service_rate=10.0)
    3
    >>> scaler.observe(5.0, rate=80.0, queue=250, replicas=3, service_rate=10.0) > 8
    True
    """

    def __init__(
        self,
        minimum: int = 1,
        maximum: int = 120,
        *,
        target_wait_s: float = 2.0,
        cool_down_s: float = 20.0,
        tolerance: float = 0.05,
        start_s: float = 0.005,
        tuning: Tuning = Tuning(),
    ) -> None:
        if not 0 <= minimum <= maximum or maximum < 1:
            raise BadArgument(
                f"minimum = {minimum}, maximum = {maximum}: expected 0 <= minimum <= maximum and"
                " maximum >= 1."
            )
        if target_wait_s <= 0 or cool_down_s < 0 or start_s < 0 or not 0 <= tolerance < 1:
            raise BadArgument(
                f"target_wait_s = {target_wait_s} must be above 0, cool_down_s = {cool_down_s} and"
                f" start_s = {start_s} not below 0, tolerance = {tolerance} from 0 to below 1."
            )
        self.minimum, self.maximum = minimum, maximum
        self.margin = tuning.margin
        self._tuning = tuning
        self._target_wait_s, self._cool_down_s = target_wait_s, cool_down_s
        self._tolerance, self._start_s = tolerance, start_s
        self._demand = Demand()
        self._at_s: float | None = None
        self._step_s = 0.0
        self._usual: float | None = None
        self._wanted: deque[tuple[float, int]] = deque()  # falling: the first is the window's most
        self._seen: _Seen | str = "nothing observed yet"

    def observe(
        self, at_s: float, rate: float, queue: float, replicas: int, service_rate: float
    ) -> int:
        """Return the replicas wanted from now on.

        ``rate`` is what arrived a second since the last call, ``queue`` what waits now,
        ``replicas`` how many worked meanwhile, ``service_rate`` what one does a second. What is not
        known (NaN, or a service rate of 0) changes nothing. Costs some ten microseconds.
        """
        if not (math.isfinite(at_s + rate + queue + service_rate) and service_rate > 0):
            self._seen = "rate, queue or service rate is not known: left as it is"
            return self._within(replicas)
        step_s = self._step(at_s)
        demand, waiting = max(0.0, rate) / service_rate, max(0.0, queue) / service_rate
        self._learn_margin(demand, waiting, replicas, step_s)
        # Replicas asked for now work after their start: until then the present ones must do.
        ahead_s = step_s + self._start_s
        outlook = self._demand.observe(at_s, demand, step_s, ahead_s)
        worst = self._worst(outlook)
        bearable_s = self._tuning.used_wait * self._target_wait_s
        needed = max(
            (waiting + ahead_s * worst) / (ahead_s + bearable_s),
            outlook.expected + waiting / _DRAIN_S,
        )
        enough = math.ceil(needed - _ROUNDING)
        wanted = self._calm(at_s, self._within(enough), replicas)
        self._seen = _Seen(
            before=replicas, wanted=wanted, needed=self._within(enough), enough=enough,
            demand=demand, worst=worst, waits_s=waiting / max(1, replicas), rhythm=outlook.rhythm,
        )  # fmt: skip
        return wanted

    @property
    def reason(self) -> str:
        """Why the newest answer is what it is, in words."""
        if isinstance(self._seen, str):
            return self._seen
        return _words(self._seen, self)

    def _worst(self, outlook: Outlook) -> float:
        """Return the demand to be ready for; of the hour's largest surprise at most half more."""
        surprise = min(_MOST_OF_RECORD, self.margin * self._tuning.of_record) * outlook.record
        missed = max(self.margin * outlook.error, surprise)
        return max(outlook.expected + missed, outlook.rhythm)

    def _step(self, at_s: float) -> float:
        """Return the seconds since the last call; what is no time at all counts as the usual."""
        since_s = 0.0 if self._at_s is None else at_s - self._at_s
        self._at_s = at_s
        if self._step_s and since_s > max(_GAP_S, 3 * self._step_s):
            self._demand.forget_level()
            self._wanted.clear()
        elif since_s > 0:
            self._step_s = since_s
        elif since_s < 0:  # a clock that was set back: what lies ahead of it is not known any more
            self._wanted.clear()
        return self._step_s or _FIRST_STEP_S

    def _learn_margin(self, demand: float, waiting: float, replicas: int, step_s: float) -> None:
        usual = demand if self._usual is None else self._usual
        self._usual = usual = usual - math.expm1(-step_s / _USUAL_S) * (demand - usual)
        if demand <= 0:
            return
        weight = min(_MOST_WEIGHT, demand / max(usual, _ROUNDING))
        late = waiting > self._target_wait_s * max(1, replicas)
        moved = self.margin + self._tuning.learn * weight * (late - self._tuning.allowed_late)
        self.margin = min(self._tuning.most_margin, max(self._tuning.least_margin, moved))

    def _calm(self, at_s: float, needed: int, replicas: int) -> int:
        """Return the most wanted of late: a need that falls is believed when it stays low."""
        while self._wanted and self._wanted[0][0] <= at_s - self._cool_down_s:
            self._wanted.popleft()
        while self._wanted and self._wanted[-1][1] <= needed:
            self._wanted.pop()
        self._wanted.append((at_s, needed))
        most = self._wanted[0][1]
        if replicas * (1 - self._tolerance) < most < replicas:
            return self._within(replicas)
        return most

    def _within(self, replicas: int) -> int:
        return min(self.maximum, max(self.minimum, replicas))


def _words(seen: _Seen, scaler: Scaler) -> str:
    now = f"the work of {seen.demand:.1f} replicas arrives"
    if seen.waits_s >= 0.01:  # noqa: PLR2004 - shown as 0.0 below
        now += f", {seen.waits_s:.1f} s of it waits"
    if seen.rhythm > seen.demand:
        now += f", at this time of the hour or day often that of {seen.rhythm:.1f}"
    could = f"up to {seen.worst:.1f} could come until the next look"
    if seen.wanted > seen.before:
        text = f"up from {seen.before} to {seen.wanted}: {now}, {could}"
    elif seen.wanted < seen.before:
        text = f"down from {seen.before} to {seen.wanted}: {now}, and no more was needed of late"
    elif seen.needed < seen.wanted:
        text = f"stays at {seen.wanted}: {seen.needed} would do, but for the cool-down or tolerance"
    else:
        text = f"stays at {seen.wanted}: {now}, {could}"
    if seen.enough > scaler.maximum:
        text += f"; {seen.enough} are needed, {scaler.maximum} is the most allowed"
    return text
