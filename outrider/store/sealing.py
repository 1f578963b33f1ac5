"""Raw rows become compressed pieces, and those of a chunk become one: nothing is lost between.

::

    head of a range   ── the range is over ──►  sealed range ─┐
    (raw rows)                                                ├─ the chunk is over ─►  sealed chunk
    late rows, beside a sealed piece  ── next time ───────────┘

Whatever is made is put in the place of what it was made of by one script, which does nothing when
a row came, or somebody else sealed, since it was read. So a process that ends at any point has
either changed nothing or all of it, and two that seal at once do each other no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from outrider.errors import StoreError
from outrider.samples import Window
from outrider.store import appending, chunks, keys, rows, spans
from outrider.store.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import redis

    from outrider.store.damage import Damage
    from outrider.store.schemas import Schemas
    from outrider.store.spans import Piece, Step

    BeforeCommit = Callable[[float, float], object]


class Sealer:
    """Seals and merges the pieces of one tier."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        tier: str,
        retention_s: float,
        schemas: Schemas,
        damage: Damage,
    ) -> None:
        self._redis, self._tier, self._retention_s = client, tier, retention_s
        self._schemas, self._damage = schemas, damage
        self._commit = Script(client, "seal")

    def seal(self, host: str, now_s: float, before_commit: BeforeCommit | None) -> int:
        """Do all that is to be done. Return how many pieces were made."""
        names = cast("list[bytes]", self._redis.zrange(keys.chunks(host, self._tier), 0, -1))
        pieces = [piece for name in names if (piece := spans.named(name.decode(errors="replace")))]
        return sum(
            self._done(host, step, now_s, before_commit) for step in spans.plan(pieces, now_s)
        )

    def _done(
        self, host: str, step: Step, now_s: float, before_commit: BeforeCommit | None
    ) -> bool:
        target = step.target
        # What is not in the list of pieces must not be there either: it is looked at as well.
        sources = [*step.sources, *([] if target in step.sources else [target])]
        seen, found, generation = self._fetched(host, sources)
        window = rows.merged(found)
        schema_id, names = rows.schema_of(window.names)
        sealed = chunks.encode(
            chunks.Rows(schema_id, window.times_s.astype(np.int64), window.values),
            step_s=target.step_s,
            first=target.first,
            span=target.ticks,
            generation=generation,
            small=target.kind == spans.CHUNK,
        )
        if before_commit is not None:
            before_commit(*step.covers_s)
        left_s = target.end_s + self._retention_s + spans.MARGIN_S - now_s
        places = [
            self._key(host, target),
            keys.chunks(host, self._tier),
            keys.schemas(host, self._tier),
            *(self._key(host, piece) for piece in sources),
        ]
        arguments = [
            sealed,
            target.name,
            repr(target.end_s),
            int(max(60, left_s)),
            schema_id,
            rows.shrunk(names),
            appending.keep_s(self._retention_s, target.step_s),
            *(
                part
                for piece, look in zip(sources, seen, strict=True)
                for part in (piece.name, look)
            ),
        ]
        return bool(self._commit(places, arguments))

    def _fetched(
        self, host: str, sources: Sequence[Piece]
    ) -> tuple[list[bytes], list[Window], int]:
        """Return what pieces look like, their rows by tick number, and the next generation."""
        with self._redis.pipeline(transaction=False) as pipe:
            for piece in sources:
                key = self._key(host, piece)
                pipe.hgetall(key) if piece.kind == spans.HEAD else pipe.get(key)
            answers = pipe.execute()
        seen: list[bytes] = []
        parts: list[tuple[Piece, Any]] = []
        generation = 0
        for piece, answer in zip(sources, answers, strict=True):
            if piece.kind == spans.HEAD:
                seen.append(b"%d:%d" % (len(answer), int(answer.get(b"#", 0))))
                parts.append((piece, _rows_of(answer)))
                continue
            seen.append((answer or b"")[: chunks.HEADER.size])
            if answer is not None:
                try:
                    part = chunks.decode(answer)
                except StoreError as error:
                    self._damage.note(piece.name, error)
                    continue
                self._damage.note(piece.name, "a column is damaged", part.damaged)
                generation = max(generation, chunks.header(answer).generation + 1)
                parts.append((piece, part))
        wanted = {part.schema_id for _, part in parts if isinstance(part, chunks.Rows)}
        wanted |= {row[:8] for _, part in parts if isinstance(part, dict) for row in part.values()}
        schemas = self._schemas.of(host, wanted)
        windows = []
        for piece, part in parts:
            if isinstance(part, dict):
                windows += windows_of(part, schemas, piece.name, self._damage)
            elif part.schema_id in schemas:
                names = schemas[part.schema_id]
                if len(names) == part.values.shape[1]:
                    windows.append(Window(names, part.ticks.astype(float), part.values))
                    continue
                self._damage.note(piece.name, "its schema has other series")
            else:
                self._damage.note(piece.name, "its schema is gone")
        return seen, windows, generation

    def _key(self, host: str, piece: Piece) -> str:
        return keys.piece(host, piece.name, self._tier)


def _rows_of(head: Mapping[bytes, bytes]) -> dict[int, bytes]:
    return {int(field): row for field, row in head.items() if not field.startswith(b"#")}


def windows_of(
    packed: Mapping[int, bytes],
    schemas: Mapping[bytes, tuple[str, ...]],
    piece: str,
    damage: Damage,
) -> list[Window]:
    """Return raw rows side by side, a window a schema, their ticks as its times."""
    by_schema: dict[bytes, list[int]] = {}
    for tick, row in sorted(packed.items()):
        names = schemas.get(row[: rows.ID_BYTES])
        if names is None or len(row) != rows.ID_BYTES + 8 * len(names):
            damage.note(piece, f"the row of tick {tick} is damaged, or its schema is gone")
        else:
            by_schema.setdefault(row[: rows.ID_BYTES], []).append(tick)
    found = []
    for schema_id, ticks in by_schema.items():
        table = np.frombuffer(b"".join([packed[tick][rows.ID_BYTES :] for tick in ticks]), "<f8")
        names = schemas[schema_id]
        found.append(Window(names, np.array(ticks, float), table.reshape(len(ticks), len(names))))
    return found
