"""Rows on their way into Redis: what is the same for many rows is worked out once.

The names of a row are hashed when they change, not at each append; a range's keys are encoded once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.store import keys, rows, spans
from outrider.store.scripts import Script, encoded

if TYPE_CHECKING:
    import redis

    from outrider.samples import Values

KEPT, HAS_ONE, NAMES_WANTED, FORGOTTEN = 1, 0, -1, -2
_ARGUMENTS = 9
_FORMS_KEPT = 256
_TARGETS_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Form:
    """What rows with the same series share."""

    schema_id: bytes
    names: bytes
    numbers: struct.Struct
    encoded_id: bytes


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a host's rows of one range go: the command's beginning and end."""

    opening: bytes
    closing: bytes


class Appender:
    """Sends rows of one tier. Safe for threads: what they share is replaced or set in one step."""

    def __init__(
        self, client: redis.Redis, *, tier: str, interval_s: float, retention_s: float
    ) -> None:
        self._script = Script(client, "append")
        self._tier, self._interval_s = tier, interval_s
        self._spans = spans.spans(interval_s)
        self._keep_s = keep_s(retention_s, interval_s)
        self._forms: dict[tuple[str, ...], Form] = {}
        self._targets: dict[tuple[str, int, bool], _Target] = {}
        self._sent: set[tuple[str, bytes]] = set()

    def append(self, host: str, tick: int, values: Values, *, replace: bool) -> int:
        """Send a row in one round trip. Return what became of it.

        Raises:
            BadArgument: a value is no number.
        """
        form = self._forms.get(names := tuple(values)) or self._form(names)
        try:
            row = form.schema_id + form.numbers.pack(*values.values())
        except (struct.error, TypeError, OverflowError):
            row = rows.pack(form.schema_id, values)
        at = (host, tick // self._spans.range_ticks, replace)
        target = self._targets.get(at) or self._target(at, tick)
        known = (host, form.schema_id) in self._sent
        answer = self._send(target, tick, row, form, with_names=not known)
        if answer == NAMES_WANTED:  # the server has forgotten them since
            answer = self._send(target, tick, row, form, with_names=True)
        if not known and answer == KEPT:
            self._sent.add((host, form.schema_id))
        return answer

    def _send(self, target: _Target, tick: int, row: bytes, form: Form, *, with_names: bool) -> int:
        number = b"%d" % tick
        command = b"".join(
            (
                target.opening, b"$%d\r\n%b\r\n$%d\r\n" % (len(number), number, len(row)), row,
                form.encoded_id, encoded(form.names) if with_names else b"$0\r\n\r\n",
                target.closing,
            )
        )  # fmt: skip
        return int(self._script.send(command))

    def _form(self, names: tuple[str, ...]) -> Form:
        schema_id, text = rows.schema_of(names)
        form = Form(
            schema_id,
            rows.shrunk(text),
            struct.Struct(f"<{len(names)}d"),
            b"\r\n" + encoded(schema_id),
        )
        # Replaced, not changed: other threads may be using the old one.
        self._forms = {**self._forms, names: form} if len(self._forms) < _FORMS_KEPT else {}
        return form

    def _target(self, at: tuple[str, int, bool], tick: int) -> _Target:
        host, _, replace = at
        head = spans.piece(spans.HEAD, tick, self._interval_s)
        places = [
            keys.piece(host, head.name, self._tier),
            keys.piece(host, spans.piece(spans.RANGE, tick, self._interval_s).name, self._tier),
            keys.piece(host, spans.piece(spans.CHUNK, tick, self._interval_s).name, self._tier),
            keys.chunks(host, self._tier),
            keys.series_hosts(self._tier),
            keys.schemas(host, self._tier),
            keys.forgotten(host, self._tier),
        ]
        target = _Target(
            self._script.opening(places, _ARGUMENTS),
            encoded(head.name, repr(head.end_s), self._keep_s, host, "1" if replace else ""),
        )
        # A host's earlier ranges are of no more use; few late rows need theirs made again.
        if len(self._targets) >= _TARGETS_KEPT:
            self._targets = {}
        self._targets[at] = target
        return target


def keep_s(retention_s: float, interval_s: float) -> int:
    """Return how long a piece lives when nobody forgets it, from its first row."""
    return int(retention_s + spans.spans(interval_s).chunk_ticks * interval_s) + spans.MARGIN_S
