"""Which environment variables were read while modules were imported.

A library that reads one at import has decided by it, for every fork. A bot whose value differs must
not be forked from there; one whose token differs, which nobody read, may.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = "*"


class _Recorder(dict[bytes, bytes]):
    def __init__(self, plain: dict[bytes, bytes], names: set[str]) -> None:
        super().__init__(plain)
        self._names = names

    def __getitem__(self, key: bytes) -> bytes:
        self._names.add(os.fsdecode(key))
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[bytes]:
        self._names.add(ALL)  # whoever walks through all may have used any
        return super().__iter__()


@contextlib.contextmanager
def recorded() -> Iterator[set[str]]:
    """Collect the names read in the block; ``*`` stands for all."""
    names: set[str] = set()
    environ: Any = os.environ
    plain = environ._data  # noqa: SLF001 - os.environ itself can't be replaced: modules hold it
    environ._data = _Recorder(plain, names)  # noqa: SLF001
    try:
        yield names
    finally:
        environ._data = dict(dict.items(environ._data))  # noqa: SLF001 - what was set stays set
