"""What a burst does to a stock PostgreSQL (100 connections) and to eight bots that use it.

Each bot is a process with 60 handlers. Twice, four seconds apart, 60 events meet each at once: a
read by primary key, an exponential 20 ms of work outside the database, then four times of five
another indexed read, else an update and an insert; one transaction, tried once. 960 transactions in
all. One configuration after the other meets the same events:

- *leases*: ``outrider.create_engine`` with a floor of 1, the rest leased from the fleet's budget;
  *plan*: the same without Redis, with the pool sizes of ``outrider db plan``;
- SQLAlchemy's defaults (5 + 10), the four presets that this project began with (3 + 7, 5 + 20,
  15 + 60, 25 + 75), HikariCP's rule (cores x 2 + 1 = 5 for the server: 1 each), and NullPool.

``finished_ratio`` is the least of all runs, ``too_many_clients`` the errors of that kind in all of
them, both for leases. ``goodput_vs_presets`` is how many transactions leases finished for each that
the production and the high-performance preset finished (the better of the two in each run),
``p99_vs_default`` the 99th percentile from event to commit against SQLAlchemy's defaults.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from benchmarks import harness
from benchmarks.pools import fleet
from outrider.database import budget, pools
from outrider.database.wall import Wall
from outrider.store import connection
from tests.servers import postgres
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Mapping

BOTS = 8
HANDLERS = 60
HOLD_S = 0.02
BURSTS_AT_S = (0.0, 4.0)
TRANSACTIONS = BOTS * HANDLERS * len(BURSTS_AT_S)
RESERVED = 3  # a stock server keeps them for superusers
PEERS: Mapping[str, Mapping[str, Any]] = {
    "sqlalchemy_default": {},
    "seed_development": {"pool_size": 3, "max_overflow": 7, "pool_timeout": 20},
    "seed_staging": {"pool_size": 5, "max_overflow": 20, "pool_timeout": 20},
    "seed_production": {"pool_size": 15, "max_overflow": 60, "pool_timeout": 20},
    "seed_high_performance": {"pool_size": 25, "max_overflow": 75, "pool_timeout": 20},
    "hikari_rule": {"pool_size": 1, "max_overflow": 0},
    "null_pool": {"null": True},
}
REFUSED = ("too many clients", "connection slots are reserved", "connection slots are in use")


def main() -> None:
    chosen = harness.options(__doc__ or "")
    runs = 1 if chosen.quick else 4
    seen: dict[str, list[fleet.Outcome]] = {}
    with postgres.Postgres(postgres.find()) as server, Server() as redis:
        for run in range(runs):
            fleet.prepare(server.url)
            work = [events(run * 100 + place) for place in range(BOTS)]
            for name in ("leases", "plan", *PEERS):
                seen.setdefault(name, []).append(burst(server, redis.url, name, work))
    finished = {
        name: [len(each.done) / TRANSACTIONS for each in every] for name, every in seen.items()
    }
    p99 = {name: [each.p99_total_s() for each in every] for name, every in seen.items()}
    goodput = [
        ours / max(finished["seed_production"][run], finished["seed_high_performance"][run])
        for run, ours in enumerate(finished["leases"])
    ]
    against_default = [
        ours / theirs for ours, theirs in zip(p99["leases"], p99["sqlalchemy_default"], strict=True)
    ]
    figures = {
        "finished_ratio": min(finished["leases"]),
        "too_many_clients": sum(map(refused, seen["leases"])),
        "goodput_vs_presets": round(statistics.median(goodput), 2),
        "goodput_vs_presets_spread": harness.spread(goodput, 2),
        "p99_vs_default": round(statistics.median(against_default), 2),
        "p99_vs_default_spread": harness.spread(against_default, 2),
        "most_open": max(each.most_open for each in seen["leases"]),
        "plan_finished_ratio": min(finished["plan"]),
        "plan_p99_vs_default": round(
            statistics.median(
                a / b for a, b in zip(p99["plan"], p99["sqlalchemy_default"], strict=True)
            ),
            2,
        ),
    }
    peers = {
        name: {
            "finished_ratio": harness.spread(finished[name], 3),
            "too_many_clients": sum(map(refused, every)),
            "other_errors": sum(len(each.errors) for each in every) - sum(map(refused, every)),
            "p99_ms": harness.spread([seconds * 1000 for seconds in p99[name]], 0),
            "most_open": max(each.most_open for each in every),
        }
        for name, every in seen.items()
    }
    harness.finish("database_fleet", figures, peers)


def refused(outcome: fleet.Outcome) -> int:
    """Return how many errors say that the server was full."""
    return sum(any(words in error for words in REFUSED) for error in outcome.errors)


def events(seed: int) -> list[list[float]]:
    """Return due times and holds of one bot's bursts."""
    random = np.random.default_rng(seed)
    return [
        [at_s, float(hold_s)]
        for at_s in BURSTS_AT_S
        for hold_s in random.exponential(HOLD_S, HANDLERS)
    ]


def burst(
    server: postgres.Postgres, redis_url: str, name: str, work: list[list[list[float]]]
) -> fleet.Outcome:
    """Run the fleet in one configuration."""
    options: list[Mapping[str, Any]] = [PEERS.get(name, {})] * BOTS
    environment: list[Mapping[str, str]] = [{}] * BOTS
    planned = pools.plan(
        [pools.Member(f"bot{n}") for n in range(BOTS)], Wall(100, reserved=RESERVED)
    )
    if name == "leases":
        publish(server, redis_url, planned)
        environment = [{"OUTRIDER_REDIS_URL": redis_url, "OUTRIDER_POOL_FLOOR": "1"}] * BOTS
    elif name == "plan":
        environment = [{"OUTRIDER_POOL_SIZE": str(share.size)} for share in planned.shares]
    return fleet.run(
        server.url,
        work,
        options=options,
        environment=environment,
        watch_url=server.superuser_url,
        kind="sqlalchemy" if name in PEERS else "outrider",
        mixed=True,
        threads=HANDLERS,
    )


def publish(server: postgres.Postgres, redis_url: str, planned: pools.Plan) -> None:
    """Put the plan in force for the bots."""
    with connection.connect(redis_url) as client:
        client.flushall()
        made = budget.Budget(client, budget.server_of(sa.make_url(server.url)))
        parts = {share.name: budget.Part(share.floor, share.size) for share in planned.shares}
        made.publish(planned.wall, 1, parts)
        client.hset(made._keys[0], "frozen_until_ms", 0)  # noqa: SLF001 - this budget is new


if __name__ == "__main__":
    main()
