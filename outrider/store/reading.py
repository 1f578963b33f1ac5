"""Questions to the server about a host's pieces, each answered by one script in one round trip.

What a reader has learned of a host, its schemas and the tables of its sealed pieces, is told with
the question, so that the server need not look it up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.errors import StoreError
from outrider.store import keys, parts, schemas, spans, tables
from outrider.store.scripts import Script, counted, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

    from outrider.store.damage import Damage

    Answers = list[tuple[spans.Piece, list[Any]]]
    Known = Mapping[bytes, tuple[str, ...]]

EVER = 1e300  # Redis takes no infinity everywhere
_KEYS, _ARGUMENTS = 2, 4
_OPENINGS_KEPT = 1024


class Reader:
    """Asks about the pieces of one tier. Safe for threads."""

    def __init__(
        self, client: redis.Redis, *, tier: str, known: schemas.Schemas, damage: Damage
    ) -> None:
        self._script = Script(client, "read")
        self._tier, self._schemas, self._damage = tier, known, damage
        self._tables = tables.Tables()
        self._openings: dict[tuple[str, str], bytes] = {}

    def pieces(self, what: str, host: str, start_s: float, end_s: float) -> tuple[Known, Answers]:
        """Return schemas and what ``read.lua`` says of each piece of a range."""
        known = self._schemas.known(host)
        hints = schemas.hints_of(known, None)
        damaged, unknown, _, *found = self._ask(what, host, (start_s, end_s), hints)
        known = {**known, **self._learned(host, unknown)}
        self._damage.note(host, "a row is damaged, or its schema is gone", damaged)
        return known, _named(found)

    def series(self, host: str, series: str, start_s: float, end_s: float) -> list[parts.Part]:
        """Return the pieces' values of a series. What is damaged is left out, and counted."""
        known = self._schemas.known(host)
        hints = self._schemas.hints(host, series)
        told = self._tables.between(host, start_s, end_s)
        while True:
            asked = {
                table.name: (table, place)
                for table in told
                if (place := hints.places.get(table.head.schema_id, -1)) >= 0
            }
            damaged, unknown, blobs, *found = self._ask(
                "series", host, (start_s, end_s), hints,
                [table.asking(place) for table, place in asked.values()],
            )  # fmt: skip
            learned = self._learned(host, unknown)
            if learned:
                known = {**known, **learned}
                hints = schemas.hints_of(known, series)
                continue
            values: list[parts.Part] = []
            try:
                for name, blob in zip(blobs[::2], blobs[1::2], strict=True):
                    values.append(parts.of_column(*asked.pop(name), blob))
            except StoreError:
                # Sealed again since, or damaged: which of them, the server's look tells.
                self._tables.forget(host, [table.name for table in told])
                told = []
                continue
            self._tables.forget(host, asked)
            self._damage.note(host, "a row is damaged, or its schema is gone", damaged)
            return values + self._looked_at(host, _named(found), known, series)

    def _looked_at(self, host: str, pieces: Answers, known: Known, series: str) -> list[parts.Part]:
        """Return the values of pieces whose tables were not known. Remembers the tables."""
        values, learned = [], []
        for piece, answer in pieces:
            try:
                values.append(parts.part(piece, answer, known, series))
                if piece.kind != spans.HEAD and (found := tables.table(piece, answer[1])):
                    learned.append(found)
            except StoreError as error:
                self._damage.note(piece.name, error)
        self._tables.learn(host, learned)
        return values

    def _ask(
        self,
        what: str,
        host: str,
        range_s: tuple[float, float],
        hints: schemas.Hints,
        told: list[bytes] | None = None,
    ) -> list[Any]:
        opening = self._openings.get((what, host)) or self._opening(what, host)
        start_s, end_s = max(range_s[0], -EVER), min(range_s[1], EVER)
        told = told or []
        arguments = _ARGUMENTS + hints.arguments + 3 * len(told)
        times = encoded(repr(float(start_s)), repr(float(end_s)))
        command = b"".join((counted(_KEYS, arguments), opening, times, hints.command, *told))
        answer: list[Any] = self._script.send(command)
        return answer

    def _opening(self, what: str, host: str) -> bytes:
        places = [keys.chunks(host, self._tier), keys.schemas(host, self._tier)]
        opening = self._script.named(places) + encoded(what, keys.piece(host, "", self._tier))
        if len(self._openings) >= _OPENINGS_KEPT:
            self._openings = {}
        self._openings[what, host] = opening
        return opening

    def _learned(self, host: str, unknown: list[bytes]) -> dict[bytes, tuple[str, ...]]:
        if not unknown:
            return {}
        learned = schemas.readable(zip(unknown[::2], unknown[1::2], strict=True))
        self._schemas.learn(host, learned)
        return learned


def _named(found: list[list[Any]]) -> Answers:
    pieces = [(spans.named(answer[0].decode()), answer) for answer in found]
    return [(piece, answer) for piece, answer in pieces if piece is not None]
