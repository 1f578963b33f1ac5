"""Cuts a stream of bytes into frames, with a bound on what it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.channel.envelopes import LENGTH_BYTES, MOST_FRAME_BYTES, BadFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Splitter:
    """Takes pieces as they come; keeps at most one frame that is not whole yet."""

    def __init__(self, most_bytes: int = MOST_FRAME_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept = bytearray()
        self._needed = LENGTH_BYTES

    def feed(self, piece: bytes) -> Iterable[memoryview]:
        """Return the payload of each frame that is whole now; each is a view of its own bytes.

        Raises:
            BadFrame: a frame is announced that is empty or too long.
        """
        length = len(piece) - LENGTH_BYTES
        if (
            not self._kept
            and 0 < length <= self._most_bytes
            and length == int.from_bytes(piece[:LENGTH_BYTES], "big")
        ):
            return (memoryview(piece)[LENGTH_BYTES:],)  # one frame, as it is at light load
        return self._split(piece)

    def _split(self, piece: bytes) -> Iterator[memoryview]:
        if self._kept:
            self._kept += piece
            if len(self._kept) < self._needed:
                return
            piece = bytes(self._kept)
            self._kept.clear()
        view, at, end = memoryview(piece), 0, len(piece)
        self._needed = LENGTH_BYTES
        while end - at >= LENGTH_BYTES:
            length = int.from_bytes(view[at : at + LENGTH_BYTES], "big")
            if not 0 < length <= self._most_bytes:
                raise BadFrame(
                    f"a frame of {length:,} bytes; the most is {self._most_bytes:,}, the least 1."
                )
            if end - at < LENGTH_BYTES + length:
                self._needed = LENGTH_BYTES + length
                break
            at += LENGTH_BYTES
            yield view[at : at + length]
            at += length
        if at < end:
            self._kept += view[at:]

    @property
    def kept_bytes(self) -> int:
        """How much of a frame that is not whole yet lies here."""
        return len(self._kept)
