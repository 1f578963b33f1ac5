"""What it costs to keep series: bytes and CPU a sample, and the time to read a day of one.

Replays rows that were recorded by the project's own collectors (``benchmarks.record``) through the
public ``append`` into a Valkey with the configuration of ``outrider up`` (its log synced every
second), and seals as time passes, as ``outrider.maintain.seal`` does. When what was recorded is
shorter than the retention, it is continued: gauges again from their start, counters carried on.
Every figure says how long the recording was, and ``repeats_in_chunk`` where it is shorter than a
chunk: such bytes are a hint only. The figures at the top are those at 10 s when the recording fills
a chunk there, which takes two hours, or else those at 1 s.

Bytes are the difference of the server's ``used_memory``, everything included (keys, names, raw
rows, ranges not merged yet), in the middle of a chunk and of a range. CPU is user and system time
of client and server, sealing included. Peers on the same data: Gorilla's encoding (its size alone,
without keys, names or raw rows) and a sorted set a series on the same server.

10,000 series at 1 Hz run in real time, on one host and on a hundred; in the time measured, whole
ranges that were filled before are sealed and a chunk is merged, by a thread beside the one that
appends.
"""

from __future__ import annotations

import csv
import random
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import gorilla, harness, record
from outrider.samples import is_counter
from outrider.store import columns, connection, spans
from outrider.store.redis import RedisStore
from outrider.workers import valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from numpy.typing import NDArray

DAY_S = 86_400
RETENTION_S = 172_800
START_S = 1_800_000_000 // DAY_S * DAY_S
HOST = "recorded"


@dataclass(frozen=True, slots=True)
class Recording:
    """Rows side by side, ``values`` ``[ticks, series]``, the MISSING NaN where a row lacks one."""

    names: tuple[str, ...]
    values: NDArray[np.float64]
    step_s: float
    seconds: float

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Return where a tick did not have a series."""
        return np.equal(self.values.view(np.int64), columns.MISSING_BITS)


def main() -> None:
    chosen = harness.options(__doc__ or "", recording=True)
    with tempfile.TemporaryDirectory(prefix="outrider-bench-") as folder:
        recording = found(chosen, Path(folder))
        runs = 2 if chosen.quick else 5
        with server(Path(folder)) as client:
            slow = measured(client, strided(recording, 10.0), runs, quick=chosen.quick)
            quick = measured(client, recording, runs, quick=chosen.quick)
            aws = cloudwatch(client, chosen.data / "nab")
            wide = {
                f"{hosts} x {10_000 // hosts}": real_time(
                    client, recording, hosts, 20 if chosen.quick else 120
                )
                for hosts in (1, 100)
            }
    shown = quick if _is_short(strided(recording, 10.0)) else slow
    figures: dict[str, Any] = {
        "recorded_s": recording.seconds,
        "recorded_interval_s": recording.step_s,
        "series": len(recording.names),
        **{key: value for key, value in shown.items() if key != "peers"},
        # A day at 10 s has as many rows whatever they hold.
        "read_24h_p95_ms": slow["read_24h_p95_ms"],
        "series_10k_cpu_share": max(shape["cpu_share"] for shape in wide.values()),
        "series_10k": wide,
        "at_10s": {key: value for key, value in slow.items() if key != "peers"},
        "at_1s": {key: value for key, value in quick.items() if key != "peers"},
        "nab_cloudwatch": aws,
    }
    harness.finish("store", figures, {"at_10s": slow["peers"], "at_1s": quick["peers"]})


def found(chosen: harness.Options, folder: Path) -> Recording:
    """Return the longest recording there is, or make a short one."""
    files = sorted((chosen.data / "recordings").glob("*.npz"))
    if chosen.recording is not None:
        files = [chosen.recording]
    if not files:
        files = [folder / "recorded.npz"]
        record.record(files[0], seconds=60 if chosen.quick else 120, every_s=1.0)
    recordings = [loaded(file) for file in files]
    return max(recordings, key=lambda recording: recording.seconds)


def loaded(file: Path) -> Recording:
    with np.load(file, allow_pickle=False) as kept:
        values = np.ascontiguousarray(kept["values"], np.float64)
        names = tuple(str(name) for name in kept["names"])
        step_s = float(kept["interval_s"])
    return Recording(names, values, step_s, len(values) * step_s)


def strided(recording: Recording, step_s: float) -> Recording:
    """Return what a collector with a longer interval would have recorded."""
    every = max(1, round(step_s / recording.step_s))
    values = np.ascontiguousarray(recording.values[::every])
    return Recording(recording.names, values, step_s, recording.seconds)


@contextmanager
def server(folder: Path) -> Iterator[redis.Redis]:
    """Run Valkey as ``outrider up`` does."""
    embedded, spec = valkey.prepare(folder)
    process = subprocess.Popen(spec.argv, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not valkey.answers(embedded.url):
            if time.monotonic() > deadline:
                raise SystemExit("Valkey does not start")
            time.sleep(0.02)
        with connection.connect(embedded.url, timeout_s=60.0) as client:
            yield client
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def server_cpu_s(client: redis.Redis) -> float:
    used: Any = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def emptied(client: redis.Redis) -> None:
    """Forget everything now: Valkey 9 would do it behind our back, and its memory with it."""
    client.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]


def memory(client: redis.Redis) -> int:
    """Return the server's memory without what its log waits to write."""
    used: Any = client.info("memory")
    return int(used["used_memory"]) - int(used.get("mem_aof_buffer", 0))


def length(recording: Recording, *, quick: bool) -> int:
    """Return how many ticks to keep: up to the retention, ending amid a chunk and amid a range."""
    lengths = spans.spans(recording.step_s)
    kept = min(120_000, int((DAY_S * 1.25 if quick else RETENTION_S) / recording.step_s))
    ranges = lengths.chunk_ticks // lengths.range_ticks
    phase = ranges // 2 * lengths.range_ticks + lengths.range_ticks // 2
    whole = (kept - phase) // lengths.chunk_ticks
    return whole * lengths.chunk_ticks + phase if whole >= 1 else kept


def _is_short(recording: Recording) -> bool:
    return len(recording.values) < spans.spans(recording.step_s).chunk_ticks


def table(recording: Recording, first: int, until: int) -> NDArray[np.float64]:
    """Return rows of a recording that goes on: gauges from their start, counters carried on."""
    count = len(recording.values)
    places = np.arange(first, until)
    rows = recording.values[places % count].copy()
    gone = rows.view(np.int64) == columns.MISSING_BITS
    grown = np.array([growth(recording, place) for place in range(len(recording.names))])
    rows += np.outer(places // count, grown)
    rows[gone] = np.array([columns.MISSING_BITS]).view(np.float64)[0]
    return rows


_grown: dict[tuple[int, int], float] = {}


def growth(recording: Recording, place: int) -> float:
    """Return by how much a counter grows in a recording; 0 for what is none."""
    at = (id(recording), place)
    if at not in _grown:
        column = recording.values[:, place]
        column = column[np.isfinite(column)]
        counts = is_counter(recording.names[place]) and len(column)
        _grown[at] = float(max(0.0, column[-1] - column[0])) if counts else 0.0
    return _grown[at]


def as_rows(names: tuple[str, ...], values: NDArray[np.float64]) -> list[dict[str, float]]:
    """Return rows as a collector would: without the series that a tick lacks."""
    gone = values.view(np.int64) == columns.MISSING_BITS
    found = []
    for numbers, lacks in zip(values.tolist(), gone, strict=True):
        row = dict(zip(names, numbers, strict=True))
        for place in np.flatnonzero(lacks):
            del row[names[place]]
        found.append(row)
    return found


def measured(
    client: redis.Redis, recording: Recording, runs: int, *, quick: bool
) -> dict[str, Any]:
    """Return the figures of one interval."""
    ticks = length(recording, quick=quick)
    bytes_each, cpu, sealing, seconds = [], [], [], []
    for _ in range(runs):
        kept = filled(client, recording, ticks)
        bytes_each.append(kept["bytes_per_sample"])
        cpu.append(kept["samples_per_cpu_s"])
        sealing.append(kept["seal_share"])
        seconds.append(kept["server_share"])
    reads = read(client, recording, ticks, 300 if quick else 1000)
    shown = table(recording, 0, min(ticks, 4 * spans.spans(recording.step_s).chunk_ticks))
    gorilla_bytes = gorilla.bytes_per_sample(
        np.arange(len(shown)),
        shown,
        block_ticks=spans.spans(recording.step_s).chunk_ticks,
        step_s=int(recording.step_s),
        missing=shown.view(np.int64) == columns.MISSING_BITS,
    )
    zset = sorted_sets(client, recording, 1000)
    ours = harness.spread(bytes_each)["median"]
    return {
        "bytes_per_sample": ours,
        "gorilla_ratio": round(gorilla_bytes / ours, 2),
        "zset_memory_ratio": round(zset / ours, 1),
        "samples_per_cpu_s": int(harness.spread(cpu, 0)["median"]),
        "read_24h_p95_ms": reads["p95_ms"],
        "interval_s": recording.step_s,
        "kept_s": ticks * recording.step_s,
        "ticks": ticks,
        "continued": ticks > len(recording.values),
        "repeats_in_chunk": _is_short(recording),
        "row_series": len(recording.names),
        "seal_share_of_cpu": harness.spread(sealing, 3)["median"],
        "server_share_of_cpu": harness.spread(seconds, 3)["median"],
        "reads": reads,
        "spread": {
            "bytes_per_sample": harness.spread(bytes_each),
            "samples_per_cpu_s": harness.spread(cpu, 0),
        },
        "peers": {
            "gorilla bytes per sample, encoding alone": round(gorilla_bytes, 3),
            "sorted set bytes per sample": round(zset, 1),
        },
    }


def filled(client: redis.Redis, recording: Recording, ticks: int) -> dict[str, float]:
    """Append and seal everything. Return bytes and CPU."""
    store = RedisStore(
        "", client=client, interval_s=recording.step_s, retention_s=ticks * recording.step_s
    )
    store.append(HOST, 0, {"a": 1.0})  # scripts and connections are there before it counts
    store.seal(HOST, 1e6)
    store.read(HOST, "a", 0, 10)
    emptied(client)
    before = memory(client)
    lengths = spans.spans(recording.step_s)
    first = int(START_S / recording.step_s)
    samples, client_s, sealing_s = 0, 0.0, 0.0
    server_s = server_cpu_s(client)
    for begin in range(0, ticks, lengths.range_ticks):
        until = min(begin + lengths.range_ticks, ticks)
        rows = as_rows(recording.names, table(recording, begin, until))
        samples += sum(map(len, rows))
        spent = time.process_time()
        # The range before is over an interval after its end.
        for place, row in enumerate(rows):
            store.append(HOST, first + begin + place, row)
            if place == 0:
                sealed = time.process_time()
                store.seal(HOST, (first + begin + 1) * recording.step_s)
                sealing_s += time.process_time() - sealed
        client_s += time.process_time() - spent
    server_s = server_cpu_s(client) - server_s
    time.sleep(1.5)  # the log is written every second
    used = memory(client) - before
    return {
        "bytes_per_sample": used / samples,
        "samples_per_cpu_s": samples / (client_s + server_s),
        "seal_share": sealing_s / (client_s + server_s),
        "server_share": server_s / (client_s + server_s),
    }


def read(client: redis.Redis, recording: Recording, ticks: int, count: int) -> dict[str, float]:
    """Read a day of one series over and over, each compared with what was put in."""
    store = RedisStore("", client=client, interval_s=recording.step_s)
    rng = random.Random(3)
    end_s = START_S + ticks * recording.step_s
    day = min(ticks, int(DAY_S / recording.step_s))
    expected = np.ascontiguousarray(table(recording, ticks - day, ticks).T)
    store.read(HOST, recording.names[0], end_s - DAY_S, end_s)
    taken, cpu = [], []
    for _ in range(count):
        place = rng.randrange(len(recording.names))
        begun, spent = time.perf_counter(), time.process_time()
        _, values = store.read(HOST, recording.names[place], end_s - DAY_S, end_s)
        taken.append(1000 * (time.perf_counter() - begun))
        cpu.append(1000 * (time.process_time() - spent))
        column = expected[place]
        column = column[column.view(np.int64) != columns.MISSING_BITS]
        if column.tobytes() != values.tobytes():
            raise SystemExit(f"{recording.names[place]} is read differently")
    return {
        "p50_ms": round(float(np.quantile(taken, 0.5)), 3),
        "p95_ms": round(float(np.quantile(taken, 0.95)), 3),
        "max_ms": round(max(taken), 3),
        "client_cpu_p50_ms": round(float(np.quantile(cpu, 0.5)), 3),
        "ticks": day,
        "reads": count,
    }


def sorted_sets(client: redis.Redis, recording: Recording, ticks: int) -> float:
    """Return the bytes of a sample in a sorted set a series: its time the score."""
    emptied(client)
    before = memory(client)
    rows = as_rows(recording.names, table(recording, 0, ticks))
    samples = 0
    for place, row in enumerate(rows):
        at_s = int(START_S + place * recording.step_s)
        with client.pipeline(transaction=False) as pipe:
            for name, value in row.items():
                pipe.zadd(f"zs:{HOST}:{name}", {f"{at_s}:{value!r}": at_s})
            pipe.execute()
        samples += len(row)
    time.sleep(1.5)
    used = memory(client) - before
    emptied(client)
    return used / samples


def cloudwatch(client: redis.Redis, folder: Path) -> dict[str, Any]:
    """Return bytes a sample of NAB's CloudWatch series, side by side in one host's rows."""
    files = sorted(folder.glob("**/realAWSCloudwatch/*.csv"))
    if not files:
        return {}
    series = {}
    for file in files:
        with file.open(newline="", encoding="utf-8") as lines:
            series[file.stem] = np.array([float(row["value"]) for row in csv.DictReader(lines)])
    longest = max(map(len, series.values()))
    missing = np.array([columns.MISSING_BITS]).view(np.float64)[0]
    values = np.full((longest, len(series)), missing)
    for place, column in enumerate(series.values()):
        values[: len(column), place] = column
    recording = Recording(tuple(series), values, 300.0, longest * 300.0)
    store = RedisStore("", client=client, interval_s=300.0)
    emptied(client)
    before = memory(client)
    first = START_S // 300
    for place, row in enumerate(as_rows(recording.names, values)):
        store.append(HOST, first + place, row)
    store.seal(HOST, START_S + 10 * longest * 300)
    time.sleep(1.5)
    samples = int((~recording.missing).sum())
    used = (memory(client) - before) / samples
    size = gorilla.bytes_per_sample(
        np.arange(longest), values, block_ticks=720, step_s=300, missing=recording.missing
    )
    return {
        "bytes_per_sample": round(used, 3),
        "gorilla_ratio": round(size / used, 2),
        "series": len(series),
        "samples": samples,
    }


def real_time(
    client: redis.Redis, recording: Recording, hosts: int, seconds: int
) -> dict[str, Any]:
    """Append 10,000 series once a second for as long as asked, while a thread seals."""
    width = 10_000 // hosts
    names = tuple(f"series.{place:05}" for place in range(width))
    lengths = spans.spans(1.0)
    # The chunk ends in the middle: the run seals ranges and merges a chunk.
    first = START_S + lengths.chunk_ticks - seconds // 2
    wide = np.tile(recording.values[:600], (1, width // len(recording.names) + 1))[:, :width]
    rows = [dict(zip(names, line, strict=True)) for line in np.nan_to_num(wide).tolist()]
    emptied(client)
    stores = RedisStore("", client=client, interval_s=1.0)
    called = [f"host-{number:03}" for number in range(hosts)]
    for tick in range(START_S, first):
        for host in called:
            stores.append(host, tick, rows[tick % len(rows)])
    for host in called:
        stores.seal(host, first)
    over, sealing = threading.Event(), [0.0]
    clock = [float(first)]

    def seal() -> None:
        while not over.wait(5.0):
            spent = time.thread_time()
            for host in called:
                stores.seal(host, clock[0])
            sealing[0] += time.thread_time() - spent

    sealer = threading.Thread(target=seal)
    late, took, spent_s = [], [], 0.0
    server_s, process_s = server_cpu_s(client), time.process_time()
    sealer.start()
    begun = time.perf_counter()
    for number in range(seconds):
        time.sleep(max(0.0, begun + number - time.perf_counter()))
        clock[0] = float(first + number)
        spent = time.thread_time()
        started = time.perf_counter()
        for host in called:
            stores.append(host, first + number, rows[number % len(rows)])
        took.append(time.perf_counter() - started)
        late.append(time.perf_counter() - begun - number)
        spent_s += time.thread_time() - spent
    wall_s = max(seconds, time.perf_counter() - begun)
    over.set()
    sealer.join()
    process_s = time.process_time() - process_s
    server_s = server_cpu_s(client) - server_s
    kept = sum(len(stores.ticks(host, first, first + seconds)) for host in called)
    if kept != hosts * seconds:
        raise SystemExit(f"{hosts * seconds - kept} rows of {hosts * seconds} are missing")
    emptied(client)
    return {
        "cpu_share": round((process_s + server_s) / wall_s, 4),
        "append_share": round(spent_s / wall_s, 4),
        "seal_share": round(sealing[0] / wall_s, 4),
        "server_share": round(server_s / wall_s, 4),
        "behind_max_s": round(max(late), 3),
        "row_p95_ms": round(1000 * float(np.quantile(took, 0.95)) / hosts, 2),
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
