"""The stack's Celery parts, each run in this process: worker, beat, Flower.

They are started through Celery's classes instead of its command line, which imports every command
there is: that is 20 MiB and a second less for each. ``celery -A outrider.workers.app worker`` does
the same for people who prefer it.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import signals

from outrider import settings as settings_module
from outrider.sdk.bot import announce
from outrider.store import queues
from outrider.workers import tally
from outrider.workers.app import app

# Flower keeps this many tasks in memory; its own default of 100,000 takes 380 MiB when reached.
FLOWER_MOST_TASKS = 2000


def worker(*, concurrency: int | None = None, loglevel: str = "INFO") -> None:
    """Run this host's worker until it is told to stop. Blocks.

    Raises:
        SystemExit: with the worker's exit code.
    """
    host = settings_module.load().host
    signals.worker_ready.connect(_announce_worker, weak=False)
    running = app.Worker(
        hostname=f"outrider@{host}",
        queues=queues.of_worker(host),
        concurrency=concurrency,
        loglevel=loglevel,
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    running.start()
    raise SystemExit(running.exitcode)


def beat(*, loglevel: str = "INFO") -> None:
    """Run beat until it is told to stop. Blocks. Any number of them may run; one schedules."""
    app.conf.include = ()  # it sends tasks by name and needs none of their code
    tally.count_sent()
    signals.beat_init.connect(_announce_beat, weak=False)
    app.Beat(loglevel=loglevel, quiet=True).run()


def flower(*, address: str, port: int, user: str, password: str) -> None:
    """Run Flower behind a user and password until it is told to stop. Blocks.

    Raises:
        SystemExit: the address is taken.
    """
    from flower.app import Flower
    from flower.options import default_options as options
    from flower.urls import settings as pages
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    # This flag would open its API to anyone who reaches the port.
    os.environ.pop("FLOWER_UNAUTHENTICATED_API", None)
    # Of all its pages this one asks for no password, and names every worker and task.
    Metrics.get = authenticated(Metrics.get)
    app.conf.include = ()
    options.basic_auth = [f"{user}:{password}"]
    options.address, options.port = address, port
    options.max_tasks = FLOWER_MOST_TASKS
    options.purge_offline_workers = 60
    running = Flower(capp=app, options=options, **pages)
    signal.signal(signal.SIGTERM, _leave)
    try:
        running.start_http_server()
    except OSError as error:
        raise SystemExit(f"Flower can't listen on {address}:{port}: {error.strerror}.") from None
    running.io_loop.add_callback(announce, "flower")
    try:
        running.start()
    except (KeyboardInterrupt, SystemExit):
        running.stop()


def _announce_worker(**_: Any) -> None:
    announce("worker")


def _announce_beat(**_: Any) -> None:
    announce("beat")


def _leave(*_: Any) -> None:
    raise SystemExit(0)
