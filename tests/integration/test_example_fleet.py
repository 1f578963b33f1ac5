"""The example fleet runs as its outrider.toml says: every bot works, and stops when told to."""

from __future__ import annotations

import asyncio
import functools
import gzip
import importlib
import itertools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from outrider import settings
from outrider.metrics import frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLEET = Path(__file__).resolve().parents[2] / "examples" / "fleet"
PATIENCE_S = 60.0
# As the supervisor's runner does: call the entry, and run what it returns when it is async.
RUN_ENTRY = """
import asyncio, importlib, inspect, sys
module, _, function = sys.argv[1].partition(":")
result = getattr(importlib.import_module(module), function)()
if inspect.iscoroutine(result):
    asyncio.run(result)
"""


class Running:
    """Bots in processes of their own, and what they say of themselves."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.data_dir = folder / "data"
        self.data_dir.mkdir()
        self.bots: dict[str, subprocess.Popen[bytes]] = {}
        self.frames: dict[str, frame.Frame] = {}
        self.redis_url = redis_url
        self._beside: list[subprocess.Popen[bytes]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "t.sock"))
        self._socket.settimeout(0.2)
        self._declared = settings.load(FLEET / settings.FILE_NAME).bots

    def start(self, name: str, **env: str) -> None:
        declared = self._declared[name]
        command = declared.command or (sys.executable, "-c", RUN_ENTRY, str(declared.entry))
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("OUTRIDER", "FLEET"))
        }
        self.frames.pop(name, None)
        with (self.data_dir / f"{name}.log").open("ab") as log:
            self.bots[name] = subprocess.Popen(
                command,
                cwd=FLEET,
                stdout=log,
                stderr=log,
                env=inherited
                | {
                    "OUTRIDER_BOT": name,
                    "OUTRIDER_TELEMETRY": self._socket.getsockname(),
                    "OUTRIDER_REDIS_URL": self.redis_url,
                    "OUTRIDER_DATA_DIR": str(self.data_dir),
                    "OUTRIDER_HOST": "testhost",
                }
                | declared.env
                | {"FLEET_DAY_S": str(time.time() * 1.2)}  # at 20:00 of a very long day: busy
                | env,
            )

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """Run something beside the bots that sees what they see, until the end of the test."""
        env = os.environ | {
            "OUTRIDER_REDIS_URL": self.redis_url,
            "OUTRIDER_DATA_DIR": str(self.data_dir),
        }
        with (self.data_dir / "beside.log").open("ab") as log:
            beside = subprocess.Popen(command, cwd=FLEET, env=env, stdout=log, stderr=log)
        self._beside.append(beside)
        return beside

    def until(self, condition: Callable[[], object], wanted: str) -> None:
        """Read frames until the condition holds; tell what the bots said when it never does."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            ended = {name: bot.poll() for name, bot in self.bots.items() if bot.poll() is not None}
            if time.monotonic() > deadline or ended:
                pytest.fail(f"not {wanted}; ended: {ended}; frames: {self.frames}\n{self.logs()}")
            self._listen()

    def ready(self, name: str) -> bool:
        return name in self.frames and self.frames[name].ready

    def counted(self, name: str, counter: str = "updates") -> float:
        return self.frames[name].counters.get(counter, 0) if name in self.frames else 0

    def gauge(self, name: str, gauge: str) -> float:
        return self.frames[name].gauges.get(gauge, 0) if name in self.frames else 0

    def answers(self, name: str) -> bool:
        return name in self.frames and "api.sendMessage" in self.frames[name].timings

    def stop(self, name: str, *, within_s: float = 8.0) -> int:
        """Stop a bot as the supervisor does, and return its exit code."""
        bot = self.bots.pop(name)
        bot.send_signal(signal.SIGTERM)
        try:
            return bot.wait(within_s)
        except subprocess.TimeoutExpired:
            bot.kill()
            bot.wait()
            pytest.fail(f"{name} was still there {within_s} s after SIGTERM\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(
            f"== {log.name}\n{log.read_text()[-4000:]}" for log in self.data_dir.glob("*.log")
        )

    def rows(self, table: str) -> int:
        # The owner makes the file and its tables; until then there is nothing to count.
        try:
            uri = f"file:{self.data_dir / 'fleet.db'}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True)) as database:
                return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0

    def close(self) -> None:
        for process in (*self.bots.values(), *self._beside):
            process.kill()
            process.wait()
        self._socket.close()

    def _listen(self) -> None:
        try:
            heard = frame.decode(self._socket.recv(frame.MOST_BYTES))
        except TimeoutError:
            return
        bot = self.bots.get(heard.bot)
        if bot and bot.pid == heard.pid:  # not the last words of one that was stopped
            self.frames[heard.bot] = heard


@pytest.fixture
def fleet(tmp_path: Path, valkey_url: str) -> Iterator[Running]:
    running = Running(tmp_path, valkey_url)
    yield running
    running.close()


@pytest.fixture
def mybots(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a module of the fleet, which stands on no path but its own."""
    monkeypatch.syspath_prepend(str(FLEET))
    return lambda name: importlib.import_module(f"mybots.{name}")


def start_telegram(fleet: Running, **env: str) -> str:
    fleet.start("telegram", **env)
    fleet.until(lambda: fleet.ready("telegram"), "telegram ready")
    return (fleet.data_dir / "botapi.url").read_text()


def call(url: str, data: bytes | None = None, content_type: str = "application/json") -> Any:
    """Return status and body of one call, whichever way it ends."""
    request = urllib.request.Request(url, data, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def test_every_bot_works_and_stops_when_told_to(fleet: Running) -> None:
    start_telegram(fleet, FLEET_RATE="5")
    workers = ("canary", "ledger", "courier", "prices")
    for name in workers:
        fleet.start(name, FLEET_CANDLE_S="1", FLEET_PRICES_EVERY_S="0.2")
    fleet.start("archiver", FLEET_ARCHIVE_EVERY_S="0.2")
    fleet.until(lambda: all(fleet.ready(name) for name in workers), "all ready")
    fleet.until(lambda: all(fleet.counted(name) >= 5 for name in workers), "all counting")
    tables = ("players", "expenses", "dialogues", "parcels", "candles")
    fleet.until(lambda: all(fleet.rows(table) for table in tables), "rows in every table")
    before = {name: fleet.counted(name) for name in workers}
    fleet.until(lambda: all(fleet.counted(name) > before[name] for name in workers), "growing")

    packed = fleet.data_dir / "exports" / "archive"
    fleet.until(lambda: list(packed.glob("*.csv.gz")), "a packed file of candles")
    header, *lines = gzip.decompress(next(packed.glob("*.gz")).read_bytes()).decode().split()
    assert header == "symbol,start_s,open,high,low,close,rsi"
    assert lines

    for name in ("canary", "ledger"):
        assert fleet.frames[name].timings["handle_update"][0] > 0
        fleet.until(functools.partial(fleet.answers, name), "answers")
        assert "updates.backlog" in fleet.frames[name].gauges
        assert fleet.counted(name, "instrument.errors") == 0
    fleet.until(lambda: fleet.gauge("canary", "db.queries_total"), "canary using the database")
    fleet.until(lambda: fleet.gauge("ledger", "cache.months.loads_total"), "ledger using the cache")
    fleet.until(
        lambda: fleet.gauge("courier", "cache.parcels.loads_total"), "courier using the cache"
    )
    # The Bot API goes last, as `needs` has it: nobody loses what they talk to.
    assert {fleet.stop(name) for name in reversed([*fleet.bots])} == {0}
    assert "Traceback" not in fleet.logs()


WORKER = """
import sys, time
from outrider.cache import agenda, warming
from outrider.clock import SYSTEM
from outrider.store import connection

books, planned, due = agenda.Agenda(), 0.0, []
allowed = ("mybots.loaders",)
with connection.connect(sys.argv[1]) as client:
    while True:
        if time.time() >= planned + 1:
            planned = time.time()
            due += warming.plan(
                client, books, now_s=planned, every_s=1, budget_of=lambda _: 0.5, allowed=allowed,
            ).by_workers
        now = [one[:2] for one in due if one.at_s <= time.time()]
        due = [one for one in due if one[:2] not in now]
        warming.run(client, now, allowed=allowed, clock=SYSTEM)
        time.sleep(0.05)
"""


@pytest.mark.long
def test_what_a_bot_looks_at_regularly_is_loaded_before_it_looks(fleet: Running) -> None:
    start_telegram(fleet)
    worker = fleet.run(sys.executable, "-c", WORKER, fleet.redis_url)
    fleet.start("prices", FLEET_CANDLE_S="1", FLEET_TREND_EVERY_S="6")
    fleet.until(lambda: fleet.gauge("prices", "cache.closes.misses_total") >= 8, "looking")
    fleet.until(lambda: fleet.gauge("prices", "cache.closes.warmed_hits_total") >= 4, "warmed")
    assert worker.poll() is None, fleet.logs()


def test_bots_find_a_bot_api_that_moved(fleet: Running) -> None:
    first_url = start_telegram(fleet, FLEET_RATE="5")
    workers = ("canary", "ledger", "courier", "prices")
    for name in workers:
        fleet.start(name)
    fleet.until(lambda: all(fleet.counted(name) for name in workers), "all counting")

    assert fleet.stop("telegram") == 0
    assert first_url != start_telegram(fleet, FLEET_RATE="5")
    before = {name: fleet.counted(name) for name in workers}
    fleet.until(
        lambda: all(fleet.counted(name) > before[name] for name in workers), "all counting again"
    )
    assert [fleet.stop(name) for name in workers] == [0] * 4


@pytest.fixture
def token(mybots: Callable[[str], Any]) -> str:
    return str(mybots("whereabouts").token_of("canary"))


def test_the_bot_api_refuses_in_telegrams_own_words(
    fleet: Running, token: str, mybots: Callable[[str], Any]
) -> None:
    url = start_telegram(fleet)
    unauthorized = {"ok": False, "error_code": 401, "description": "Unauthorized"}
    assert (401, unauthorized) == call(f"{url}/bot1:wrong/getMe")
    not_found = {"ok": False, "error_code": 404, "description": "Not Found"}
    assert (404, not_found) == call(f"{url}/bot{token}/getLost")
    assert (404, not_found) == call(f"{url}/anything/else")
    for body, description in (
        ({}, "Bad Request: chat_id is empty"),
        ({"chat_id": "me"}, "Bad Request: chat_id must be an Integer"),
        ({"chat_id": 1, "text": "hi"}, "Bad Request: chat not found"),
    ):
        refusal = {"ok": False, "error_code": 400, "description": description}
        assert (400, refusal) == call(f"{url}/bot{token}/sendMessage", json.dumps(body).encode())

    everyone = mybots("population").people(mybots("population").Crowd(1), "canary")
    form = f"chat_id={everyone[0].id}&text=hello".encode()
    answers = [
        call(f"{url}/bot{token}/sendMessage", form, "application/x-www-form-urlencoded")
        for _ in range(mybots("accounts").CHAT_BURST + 1)
    ]
    assert (answers[0][0], answers[0][1]["result"]["text"]) == (200, "hello")
    too_many = {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests: retry after 1",
        "parameters": {"retry_after": 1},
    }
    assert (429, too_many) == answers[-1]


def test_the_bot_api_takes_arguments_from_query_json_form_and_multipart(
    fleet: Running, token: str
) -> None:
    url = start_telegram(fleet) + f"/bot{token}/setMyCommands"
    commands = [{"command": "play", "description": "a question"}]
    done = (200, {"ok": True, "result": True})
    as_text = json.dumps(commands)
    part = f'--x\r\nContent-Disposition: form-data; name="commands"\r\n\r\n{as_text}\r\n--x--\r\n'
    assert done == call(f"{url}?commands={urllib.parse.quote(as_text)}")
    assert done == call(url, json.dumps({"commands": commands}).encode())
    assert done == call(url, f"commands={as_text}".encode(), "application/x-www-form-urlencoded")
    assert done == call(url, part.encode(), "multipart/form-data; boundary=x")
    assert call(url, b"{broken")[0] == 400
    assert call(url, b'{"commands": "play"}')[0] == 400


class Now:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at_s


@contextmanager
def refused(accounts: Any, code: int) -> Iterator[None]:
    with pytest.raises(accounts.ApiError) as refusal:
        yield
    assert code == refusal.value.code


def one_account(mybots: Callable[[str], Any], clock: Now) -> tuple[Any, int]:
    crowd = mybots("population").Crowd(people=3)
    account = mybots("accounts").Account("canary", crowd, clock=clock)
    return account, mybots("population").people(crowd, "canary")[0].id


def test_a_chat_written_to_too_fast_is_open_again_after_the_wait(
    mybots: Callable[[str], Any],
) -> None:
    clock, accounts = Now(), mybots("accounts")
    account, person = one_account(mybots, clock)
    for _ in range(accounts.CHAT_BURST):
        account.send(person, "hi", None)
    with pytest.raises(accounts.ApiError) as refusal:
        account.send(person, "hi", None)
    clock.at_s += refusal.value.retry_after
    assert account.send(person, "hi", None)["text"] == "hi"
    with refused(accounts, 429):
        account.send(person, "hi", None)


def test_a_button_is_pressed_on_a_real_message_and_answered_once(
    mybots: Callable[[str], Any],
) -> None:
    clock, accounts, population = Now(), mybots("accounts"), mybots("population")
    crowd = population.Crowd(people=1)
    account = accounts.Account("canary", crowd, clock=clock)
    markup = {"inline_keyboard": [[{"text": "Yes", "callback_data": "yes"}]]}
    sent = account.send(population.people(crowd, "canary")[0].id, "Well?", markup)
    number = 0
    while not account.pending:
        draw = population.source(crowd, "canary", number)
        number += 1
        account.arrive(draw)
    updates = asyncio.run(account.updates(0, limit=100, timeout_s=0, allowed=["callback_query"]))
    while "callback_query" not in updates[-1]:
        account.arrive(population.source(crowd, "canary", number))
        number += 1
        updates = asyncio.run(account.updates(0, limit=100, timeout_s=0, allowed=None))
    query = updates[-1]["callback_query"]
    assert ("yes", sent) == (query["data"], query["message"])
    account.answer(query["id"])
    with refused(accounts, 400):
        account.answer(query["id"])
    with refused(accounts, 400):
        account.edit(sent["chat"]["id"], sent["message_id"], "Well?", markup)


def test_updates_wait_until_confirmed_and_are_bounded(mybots: Callable[[str], Any]) -> None:
    accounts, population = mybots("accounts"), mybots("population")
    account, _ = one_account(mybots, Now())
    for number in range(accounts.MOST_PENDING + 7):
        account.arrive(population.source(account.crowd, "canary", number))
    assert (account.pending, account.dropped) == (accounts.MOST_PENDING, 7)

    async def fetch(offset: int, limit: int = 100) -> list[int]:
        fetched = await account.updates(offset, limit=limit, timeout_s=0, allowed=None)
        return [update["update_id"] for update in fetched]

    first = asyncio.run(fetch(0, limit=3))
    assert len(first) == 3
    assert first == asyncio.run(fetch(0, limit=3))
    assert first[2] + 1 == asyncio.run(fetch(first[2] + 1))[0]
    assert account.pending == accounts.MOST_PENDING - 3
    assert len(asyncio.run(fetch(-2))) == 2


def test_a_long_poll_ends_with_an_arrival_and_gives_way_to_a_newer_one(
    mybots: Callable[[str], Any],
) -> None:
    population = mybots("population")
    account, _ = one_account(mybots, Now())

    async def play() -> tuple[Any, Any]:
        def poll() -> asyncio.Task[Any]:
            return asyncio.create_task(account.updates(0, limit=9, timeout_s=30, allowed=None))

        older = poll()
        await asyncio.sleep(0)
        newer = poll()
        await asyncio.sleep(0)
        account.arrive(population.source(account.crowd, "canary", 1))
        return await asyncio.gather(older, newer, return_exceptions=True)

    older, newer = asyncio.run(play())
    assert older.code == 409
    assert len(newer) == 1


def arrivals(population: Any, crowd: Any, start_s: float, end_s: float) -> list[float]:
    found: list[float] = []
    at_s = start_s
    while at_s < end_s:
        at_s = population.next_arrival(at_s, crowd, population.source(crowd, "canary", len(found)))
        found.append(at_s)
    return found


def test_the_same_seed_brings_the_same_people_at_the_same_times(
    mybots: Callable[[str], Any],
) -> None:
    population = mybots("population")
    one, same, other = population.Crowd(7), population.Crowd(7), population.Crowd(8)
    assert arrivals(population, one, 0, 900) == arrivals(population, same, 0, 900)
    assert arrivals(population, one, 0, 900) != arrivals(population, other, 0, 900)

    def deeds(crowd: Any) -> list[Any]:
        draws = [population.source(crowd, "ledger", number) for number in range(50)]
        return [
            (population.visitor(crowd, "ledger", draw), population.act("ledger", "", (), draw))
            for draw in draws
        ]

    assert deeds(one) == deeds(same)
    assert deeds(one) != deeds(other)


def test_evenings_are_busy_and_nights_are_quiet(mybots: Callable[[str], Any]) -> None:
    population = mybots("population")
    crowd = population.Crowd(peak_per_s=2.0, day_s=2400.0)  # an hour lasts 100 s

    def count(hour: int) -> int:
        return len(arrivals(population, crowd, hour * 100.0, hour * 100.0 + 100.0))

    night, noon, evening = count(3), count(12), count(20)
    assert night < noon < evening
    # Poisson around 2 per second at its peak: five standard deviations either way.
    assert abs(evening - 200) < 5 * 200**0.5
    expected_night = 100 * population.rate(350.0, crowd)
    assert abs(night - expected_night) < 5 * expected_night**0.5
    assert population.rate(350.0, crowd) == population.rate(350.0 + 2400.0, crowd)


def test_the_market_wanders_on_after_a_restart(mybots: Callable[[str], Any]) -> None:
    market = mybots("market")
    seconds = range(1_800_000_000, 1_800_000_600)
    prices = [market.mid(1, "OTR-EUR", second) for second in seconds]
    market._node.cache_clear()
    assert prices == [market.mid(1, "OTR-EUR", second) for second in seconds]
    assert prices != [market.mid(2, "OTR-EUR", second) for second in seconds]
    steps = [abs(after / before - 1) for before, after in itertools.pairwise(prices)]
    # The mean of a folded normal is 0.8 sigma.
    assert market.SIGMA * 0.6 < sum(steps) / len(steps) < market.SIGMA

    book = market.book(1, "OTR-EUR", 1_800_000_000.5)
    bids, asks = [price for price, _ in book.bids], [price for price, _ in book.asks]
    assert sorted(bids, reverse=True) == bids
    assert sorted(asks) == asks
    assert bids[0] < prices[0] < asks[0]


def test_a_parcel_is_added_in_two_steps(mybots: Callable[[str], Any]) -> None:
    courier, population = mybots("courier"), mybots("population")
    number = f"RR47312482{population.check_digit('47312482')}DE"
    asked = courier.turn(courier.Dialogue(), "/track").dialogue
    assert asked == courier.turn(asked, "RR473124821DE").dialogue
    named = courier.turn(asked, number.lower())
    assert ("asked_label", number) == (named.dialogue.state, named.dialogue.number)
    saved = courier.turn(named.dialogue, "a lamp")
    assert (courier.Dialogue(), "a lamp") == (saved.dialogue, saved.save_label)
    assert courier.Dialogue() == courier.turn(asked, "/cancel").dialogue


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.50 lunch", (1250, "lunch", "food")),
        ("bus 3,5 €", (350, "bus", "travel")),
        ("7 umbrella", (700, "umbrella", "other")),
        ("how much was it again", None),
        ("0 nothing", None),
        ("12.345 odd", None),
        ("8.20", None),
    ],
)
def test_amounts_are_found_in_texts(
    text: str, expected: tuple[int, str, str] | None, mybots: Callable[[str], Any]
) -> None:
    found = mybots("ledger").parse(text)
    assert expected == (found and (found.cents, found.note, found.category))
