"""The pages: what is generated is fresh, what is linked exists, what is shown works."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from outrider.alerts import cases, rules
from outrider.cli.main import main
from outrider.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Folders of tools and of state; their Markdown is not ours.
_NOT_OURS = re.compile(r"(^|/)(\.(?!ci)[^/]+|node_modules|build|dist)/")


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


GENERATE = _generator()
PAGES: dict[Path, str] = GENERATE.pages()
TABLES: list[Any] = list(GENERATE.tables())
MARKDOWN = sorted(
    path for path in ROOT.rglob("*.md") if not _NOT_OURS.search(str(path.relative_to(ROOT)))
)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def outside_fences(text: str) -> str:
    return _FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """Return what headings can be linked to, as GitHub makes it of them."""
    found = re.findall(r"^#+ (.+)$", outside_fences(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def fences(language: str) -> Iterator[tuple[Path, str]]:
    for path in MARKDOWN:
        for found, text in _FENCE.findall(path.read_text("utf-8")):
            if found == language:
                yield path, text


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_a_generated_page_is_fresh(path: Path) -> None:
    assert path.exists(), "run `make docs`"
    assert PAGES[path] == path.read_text("utf-8"), "stale: run `make docs`"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_every_setting_is_described(table: Any) -> None:
    undescribed = [name for name, field in GENERATE.settings_of(table) if not field.description]

    assert undescribed == []
    assert table.model.__doc__


def test_every_setting_is_on_the_page() -> None:
    page = PAGES[ROOT / "docs/settings.md"]

    assert set(Settings.model_fields) <= set(re.findall(r"[a-z_]+", page))
    assert {"bots", "alert", "schedule", "notify"} <= {table.path[0] for table in TABLES[1:]}


def _completed(given: dict[str, Any]) -> dict[str, Any]:
    """Put an inner table of a listed one, shown alone, into an entry of the list."""
    if isinstance(inner := given.get("celery"), dict):
        given["celery"] = [{"name": "shop", "broker": "redis://broker.internal:6379/0", **inner}]
    return given


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_every_example_of_a_setting_is_accepted(table: Any) -> None:
    given = _completed(tomllib.loads(GENERATE.example(table)))
    bots = given.get("bots", {})
    for bot in [*bots.values()]:
        if not {"entry", "command", "foreign"} & set(bot):
            bot["entry"] = "mybots.canary:main"  # an inner table says only what is its own
        bots.update({name: {"command": ["true"]} for name in bot.get("needs", ())})

    assert Settings(**given)


def test_every_setting_of_an_example_exists() -> None:
    keys = {
        ".".join((*table.path, name)) for table in TABLES for name, _ in GENERATE.settings_of(table)
    }

    assert set(GENERATE.EXAMPLES) <= keys


@pytest.mark.parametrize("path", MARKDOWN, ids=named)
def test_relative_links_resolve(path: Path) -> None:
    text = path.read_text("utf-8")
    broken = []
    for link in (first or second for first, second in _LINK.findall(outside_fences(text))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text("utf-8"))):
            broken.append(link)

    assert broken == []


def test_every_page_can_be_reached_from_the_index() -> None:
    reached, fresh = set(), {ROOT / "docs/index.md"}
    while fresh:
        page = fresh.pop()
        reached.add(page)
        links = [first or second for first, second in _LINK.findall(page.read_text("utf-8"))]
        fresh |= {
            target
            for link in links
            if (target := (page.parent / link.partition("#")[0]).resolve()).suffix == ".md"
            and target.exists()
            and target not in reached
        }

    assert [path for path in (ROOT / "docs").rglob("*.md") if path not in reached] == []


def test_pages_that_messages_name_exist() -> None:
    found = {
        (named(file), page)
        for folder in ("outrider", "tasks", "workers", "schedules")
        for file in (ROOT / folder).rglob("*.py")
        for page in re.findall(r"docs/[\w/-]+\.md", file.read_text("utf-8"))
    }

    assert found
    assert [each for each in sorted(found) if not (ROOT / each[1]).exists()] == []


def _commands() -> Iterator[tuple[str, str]]:
    for path, text in (*fences("sh"), *fences("console")):
        for line in text.splitlines():
            for call in re.findall(r"(?:^|[\s;|])outrider ((?:[^\s#|;&]+ ?)+)", line.lstrip("$ ")):
                yield named(path), call.strip()


def test_commands_that_pages_show_exist() -> None:
    shown = sorted(set(_commands()))
    unknown = []
    for page, call in shown:
        command: click.Command | None = main
        for word in call.split():
            if not isinstance(command, click.Group) or word.startswith("-"):
                break
            command = command.get_command(click.Context(command), word)
        options = {name for each in (command.params if command else ()) for name in each.opts}
        used = {word for word in re.findall(r"(?:^| )(--?[a-z][\w-]*)", call) if word != "--help"}
        if command is None or not used <= options:
            unknown.append((page, call))

    assert shown
    assert unknown == []


def test_rules_that_pages_show_can_be_parsed() -> None:
    shown = [
        (named(path), rule)
        for path, text in fences("toml")
        for rule in re.findall(r'^when = "(.+)"$', text, re.MULTILINE)
    ]
    shown += [(named(path), line) for path, text in fences("rules") for line in text.splitlines()]

    assert len(shown) > 1
    for page, rule in shown:
        assert rules.parse(page, rule.partition("  #")[0].rstrip())


def test_rule_tests_that_pages_show_pass(tmp_path: Path) -> None:
    shown = [text for _, text in fences("ruletests")]
    (tmp_path / "shown.toml").write_text("".join(shown))
    outcomes = cases.run(cases.load(tmp_path / "shown.toml"), ())

    assert outcomes
    assert [each.failures for each in outcomes] == [[]] * len(outcomes)


def test_settings_that_pages_show_are_accepted() -> None:
    whole = [(named(path), text) for path, text in fences("toml")]
    for page, text in whole:
        given = _completed(tomllib.loads(text))
        bots = given.get("bots", {})
        for bot in [*bots.values()]:
            if not {"entry", "command", "foreign"} & set(bot):
                bot["entry"] = "mybots.canary:main"
            for needed in bot.get("needs", ()):
                bots.setdefault(needed, {"command": ["true"]})
        assert Settings(**given), page
