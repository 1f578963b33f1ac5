from __future__ import annotations

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from outrider.metrics import fetch
from outrider.metrics.scrape import ScrapeCollector
from outrider.settings import ScrapeSettings
from tests.servers import web

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = """# HELP seen_total Updates.
# TYPE seen_total counter
seen_total{chat="7"} 3
# TYPE queue gauge
queue 2
"""
FILLED = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"


@pytest.fixture
def site() -> Iterator[web.Site]:
    with web.running() as site:
        yield site


def target(url: str, name: str = "it", **options: Any) -> ScrapeSettings:
    return ScrapeSettings.model_validate({"name": name, "url": url, **options})


def scraped(url: str, **options: Any) -> dict[str, float]:
    return ScrapeCollector([target(url, **options)]).collect(0.0)


def without_duration(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not name.endswith(".duration_s")}


def test_a_page_becomes_series(site: web.Site) -> None:
    values = scraped(site.page(PAGE))

    assert without_duration(values) == {
        "scrape.it.seen.chat_7_total": 3.0, "scrape.it.queue": 2.0,
        "scrape.it.up": 1.0, "scrape.it.samples": 2.0, "scrape.it.dropped": 0.0,
    }  # fmt: skip
    assert 0 <= values["scrape.it.duration_s"] < 1


def test_openmetrics_is_asked_for_and_read(site: web.Site) -> None:
    kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    text = "# TYPE seen counter\nseen_total 3.0\nseen_created 1.0\n# EOF\n"
    values = scraped(site.page(text, kind=kind))

    assert (values["scrape.it.seen_total"], values["scrape.it.samples"]) == (3.0, 1.0)
    assert "application/openmetrics-text" in site.seen[0][1]["Accept"]


def test_the_endpoint_of_a_bot_speaks_for_the_bot(site: web.Site) -> None:
    values = scraped(site.page(PAGE), bot="canary")

    assert values["bot.canary.queue"] == 2.0
    assert (values["scrape.it.up"], values["scrape.it.samples"]) == (1.0, 2.0)


def test_metrics_that_nobody_wants_are_left_out(site: web.Site) -> None:
    values = scraped(site.page(PAGE), metrics=["seen_*"])

    assert "scrape.it.queue" not in values
    assert values["scrape.it.samples"] == 1.0


def test_what_is_beyond_the_limit_is_counted_and_said_once(
    site: web.Site, caplog: pytest.LogCaptureFixture
) -> None:
    text = "# TYPE q gauge\n" + "".join(f'q{{n="{n}"}} {n}\n' for n in range(10))
    collector = ScrapeCollector([target(site.page(text), limit=4)])
    first, second = collector.collect(0.0), collector.collect(10.0)

    assert first["scrape.it.dropped"] == second["scrape.it.dropped"] == 6.0
    assert sum(name.startswith("scrape.it.q.") for name in second) == 4
    assert len([r for r in caplog.records if "6 series more than its limit of 4" in r.message]) == 1


def test_series_that_were_kept_stay_when_others_come(site: web.Site) -> None:
    collector = ScrapeCollector([target(site.page("b 1\nc 1\n"), limit=2)])
    collector.collect(0.0)
    site.page("a 1\nb 1\nc 1\n")
    values = collector.collect(10.0)

    assert {"scrape.it.b", "scrape.it.c"} <= values.keys()
    assert "scrape.it.a" not in values


def test_quantiles_are_of_what_was_observed_since_the_last_look(site: web.Site) -> None:
    def page(fast: int, slow: int) -> str:
        return (
            "# TYPE took_seconds histogram\n"
            f'took_seconds_bucket{{le="0.1"}} {fast}\n'
            f'took_seconds_bucket{{le="2"}} {fast + slow}\n'
            f'took_seconds_bucket{{le="+Inf"}} {fast + slow}\n'
            f"took_seconds_sum 12.5\ntook_seconds_count {fast + slow}\n"
        )

    collector = ScrapeCollector([target(site.page(page(1000, 0)))])
    first = collector.collect(0.0)
    site.page(page(1000, 10))
    second = collector.collect(10.0)
    third = collector.collect(20.0)

    assert first.keys() == second.keys() == third.keys()
    assert (second["scrape.it.took.count"], second["scrape.it.took.sum_s"]) == (1010.0, 12.5)
    assert first["scrape.it.took.p50_s"] != first["scrape.it.took.p50_s"]  # nothing to compare with
    assert 0.1 < second["scrape.it.took.p50_s"] < 2
    assert third["scrape.it.took.p95_s"] != third["scrape.it.took.p95_s"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<html><body>It works!</body></html>", "not in Prometheus' format"),
        ('seen_total{chat="7" 3\n', "not in Prometheus' format"),
        ("queue nonsense\n", "not in Prometheus' format"),
    ],
)
def test_garbage_is_down_with_a_reason(
    site: web.Site, caplog: pytest.LogCaptureFixture, text: str, why: str
) -> None:
    assert scraped(site.page(text)) == {"scrape.it.up": 0.0}
    assert why in caplog.text


def test_bytes_that_are_no_text_are_down(site: web.Site, caplog: pytest.LogCaptureFixture) -> None:
    site.answers["/metrics"] = lambda handler: (
        handler.wfile.write(FILLED + b"\x1f\x8b\xff"),
        None,
    )[1]

    assert scraped(site.url()) == {"scrape.it.up": 0.0}
    assert "not UTF-8" in caplog.text


def test_an_empty_page_is_up(site: web.Site) -> None:
    assert without_duration(scraped(site.page(""))) == {
        "scrape.it.up": 1.0, "scrape.it.samples": 0.0, "scrape.it.dropped": 0.0,
    }  # fmt: skip


def test_a_redirect_is_not_followed(site: web.Site, caplog: pytest.LogCaptureFixture) -> None:
    def answer(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", site.page(PAGE, "/elsewhere"))
        handler.end_headers()

    site.answers["/metrics"] = answer

    assert scraped(site.url()) == {"scrape.it.up": 0.0}
    assert [path for path, _ in site.seen] == ["/metrics"]
    assert "put the final address into url" in caplog.text


def test_an_error_of_the_server_is_down(site: web.Site, caplog: pytest.LogCaptureFixture) -> None:
    assert scraped(site.page("no", status=503)) == {"scrape.it.up": 0.0}
    assert "503" in caplog.text


@pytest.mark.parametrize(
    ("first", "each"),
    [
        pytest.param(b"", b"", id="says nothing"),
        pytest.param(b"HTTP/1.0 200 OK\r\n", b"X-A: b\r\n", id="drips headers"),
        pytest.param(FILLED, b"# x\n", id="drips a page"),
        pytest.param(FILLED + b"a 1\n", b"", id="stops in the middle"),
    ],
)
def test_a_slow_one_is_down_after_its_timeout_and_holds_no_thread(
    site: web.Site, first: bytes, each: bytes
) -> None:
    before = threading.active_count()
    start_s = time.monotonic()
    values = scraped(site.hang(first=first, each=each), timeout_s=0.2)
    took_s = time.monotonic() - start_s

    assert values == {"scrape.it.up": 0.0}
    assert took_s < 5  # it would go on for ever
    deadline = time.monotonic() + 10
    while threading.active_count() > before + 1:  # one of the server's own serves it still
        assert time.monotonic() < deadline


def test_a_slow_one_does_not_hold_up_the_others(site: web.Site) -> None:
    slow = [target(site.hang(f"/{n}"), f"slow{n}", timeout_s=0.5) for n in range(5)]
    start_s = time.monotonic()
    values = ScrapeCollector([*slow, target(site.page(PAGE))]).collect(0.0)

    assert time.monotonic() - start_s < 2.0  # all at once, not one after the other
    assert values["scrape.it.queue"] == 2.0
    assert sum(values[f"scrape.slow{n}.up"] for n in range(5)) == 0


def test_a_huge_page_is_not_read_to_its_end(
    site: web.Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.Fetch.__init__, "__kwdefaults__", {
        **(fetch.Fetch.__init__.__kwdefaults__ or {}), "most_bytes": 1 << 20,
    })  # fmt: skip
    values = scraped(site.hang(first=FILLED, each=b"# filling\n" * 50_000), timeout_s=10)

    assert values == {"scrape.it.up": 0.0}
    assert "larger than 1 MiB" in caplog.text


def test_a_page_of_very_many_lines_is_cut(site: web.Site) -> None:
    values = scraped(site.page("".join(f"q{n} 1\n" for n in range(20_100))), timeout_s=10)

    assert values["scrape.it.samples"] == 20_000
    assert values["scrape.it.dropped"] == 20_100 - 200


def test_nobody_there_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert scraped(f"http://127.0.0.1:{port}/metrics") == {"scrape.it.up": 0.0}


def test_name_and_password_are_sent_and_not_logged(
    site: web.Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.page("nonsense nonsense\n")
    collector = ScrapeCollector([target(site.url(user="me:s%40cret"))])
    collector.collect(0.0)

    assert site.seen[0][1]["Authorization"] == "Basic bWU6c0BjcmV0"
    assert site.seen[0][1]["Host"].startswith("127.0.0.1:")
    assert "***@127.0.0.1" in caplog.text
    assert "cret" not in caplog.text


def test_why_one_is_away_is_said_once_and_its_return_too(
    site: web.Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    collector = ScrapeCollector([target(site.page("no", status=503))])
    collector.collect(0.0)
    collector.collect(10.0)
    site.page(PAGE)
    collector.collect(20.0)
    collector.collect(30.0)

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_metric_called_up_does_not_hide_whether_it_is(site: web.Site) -> None:
    assert scraped(site.page("up 0\n"))["scrape.it.up"] == 1.0
