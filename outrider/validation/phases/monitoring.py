"""Whether what people see is fresh: rows, verdict, alerts, tasks, dashboard and metrics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from outrider.alerts import journal, outbox
from outrider.clock import tick_at
from outrider.store import keys
from outrider.validation import timing
from outrider.validation.figure import Figure, fact
from outrider.validation.targets import judge, unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from outrider.samples import Row
    from outrider.validation.env import Env, Tasks

ROUND_TRIPS = 10
# A task that is not back by then counts as not answered; nobody waits longer.
ANSWER_WITHIN_S = 5.0
HTTP_TIMEOUT_S = 5.0
_POLL_S = 0.002


def run(env: Env) -> Iterator[Figure]:
    """Measure ages against now, send a few tasks one by one, and ask the dashboard."""
    yield from _freshness(env)
    yield from _round_trips(env)
    yield judge("monitoring.dead_letters", _length(env, keys.DEAD), f"list {keys.DEAD}")
    yield fact("monitoring.gaps", _length(env, keys.MISSED), "gaps", "recorded by beat")
    yield from _outbox(env)
    yield from _dashboard(env)


def _freshness(env: Env) -> Iterator[Figure]:
    host, interval_s = env.settings.host, env.store.interval_s
    row = env.store.last(host)
    yield _age(env, "monitoring.row_age_ticks", row)
    yield _age(env, "monitoring.fleet_row_age_ticks", env.store.last(keys.FLEET))
    stored = cast("bytes | None", env.redis.get(keys.report(host)))
    if stored is None:
        yield judge("monitoring.report_age_ticks", None, f"nothing under {keys.report(host)}")
    else:
        report = json.loads(stored)
        yield _judged_age(env, "monitoring.report_age_ticks", report["at_s"], report["verdict"])
    evaluated, alerts = journal.load(env.redis, host)
    firing = sum(alert.state == "firing" for alert in alerts.values())
    newest = tick_at(row.at_s + interval_s / 2, interval_s) if row else None
    behind = max(0, newest - evaluated) if newest is not None and evaluated >= 0 else None
    yield judge("monitoring.evaluation_behind_ticks", behind, f"{firing} alerts fire")
    heard_s = env.redis.zscore(keys.HOSTS, host)
    age_s = None if heard_s is None else max(0.0, env.clock.now() - heard_s)
    yield judge("monitoring.heartbeat_age_s", age_s, f"of the worker on {host}")


def _age(env: Env, name: str, row: Row | None) -> Figure:
    if row is None:
        return judge(name, None, "there is no row; see worker.log and beat.log")
    return _judged_age(env, name, row.at_s, f"{len(row.values)} series")


def _judged_age(env: Env, name: str, at_s: float, note: str) -> Figure:
    """Judge an age in ticks; what is from the future is no fresh row but a wrong clock."""
    age_s = env.clock.now() - at_s
    if age_s < -env.store.interval_s:
        return judge(name, None, f"it is from {-age_s:.0f} s in the future; do the clocks agree?")
    return judge(name, max(0.0, age_s) / env.store.interval_s, f"{max(0.0, age_s):.1f} s; {note}")


def _round_trips(env: Env) -> Iterator[Figure]:
    median, slowest = "monitoring.round_trip.p50_s", "monitoring.round_trip.max_s"
    if env.tasks is None:
        yield unmeasured(median, "nobody here can send tasks")
        yield unmeasured(slowest, "nobody here can send tasks")
        return
    took: list[float] = []
    for _ in range(ROUND_TRIPS):
        one = _round_trip(env, env.tasks)
        if isinstance(one, str):
            yield judge(median, None, one)
            yield judge(slowest, None, one)
            return
        took.append(one)
    yield judge(median, timing.quantile(took, 0.5), f"{len(took)} tasks, one after the other")
    yield judge(slowest, max(took))


def _round_trip(env: Env, tasks: Tasks) -> float | str:
    """Return the seconds from sending a task to its result, or why there is none."""
    start_s = env.clock.monotonic()
    sent = tasks.send()
    try:
        while not (ended := tasks.finished([sent])):
            if env.clock.monotonic() - start_s > ANSWER_WITHIN_S:
                return f"no worker answered within {ANSWER_WITHIN_S:g} s; are all threads busy?"
            env.sleep(_POLL_S)
        took_s = env.clock.monotonic() - start_s
    finally:
        tasks.forget([sent])
    return took_s if ended[sent] else "the task failed; see worker.log"


def _outbox(env: Env) -> Iterator[Figure]:
    waiting = outbox.waiting(env.redis)
    oldest_s = max((env.clock.now() - change["at_s"] for change in waiting), default=0.0)
    note = f"the oldest for {oldest_s:.0f} s" if waiting else ""
    yield fact("monitoring.outbox", len(waiting), "notifications", note)


def _dashboard(env: Env) -> Iterator[Figure]:
    stack = env.stack()
    url, token = stack.get("dashboard_url"), stack.get("dashboard_token", "")
    names = ("healthz_status", "readyz_status", "dashboard_s", "metrics_samples")
    if not url:
        for name in names:
            yield unmeasured(f"monitoring.{name}", "no dashboard was started with this stack")
        return
    import httpx

    # Proxies of the environment are for the outside world; so is the name in our own certificate.
    with httpx.Client(
        base_url=url,
        timeout=HTTP_TIMEOUT_S,
        trust_env=False,
        verify=not url.startswith("https://"),
    ) as client:
        took: list[float] = []
        for path in ("healthz", "readyz"):
            start_s = env.clock.monotonic()
            try:
                answer = client.get(f"/{path}")
            except httpx.HTTPError as error:
                yield judge(
                    f"monitoring.{path}_status", None, f"{url}/{path}: {_first_line(error)}"
                )
                continue
            took.append(env.clock.monotonic() - start_s)
            yield judge(f"monitoring.{path}_status", answer.status_code, _why(answer))
        yield judge("monitoring.dashboard_s", max(took, default=None), "the slower of the two")
        yield _metrics(client, token)


def _why(answer: httpx.Response) -> str:
    if answer.status_code == 200:  # noqa: PLR2004
        return ""
    try:
        return str(answer.json()["reason"])
    except (ValueError, KeyError, TypeError):
        return _first_line(answer.text)


def _metrics(client: httpx.Client, token: str) -> Figure:
    """Scrape as Prometheus does, and parse what comes."""
    import httpx
    from prometheus_client.parser import text_string_to_metric_families

    name = "monitoring.metrics_samples"
    try:
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()
        families = list(text_string_to_metric_families(answer.text))
    except (httpx.HTTPError, ValueError) as error:
        return judge(name, None, f"/metrics: {_first_line(error)}")
    samples = sum(len(family.samples) for family in families)
    return judge(name, samples, f"{len(families)} metrics, {len(answer.content)} bytes")


def _first_line(said: object) -> str:
    return str(said).strip().partition("\n")[0][:200]


def _length(env: Env, key: str) -> int:
    return env.redis.llen(key)
