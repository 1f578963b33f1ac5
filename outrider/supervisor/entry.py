"""Runs a bot's ``module:function`` in a process of its own.

The working folder is importable, as it is for ``python bot.py``. SIGTERM ends an async entry by
cancelling it, and a plain one by SystemExit, so that ``finally`` blocks run.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import ModuleType


def run(entry: str) -> None:
    """Import and call an entry. Returns when it returns.

    Raises:
        SystemExit: the entry can't be imported; the text says what is missing.
    """
    module_name, _, function_name = entry.partition(":")
    folder = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if sys.path[0] != folder:
        sys.path.insert(0, folder)
    function: Any = getattr(_imported(module_name), function_name, None)
    if not callable(function):
        raise SystemExit(f"{entry}: module {module_name} has no function {function_name}.")
    if "OUTRIDER_STARTUP_TRACE" in os.environ:
        from outrider.supervisor import trace

        trace.begin()
    signal.signal(signal.SIGTERM, _leave)
    result = function()
    if inspect.iscoroutine(result):
        asyncio.run(_until_terminated(result))


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and what it imports is not
        raise SystemExit(f"module {error.name} can't be found in {os.getcwd()}.") from None  # noqa: PTH109


async def _until_terminated(main: Coroutine[Any, Any, Any]) -> None:
    task = asyncio.ensure_future(main)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


def _leave(_signal: int, _frame: Any) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    run(sys.argv[1])
