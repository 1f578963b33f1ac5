"""Fills a restarted bot's cache before the bot says that it is ready.

What was used most is remembered in Redis. Each of those calls is simply made, through the cached
function: what Redis still has comes into memory, what it lost is loaded. A few at a time, the
hottest first, until a time limit: a bot that is ready late is worse than one that is ready cold.
With Redis away there is nothing to remember from, and the bot starts cold at once.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from outrider.cache import loaders, usage
from outrider.errors import OutriderError
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Progress = Callable[[int, int], object]

TOP = 100
WITHIN_S = 10.0
AT_ONCE = 4
_ASK_TIMEOUT_S = 1.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Filled:
    """What was filled of what there was: calls made, failed, and not begun in time."""

    done: int = 0
    failed: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    function: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]


def hottest(
    client: redis.Redis, namespace: str, count: int, *, bot: str | None = None
) -> list[str]:
    """Return the keys of a namespace that can be loaded again, those used most first.

    With ``bot``, only those that this bot, or an instance of it, used last.
    """
    uses = {
        key: use
        for key, use in usage.read(client, namespace).items()
        if use.is_repeatable and (bot is None or _is_instance(use.bot, bot))
    }
    return sorted(uses, key=lambda key: -uses[key].uses)[:count]


def _is_instance(instance: str, bot: str) -> bool:
    name, _, number = instance.rpartition("-")
    return instance == bot or (name == bot and number.isdigit())


def warm_up(
    *namespaces: str,
    top: int = TOP,
    within_s: float = WITHIN_S,
    progress: Progress | None = None,
) -> Filled:
    """Fill this process's caches from their hottest keys. Blocks for ``within_s`` at most.

    Call it before ``bot.ready()``. Nothing is raised: what can't be filled is counted and logged.

    Args:
        namespaces: which caches; all that are defined so far, when none is named.
        top: how many keys of each.
        within_s: what has not begun by then is left, what hangs is not waited for.
        progress: called with how many keys are done, and how many there are.
    """
    ends_s = time.monotonic() + within_s
    known = _known(namespaces, top)
    filled = Filled()

    def one(call: _Known) -> None:
        if time.monotonic() < ends_s:
            found = call.function(*call.args, **call.kwargs)
            if inspect.isawaitable(found):
                asyncio.run(_awaited(found))

    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="outrider-fill")
    jobs = [pool.submit(one, call) for call in known]
    unfinished = set(jobs)
    while unfinished and (left_s := ends_s - time.monotonic()) > 0:
        ended, unfinished = wait(unfinished, timeout=min(left_s, 0.1))
        for job in ended:
            _count(filled, job.exception())
        if progress is not None:
            progress(len(jobs) - len(unfinished), len(jobs))
    pool.shutdown(wait=False, cancel_futures=True)
    filled.left = len(unfinished)
    return filled


async def warm_up_async(
    *namespaces: str,
    top: int = TOP,
    within_s: float = WITHIN_S,
    progress: Progress | None = None,
) -> Filled:
    """Do as :func:`warm_up` does, in the bot's own event loop, where its sessions live."""
    loop = asyncio.get_running_loop()
    ends_s = time.monotonic() + within_s
    known = await loop.run_in_executor(None, _known, namespaces, top)
    filled = Filled()
    places = asyncio.Semaphore(AT_ONCE)

    async def one(call: _Known) -> None:
        async with places:
            error: BaseException | None = None
            try:
                if inspect.iscoroutinefunction(call.function):
                    await call.function(*call.args, **call.kwargs)
                else:
                    await asyncio.to_thread(call.function, *call.args, **call.kwargs)
            except Exception as raised:  # noqa: BLE001 - a loader is the user's code
                error = raised
            _count(filled, error)
            if progress is not None:
                progress(filled.done + filled.failed, len(known))

    tasks = [asyncio.ensure_future(one(call)) for call in known]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=max(0.0, ends_s - time.monotonic()))
        for task in late:
            task.cancel()
        filled.left = len(late)
    return filled


async def _awaited(found: Any) -> None:
    await found


def _count(filled: Filled, error: BaseException | None) -> None:
    if error is None:
        filled.done += 1
        return
    filled.failed += 1
    if filled.failed == 1:
        logger.warning("cache: a key could not be filled: %s", error)


def _known(namespaces: Sequence[str], top: int) -> list[_Known]:
    """Return the calls to make, the hottest first; none when Redis does not answer."""
    url = os.environ.get("OUTRIDER_REDIS_URL")
    functions = loaders.cached()
    wanted = namespaces or tuple(sorted(functions))
    found: list[tuple[int, _Known]] = []
    if not url:
        return []
    try:
        with connection.connect(url, timeout_s=_ASK_TIMEOUT_S) as client:
            for namespace in wanted:
                function = functions.get(namespace)
                if function is None:
                    logger.warning("cache: no cached function has the namespace %r", namespace)
                    continue
                uses = usage.read(client, namespace)
                for key in hottest(client, namespace, top):
                    use = uses[key]
                    found.append((use.uses, _Known(function, use.args or [], use.kwargs)))
    except (redis.RedisError, OutriderError, OSError, ValueError) as error:
        logger.warning("cache: starts cold, what was used is not known: %s", error)
        return []
    return [call for _, call in sorted(found, key=lambda one: -one[0])]
