"""What the Bot API keeps for one bot: its chats, the updates it has not fetched, its limits."""

from __future__ import annotations

import asyncio
import collections
import itertools
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mybots import population, whereabouts

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

MOST_PENDING = 500  # beyond it new updates are dropped and counted: a bot that is away costs little
MOST_REMEMBERED = 30  # messages kept for a chat, so that they can be edited
MOST_QUERIES = 500  # button presses that may still be answered
# As Telegram's: about one message a second to one chat, in short bursts more.
CHAT_PER_S = 1.0
CHAT_BURST = 4
LONGEST_POLL_S = 50
LONGEST_TEXT = 4096
LONGEST_DATA = 64


class ApiError(Exception):
    """A refusal, as the Bot API words it."""

    def __init__(self, code: int, description: str, *, retry_after: int | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.retry_after = retry_after


@dataclass(slots=True)
class Chat:
    """One private chat as its person sees it."""

    person: population.Person
    tokens: float = CHAT_BURST
    filled_at_s: float = 0.0
    messages: collections.OrderedDict[int, dict[str, Any]] = field(
        default_factory=collections.OrderedDict
    )

    def last(self) -> dict[str, Any]:
        """Return the bot's latest message, or an empty one."""
        return self.messages[next(reversed(self.messages))] if self.messages else {}


class Account:
    """One bot's side of the Bot API; used from one event loop."""

    def __init__(
        self, name: str, crowd: population.Crowd, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = name
        self.crowd = crowd
        self.me = {
            "id": whereabouts.ACCOUNTS[name],
            "is_bot": True,
            "first_name": name.capitalize(),
            "username": f"{name}_bot",
            "can_join_groups": False,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
        }
        self.dropped = 0
        self.refused = 0
        self._clock = clock
        self._chats = {
            person.id: Chat(person, filled_at_s=clock())
            for person in population.people(crowd, name)
        }
        # Numbers grow with the clock: after a restart they are above all that a bot has confirmed.
        first = int((clock() - 1_700_000_000) * 100)
        self._update_ids = itertools.count(first)
        self._message_ids = itertools.count(first)
        self._pending: collections.deque[dict[str, Any]] = collections.deque()
        self._queries: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._allowed: frozenset[str] = frozenset()
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def pending(self) -> int:
        """Return how many updates wait to be fetched."""
        return len(self._pending)

    def send(self, chat_id: int, text: str, markup: dict[str, Any] | None) -> dict[str, Any]:
        """Store a message of the bot and return it.

        Raises:
            ApiError: unknown chat, a bad text or keyboard, or too many messages to this chat.
        """
        chat = self._writable(chat_id, text, markup)
        message = self._message(chat, self.me, text)
        if markup and "inline_keyboard" in markup:
            message["reply_markup"] = markup
        chat.messages[message["message_id"]] = message
        while len(chat.messages) > MOST_REMEMBERED:
            chat.messages.popitem(last=False)
        return message

    def edit(
        self, chat_id: int, message_id: int, text: str, markup: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Change a message of the bot and return it.

        Raises:
            ApiError: as for :meth:`send`; also an unknown message, or one that stays as it is.
        """
        chat = self._writable(chat_id, text, markup)
        message = chat.messages.get(message_id)
        if message is None:
            raise ApiError(400, "Bad Request: message to edit not found")
        if (message["text"], message.get("reply_markup")) == (text, markup):
            raise ApiError(400, "Bad Request: message is not modified")
        changed = {**message, "text": text, "edit_date": int(self._clock())}
        changed.pop("reply_markup", None)
        if markup:
            changed["reply_markup"] = markup
        chat.messages[message_id] = changed
        return changed

    def answer(self, query_id: str) -> None:
        """End the progress bar of a pressed button.

        Raises:
            ApiError: the press is unknown, or was answered.
        """
        if query_id not in self._queries:
            raise ApiError(
                400,
                "Bad Request: query is too old and response timeout expired or query ID is invalid",
            )
        del self._queries[query_id]

    async def updates(
        self, offset: int, *, limit: int, timeout_s: float, allowed: list[str] | None
    ) -> list[dict[str, Any]]:
        """Forget updates before ``offset``, then return those that wait, or wait for some.

        Raises:
            ApiError: another call took over while this one was waiting.
        """
        if allowed is not None:
            self._allowed = frozenset(allowed)
        if offset < 0:
            while len(self._pending) > -offset:
                self._pending.popleft()
        while self._pending and self._pending[0]["update_id"] < offset:
            self._pending.popleft()
        if not self._pending and timeout_s > 0 and not self._closed:
            await self._wait(min(timeout_s, LONGEST_POLL_S))
        return list(itertools.islice(self._pending, max(1, min(limit, 100))))

    def arrive(self, draw: random.Random) -> None:
        """Let one person of the crowd write something, or press a button they really have."""
        chat = self._chats[population.visitor(self.crowd, self.name, draw).id]
        last = chat.last()
        buttons = tuple(
            button["callback_data"]
            for row in last.get("reply_markup", {}).get("inline_keyboard", ())
            for button in row
        )
        match population.act(self.name, last.get("text", ""), buttons, draw):
            case population.Says(text):
                self._says(chat, text)
            case population.Presses(data, times):
                for _ in range(times):
                    self._presses(chat, last, data)

    def forget_pending(self) -> None:
        """Drop every update that waits."""
        self._pending.clear()

    def close(self) -> None:
        """Send a waiting call home, empty."""
        self._closed = True
        self._wake()

    def _says(self, chat: Chat, text: str) -> None:
        message = self._message(chat, _user(chat.person), text)
        if text.startswith("/"):
            length = len(text.split(maxsplit=1)[0])
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": length}]
        self._offer("message", message)

    def _presses(self, chat: Chat, message: dict[str, Any], data: str) -> None:
        query_id = str(next(self._message_ids))
        self._queries[query_id] = None
        if len(self._queries) > MOST_QUERIES:
            self._queries.popitem(last=False)
        query = {
            "id": query_id,
            "from": _user(chat.person),
            "message": message,
            "chat_instance": str(chat.person.id),
            "data": data,
        }
        self._offer("callback_query", query)

    def _offer(self, kind: str, content: dict[str, Any]) -> None:
        if self._allowed and kind not in self._allowed:
            return
        if len(self._pending) >= MOST_PENDING:
            self.dropped += 1
            return
        self._pending.append({"update_id": next(self._update_ids), kind: content})
        self._wake()

    def _message(self, chat: Chat, sender: dict[str, Any], text: str) -> dict[str, Any]:
        person = chat.person
        return {
            "message_id": next(self._message_ids),
            "from": sender,
            "chat": {"id": person.id, "type": "private", "first_name": person.first_name},
            "date": int(self._clock()),
            "text": text,
        }

    def _writable(self, chat_id: int, text: str, markup: dict[str, Any] | None) -> Chat:
        chat = self._chats.get(chat_id)
        if chat is None:
            raise ApiError(400, "Bad Request: chat not found")
        if not text.strip():
            raise ApiError(400, "Bad Request: message text is empty")
        if len(text) > LONGEST_TEXT:
            raise ApiError(400, "Bad Request: message is too long")
        check_keyboard(markup)
        self._take(chat)
        return chat

    def _take(self, chat: Chat) -> None:
        """Take one token from the chat's bucket, or refuse until there is one."""
        now_s = self._clock()
        grown = max(0.0, now_s - chat.filled_at_s) * CHAT_PER_S
        chat.tokens, chat.filled_at_s = min(CHAT_BURST, chat.tokens + grown), now_s
        if chat.tokens < 1:
            self.refused += 1
            wait_s = math.ceil((1 - chat.tokens) / CHAT_PER_S)
            raise ApiError(429, f"Too Many Requests: retry after {wait_s}", retry_after=wait_s)
        chat.tokens -= 1

    async def _wait(self, timeout_s: float) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(
                ApiError(
                    409,
                    "Conflict: terminated by other getUpdates request;"
                    " make sure that only one bot instance is running",
                )
            )
        self._waiting = waiting = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await waiting
        except TimeoutError:
            pass  # nothing came: an empty answer is the right one

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)


def check_keyboard(markup: dict[str, Any] | None) -> None:
    """Refuse an inline keyboard that Telegram would refuse.

    Raises:
        ApiError: it is not rows of buttons with a text and short callback data.
    """
    rows = (markup or {}).get("inline_keyboard", [])
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ApiError(400, 'Bad Request: field "inline_keyboard" must be an Array of Arrays')
    for button in itertools.chain.from_iterable(rows):
        if not isinstance(button, dict) or not button.get("text"):
            raise ApiError(400, "Bad Request: can't parse inline keyboard button")
        data = button.get("callback_data")
        if not isinstance(data, str) or not 1 <= len(data.encode()) <= LONGEST_DATA:
            raise ApiError(400, "Bad Request: BUTTON_DATA_INVALID")


def _user(person: population.Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "is_bot": False,
        "first_name": person.first_name,
        "language_code": person.language_code,
    }
