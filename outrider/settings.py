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
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from outrider import units
from outrider.errors import Problem, SettingsError

ENV_PREFIX = "OUTRIDER_"
FILE_NAME = "outrider.toml"
BOT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the final NUL included.
LONGEST_SOCKET_PATH = 100

Bytes = Annotated[int, BeforeValidator(units.parse_bytes)]
Seconds = Annotated[float, BeforeValidator(units.parse_duration)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Restart(_Table):
    """What happens when a bot ends."""

    strategy: Literal["always", "on-failure", "never"] = Field(
        "always", description="restart after every end, only after a failure, or never"
    )
    backoff_s: tuple[float, ...] = Field(
        (0.0, 0.1, 1.0, 5.0),
        min_length=1,
        description="seconds to wait before the 1st, 2nd, ... restart in a row; the last repeats",
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


class Limits(_Table):
    """What one instance of a bot may use."""

    memory: Bytes | None = Field(
        None, ge=1 << 20, description="resident memory; above it the bot is restarted gracefully"
    )
    cpu: float | None = Field(
        None, gt=0, description="cores; above it for a minute an alert is raised"
    )


class BotSettings(_Table):
    """One bot of the fleet: ``[bots.NAME]``."""

    entry: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="a Python function, as module:function; it may be async",
    )
    command: tuple[str, ...] | None = Field(
        None, min_length=1, description="any program and its arguments, in place of entry"
    )
    instances: int = Field(1, ge=0, le=1000, description="how many processes of it to run")
    cwd: Path | None = Field(None, description="working folder; the settings file's by default")
    env: dict[str, str] = Field(default_factory=dict, description="added to the environment")
    readiness: Literal["sdk", "alive"] | None = Field(
        None,
        description="ready when bot.ready() is called (sdk), or when alive for one second (alive);"
        " sdk for an entry, alive for a command",
    )
    ready_timeout_s: Seconds = Field(30.0, gt=0, description="not ready by then: restarted")
    grace_s: Seconds = Field(10.0, ge=0, description="between SIGTERM and SIGKILL when stopping")
    needs: tuple[str, ...] = Field((), description="bots that must be ready before this one starts")
    restart: Restart = Field(default_factory=Restart)
    limits: Limits = Field(default_factory=Limits)

    @model_validator(mode="after")
    def _one_way_to_start(self) -> BotSettings:
        if (self.entry is None) == (self.command is None):
            raise ValueError(
                'give either entry = "module:function" or command = ["program", "argument"].'
            )
        return self


class AlertSettings(_Table):
    """One alert rule: ``[[alert]]``."""

    name: str = Field(min_length=1, max_length=200, description="what people will read")
    when: str = Field(description="a condition, such as: db.pool.used_ratio > 0.9 for 30s")
    severity: Literal["info", "warning", "critical"] = Field("warning", description="how bad it is")


class WebhookSettings(_Table):
    """Where alerts are posted: ``[notify.webhook]``."""

    url: str = Field(pattern=r"^https?://", description="receives one JSON object a notification")
    allow_private: bool = Field(
        default=False, description="allow loopback and private addresses as target"
    )


class NotifySettings(_Table):
    """How people are told."""

    webhook: WebhookSettings | None = Field(None, description="also post alerts to this address")
    repeat_s: Seconds = Field(14_400.0, ge=60, description="remind while an alert still fires")


class DatabaseSettings(_Table):
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


class WarmSettings(_Table):
    """How caches are kept warm: ``[warm]``."""

    loaders: tuple[str, ...] = Field(
        (), description="modules whose @outrider.cached functions workers may reload"
    )
    budget: float = Field(0.05, ge=0, le=1, description="extra loads allowed, as a share of demand")


class ServerSettings(_Table):
    """An HTTP server of the stack."""

    enabled: bool = Field(default=True, description="start it with `outrider up`")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, ge=0, le=65535, description="0 finds a free one")


class EntrySettings(_Table):
    """Your change to one beat entry: ``[schedule.NAME]``."""

    every_s: Seconds | None = Field(None, ge=1, description="seconds between two runs")
    enabled: bool = Field(default=True, description="false takes it out of the schedule")


class Settings(BaseSettings):
    """Everything that can be set. Frozen; build it with :func:`load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
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
    retention_s: Seconds = Field(172_800.0, ge=600, description="how long raw samples are kept")
    profile: Literal["calm", "standard", "live"] = Field(
        "standard", description="intervals of the periodic work besides collection"
    )
    timezone: str = Field("UTC", description="for reports and the schedule")
    dashboard: ServerSettings = Field(default_factory=ServerSettings)
    flower: ServerSettings = Field(default_factory=ServerSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    warm: WarmSettings = Field(default_factory=WarmSettings)
    notify: NotifySettings = Field(default_factory=NotifySettings)
    schedule: dict[str, EntrySettings] = Field(
        default_factory=dict, description="changes to beat's table, by entry name"
    )
    bots: dict[str, BotSettings] = Field(default_factory=dict, description="the fleet")
    alert: tuple[AlertSettings, ...] = Field(
        (), description="alert rules besides the built-in ones"
    )

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
        return env_settings, init_settings

    @model_validator(mode="after")
    def _names_fit(self) -> Settings:
        for name, bot in self.bots.items():
            if not BOT_NAME.fullmatch(name):
                raise ValueError(
                    f"bot name {name!r} must match {BOT_NAME.pattern}; rename [bots.{name}]."
                )
            for needed in bot.needs:
                if needed not in self.bots:
                    raise ValueError(f"bots.{name}.needs names {needed!r}, which is not declared.")
        _refuse_cycles({name: bot.needs for name, bot in self.bots.items()})
        return self

    def run_dir(self) -> Path:
        """Return the folder of sockets and of ``stack.json``; short enough for a socket path."""
        natural = self.data_dir.resolve() / "run"
        if len(str(natural / "telemetry.sock")) <= LONGEST_SOCKET_PATH:
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
    raw, text = read_toml(path) if path else ({}, "")
    problems = _unknown_variables()
    try:
        settings = Settings(**(raw | _secrets_from_files()))
    except ValidationError as invalid:
        problems += [_problem(path, text, error["loc"], error) for error in invalid.errors()]
        raise SettingsError(problems) from None
    if problems:
        raise SettingsError(problems)
    base = path.resolve().parent if path else Path.cwd()
    return settings.model_copy(update={"data_dir": base / settings.data_dir})


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """Return the file's tables and its text.

    Raises:
        SettingsError: it can't be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except OSError as error:
        problem = Problem(
            str(path), "file", None, f"can't be read: {error.strerror}.", "Check the path."
        )
    except UnicodeDecodeError:
        problem = Problem(str(path), "file", None, "is not UTF-8 text.", "Save it as UTF-8.")
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        what, remedy = str(error), "Mend the TOML there."
        if twice := re.search(r"Cannot (?:declare|overwrite)", what):
            remedy = "It is declared twice; rename or remove one of the two."
            del twice
        problem = Problem(
            str(path), "syntax", None, f"{what}.", remedy, int(found[1]) if found else None
        )
    raise SettingsError([problem])


def line_of(text: str, key: tuple[str | int, ...]) -> int | None:
    """Return the line, counted from 1, at which a key of a TOML text stands, as far as known.

    tomllib keeps no positions, so this reads table headers and ``name =`` lines only; a key inside
    an inline table gets the line of the table.
    """
    best: tuple[int, int] | None = None
    seen: dict[str, int] = {}
    table: tuple[str | int, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?", line):
            table = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                seen[header[2]] = index = seen.get(header[2], -1) + 1
                table = (*table, index)
            here = table
        elif name := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            here = (*table, *(part.strip("\"'") for part in name[1].split(".")))
        else:
            continue
        if here == key[: len(here)] and (best is None or len(here) > best[0]):
            best = (len(here), number)
    return best[1] if best else None


def _problem(path: Path | None, text: str, loc: tuple[str | int, ...], error: Any) -> Problem:
    key = ".".join(str(part) for part in loc) or "settings"
    line = line_of(text, loc)
    source = str(path or "settings")
    if not line and _in_environment(loc):
        source = "environment"
    message = error["msg"].removeprefix("Value error, ")
    remedy = ""
    if error["type"] == "extra_forbidden":
        message, remedy = "unknown key.", _did_you_mean(loc)
    elif not message.endswith("."):
        message, remedy = f"{message}.", _describe(loc)
    value = error["input"]
    shown = None if isinstance(value, dict | BaseModel) or _is_secret(key) else value
    return Problem(source, key, shown, message, remedy, line)


def _is_secret(key: str) -> bool:
    return key.endswith("url")


def _fields_at(loc: tuple[str | int, ...]) -> dict[str, Any]:
    """Return the fields of the table that holds the last part of ``loc``."""
    model: Any = Settings
    tables: dict[str, Any] = {
        "bots": BotSettings, "alert": AlertSettings, "schedule": EntrySettings,
        "dashboard": ServerSettings, "flower": ServerSettings, "database": DatabaseSettings,
        "warm": WarmSettings, "notify": NotifySettings, "webhook": WebhookSettings,
        "restart": Restart, "limits": Limits,
    }  # fmt: skip
    for part in loc[:-1]:
        model = tables.get(str(part), model)
    return dict(model.model_fields)


def _did_you_mean(loc: tuple[str | int, ...]) -> str:
    import difflib

    names = list(_fields_at(loc))
    close = difflib.get_close_matches(str(loc[-1]), names, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(sorted(names))}."


def _describe(loc: tuple[str | int, ...]) -> str:
    field = _fields_at(loc).get(str(loc[-1])) if loc else None
    return f"({field.description})" if field is not None and field.description else ""


def _in_environment(loc: tuple[str | int, ...]) -> bool:
    name = ENV_PREFIX + "__".join(str(part) for part in loc)
    return any(variable.upper().startswith(name.upper()) for variable in os.environ)


# Read by parts that must start before, or without, the settings; the rest must be a setting.
_OWN_VARIABLES = frozenset(
    {
        "OUTRIDER_CONFIG", "OUTRIDER_BOT", "OUTRIDER_TELEMETRY", "OUTRIDER_POOL_SIZE",
        "OUTRIDER_PRESET", "OUTRIDER_FLOWER_PASSWORD", "OUTRIDER_DASHBOARD_TOKEN",
        "OUTRIDER_TEST_POSTGRES_URL", "OUTRIDER_TEST_REDIS_URL",
    }
)  # fmt: skip


def _unknown_variables() -> list[Problem]:
    """A mistyped variable would be ignored in silence; name it instead."""
    known = {field.upper() for field in Settings.model_fields}
    return [
        Problem(
            "environment", name, None, "unknown variable.",
            _did_you_mean((name.removeprefix(ENV_PREFIX).lower(),)),
        )
        for name in sorted(os.environ)
        if name.startswith(ENV_PREFIX)
        and name not in _OWN_VARIABLES
        and name.removeprefix(ENV_PREFIX).removesuffix("_FILE").partition("__")[0] not in known
    ]  # fmt: skip


def _secrets_from_files() -> dict[str, Any]:
    """``OUTRIDER_REDIS_URL_FILE`` names a file that holds the value, as container secrets do."""
    name = f"{ENV_PREFIX}REDIS_URL_FILE"
    if name not in os.environ:
        return {}
    try:
        return {"redis_url": Path(os.environ[name]).read_text(encoding="utf-8").strip()}
    except OSError as error:
        raise SettingsError(
            [Problem("environment", name, os.environ[name], f"can't be read: {error.strerror}.",
                     "Name a readable file that holds the value.")]
        ) from None  # fmt: skip


def _refuse_cycles(needs: dict[str, tuple[str, ...]]) -> None:
    import graphlib

    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        raise ValueError(
            f"bots need each other in a circle: {' -> '.join(error.args[1])}."
        ) from None
