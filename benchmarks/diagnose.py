"""Whether the right cause is named first: real faults in the example fleet, and quiet between them.

Starts the stack with the example fleet at one tick a second, on a real PostgreSQL and a Redis of
the bots' own, with a Celery application beside it. In turn: a healthy while, then a fault, undone
again; both windows are read from the store as analysis reads them, and diagnosed. ``top1`` is the
share of faults whose first cause is the injected one at the end of the fault; ``false_causes`` the
share of healthy ends (each second of the last third) that name any.

The machine may be shared. Seconds in which processes that are not the benchmark's own take half a
core more than before are counted: a quiet end that names their CPU use is then right, and anything
else it names is false.

Beside it, on the same windows and told where the fault began: the n-sigma rule (greatest distance
from the mean in standard deviations) and BARO's robust scorer (greatest distance from the median in
interquartile ranges), which rank series; they are right when the first series is any of the part at
fault.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import psutil

from benchmarks import harness
from benchmarks.faults import shop, table
from outrider import samples
from outrider import settings as settings_module
from outrider.analysis import diagnosis, graph
from outrider.store import connection, keys
from outrider.store.redis import RedisStore
from outrider.supervisor import control
from tests.servers import postgres
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from outrider.analysis.diagnosis import Diagnosis
    from outrider.samples import Window

    Array = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[1]
WARM_UP_S = 45.0
SETTLE_S = 6.0
HEALTHY_S = 28.0
FAULT_S = 17.0
RECOVERY_S = 40.0
MOST_PENDING = 15
HOST = "bench"
# Half a core of others' work is more than any healthy wobble.
DISTURBING_CORES = 0.5
_BOTS = {"telegram": "botapi", "canary": "canary", "ledger": "ledger", "courier": "courier",
         "prices": "prices"}  # fmt: skip


class Fleet:
    """The running stack, and what faults may touch of it."""

    def __init__(self, folder: Path, *, redis: Server, bots_redis: Server, database: str) -> None:
        self.base = folder
        self.folder = folder / "state"
        self.redis_url = bots_redis.url
        with connection.connect(bots_redis.url) as client:
            server: Any = client.info("server")
            self.redis_pid = int(server["process_id"])
        self.database_url = database
        self._redis = redis
        self._write_settings()
        self.settings = settings_module.load(folder / "outrider.toml")
        self.store = RedisStore(redis.url, interval_s=1.0, retention_s=7200.0)
        self.needs = graph.needs_of(self.settings.bots)

    def _write_settings(self) -> None:
        (self.base / "mybots").symlink_to(ROOT / "examples" / "fleet" / "mybots")
        day_s = time.time() * 1.2  # it stays 20:00 of a very long day
        env = {
            "PYTHONPATH": str(ROOT), "FLEET_DATABASE_URL": self.database_url,
            "OUTRIDER_REDIS_URL": self.redis_url, "FLEET_DAY_S": f"{day_s:.0f}",
            "FLEET_RATE": "1.5", "PTB_TIMEDELTA": "true",
        }  # fmt: skip
        lines = [
            f'host = "{HOST}"', "interval_s = 1", f"redis_url = {json.dumps(self._redis.url)}",
            f"data_dir = {json.dumps(str(self.folder))}",
            "dashboard = { enabled = false }", "flower = { enabled = false }",
            "[database]", f"url = {json.dumps(self.database_url)}", "max_connections = 60",
            "[[celery]]", 'name = "shop"', f"broker = {json.dumps(self.redis_url)}",
            'queues = ["celery"]',
        ]  # fmt: skip
        for name, module in _BOTS.items():
            own = {**env, "FAULTS_ENTRY": f"mybots.{module}:main"}
            table_ = ", ".join(f"{key} = {json.dumps(value)}" for key, value in own.items())
            needs = [] if name == "telegram" else ["telegram"]
            lines += [
                f"[bots.{name}]", 'entry = "benchmarks.faults.inside:main"',
                f"needs = {json.dumps(needs)}", f"env = {{ {table_} }}",
            ]  # fmt: skip
        (self.base / "outrider.toml").write_text("\n".join(lines) + "\n")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the stack and the shop's worker."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OUTRIDER", "FLEET"))}
        env = inherited | {"PYTHONPATH": str(ROOT), "SHOP_BROKER": self.redis_url}
        with (self.base / "stack.log").open("wb") as log, contextlib.ExitStack() as stack:
            for argv in (
                [sys.executable, "-m", "outrider", "up"],
                [sys.executable, "-m", "celery", "-A", "benchmarks.faults.shop", "worker",
                 "-P", "threads", "-c", "2", "-E", "-n", "shop@bench", "-l", "WARNING"],
            ):  # fmt: skip
                process = subprocess.Popen(argv, cwd=self.base, env=env, stdout=log, stderr=log)
                stack.callback(_end, process)
            self._wait_ready()
            yield

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            time.sleep(0.5)
            if self.bots_ready():
                return
        raise SystemExit(f"not ready:\n{(self.base / 'stack.log').read_text()[-4000:]}")

    def bots_ready(self) -> bool:
        """Tell whether all bots are at work."""
        with contextlib.suppress(Exception):
            found = control.ask(self.settings.run_dir(), "snapshot")["processes"]
            ready = [p for p in found if p["kind"] == "bot" and p["state"] == "ready"]
            return len(ready) == len(_BOTS)
        return False

    def pid_of(self, bot: str) -> int:
        """Return the process of a bot."""
        found = control.ask(self.settings.run_dir(), "snapshot")["processes"]
        return next(int(entry["pid"]) for entry in found if entry["name"] == bot)

    def recover(self) -> None:
        """Wait until the bots have caught up with what waited, and a little longer."""
        deadline = time.monotonic() + RECOVERY_S
        while time.monotonic() < deadline:
            row = self.store.last(HOST)
            if (
                self.bots_ready() and row is not None
                and row.values.get("bot.telegram.pending", 0) < MOST_PENDING
            ):  # fmt: skip
                break
            time.sleep(1)
        with connection.connect(self.redis_url) as client:
            client.delete("celery")
        time.sleep(SETTLE_S)

    def windows(self, start_s: float, end_s: float) -> tuple[Window, Window]:
        """Return what is stored of the host and of the fleet."""
        return self.store.window(HOST, start_s, end_s), self.store.window(
            keys.FLEET, start_s, end_s
        )

    def diagnosed(self, host: Window, fleet: Window) -> Diagnosis:
        """Return what analysis says of it."""
        return diagnosis.diagnose(host, host=HOST, fleet=fleet, graph=self.needs)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Others:
    """CPU that processes take which are not ours, in cores, once a second."""

    def __init__(self) -> None:
        self._ours = psutil.Process()
        self._samples: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        before: dict[int, float] = {}
        used, at_s = self._busy(), time.monotonic()
        while not self._ended.wait(1.0):
            now_used, now_s = self._busy(), time.monotonic()
            own, mine = {}, 0.0
            for process in [self._ours, *self._ours.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    own[process.pid] = times.user + times.system
                    mine += own[process.pid] - before.get(process.pid, 0.0)
            if before:
                cores = (now_used - used - mine) / (now_s - at_s)
                self._samples.append((time.time(), max(0.0, cores)))
            before, used, at_s = own, now_used, now_s

    @staticmethod
    def _busy() -> float:
        times = psutil.cpu_times()
        return float(times.user + times.nice + times.system + times.irq + times.softirq)

    def cores(self, start_s: float, end_s: float) -> float:
        """Return the mean over a time."""
        found = [cores for at_s, cores in self._samples if start_s <= at_s <= end_s]
        return statistics.fmean(found) if found else 0.0

    def close(self) -> None:
        """End the watch."""
        self._ended.set()
        self._thread.join(5)


def n_sigma(before: Array, now: Array) -> Array:
    """Return for each series the greatest distance from the mean in standard deviations."""
    deviation = np.nanstd(before, axis=0)
    strays: Array = np.nanmax(np.abs(now - np.nanmean(before, axis=0)), axis=0)
    return strays / np.where(deviation > 0, deviation, 1e-9)


def baro(before: Array, now: Array) -> Array:
    """Return for each series the greatest distance from the median in interquartile ranges."""
    low, middle, high = np.nanquantile(before, (0.25, 0.5, 0.75), axis=0)
    strays: Array = np.nanmax(np.abs(now - middle), axis=0)
    return strays / np.where(high > low, high - low, 1e-9)


def first_series(ranker: Any, host: Window, fleet: Window, fault_s: float) -> str:
    """Return the series that a ranker puts first."""
    best, first = -1.0, ""
    for window in (host, fleet):
        values = window.values.copy()
        for column, name in enumerate(window.names):
            if samples.is_counter(name):
                values[1:, column] = np.diff(values[:, column])
                values[0, column] = np.nan
        split = window.times_s < fault_s
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            scores = ranker(values[split], values[~split])
        scores = np.where(np.isfinite(scores), scores, -1.0)
        if len(scores) and scores.max() > best:
            best, first = float(scores.max()), window.names[int(scores.argmax())]
    return first


class Run:
    """All faults in turn, and what was said of each."""

    def __init__(self, fleet: Fleet, others: Others, *, keep: Path | None) -> None:
        self.fleet, self.others, self._keep = fleet, others, keep
        self.outcomes: list[dict[str, Any]] = []
        self.quiet: list[dict[str, Any]] = []
        self.cost_ms = 0.0

    def quietly(self, seconds: float) -> tuple[float, float]:
        """Pass a healthy while; return its start and end."""
        start_s = time.time()
        looks = 0
        named: list[str] = []
        others_named: list[str] = []
        while (now_s := time.time()) < start_s + seconds:
            time.sleep(1.0)
            if now_s < start_s + seconds * 2 / 3:
                continue
            host, fleet = self.fleet.windows(start_s, now_s)
            looks += 1
            base = self.others.cores(start_s, start_s + seconds / 3)
            risen = max(self.others.cores(now_s - back, now_s) - base for back in (3.0, 6.0, 12.0))
            for cause in self.fleet.diagnosed(host, fleet).causes[:1]:
                of_others = cause.kind in ("cpu", "outside") and risen >= DISTURBING_CORES
                (others_named if of_others else named).append(
                    f"{cause.part} {cause.score}: {cause.words}"
                )
        found = {"looks": looks, "named": named, "others_named": others_named}
        self.quiet.append(found)
        if named:
            _say(f"  quiet, and yet: {sorted(set(named))}")
        self._save(f"quiet-{len(self.quiet)}", start_s, time.time(), time.time(), found)
        return start_s, time.time()

    def inject(self, fault: table.Fault) -> None:
        """Pass a healthy while, then have a fault, and note what is said of both."""
        start_s, _ = self.quietly(HEALTHY_S)
        fault_s = time.time()
        first_right_s, said = None, None
        with fault.make(self.fleet):
            while (now_s := time.time()) < fault_s + FAULT_S:
                time.sleep(1.0)
                said = self.fleet.diagnosed(*self.fleet.windows(start_s, now_s + 1))
                right = bool(said.causes) and said.causes[0].part in fault.right
                if right and first_right_s is None:
                    first_right_s = time.time() - fault_s
                if not right:
                    first_right_s = None
            end_s = time.time()
        host, fleet = self.fleet.windows(start_s, end_s + 0.5)
        said = self.fleet.diagnosed(host, fleet)
        series = {
            name: first_series(ranker, host, fleet, fault_s)
            for name, ranker in (("n-sigma", n_sigma), ("BARO", baro))
        }
        causes = [(cause.part, cause.score) for cause in said.causes]
        outcome = {
            "kind": fault.kind, "name": fault.name, "right": sorted(fault.right),
            "causes": causes, "confidence": said.causes[0].confidence if said.causes else None,
            "after_s": first_right_s,
            "top1": bool(causes) and causes[0][0] in fault.right,
            "top3": any(part in fault.right for part, _ in causes[:3]),
            "peers": {
                name: bool(re.fullmatch(fault.series, first)) for name, first in series.items()
            },
            "peers_first": series,
            "others_cores": round(self.others.cores(fault_s, end_s), 2),
            "others_risen": round(
                self.others.cores(fault_s, end_s) - self.others.cores(start_s, fault_s), 2
            ),
        }  # fmt: skip
        self.outcomes.append(outcome)
        mark = "right" if outcome["top1"] else "WRONG"
        _say(f"{len(self.outcomes):2} {mark} {fault.kind}, {fault.name}: "
             f"{causes[:3]}; others {outcome['others_cores']} cores")  # fmt: skip
        if said.causes:
            _say(f"     {said.verdict}")
        self._save(f"fault-{len(self.outcomes):02}", start_s, fault_s, end_s, outcome)
        self.fleet.recover()

    def price(self) -> None:
        """Measure a diagnosis of 500 series at 360 ticks: this host, with its bots twice."""
        now_s = time.time()
        host, fleet = self.fleet.windows(now_s - 360, now_s)
        names, values = list(host.names), host.values
        own = [place for place, name in enumerate(names) if samples.bot_of(name)]
        wanted = max(0, 500 - len(names) - len(fleet.names))
        twins = (own * (wanted // len(own) + 1))[:wanted]
        names += [
            names[at].replace("bot.", f"bot.twin{number // len(own)}-", 1)
            for number, at in enumerate(twins)
        ]
        wide = type(host)(tuple(names), host.times_s, np.hstack([values, values[:, twins]]))
        spent = []
        for _ in range(30):
            start_s = time.process_time()
            self.fleet.diagnosed(wide, fleet)
            spent.append((time.process_time() - start_s) * 1000)
        self.cost_ms = round(statistics.median(spent), 1)

    def _save(self, name: str, start_s: float, fault_s: float, end_s: float, told: Any) -> None:
        if self._keep is None:
            return
        host, fleet = self.fleet.windows(start_s, end_s + 0.5)
        np.savez_compressed(
            self._keep / f"{name}.npz", host_names=np.array(host.names), host_times=host.times_s,
            host_values=host.values, fleet_names=np.array(fleet.names),
            fleet_times=fleet.times_s, fleet_values=fleet.values, fault_s=fault_s,
            told=json.dumps(told),
        )  # fmt: skip


def figures(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures and those of the peers."""
    outcomes = run.outcomes
    looks = sum(each["looks"] for each in run.quiet)
    false = sum(bool(each["named"]) for each in run.quiet)
    by_kind: dict[str, list[bool]] = {}
    for each in outcomes:
        by_kind.setdefault(each["kind"], []).append(each["top1"])
    after = [each["after_s"] for each in outcomes if each["after_s"] is not None]
    named = [each for each in outcomes if each["causes"]]
    sure = [each["confidence"] for each in named]
    right = [each["top1"] for each in named]
    found = {
        "top1": round(statistics.fmean(each["top1"] for each in outcomes), 3),
        "top3": round(statistics.fmean(each["top3"] for each in outcomes), 3),
        "injections": len(outcomes),
        "false_causes": false,
        "ms_per_diagnosis": run.cost_ms,
        "mean_confidence": round(statistics.fmean(sure), 3) if sure else None,
        "right_of_those_named": round(statistics.fmean(right), 3) if right else None,
        "quiet_runs": len(run.quiet),
        "quiet_looks": looks,
        "false_looks": sum(len(each["named"]) for each in run.quiet),
        "looks_that_named_others_cpu": sum(len(each["others_named"]) for each in run.quiet),
        "right_after_s": round(statistics.median(after), 1) if after else None,
        "by_kind": {kind: f"{sum(right)}/{len(right)}" for kind, right in by_kind.items()},
        "wrong": [
            {"fault": f"{each['kind']}, {each['name']}", "causes": each["causes"][:3],
             "others_risen_cores": each["others_risen"]}
            for each in outcomes if not each["top1"]
        ],
        "others_cores": round(statistics.fmean(each["others_cores"] for each in outcomes), 2),
    }  # fmt: skip
    peers = {
        f"{name}, top1": round(statistics.fmean(each["peers"][name] for each in outcomes), 3)
        for name in ("n-sigma", "BARO")
    }
    return found, peers


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _interrupted(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    # Also where a shell started it in the background, with SIGINT ignored: faults are undone.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    chosen = harness.options(__doc__ or "")
    keep = Path(os.environ["DIAGNOSE_KEEP"]) if "DIAGNOSE_KEEP" in os.environ else None
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    faults = table.FAULTS[:8] if chosen.quick else table.FAULTS
    with (
        tempfile.TemporaryDirectory(prefix="diagnose-") as name,
        Server() as redis, Server() as bots_redis,
        postgres.Postgres(postgres.find()) as database,
    ):  # fmt: skip
        fleet = Fleet(Path(name), redis=redis, bots_redis=bots_redis, database=database.url)
        shop.app.conf.update(broker_url=bots_redis.url)
        others = Others()
        try:
            with fleet.running():
                time.sleep(WARM_UP_S)
                run = Run(fleet, others, keep=keep)
                for fault in faults:
                    run.inject(fault)
                run.quietly(HEALTHY_S + FAULT_S)
                run.price()
        finally:
            others.close()
    harness.finish("diagnose", *figures(run))


if __name__ == "__main__":
    main()
