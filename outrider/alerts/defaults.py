"""The rules that suit a fleet without any configuration, and those that the settings add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.alerts.rules import Rule, Severity, parse
from outrider.settings import instance_names
from outrider.slo.rules import RULES as OF_BUDGETS

if TYPE_CHECKING:
    from outrider.settings import Settings

_RULES: tuple[tuple[str, str, Severity], ...] = (
    ("bot is down", "bot.*.up < 1 for 30s", "critical"),
    ("bot gave up restarting", "bot.*.failed > 0", "critical"),
    ("bot crashed", "increase(bot.*.crashes_total, 1m) > 0", "warning"),
    ("bot is silent", "bot.*.heartbeat_age_s > 30 for 30s", "critical"),
    ("event loop is blocked", "bot.*.loop_lag_s > 1 for 30s clear 0.5", "warning"),
    ("connection pool is exhausted", "bot.*.db.pool.used_ratio > 0.9 for 30s", "warning"),
    ("part of Outrider crashed", "increase(stack.*.crashes_total, 1m) > 0", "warning"),
    ("host is silent", "fleet.host.*.silent > 0", "critical"),
    ("tasks pile up", "celery.queue.*.length > 100 for 1m clear 20", "warning"),
    ("Celery broker is away", "celery.*.broker_up < 1 for 30s", "critical"),
    ("Celery worker is silent", "celery.*.workers.silent > 0 for 30s", "warning"),
    ("Celery events are not heard", "celery.*.receiver_up < 1 for 1m", "warning"),
    ("Celery is not watched", "celery.*.watched < 1 for 1m", "warning"),
    ("Celery messages wait", "celery.*.queue.*.oldest_age_s > 300 for 1m clear 60", "warning"),
    ("host CPU is saturated", "host.cpu.used_ratio > 0.95 for 2m clear 0.85", "warning"),
    ("host memory is short", "host.memory.used_ratio > 0.95 for 1m clear 0.9", "critical"),
    ("disk is nearly full", "host.disk.used_ratio > 0.95 for 1m clear 0.9", "critical"),
    ("host kills for want of memory", "increase(host.memory.oom_kills_total, 5m) > 0", "critical"),
    ("database is away", "db.server.up < 1 for 20s", "critical"),
    ("database runs out of transactions", "db.server.xid_used_ratio > 0.5 for 1m", "critical"),
    ("Redis server is away", "redis.server.*.up < 1 for 30s", "critical"),
    ("scraped endpoint is away", "scrape.*.up < 1 for 1m", "warning"),
    ("nobody takes StatsD datagrams", "statsd.up < 1 for 1m", "warning"),
    ("stored series are damaged", "increase(store.damaged_total, 5m) > 0", "critical"),
    ("collector fails", "collector.*.up < 1 for 1m", "warning"),
)

BUILT_IN = tuple(parse(name, when, severity) for name, when, severity in (*_RULES, *OF_BUDGETS))


def of_settings(settings: Settings) -> list[Rule]:
    """Return the rules in force: built-in, from CPU limits of bots, and the user's own.

    A user's rule replaces the built-in one of the same name.

    Raises:
        BadArgument: a rule can't be parsed.
    """
    rules = {rule.name: rule for rule in BUILT_IN}
    for name, bot in settings.bots.items():
        if bot.limits.cpu is not None:
            for instance in instance_names(name, bot.instances):
                when = f"bot.{instance}.cpu_ratio > {bot.limits.cpu:f} for 1m"
                rule = parse(f"{instance} uses more CPU than its limit", when)
                rules[rule.name] = rule
    for alert in settings.alert:
        rules[alert.name] = parse(alert.name, alert.when, alert.severity)
    return list(rules.values())
