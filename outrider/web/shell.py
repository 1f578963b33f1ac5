"""What all pages have around them: head, bar with its navigation, icons.

A template holds ``<!-- head -->``, ``<!-- bar -->`` and ``<!-- icons -->``; they are
filled in once, when the dashboard starts. A page without a template of its own draws all of itself.
"""

from __future__ import annotations

import re
from importlib import resources

# What the navigation shows, in its order. A bot and a host are reached from where they are named.
NAVIGATION = (
    ("index", "/", "Fleet"),
    ("alerts", "/alerts", "Alerts"),
    ("slo", "/slo", "Budgets"),
    ("database", "/database", "Database"),
    ("cache", "/cache", "Cache"),
    ("queues", "/queues", "Queues"),
    ("changes", "/changes", "Changes"),
    ("series", "/series", "Series"),
)
_SCRIPTS = {"index": "dashboard"}
TITLES = {name: title for name, _, title in NAVIGATION} | {"bot": "Bot", "host": "Host"}


def page(name: str) -> str:
    """Return the HTML of a page."""
    templates = resources.files("outrider.web").joinpath("templates")
    own = templates.joinpath(f"{name}.html")
    text = (own if own.is_file() else templates.joinpath("page.html")).read_text("utf-8")
    title = "Outrider" if name == "index" else f"{TITLES[name]} · Outrider"
    head = templates.joinpath("parts/head.html").read_text("utf-8")
    bar = templates.joinpath("parts/bar.html").read_text("utf-8")
    filled = {
        "head": head.replace("<!-- title -->", title).replace(
            "<!-- page -->", _SCRIPTS.get(name, name)
        ),
        "bar": bar.replace("<!-- links -->", _links(name)),
        "icons": templates.joinpath("parts/icons.html").read_text("utf-8"),
        "title": TITLES[name],
        "name": name,
    }
    return re.sub(r"<!-- (\w+) -->\n?", lambda found: filled[found[1]], text)


def _links(here: str) -> str:
    return "\n".join(
        f'    <a href="{path}"{" aria-current=page" if name == here else ""}>{title}</a>'
        for name, path, title in NAVIGATION
    )
