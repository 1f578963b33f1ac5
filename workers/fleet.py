"""Runs only a host's bots: for containers, where the other parts run as services of their own."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from outrider.store import address
from outrider.supervisor import spec as specs
from outrider.supervisor import statsd
from outrider.supervisor.launch import SpawnLauncher
from outrider.supervisor.supervisor import Supervisor
from outrider.supervisor.zygote.launcher import LOG, ZygoteLauncher
from outrider.workers.stack import (
    base_folder,
    bot_environment,
    pipes_of,
    pool_parts,
    publish_pools,
)

if TYPE_CHECKING:
    from pathlib import Path

    from outrider.settings import Settings
    from outrider.workers.stack import Progress


async def run(settings: Settings, *, config: Path | None, progress: Progress) -> None:
    """Run the bots until SIGTERM or SIGINT.

    Raises:
        RedisUnavailable: no Redis is named.
        BadArgument: a supervisor is at work in this folder.
    """
    redis_url = address.redis_url(settings)
    base = await asyncio.to_thread(base_folder, config)
    parts = await asyncio.to_thread(pool_parts, settings)
    logs_dir = settings.data_dir.resolve() / "logs"
    pipes = pipes_of(settings)
    launcher = ZygoteLauncher(SpawnLauncher(), open_log=lambda: pipes.begin(LOG))
    supervisor = Supervisor(
        run_dir=settings.run_dir(),
        logs_dir=logs_dir,
        scale_to=lambda bot, count: specs.of_bot(
            bot, settings, base=base, env_of=env_of, count=count
        ),
        statsd=statsd.of_settings(settings.statsd),
        launcher=launcher,
        pipes=pipes,
    )

    def env_of(bot: str) -> dict[str, str]:
        return bot_environment(
            settings, bot, redis_url=redis_url, telemetry=supervisor.telemetry_path,
            channel=supervisor.channel_path, config=config, pool=parts.get(bot),
        )  # fmt: skip

    await supervisor.open()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await asyncio.to_thread(publish_pools, settings, redis_url)
    bots = specs.of_fleet(settings, base=base, env_of=env_of)
    launcher.expect(bots)
    supervisor.declare(bots)
    for process in supervisor.everybody():
        progress(process.spec.name, "adopted" if process.pid else "started", "")
    await supervisor.settle_left()
    supervisor.start_in_order(bots)
    await ended.wait()
    await supervisor.stop()
    await supervisor.close()
