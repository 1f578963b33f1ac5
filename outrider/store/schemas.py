"""The names of series, by their schema's id: asked for once a process, not once a read."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from outrider.errors import StoreError
from outrider.store import keys, rows
from outrider.store.scripts import encoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import redis

_HOSTS_KEPT = 4096
_SCHEMAS_KEPT = 64  # a host
_PLACES_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Hints:
    """What ``read.lua`` wants to know of each known schema: id, place of the series, length.

    ``command`` is that as it is sent, ``arguments`` how many these are. ``places`` are by id, and
    -1 where a schema lacks the series.
    """

    command: bytes
    arguments: int
    places: dict[bytes, int]


class Schemas:
    """What is known of the schemas of one tier. Safe for threads: nothing shared is changed."""

    def __init__(self, client: redis.Redis, *, tier: str) -> None:
        self._redis, self._tier = client, tier
        self._known: dict[str, dict[bytes, tuple[str, ...]]] = {}
        self._hints: dict[tuple[str, str], Hints] = {}

    def known(self, host: str) -> dict[bytes, tuple[str, ...]]:
        """Return the names that are known without asking, by id. Not to be changed."""
        return self._known.get(host, {})

    def learn(self, host: str, found: Mapping[bytes, tuple[str, ...]]) -> None:
        """Remember names."""
        if found:
            known = self.known(host)
            kept = {**known, **found} if len(known) < _SCHEMAS_KEPT else dict(found)
            if len(self._known) >= _HOSTS_KEPT:
                self._known = {}
            self._known = {**self._known, host: kept}
            self._hints = {}

    def of(self, host: str, ids: Iterable[bytes]) -> dict[bytes, tuple[str, ...]]:
        """Return names by id, those unknown so far from the server. Damaged ones are left out."""
        known = self.known(host)
        found = {schema_id: known[schema_id] for schema_id in ids if schema_id in known}
        missing = [schema_id for schema_id in ids if schema_id not in known]
        if missing:
            key = keys.schemas(host, self._tier)
            texts = cast("list[bytes | None]", self._redis.hmget(key, missing))
            learned = readable(zip(missing, texts, strict=True))
            self.learn(host, learned)
            found |= learned
        return found

    def hints(self, host: str, series: str) -> Hints:
        """Return what is known without asking of where a series is."""
        kept = self._hints.get((host, series))
        if kept is None:
            kept = hints_of(self.known(host), series)
            if len(self._hints) >= _PLACES_KEPT:
                self._hints = {}
            self._hints[host, series] = kept
        return kept


def readable(found: Iterable[tuple[bytes, bytes | None]]) -> dict[bytes, tuple[str, ...]]:
    """Return the names of schemas as the server has them; damaged ones are left out."""
    names = {}
    for schema_id, kept in found:
        if kept is not None:
            with contextlib.suppress(StoreError):
                names[schema_id] = rows.names_of(kept)
    return names


def hints_of(schemas: Mapping[bytes, tuple[str, ...]], series: str | None) -> Hints:
    """Return where a series is in schemas."""
    found: list[bytes | int] = [len(schemas)]
    places = {}
    for schema_id, names in schemas.items():
        place = names.index(series) if series is not None and series in names else -1
        places[schema_id] = place
        found += (schema_id, place, len(names))
    return Hints(encoded(*found), len(found), places)
