"""Checks everything that can be checked before anything starts, and reports all of it together.

The table of settings checks names, types and ranges. This adds what takes the whole: alert rules
that must parse, entries that must exist (looked up without running the bot's code), programs that
must be there, limits that must fit the machine.
"""

from __future__ import annotations

import ast
import importlib.machinery
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from outrider import settings as settings_module
from outrider import toml, units
from outrider.alerts import calendar, rules
from outrider.errors import BadArgument, Problem, SettingsError
from outrider.schedules import beat
from outrider.slo import indicator as indicators
from outrider.slo import objective

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from outrider.settings import Settings


def load(path: Path | None = None) -> tuple[Settings, Path | None]:
    """Return the checked settings and the file they came from.

    Raises:
        SettingsError: with every mistake found.
    """
    path = path or settings_module.find_file()
    problems: list[Problem] = []
    settings = None
    try:
        settings = settings_module.load(path)
        beat.table(settings)
    except SettingsError as error:
        problems += error.problems
    if path and not any(problem.key in ("file", "syntax") for problem in problems):
        raw, text = toml.read(path)
        problems += _whole(raw, text, path)
    if problems or settings is None:
        raise SettingsError(problems)
    return settings, path


@dataclass(frozen=True, slots=True)
class _File:
    """A settings file as read, for naming the line of a mistake."""

    path: Path
    text: str

    def problem(
        self, key: tuple[str | int, ...], value: object, message: str, remedy: str
    ) -> Problem:
        dotted = ".".join(str(part) for part in key)
        line = toml.line_of(self.text, key)
        return Problem(str(self.path), dotted, value, message, remedy, line)


def _whole(raw: dict[str, Any], text: str, path: Path) -> Iterator[Problem]:
    """Yield mistakes of the parts that are well-formed enough to be looked at."""
    file = _File(path, text)
    yield from _alerts(raw.get("alert"), file)
    yield from _objectives(raw.get("slo"), file)
    declared = raw.get("bots")
    bots = declared if isinstance(declared, dict) else {}
    whole = {name: bot for name, bot in bots.items() if isinstance(bot, dict)}
    for name, bot in whole.items():
        yield from _bot(name, bot, file)
    limits, memory = sum(_memory(bot) for bot in whole.values()), psutil.virtual_memory().total
    if limits > memory:
        message = (
            f"the memory limits add up to {units.show_bytes(limits)}, this machine has "
            f"{units.show_bytes(memory)}."
        )
        yield file.problem(("bots",), None, message, "Lower limits.memory, instances or scale.max.")


def _alerts(alerts: Any, file: _File) -> Iterator[Problem]:
    for place, alert in enumerate(alerts if isinstance(alerts, list) else ()):
        if not isinstance(alert, dict):
            continue
        when, active = alert.get("when"), alert.get("active", ())
        if isinstance(when, str):
            yield from _read(file, place, "when", lambda: rules.parse("", when))  # noqa: B023
        if isinstance(active, list) and all(isinstance(each, str) for each in active):
            yield from _read(file, place, "active", lambda: calendar.parse(active))  # noqa: B023


def _read(file: _File, place: int, key: str, parse: Callable[[], object]) -> Iterator[Problem]:
    try:
        parse()
    except BadArgument as error:
        for line in str(error).splitlines():
            yield file.problem(("alert", place, key), None, line, "See docs/how-to/rules.md.")


def _objectives(declared: Any, file: _File) -> Iterator[Problem]:
    named: dict[str, str] = {}
    for place, each in enumerate(declared if isinstance(declared, list) else ()):
        if not isinstance(each, dict):
            continue
        name, indicator = str(each.get("name")), each.get("indicator")
        slug = objective.slug(name)
        if not slug or named.setdefault(slug, name) != name:
            words = "has the series of another one." if slug else "has no letter or digit."
            yield file.problem(("slo", place, "name"), name, f"an objective {words}", "Rename it.")
        if isinstance(indicator, str):
            try:
                indicators.parse(indicator)
            except BadArgument as error:
                yield file.problem(
                    ("slo", place, "indicator"), None, str(error), "See docs/how-to/slo.md."
                )


def _bot(name: str, bot: dict[str, Any], file: _File) -> Iterator[Problem]:
    folder = file.path.resolve().parent / str(bot.get("cwd") or ".")
    entry, command = bot.get("entry"), bot.get("command")
    if not folder.is_dir():
        yield file.problem(("bots", name, "cwd"), bot.get("cwd"), "no such folder.", "Create it.")
    elif isinstance(entry, str) and ":" in entry:
        if missing := missing_entry(entry, folder):
            yield file.problem(("bots", name, "entry"), entry, missing, f"Looked in {folder}.")
    elif isinstance(command, list) and command:
        program = str(command[0])
        if not shutil.which(program) and not (folder / program).is_file():
            remedy = "Install it, or give its full path."
            yield file.problem(("bots", name, "command"), program, "no such program.", remedy)


def missing_entry(entry: str, folder: Path) -> str:
    """Return what is missing of ``module:function`` as seen from a folder, or an empty string.

    The module is found and read, not imported: a check must not run a bot.
    """
    module, _, function = entry.partition(":")
    search: list[str] | None = [str(folder)]
    found = None
    parts = module.split(".")
    for depth in range(len(parts)):
        name = ".".join(parts[: depth + 1])
        found = importlib.machinery.PathFinder.find_spec(name, search)
        if found is None and depth == 0:
            found = importlib.machinery.PathFinder.find_spec(name)
        if found is None:
            return f"module {name} can't be found."
        search = list(found.submodule_search_locations or ())
    source = found.origin if found else None
    if not source or not source.endswith(".py"):
        return ""
    try:
        tree = ast.parse(Path(source).read_bytes())
    except SyntaxError as error:
        return f"module {module} does not parse: line {error.lineno}: {error.msg}."
    return "" if function in _names(tree) else f"module {module} has no function {function}."


def _names(tree: ast.Module) -> set[str]:
    """Return what a module defines or imports at its top level."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Import() | ast.ImportFrom():
                names.update(alias.asname or alias.name for alias in node.names)
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
    return names


def _most_instances(bot: dict[str, Any]) -> Any:
    scale = bot.get("scale")
    return scale.get("max") if isinstance(scale, dict) else bot.get("instances", 1)


def _memory(bot: dict[str, Any]) -> int:
    limits, instances = bot.get("limits"), _most_instances(bot)
    if not isinstance(limits, dict) or not isinstance(instances, int):
        return 0
    try:
        return units.parse_bytes(limits.get("memory", 0)) * instances
    except ValueError:
        return 0
