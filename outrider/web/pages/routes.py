"""Where each page and its data are: ``/alerts`` is the page, ``/api/alerts`` the same as JSON."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from outrider.web import records, shell
from outrider.web.pages.kept import Kept

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from outrider.web.source import Source

    Ask = Callable[[Mapping[str, str]], dict[str, Any]]
    Told = Callable[[Request, Ask], Awaitable[Response]]

# How old an answer may be: those that ask a database, or add up a month, cost more.
MAX_AGE_S = {
    "alerts": 1.0, "slo": 5.0, "database": 5.0, "cache": 2.0, "queues": 2.0, "changes": 2.0,
    "bot": 1.0, "host": 1.0,
}  # fmt: skip
# Data that is a part of another page.
PART_MAX_AGE_S = {"ribbons": 60.0}
# Named for what they are sent back as, so not changed, not even to be fit for people. What is
# longer than this can't be asked for.
_LONGEST_NAME = 1000
_AS_THEY_ARE = frozenset({"key", "host_key", "series"})


def of(source: Source, told: Told) -> list[Route]:
    """Return the routes of all pages; ``told`` answers with what was asked as JSON."""
    kept = Kept(source.problem)
    made = []
    for page in MAX_AGE_S:
        made += [
            Route(f"/{page}", _page(shell.page(page))),
            Route(f"/api/{page}", _data(page, source, told, kept, MAX_AGE_S)),
        ]
    made += [
        Route(f"/api/{part}", _data(part, source, told, kept, PART_MAX_AGE_S))
        for part in PART_MAX_AGE_S
    ]
    return made


def _page(text: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        del request
        return HTMLResponse(text)

    return page


def _data(
    page: str, source: Source, told: Told, kept: Kept, ages_s: Mapping[str, float]
) -> Callable[[Request], Awaitable[Response]]:
    def make(asked: dict[str, str]) -> dict[str, Any]:
        # Loaded when it is asked for: some bring SQLAlchemy, and not every dashboard needs it.
        module = importlib.import_module(f"outrider.web.pages.{page}")
        found = module.shown(source, asked)
        shown: dict[str, Any] = cleaned(
            {"now_s": source.clock.now(), "interval_s": source.store.interval_s} | found
        )
        return shown

    def ask(asked: Mapping[str, str]) -> dict[str, Any]:
        return kept.answer(page, asked, make, max_age_s=ages_s[page])

    async def data(request: Request) -> Response:
        return await told(request, ask)

    return data


def cleaned(value: Any, *, name: str = "") -> Any:
    """Return plain data fit to be shown: names and texts as ``records.clean`` has them.

    >>> cleaned({"who": chr(27) + "[2Jann", "at_s": float("nan")})
    {'who': ' [2Jann', 'at_s': None}
    """
    if isinstance(value, str):
        if name in _AS_THEY_ARE and value.isprintable() and len(value) <= _LONGEST_NAME:
            return value
        return records.clean(value)
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {
            records.clean(str(key)): cleaned(each, name=str(key)) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [cleaned(each, name=name) for each in value]
    return value
