"""What operators do from the page: the same as on the command line, refused clearly, written down.

On a real Valkey: what is written here is read by the parts that tell people.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outrider.alerts import acknowledgement, comments, silences
from outrider.alerts.state import Alert
from outrider.errors import BadArgument, OutriderError, SupervisorUnavailable, UnknownBot
from outrider.store import connection, keys
from outrider.web import actions
from outrider.web.access import record
from outrider.web.app import assemble
from outrider.web.source import Source
from outrider.workers.orders import NotTaken
from tests.unit.web.conftest import NOW_S, TOKEN, Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    import redis

    from tests.unit.web.conftest import Fleet

ALERT = "alpha|bot is down|bot.canary.up"
ORDER = {"bot": "canary", "host": "alpha"}


class Supervisor:
    """Takes orders and answers as it was told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.refuses: Exception | None = None

    def __call__(self, what: str, **fields: Any) -> list[dict[str, Any]]:
        self.heard.append((what, fields))
        if self.refuses:
            raise self.refuses
        return [{"name": "canary", "state": "starting"}]


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor()


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        client.zadd(keys.HOSTS, {"alpha": NOW_S})
        alert = Alert("bot is down", "bot.canary.up", "alpha", "critical", state="firing")
        client.hset(keys.alert_state("alpha"), alert.key, msgspec.json.encode(alert))
        yield client


@pytest.fixture
def operator(fleet: Fleet, client: redis.Redis, supervisor: Supervisor) -> Iterator[Visitor]:
    source = Source(fleet.tiers, client, address="redis://***@db:6379/0", clock=fleet)
    app = assemble(source, token=TOKEN, orders=supervisor)
    with asyncio.Runner() as runner:
        visitor = Visitor(app, runner)
        visitor.headers["Authorization"] = f"Bearer {TOKEN}"
        yield visitor


def act(visitor: Visitor, what: str, **given: Any) -> httpx.Response:
    return visitor.post(f"/api/actions/{what}", json=given)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def test_acknowledging_is_what_the_command_line_does(
    operator: Visitor, client: redis.Redis
) -> None:
    answer = act(operator, "ack", alert=ALERT, why="restarting it", lasts_s=3600)
    assert answer.json() == {"ok": True, "result": "acknowledged for 1h0m"}
    held = acknowledgement.read(client)[ALERT]
    assert (held.author, held.comment, held.until_s) == ("token", "restarting it", NOW_S + 3600)
    assert comments.read(client)[0]["did"] == "acknowledged"

    assert act(operator, "ack", alert=ALERT).json()["result"] == "acknowledged until it clears"
    assert acknowledgement.read(client)[ALERT].until_s is None
    assert act(operator, "unack", alert=ALERT).json()["ok"]
    assert not acknowledgement.read(client)[ALERT].holds(NOW_S)


def test_a_silence_is_kept_with_its_author_and_can_be_ended(
    operator: Visitor, client: redis.Redis
) -> None:
    answer = act(operator, "silence", matchers={"host": "alpha"}, lasts_s=7200, why="new disk")
    (made,) = silences.read(client, NOW_S)
    assert answer.json()["result"] == f"{made.id}: silenced for 2h0m"
    assert (made.match, made.author, made.comment) == ({"host": "alpha"}, "token", "new disk")
    assert made.ends_s == NOW_S + 7200
    assert act(operator, "unsilence", silence=made.id).json()["ok"]
    assert silences.read(client, NOW_S) == []
    assert act(operator, "unsilence", silence="nothing").status_code == 404


def test_orders_reach_the_supervisor_with_who_and_why(
    operator: Visitor, supervisor: Supervisor
) -> None:
    assert act(operator, "restart", **ORDER, why="stuck").json()["result"] == "canary starting"
    assert act(operator, "scale", **ORDER, replicas=3).json()["ok"]
    who = {"who": "token (dashboard)"}
    assert supervisor.heard == [
        ("restart", {**ORDER, **who, "why": "stuck"}),
        ("scale", {**ORDER, **who, "why": "", "instances": 3}),
    ]


def test_every_action_is_written_down_also_when_it_fails(
    operator: Visitor, supervisor: Supervisor, client: redis.Redis
) -> None:
    act(operator, "scale", **ORDER, replicas=2, why="busy evening")
    supervisor.refuses = UnknownBot("no bot 'canary' is declared.")
    act(operator, "restart", **ORDER)
    entries = record.read(client)
    shown = ("what", "who", "role", "address", "about", "why", "result")
    assert [[entry[name] for name in shown] for entry in entries] == [
        ["restart", "token", "operator", "127.0.0.1", "canary on alpha", "",
         "404: no bot 'canary' is declared."],
        ["scale", "token", "operator", "127.0.0.1", "canary on alpha to 2", "busy evening",
         "ok: canary starting"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownBot("no bot."), 404),
        (BadArgument("it scales by itself."), 400),
        (SupervisorUnavailable("nobody answers."), 503),
        (NotTaken("no worker took it."), 504),
        (OutriderError("it broke."), 502),
        (ConnectionError("gone"), 503),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_goes_wrong_has_its_own_status(
    operator: Visitor, supervisor: Supervisor, error: Exception, status: int
) -> None:
    supervisor.refuses = error
    answer = act(operator, "restart", **ORDER)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("what", "given", "status", "words"),
    [
        ("ack", {"alert": "alpha|other|x"}, 404, "does not fire"),
        ("ack", {}, 400, "alert: give a text"),
        ("ack", {"alert": 5}, 400, "alert: give a text"),
        ("ack", {"alert": ALERT, "lasts_s": 0}, 400, "from 1 to"),
        ("ack", {"alert": ALERT, "lasts_s": True}, 400, "from 1 to"),
        ("ack", {"alert": ALERT, "lasts_s": 10**400}, 400, "from 1 to"),
        ("ack", {"alert": ALERT, "for": 5}, 400, "'for' is nothing that ack takes"),
        ("ack", {"alert": ALERT, "why": "x" * 501}, 400, "why: give at most 500"),
        ("ack", {"alert": ALERT, "why": "\x1b[2J"}, 400, "why: give at most 500"),
        ("silence", {"matchers": {"host": "a"}}, 400, "lasts_s"),
        ("silence", {"matchers": {}, "lasts_s": 60}, 400, "matchers: give an object"),
        ("silence", {"matchers": {"host": "*"}, "lasts_s": 60}, 400, "not every alert"),
        ("silence", {"matchers": {"host": 1}, "lasts_s": 60}, 400, "a label and a pattern"),
        ("restart", {"bot": "canary"}, 400, "host: give a text"),
        ("restart", {"bot": "../x", "host": "alpha"}, 400, "no bot's name"),
        ("restart", {"bot": "canary", "host": "beta"}, 404, "no such host"),
        ("scale", {**ORDER, "replicas": 1.5}, 400, "whole number"),
        ("scale", {**ORDER, "replicas": 1001}, 400, "whole number"),
        ("scale", {**ORDER, "replicas": True}, 400, "whole number"),
        ("erase", {}, 404, "is no action"),
    ],
)
def test_what_is_wrong_is_named(
    operator: Visitor, what: str, given: dict[str, Any], status: int, words: str
) -> None:
    code, said = refusal(act(operator, what, **given))
    assert (code, words in said) == (status, True), said


def test_what_is_no_json_object_is_refused(operator: Visitor) -> None:
    path, json_type = "/api/actions/ack", {"Content-Type": "application/json"}
    for body in (b"", b"{", b"[1]", b"[" * 60_000, b'{"alert": "\xff"}', b'{"a": NaN}'):
        answer = operator.post(path, content=body, headers=json_type)
        assert answer.status_code == 400, body[:20]
    form = operator.post(path, data={"alert": ALERT})
    assert form.status_code == 415


def test_what_is_wrong_reaches_no_supervisor(operator: Visitor, supervisor: Supervisor) -> None:
    for wrong in ({"host": "beta"}, {"bot": "a b"}, {"replicas": -1}, {"more": 1}, {"why": 3}):
        assert act(operator, "scale", **{**ORDER, "replicas": 1, **wrong}).status_code in (400, 404)
    assert supervisor.heard == []


def test_an_action_is_posted(operator: Visitor) -> None:
    assert operator.get("/api/actions/ack").status_code == 405


def test_without_a_supervisor_to_ask_it_says_so(fleet: Fleet, client: redis.Redis) -> None:
    source = Source(fleet.tiers, client, address="", clock=fleet)
    asked = actions.Asked(source, None, "ann", ORDER)
    with pytest.raises(actions.NotThere, match="outrider dashboard"):
        actions.do("restart", asked)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["alert", "why", "lasts_s", "bot", "host", "replicas", "matchers"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(what=st.sampled_from(sorted(actions.ACTIONS)), body=_JSON)
def test_whatever_is_sent_is_answered(operator: Visitor, what: str, body: Any) -> None:
    answer = operator.post(
        f"/api/actions/{what}",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in (200, 400, 404)
    assert set(answer.json()) in ({"ok", "result"}, {"error"})
