from __future__ import annotations

import psutil

from outrider.metrics import kernel
from outrider.metrics.kernel import Cpu

MEMINFO = b"""MemTotal:       1000 kB
MemFree:         100 kB
MemAvailable:    400 kB
Buffers:          50 kB
Cached:          150 kB
SwapTotal:       200 kB
SwapFree:        150 kB
Dirty:             3 kB
Writeback:         1 kB
SReclaimable:     10 kB
HugePages_Total:   0
"""
NET = b"""Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo: 811 2 5 5 0 0 0 0 811 2 5 5 0 0 0 0
  eth0:6046 13 1 2 0 0 0 0 7539 8 3 4 0 0 0 0
 wlan0: 4 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
vethab12: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0
"""


def test_guest_time_is_not_counted_twice() -> None:
    (everything,) = kernel.cpus(b"cpu  100 20 30 800 5 1 2 7 90 10\nintr 1")

    assert everything == Cpu(user=120, system=33, iowait=5, steal=7, idle=800)


def test_shares_of_no_time_are_none() -> None:
    still = Cpu(1, 1, 1, 1, 1)

    assert set(kernel.shares(still, still).values()) == {0.0}


def test_a_count_that_runs_backwards_is_no_negative_share() -> None:
    found = kernel.shares(Cpu(0, 0, 50, 0, 0), Cpu(10, 0, 40, 0, 10))

    assert (found["iowait_ratio"], found["used_ratio"]) == (0.0, 0.5)


def test_memory_counts_what_could_be_had_as_free() -> None:
    found = kernel.memory(MEMINFO)

    assert found["memory.used_ratio"] == 0.6
    assert found["memory.cached_bytes"] == 210 * 1024
    assert found["memory.dirty_bytes"] == 4 * 1024
    assert (found["swap.used_ratio"], found["swap.used_bytes"]) == (0.25, 50 * 1024)


def test_a_machine_without_swap_uses_none_of_it() -> None:
    assert kernel.memory(b"MemTotal: 1000 kB\nMemFree: 500 kB\n")["swap.used_ratio"] == 0.0


def test_only_interfaces_to_the_outside_count() -> None:
    assert kernel.network(NET) == {
        "net.sent_bytes_total": 7540.0,
        "net.received_bytes_total": 6050.0,
        "net.errors_total": 4.0,
        "net.drops_total": 6.0,
    }


def test_tcp_is_found_by_the_names_of_its_columns() -> None:
    text = b"Ip: A\nIp: 1\nTcp: RtoAlgorithm CurrEstab RetransSegs\nTcp: 1 142 11\nUdp: X\nUdp: 3\n"

    assert kernel.tcp(text) == {"net.tcp_connections": 142.0, "net.tcp_retransmits_total": 11.0}
    assert kernel.tcp(b"") == {}


def test_paging_of_a_kernel_that_counts_no_kills() -> None:
    assert kernel.paging(b"nr_free_pages 9\npswpin 2\npswpout 0\n", 4096) == {
        "swap.in_bytes_total": 8192.0,
        "swap.out_bytes_total": 0.0,
    }


def test_real_texts_are_read_as_psutil_reads_them() -> None:
    from pathlib import Path

    ours, oracle = kernel.disk(Path("/proc/diskstats").read_bytes()), psutil.disk_io_counters()
    assert oracle is not None
    assert 0 < ours.read_bytes <= oracle.read_bytes + (1 << 30)
    assert len(kernel.cpus(Path("/proc/stat").read_bytes())) == (psutil.cpu_count() or 0) + 1
