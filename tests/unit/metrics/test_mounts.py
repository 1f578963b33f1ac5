from __future__ import annotations

import os

import psutil
import pytest

from outrider.metrics import mounts

TABLE = b"""proc /proc proc rw 0 0
/dev/vda / ext4 rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
/dev/vda /etc/hosts ext4 rw 0 0
server:/export /mnt/far nfs rw 0 0
/dev/vdb /var/lib/postgresql/Data xfs rw 0 0
/dev/loop3 /snap/core squashfs ro 0 0
tank/home /home zfs rw 0 0
"""


def stat(blocks: int, free: int, available: int, files: int, files_free: int) -> os.statvfs_result:
    return os.statvfs_result((4096, 4096, blocks, free, available, files, files_free, 0, 0, 255))


def test_real_disks_are_found_once_each_and_nothing_far_away() -> None:
    assert mounts.real(TABLE) == {
        "root": "/",
        "home": "/home",
        "var_lib_postgresql_data": "/var/lib/postgresql/Data",
    }


def test_a_root_that_is_laid_over_others_counts_too() -> None:
    assert mounts.real(b"overlay / overlay rw 0 0\n") == {"root": "/"}


def test_a_machine_with_many_disks_shows_a_bounded_number() -> None:
    table = b"".join(b"/dev/sd%d /data/%d ext4 rw 0 0\n" % (n, n) for n in range(100))

    assert len(mounts.real(table)) == mounts.MOST_MOUNTS


def test_what_is_kept_for_root_counts_as_used() -> None:
    found = mounts.room("/", ask=lambda _: stat(1000, 300, 200, 100, 25))

    assert found == (round(700 / 900, 4), 0.0, 0.75)


def test_a_file_system_without_a_limit_of_inodes_has_no_share_of_them() -> None:
    assert mounts.room("/", ask=lambda _: stat(100, 50, 50, 0, 0)).inodes_used_ratio is None


def test_the_root_is_as_full_as_psutil_sees_it() -> None:
    expected = pytest.approx(psutil.disk_usage("/").percent / 100, abs=0.01)

    assert expected == mounts.room("/").used_ratio
