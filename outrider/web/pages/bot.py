"""One bot: its state, its charts, how it crashed, what it wrote last, what was done to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from outrider.errors import BadArgument, OutriderError
from outrider.store import keys
from outrider.supervisor import control
from outrider.web import records, view
from outrider.web.pages import alerts, changes, charts
from outrider.web.pages.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.web.source import Source

# A supervisor on this host answers within milliseconds; a stuck one must not hold the page up.
_ASK_S = 2.0


def shown(source: Source, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return all that is known of the bot ``name`` of ``host``; without a name, which there are.

    Raises:
        BadArgument: no such bot.
    """
    frame = view.snapshot(source.store, source.client, source.clock.now())
    others = [{part: bot[part] for part in ("name", "bot", "host", "host_key", "health", "state")}
              for bot in frame["bots"]]  # fmt: skip
    name, host = asked.get("name", ""), asked.get("host", "")
    if not name:
        return {"bot": None, "bots": others}
    found = [b for b in frame["bots"] if b["name"] == name and host in ("", b["host_key"])]
    if not found:
        known = ", ".join(sorted({each["name"] for each in others})[:20]) or "none yet"
        raise BadArgument(f"bot = {records.clean(name)!r} is not known; known are: {known}.")
    bot, parts = found[0], Parts()
    host = bot["host_key"]
    local = _diagnosis(source, host, name)
    return {
        "bot": bot,
        "bots": others,
        "alerts": [
            alert for alert in alerts.active(source, parts)
            if alert["bot"] == name and alert["on_host"] in ("", host)
        ],
        "charts": charts.of(source.store, host, charts.bot(name)),
        "crashes": local.get("crash_reports", [])[::-1]
        or parts.many("the crash report", _crash, source, host, name),
        "log": local.get("log"),
        "limits": local.get("limits_held_by"),
        "events": [
            each for each in changes.timeline(source, parts)
            if each["on"] in (name, bot["bot"]) and each["host"] in ("", host)
        ][:50],
        "budgets": _budgets(source, name),
        "notices": parts.notices,
    }  # fmt: skip


def _diagnosis(source: Source, host: str, name: str) -> dict[str, Any]:
    """Return the word of this host's supervisor; nothing from another host, or without one."""
    run_dir = source.settings.run_dir()
    if host != source.settings.host or not control.answers(run_dir):
        return {}
    try:
        found = control.ask(run_dir, "diagnose", timeout_s=_ASK_S, bot=name)
    except OutriderError:  # it ended just now, or knows the bot no more: Redis has the rest
        return {}
    return next((each for each in found if each["name"] == name), {})


def _crash(source: Source, host: str, name: str) -> list[dict[str, Any]]:
    raw = cast("bytes | None", source.client.hget(keys.crashes(host), name))
    return [json.loads(raw)] if raw else []


def _budgets(source: Source, name: str) -> list[dict[str, Any]]:
    """Return the budgets that this bot is held to, or takes part in."""
    row = source.store.last(keys.FLEET)
    values = row.values if row else {}
    ending = f".by.{name}.left_ratio"
    return [
        {
            "name": series.removeprefix("slo.").removesuffix(ending),
            "left_ratio": left_ratio,
            "burn_1h": values.get(f"{series.removesuffix('left_ratio')}burn_ratio.1h"),
        }
        for series, left_ratio in values.items()
        if series.startswith("slo.") and series.endswith(ending)
    ]
