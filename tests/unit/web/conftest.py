"""A small fleet in memory, at a moment that a test chooses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import httpx
import msgspec
import pytest
import redis

from outrider.metrics import catalog, series
from outrider.samples import Row
from outrider.store import keys
from outrider.store.memory import MemoryStore
from outrider.store.tiers import Tiers
from outrider.web.app import assemble
from outrider.web.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette

    from outrider.web.exposition import Ready

NOW_S = 1_800_000_005.0
TOKEN = "token-of-a-test-0123456789"


# As celery-exporter names them (danihodovic/celery-exporter): what its dashboards ask for.
_TASK = {"name": "mybots.price", "hostname": "w@alpha", "queue_name": "celery"}
CELERY: list[Ready] = [
    *(
        (f"celery_task_{what}_total", "counter", _TASK, 3.0)
        for what in ("sent", "received", "started", "succeeded", "retried")
    ),
    ("celery_task_failed_total", "counter", _TASK | {"exception": "ValueError"}, 1.0),
    ("celery_task_runtime_bucket", "histogram", _TASK | {"le": "+Inf"}, 3.0),
    ("celery_task_runtime_bucket", "histogram", _TASK | {"le": "0.5"}, 2.0),
    ("celery_task_runtime_count", "histogram", _TASK, 3.0),
    ("celery_task_runtime_sum", "histogram", _TASK, 1.25),
    ("celery_worker_up", "gauge", {"hostname": "w@alpha"}, 1.0),
    ("celery_worker_tasks_active", "gauge", {"hostname": "w@alpha"}, 1.0),
    ("celery_queue_length", "gauge", {"queue_name": "celery"}, 5.0),
]


def full_rows() -> list[Row]:
    """Return a host's row and the fleet's, with every series of the catalogue."""
    rows = [Row("alpha", NOW_S, {}), Row(keys.FLEET, NOW_S, {})]
    for title, metrics in series.SECTIONS.items():
        row = rows[title in ("What no host owns", "Redis", "Celery")]
        for metric in metrics:
            names = metric.pattern.replace("{core}", "0").replace("{bot}", "canary")
            name = names.replace("{", "a_").replace("}", "")
            parts = [f"{name}.{part}" for part in catalog.TIMING_PARTS]
            row.values.update(dict.fromkeys(parts if metric.kind == "timing" else [name], 1.0))
    return rows


class Shelf:
    """The few commands the web asks of Redis, and a switch that takes the server away."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}
        self.away = False
        self.calls = 0

    def zrange(self, key: str, start: int, end: int, *, withscores: bool) -> Any:
        assert (start, end, withscores) == (0, -1, True)
        return [(name.encode(), at_s) for name, at_s in self._read(key, {}).items()]

    def get(self, key: str) -> Any:
        return self._read(key, None)

    def hgetall(self, key: str) -> Any:
        return self._read(key, {})

    def lrange(self, key: str, start: int, end: int) -> Any:
        return self._read(key, [])[start : end + 1]

    def lindex(self, key: str, place: int) -> Any:
        return next(iter(self._read(key, [])[place:]), None)

    def lpush(self, key: str, text: str) -> None:
        self._read(key, None)
        self.held.setdefault(key, []).insert(0, text.encode())

    def ltrim(self, key: str, start: int, end: int) -> None:
        self.held[key] = self._read(key, [])[start : end + 1]

    def zadd(self, key: str, scores: dict[str, float]) -> None:
        self._read(key, None)
        self.held.setdefault(key, {}).update(scores)

    def zremrangebyscore(self, key: str, low: str, high: float) -> None:
        assert low == "-inf"
        kept = {name: at_s for name, at_s in self._read(key, {}).items() if at_s > high}
        self.held[key] = kept

    def pipeline(self, *, transaction: bool) -> Pipe:
        assert not transaction
        return Pipe(self)

    def _read(self, key: str, default: Any) -> Any:
        self.calls += 1
        if self.away:
            raise redis.ConnectionError("Connection refused.")
        return self.held.get(key, default)


class Pipe:
    """Runs what was asked, in order."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __getattr__(self, command: str) -> Any:
        return lambda *given, **named: self._asked.append((command, given, named))

    def execute(self) -> list[Any]:
        return [
            getattr(self._shelf, command)(*given, **named) for command, given, named in self._asked
        ]


class Fleet:
    """Puts things where the other parts of the system would put them."""

    def __init__(self) -> None:
        self.now_s = NOW_S
        self.shelf = Shelf()
        self.store = MemoryStore(interval_s=10.0)
        self.tiers = Tiers(
            self.store, MemoryStore(interval_s=300.0), MemoryStore(interval_s=3600.0)
        )

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s

    def row(self, host: str = "alpha", *, age_s: float = 0.0, **values: float) -> None:
        """Keep a row; ``cpu__used`` stands for ``cpu.used``."""
        named = {name.replace("__", "."): value for name, value in values.items()}
        tick = int((self.now_s - age_s) // 10)
        assert self.store.append(host, tick, named)

    def series(self, host: str, values: dict[str, float], *, age_s: float = 0.0) -> None:
        assert self.store.append(host, int((self.now_s - age_s) // 10), values)

    def beat(self, host: str = "alpha", *, age_s: float = 1.0) -> None:
        self.shelf.held.setdefault(keys.HOSTS, {})[host] = self.now_s - age_s

    def bots(self, *words: dict[str, Any], host: str = "alpha") -> None:
        self.shelf.held[keys.bots(host)] = msgspec.json.encode(words)

    def report(self, host: str = "alpha", **report: Any) -> None:
        self.shelf.held[keys.report(host)] = msgspec.json.encode(report)

    def alert(self, host: str = "alpha", **alert: Any) -> None:
        held = self.shelf.held.setdefault(keys.alert_state(host), {})
        field = f"{alert['rule']}|{alert.get('instance', '')}"
        held[b"#tick"] = b"180000000"  # the last tick that was evaluated
        held[field.encode()] = msgspec.json.encode({"host": host, **alert})

    def push(self, key: str, **record: Any) -> None:
        """Put a record in front of a list; ``from_`` stands for ``from``."""
        named = {name.rstrip("_"): value for name, value in record.items()}
        self.shelf.held.setdefault(key, []).insert(0, msgspec.json.encode(named))

    def healthy(self) -> Fleet:
        """One host, one bot, all well."""
        self.beat()
        self.row(host__cpu__used_ratio=0.25, bot__canary__up=1.0, bot__canary__uptime_s=60.0)
        self.bots({"name": "canary", "bot": "canary", "state": "ready"})
        return self

    def source(self) -> Source:
        client: Any = self.shelf
        return Source(self.tiers, client, address="redis://***@db:6379/0", clock=self)


class Visitor:
    """Asks the app, on one event loop, without a server between."""

    def __init__(self, app: Starlette, runner: asyncio.Runner) -> None:
        self.app = app
        self._runner = runner
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://testserver")
        self.headers = self._client.headers

    def get(self, path: str, headers: Any = None) -> httpx.Response:
        return self.request("GET", path, headers=headers)

    def request(self, method: str, path: str, headers: Any = None, **more: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, headers=headers, **more))

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def token() -> str:
    return TOKEN


@pytest.fixture
def stranger(fleet: Fleet, token: str) -> Iterator[Visitor]:
    """Someone without the token."""
    app = assemble(fleet.source(), token=token, flower_url="http://127.0.0.1:5555")
    with asyncio.Runner() as runner:
        yield Visitor(app, runner)


@pytest.fixture
def owner(stranger: Visitor, token: str) -> Visitor:
    """Someone with the token."""
    stranger.headers["Authorization"] = f"Bearer {token}"
    return stranger
