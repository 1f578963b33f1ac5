"""What a zygote imports for an entry, and the importing, with an eye on what it leaves behind.

Found without running the bot's code: the sources of the entry's module and of what it imports from
its own folder or package are parsed, and what those import from elsewhere, at their top level and
under no condition, is the answer.
"""

from __future__ import annotations

import ast
import os
import sys
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.machinery import ModuleSpec

# What every bot needs to say that it is ready.
ALWAYS = (
    "asyncio", "socket", "select", "outrider.supervisor.entry", "outrider.sdk.bot",
    "outrider.sdk.transports", "outrider.metrics.frame",
)  # fmt: skip
# A descriptor of these kinds works for one process only; two would disturb each other.
Stamp = tuple[int, int, int]
_UNSHARED = ("socket:", "pipe:", "anon_inode:")


class Unfit(Exception):  # noqa: N818
    """A module did at import what no fork survives."""

    def __init__(self, module: str, why: str) -> None:
        super().__init__(why)
        self.module = module
        self.why = why


@dataclass(slots=True)
class Wanted:
    """What an entry imports: modules from elsewhere with the names taken from them."""

    modules: dict[str, set[str]] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)


def wanted(module: str, folder: Path) -> Wanted:
    """Return what a module imports, through its own package and ``folder``, without running it."""
    found, seen, left = Wanted(), set[str](), [module, *_packages(module)]
    top = module.partition(".")[0]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        source = _own_source(name)
        if source is None:
            continue
        found.sources.add(str(source))
        package = name if source.name == "__init__.py" else name.rpartition(".")[0]
        for target, names in _imports(source, package):
            if is_own(target, top, folder):
                left += [target, *(f"{target}.{each}" for each in names)]
                left += _packages(target)
            elif target != "__future__":
                found.modules.setdefault(target, set()).update(names)
    return found


def load(
    modules: dict[str, set[str]], *, on_import: Callable[[str], None] = lambda _: None
) -> dict[str, str]:
    """Import modules. Return the traceback of each that failed.

    Raises:
        Unfit: one started a thread, or left a socket or pipe open. It can't be undone.
    """
    failed: dict[str, str] = {}
    before = unshared()
    for module, names in modules.items():
        on_import(module)
        try:
            __import__(module, fromlist=sorted(names))
        except (Exception, SystemExit):  # noqa: BLE001 - told to whose entry wants it
            failed[module] = traceback.format_exc()
        if running := threads():
            raise Unfit(module, f"importing {module} starts {running}")
        if opened := unshared() - before:
            raise Unfit(module, f"importing {module} leaves open {', '.join(sorted(opened))}")
    return failed


def threads() -> str:
    """Return the other threads of this process in words; nothing when it has only this one.

    The kernel is asked: a thread of a C library is as deadly to a fork, and unknown to Python.
    """
    tasks = [task.name for task in Path("/proc/self/task").iterdir()]
    if len(tasks) == 1:
        return ""
    named = {str(thread.native_id): thread.name for thread in threading.enumerate()}
    others = [task for task in tasks if task != str(os.getpid())]
    return "thread " + ", ".join(f"{named.get(task) or _comm(task)!s} ({task})" for task in others)


def unshared() -> set[str]:
    """Return what this process has open that two processes can't use."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:  # the listing's own
            continue
        if target.startswith(_UNSHARED):
            found.add(target)
    return found


def files() -> dict[str, Stamp]:
    """Return the source or library file of each imported module, with its stamp."""
    found = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and (stamp := stamped(path)):
            found[path] = stamp
    return found


def origins(modules: Iterable[str]) -> set[str]:
    """Return the files of modules that could not be imported, as far as they can be found."""
    specs = (_located(module) for module in modules)
    return {spec.origin for spec in specs if spec and spec.origin}


def stamped(path: str) -> Stamp | None:
    """Return what changes when a file does: time, size and inode. None: it is gone."""
    try:
        seen = os.stat(path)  # noqa: PTH116 - hundreds of them, at once
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino


def _comm(task: str) -> str:
    try:
        return Path(f"/proc/self/task/{task}/comm").read_text().strip()
    except OSError:
        return "unknown"


def _packages(module: str) -> list[str]:
    return [module.rsplit(".", up)[0] for up in range(1, module.count(".") + 1)]


def is_own(name: str, top: str, folder: Path) -> bool:
    """Tell whether a module is the bot's own code: of its entry's package, or from its folder."""
    first = name.partition(".")[0]
    if first == top:
        return True
    spec = _located(first)
    if spec is None:
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or ())]
    installed = Path(sys.prefix)  # an environment may lie in the bots' own folder
    return any(
        Path(place).is_relative_to(folder) and not Path(place).is_relative_to(installed)
        for place in places
    )


def _own_source(name: str) -> Path | None:
    spec = _located(name)
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


def _located(name: str) -> ModuleSpec | None:
    """Return where a module is; unlike ``importlib.util.find_spec``, import no package for it."""
    path, spec = None, None
    parts = name.split(".")
    for depth in range(len(parts)):
        full = ".".join(parts[: depth + 1])
        found = (finder.find_spec(full, path) for finder in sys.meta_path)
        spec = next((each for each in found if each), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and depth < len(parts) - 1:
            return None
    return spec


def _imports(source: Path, package: str) -> Iterator[tuple[str, list[str]]]:
    try:
        tree = ast.parse(source.read_bytes(), str(source))
    except (OSError, SyntaxError, ValueError):
        return  # the bot itself will say so, in its own log
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            if base:
                yield base, [alias.name for alias in node.names if alias.name != "*"]
