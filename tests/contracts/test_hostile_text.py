"""Hostile text, through everything that shows something: it arrives escaped, on its line, bounded.

One table of what an enemy may write, one of every output; each is tried with each. A text carries a
mark, so that an output that shows nothing at all does not pass for a safe one.
"""

from __future__ import annotations

import asyncio
import csv
import email
import email.policy
import io
import json
import logging
import re
import time
import urllib.parse
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import settings
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from rich.text import Text

from outrider import outside
from outrider.alerts import comments, journal, log, silences
from outrider.alerts import message as messages
from outrider.alerts.channels.email import EmailChannel
from outrider.alerts.channels.log import LogChannel
from outrider.alerts.state import Alert
from outrider.analysis import page as analysis_page
from outrider.analysis.plot import Mark, Picture
from outrider.cache import keys as cache_keys
from outrider.cache.usage import Use
from outrider.cli import here, terminal
from outrider.cli.main import main
from outrider.cli.top import frame
from outrider.cli.top.view import View
from outrider.settings import Retention
from outrider.settings_notify import EmailSettings
from outrider.slo import page as slo_page
from outrider.store import connection, keys, tiers
from outrider.store.redis import RedisStore
from outrider.supervisor import audit
from outrider.supervisor.audit import Peer
from outrider.web.app import assemble
from outrider.web.exposition import Other
from outrider.web.source import Source
from outrider.workers import logs
from tests.unit.alerts.channels import conftest as channels
from tests.unit.alerts.channels import test_services as services
from tests.unit.analysis import test_page as pages
from tests.unit.web.conftest import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx
    import redis

MARK = "zq7"
TOKEN = "token-of-a-test-0123456789"
TEXTS = {
    "markup": f"{MARK}<img src=x onerror=alert(1)><script>alert(2)</script>",
    "attribute": f'{MARK}"\' onmouseover=alert(1) x="</title></style>',
    "terminal markup": f"{MARK}[bold red]x[/] [link=http://evil.example]y[/link] [/nothing]",
    "chat markup": f"{MARK}**b** _i_ [x](http://e) `c` ||s|| @everyone <!channel> <@U1>",
    "escape codes": f"{MARK}\x1b[31m\x1b[2J\x1b]0;title\x07\x9b2J\x1bc",
    "controls": f"{MARK}a\x00b\x08\x7f\x85c\x0bd\te",
    "lines": f"{MARK}\r\nBcc: all@example.com\r\n\r\ndata: {{}}\n\nevil_total 1\n\u2028\u2029x",
    "exposition": f'{MARK}"}} 1\n# TYPE evil counter\nevil_total 1\\',
    "formula": f"=cmd|'/C calc'!{MARK}",
    "late formula": f"  \t@SUM({MARK})",
    "right to left": f"{MARK}\u202egnp.exe\u202c\u200f\u2066\u200b\ufeff",
    "half a pair": f"{MARK}a\ud800b\udfff",
    "percent": f"{MARK}%s %(name)s {{0}} {{x.__class__}} ${{HOME}}",
    "a megabyte": MARK + "x" * (1 << 20) + MARK,
    "many lines": f"{MARK}\n\x1b[1m" * (1 << 14),
}
# The longest that any of them may make of a megabyte that is shown some twenty times.
MOST = 250_000
_DIRECTIONS = re.compile("[\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def storable(text: str) -> str:
    """Return a text as a name in Redis can have it: half a pair can't be sent there."""
    return text.encode("utf-8", "replace").decode()


# -- what a screenful must be


def check_lines(shown: str) -> None:
    """Nothing but lines of printable letters, and an end."""
    assert len(shown) < MOST
    shown.encode("utf-8")
    bad = {letter for letter in shown if letter != "\n" and not letter.isprintable()}
    assert not bad
    for line in shown.split("\n"):  # nobody begins a line of his own
        assert not line.startswith(("Bcc:", "data:", "evil_total", "# TYPE evil"))


def check_terminal(shown: str) -> None:
    check_lines(shown)
    assert MARK in shown


def check_log(shown: str) -> None:
    """A bot's own lines, which may say anything; they steer nothing."""
    assert all(line.isprintable() for line in shown.splitlines())
    assert len(shown) < MOST
    assert MARK in shown


def check_json(shown: str) -> None:
    """Valid, and plain ASCII, so that a terminal that it is printed on can't be steered."""
    assert shown.isascii()
    assert not set(shown) & set(map(chr, [*range(10), *range(11, 32), 127]))
    assert MARK in json.dumps(json.loads(shown))


def check_csv(shown: str) -> None:
    rows = list(csv.reader(io.StringIO(shown)))
    assert len({len(row) for row in rows}) == 1
    assert any(MARK in cell for row in rows for cell in row)
    for cell in (cell for row in rows for cell in row):
        assert cell.isprintable()
        assert len(cell) < 3000
        assert not cell.lstrip().startswith(("=", "+", "-", "@")) or _is_number(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


class Tags(HTMLParser):
    """Collects the elements of a page, and refuses what could do something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        names = {name for name, _ in attrs}
        assert not names & {"src", "href", "style", "action", "formaction", "srcdoc"}
        assert not [name for name in names if name.startswith("on")]


def check_html(shown: str) -> None:
    reader = Tags()
    reader.feed(shown)
    reader.close()
    assert not reader.tags & {"script", "img", "iframe", "object", "a", "form", "base", "link"}
    check_lines(shown)
    assert MARK in shown


def check_series(shown: str) -> None:
    """Names as they are, since they are asked for by them; the page cleans what it shows."""
    found = json.loads(shown)
    names = [each.pop("name") for each in found["series"]]
    assert all(len(name) <= 300 for name in names)
    assert any("handler" in name or "canary" in name or MARK in name for name in names) or not names
    for text in texts(found):
        check_lines(text)


def check_web(shown: str) -> None:
    """JSON whose texts are clean; the page puts them in as text. ``key`` is a name, not shown."""
    found = json.loads(shown)
    assert MARK in json.dumps(found)
    for text in texts(found):
        assert not _DIRECTIONS.search(text)
        assert not [letter for letter in text if ord(letter) < 32 or 127 <= ord(letter) < 160]
        text.encode("utf-8")
        assert len(text) <= 2000


def check_page(shown: str) -> None:
    """As for the web; what a page has nothing of, it need not show. None is endless."""
    found = json.loads(shown)
    assert "error" not in found
    assert len(shown) < 500_000
    for text in texts(found):
        check_lines(text)
        assert len(text) <= 2000


def check_database(shown: str) -> None:
    """As for a page; ``error`` is the database server's own word there, and no refusal."""
    found = json.loads(shown)
    check_page(json.dumps(found | {"told": found.pop("error")}))


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name not in ("key", "host_key", "series"):
                yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def check_message(shown: str) -> None:
    """What a service is sent: as for the web, but lines of ours may stand in it."""
    found = json.loads(shown)
    assert len(shown) < 60_000
    assert MARK in json.dumps(found)
    for text in texts(found):
        check_lines(text)


# -- the fleet that they show


@dataclass
class World:
    """A fleet whose every name and text is ``text``, and the ways to look at it."""

    url: str
    client: redis.Redis
    folder: Path
    text: str
    caplog: pytest.LogCaptureFixture
    receiver: channels.Receiver

    def run(self, *arguments: str) -> str:
        """Run a command as from a shell; whatever its exit code, it must have said it itself."""
        said = CliRunner().invoke(main, list(arguments))
        assert said.exception is None or isinstance(said.exception, SystemExit), said.exception
        return said.stdout + said.stderr

    def get(self, path: str, **headers: str) -> str:
        answer = self.ask(path, **headers)
        assert answer.status_code == 200, answer.text[:300]
        assert answer.headers["x-content-type-options"] == "nosniff"
        return answer.text

    def ask(self, path: str, **headers: str) -> httpx.Response:
        store = RedisStore(self.url, client=self.client)
        source = Source(
            tiers.of_redis(store, Retention(), client=self.client), self.client, address="redis",
            others=(Other("a celery app", self.samples),),
        )  # fmt: skip
        with asyncio.Runner() as runner:
            visitor = Visitor(assemble(source, token=TOKEN), runner)
            return visitor.get(path, {"Authorization": f"Bearer {TOKEN}", **headers})

    def samples(self) -> list[Any]:
        return [("celery_task_sent_total", "counter", {"name": storable(self.text)}, 1.0)]

    def message(self) -> messages.Message:
        """Return a message as the outbox makes it of a change with this text everywhere."""
        fields = ("summary", "host", "instance", "rule")
        one = messages.line(channels.alert(**dict.fromkeys(fields, self.text)))
        two = one | {"id": "2", "to": "inactive"}
        return channels.message(one, two, labels={"host": one["host"], "rule": one["rule"]})


@pytest.fixture(params=TEXTS.values(), ids=list(TEXTS))
def world(
    request: pytest.FixtureRequest, valkey_url: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> Iterator[World]:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    monkeypatch.setenv("OUTRIDER_HOST", "alpha")
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr(terminal.console, "width", 250)
    monkeypatch.setattr(here, "supervisor", lambda do, **_: supervised(do, request.param))
    with (
        connection.connect(valkey_url) as client,
        channels.running(channels.Receiver()) as receiver,
    ):
        made = World(valkey_url, client, tmp_path, request.param, caplog, receiver)
        seed(made)
        yield made


def supervised(do: str, text: str) -> Any:
    now_s = time.time()
    process = {
        "name": text, "bot": text, "kind": "bot", "state": "failed", "pid": 7, "since_s": now_s,
        "restarts": 1, "crashes": 1, "reason": text, "start_s": 0.5, "how": text,
    }  # fmt: skip
    event = {"id": "1", "at_s": now_s, "name": text, "what": text, "detail": text}
    crash = {"at_s": now_s, "words": text, "lived_s": 1.0, "pid": 7, "crashes": 1, "then": text,
             "metrics": {text: 1.0}, "log": text.split("\n")[:50]}  # fmt: skip
    if do == "diagnose":
        return [process | {"measured": {text: 1.0}, "crash_reports": [crash], "events": [event],
                           "log": text.split("\n")[:50]}]  # fmt: skip
    return {"processes": [process, process | {"kind": "stack"}], "events": [event]}


def seed(world: World) -> None:
    """Put the text wherever other parts of the system would put one."""
    text, name, client, now_s = world.text, storable(world.text), world.client, time.time()
    client.zadd(keys.HOSTS, {"alpha": now_s})
    store, tick = RedisStore(world.url, client=client), int(now_s // 10)
    for ago in (2, 1, 0):
        bot = {f"bot.{name}.rss_bytes": 3e7, f"bot.canary.handler.{name}.p95_s": 0.5,
               f"bot.canary.cache.{name}.hits_total": 500.0 * (3 - ago),
               f"bot.canary.cache.{name}.misses_total": 500.0 * (3 - ago),
               name: 2.0}  # fmt: skip
        store.append("alpha", tick - ago, bot)
        fleet = {"redis.memory_bytes": 1e6, f"celery.queue.{name}.length": 1.0, f"db.{name}": 1.0}
        store.append(keys.FLEET, tick - ago, fleet)
    word = {"name": text, "bot": text, "state": "failed", "reason": text, "since_s": now_s}
    client.zadd(cache_keys.NAMESPACES, {name: now_s})
    use = Use(loader=name, bot=name, ttl_s=60.0, last_use_s=now_s, uses=500)
    client.hset(cache_keys.usage(name), name, msgspec.msgpack.encode(use))
    client.set(keys.bots("alpha"), json.dumps([word, word | {"name": "b", "state": text}]))
    short = name[: 1 << 17]  # what is longer than a megabyte in all is counted as damaged
    alert = Alert(short, short, "alpha", "critical", "firing", now_s, 1.0, now_s, summary=short)
    journal.commit(client, "alpha", 1, [alert], [])
    change = {
        "id": text, "rule": text, "instance": text, "host": text, "severity": "critical",
        "from": "pending", "to": "firing", "at_s": now_s, "tick": 1, "value": 1.0, "summary": text,
    }  # fmt: skip
    client.lpush(keys.HISTORY, json.dumps(change))
    entry = log.entry(world.message(), text, at_s=now_s, result=text, done=True)
    client.lpush(keys.NOTIFICATIONS, entry)
    action = dict.fromkeys(("what", "who", "bot", "why", "result"), text)
    client.lpush(keys.ACTIONS, json.dumps(action | {"at_s": now_s}))
    silences.add(client, {"host": text, text: text}, author=text, now_s=now_s, lasts_s=60.0,
                 comment=text)  # fmt: skip
    comments.add(client, text, author=text, text=text, now_s=now_s)
    report = pages.report(text) | {"host": "alpha", "at_s": now_s, "state": "critical"}
    client.set(keys.report("alpha"), json.dumps(report))
    client.set(keys.report(keys.FLEET), json.dumps(report | {"host": keys.FLEET}))
    decided = {"bot": text, "replicas": 1, "wanted": 2, "rate": 1.0, "queue": 1.0,
               "service_rate": 1.0, "result": text, "reason": text}  # fmt: skip
    client.hset(keys.scaling("alpha"), "a", json.dumps(decided))
    folder = world.folder / ".outrider" / "logs"
    audit.keep(folder, what=text, bot=text, who=text, peer=Peer(1, 0), why=text, result=text)
    (folder / "canary.log").write_bytes(f"{text}\n{MARK}\n".encode("utf-8", "surrogatepass"))


# -- every output


def top(world: World) -> str:
    """The live frame, as it is drawn on a screen of 80 columns."""
    found = json.loads(world.run("status", "--json")) | {"problem": None, "notices": [world.text]}
    drawn = []
    for looks in (View(), View(asking=found["bots"][0]), View(filter=world.text, typing=True),
                  View(said=world.text)):  # fmt: skip
        lines = frame.draw(found, looks, frame.Screen(80, 40))
        assert max(line.cell_len for line in lines) <= 80
        assert all(isinstance(line, Text) for line in lines)
        drawn += [line.plain for line in lines]
    return "\n".join(drawn)


def report_html(world: World) -> str:
    world.run("report", "host", "alpha", "--html", "page.html")
    return (world.folder / "page.html").read_text("utf-8")


def drawn_html(world: World) -> str:
    text = world.text
    picture = Picture(
        text, text, pages.TIMES, pages.FLAT, limit=10.0,
        marks=[Mark(20.0, "anomaly", text)],
    )  # fmt: skip
    return analysis_page.render(pages.report(text), [picture], now_s=60.0)


def slo_html(world: World) -> str:
    text = world.text
    share = {"who": text, "bad": 1, "spent_ratio": 1.0, "fair_ratio": 1.0}
    objective = {
        "name": text, "indicator": text, "objective": 0.99, "method": "ticks", "good": 9, "bad": 1,
        "total": 10, "good_ratio": 0.9, "is_kept": False, "spent_ratio": 10.0, "excluded": 1,
        "measured_since_s": 1.0, "measured_ratio": 0.5, "spent_by": [share],
        "calls": [{"at_s": 1.0, "rule": text, "severity": text}],
        "days": [{"day": "2026-11-01", "bad": 1, "total": 10}],
    }  # fmt: skip
    window = {"start_s": 1.0, "end_s": 2.0} | dict.fromkeys(
        ("slo", "bot", "reason", "author"), text
    )
    return slo_page.render({
        "start_s": 0.0, "end_s": 2e6, "until_s": 1e6, "made_s": 1e6, "timezone": "UTC",
        "objectives": [objective], "maintenance": [window],
    })  # fmt: skip


def configured(*arguments: str) -> Callable[[World], str]:
    """A command in a folder whose settings hold the text; they may refuse it, and say so."""

    def show(world: World) -> str:
        name = json.dumps(storable(world.text))
        config = world.folder / "hostile.toml"
        config.write_text(
            f'[[slo]]\nname = {name}\nindicator = "alive"\nobjective = 0.9\n'
            f'[[alert]]\nname = {name}\nwhen = "x > 1 for 30s"\nadvice = {name}\n',
            "utf-8",
        )
        run = CliRunner(env={"OUTRIDER_CONFIG": str(config)}).invoke(main, list(arguments))
        assert run.exception is None or isinstance(run.exception, SystemExit), run.exception
        return run.stdout + run.stderr

    return show


def command(*arguments: str) -> Callable[[World], str]:
    return lambda world: world.run(*arguments)


def page(path: str, **headers: str) -> Callable[[World], str]:
    return lambda world: world.get(path, **headers)


def refused(*arguments: str) -> Callable[[World], str]:
    """A command that is given the text and repeats it in its error."""
    return lambda world: world.run(*(part.replace("TEXT", world.text) for part in arguments))


def said(world: World) -> str:
    """What commands print beside tables: statements, names of tables and locks, advice."""
    with pytest.MonkeyPatch.context() as patch:
        printed = io.StringIO()
        patch.setattr("sys.stdout", printed)
        terminal.say(world.text, f"  {world.text}")
    assert printed.getvalue().count("\n") == 2
    return printed.getvalue()


OUTPUTS: dict[str, tuple[Callable[[World], str], Callable[[str], None]]] = {
    "status": (command("status"), check_terminal),
    "status as JSON": (command("status", "--json"), check_json),
    "top": (top, check_terminal),
    "top, one frame": (command("top", "--once"), check_terminal),
    "top as JSON": (command("top", "--json"), check_json),
    "alerts list": (command("alerts", "list"), check_terminal),
    "alerts list as JSON": (command("alerts", "list", "--json"), check_json),
    "alerts list --history": (command("alerts", "list", "--history"), check_terminal),
    "alerts list --told": (command("alerts", "list", "--told"), check_terminal),
    "alerts silences": (command("alerts", "silences"), check_terminal),
    "alerts log": (command("alerts", "log"), check_terminal),
    "alerts log as CSV": (command("alerts", "log", "--csv"), check_csv),
    "alerts log --comments": (command("alerts", "log", "--comments"), check_terminal),
    "alerts log --comments as CSV": (command("alerts", "log", "--comments", "--csv"), check_csv),
    "bots list": (command("bots", "list"), check_terminal),
    "bots show": (command("bots", "show", "canary"), check_terminal),
    "bots actions": (command("bots", "actions"), check_terminal),
    "bots scale --explain": (command("bots", "scale", "--explain"), check_terminal),
    "bots logs": (command("bots", "logs", "canary"), check_log),
    "report": (command("report", "host", "alpha"), check_terminal),
    "report as JSON": (command("report", "host", "alpha", "--json"), check_json),
    "report fleet": (command("report", "fleet"), check_terminal),
    "report as HTML": (report_html, check_html),
    "report with pictures": (drawn_html, check_html),
    "slo report as HTML": (slo_html, check_html),
    "metrics list": (command("metrics", "list", "--host", "alpha"), check_terminal),
    "metrics list as JSON": (command("metrics", "list", "--host", "alpha", "--json"), check_json),
    "metrics export as CSV": (command("metrics", "export", "*"), lambda text: check_csv(
        "".join(line for line in text.splitlines(keepends=True) if " records of " not in line))),
    "metrics export as JSON": (command("metrics", "export", "*", "--format", "json"),
                               lambda text: check_json(text.partition("\n]\n")[0] + "\n]")),
    "cache stats": (command("cache", "stats"), check_terminal),
    "cache top": (lambda world: world.run("cache", "top", storable(world.text)), check_terminal),
    "cache explain": (lambda world: world.run("cache", "explain", *2 * [storable(world.text)]),
                      check_terminal),
    "cache advise": (command("cache", "advise"), check_lines),
    "slo list": (configured("slo", "list"), check_terminal),
    "alerts list --rules": (configured("alerts", "list", "--rules"), check_terminal),
    "config check": (configured("config", "check"), check_lines),
    "lines of text": (said, check_terminal),
    "an unknown host": (refused("report", "host", "TEXT"), check_terminal),
    "an unknown bot": (refused("report", "bot", "TEXT"), check_terminal),
    "an unknown series": (refused("metrics", "show", "TEXT"), check_terminal),
    "an unknown alert": (refused("alerts", "ack", "host=TEXT"), check_terminal),
    "an unknown rule": (refused("alerts", "test", "TEXT"), check_terminal),
    "dashboard, /api/status": (page("/api/status"), check_web),
    "dashboard, /api/alerts": (page("/api/alerts"), check_page),
    "dashboard, /api/slo": (page("/api/slo"), check_page),
    "dashboard, /api/cache": (page("/api/cache"), check_page),
    "dashboard, /api/queues": (page("/api/queues"), check_page),
    "dashboard, /api/changes": (page("/api/changes"), check_page),
    "dashboard, /api/bot": (page("/api/bot?host=alpha&name=canary"), check_page),
    "dashboard, /api/bot, all": (page("/api/bot"), check_page),
    "dashboard, /api/database": (page("/api/database"), check_database),
    "dashboard, /api/host": (page("/api/host?name=alpha"), check_page),
    "dashboard, /api/series": (page("/api/series"), check_series),
    "dashboard, /api/analysis": (page("/api/analysis?host=alpha"), check_web),
}  # fmt: skip


def pairs() -> Iterator[Any]:
    """Each text with a third of the outputs, in turn; with all of them for who explores."""
    explores = settings.get_current_profile_name() == "explore"
    for at, output in enumerate(OUTPUTS):
        for nth, (name, text) in enumerate(TEXTS.items()):
            if explores or (at + nth) % 3 == 0:
                yield pytest.param(text, output, id=f"{name}-{output}")


@pytest.mark.parametrize(("world", "output"), list(pairs()), indirect=["world"])
def test_hostile_text_is_shown_escaped_and_bounded(output: str, world: World) -> None:
    show, check = OUTPUTS[output]

    check(show(world))


@pytest.mark.parametrize("path", ["/api/query", "/api/series", "/api/analysis"])
def test_a_question_that_is_refused_is_answered_safely(path: str, world: World) -> None:
    text = storable(world.text)[:3000]  # a client refuses to ask with more
    asked = urllib.parse.urlencode(dict.fromkeys(("host", "series", "match", "since"), text))
    answer = world.ask(f"{path}?{asked}")

    assert answer.status_code in (200, 400, 414)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.text) < 5000
    for text in texts(answer.json()):
        check_lines(text)


def test_pages_hold_no_text_from_outside(world: World) -> None:
    pages = ("", "series", "alerts", "slo", "database", "cache", "queues", "changes", "host", "bot")
    assert not [page for page in pages if MARK in world.get(f"/{page}")]


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("text/plain", parse_plain), ("application/openmetrics-text;version=1.0.0", parse_open)],
)
def test_prometheus_reads_the_scrape_and_labels_have_an_end(
    accept: str, parse: Any, world: World
) -> None:
    shown = world.get("/metrics", accept=accept)
    found = [sample for family in parse(shown) for sample in family.samples]

    assert len(shown) < MOST
    assert MARK in shown
    assert not [sample.name for sample in found if sample.name.startswith("evil")]
    assert {"outrider_dashboard_redis_up", "outrider_alert_firing"} <= {s.name for s in found}
    for value in (value for sample in found for value in sample.labels.values()):
        assert len(value) <= 400
        check_lines(value)


@pytest.mark.parametrize("make", services.EVERY)
def test_channels_send_it_escaped_and_bounded(make: Any, world: World) -> None:
    channel = make(world.receiver)
    channel.deliver(world.message())
    (_, headers, body), *_ = world.receiver.seen

    assert MARK not in "".join(headers.values())
    if make is services.webhook:  # programs read it: what people read is clean, the rest is as is
        assert len(body) < 60_000
        check_json(body.decode())
        check_lines(json.loads(body)["text"])
    else:
        check_message(body.decode())


def test_slack_and_discord_can_be_made_to_call_nobody(world: World) -> None:
    services.slack(world.receiver).deliver(world.message())
    services.discord(world.receiver).deliver(world.message())
    slack, discord = (json.loads(body) for _, _, body in world.receiver.seen)

    assert not re.search(r"<[!@#]|<http", slack["text"])
    assert {block["text"]["type"] for block in slack["blocks"]} == {"plain_text"}
    assert discord["allowed_mentions"] == {"parse": []}
    for text in (discord["embeds"][0]["title"], discord["embeds"][0]["description"]):
        assert not re.search(r"(?<!\\)[*_`|@<\[]", text)


def test_a_mail_gets_no_header_of_its_own(world: World) -> None:
    channel = EmailChannel(EmailSettings(host="h", sender="a@example.com", to=["b@example.com"]))
    raw = channel.mail(world.message()).as_bytes()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    allowed = {"Subject", "From", "To", "Date", "Message-ID", "References", "Auto-Submitted",
               "Content-Type", "Content-Transfer-Encoding", "MIME-Version"}  # fmt: skip

    assert set(mail.keys()) <= allowed
    assert mail["To"] == "b@example.com"
    assert mail.get_content_type() == "text/plain"
    check_terminal(str(mail["Subject"]))
    check_terminal(mail.get_content().replace("\r\n", "\n"))


def test_the_log_channel_writes_a_line_each(world: World) -> None:
    with world.caplog.at_level(logging.INFO):
        LogChannel().deliver(world.message())

    for line in world.caplog.messages:
        assert "\n" not in line
        check_lines(line)
    assert any(MARK in line for line in world.caplog.messages)


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_workers_log_a_line_a_message(text: str) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logger = logging.Logger("a worker's")  # noqa: LOG001 - of this test alone
    logger.addHandler(handler)
    logs._guard(logger)
    logger.warning("warming %s failed: %s", "prices", text)
    logger.warning(text)

    assert written.getvalue().count("\n") == 2
    check_terminal(written.getvalue())


def test_what_celery_sets_up_is_guarded() -> None:
    from celery import signals

    from outrider.workers.app import app

    assert app.main == "outrider"
    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        logger = logging.Logger("set up")  # noqa: LOG001 - of this test alone
        logger.addHandler(logging.NullHandler())
        signal.send(sender=None, logger=logger, loglevel=0, logfile=None, format="", colorize=False)
        assert [type(each) for each in logger.handlers[0].filters] == [logs.OneLine]


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = outside.clean(text)

    assert once == outside.clean(once)
    assert once.isprintable()
    assert len(once) <= outside.LONGEST
