"""The scaling rules of others, from their own texts, with the settings that their users have.

All see the same rate, queue and replicas as ours, and all get replicas that start at once.
"""

from __future__ import annotations

import math
from collections import deque

from benchmarks.loads.simulation import LEAST, MOST, TICK_S


class Hpa:
    """Kubernetes' HorizontalPodAutoscaler on utilisation.

    ``ceil(n * metric / target)`` every 15 s, within 10 % nothing; up by doubling or four at most;
    down to the most that was recommended within ``down_s`` (300 s by default).
    """

    SYNC_S, TOLERANCE = 15.0, 0.1

    def __init__(self, target: float = 0.7, down_s: float = 300.0, metric_s: float = 30.0) -> None:
        self._target, self._down_s = target, down_s
        self._used: deque[float] = deque(maxlen=max(1, round(metric_s / TICK_S)))
        self._recommended: deque[tuple[float, int]] = deque()
        self._due_s = -math.inf
        self._queue = 0.0

    def observe(
        self, at_s: float, rate: float, queue: float, replicas: int, service_rate: float
    ) -> int:
        """Return the replicas wanted."""
        offered = rate + self._queue / TICK_S
        self._queue = queue
        self._used.append(min(1.0, offered / (replicas * service_rate)))
        return self._synchronised(at_s, replicas, sum(self._used) / len(self._used) / self._target)

    def _synchronised(self, at_s: float, replicas: int, ratio: float) -> int:
        if at_s < self._due_s:
            return replicas
        self._due_s = at_s + self.SYNC_S
        desired = replicas
        if abs(ratio - 1) > self.TOLERANCE:
            desired = math.ceil(replicas * ratio - 1e-9)
        desired = min(desired, max(2 * replicas, replicas + 4))
        while self._recommended and self._recommended[0][0] <= at_s - self._down_s:
            self._recommended.popleft()
        self._recommended.append((at_s, desired))
        return max(LEAST, desired, min(replicas, max(n for _, n in self._recommended)))


class Keda(Hpa):
    """KEDA on the length of a list: polled, ``length / target`` through the HPA's rule."""

    def __init__(self, wait_s: float = 1.0, poll_s: float = 30.0, down_s: float = 300.0) -> None:
        super().__init__(down_s=down_s)
        self._wait_s, self._poll_s = wait_s, poll_s
        self._polled_s, self._length = -math.inf, 0.0

    def observe(
        self, at_s: float, rate: float, queue: float, replicas: int, service_rate: float
    ) -> int:
        """Return the replicas wanted; the target is ``wait_s`` of a replica's work."""
        del rate
        if at_s >= self._polled_s + self._poll_s:
            self._polled_s, self._length = at_s, queue
        per_replica = self._length / (service_rate * self._wait_s * replicas)
        return self._synchronised(at_s, replicas, per_replica)


class Celery:
    """Celery's ``worker/autoscale.py``: grow to the tasks that are reserved, at once.

    Down only ``keepalive_s`` after the last growth. With ``idle`` (5.7) only when no task came in
    that time either, which under steady traffic is never.
    """

    def __init__(self, keepalive_s: float = 30.0, prefetch: int = 4, *, idle: bool = True) -> None:
        self._keepalive_s, self._prefetch, self._idle = keepalive_s, prefetch, idle
        self._grown_s = -math.inf

    def observe(
        self, at_s: float, rate: float, queue: float, replicas: int, service_rate: float
    ) -> int:
        """Return the replicas wanted."""
        running = min(replicas, rate / service_rate)
        reserved = math.ceil(min(running + queue, replicas * self._prefetch) - 1e-9)
        if reserved > replicas or (self._idle and rate > 0):
            self._grown_s = at_s
        if reserved > replicas:
            return min(MOST, reserved)
        if at_s - self._grown_s > self._keepalive_s:
            return max(LEAST, reserved)
        return replicas


class Thresholds:
    """One up above a utilisation, one down below another: the rule that this project began with."""

    def __init__(self, up: float = 0.75, down: float = 0.25, every_s: float = 30.0) -> None:
        self._up, self._down, self._every_s = up, down, every_s
        self._due_s = -math.inf
        self._queue = 0.0

    def observe(
        self, at_s: float, rate: float, queue: float, replicas: int, service_rate: float
    ) -> int:
        """Return the replicas wanted."""
        used = min(1.0, (rate + self._queue / TICK_S) / (replicas * service_rate))
        self._queue = queue
        if at_s < self._due_s:
            return replicas
        self._due_s = at_s + self._every_s
        return replicas + (used > self._up) - (used < self._down)
