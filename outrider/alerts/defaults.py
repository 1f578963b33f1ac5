"""The rules that suit a fleet without any configuration, and those that the settings add.

Each is about something that somebody must do, and waits long enough that a restart, a deploy or a
busy minute is no alarm. What recovers for a moment and comes back is kept as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.alerts import calendar
from outrider.alerts.rules import Rule, Severity, parse
from outrider.errors import BadArgument, Mistakes
from outrider.settings import instance_names
from outrider.slo.rules import RULES as OF_BUDGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.settings import AlertSettings, Limits, Settings

_RULES: tuple[tuple[str, str, Severity], ...] = (
    ("bot is down", "bot.*.up < 1 for 30s", "critical"),
    ("bot gave up restarting", "bot.*.failed > 0", "critical"),
    ("bot crashed", "increase(bot.*.crashes_total, 1m) > 0 keep_firing_for 5m", "warning"),
    ("bot is silent", "bot.*.heartbeat_age_s > 30 for 30s", "critical"),
    ("half of the bots are down", "50% of (bot.*.up < 1) and count(bot.*.up) >= 3 for 30s", "critical"),
    ("event loop is blocked", "bot.*.loop_lag_s > 1 for 30s clear 0.5 keep_firing_for 1m", "warning"),
    ("connection pool is exhausted", "bot.*.db.pool.used_ratio > 0.9 for 30s keep_firing_for 1m", "warning"),
    ("database connections leak", "bot.*.db.pool.leaked > 0 for 30s keep_firing_for 1m", "warning"),
    ("waits for a connection are given up", "increase(bot.*.db.pool.timeouts_total, 1m) > 0 keep_firing_for 5m", "critical"),
    ("memory limit is near", "time_to_limit(bot.*.rss_bytes) < 1h for 5m keep_firing_for 15m", "warning"),
    ("cache is useless", "avg(cache.*.hit_ratio, 10m) < 5% and count(cache.*.hit_ratio, 10m) >= 30 and increase(cache.*.misses_total, 10m) > 1000 for 10m keep_firing_for 30m", "info"),
    ("part of Outrider crashed", "increase(stack.*.crashes_total, 1m) > 0 keep_firing_for 5m", "warning"),
    ("supervisor is away", "supervisor.up < 1 for 30s", "critical"),
    ("host is silent", "fleet.host.*.silent > 0", "critical"),
    ("tasks pile up", "celery.queue.*.length > 100 for 1m clear 20", "warning"),
    ("Celery broker is away", "celery.*.broker_up < 1 for 30s", "critical"),
    ("Celery worker is silent", "celery.*.workers.silent > 0 for 30s", "warning"),
    ("Celery events are not heard", "celery.*.receiver_up < 1 for 1m", "warning"),
    ("Celery is not watched", "celery.*.watched < 1 for 1m", "warning"),
    ("Celery messages wait", "celery.*.queue.*.oldest_age_s > 300 for 1m clear 60", "warning"),
    ("nobody takes a queue's tasks", "celery.queue.*.consumers < 1 and celery.queue.*.length > 0 for 1m", "critical"),
    ("host CPU is saturated", "host.cpu.used_ratio > 0.95 for 2m clear 0.85 keep_firing_for 1m", "warning"),
    ("host memory is short", "host.memory.used_ratio > 0.95 for 1m clear 0.9 keep_firing_for 1m", "critical"),
    ("host memory runs out soon", "time_to_limit(host.memory.used_ratio) < 30m and host.memory.used_ratio > 80% for 5m keep_firing_for 15m", "warning"),
    ("disk is nearly full", "host.disk.used_ratio > 0.95 for 1m clear 0.9", "critical"),
    ("disk will be full soon", "time_to_limit(host.disk.used_ratio) < 4h and host.disk.used_ratio > 50% for 10m keep_firing_for 30m", "warning"),
    ("mounted disk is nearly full", "host.mount.*.used_ratio > 0.95 and host.mount.*.free_bytes < 5GiB for 5m clear host.mount.*.used_ratio < 0.9", "warning"),
    ("host kills for want of memory", "increase(host.memory.oom_kills_total, 5m) > 0", "critical"),
    ("database is away", "db.server.up < 1 for 20s", "critical"),
    ("database connections run out", "db.server.connections.used_ratio > 0.9 for 1m clear 0.8", "critical"),
    ("database runs out of transactions", "db.server.xid_used_ratio > 0.5 for 1m", "critical"),
    ("Redis memory is nearly full", "redis.memory.used_ratio > 0.9 for 1m clear 0.8", "critical"),
    ("Redis can't save", "redis.persistence.aof_ok < 1 or redis.persistence.rdb_ok < 1 for 1m", "critical"),
    ("Redis server is away", "redis.server.*.up < 1 for 30s", "critical"),
    ("scraped endpoint is away", "scrape.*.up < 1 for 1m", "warning"),
    ("nobody takes StatsD datagrams", "statsd.up < 1 for 1m", "warning"),
    ("stored series are damaged", "increase(store.damaged_total, 5m) > 0", "critical"),
    ("collector fails", "collector.*.up < 1 for 1m", "warning"),
)  # fmt: skip

BUILT_IN = tuple(parse(name, when, severity) for name, when, severity in (*_RULES, *OF_BUDGETS))


def of_settings(settings: Settings) -> list[Rule]:
    """Return the rules in force: built-in, from soft limits of bots, and the user's own.

    A user's rule replaces the built-in one of the same name; one that is not enabled takes it away.

    Raises:
        BadArgument: names every rule that can't be read, and why.
    """
    rules = {rule.name: rule for rule in BUILT_IN}
    for name, bot in settings.bots.items():
        for instance in instance_names(name, bot.most_instances):
            for rule in _of_limits(instance, bot.limits):
                rules[rule.name] = rule
    wrong = []
    for alert in settings.alert:
        rules.pop(alert.name, None)
        try:
            rule = of_alert(alert, settings.timezone)
        except BadArgument as error:
            wrong.append(f"{alert.name}: {error}")
        else:
            if alert.enabled:
                rules[rule.name] = rule
    if wrong:
        raise Mistakes(wrong)
    return list(rules.values())


def _of_limits(instance: str, limits: Limits) -> Iterator[Rule]:
    """Yield the rules that warn before a bot reaches what it would be restarted for."""
    if limits.cpu is not None:
        yield parse(
            f"{instance} uses more CPU than its limit",
            f"bot.{instance}.cpu_ratio > {limits.cpu:f} for 1m",
        )
    if limits.memory_soft is not None:
        yield parse(
            f"{instance} uses more memory than its soft limit",
            f"bot.{instance}.rss_bytes > {limits.memory_soft} for 30s",
        )


def of_alert(alert: AlertSettings, timezone: str) -> Rule:
    """Return one rule of the settings. Raises BadArgument with every mistake in it."""
    wrong = []
    active = calendar.Calendar()
    try:
        active = calendar.parse(alert.active, timezone)
    except BadArgument as error:
        wrong.append(str(error))
    try:
        rule = parse(alert.name, alert.when, alert.severity, active=active, advice=alert.advice)
    except BadArgument as error:
        wrong.append(str(error))
    if wrong:
        raise Mistakes(wrong)
    return rule
