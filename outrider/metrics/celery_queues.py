"""Celery's queues as they lie in Redis: how long, who holds what of them, how long they wait.

A queue with priorities is several lists, one a priority step: ``q``, ``q<sep>3``, ... What workers
hold lies in the hash ``unacked``, and says by which exchange and routing key it came. Scripts read
on the server what is wanted of messages, so that their bodies do not travel.
"""

from __future__ import annotations

import datetime as dt
import re
import urllib.parse
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import msgspec

from outrider.metrics import celery_age
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import redis

    from outrider.settings import CeleryAppSettings

SEPARATOR = "\x06\x16"
STEPS = (0, 3, 6, 9)
MOST_QUEUES = 200
# Entries of the hash of unacknowledged messages that are looked at one by one.
MOST_UNACKED = 1000
# The header that our own tasks carry: when they were sent.
SENT_HEADER = "outrider_sent_s"
_NOT_QUEUES = re.compile(r"\.pidbox$|^celeryev\b")
_SENT = re.compile(rb'"outrider_sent_s": ?([0-9.]+)')
_ETA = re.compile(rb'"eta": ?"([^"\\]+)"')
_ID = re.compile(rb'"correlation_id": ?"([^"\\]+)"')
_BOUND = "_kombu.binding."
# A search for bindings walks through all keys: so many at a look, and anew when it is through.
_KEYS_A_LOOK = 10_000
_MOST_BINDINGS = 200


@dataclass(frozen=True, slots=True)
class Layout:
    """How an application names its keys: kombu's transport options."""

    prefix: str = ""
    separator: str = SEPARATOR
    steps: tuple[int, ...] = STEPS
    unacked: str = "unacked"

    def lists(self, queue: str) -> list[str]:
        """Return the lists of a queue, the first to be served first."""
        return [
            f"{self.prefix}{queue}{self.separator}{step}" if step else f"{self.prefix}{queue}"
            for step in self.steps
        ]


@dataclass(slots=True)
class Queue:
    """One queue at one look. ``unacked`` is None when nobody could tell."""

    length: int = 0
    unacked: int | None = 0
    oldest_age_s: float = 0.0


@dataclass(slots=True)
class Look:
    """What was seen at the broker."""

    queues: dict[str, Queue] = field(default_factory=dict)
    unacked: int = 0


def layout_of(app: CeleryAppSettings) -> Layout:
    """Return how an application of the settings names its keys."""
    return Layout(app.key_prefix, app.separator, app.priority_steps, app.unacked_key)


def client_url(broker: str) -> str:
    """Return a broker's URL as redis-py writes it; the database is a number.

    >>> client_url("redis+socket:///run/redis.sock?virtual_host=1")
    'unix:///run/redis.sock?db=1'
    >>> client_url("rediss://db:6380//2?ssl_cert_reqs=CERT_NONE")
    'rediss://db:6380/2?ssl_cert_reqs=none'
    """
    parts = urllib.parse.urlsplit(broker)
    options = dict(urllib.parse.parse_qsl(parts.query))
    if reqs := options.get("ssl_cert_reqs"):
        options["ssl_cert_reqs"] = reqs.removeprefix("CERT_").lower()
    if parts.scheme in ("redis+socket", "unix"):
        if "virtual_host" in options:
            options["db"] = options.pop("virtual_host").strip("/")
        query = f"?{urllib.parse.urlencode(options)}" if options else ""
        return f"unix://{parts.netloc}{parts.path}{query}"
    path = f"/{parts.path.strip('/') or '0'}"
    return parts._replace(path=path, query=urllib.parse.urlencode(options)).geturl()


class Broker:
    """Looks at one application's queues; what it remembers between looks lies in our Redis."""

    def __init__(self, broker: redis.Redis, ours: redis.Redis, app: str, layout: Layout) -> None:
        self._broker, self._ours, self._layout = broker, ours, layout
        self._heads = keys.celery(app, "heads")
        scripts = resources.files("outrider.metrics")
        self._first = broker.register_script(scripts.joinpath("celery_look.lua").read_text("utf-8"))
        self._held = broker.register_script(
            scripts.joinpath("celery_unacked.lua").read_text("utf-8")
        )

    def look(
        self,
        queues: Iterable[str],
        now_s: float,
        *,
        sent_s: Callable[[str], float | None] = lambda _: None,
    ) -> Look:
        """Look at queues. ``sent_s`` tells when a task was sent, by its id, if it is known.

        One round trip when they are empty, three when not.

        Raises:
            redis.RedisError: the broker does not answer, or refuses.
        """
        names = list(dict.fromkeys(queues))[:MOST_QUEUES]
        lists = [(name, key) for name in names for key in self._layout.lists(name)]
        unacked_key = self._layout.prefix + self._layout.unacked
        with self._broker.pipeline(transaction=False) as pipe:
            for _, key in lists:
                pipe.llen(key)
            pipe.hlen(unacked_key)
            *lengths, unacked = pipe.execute()
        seen = Look({name: Queue() for name in names}, int(unacked))
        waiting = [
            (*pair, int(length)) for pair, length in zip(lists, lengths, strict=True) if length
        ]
        for name, _, length in waiting:
            seen.queues[name].length += length
        if waiting or self._remembers():
            self._ages(seen, waiting, now_s, sent_s)
        if unacked:
            self._unacked(seen, unacked_key)
        return seen

    def _remembers(self) -> bool:
        return bool(self._ours.exists(self._heads))

    def _ages(
        self,
        seen: Look,
        waiting: list[tuple[str, str, int]],
        now_s: float,
        sent_s: Callable[[str], float | None],
    ) -> None:
        """Tell how long each list's first message waits, and remember the lines that wait."""
        before = cast("dict[bytes, bytes]", self._ours.hgetall(self._heads))
        kept: dict[str, bytes] = {}
        for name, key, length in waiting:
            answer: Any = self._first(keys=[key], args=[celery_age.NEAR, celery_age.FAR])
            first, near, far, last = answer
            line, age_s = celery_age.look(
                _line(before.get(key.encode())), _texts(near), _texts(far), *_texts([last]),
                length=length, now_s=now_s,
            )  # fmt: skip
            kept[key] = msgspec.json.encode(line)
            queue = seen.queues[name]
            queue.oldest_age_s = max(queue.oldest_age_s, waited_s(first, age_s, now_s, sent_s))
        with self._ours.pipeline(transaction=True) as pipe:
            pipe.delete(self._heads)
            if kept:
                pipe.hset(self._heads, mapping=cast("Any", kept))
                pipe.expire(self._heads, 86_400)
            pipe.execute()

    def _unacked(self, seen: Look, key: str) -> None:
        """Tell whose the messages are that workers hold; a queue's routing key is its name."""
        answer: Any = self._held(keys=[key], args=[MOST_UNACKED])
        read, *pairs = answer
        for name, count in zip(pairs[::2], pairs[1::2], strict=True):
            _, _, routing_key = name.decode("utf-8", "replace").partition("\x1f")
            queue = seen.queues.get(routing_key)
            if queue is not None and queue.unacked is not None:
                queue.unacked += int(count)
        if int(read) < seen.unacked:
            for queue in seen.queues.values():
                queue.unacked = None


class Bindings:
    """Finds an application's queues by what its exchanges are bound to, a part at each look."""

    def __init__(self, broker: redis.Redis, layout: Layout) -> None:
        self._broker, self._layout = broker, layout
        self._cursor = 0
        self._found: set[str] = set()

    def queues(self) -> list[str]:
        """Return the queues found so far, sorted.

        Walks through some thousand keys at a call, so that a large database is seen within a few
        minutes and none of it at once. A queue bound a while ago is asked for directly.

        Raises:
            redis.RedisError: the broker does not answer, or refuses.
        """
        prefix = self._layout.prefix + _BOUND
        for _ in range(_KEYS_A_LOOK // 1000):
            answer: Any = self._broker.scan(self._cursor, match=f"{_literal(prefix)}*", count=1000)
            self._cursor, found = answer
            if len(self._found) < _MOST_BINDINGS:
                self._found |= {key.decode("utf-8", "replace") for key in found}
            if self._cursor == 0:
                break
        exchanges = sorted(self._found)
        with self._broker.pipeline(transaction=False) as pipe:
            for key in exchanges:
                pipe.smembers(key)
            bound = pipe.execute(raise_on_error=False) if exchanges else []
        queues = set()
        for key, members in zip(exchanges, bound, strict=True):
            if isinstance(members, Exception) or not members:
                self._found.discard(key)
                continue
            for member in members:
                name = member.decode("utf-8", "replace").split(self._layout.separator)[-1]
                if name and not _NOT_QUEUES.search(name):
                    queues.add(name)
        return sorted(queues)[:MOST_QUEUES]


def waited_s(
    message: bytes, seen_s: float, now_s: float, sent_s: Callable[[str], float | None]
) -> float:
    """Return how long a message waits: since it was sent if that is known, else as long as seen.

    One with an ``eta`` does not wait before it is due. ``message`` is its end, where its headers
    lie.
    """
    age_s = seen_s
    if sent := _SENT.search(message):
        age_s = now_s - float(sent[1])
    elif (task := _ID.search(message)) and (at_s := sent_s(task[1].decode("ascii", "replace"))):
        age_s = now_s - at_s
    if eta := _ETA.search(message):
        try:
            due = dt.datetime.fromisoformat(eta[1].decode("ascii", "replace"))
        except ValueError:
            return max(0.0, age_s)
        if due.tzinfo is None:
            due = due.replace(tzinfo=dt.UTC)
        age_s = min(age_s, now_s - due.timestamp())
    return max(0.0, age_s)


def _line(text: bytes | None) -> celery_age.Line | None:
    try:
        return msgspec.json.decode(text, type=celery_age.Line) if text else None
    except msgspec.DecodeError:
        return None


def _texts(marks: list[bytes]) -> list[str]:
    return [mark.decode("ascii", "replace") for mark in marks]


def _literal(pattern: str) -> str:
    """Return a pattern of SCAN that matches a text itself."""
    return re.sub(r"([\[\]*?\\^-])", r"\\\1", pattern)
