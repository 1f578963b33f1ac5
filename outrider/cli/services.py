"""The parts of the stack one by one, for containers and for supervisors of your own."""

from __future__ import annotations

import os

import click


@click.command()
@click.option("--concurrency", type=click.IntRange(1, 1000), help="threads; 4 by default")
@click.option("--loglevel", default="INFO", show_default=True)
def worker(concurrency: int | None, loglevel: str) -> None:
    """Run this host's Celery worker until it is told to stop.

    \b
    Example: OUTRIDER_REDIS_URL=redis://db/0 outrider worker
    """
    from outrider.workers import processes

    processes.worker(concurrency=concurrency, loglevel=loglevel)


@click.command()
@click.option("--loglevel", default="INFO", show_default=True)
def beat(loglevel: str) -> None:
    """Run beat until it is told to stop. Several may run; one of them schedules.

    \b
    Example: OUTRIDER_REDIS_URL=redis://db/0 outrider beat
    """
    from outrider.workers import processes

    processes.beat(loglevel=loglevel)


@click.command()
@click.option("--address", default="127.0.0.1", show_default=True, help="address to listen on")
@click.option("--port", default=5555, show_default=True, type=click.IntRange(0, 65535))
@click.option("--user", default="outrider", show_default=True)
def flower(address: str, port: int, user: str) -> None:
    """Run Flower behind the password in OUTRIDER_FLOWER_PASSWORD.

    \b
    Example: OUTRIDER_FLOWER_PASSWORD=... outrider flower --port 5555
    """
    password = os.environ.get("OUTRIDER_FLOWER_PASSWORD", "")
    if not password:
        raise click.UsageError("set OUTRIDER_FLOWER_PASSWORD: Flower is not started without one.")
    from outrider.workers import processes

    processes.flower(address=address, port=port, user=user, password=password)


@click.command()
def supervise() -> None:
    """Run only the bots of outrider.toml; worker, beat and Redis run elsewhere.

    \b
    Example: OUTRIDER_REDIS_URL=redis://db/0 outrider supervise
    """
    import asyncio

    from outrider.cli import terminal
    from outrider.workers import preflight, runner
    from outrider.workers.fleet import run

    settings, path = preflight.load()
    runner.stay_behind(terminal.warn)
    asyncio.run(run(settings, config=path, progress=terminal.progress))
