"""The one table of settings: its names, defaults, ranges and help.

Values come from the environment (``OUTRIDER_*``, and ``OUTRIDER_NAME_FILE`` for secrets), then
from ``outrider.toml``. ``docs/settings.md`` is generated from this table.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import tempfile
import typing
import urllib.parse
import zoneinfo
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableVariable

from outrider import toml, units, variables
from outrider.errors import Problem, SettingsError
from outrider.settings_base import Bytes, HttpAddress, Seconds, Table
from outrider.settings_notify import (
    InhibitSettings,
    NotifySettings,
    RouteSettings,
    SilenceSettings,
    parse_level,
)
from outrider.settings_web import DashboardSettings, ServerSettings

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE_NAME = "outrider.toml"
BOT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the final NUL included.
LONGEST_SOCKET_PATH = 100
# A bot of that name could not be told from a part of the stack, or from all bots.
RESERVED_NAMES = frozenset({"all", "beat", "dashboard", "flower", "valkey", "worker", "zygote"})
# Our own series are ``celery.queue...``, ``celery.tasks...``: an application can't be called so.
RESERVED_APPS = frozenset(
    {"outrider", "queue", "queues", "task", "tasks", "worker", "workers", "failures", "unacked"}
)
# Series of no single host are kept under this name (see ``store.keys``).
_NO_HOST = "fleet"

_MODULE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"


class Restart(Table):
    """What happens when a bot ends."""

    strategy: Literal["always", "on-failure", "never"] = Field(
        "always", description="restart after every end, only after a failure, or never"
    )
    backoff_s: tuple[float, ...] = Field(
        (0.0, 0.1, 1.0, 5.0),
        min_length=1,
        description="seconds to wait before the 1st, 2nd, ... restart in a row; the last repeats",
    )
    jitter: float = Field(
        0.2, ge=0, le=1, description="each wait is longer or shorter by up to this share of it"
    )
    intensity: str = Field(
        "5/60s", description="more restarts than this in the window, and the bot is failed"
    )

    @field_validator("intensity")
    @classmethod
    def _is_a_rate(cls, text: str) -> str:
        units.parse_rate(text)
        return text

    @field_validator("backoff_s")
    @classmethod
    def _not_negative(cls, waits: tuple[float, ...]) -> tuple[float, ...]:
        if min(waits) < 0:
            raise ValueError("a wait can't be negative; use 0 for an immediate restart.")
        return waits


class Limits(Table):
    """What one instance of a bot may use."""

    memory: Bytes | None = Field(
        None, ge=1 << 20, description="resident memory; above it the bot is restarted gracefully"
    )
    memory_soft: Bytes | None = Field(
        None, ge=1 << 20, description="resident memory; above it for 30 s an alert is raised"
    )
    cpu: float | None = Field(
        None,
        gt=0,
        description="cores; above it for a minute an alert is raised, and the kernel holds it there"
        " where cgroup v2 is delegated",
    )
    cpu_hard: float | None = Field(
        None, gt=0, description="cores; above it for a minute the bot is restarted gracefully"
    )
    priority: Literal["low", "normal", "high"] = Field(
        "normal",
        description="who gets the CPU when it is short, and who is killed last when memory is",
    )
    processes: int | None = Field(
        512, ge=1, description="processes of its tree; above it the whole tree is ended"
    )

    @model_validator(mode="after")
    def _soft_below_hard(self) -> Limits:
        for soft, hard in (("memory_soft", "memory"), ("cpu", "cpu_hard")):
            low, high = getattr(self, soft), getattr(self, hard)
            if low is not None and high is not None and low >= high:
                raise ValueError(
                    f"{soft} must be less than {hard}: it warns before the bot is restarted."
                )
        return self


class ProbeSettings(Table):
    """How a bot is asked whether it works: one of the two."""

    http: str | None = Field(
        None, pattern=r"^https?://", description="an address that must answer with 200 to 399"
    )
    tcp: str | None = Field(
        None, pattern=r"^.+:\d+$", description="host:port that must take a connection"
    )
    timeout_s: Seconds = Field(2.0, gt=0, le=60, description="no answer by then is a failure")

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> ProbeSettings:
        if (self.http is None) == (self.tcp is None):
            raise ValueError('give either http = "http://..." or tcp = "host:port".')
        return self


class LivenessSettings(Table):
    """What makes a bot that was ready count as hanging; it is then restarted."""

    heartbeat_s: Seconds | None = Field(
        60.0, ge=0, description="nothing heard from its SDK for so long; 0 never"
    )
    loop_lag_s: Seconds | None = Field(
        None, gt=0, description="its event loop is blocked for so long; not looked at by default"
    )
    probe_every_s: Seconds = Field(10.0, ge=0.1, description="seconds between two probes")
    failures: int = Field(3, ge=1, description="probes in a row that must fail")


class Foreign(Table):
    """A process that somebody else starts and stops; it is measured and never touched."""

    pid_file: Path | None = Field(None, description="file that holds its pid")
    pattern: str | None = Field(
        None, min_length=3, description="regular expression on its command line; oldest match"
    )
    cgroup: str | None = Field(
        None, min_length=2, description="its control group, such as /system.slice/x.service"
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}.") from None
        return pattern

    @model_validator(mode="after")
    def _one_way_to_find(self) -> Foreign:
        if sum(way is not None for way in (self.pid_file, self.pattern, self.cgroup)) != 1:
            raise ValueError("give one of pid_file, pattern and cgroup.")
        return self


class Scale(Table):
    """How many replicas there may be, and which series they follow."""

    min: int = Field(1, ge=0, le=1000, description="never fewer")
    max: int = Field(ge=1, le=1000, description="never more")
    service: str = Field(
        "handle_update",
        min_length=1,
        description="the timing of one piece of work, which tells how much a replica can do",
    )
    rate: str | None = Field(
        None,
        min_length=1,
        description="the counter of what arrives; without it, what was done and the queue's growth",
    )
    queue: str | None = Field(
        None,
        min_length=1,
        description="what waits: a gauge of the bot (updates.backlog unless named), or a whole"
        " series such as celery.queue.mail.length",
    )
    concurrency: int = Field(
        1, ge=1, le=10_000, description="pieces of work that a replica does at once"
    )
    wait_s: Seconds = Field(2.0, gt=0, description="the longest that work should wait")
    start_s: Seconds = Field(0.1, ge=0, description="how long a replica takes until it works")
    cool_down_s: Seconds = Field(20.0, ge=0, description="a lower need is believed after this")
    tolerance: float = Field(
        0.05, ge=0, lt=1, description="fewer are taken away than this share: not worth it"
    )
    dry_run: bool = Field(default=False, description="only tell what would be done")

    @model_validator(mode="after")
    def _some_room(self) -> Scale:
        if self.min > self.max:
            raise ValueError("min must not be above max.")
        return self


class PoolScale(Table):
    """How many processes the pools of all workers of an application may have together."""

    min: int = Field(1, ge=1, le=10_000, description="never fewer; each worker keeps one")
    max: int = Field(ge=1, le=10_000, description="never more")
    wait_s: Seconds = Field(10.0, gt=0, description="the longest that a task should wait")
    cool_down_s: Seconds = Field(60.0, ge=0, description="a lower need is believed after this")
    dry_run: bool = Field(default=False, description="only tell what would be done")

    @model_validator(mode="after")
    def _some_room(self) -> PoolScale:
        if self.min > self.max:
            raise ValueError("min must not be above max.")
        return self


class BotSettings(Table):
    """One bot of the fleet: ``[bots.NAME]``."""

    entry: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="a Python function, as module:function; it may be async",
    )
    command: tuple[str, ...] | None = Field(
        None, min_length=1, description="any program and its arguments, in place of entry"
    )
    fork: bool = Field(
        default=True,
        description="start an entry as a fork of a process that has imported its libraries;"
        " false starts a new interpreter each time",
    )
    preload: tuple[Annotated[str, Field(pattern=_MODULE)], ...] = Field(
        (),
        description="modules to import once for all bots of its folder, besides the libraries that"
        " its sources import; the bot's own too, if nothing is opened or started by importing them",
    )
    instances: int = Field(1, ge=0, le=1000, description="how many processes of it to run")
    cwd: Path | None = Field(None, description="working folder; the settings file's by default")
    env: dict[str, str] = Field(default_factory=dict, description="added to the environment")
    foreign: Foreign | None = Field(
        None, description="how to find a process that somebody else runs, in place of entry"
    )
    readiness: Literal["sdk", "alive", "probe"] | None = Field(
        None,
        description="ready when bot.ready() is called (sdk), when alive for one second (alive), or"
        " when its probe answers (probe); by default probe where one is given, else sdk for an"
        " entry and alive for a command",
    )
    probe: ProbeSettings | None = Field(None, description="asked for readiness and for liveness")
    liveness: LivenessSettings = Field(default_factory=LivenessSettings)
    ready_timeout_s: Seconds = Field(30.0, gt=0, description="not ready by then: restarted")
    stop_signal: Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] = Field(
        "SIGTERM", description="asks it to end"
    )
    grace_s: Seconds = Field(
        10.0, ge=0, description="between that signal and SIGKILL for its whole tree"
    )
    needs: tuple[str, ...] = Field((), description="bots that must be ready before this one starts")
    restart: Restart = Field(default_factory=Restart)
    limits: Limits = Field(default_factory=Limits)
    priority: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="what a second of its waiting for a connection counts against others' seconds",
    )
    scale: Scale | None = Field(None, description="follow the load with the number of instances")

    @property
    def first_instances(self) -> int:
        """How many to start with: ``instances``, within what scaling allows."""
        if self.scale is None:
            return self.instances
        return min(self.scale.max, max(self.scale.min, self.instances))

    @property
    def most_instances(self) -> int:
        """How many there may be at once; budgets are made for that many."""
        return self.scale.max if self.scale else self.instances

    @model_validator(mode="after")
    def _one_way_to_start(self) -> BotSettings:
        if sum(way is not None for way in (self.entry, self.command, self.foreign)) != 1:
            raise ValueError(
                'give either entry = "module:function" or command = ["program", "argument"].'
            )
        if self.readiness == "probe" and self.probe is None:
            raise ValueError('readiness = "probe" needs a probe = { http = "..." } to ask.')
        return self


class AlertSettings(Table):
    """One alert rule: ``[[alert]]``."""

    name: str = Field(min_length=1, max_length=200, description="what people will read")
    when: str = Field(description="a condition, such as: bot.*.db.pool.used_ratio > 0.9 for 30s")
    severity: Literal["info", "warning", "critical"] = Field("warning", description="how bad it is")
    active: tuple[str, ...] = Field(
        (),
        description="times of the week at which it may begin to fire, in `timezone`; none: always",
    )
    advice: str = Field("", max_length=500, description="what to do, added to what people read")
    enabled: bool = Field(
        default=True, description="false takes away the built-in rule of this name"
    )


class SloSettings(Table):
    """An objective with an error budget: ``[[slo]]``."""

    name: str = Field(min_length=1, max_length=80, description="what people will read")
    indicator: str = Field(
        description="what is good: alive, work:NAME, timed:NAME<0.5s, fresh:NAME<10m, restarts,"
        " ratio:BAD/ALL, ticks"
    )
    objective: float = Field(gt=0, lt=1, description="the share that must be good, such as 0.995")
    bots: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        ("*",), min_length=1, description="patterns of the bots it is about; * stands for anything"
    )
    each_bot: bool = Field(
        default=False, description="hold each process to it as well, not only all together"
    )
    period_s: Seconds = Field(
        2_592_000.0, ge=259_200, le=31_536_000, description="the budget's period, which rolls"
    )
    method: Literal["timeslices", "occurrences"] = Field(
        "timeslices",
        description="count ticks in which something happened, or every event of a busy bot",
    )


class CeleryAppSettings(Table):
    """Another Celery application to watch, by its broker: ``[[celery]]``."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="what its series are called"
    )
    broker: SecretStr = Field(description="its broker_url; Redis or Valkey")
    queues: tuple[str, ...] = Field(
        (), description="its queues; found through their bindings when none is named"
    )
    events: bool = Field(
        default=True, description="count its tasks and see its workers by their events"
    )
    key_prefix: str = Field("", description="its global_keyprefix, if it has one")
    separator: str = Field(
        "\x06\x16", min_length=1, description="its transport option sep, if changed"
    )
    priority_steps: tuple[int, ...] = Field(
        (0, 3, 6, 9), min_length=1, max_length=256, description="its priority_steps, if changed"
    )
    unacked_key: str = Field("unacked", min_length=1, description="its unacked_key, if changed")
    scale: PoolScale | None = Field(
        None, description="follow the load with the processes of its workers' pools"
    )

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in RESERVED_APPS:
            raise ValueError("this name is taken by Outrider's own series; choose another.")
        return name

    @field_validator("broker")
    @classmethod
    def _is_redis(cls, broker: SecretStr) -> SecretStr:
        parts = urllib.parse.urlsplit(broker.get_secret_value())
        if parts.scheme in ("amqp", "amqps", "pyamqp"):
            raise ValueError(
                "RabbitMQ can't be watched, only Redis and Valkey; take its queues from its own"
                " Prometheus plugin."
            )
        if parts.scheme not in ("redis", "rediss", "redis+socket", "unix"):
            raise ValueError(
                "only Redis and Valkey can be watched; write it like"
                " redis://:PASSWORD@host:6379/0, rediss://... or redis+socket:///path."
            )
        return broker


class DatabaseSettings(Table):
    """The database that the fleet shares: ``[database]``."""

    url: SecretStr | None = Field(
        None, description="SQLAlchemy URL, for reports on pools and server"
    )
    max_connections: int | None = Field(
        None, ge=4, description="the server's limit; asked from the server when not given"
    )
    reserved: int = Field(
        8, ge=0, description="connections kept free for superusers, people and restarts"
    )
    leases: bool = Field(
        default=True,
        description="bots lease what they need beyond their floor, rather than keep a fixed share",
    )
    admin_url: SecretStr | None = Field(
        None, description="a role that may ALTER SYSTEM; used only to apply advice on the server"
    )
    server_memory: Bytes | None = Field(
        None,
        ge=1 << 20,
        description="the server's memory, for advice; this host's when it runs here",
    )
    server_cores: int | None = Field(
        None, ge=1, description="the server's cores, for advice; this host's when it runs here"
    )
    workload: Literal["web", "oltp", "dw", "desktop", "mixed"] = Field(
        "web", description="what the server is used for, as PGTune calls it"
    )
    storage: Literal["ssd", "hdd", "san", "nvme"] = Field(
        "ssd", description="what the server's data lie on"
    )
    replica_url: SecretStr | None = Field(
        None, description="a streaming replica that may answer reads"
    )
    replica_lag_s: Seconds = Field(
        5.0, gt=0, description="a replica further behind answers nothing; the primary does"
    )


class ScrapeSettings(Table):
    """A Prometheus endpoint to scrape at each tick: ``[[scrape]]``."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="its series begin with scrape.NAME"
    )
    url: HttpAddress = Field(
        description="http:// or https://, with user:password@ if it needs them"
    )
    bot: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$",
        description="the bot whose endpoint it is: series begin with bot.BOT instead",
    )
    timeout_s: Seconds = Field(1.0, gt=0, le=10, description="not answered by then: it is down")
    metrics: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        ("*",), min_length=1, description="patterns of the metrics to keep; * stands for anything"
    )
    limit: int = Field(
        200, ge=1, le=5000, description="series to keep of it; those beyond are counted"
    )


class StatsdSettings(Table):
    """The StatsD datagrams that the supervisor takes: ``[statsd]``."""

    enabled: bool = Field(default=False, description="listen for datagrams")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8125, ge=1, le=65535, description="UDP port to listen on")


class LogSettings(Table):
    """The captured output of each process: ``[logs]``."""

    size: Bytes = Field(
        10 << 20, ge=1 << 16, description="a log that grew larger is turned to a new file"
    )
    keep: int = Field(3, ge=0, le=100, description="older files that are kept")
    rate: Bytes = Field(
        8 << 20, ge=1 << 12, description="bytes a second a process may write before it must wait"
    )


class RedisSettings(Table):
    """Another Redis or Valkey that bots use, to be watched: ``[[redis]]``."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="its series begin with redis.server.NAME"
    )
    url: SecretStr = Field(description="its address, such as redis://:password@host:6379/0")

    @field_validator("url")
    @classmethod
    def _is_redis(cls, url: SecretStr) -> SecretStr:
        scheme = url.get_secret_value().partition("://")[0]
        if scheme not in ("redis", "rediss", "unix"):
            raise ValueError("the address must begin with redis://, rediss:// or unix://.")
        return url


class WarmSettings(Table):
    """How caches are kept warm: ``[warm]``."""

    loaders: tuple[str, ...] = Field(
        (), description="modules whose @outrider.cached functions workers may reload"
    )
    budget: float = Field(0.05, ge=0, le=1, description="extra loads allowed, as a share of demand")
    budgets: dict[str, float] = Field(
        default_factory=dict, description="the same for single namespaces, by name; 0: never warm"
    )

    def budget_of(self, namespace: str) -> float:
        """Return the share of extra loads allowed in a namespace."""
        return self.budgets.get(namespace, self.budget)


class Retention(Table):
    """How long series are kept, each tier as long as the finer one or longer: ``[retention]``."""

    raw: Seconds = Field(
        172_800.0, ge=3600, le=7_776_000, description="raw samples, one a tick and series"
    )
    five_minutes: Seconds = Field(
        2_592_000.0,
        ge=3600,
        le=63_072_000,
        validate_default=True,
        description="roll-ups of five minutes",
    )
    hours: Seconds = Field(
        34_560_000.0,
        ge=3600,
        le=315_360_000,
        validate_default=True,
        description="roll-ups of an hour",
    )

    @field_validator("five_minutes", "hours")
    @classmethod
    def _not_shorter_than_the_finer(cls, kept_s: float, info: ValidationInfo) -> float:
        finer = "raw" if info.field_name == "five_minutes" else "five_minutes"
        finer_s = info.data.get(finer)  # missing when it was refused itself
        if finer_s is not None and kept_s < finer_s:
            raise ValueError(
                f"kept for less than {finer} ({units.show_duration(finer_s)}); "
                f"raise it, or lower {finer}."
            )
        return kept_s


class EntrySettings(Table):
    """Your change to one beat entry: ``[schedule.NAME]``."""

    every_s: Seconds | None = Field(None, ge=1, description="seconds between two runs")
    enabled: bool = Field(default=True, description="false takes it out of the schedule")


class Settings(BaseSettings):
    """Everything that can be set. Frozen; build it with :func:`load`."""

    model_config = SettingsConfigDict(
        env_prefix=variables.PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    environment: Literal["development", "staging", "production", "high_performance"] = Field(
        "development", description="chooses the database preset and how chatty logs are"
    )
    host: str = Field(
        default_factory=lambda: socket.gethostname().split(".")[0].lower() or "localhost",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$",
        description="this machine's name in the fleet",
    )
    data_dir: Path = Field(
        Path(".outrider"), description="state of this host: embedded server, logs, sockets"
    )
    redis_url: SecretStr | None = Field(
        None, description="a Redis 6.2+ or Valkey to use; none starts the embedded one"
    )
    interval_s: Seconds = Field(10.0, ge=1, le=3600, description="seconds between two ticks")
    profile: Literal["calm", "standard", "live"] = Field(
        "standard", description="intervals of the periodic work besides collection"
    )
    timezone: str = Field("UTC", description="for reports and the schedule")
    dashboard: DashboardSettings = Field(default_factory=DashboardSettings)
    flower: ServerSettings = Field(default_factory=ServerSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    warm: WarmSettings = Field(default_factory=WarmSettings)
    retention: Retention = Field(default_factory=Retention, description="how long series are kept")
    notify: NotifySettings = Field(default_factory=NotifySettings)
    scrape: tuple[ScrapeSettings, ...] = Field(
        (), description="Prometheus endpoints that are scraped"
    )
    statsd: StatsdSettings = Field(default_factory=StatsdSettings)
    logs: LogSettings = Field(default_factory=LogSettings)
    redis: tuple[RedisSettings, ...] = Field((), description="other Redis servers to watch")
    schedule: dict[str, EntrySettings] = Field(
        default_factory=dict, description="changes to beat's table, by entry name"
    )
    bots: dict[str, BotSettings] = Field(default_factory=dict, description="the fleet")
    celery: tuple[CeleryAppSettings, ...] = Field(
        (), description="other Celery applications to watch"
    )
    alert: tuple[AlertSettings, ...] = Field(
        (), description="alert rules besides the built-in ones"
    )
    slo: tuple[SloSettings, ...] = Field(
        (), description="objectives with error budgets besides the built-in ones"
    )
    route: tuple[RouteSettings, ...] = Field((), description="who is told of which alerts")
    silence: tuple[SilenceSettings, ...] = Field(
        (), description="hours in which nobody is told of some alerts"
    )
    inhibit: tuple[InhibitSettings, ...] = Field((), description="alerts that hide others")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the environment above the file, whose values arrive as keyword arguments."""
        del settings_cls, dotenv_settings, file_secret_settings
        assert isinstance(env_settings, EnvSettingsSource)
        env_settings.env_vars = variables.with_secrets(env_settings.env_vars)
        return env_settings, init_settings

    @field_validator("host")
    @classmethod
    def _is_one_host(cls, host: str) -> str:
        if host == _NO_HOST:
            raise ValueError(f"{host!r} stands for what no single host owns; choose another name.")
        return host

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            if name != "UTC":
                raise ValueError("no such time zone; write it like Europe/Berlin.") from None
        return name

    def run_dir(self) -> Path:
        """Return the folder of sockets and of ``stack.json``; short enough for a socket path."""
        natural = self.data_dir.resolve() / "run"
        if len(os.fsencode(natural / "telemetry.sock")) <= LONGEST_SOCKET_PATH:
            return natural
        digest = hashlib.sha256(str(natural).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"outrider-{os.getuid()}-{digest}"


def instance_names(name: str, count: int) -> list[str]:
    """Return the names of a bot's processes.

    The first keeps the bot's own name, so that scaling renames nobody.

    >>> instance_names("canary", 1), instance_names("canary", 3)
    (['canary'], ['canary', 'canary-2', 'canary-3'])
    """
    return [name if number == 1 else f"{name}-{number}" for number in range(1, count + 1)]


def find_file(start: Path | None = None) -> Path | None:
    """Return ``OUTRIDER_CONFIG``, or the nearest outrider.toml in this folder or above it."""
    named = os.environ.get("OUTRIDER_CONFIG")
    if named:
        return Path(named)
    folder = (start or Path.cwd()).resolve()
    return next(
        (found for up in (folder, *folder.parents) if (found := up / FILE_NAME).is_file()), None
    )


def load(path: Path | None = None) -> Settings:
    """Return the checked settings of this folder, or of the file at ``path``.

    Paths in the file count from its own folder.

    Raises:
        SettingsError: with every mistake, its line, value and remedy.
    """
    path = path or find_file()
    raw, text = toml.read(path) if path else ({}, "")
    problems = [*variables.unknown(Settings.model_fields), *variables.unreadable()]
    try:
        settings = Settings(**raw)
    except ValidationError as invalid:
        problems += [_problem(path, text, error, raw) for error in invalid.errors()]
        problems += _misfits(raw, path, text)
        raise SettingsError(problems) from None
    except UnreadableVariable as invalid:
        field = re.search(r'field "(\w+)"', str(invalid))
        name = variables.PREFIX + (field[1].upper() if field else "")
        remedy = "Put tables and lists into outrider.toml, or write them as JSON."
        problems += [Problem("environment", name, None, "is not JSON.", remedy)]
        raise SettingsError([*problems, *_misfits(raw, path, text)]) from None
    problems += _misfits(settings.model_dump(), path, text)
    if problems:
        raise SettingsError(problems)
    base = path.resolve().parent if path else Path.cwd()
    page = settings.dashboard
    files = {"tls_cert": page.tls_cert, "tls_key": page.tls_key}
    moved = page.model_copy(update={name: base / file for name, file in files.items() if file})
    return settings.model_copy(update={"data_dir": base / settings.data_dir, "dashboard": moved})


def _as_written(loc: tuple[str | int, ...], raw: Any) -> tuple[str | int, ...]:
    """Return a place without the numbers of lists that were written as a single table."""
    kept: list[str | int] = []
    for part in loc:
        if isinstance(part, int) and isinstance(raw, dict):
            continue
        kept.append(part)
        try:
            raw = raw[part]
        except (LookupError, TypeError):
            raw = None
    return tuple(kept)


def _problem(path: Path | None, text: str, error: Any, raw: Mapping[str, Any]) -> Problem:
    loc = _as_written(error["loc"], raw)
    variable, line = variables.setting(loc), toml.line_of(text, loc)
    message = error["msg"].removeprefix("Value error, ")
    remedy = ""
    if error["type"] == "extra_forbidden":
        message, remedy = "unknown key.", _did_you_mean(loc)
    elif not message.endswith("."):
        message, remedy = f"{message}.", _describe(loc)
    shown = None if error["type"] == "extra_forbidden" else _shown(loc, error["input"])
    key = ".".join(str(part) for part in loc) or "settings"
    if variable or (line is None and variables.touches(loc)):
        return Problem("environment", variable or key, shown, message, remedy)
    return Problem(str(path or "settings"), key, shown, message, remedy, line)


def _shown(loc: tuple[str | int, ...], value: object) -> object:
    """Return a value that may be printed; what is, or may hold, a secret may not."""
    secret = str(loc[-1]).endswith(("url", "hash")) or "env" in loc or "://" in str(value)
    plain = isinstance(value, str | int | float) or (
        isinstance(value, list) and all(isinstance(item, str | int | float) for item in value)
    )
    return value if plain and not secret else None


def _misfits(raw: Mapping[str, Any], path: Path | None, text: str) -> Iterator[Problem]:
    """Yield what is wrong with tables as a whole, as far as they are well-formed."""
    named = (
        ("alert", "rules"),
        ("slo", "objectives"),
        ("route", "routes"),
        ("silence", "silences"),
        ("inhibit", "inhibitions"),
        ("celery", "applications"),
        ("scrape", "endpoints"),
        ("redis", "servers"),
    )
    doubles = (misfit for table, what in named for misfit in _doubles(raw, table, what))
    for loc, value, message, remedy in (
        *_bot_misfits(raw),
        *doubles,
        *_route_misfits(raw),
    ):
        key = ".".join(str(part) for part in loc)
        yield Problem(str(path or "settings"), key, value, message, remedy, toml.line_of(text, loc))


_Misfit = tuple[tuple[str | int, ...], str | None, str, str]


def _bot_misfits(raw: Mapping[str, Any]) -> Iterator[_Misfit]:
    found = raw.get("bots", {})
    bots = {
        str(name): bot.get("needs") or ()
        for name, bot in (found.items() if isinstance(found, dict) else ())
        if isinstance(bot, dict) and isinstance(bot.get("needs") or (), list | tuple)
    }
    for name, needs in bots.items():
        if not BOT_NAME.fullmatch(name):
            yield ("bots", name), None, f"a bot's name must match {BOT_NAME.pattern}.", "Rename it."
        elif name in RESERVED_NAMES:
            yield ("bots", name), None, "this name is taken by Outrider itself.", "Rename it."
        first, _, number = name.rpartition("-")
        if first in bots and number.isdecimal() and int(number) > 1:
            yield ("bots", name), None, f"this is also an instance of {first}.", "Rename it."
        for needed in needs:
            if needed not in found:
                known = ", ".join(sorted(bots))
                yield (
                    ("bots", name, "needs"),
                    str(needed),
                    "no such bot.",
                    f"Declared are: {known}.",
                )
    if circle := _circle(bots):
        shown = " -> ".join(circle)
        yield ("bots", circle[0], "needs"), shown, "bots need each other in a circle.", "Break it."


def _route_misfits(raw: Mapping[str, Any]) -> Iterator[_Misfit]:
    """Yield the channels that routes name and that do not exist."""
    try:
        routes = [RouteSettings.model_validate(route) for route in raw.get("route", ())]
        known = NotifySettings.model_validate(raw.get("notify", {})).channels()
    except (ValidationError, TypeError):
        return  # told already
    for place, route in enumerate(routes):
        levels = {name for text in route.escalate for name in parse_level(text)[1]}
        for key, names in (("channels", set(route.channels)), ("escalate", levels)):
            for name in sorted(names - set(known)):
                told = f"Known: {', '.join(known)}."
                yield ("route", place, key), name, "no such channel.", told


def _doubles(raw: Mapping[str, Any], table: str, what: str) -> Iterator[_Misfit]:
    """Yield the entries of a list of tables whose name another one has already."""
    entries = raw.get(table, ())
    seen = set()
    for place, entry in enumerate(entries if isinstance(entries, list | tuple) else ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        if name in seen:
            yield (table, place, "name"), str(name), f"two {what} have this name.", "Rename one."
        if isinstance(name, str):
            seen.add(name)


def _fields_at(loc: tuple[str | int, ...]) -> Mapping[str, Any]:
    """Return the fields of the table that holds the last part of ``loc``."""
    fields: Mapping[str, Any] = Settings.model_fields
    parts = iter(loc[:-1])
    for part in parts:
        field = fields.get(str(part))
        table = _table_in(field.annotation) if field else None
        fields = table.model_fields if table else {}
        if field and typing.get_origin(field.annotation) in (dict, tuple):
            next(parts, None)  # a bot's name, a rule's place
    return fields


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_table_in(argument) for argument in typing.get_args(annotation))
    return next((table for table in inner if table), None)


def _did_you_mean(loc: tuple[str | int, ...]) -> str:
    import difflib

    names = list(_fields_at(loc))
    close = difflib.get_close_matches(str(loc[-1]), names, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(sorted(names))}."


def _describe(loc: tuple[str | int, ...]) -> str:
    field = _fields_at(loc).get(str(loc[-1])) if loc else None
    return f"({field.description})" if field is not None and field.description else ""


def _circle(needs: Mapping[str, Any]) -> list[str]:
    """Return bots that need each other, the first also at the end; empty when there are none."""
    import graphlib

    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []
