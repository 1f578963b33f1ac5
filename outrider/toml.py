"""Reads a TOML file, and tells at which line a key stands, for messages that name it."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from outrider.errors import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_KEY = r"""(?:"[^"]*"|'[^']*'|[\w-]+)"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"


def read(path: Path) -> tuple[dict[str, Any], str]:
    """Return the file's tables and its text.

    Raises:
        SettingsError: it can't be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except OSError as error:
        problem = Problem(
            str(path), "file", None, f"can't be read: {error.strerror}.", "Check the path."
        )
    except UnicodeDecodeError:
        problem = Problem(str(path), "file", None, "is not UTF-8 text.", "Save it as UTF-8.")
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        remedy = "Mend the TOML there."
        if re.search(r"Cannot (?:declare|overwrite)", str(error)):
            remedy = "It is declared twice; rename or remove one of the two."
        problem = Problem(
            str(path), "syntax", None, f"{error}.", remedy, int(found[1]) if found else None
        )
    raise SettingsError([problem])


def line_of(text: str, key: tuple[str | int, ...]) -> int | None:
    """Return the line, counted from 1, at which a key of a TOML text stands, as far as known.

    tomllib keeps no positions, so this reads table headers and ``name =`` lines only; a key inside
    an inline table gets the line of the table.
    """
    best: tuple[int, int] | None = None
    arrays: dict[tuple[str, ...], int] = {}
    table: tuple[str | int, ...] = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if header := re.match(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]\]?\s*(?:#|$)", line):
            names = _parts(header[2])
            if header[1] == "[[":
                arrays[names] = arrays.get(names, -1) + 1
            table = here = tuple(_placed(names, arrays))
        elif name := re.match(rf"\s*({_DOTTED})\s*=", line):
            here = (*table, *_parts(name[1]))
        else:
            continue
        if here == key[: len(here)] and (best is None or len(here) > best[0]):
            best = (len(here), number)
    return best[1] if best else None


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, dotted))


def _placed(names: tuple[str, ...], arrays: Mapping[tuple[str, ...], int]) -> Iterator[str | int]:
    """Yield the names of a header, after each array of tables the place of its newest table."""
    for depth, name in enumerate(names, start=1):
        yield name
        if names[:depth] in arrays:
            yield arrays[names[:depth]]
