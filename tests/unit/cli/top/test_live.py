"""``outrider top`` as an operator has it: a real process in a real (pseudo) terminal."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from outrider.store import connection, keys
from outrider.store.redis import RedisStore
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.cli.conftest import Outrider
    from tests.unit.cli.top.conftest import Terminal

    Opened = Callable[..., Terminal]

TAKEN, GIVEN_BACK = "\x1b[?1049h", "\x1b[?1049l"


def fill(url: str, *names: str, **said: Any) -> None:
    """Put a host with bots that are ready where ``top`` looks."""
    now_s = time.time()
    with connection.connect(url) as client:
        client.zadd(keys.HOSTS, {"alpha": now_s})
        words = [{"name": name, "state": "ready", **said} for name in names]
        client.set(keys.bots("alpha"), json.dumps(words))
        values = {f"bot.{name}.rss_bytes": 3e7 for name in names} | {"host.cpu.used_ratio": 0.25}
        RedisStore("", client=client).append("alpha", int(now_s // 10), values)


@pytest.fixture
def top(valkey_url: str, terminal: Opened) -> Terminal:
    fill(valkey_url, "canary", "echo")
    opened = terminal(env={"OUTRIDER_REDIS_URL": valkey_url, "OUTRIDER_HOST": "alpha"})
    opened.wait_for(TAKEN)
    opened.wait_for("All 2 bots are healthy.")
    return opened


def is_as_before(terminal: Terminal) -> bool:
    return terminal.modes() == terminal.before and GIVEN_BACK in terminal.drawn


def test_q_leaves_at_once_and_gives_the_terminal_back(top: Terminal) -> None:
    assert top.modes() != top.before
    top.press("q")

    assert top.ended() == 0
    assert is_as_before(top)
    assert "\x1b[?25h" in top.drawn  # the cursor is seen again


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_signals_end_it_and_give_the_terminal_back(
    top: Terminal, number: signal.Signals, code: int
) -> None:
    top.process.send_signal(number)

    assert top.ended() == code
    assert is_as_before(top)
    assert "Traceback" not in top.drawn


def test_a_crash_gives_the_terminal_back_and_says_what_it_was(
    valkey_url: str, terminal: Opened, tmp_path: Any
) -> None:
    fill(valkey_url, "canary")
    # Found before the real one: a fault in drawing, whatever it may be.
    (tmp_path / "sitecustomize.py").write_text(
        "import outrider.cli.top.frame as f\n"
        "def draw(*_): raise RuntimeError('a fault in drawing')\n"
        "f.draw = draw\n"
    )
    env = {"OUTRIDER_REDIS_URL": valkey_url, "PYTHONPATH": str(tmp_path)}
    opened = terminal(env=env)

    assert opened.ended() == 1
    assert is_as_before(opened)
    assert "a fault in drawing" in opened.drawn.partition(GIVEN_BACK)[2]


def test_what_changes_is_shown_without_a_key(top: Terminal, valkey_url: str) -> None:
    fill(valkey_url, "canary", "echo", "ledger")

    top.wait_for("All 3 bots are healthy.")
    top.wait_for("ledger")


def test_keys_filter_pause_and_sort(top: Terminal, valkey_url: str) -> None:
    top.press("/can")
    top.wait_for("filter: can_")
    top.press("\r")
    top.wait_for("1 of 2 bots match 'can'")
    top.press("\x1b")
    top.wait_for("2 of 2 bots, by state")
    top.press("m")
    top.wait_for("by memory")
    top.press("p")
    top.wait_for("PAUSED")
    fill(valkey_url, "canary", "echo", "ledger")
    top.press("n")
    top.wait_for("2 of 2 bots, by bot")
    top.press("p")
    top.wait_for("All 3 bots are healthy.")


def test_r_asks_and_says_what_came_of_it(top: Terminal) -> None:
    top.press("r")
    top.wait_for("Restart canary on alpha?")
    top.press("n")
    top.wait_for("not restarted")
    top.press("r")
    top.wait_for("Restart canary on alpha?")
    top.press("y")
    top.wait_for("no supervisor")  # none runs here: it says so, and goes on
    top.press("q")

    assert top.ended() == 0


def test_another_size_is_drawn_at_once(top: Terminal) -> None:
    top.wait_for("2 of 2 bots, by state")  # all of the last line
    top.resize(10, 50)
    top.process.send_signal(signal.SIGWINCH)  # a real terminal's kernel does
    top.wait_for("? help   2\N{HORIZONTAL ELLIPSIS}")


def test_ctrl_z_gives_the_terminal_back_until_it_is_continued(top: Terminal) -> None:
    top.process.send_signal(signal.SIGTSTP)
    top.wait_for(GIVEN_BACK)
    stopped: list[int] = []

    def is_stopped() -> bool:
        pid, status = os.waitpid(top.process.pid, os.WNOHANG | os.WUNTRACED)
        stopped.extend([status] if pid else [])
        return bool(stopped) and os.WIFSTOPPED(stopped[-1])

    top.wait_until(is_stopped)
    assert top.modes() == top.before
    top.process.send_signal(signal.SIGCONT)
    top.wait_for(TAKEN)
    top.wait_for("All 2 bots are healthy.")
    top.press("q")

    assert top.ended() == 0


def test_with_redis_gone_the_last_frame_stays_and_keys_work(terminal: Opened) -> None:
    with Server() as server:
        fill(server.url, "canary")
        opened = terminal(env={"OUTRIDER_REDIS_URL": server.url})
        opened.wait_for("The bot is healthy.")
    opened.wait_for("does not answer")
    opened.wait_for("canary")
    opened.press("/x")
    opened.wait_for("filter: x_")
    opened.press("\x1b")
    opened.wait_for("1 of 1 bots")
    opened.press("q")

    assert opened.ended() == 0
    assert is_as_before(opened)


def test_it_waits_for_a_redis_that_is_not_there_yet(terminal: Opened) -> None:
    opened = terminal(env={"OUTRIDER_DATA_DIR": "nothing-here"})
    opened.wait_for("no stack runs")
    opened.press("q")

    assert opened.ended() == 0


def test_no_colour_where_none_is_wanted(valkey_url: str, terminal: Opened) -> None:
    fill(valkey_url, "canary")
    opened = terminal(env={"OUTRIDER_REDIS_URL": valkey_url, "NO_COLOR": "1"})
    opened.wait_for(TAKEN)
    opened.wait_until(lambda: "ready" in opened.drawn)

    assert "\x1b[32m" not in opened.drawn
    assert "\x1b[1;32m" not in opened.drawn


def test_a_dumb_terminal_gets_one_plain_frame(valkey_url: str, terminal: Opened) -> None:
    fill(valkey_url, "canary")
    opened = terminal(env={"OUTRIDER_REDIS_URL": valkey_url, "TERM": "dumb"})

    assert opened.ended() == 0
    assert "canary" in opened.drawn
    assert "\x1b" not in opened.drawn


def test_piped_it_prints_one_plain_frame(
    valkey_url: str, outrider: Outrider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    fill(valkey_url, *(f"bot-{n:02}" for n in range(60)))
    for arguments in (["--once"], [], ["--once", "--filter", "bot-0"]):
        said = outrider("top", *arguments)
        assert said.exit_code == 0
        assert "\x1b" not in said.stdout
        many = 10 if arguments[1:] else 60
        assert many == sum(" ready " in line for line in said.stdout.splitlines())


def test_one_frame_as_json_is_what_status_prints(
    valkey_url: str, outrider: Outrider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    fill(valkey_url, "canary")
    found = json.loads(outrider("top", "--json").stdout)

    assert [bot["name"] for bot in found["bots"]] == ["canary"]
    assert found.keys() == json.loads(outrider("status", "--json").stdout).keys() - {"stack"}


@pytest.mark.parametrize("given", ["0", "soon", "0.01s", "2h"])
def test_an_interval_that_is_none_is_refused(given: str, outrider: Outrider) -> None:
    refused = outrider("top", "--interval", given)

    assert refused.exit_code == 2
    assert "--interval" in refused.stderr


def test_redis_away_is_exit_code_3_for_one_frame(
    outrider: Outrider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", "redis://127.0.0.1:1/0")

    assert outrider("top", "--once").exit_code == 3
    assert outrider("top", "--json").exit_code == 3
