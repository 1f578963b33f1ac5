"""How long checkouts wait when bots of very different rates share 24 connections.

Eight bot processes on a real PostgreSQL, with rates after Zipf (22 down to 3 a second), take
connections for 150 ms on average, nearly all of it outside the database, as a bot that calls an API
does. The same arrivals and holds meet, one run after the other:

- *equal*: 3 connections each; *proportional* to the rates; *plan*: Erlang's (``outrider db plan``);
- *leases*: each bot has one connection of its own and leases the rest.

Then the load moves: every few seconds another bot is the busy one, near what 24 connections can
serve at all. *leases* there stands against one ideal pool of 24 that all bots share, simulated on
the arrivals and the holds that the run itself measured. Waits count from when work is due until it
has its connection, so a late thread counts too.

``plan_error``: the wait that the plan predicts at the 99th percentile against a simulation of
a million arrivals, the greatest over twelve loads. No server takes part in that.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import harness
from benchmarks.pools import fleet
from outrider.database import budget, erlang, pools
from outrider.database.wall import Wall
from outrider.store import connection
from tests.servers import postgres
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

CONNECTIONS = 24
BOTS = 8
HOLD_S = 0.15
TOTAL_RATE = 60.0
# Of what 24 connections can serve at all.
MOVING_LOAD = 0.85
ZIPF = [1 / (place + 1) for place in range(BOTS)]
RATES = [TOTAL_RATE * weight / sum(ZIPF) for weight in ZIPF]
LATE = 0.99


def main() -> None:
    chosen = harness.options(__doc__ or "")
    seconds, runs = (20.0, 1) if chosen.quick else (40.0, 3)
    figures: dict[str, Any] = {
        "plan_error": round(plan_error(100_000 if chosen.quick else 1_000_000), 3)
    }
    p99: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    errors = most_open = 0
    with postgres.Postgres(postgres.find()) as server, Server() as redis:
        fleet.prepare(server.url)
        for run in range(runs):
            seen = {
                name: split(server, redis.url, name, seconds, run)
                for name in ("equal", "proportional", "plan", "leases")
            }
            moving = move(server, redis.url, seconds, run)
            shared = float(np.quantile(fleet.shared_pool_waits(moving.done, CONNECTIONS), LATE))
            seen["moving, leases"] = moving
            for name, outcome in seen.items():
                p99.setdefault(name, []).append(round(outcome.p99_wait_s() * 1000, 1))
                errors += len(outcome.errors)
                most_open = max(most_open, outcome.most_open)
            p99.setdefault("moving, one shared pool", []).append(round(shared * 1000, 1))
            plan, leases = seen["plan"].p99_wait_s(), seen["leases"].p99_wait_s()
            for name, ratio in {
                "p99_vs_equal": leases / seen["equal"].p99_wait_s(),
                "p99_vs_proportional": leases / seen["proportional"].p99_wait_s(),
                "p99_vs_shared_pool": moving.p99_wait_s() / shared,
                "plan_vs_equal": plan / seen["equal"].p99_wait_s(),
                "plan_vs_proportional": plan / seen["proportional"].p99_wait_s(),
            }.items():
                ratios.setdefault(name, []).append(ratio)
    for name, values in ratios.items():
        figures[name] = round(statistics.median(values), 3)
        figures[f"{name}_spread"] = harness.spread(values, 3)
    figures |= {"errors": errors, "most_open": most_open, "wall": CONNECTIONS}
    harness.finish("database_split", figures, {"p99_wait_ms": p99})


def split(
    server: postgres.Postgres, redis_url: str, name: str, seconds: float, seed: int
) -> fleet.Outcome:
    """Run the steady fleet on one way to split the connections."""
    work = [
        fleet.arrivals([(seconds, rate)], HOLD_S, seed * 100 + place)
        for place, rate in enumerate(RATES)
    ]
    if name == "leases":
        return _leased(server, redis_url, work, _members(RATES))
    sizes = {
        "equal": [CONNECTIONS // BOTS] * BOTS,
        "proportional": _proportional(),
        "plan": [share.size for share in _plan(_members(RATES)).shares],
    }[name]
    assert sum(sizes) <= CONNECTIONS
    options = [{"pool_size": size, "max_overflow": 0} for size in sizes]
    return fleet.run(
        server.url, work, options=options, environment=[{}] * BOTS, watch_url=server.superuser_url
    )


def move(server: postgres.Postgres, redis_url: str, seconds: float, seed: int) -> fleet.Outcome:
    """Run the fleet on leases while its load moves from bot to bot; no plan knows of it."""
    total = CONNECTIONS * MOVING_LOAD / HOLD_S
    lasts_s = seconds / BOTS
    rates = [total * weight / sum(ZIPF) for weight in ZIPF]
    work = [
        fleet.arrivals(
            [(lasts_s, rates[(place + step) % BOTS]) for step in range(BOTS)],
            HOLD_S,
            seed * 100 + 50 + place,
        )
        for place in range(BOTS)
    ]
    unknown = [pools.Member(f"bot{place}") for place in range(BOTS)]
    return _leased(server, redis_url, work, unknown)


def _leased(
    server: postgres.Postgres,
    redis_url: str,
    work: Sequence[Sequence[Sequence[float]]],
    members: list[pools.Member],
) -> fleet.Outcome:
    shares = _plan(members).shares
    with connection.connect(redis_url) as client:
        client.flushall()
        import sqlalchemy as sa

        made = budget.Budget(client, budget.server_of(sa.make_url(server.url)))
        # The share is what the plan gives, the floor one: what a bot of unknown load is sure of.
        parts = {share.name: budget.Part(1, share.size) for share in shares}
        made.publish(CONNECTIONS, 0, parts)
        client.hset(made._keys[0], "frozen_until_ms", 0)  # noqa: SLF001 - this budget is new
    environment = {"OUTRIDER_REDIS_URL": redis_url, "OUTRIDER_POOL_FLOOR": "1"}
    return fleet.run(
        server.url,
        work,
        options=[{}] * len(work),
        environment=[environment] * len(work),
        watch_url=server.superuser_url,
    )


def _members(rates: Sequence[float]) -> list[pools.Member]:
    return [
        pools.Member(f"bot{place}", rate=rate, hold_s=HOLD_S) for place, rate in enumerate(rates)
    ]


def _plan(members: list[pools.Member]) -> pools.Plan:
    """Plan without a surge, which the splits that it stands beside have not either."""
    wall = CONNECTIONS
    while True:
        planned = pools.plan(members, Wall(wall, operations=0))
        if sum(share.connections for share in planned.shares) >= CONNECTIONS:
            break
        wall += 1
    if sum(share.connections for share in planned.shares) > CONNECTIONS:
        planned = pools.plan(members, Wall(wall - 1, operations=0))
    return planned


def _proportional() -> list[int]:
    return [max(1, math.floor(CONNECTIONS * rate / TOTAL_RATE + 0.5)) for rate in RATES]


def plan_error(arrivals: int) -> float:
    """Return the greatest relative error of the predicted 99th percentile over twelve loads."""
    random = np.random.default_rng(7)
    worst = 0.0
    for connections in (1, 2, 4, 8, 16, 32):
        for load in (0.7, 0.9):
            rate = connections * load / HOLD_S
            due = np.cumsum(random.exponential(1 / rate, arrivals))
            done = np.column_stack([due, np.zeros(arrivals), random.exponential(HOLD_S, arrivals)])
            waits = fleet.shared_pool_waits(done, connections)[arrivals // 10 :]
            simulated = float(np.quantile(waits, LATE))
            predicted = erlang.wait_s(rate, HOLD_S, connections)
            if simulated > HOLD_S / 10:
                worst = max(worst, abs(predicted - simulated) / simulated)
    return worst


if __name__ == "__main__":
    main()
