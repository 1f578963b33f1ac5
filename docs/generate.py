"""Writes the pages of docs/ that would drift: settings, commands, rules, tasks, keys, metrics.

``make docs`` runs it; ``tests/unit/test_docs.py`` fails when a page is not what this would write.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import inspect
import json
import re
import sys
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from outrider import units, variables
from outrider.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic.fields import FieldInfo

DOCS = Path(__file__).parent
_WRITTEN = "<!-- Written by docs/generate.py (`make docs`): change the code, not this page. -->\n\n"
_WIDTH = 92
_SETTINGS = """\
Settings come from the environment, then from `outrider.toml`: the one that `OUTRIDER_CONFIG` names,
or the nearest in this folder or above it. Paths count from the file's folder. All mistakes are
reported together, each with its line and remedy: `outrider config check`. `outrider config show`
prints what is in force.

A *duration* is a number of seconds or a text such as `250ms`, `30s`, `5m`, `1h`, `2d`; a *size* is
a number of bytes or a text such as `300MiB` or `2GB`. In the environment, lists and tables are
written as JSON."""
_COMMANDS = """\
Every command says this itself: `outrider COMMAND --help`. Exit codes: 0 all is well, 1 the command
ran and something failed, is unwell or missed its target, {bad_input} bad input or settings,
{unavailable} Redis or the supervisor does not answer."""
_RULES = """\
In force without any configuration. A rule of yours with the same name replaces one, or takes it
away; [How to write alert rules](how-to/rules.md) explains the language. A bot with `limits.cpu`
gets one more: *BOT uses more CPU than its limit*, when it does for a minute.
`outrider alerts list --rules` prints the rules in force."""
_TASKS = """\
Run any of them with `outrider run NAME key=value ...`, from Flower ([how to](how-to/flower.md)), or
with `app.send_task(name, kwargs=...)`. Arguments are checked: an unknown one, or one of the wrong
type, is refused by name. Where the queue is a host's, the argument `host` says whose; without it,
it is the host of whoever sends."""
_BEAT = """\
Intervals by `profile`; `[schedule.NAME]` changes or disables an entry ([settings](settings.md)). A
message that waited for a whole interval expires."""
_CELERY = """\
Celery keeps its own beside them: the queues themselves (lists, `outrider.*`), `unacked*`,
`_kombu.*`, `celery-task-meta-*` for results, `*.celery.pidbox` and `celeryev.*` for what Flower
asks and hears."""
_METRICS = """\
Every series that Outrider collects. Alert rules, the command line and the dashboard's page *Series*
use the first name; `/metrics` uses the second ([how to use Prometheus](how-to/prometheus.md)). What
stands in braces is a name from outside, and a label there; all but the last table's have the label
`host` besides.

A *counter* only grows until what it counts begins anew; its rate is what to look at. A *state* is 0
or 1, or what its line says. A *timing* is six series: `.count` and `.sum_s` grow, `.max_s` is the
longest since the last second's report, `.p50_s`, `.p95_s` and `.p99_s` are of the last tick; for
Prometheus they are one summary, and the longest a gauge `..._max_seconds`."""
_OTEL = """\
Outrider keeps its own names. This table says what OpenTelemetry's semantic conventions, version
{version}, call the same, for whoever bridges the two, such as a collector that scrapes
[`/metrics`](how-to/prometheus.md). Most of those conventions have the status *Development*: their
names may still change, and ours will not change with them. A process's resource has
`service.name` = the bot, `service.namespace` = `outrider`, `host.name` = the host."""

# What stands in for a name that its owner chooses.
_NAMES = {"bots": "canary", "schedule": "collect"}
# Examples for settings whose default is nothing, or says little; the others show their default.
EXAMPLES: dict[str, Any] = {
    "environment": "production",
    "host": "alpha",
    "redis_url": "redis://:PASSWORD@db.internal:6379/0",
    "interval_s": "10s",
    "retention.raw": "48h",
    "retention.five_minutes": "30d",
    "retention.hours": "400d",
    "timezone": "Europe/Berlin",
    "dashboard.port": 8787,
    "dashboard.root_path": "/ops",
    "dashboard.tls_cert": "/etc/ssl/ops.example.com.pem",
    "dashboard.tls_key": "/etc/ssl/private/ops.example.com.key",
    "dashboard.proxies": ["127.0.0.1"],
    "dashboard.origins": ["https://ops.example.com"],
    "dashboard.session_s": "12h",
    "dashboard.oidc.issuer": "https://id.example.com",
    "dashboard.oidc.client_id": "outrider",
    "dashboard.oidc.client_secret": "PASSWORD",
    "dashboard.oidc.address": "https://ops.example.com/ops",
    "dashboard.oidc.operators": ["ann@example.com"],
    "dashboard.oidc.viewers": ["*@example.com"],
    "dashboard.user.name": "ann",
    "dashboard.user.password_hash": (
        "$argon2id$v=19$m=65536,t=3,p=4$S2FydG9mZmVsc2FsYXQ$SyJ3qBbLp1Xz0FvVqf4mZ1l5q9r3bQ0x"
    ),
    "flower.port": 5555,
    "database.url": "postgresql://bots:PASSWORD@db.internal:5432/fleet",
    "database.max_connections": 100,
    "database.admin_url": "postgresql://tuner:PASSWORD@db.internal:5432/fleet",
    "database.server_memory": "16GiB",
    "database.server_cores": 8,
    "database.replica_url": "postgresql://bots:PASSWORD@replica.internal:5432/fleet",
    "database.replica_lag_s": "5s",
    "warm.loaders": ["mybots.loaders"],
    "notify.repeat_s": "4h",
    "notify.group_interval_s": "30s",
    "notify.webhook.url": "https://hooks.example.com/outrider",
    "notify.webhook.secret": "at least sixteen letters",
    "notify.email.host": "mail.example.com",
    "notify.email.user": "outrider",
    "notify.email.password": "PASSWORD",
    "notify.email.ca_file": "/etc/ssl/our-ca.pem",
    "notify.email.sender": "outrider@example.com",
    "notify.email.to": ["oncall@example.com"],
    "notify.slack.url": "https://hooks.slack.com/services/T000/B000/XXXX",
    "notify.discord.url": "https://discord.com/api/webhooks/1/XXXX",
    "notify.telegram.token": "1234567:XXXX",
    "notify.telegram.chat": "-1001234567890",
    "notify.telegram.url": "https://api.telegram.org",
    "notify.ntfy.url": "https://ntfy.sh",
    "notify.ntfy.topic": "a-topic-nobody-guesses",
    "notify.ntfy.token": "tk_XXXX",
    "notify.alertmanager.url": "https://alertmanager.example.com",
    "notify.apprise.urls": ["matrix://user:PASSWORD@example.com/#ops"],
    "notify.heartbeat.url": "https://hc-ping.com/your-uuid",
    "notify.heartbeat.every_s": "1m",
    "route.name": "all",
    "route.match": {"severity": "critical"},
    "route.group_by": ["host"],
    "route.group_wait_s": "10s",
    "route.group_interval_s": "1m",
    "route.repeat_s": "1h",
    "route.escalate": ["15m: log"],
    "route.quiet": ["22:00-07:00"],
    "route.digest_s": "1h",
    "silence.name": "backup",
    "silence.match": {"rule": "disk *"},
    "silence.when": ["02:00-03:00", "sun 00:00-24:00"],
    "inhibit.name": "database is away",
    "inhibit.source": {"rule": "database is away"},
    "inhibit.target": {"rule": "connection pool *"},
    "inhibit.equal": ["host"],
    "scrape.name": "canary",
    "scrape.url": "http://127.0.0.1:9100/metrics",
    "scrape.bot": "canary",
    "scrape.timeout_s": "1s",
    "scrape.metrics": ["http_*", "process_open_fds"],
    "statsd.enabled": True,
    "redis.name": "sessions",
    "redis.url": "redis://:PASSWORD@sessions.internal:6379/0",
    "schedule.collect.every_s": "5s",
    "bots.canary.entry": "mybots.canary:main",
    "bots.canary.cwd": "canary",
    "bots.canary.env": {"LANG": "C.UTF-8"},
    "bots.canary.readiness": "sdk",
    "bots.canary.foreign.pattern": "node canary.js",
    "bots.canary.probe.http": "http://127.0.0.1:8080/health",
    "bots.canary.liveness.loop_lag_s": "30s",
    "logs.size": "10MiB",
    "logs.rate": "8MiB",
    "bots.canary.ready_timeout_s": "30s",
    "bots.canary.grace_s": "10s",
    "bots.canary.needs": ["ledger"],
    "bots.canary.limits.memory": "300MiB",
    "bots.canary.limits.cpu": 0.5,
    "bots.canary.limits.memory_soft": "250MiB",
    "bots.canary.limits.cpu_hard": 1.5,
    "bots.canary.limits.priority": "high",
    "bots.canary.scale.max": 8,
    "bots.canary.scale.rate": "updates",
    "bots.canary.scale.queue": "celery.queue.mail.length",
    "bots.canary.scale.wait_s": "2s",
    "bots.canary.scale.start_s": "100ms",
    "bots.canary.scale.cool_down_s": "20s",
    "celery.scale.max": 16,
    "celery.scale.wait_s": "10s",
    "celery.scale.cool_down_s": "1m",
    "celery.name": "shop",
    "celery.broker": "redis://:PASSWORD@broker.internal:6379/0",
    "celery.queues": ["payments", "mail"],
    "celery.key_prefix": "shop:",
    "slo.name": "canary answers",
    "slo.indicator": "timed:handle_update<0.5s",
    "slo.objective": 0.995,
    "alert.name": "pool nearly empty",
    "alert.when": "bot.*.db.pool.used_ratio > 0.9 for 30s clear 0.7",
    "alert.active": ["Mon-Fri 08:00-18:00"],
    "alert.advice": "Look for a query that holds its connection.",
}
# Only one of the two may be given; the other is shown as a comment.
# One of several ways stands; the others are shown as comments.
_COMMENTED = {
    "bots.canary.command": ["python", "-m", "mybots.canary"],
    "bots.canary.foreign.pid_file": "/run/canary.pid",
    "bots.canary.foreign.cgroup": "/system.slice/canary.service",
    "bots.canary.probe.tcp": "127.0.0.1:8080",
}
_PLAIN = {
    bool: "true or false", int: "whole number", float: "number", str: "text",
    SecretStr: "text, secret", Path: "path",
}  # fmt: skip
_DEFAULTS_IN_WORDS = {"host": "this machine's host name"}


@dataclass(frozen=True)
class Table:
    """One table of outrider.toml. ``path`` is where it stands, ``()`` for the top."""

    path: tuple[str, ...]
    model: type[BaseModel]
    many: Literal["", "named", "listed"] = ""

    @property
    def header(self) -> str:
        """Return the line that opens it in TOML."""
        name = ".".join(self.path)
        return f"[[{name}]]" if self.many == "listed" else f"[{name}]" if name else ""

    @property
    def title(self) -> str:
        """Return the heading of its section."""
        shown = [part.upper() if part in _NAMES.values() else part for part in self.path]
        shown = ["NAME" if part in map(str.upper, _NAMES.values()) else part for part in shown]
        name = ".".join(shown)
        return f"`[[{name}]]`" if self.many == "listed" else f"`[{name}]`" if name else "Top level"


def pages() -> dict[Path, str]:
    """Return the text of every generated page by its path."""
    made = {
        "settings.md": settings_page(),
        "commands.md": commands_page(),
        "alerts-rules.md": rules_page(),
        "tasks.md": tasks_page(),
        "keys.md": keys_page(),
        "metrics.md": metrics_page(),
        "opentelemetry.md": opentelemetry_page(),
    }
    return {DOCS / name: f"{_WRITTEN}{text.rstrip()}\n" for name, text in made.items()}


def tables(
    model: type[BaseModel] = Settings,
    path: tuple[str, ...] = (),
    many: Literal["", "named", "listed"] = "",
) -> Iterator[Table]:
    """Yield every table of the settings, outer ones first."""
    yield Table(path, model, many)
    for name, field in model.model_fields.items():
        inner = _table_in(field.annotation)
        if inner is None:
            continue
        origin = typing.get_origin(field.annotation)
        if origin is dict:
            yield from tables(inner, (*path, name, _NAMES[name]), "named")
        else:
            yield from tables(inner, (*path, name), "listed" if origin is tuple else "")


def settings_of(table: Table) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the settings of a table that are values, not tables themselves."""
    for name, field in table.model.model_fields.items():
        if _table_in(field.annotation) is None:
            yield name, field


def settings_page() -> str:
    """Return the page of every setting."""
    names = ", ".join(f"`{variables.PREFIX}{name}_FILE`" for name in variables.SECRETS)
    secrets = f"A secret may also be given as the name of a file that holds it: {names}."
    parts = ["# Settings", _SETTINGS, secrets]
    for table in tables():
        parts += [f"## {table.title}", _about(table), "```toml\n" + example(table) + "\n```"]
        rows = [
            (
                f"`{name}`",
                field.description or "",
                _type(field),
                _default(table, name, field),
                _range(field),
                f"`{_variable(table, name)}`",
            )
            for name, field in settings_of(table)
        ]
        columns = ("setting", "what it is", "type", "default", "range", "variable")
        if rows:
            parts.append(markdown(columns, rows))
    return "\n\n".join(part for part in parts if part)


def example(table: Table) -> str:
    """Return a table as TOML that the settings accept."""
    lines = [table.header] if table.header else []
    for name, field in settings_of(table):
        key = ".".join((*table.path, name))
        if key in _COMMENTED:
            lines.append(f"# {name} = {_toml(_COMMENTED[key])}")
            continue
        value = EXAMPLES.get(key, field.get_default(call_default_factory=True))
        lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines)


def _about(table: Table) -> str:
    if not table.path:
        return ""
    # The header that a docstring ends with stands in the heading already.
    return re.sub(r": ``[^`]*``", "", _first_sentence(table.model))


def _first_sentence(thing: Any) -> str:
    return _as_markdown((inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " "))


def _as_markdown(text: str) -> str:
    return text.replace("``", "`")


def _variable(table: Table, name: str) -> str:
    if table.many == "listed":
        return f"{variables.PREFIX}{table.path[0].upper()} (JSON, all)"
    shown = ["NAME" if part in _NAMES.values() else part.upper() for part in table.path]
    return variables.PREFIX + "__".join((*shown, name.upper()))


def _type(field: FieldInfo) -> str:
    parsers = [getattr(each, "func", None) for each in field.metadata]
    return _words(field.annotation, parsers)


def _words(annotation: Any, parsers: list[Any]) -> str:
    """Return a type in words; ``parsers`` are what its values go through first."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _words(arguments[0], [getattr(each, "func", None) for each in arguments[1:]])
    if origin in (typing.Union, types.UnionType):
        return _words(next(each for each in arguments if each is not type(None)), parsers)
    if units.parse_duration in parsers:
        return "duration"
    if units.parse_bytes in parsers:
        return "size"
    match origin:
        case _ if origin is Literal:
            words = "one of " + ", ".join(f"`{each}`" for each in arguments)
        case _ if origin is tuple:
            words = f"list of {_words(arguments[0], [])}s"
        case _ if origin is dict:
            words = f"table of {_words(arguments[1], [])}s"
        case _:
            words = _PLAIN[annotation]
    return words


def _default(table: Table, name: str, field: FieldInfo) -> str:
    key = ".".join((*table.path, name))
    if key in _DEFAULTS_IN_WORDS:
        return _DEFAULTS_IN_WORDS[key]
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "must be given"
    return "none" if value in (None, (), {}) else f"`{_toml(value)}`"


def _range(field: FieldInfo) -> str:
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = []
    for each in field.metadata:
        for name, words in signs.items():
            if (limit := getattr(each, name, None)) is not None:
                found.append(f"{words} {_limit(field, limit)}")
        if least := getattr(each, "min_length", None):
            found.append(f"{least} or more")
        if most := getattr(each, "max_length", None):
            found.append(f"{most} letters at most")
        if pattern := getattr(each, "pattern", None):
            found.append(f"matches `{pattern}`")
    return ", ".join(found)


def _limit(field: FieldInfo, limit: float) -> str:
    return units.show_bytes(limit) if "size" in _type(field) else f"{limit:g}"


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_table_in(argument) for argument in typing.get_args(annotation))
    return next((table for table in inner if table), None)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{name} = {_toml(each)}" for name, each in value.items())
        return "{ " + inside + " }" if inside else "{}"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()  # a default: no secret
    if isinstance(value, float) and value == int(value):
        value = int(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def commands_page() -> str:
    """Return the page of every command's help."""
    from outrider.cli import main as cli

    top = click.Context(
        cli.main, info_name="outrider", terminal_width=_WIDTH, **cli.main.context_settings
    )
    codes = {"bad_input": cli.EXIT_BAD_INPUT, "unavailable": cli.EXIT_UNAVAILABLE}
    return "\n\n".join(["# Commands", _COMMANDS.format(**codes), *_helps(cli.main, top)])


def _helps(command: click.Command, context: click.Context) -> Iterator[str]:
    level = "###" if context.parent and context.parent.parent else "##"
    yield f"{level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner, name
            yield from _helps(inner, click.Context(inner, parent=context, info_name=name))


def rules_page() -> str:
    """Return the page of the rules that are in force without any configuration."""
    from outrider.alerts.defaults import BUILT_IN

    rows = [(rule.name, str(rule.severity), f"`{rule.text}`") for rule in BUILT_IN]
    rules = markdown(("rule", "severity", "fires when"), rows)
    return f"# Built-in alert rules\n\n{_RULES}\n\n{rules}"


def tasks_page() -> str:
    """Return the page of every task, and of what beat sends when."""
    from celery import Celery

    import outrider.tasks  # noqa: F401 - registers them
    from outrider.store import queues

    app = Celery("docs", set_as_current=False)  # the workers' own would ask for a stack
    app.finalize()
    rows = []
    for name in sorted(name for name in app.tasks if name.startswith("outrider.")):
        task = app.tasks[name]
        queue = queues.of_task(name, host="HOST")
        arguments = ", ".join(f"`{each}`" for each in _arguments(task.run)) or "none"
        first = _first_sentence(task.run)
        rows.append((f"`{name}`", first, arguments, f"`{queue}`", f"{task.time_limit} s"))
    table = markdown(("task", "what it does", "arguments", "queue", "time limit"), rows)
    return f"# Tasks\n\n{_TASKS}\n\n{table}\n\n## What beat sends\n\n{_BEAT}\n\n{_schedule()}"


def _arguments(function: Any) -> Iterator[str]:
    for parameter in inspect.signature(function).parameters.values():
        kind = re.sub(r"^'|'$", "", str(parameter.annotation))
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        yield f"{parameter.name}: {kind}{default}"


def _schedule() -> str:
    from outrider.schedules import beat, profiles

    def shown(seconds: float) -> str:
        return re.sub(r"(?<=[dhm])0[hms]$", "", units.show_duration(seconds))

    rows = []
    for entry in beat.table(Settings.model_construct(schedule={}, profile="standard")):
        every = [profiles.PROFILES[name].get(entry.name) for name in profiles.PROFILES]
        cells = ["`interval_s`" if each is None else shown(each) for each in every]
        rows.append((f"`{entry.name}`", f"`{entry.task}`", *cells))
    return markdown(("entry", "task", *profiles.PROFILES), rows)


def keys_page() -> str:
    """Return the page of every Redis key, from the docstrings of the modules that name them."""
    from outrider.cache import keys as cache_keys
    from outrider.store import keys

    texts = [inspect.getdoc(module) or "" for module in (keys, cache_keys)]
    store, cache = map(_as_markdown, texts)
    return f"# Redis keys\n\n{store}\n\n## Of caches\n\n{cache}\n\n## Of Celery\n\n{_CELERY}"


def metrics_page() -> str:
    """Return the page of every series, from the catalogue."""
    from outrider.metrics import series
    from outrider.web.families import shown_name

    parts = ["# Metrics", _METRICS]
    for title, metrics in series.SECTIONS.items():
        rows = [
            (f"`{each.pattern}`", f"`{shown_name(each)}`", each.kind, each.unit, each.help)
            for each in metrics
        ]
        columns = ("series", "in Prometheus", "kind", "unit", "what it tells")
        parts += [f"## {title}", markdown(columns, rows)]
    return "\n\n".join(parts)


def opentelemetry_page() -> str:
    """Return the page of what OpenTelemetry calls our series."""
    from outrider.metrics import opentelemetry as otel

    rows = []
    for each in otel.MAPPED:
        attributes = ", ".join(f"`{one}`" for one in each.attributes.split(", ") if one)
        names = (f"`{each.pattern}`", f"`{each.name}`", f"`{each.unit}`")
        rows.append((*names, attributes, each.note, each.status))
    columns = ("ours", "OpenTelemetry", "unit", "attributes", "note", "status")
    without = [(f"`{pattern}`", why) for pattern, why in otel.UNMAPPED.items()]
    return "\n\n".join(
        [
            "# OpenTelemetry",
            _OTEL.format(version=otel.VERSION),
            markdown(columns, rows),
            "## Without a counterpart",
            "A bridge passes these on under our names.",
            markdown(("ours", "why"), without),
        ]
    )


def markdown(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table; a bar in a cell is escaped, as it would end the cell."""
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )


def main() -> None:
    """Write the pages that changed, and name them."""
    for path, text in pages().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"written: {path.relative_to(DOCS.parent)}\n")


if __name__ == "__main__":
    main()
