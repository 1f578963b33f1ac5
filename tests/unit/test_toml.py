from __future__ import annotations

import pytest

from outrider import toml

TEXT = """\
host = "a"          # 1
dashboard.port = 1
[bots.canary]       # 3
entry = "a:b"
[bots.canary.limits]
cpu = 1
 [ bots . "my.bot" ] # 7
command = [
  "python",
  "x",
]
[[alert]]           # 12
name = "first"
[[alert]]
name = "second"
[alert.extra]       # 16
key = 1
[bots.last]
limits = { cpu = 1 }
'quoted' = 2
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("host",), 1),
        (("dashboard", "port"), 2),
        (("bots", "canary"), 3),
        (("bots", "canary", "entry"), 4),
        (("bots", "canary", "limits", "cpu"), 6),
        (("bots", "canary", "limits", "memory"), 5),
        (("bots", "canary", "absent"), 3),
        (("bots", "my.bot", "command", 1), 8),
        (("alert", 0, "name"), 13),
        (("alert", 1, "name"), 15),
        (("alert", 1, "when"), 14),
        (("alert", 1, "extra", "key"), 17),
        (("bots", "last", "limits", "cpu"), 19),
        (("bots", "last", "quoted"), 20),
        (("nothing",), None),
        ((), None),
    ],
)
def test_a_key_is_found_at_its_line(key: tuple[str | int, ...], line: int | None) -> None:
    assert line == toml.line_of(TEXT, key)


def test_only_newlines_count_as_lines() -> None:
    assert toml.line_of('a = "\N{LINE SEPARATOR}"\nb = 1', ("b",)) == 2
