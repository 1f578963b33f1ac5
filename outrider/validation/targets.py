"""The one table of targets: what each figure must reach, and why that much.

They are met by a stack at work on two shared cores, with room for a busy moment. A figure beyond
its target is worth a look by a person; it is not yet an outage.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from outrider.validation.figure import Comparison, Figure, holds

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must reach. The figure's name begins with its phase."""

    name: str
    comparison: Comparison
    limit: float
    unit: str
    reason: str


_ALL = (
    # baseline
    Target("baseline.ticks.present_ratio", ">=", 0.98, "ratio",
           "one tick in fifty may fall to a restart of the worker; more is a hole in every chart"),
    Target("baseline.tick.lag_s", "<=", 1.0, "s",
           "every alert is late by this much; above 1 s the shortest interval runs into the next"),
    Target("baseline.stack.cpu_cores", "<=", 0.15, "cores",
           "it rides beside the bots and may not crowd them: a seventh of one core"),
    Target("baseline.stack.pss_bytes", "<=", 400 * MIB, "bytes",
           "the smallest host that fleets are put on has 1 GiB; the bots need most of it"),
    # database
    Target("database.connect.p50_s", "<=", 0.05, "s",
           "a bot's start and every recycled connection pays it; PostgreSQL forks in some 10 ms"),
    Target("database.checkout.p50_s", "<=", 0.002, "s",
           "one round trip of pre-ping and the pool's own lock; more is a slow network"),
    Target("database.checkout.p99_s", "<=", 0.02, "s",
           "a handler checks out several times; one in a hundred may meet a busy moment"),
    Target("database.query.p50_s", "<=", 0.005, "s",
           "SELECT 1 is the round trip itself, which every statement of every handler pays"),
    Target("database.query.p99_s", "<=", 0.05, "s",
           "ten times the usual; beyond it the server or the network stalls"),
    Target("database.transaction.p50_s", "<=", 0.02, "s",
           "four round trips: begin, write, read, commit"),
    Target("database.transaction.p99_s", "<=", 0.1, "s",
           "above a tenth of a second a person notices, and a handler has more than one"),
    Target("database.transactions.lost", "==", 0.0, "rows",
           "what was committed is there when it is read again"),
    Target("database.plan.used_ratio", "<=", 1.0, "ratio",
           "a fleet that may open more connections than the server has fails when it is busiest"),
    # cache
    Target("cache.hit_memory.p50_s", "<=", 20e-6, "s",
           "a hit in memory must be too cheap to think about: a fiftieth of a trip to Redis"),
    Target("cache.hit_memory.p99_s", "<=", 200e-6, "s",
           "a thread switch may fall into it, a wait for a server may not"),
    Target("cache.hit_redis.p50_s", "<=", 0.002, "s",
           "one round trip and decoding; slower is no better than most databases"),
    Target("cache.hit_redis.p99_s", "<=", 0.02, "s",
           "half of the 40 ms after which the cache gives Redis up"),
    Target("cache.miss.p50_s", "<=", 0.004, "s",
           "what a miss adds to the load itself: a look and a write, two round trips"),
    Target("cache.miss.p99_s", "<=", 0.04, "s",
           "one call may cost no more than the time after which Redis is given up"),
    Target("cache.zipf.hit_ratio", ">=", 0.7, "ratio",
           "what a skewed stream of 5000 calls on 2000 keys allows when nothing is lost"),
    Target("cache.zipf.loads_per_key", "<=", 1.01, "loads",
           "within its time to live a key is loaded once; a memory tier too small for all keys"
           " must find the rest in Redis"),
    Target("cache.fallback_ratio", "<=", 0.01, "ratio",
           "calls for which Redis was away: each of them is a load that need not have been"),
    Target("cache.invalidated_ratio", "==", 1.0, "ratio",
           "a value that survives its invalidation is wrong data"),
    Target("cache.left_behind", "==", 0.0, "keys",
           "a validation that leaves keys would fill the server it looks after"),
    # processes
    Target("processes.ready_ratio", "==", 1.0, "ratio",
           "what was not stopped on purpose should be doing its work"),
    Target("processes.failed", "==", 0.0, "processes",
           "a failed process is given up until a person looks"),
    Target("processes.start_to_ready_s", "<=", 2.0, "s",
           "interpreter, imports and first heartbeat of a tiny bot; yours adds its own start"),
    Target("processes.kill_to_ready_s", "<=", 2.0, "s",
           "users should take a crash for a slow answer"),
    Target("processes.kill_to_noticed_s", "<=", 0.1, "s",
           "the kernel tells at once; later means a blocked supervisor"),
    Target("processes.stop_s", "<=", 2.0, "s",
           "a bot that obeys SIGTERM must not wait for its grace period to end"),
    Target("processes.log_lines_ratio", "==", 1.0, "ratio",
           "each life wrote one line; the last words of a crash are what explains it"),
    Target("processes.left_running", "==", 0.0, "processes",
           "what the supervisor stopped must be gone, its children too"),
    # monitoring
    Target("monitoring.row_age_ticks", "<=", 2.0, "ticks",
           "a row is at most one tick and its collection old; two mean that one did not come"),
    Target("monitoring.fleet_row_age_ticks", "<=", 2.0, "ticks",
           "as for a host: queues, Redis and silent hosts are seen in this row only"),
    Target("monitoring.report_age_ticks", "<=", 2.0, "ticks",
           "the verdict on the dashboard must be about now"),
    Target("monitoring.evaluation_behind_ticks", "<=", 1.0, "ticks",
           "alerts are judged on the newest row; it may just have come in"),
    Target("monitoring.heartbeat_age_s", "<=", 15.0, "s",
           "a worker says every two seconds that it lives; at 15 s its host counts as silent"),
    Target("monitoring.round_trip.p50_s", "<=", 0.1, "s",
           "send, queue, run, result; a chain of four must fit the shortest tick of 1 s"),
    Target("monitoring.round_trip.max_s", "<=", 1.0, "s",
           "a whole tick's work may lie in front of it, nothing more"),
    Target("monitoring.dead_letters", "==", 0.0, "tasks",
           "each of them ended its worker several times"),
    Target("monitoring.healthz_status", "==", 200.0, "",
           "the dashboard's process answers at all"),
    Target("monitoring.readyz_status", "==", 200.0, "",
           "the dashboard sees fresh rows of every live host"),
    Target("monitoring.dashboard_s", "<=", 0.5, "s",
           "load balancers and Kubernetes give a probe one second"),
    Target("monitoring.metrics_samples", ">=", 10.0, "samples",
           "the host alone has more; fewer mean that a scrape has lost the fleet"),
    # load
    Target("load.tasks.lost", "==", 0.0, "tasks",
           "late acknowledgement promises that each task ends, whatever happens"),
    Target("load.tasks.errors", "==", 0.0, "tasks",
           "the tasks only read; an error is a fault of the machinery"),
    Target("load.tasks.kept_up_ratio", ">=", 0.9, "ratio",
           "finished per second against sent per second: below it a queue grows without end"),
    Target("load.tasks.latency_p95_s", "<=", 0.5, "s",
           "at fifty tasks a second a tick's four tasks must still end within seconds"),
    Target("load.rows.lost", "==", 0.0, "rows",
           "each row is read back and compared with what was stored"),
    Target("load.rows.append_p95_s", "<=", 0.02, "s",
           "one script call; slower means that Redis or the machine is at its limit"),
    Target("load.frames.lost_ratio", "<=", 0.02, "ratio",
           "a frame may find the socket's queue full, its totals come again with the next;"
           " many lost ones are a supervisor that does not keep up"),
    Target("load.left_behind", "==", 0.0, "keys",
           "a validation that leaves keys would fill the server it looks after"),
)  # fmt: skip

TARGETS: Mapping[str, Target] = MappingProxyType({target.name: target for target in _ALL})


def judge(name: str, value: float | None, note: str = "") -> Figure:
    """Return a figure held against its target; a value that is missing misses it."""
    target = TARGETS[name]
    passed = value is not None and holds(value, target.comparison, target.limit)
    return Figure(name, value, target.unit, target.limit, target.comparison, passed, note)


def unmeasured(name: str, why: str) -> Figure:
    """Return a figure of something that is not there to be measured; nothing is judged."""
    target = TARGETS[name]
    return Figure(name, None, target.unit, target.limit, target.comparison, None, why)
