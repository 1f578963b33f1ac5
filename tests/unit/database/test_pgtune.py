"""PGTune's rules against the cases that project publishes (le0pard/pgtune, MIT)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.database import pgtune
from outrider.errors import BadArgument

GIB = 1 << 30
ABSENT = None


def value(name: str, memory_gib: float = 4, **machine: Any) -> str | None:
    found = pgtune.settings(pgtune.Machine(int(memory_gib * GIB), **machine))
    return found.get(name)


# Each line is one expectation of its test file: setting, expected, the machine of the case.
PUBLISHED: list[tuple[str, str | None, dict[str, Any]]] = [
    ("max_connections", "200", {"workload": "web"}),
    ("max_connections", "300", {"workload": "oltp"}),
    ("max_connections", "40", {"workload": "dw"}),
    ("max_connections", "20", {"workload": "desktop"}),
    ("max_connections", "100", {"workload": "mixed"}),
    ("default_statistics_target", "100", {"workload": "web"}),
    ("default_statistics_target", "100", {"workload": "oltp"}),
    ("default_statistics_target", "500", {"workload": "dw"}),
    ("default_statistics_target", "100", {"workload": "desktop"}),
    ("default_statistics_target", "100", {"workload": "mixed"}),
    ("random_page_cost", "4", {"storage": "hdd"}),
    ("random_page_cost", "1.1", {"storage": "ssd"}),
    ("random_page_cost", "1.1", {"storage": "san"}),
    ("random_page_cost", "1.1", {"storage": "nvme"}),
    ("effective_io_concurrency", "2", {"storage": "hdd"}),
    ("effective_io_concurrency", "200", {"storage": "ssd"}),
    ("effective_io_concurrency", "300", {"storage": "san"}),
    ("effective_io_concurrency", "1000", {"storage": "nvme"}),
    ("effective_io_concurrency", ABSENT, {"storage": "ssd", "system": "windows"}),
    ("max_worker_processes", ABSENT, {"version": 14, "cores": 1}),
    ("max_parallel_workers_per_gather", ABSENT, {"version": 14, "cores": 1}),
    ("max_worker_processes", "12", {"version": 13, "cores": 12}),
    ("max_parallel_workers_per_gather", "4", {"version": 13, "cores": 12}),
    ("max_parallel_workers", "12", {"version": 13, "cores": 12}),
    ("max_parallel_maintenance_workers", "4", {"version": 13, "cores": 12}),
    ("max_worker_processes", "12", {"version": 10, "cores": 12}),
    ("max_parallel_workers", "12", {"version": 10, "cores": 12}),
    ("max_parallel_maintenance_workers", ABSENT, {"version": 10, "cores": 12}),
    ("max_worker_processes", "31", {"version": 10, "cores": 31}),
    ("max_parallel_workers_per_gather", "4", {"version": 10, "cores": 31}),
    ("max_worker_processes", "31", {"version": 12, "cores": 31, "workload": "dw"}),
    ("max_parallel_workers_per_gather", "16", {"version": 12, "cores": 31, "workload": "dw"}),
    ("max_parallel_workers", "31", {"version": 12, "cores": 31, "workload": "dw"}),
    ("max_parallel_maintenance_workers", "4", {"version": 12, "cores": 31, "workload": "dw"}),
    ("wal_level", "minimal", {"workload": "desktop"}),
    ("max_wal_senders", "0", {"workload": "desktop"}),
    ("wal_level", ABSENT, {"workload": "web"}),
    ("max_wal_senders", ABSENT, {"workload": "web"}),
    ("maintenance_work_mem", "8388608kB", {"memory_gib": 256, "version": 17}),
    ("maintenance_work_mem", "2096128kB",
     {"memory_gib": 256, "version": 17, "system": "windows"}),
    ("maintenance_work_mem", "8388608kB",
     {"memory_gib": 256, "version": 18, "system": "windows"}),
    ("maintenance_work_mem", "1048576kB", {"memory_gib": 16, "version": 15}),
    ("huge_pages", "off", {"memory_gib": 4, "version": 15}),
    ("huge_pages", "try", {"memory_gib": 16, "version": 15}),
    ("huge_pages", "off", {"memory_gib": 128, "version": 15, "system": "mac"}),
    ("work_mem", "4096kB", {"version": 15, "connections": 9999, "cores": 4}),
    ("work_mem", "2096128kB",
     {"memory_gib": 256, "version": 17, "system": "windows", "connections": 20, "cores": 4}),
    ("work_mem", "2796202kB",
     {"memory_gib": 256, "version": 18, "system": "windows", "connections": 20, "cores": 4}),
    ("jit", "off", {"version": 12, "workload": "web"}),
    ("jit", "off", {"version": 15, "workload": "oltp"}),
    ("jit", ABSENT, {"version": 15, "workload": "dw"}),
    ("jit", ABSENT, {"version": 11, "workload": "web"}),
    ("wal_compression", "on", {"version": 10}),
    ("wal_compression", "on", {"version": 14}),
    ("wal_compression", "lz4", {"version": 15}),
    ("wal_compression", "lz4", {"version": 17}),
    ("autovacuum_max_workers", "5", {"cores": 32}),
    ("autovacuum_max_workers", "4", {"cores": 16}),
    ("autovacuum_max_workers", ABSENT, {"cores": 8}),
    ("autovacuum_work_mem", ABSENT, {"memory_gib": 4, "version": 15}),
    ("autovacuum_work_mem", "2097152kB", {"memory_gib": 256, "version": 15}),
    ("autovacuum_work_mem", ABSENT, {"memory_gib": 256, "version": 17, "system": "windows"}),
    ("autovacuum_work_mem", "2097152kB",
     {"memory_gib": 256, "version": 18, "system": "windows"}),
    ("io_workers", ABSENT, {"version": 17, "cores": 32}),
    ("io_workers", ABSENT, {"version": 18}),
    ("io_workers", ABSENT, {"version": 18, "cores": 8}),
    ("io_workers", "8", {"version": 18, "cores": 32}),
    ("io_workers", "16", {"version": 18, "cores": 64}),
    ("io_workers", "32", {"version": 18, "cores": 256}),
    ("io_method", ABSENT, {"version": 17}),
    ("io_method", "io_uring", {"version": 18}),
    ("io_method", "worker", {"version": 18, "system": "windows"}),
    ("io_method", "worker", {"version": 18, "system": "mac"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected", "machine"), PUBLISHED)
def test_the_rules_agree_with_each_published_case(
    name: str, expected: str | None, machine: dict[str, Any]
) -> None:
    assert value(name, **machine) == expected


# By hand from the rules as written, where no case is published.
@pytest.mark.parametrize(
    ("name", "expected", "machine"),
    [
        ("shared_buffers", "524288kB", {"memory_gib": 2}),
        ("shared_buffers", "131072kB", {"memory_gib": 2, "workload": "desktop"}),
        ("effective_cache_size", "1572864kB", {"memory_gib": 2}),
        ("effective_cache_size", "524288kB", {"memory_gib": 2, "workload": "desktop"}),
        ("maintenance_work_mem", "262144kB", {"memory_gib": 2, "workload": "dw"}),
        # 15 728 kB is near enough to 16 MB to be rounded up.
        ("wal_buffers", "16384kB", {"memory_gib": 2}),
        ("wal_buffers", "3932kB", {"memory_gib": 0.5}),
        ("wal_buffers", "13762kB", {"memory_gib": 1.75}),
        ("work_mem", "20164kB", {"memory_gib": 16}),
        ("work_mem", "26213kB", {"memory_gib": 16, "size": "smaller"}),
        ("work_mem", "18147kB", {"memory_gib": 16, "size": "larger"}),
        ("work_mem", "43690kB", {"memory_gib": 16, "workload": "dw"}),
        ("random_page_cost", "1.1", {"storage": "hdd", "size": "smaller"}),
        ("random_page_cost", "4", {"storage": "nvme", "workload": "dw"}),
        ("min_wal_size", "100MB", {"workload": "desktop"}),
        ("max_wal_size", "16384MB", {"workload": "dw"}),
    ],
)
def test_the_rules_as_written(name: str, expected: str, machine: dict[str, Any]) -> None:
    assert value(name, **machine) == expected


def texts(memory_mib: int, **machine: Any) -> list[str]:
    return pgtune.warnings(pgtune.Machine(memory_mib << 20, **machine))


def test_warnings_agree_with_the_published_cases() -> None:
    assert texts(4096, version=14) == []
    assert ["256 MiB" in text for text in texts(128, version=14)] == [True]
    assert ["100 GiB" in text for text in texts(256 << 10, version=14)] == [True]
    assert ["lz4" in text for text in texts(4096, version=15)] == [True]
    newest = texts(4096, version=18)
    assert ("lz4" in newest[0], "io_uring" in newest[1], len(newest)) == (True, True, 2)


@given(
    memory_mib=st.integers(256, 1 << 20),
    version=st.integers(pgtune.OLDEST, pgtune.NEWEST),
    workload=st.sampled_from(sorted(pgtune.WORKLOADS)),
    cores=st.none() | st.integers(1, 256),
    connections=st.none() | st.integers(1, 10_000),
    system=st.sampled_from(pgtune.SYSTEMS),
    storage=st.sampled_from(pgtune.STORAGE),
    size=st.sampled_from(pgtune.SIZES),
)
def test_no_advice_ever_promises_more_memory_than_there_is(memory_mib: int, **machine: Any) -> None:
    found = pgtune.settings(pgtune.Machine(memory_mib << 20, **machine))
    kib = {name: int(text[:-2]) for name, text in found.items() if text.endswith("kB")}

    assert kib["shared_buffers"] + kib["maintenance_work_mem"] < memory_mib << 10
    assert kib["effective_cache_size"] <= memory_mib << 10
    assert 32 <= kib["wal_buffers"] <= 16 << 10
    assert kib["work_mem"] >= 4 << 10


@pytest.mark.parametrize(
    "wrong", [{"workload": "webb"}, {"system": "bsd"}, {"storage": "tape"}, {"version": 9},
              {"cores": 0}, {"size": "huge"}, {"memory_gib": 0}],
)  # fmt: skip
def test_a_machine_that_can_not_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadArgument):
        value("work_mem", **wrong)
