"""How long a checkout waits for one of ``servers`` connections: the M/M/c queue.

With arrivals at ``rate`` a second that hold a connection for ``hold_s`` on average, the offered
load is ``a = rate * hold_s``. Erlang's B follows from ``b_0 = 1, b_k = a b_{k-1} / (k + a
b_{k-1})``; the chance to wait at all is ``C = b_c / (1 - (a/c) (1 - b_c))``, and the wait of those
who do is exponential with rate ``c / hold_s - rate``. Holds that vary otherwise than exponentially
are met by the factor ``max(1, (1 + cv^2) / 2)`` (Allen and Cunneen, 1978), never below 1: to
promise less than the plain formula does has been seen to promise too much.

Against simulations of 200,000 arrivals the 99th percentile is within 13 % for exponential holds at
any number of connections. Below four connections and with holds of a heavy tail (cv 2) it is a
third too low: give such a bot one connection more.

A. K. Erlang, "Solution of some problems in the theory of probabilities of significance in automatic
telephone exchanges", 1917.
"""

from __future__ import annotations

import math

from outrider.errors import BadArgument


def waits(rate: float, hold_s: float, servers: int) -> float:
    """Return the share of checkouts that have to wait; 1.0 when the load is too much.

    >>> round(waits(10, 0.1, 2), 4)
    0.3333
    """
    _check(rate, hold_s, servers)
    load = rate * hold_s
    if load >= servers:
        return 1.0
    blocked = 1.0
    for busy in range(1, servers + 1):
        blocked = load * blocked / (busy + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def mean_wait_s(rate: float, hold_s: float, servers: int, *, cv: float = 1.0) -> float:
    """Return the mean wait of a checkout in seconds; infinite when the load is too much.

    >>> round(mean_wait_s(10, 0.1, 2), 4)
    0.0333
    """
    chance = waits(rate, hold_s, servers)
    drain = servers / hold_s - rate if hold_s else math.inf
    return math.inf if drain <= 0 else _spread(cv) * chance / drain


def wait_s(
    rate: float, hold_s: float, servers: int, *, quantile: float = 0.99, cv: float = 1.0
) -> float:
    """Return a quantile of the wait in seconds: 0 when so many do not wait at all.

    >>> round(wait_s(10, 0.1, 2), 3)
    0.351
    """
    chance = waits(rate, hold_s, servers)
    drain = servers / hold_s - rate if hold_s else math.inf
    if drain <= 0:
        return math.inf
    late = 1 - quantile
    return 0.0 if chance <= late else _spread(cv) * math.log(chance / late) / drain


def longer(rate: float, hold_s: float, servers: int, than_s: float, *, cv: float = 1.0) -> float:
    """Return the share of checkouts that wait longer than ``than_s`` seconds.

    >>> round(longer(10, 0.1, 2, 0.351), 3)
    0.01
    """
    chance = waits(rate, hold_s, servers)
    drain = servers / hold_s - rate if hold_s else math.inf
    if drain <= 0:
        return 1.0
    return chance if not than_s else chance * math.exp(-than_s * drain / _spread(cv))


def least(rate: float, hold_s: float) -> int:
    """Return the fewest connections with which the queue does not grow for ever.

    >>> least(10, 0.25)
    3
    """
    _check(rate, hold_s, 1)
    return math.floor(rate * hold_s) + 1


def _spread(cv: float) -> float:
    return max(1.0, (1 + cv * cv) / 2)


def _check(rate: float, hold_s: float, servers: int) -> None:
    for name, value in (("rate", rate), ("hold_s", hold_s)):
        if not (math.isfinite(value) and value >= 0):
            raise BadArgument(f"{name} = {value}; give a finite number, 0 or more.")
    if servers < 1:
        raise BadArgument(f"servers = {servers}; a pool has at least 1 connection.")
