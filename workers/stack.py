"""What ``outrider up`` runs: the whole of Outrider on one host, and the bots.

Valkey, worker, beat, Flower, dashboard, bots: each starts when the one before is ready, is
restarted when it ends, and stops in the reverse order. One supervisor runs them all, so that a part
of Outrider is treated exactly like a bot.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
import urllib.parse
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import redis

from outrider.database import budget, fleet
from outrider.database.budget import Part
from outrider.errors import OutriderError
from outrider.store import address, connection
from outrider.store.redis import RedisStore
from outrider.supervisor import logs, statsd
from outrider.supervisor import spec as specs
from outrider.supervisor.launch import SpawnLauncher
from outrider.supervisor.spec import ProcessSpec, RestartPolicy
from outrider.supervisor.supervisor import Supervisor
from outrider.supervisor.zygote.launcher import LOG, ZygoteLauncher
from outrider.workers import valkey, watchdog

if TYPE_CHECKING:
    from outrider.database.pools import Plan
    from outrider.settings import Settings
    from outrider.supervisor.process import Supervised

FLOWER_USER = "outrider"
# Parts of the stack are restarted as long as it takes: giving up would leave the fleet unwatched.
# Memory that Outrider's own parts need not take: their threads wait rather than compute, so one
# heap serves them all (glibc would give each thread its own), and BLAS needs no threads at all.
_LEAN = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
_START_TIMEOUT_S = 60.0
_START_TRIES = 3
_ALWAYS = RestartPolicy(backoff_s=(0.0, 0.5, 2.0, 5.0), most=1000)


class Progress(Protocol):
    """Hears how the start goes."""

    def __call__(self, name: str, state: str, detail: str) -> None:
        """Show that ``name`` became ``state``."""
        ...


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the stack listens, with the credentials that were generated for it."""

    redis_url: str
    flower_url: str
    flower_password: str
    dashboard_url: str
    dashboard_token: str
    supervisor_pid: int
    started_s: float


class StackFailed(OutriderError):  # noqa: N818
    """A part of the stack does not start; its log says why."""


class Stack:
    """One host's Outrider: ``await open()``, ``await start(progress)``, ``await stop()``."""

    def __init__(self, settings: Settings, *, config: Path | None) -> None:
        self.settings = settings
        self.addresses: Addresses | None = None
        self._config = config
        self._base = base_folder(config)
        self._stack: list[ProcessSpec] = []
        self._pool_parts: dict[str, Part] = {}
        logs_dir = settings.data_dir.resolve() / "logs"
        pipes = pipes_of(settings)
        self._launcher = ZygoteLauncher(SpawnLauncher(), open_log=lambda: pipes.begin(LOG))
        self.supervisor = Supervisor(
            run_dir=settings.run_dir(),
            logs_dir=logs_dir,
            scale_to=self._scaled,
            statsd=statsd.of_settings(settings.statsd),
            launcher=self._launcher,
            pipes=pipes,
        )
        self._watching: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the sockets and plan what runs; nothing is started yet.

        Raises:
            BadArgument: a stack is at work in this folder.
            RedisUnavailable, RedisRefused: the given Redis can't be used.
        """
        given = self.settings.redis_url
        if given is not None:
            await asyncio.to_thread(connection.check, given.get_secret_value())
        self._pool_parts = await asyncio.to_thread(pool_parts, self.settings)
        await self.supervisor.open()
        kept = self._kept_addresses()
        if given is not None:
            redis_url = given.get_secret_value()
        else:
            port = urllib.parse.urlsplit(kept.redis_url).port if kept else None
            embedded, server = valkey.prepare(self.settings.data_dir, port=port)
            redis_url = embedded.url
            self._stack.append(server)
        self.addresses = (
            replace(kept, redis_url=redis_url, supervisor_pid=os.getpid(), started_s=time.time())
            if kept
            else self._choose_addresses(redis_url)
        )
        self._stack += self._parts(self.addresses)
        self._write_addresses()

    async def start(self, progress: Progress) -> None:
        """Start every part in order, then the bots. Return when all are ready.

        Raises:
            StackFailed: a part of the stack is not ready within a minute.
        """
        assert self.addresses is not None
        for part in self._stack:
            process = self.supervisor.add(part)
            progress(part.name, "starting", "")
            if not await self._ready(process):
                await self.supervisor.drained(part.name)
                log = logs.path_of(self.supervisor.logs_dir, part.name)
                last = "\n  ".join(logs.tail(log, 5))
                raise StackFailed(
                    f"{part.name} does not start ({process.reason}); see {log}:\n  {last}"
                )
            progress(part.name, "ready", f"{process.start_s:.1f} s" if process.start_s else "")
        self._watching = asyncio.ensure_future(self._watch())
        await asyncio.to_thread(publish_pools, self.settings, self.addresses.redis_url)
        bots = specs.of_fleet(self.settings, base=self._base, env_of=self._bot_env)
        self._launcher.expect(bots)
        self.supervisor.declare(bots)
        await self.supervisor.settle_left()
        self.supervisor.start_in_order(bots)
        for bot in bots:
            if bot.foreign:
                seen = self.supervisor.foreign[bot.name]
                progress(bot.name, "found" if seen.pid else "not found", seen.reason)
                continue
            process = self.supervisor.processes[bot.name]
            state = await self._settled(process)
            took = f"{process.start_s:.1f} s" if process.start_s else process.reason
            progress(bot.name, state, took)

    async def stop(self) -> None:
        """Stop everything, the bots first and Redis last. Nothing is left running."""
        if self._watching:
            self._watching.cancel()
        bots = [name for name, p in self.supervisor.processes.items() if p.spec.kind == "bot"]
        await self.supervisor.stop(bots)
        for part in reversed(self._stack):
            if part.name in self.supervisor.processes:
                await self.supervisor.stop([part.name])
        await self.supervisor.close()
        address.stack_file(self.settings).unlink(missing_ok=True)

    def store(self) -> RedisStore:
        """Return a reader of the stored series."""
        assert self.addresses is not None
        return RedisStore(self.addresses.redis_url, interval_s=self.settings.interval_s)

    async def _ready(self, process: Supervised) -> bool:
        """Start a part and tell whether it came up, within a minute and a few tries."""
        process.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_TIMEOUT_S):
                while process.state != "ready" and process.crashes < _START_TRIES:
                    await process.changed.wait()
        return process.state == "ready"

    @staticmethod
    async def _settled(process: Supervised) -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(process.spec.ready_timeout_s + 5):
                while process.state not in ("ready", "failed"):
                    await process.changed.wait()
        return process.state

    def _choose_addresses(self, redis_url: str) -> Addresses:
        """Keep the credentials of an earlier run, so that bookmarks and scrapers go on working."""
        kept = self._credentials()
        flower, page = self.settings.flower, self.settings.dashboard
        flower_port = valkey.free_port(flower.host, flower.port)
        page_port = valkey.free_port(page.host, page.port)
        return Addresses(
            redis_url=redis_url,
            flower_url=f"http://{flower.host}:{flower_port}" if flower.enabled else "",
            flower_password=kept["flower_password"],
            dashboard_url=f"http{'s' if page.tls_cert else ''}://{page.host}:{page_port}"
            if page.enabled
            else "",
            dashboard_token=kept["dashboard_token"],
            supervisor_pid=os.getpid(),
            started_s=time.time(),
        )

    def _kept_addresses(self) -> Addresses | None:
        """Return where a stack listens whose supervisor was killed; None when none of it runs."""
        if not any(record.pid for record in self.supervisor.left.values()):
            return None
        with suppress(OSError, ValueError, TypeError):
            path = address.stack_file(self.settings)
            return Addresses(**json.loads(path.read_text(encoding="utf-8")))
        return None

    def _credentials(self) -> dict[str, str]:
        path = self.settings.data_dir.resolve() / "credentials.json"
        with suppress(OSError, ValueError):
            return dict(json.loads(path.read_text(encoding="utf-8")))
        made = {name: secrets.token_urlsafe(24) for name in ("flower_password", "dashboard_token")}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(made), encoding="utf-8")
        return made

    def _write_addresses(self) -> None:
        assert self.addresses is not None
        path = address.stack_file(self.settings)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self.addresses)), encoding="utf-8")

    def _bot_env(self, bot: str) -> dict[str, str]:
        assert self.addresses is not None
        return bot_environment(
            self.settings, bot, redis_url=self.addresses.redis_url,
            telemetry=self.supervisor.telemetry_path, channel=self.supervisor.channel_path,
            config=self._config, pool=self._pool_parts.get(bot),
        )  # fmt: skip

    def _parts(self, at: Addresses) -> list[ProcessSpec]:
        flower, page = self.settings.flower, self.settings.dashboard
        parts = [self._part("worker"), self._part("beat")]
        if flower.enabled:
            parts.append(
                self._part(
                    "flower",
                    "--address",
                    flower.host,
                    "--port",
                    at.flower_url.rpartition(":")[2],
                    OUTRIDER_FLOWER_PASSWORD=at.flower_password,
                )
            )
        if page.enabled:
            parts.append(
                self._part(
                    "dashboard",
                    "--host",
                    page.host,
                    "--port",
                    at.dashboard_url.rpartition(":")[2],
                    *(("--flower-url", at.flower_url) if at.flower_url else ()),
                    OUTRIDER_DASHBOARD_TOKEN=at.dashboard_token,
                )
            )
        return parts

    def _part(self, name: str, *arguments: str, **env: str) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            kind="stack",
            argv=(sys.executable, "-m", "outrider", name, *arguments),
            cwd=str(self._base),
            env={**self._bot_env(name), **_LEAN, **env},
            readiness="sdk",
            ready_timeout_s=45,
            grace_s=15,
            restart=_ALWAYS,
        )

    def _scaled(self, bot: str, count: int) -> list[ProcessSpec]:
        return specs.of_bot(bot, self.settings, base=self._base, env_of=self._bot_env, count=count)

    async def _watch(self) -> None:
        """Look after the stack's work once an interval (see ``watchdog``)."""
        store = self.store()
        cured: Any = "none"
        while True:
            await asyncio.sleep(max(2.0, self.settings.interval_s / 2))
            age_s = await asyncio.to_thread(self._row_age, store)
            seen = watchdog.Seen(
                interval_s=self.settings.interval_s,
                newest_row_age_s=age_s if age_s is not None else 0.0,
                redis_answers=age_s is not None,
                worker_ready_for_s=self._ready_for("worker"),
                beat_ready_for_s=self._ready_for("beat"),
                last_cure=cured,
            )
            decision = watchdog.decide(seen)
            if decision != "none":
                self.supervisor.processes[decision].kill(
                    f"watchdog: no row for {seen.newest_row_age_s:.0f} s"
                )
                cured = decision
            elif seen.newest_row_age_s < 2 * self.settings.interval_s:
                cured = "none"

    def _row_age(self, store: RedisStore) -> float | None:
        """Return the age of this host's newest row; None when Redis does not answer."""
        assert self.addresses is not None
        try:
            row = store.last(self.settings.host)
        except redis.RedisError:
            return None
        newest_s = max(row.at_s + self.settings.interval_s if row else 0, self.addresses.started_s)
        return max(0.0, time.time() - newest_s)

    def _ready_for(self, name: str) -> float:
        process = self.supervisor.processes[name]
        return time.time() - process.since_s if process.state == "ready" else 0.0


def pipes_of(settings: Settings) -> logs.Pipes:
    """Return the pipes of captured output, as the settings have them."""
    return logs.Pipes(
        settings.run_dir(),
        settings.data_dir.resolve() / "logs",
        most_bytes=settings.logs.size,
        kept=settings.logs.keep,
        rate=settings.logs.rate,
    )


def base_folder(config: Path | None) -> Path:
    """Return the folder that bots run in and are imported from: the settings file's."""
    return config.resolve().parent if config else Path.cwd()


def bot_environment(
    settings: Settings,
    bot: str,
    *,
    redis_url: str,
    telemetry: Path,
    channel: Path,
    config: Path | None,
    pool: Part | None,
) -> dict[str, str]:
    """Return what is added to the environment of a supervised process."""
    env = {
        "OUTRIDER_BOT": bot,
        "OUTRIDER_TELEMETRY": str(telemetry),
        "OUTRIDER_CHANNEL": str(channel),
        "OUTRIDER_REDIS_URL": redis_url,
        "OUTRIDER_DATA_DIR": str(settings.data_dir.resolve()),
        "OUTRIDER_HOST": settings.host,
        "OUTRIDER_PRESET": settings.environment,
    }
    if config:
        env["OUTRIDER_CONFIG"] = str(config.resolve())
    if settings.database.replica_url:
        replica = settings.database.replica_url.get_secret_value()
        env["OUTRIDER_DATABASE__REPLICA_URL"] = replica
        env["OUTRIDER_DATABASE__REPLICA_LAG_S"] = str(settings.database.replica_lag_s)
    if pool is not None:
        env["OUTRIDER_POOL_SIZE"] = str(pool.share)
        if settings.database.leases:
            env["OUTRIDER_POOL_FLOOR"] = str(pool.floor)
    return env


def pool_parts(settings: Settings) -> dict[str, Part]:
    """Return what the fleet's plan gives each instance of a bot; empty when no limit is known.

    The server is asked for its limit when its address is set; when it is away, the limit in the
    settings counts. Blocks for some seconds at most.

    Raises:
        FleetTooLarge: the fleet does not fit the server.
    """
    plan = _pool_plan(settings)
    return {share.name: Part(share.floor, share.size) for share in plan.shares} if plan else {}


def publish_pools(settings: Settings, redis_url: str) -> None:
    """Put the fleet's plan in force, so that the first bots need not wait for the first re-plan.

    When Redis or the server is away they start with their floors, and the next plan is theirs.
    """
    server = fleet.server_name(settings)
    plan = _pool_plan(settings) if server and settings.database.leases else None
    if server and plan:
        with suppress(redis.RedisError), connection.connect(redis_url) as client:
            fleet.put_in_force(settings, plan, budget.Budget(client, server))


def _pool_plan(settings: Settings) -> Plan | None:
    asked = None
    if settings.database.url is not None:
        from outrider.database import server

        with suppress(server.DatabaseUnavailable):
            asked = server.ask(settings.database.url.get_secret_value())
    return fleet.plan(settings, asked)
