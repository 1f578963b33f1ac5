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
from typing import Any, NoReturn


def run(entry: str) -> None:
    """Import and call an entry. Returns when it returns.

    Raises:
        SystemExit: the entry can't be imported; the text says what is missing.
    """
    module_name, _, function_name = entry.partition(":")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - sys.path holds strings
    function: Any = getattr(importlib.import_module(module_name), function_name, None)
    if not callable(function):
        raise SystemExit(f"{entry}: module {module_name} has no function {function_name}.")
    if inspect.iscoroutinefunction(function):
        asyncio.run(_until_terminated(function))
    else:
        signal.signal(signal.SIGTERM, _leave)
        function()


async def _until_terminated(function: Any) -> None:
    task = asyncio.ensure_future(function())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


def _leave(_signal: int, _frame: Any) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    run(sys.argv[1])
