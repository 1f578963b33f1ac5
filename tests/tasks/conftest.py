"""A broker, a backend and a worker for pytest-celery, each a real process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pytest_celery import CeleryTestBackend, CeleryTestBroker, CeleryTestWorker

from outrider.settings import Settings
from outrider.workers import config
from tests.servers.valkey import Server
from tests.tasks.nodes import ProcessContainer, ValkeyContainer, close

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery import Celery
    from pytest_celery import CeleryTestSetup

HOST = "testhost"


@pytest.fixture(scope="session")
def _broker_server() -> Iterator[Server]:
    with Server(appendonly=True) as server:
        yield server


@pytest.fixture
def broker_server(_broker_server: Server) -> Server:
    """The server under the broker: running and empty."""
    import redis

    from outrider.store import connection

    with connection.connect(_broker_server.url) as client:
        try:
            client.flushall()
        except redis.ConnectionError:  # a test left it dead
            _broker_server.start()
            client.flushall()
    return _broker_server


@pytest.fixture
def celery_broker(broker_server: Server) -> CeleryTestBroker:
    return CeleryTestBroker(ValkeyContainer(broker_server))


@pytest.fixture
def celery_backend(broker_server: Server) -> CeleryTestBackend:
    return CeleryTestBackend(ValkeyContainer(broker_server))


@pytest.fixture
def worker_environment(broker_server: Server, tmp_path: Path) -> dict[str, str]:
    """What a worker process needs to know."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OUTRIDER_")}
    return kept | {
        "OUTRIDER_REDIS_URL": broker_server.url,
        "OUTRIDER_HOST": HOST,
        "OUTRIDER_DATA_DIR": str(tmp_path / "data"),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def worker_argv() -> list[str]:
    """The command of the worker; a module of tests may override it."""
    return [sys.executable, "-m", "outrider", "worker"]


@pytest.fixture
def celery_worker(
    worker_argv: list[str],
    worker_environment: dict[str, str],
    tmp_path: Path,
    celery_setup_app: Celery,
) -> Iterator[CeleryTestWorker]:
    container = ProcessContainer(
        "worker", worker_argv, cwd=tmp_path, env=worker_environment, ready_prompt="ready."
    )
    container.ready()
    yield CeleryTestWorker(container, celery_setup_app)
    container.teardown()


@pytest.fixture
def celery_setup_config(broker_server: Server) -> dict[str, Any]:
    """The client's configuration is the worker's own."""
    return config.celery_config(Settings(host=HOST), broker_server.url) | {"include": []}


@pytest.fixture
def celery_setup_app(
    celery_setup_cls: type[CeleryTestSetup],
    celery_setup_config: dict[str, Any],
    celery_setup_name: str,
) -> Iterator[Celery]:
    app = celery_setup_cls.create_setup_app(celery_setup_config, celery_setup_name)
    yield app
    close(app)
