"""Tells when files change, by inotify: a start need not look at a thousand files.

Folders are watched, not files, since editors and package managers replace files; what happens to
other files in them is passed over. Without inotify
(its limits are used up, or it is another system) a watch is ``blind``, and whoever relies on it has
to look for himself.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_ATTRIB, _DELETE_SELF, _MOVE_SELF, _ONLYDIR = 0x4, 0x400, 0x800, 0x01000000
_WATCHED = (
    _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ATTRIB | _DELETE_SELF | _MOVE_SELF
    | _ONLYDIR
)  # fmt: skip
_READ_BYTES = 64 * 1024
_EVENT = struct.Struct("iIII")  # folder, what, cookie, length of the name


class Watch:
    """Calls ``on_change()`` in the running loop after something happened to one of the files."""

    def __init__(self, files: Iterable[str], on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._descriptor = -1
        self._names: dict[int, set[str]] = {}
        folders: dict[str, set[str]] = {}
        for path in files:
            folder, _, name = path.rpartition("/")
            folders.setdefault(folder or "/", set()).add(name)
        try:
            self._open(folders)
        except (OSError, AttributeError):  # no inotify, or its limits are used up
            self.close()
            return
        asyncio.get_running_loop().add_reader(self._descriptor, self.look)

    @property
    def blind(self) -> bool:
        """Whether nothing is noticed."""
        return self._descriptor < 0

    def look(self) -> None:
        """Notice now what has happened already."""
        if self._descriptor >= 0 and self._drain():
            self._on_change()

    def close(self) -> None:
        """Watch no more."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = -1

    def _open(self, folders: dict[str, set[str]]) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = library.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        for folder, names in folders.items():
            number = library.inotify_add_watch(self._descriptor, os.fsencode(folder), _WATCHED)
            if number < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", folder)
            self._names.setdefault(number, set()).update(names)  # one folder may have two paths

    def _drain(self) -> bool:
        """Take all events; tell whether one was of a watched file, or of a whole folder."""
        happened = False
        while True:
            try:
                events = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                return happened
            at = 0
            while at < len(events):
                folder, _, _, length = _EVENT.unpack_from(events, at)
                at += _EVENT.size + length
                name = os.fsdecode(events[at - length : at].rstrip(b"\0"))
                happened |= not name or name in self._names.get(folder, ())
