"""Follows parcels, in plain asyncio and httpx: long polling and a state machine for each person.

::

    idle ──/track──► asked_number ──a valid number──► asked_label ──a text──► idle (parcel saved)
      ▲                 │    ▲ └── anything else: asked again         │
      └─────/cancel─────┴────┴────────────────────────────────────────┘
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import re
import signal
import time
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import sqlalchemy as sa

import outrider
from mybots import loaders, population, retry, tables, whereabouts

NUMBER = re.compile(r"([A-Z]{2})(\d{8})(\d)([A-Z]{2})")
POLL_S = 20
MOST_PARCELS = 6  # of one person; the oldest go
MOST_TRIES = 4
log = logging.getLogger("courier")

State = Literal["idle", "asked_number", "asked_label"]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Where a person stands; ``number`` is the parcel being added."""

    state: State = "idle"
    number: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """What follows from a message: a new state, and a reply, a parcel to save or a list to show."""

    dialogue: Dialogue
    reply: str = ""
    save_label: str = ""
    show_parcels: bool = False


def is_parcel_number(text: str) -> bool:
    """Tell whether a text is a parcel number with the right check digit (UPU S10).

    >>> is_parcel_number("RR473124829DE"), is_parcel_number("RR473124828DE")
    (True, False)
    """
    found = NUMBER.fullmatch(text)
    return found is not None and population.check_digit(found[2]) == int(found[3])


def turn(dialogue: Dialogue, text: str) -> Turn:  # noqa: PLR0911 - one return for each arrow above
    """Return what a message leads to.

    >>> turn(Dialogue("asked_number"), "rr473124829de").dialogue
    Dialogue(state='asked_label', number='RR473124829DE')
    """
    match dialogue.state, text.strip():
        case _, "/track":
            return Turn(Dialogue("asked_number"), "Which number does your parcel have?")
        case _, "/parcels":
            return Turn(dialogue, show_parcels=True)
        case _, "/cancel":
            return Turn(Dialogue(), "Never mind.")
        case "asked_number", number if is_parcel_number(number.upper()):
            return Turn(Dialogue("asked_label", number.upper()), "What is inside?")
        case "asked_number", _:
            return Turn(dialogue, "That is no parcel number. Which number is it?")
        case "asked_label", label if label and not label.startswith("/"):
            return Turn(Dialogue(), f"I'll follow {dialogue.number}.", save_label=label[:64])
        case _:
            return Turn(dialogue, "I follow parcels: /track adds one, /parcels lists yours.")


class BotApi:
    """The few methods of the Bot API that this bot calls."""

    def __init__(self, client: httpx.AsyncClient, token: str, me: outrider.Bot) -> None:
        self._client = client
        self._token = token
        self._me = me

    async def call(self, method: str, **arguments: Any) -> Any:
        """Return a method's result; waits and tries again when told to.

        Raises:
            httpx.HTTPError: no answer, or a refusal.
        """
        for _ in range(MOST_TRIES):
            url = f"{whereabouts.botapi_url()}/bot{self._token}/{method}"
            answer = await self._client.post(url, json=arguments)
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            self._me.count("told_to_wait")
            await asyncio.sleep(answer.json()["parameters"]["retry_after"])
        answer.raise_for_status()
        return answer.json()["result"]


def dialogue_of(user_id: int) -> Dialogue:
    """Return where a person stands. Blocks."""
    query = sa.select(tables.dialogues).where(tables.dialogues.c.user_id == user_id)
    with tables.engine().connect() as connection:
        row = connection.execute(query).one_or_none()
    return Dialogue(row.state, row.number) if row else Dialogue()


def keep(user_id: int, before: Dialogue, after: Turn) -> None:
    """Store where a person stands now, and the parcel they added. Blocks."""
    stands = dataclasses.asdict(after.dialogue)
    with tables.engine().begin() as connection:
        connection.execute(tables.upsert(tables.dialogues, {"user_id": user_id, **stands}, stands))
        if after.save_label:
            parcel = {"label": after.save_label, "added_at_s": time.time()}
            key = {"user_id": user_id, "number": before.number}
            connection.execute(tables.upsert(tables.parcels, key | parcel, parcel))
            table = tables.parcels
            mine = sa.select(table.c.added_at_s).where(table.c.user_id == user_id)
            oldest = mine.order_by(table.c.added_at_s.desc()).limit(1).offset(MOST_PARCELS)
            connection.execute(
                sa.delete(table).where(
                    table.c.user_id == user_id, table.c.added_at_s <= oldest.scalar_subquery()
                )
            )


def parcels_of(user_id: int) -> list[tuple[str, str]]:
    """Return number and label of a person's parcels. Blocks."""
    table = tables.parcels
    query = sa.select(table.c.number, table.c.label).where(table.c.user_id == user_id)
    with tables.engine().connect() as connection:
        return [(number, label) for number, label in connection.execute(query)]


def stage_of(number: str) -> str:
    """Return where a parcel is, or that nobody knows. Blocks."""
    try:
        return loaders.parcel_stage(number)
    except OSError as error:
        log.warning("the carrier does not answer for %s (%s)", number, error)
        return "the carrier does not answer"


async def whereabouts_of(user_id: int) -> str:
    """Return a list of a person's parcels and where each is."""
    mine = await asyncio.to_thread(parcels_of, user_id)
    stages = await asyncio.gather(
        *(asyncio.to_thread(stage_of, number) for number, _ in mine),
    )
    lines = [
        f"{label} ({number}): {stage}" for (number, label), stage in zip(mine, stages, strict=True)
    ]
    return "\n".join(lines) or "You follow no parcels: /track"


async def handle(api: BotApi, message: dict[str, Any]) -> None:
    """Answer one message."""
    user_id = int(message["from"]["id"])
    before = await asyncio.to_thread(dialogue_of, user_id)
    after = turn(before, message.get("text", ""))
    if after.dialogue != before:
        await asyncio.to_thread(keep, user_id, before, after)
    reply = await whereabouts_of(user_id) if after.show_parcels else after.reply
    await api.call("sendMessage", chat_id=message["chat"]["id"], text=reply)


async def handle_in_turn(api: BotApi, me: outrider.Bot, updates: list[dict[str, Any]]) -> None:
    """Answer one person's messages, one after the other; a failed one must not stop the rest."""
    for update in updates:
        me.count("updates")
        try:
            with me.timed("handle_update"):
                await handle(api, update["message"])
        except (httpx.HTTPError, sa.exc.SQLAlchemyError) as error:
            log.warning("update %s failed: %r", update["update_id"], error)


async def poll(api: BotApi, me: outrider.Bot) -> None:
    """Fetch and answer updates for ever; backs off while the Bot API is away."""
    offset = 0
    pauses = retry.pauses()
    while True:
        try:
            updates = await api.call(
                "getUpdates", offset=offset, timeout=POLL_S, allowed_updates=["message"]
            )
        except httpx.HTTPError as error:
            me.count("errors")
            log.warning("the Bot API does not answer (%r); trying again", error)
            await asyncio.sleep(next(pauses))
            continue
        pauses = retry.pauses()
        by_person: dict[int, list[dict[str, Any]]] = {}
        for update in updates:
            by_person.setdefault(update["message"]["from"]["id"], []).append(update)
            offset = update["update_id"] + 1
        await asyncio.gather(*(handle_in_turn(api, me, theirs) for theirs in by_person.values()))


async def main() -> None:
    """Follow parcels until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every poll, with the token
    me = outrider.Bot("courier")
    await asyncio.to_thread(tables.engine)
    async with me.instrument(httpx.AsyncClient(timeout=POLL_S + 10)) as client:
        api = BotApi(client, whereabouts.token_of("courier"), me)
        polling = asyncio.create_task(poll(api, me))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, polling.cancel)
        me.ready()
        with contextlib.suppress(asyncio.CancelledError):
            await polling


if __name__ == "__main__":
    asyncio.run(main())
