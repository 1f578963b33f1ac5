from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from outrider.settings import ProbeSettings, Settings
from outrider.supervisor import probes
from outrider.supervisor import spec as specs
from outrider.supervisor.liveness import Liveness, Seen, judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Seen(59.0), ""),
        (Seen(61.0), "hangs: nothing heard from it for 61 s, allowed 60 s"),
        (Seen(1.0, loop_lag_s=4.9), ""),
        (Seen(1.0, loop_lag_s=5.1), "hangs: its event loop was blocked for 5.1 s, allowed 5 s"),
        (Seen(1.0, failed_probes=2, probe_said="no"), ""),
        (Seen(1.0, failed_probes=3, probe_said="no"), "hangs: 3 probes in a row failed: no"),
    ],
)
def test_a_bot_hangs_when_one_of_its_signs_is_too_old(seen: Seen, expected: str) -> None:
    assert expected == judge(Liveness(heartbeat_s=60.0, loop_lag_s=5.0, failures=3), seen)


def test_what_is_not_asked_for_is_not_looked_at() -> None:
    assert judge(Liveness(), Seen(1e9, loop_lag_s=1e9)) == ""


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/?")))
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Answers) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield http.server_port
        http.shutdown()


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, ""), (204, ""), (302, ""), (404, "answers 404"), (503, "answers 503")],
)
def test_a_status_tells_whether_all_is_well(status: int, said: str, server: int) -> None:
    address = f"http://127.0.0.1:{server}/{status}"

    assert probes.of_settings(ProbeSettings(http=address))() == (said and f"{address} {said}")


def test_a_port_that_takes_connections_is_well(server: int) -> None:
    assert probes.of_settings(ProbeSettings(tcp=f"127.0.0.1:{server}"))() == ""


def test_who_does_not_answer_is_named() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert "127.0.0.1" in probes.over_http(f"http://127.0.0.1:{port}", timeout_s=1.0)
        assert probes.over_tcp("127.0.0.1", port, timeout_s=1.0).startswith(f"127.0.0.1:{port} ")


def test_a_server_that_hangs_is_given_up() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        assert probes.over_http(address, timeout_s=0.05) == f"{address} does not answer: timed out"


def test_the_settings_say_what_is_asked_of_a_bot(tmp_path: Path) -> None:
    def of(**bot: object) -> specs.ProcessSpec:
        settings = Settings.model_validate({"bots": {"a": bot}})
        return specs.of_bot("a", settings, base=tmp_path, env_of=lambda _: {})[0]

    entry = of(entry="m:f").liveness
    assert entry == Liveness(heartbeat_s=60.0)
    assert of(command=["x"]).liveness is None
    assert of(entry="m:f", liveness={"heartbeat_s": 0}).liveness is None
    probed = of(command=["x"], probe={"tcp": "localhost:1"}, liveness={"failures": 5})
    assert probed.readiness == "probe"
    assert probed.liveness is not None
    assert (probed.liveness.failures, probed.liveness.probe) == (5, probed.probe)
