"""``outrider slo``: objectives, what is left of their budgets, who spent them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outrider import units
from outrider.cli import here, moment
from outrider.errors import BadArgument

if TYPE_CHECKING:
    import redis

    from outrider.settings import Settings
    from outrider.slo.backtest import Replay
    from outrider.slo.objective import Objective
    from outrider.store.sketches import SketchStore
    from outrider.store.tiers import Tiers


@click.group()
def slo() -> None:
    """Show objectives and error budgets; report, replay, plan maintenance.

    An objective is declared in outrider.toml as [[slo]]: a name, an indicator such as
    "timed:handle_update<0.5s", and the share that must be good, such as 0.995.
    """


@slo.command("list")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def list_(as_json: bool) -> None:
    """Show each objective: what is left of its budget, how fast it burns, who spends it.

    "spent in" is when nothing will be left if it goes on as in the last six hours, with the
    soonest and the latest that these hours allow for.

    \b
    Examples:
      outrider slo list
      outrider slo list --json | jq '.[] | select(.left_ratio < 0.1)'
    """
    from outrider.slo import status

    settings, client, tiers, _ = _opened()
    found = status.of_all(client, tiers, _objectives(settings))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from outrider.cli import terminal

    columns = ("objective", "promised", "good", "left", "burn 1h", "burn 6h", "spent in",
               "calls for", "spent most by")  # fmt: skip
    terminal.console.print(terminal.table("", columns, [_line(each) for each in found]))
    if not any(each["total"] for each in found):
        terminal.console.print("nothing is counted yet: `outrider up` counts at every tick.")


@slo.command()
@click.option("--month", default="", help="such as 2026-11; this month by default")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path),
              help="write one page there; it needs no network")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def report(month: str, page: Path | None, as_json: bool) -> None:
    """Report on a month: promised and kept, who spent the budget, alerts, planned maintenance.

    Days and months are those of the setting `timezone`.

    \b
    Examples:
      outrider slo report
      outrider slo report --month 2026-11 --html november.html
    """
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from outrider.alerts import journal
    from outrider.slo import maintenance
    from outrider.slo import page as pages
    from outrider.slo import report as reports

    settings, client, tiers, _ = _opened()
    now_s = time.time()
    zone = ZoneInfo(settings.timezone)
    start_s, end_s = reports.month(
        month or datetime.fromtimestamp(now_s, zone).strftime("%Y-%m"), settings.timezone
    )
    if start_s >= now_s:
        raise BadArgument(f"--month {month} lies ahead; there is nothing to report.")
    found = reports.build(
        client, tiers, _objectives(settings), start_s, end_s,
        maintenance=maintenance.planned(client),
        calls=journal.history(client, journal.KEPT),
        timezone=settings.timezone, now_s=now_s,
    )  # fmt: skip
    if page:
        try:
            page.write_text(pages.render(found), "utf-8")
        except OSError as error:
            raise BadArgument(f"--html {page}: can't be written ({error.strerror}).") from None
        click.echo(f"{page}: {len(found['objectives'])} objectives", err=True)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not page:
        _print(found)


@slo.command()
@click.argument("name")
@click.option("--objective", type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="another share than the declared one")  # fmt: skip
@click.option("--indicator", default="", help="of one that is not declared: what is good")
@click.option("--since", default="24h", show_default=True, help="how long back, or a time")
@click.option("--until", default="now", show_default=True, help="how long back, or a time")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def backtest(
    name: str,
    *,
    objective: float | None,
    indicator: str,
    since: str,
    until: str,
    as_json: bool,
) -> None:
    """Replay stored rows: which pages and tickets objective NAME would have brought about.

    Raw rows are read, which reach back as far as `retention.raw`. Beside the pages stand those of
    the plain burn-rate rule, without the guard for evidence.

    \b
    Examples:
      outrider slo backtest 'bots are alive' --since 2d
      outrider slo backtest draft --indicator 'timed:handle_update<0.5s' --objective 0.99
    """
    from outrider.slo import backtest as replays
    from outrider.slo import maintenance

    settings, client, tiers, sketches = _opened()
    chosen = _chosen(settings, name, objective, indicator)
    start_s, end_s = moment.span(since, until, time.time())
    found = replays.replay(
        tiers.raw,
        sketches.merged,
        chosen,
        start_s,
        end_s,
        maintenance=maintenance.planned(client),
    )
    if not found.total:
        raise BadArgument(
            f"{chosen.indicator.text!r} saw nothing between {since} and {until}: no raw rows are "
            "kept from then, or no bot has the series; `outrider metrics list` shows which it has."
        )
    if as_json:
        click.echo(json.dumps(found.as_plain(), indent=2))
    else:
        _replayed(chosen, found)


@slo.command("export")
def export_() -> None:
    """Print the objectives in force as OpenSLO v1 (YAML).

    \b
    Example:
      outrider slo export > objectives.yaml
    """
    from outrider.slo import openslo

    settings = here.settings()
    click.echo(openslo.dumps(_objectives(settings), tick_s=settings.interval_s), nl=False)


@slo.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
def import_(file: Any) -> None:
    """Print the objectives of an OpenSLO v1 FILE as tables for outrider.toml.

    \b
    Example:
      outrider slo import objectives.yaml >> outrider.toml
    """
    from outrider.slo import openslo

    try:
        text = file.read()
    except UnicodeDecodeError:
        raise BadArgument(f"{file.name}: is not UTF-8 text.") from None
    click.echo(openslo.to_toml(openslo.loads(text)), nl=False)


@slo.group()
def maintenance() -> None:
    """Plan maintenance, which counts apart from the budgets and is shown beside them."""


@maintenance.command("plan")
@click.argument("reason")
@click.option("--for", "lasts", required=True, help="how long, such as 30m")
@click.option("--in", "ahead", default="0s", show_default=True, help="begins so long from now")
@click.option("--slo", "slug", default="*", show_default=True, help="pattern of objectives")
@click.option("--bot", default="*", show_default=True, help="pattern of bots (or hosts)")
def plan_(reason: str, *, lasts: str, ahead: str, slug: str, bot: str) -> None:
    """Announce maintenance for REASON. Only what lies ahead can be planned.

    \b
    Example:
      outrider slo maintenance plan 'new disks' --in 2h --for 30m --bot canary
    """
    from outrider.slo import maintenance as windows

    _, client, _ = here.opened()
    now_s = time.time()
    start_s = now_s + _duration("--in", ahead)
    made = windows.plan(
        client, start_s=start_s, end_s=start_s + _duration("--for", lasts), reason=reason,
        author=here.person(), now_s=now_s, slo=slug, bot=bot,
    )  # fmt: skip
    click.echo(f"{made.id}: {_clock(made.start_s)} to {_clock(made.end_s)}")


@maintenance.command("list")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def planned(as_json: bool) -> None:
    """Show maintenance, newest last."""
    from outrider.cli import terminal
    from outrider.slo import maintenance as windows

    _, client, _ = here.opened()
    found = windows.planned(client)
    if as_json:
        click.echo(json.dumps([each.plain() for each in found], indent=2))
    elif not found:
        terminal.console.print("none is planned.")
    else:
        rows = [
            (e.id, _clock(e.start_s), _clock(e.end_s), e.slo, e.bot, e.reason, e.author)
            for e in found
        ]
        columns = ("id", "from", "to", "objectives", "bots", "why", "by")
        terminal.console.print(terminal.table("", columns, rows))


@maintenance.command("end")
@click.argument("window", metavar="ID")
def end(window: str) -> None:
    """End maintenance now, or take back what lies ahead."""
    from outrider.slo import maintenance as windows

    _, client, _ = here.opened()
    windows.end(client, window, now_s=time.time())
    click.echo(f"{window}: ended")


def _opened() -> tuple[Settings, redis.Redis, Tiers, SketchStore]:
    from outrider.store import tiers
    from outrider.store.redis import RedisStore
    from outrider.store.sketches import SketchStore

    settings, client, _ = here.opened()
    kept = settings.retention
    raw = RedisStore("", interval_s=settings.interval_s, retention_s=kept.raw, client=client)
    sketches = SketchStore(client, interval_s=settings.interval_s, retention=kept)
    return settings, client, tiers.of_redis(raw, kept, client=client), sketches


def _objectives(settings: Settings) -> list[Objective]:
    from outrider.slo import objective

    return objective.of_settings(settings)


def _chosen(settings: Settings, name: str, objective: float | None, indicator: str) -> Objective:
    from dataclasses import replace

    from outrider.settings import SloSettings
    from outrider.slo import objective as objectives

    known = {each.slug: each for each in _objectives(settings)}
    found = known.get(objectives.slug(name))
    if indicator:
        given = SloSettings(name=name, indicator=indicator, objective=objective or 0.99)
        return objectives.of(given)
    if found is None:
        named = ", ".join(repr(each.name) for each in known.values())
        raise BadArgument(
            f"{name!r}: no such objective; declared are {named}. For one that is not: --indicator."
        )
    return replace(found, objective=objective) if objective else found


def _line(each: dict[str, Any]) -> tuple[str, ...]:
    calls = "page" if each["page"] else "ticket" if each["ticket"] else ""
    most = each["spent_by"][0] if each["spent_by"] and each["spent_by"][0]["bad"] else None
    return (
        each["name"],
        f"{each['objective']:.3%}",
        "" if each["good_ratio"] is None else f"{each['good_ratio']:.3%}",
        "" if each["left_ratio"] is None else f"{each['left_ratio']:.1%}",
        *(f"{each['burn_ratio'].get(span, 0.0):.2f}" for span in ("1h", "6h")),
        _ahead(each["exhaustion"]),
        calls,
        f"{most['who']} ({most['spent_ratio']:.0%})" if most else "",
    )


def _ahead(found: dict[str, Any] | None) -> str:
    if found is None:
        return "lasts"
    if not found["eta_s"]:
        return "spent"
    latest = found["upper_s"]
    until = "never" if latest is None else units.show_duration(latest)
    soonest = units.show_duration(found["lower_s"])
    return f"{units.show_duration(found['eta_s'])} ({soonest} to {until})"


def _print(found: dict[str, Any]) -> None:
    from outrider.cli import terminal

    rows = []
    for each in found["objectives"]:
        spent = [share for share in each["spent_by"] if share["bad"]]
        rows.append((
            each["name"], f"{each['objective']:.3%}",
            "" if each["good_ratio"] is None else f"{each['good_ratio']:.4%}",
            f"{each['bad']:,} of {each['total']:,}", f"{each['spent_ratio']:.0%}",
            f"{each['excluded']:,}", str(len(each["calls"])),
            ", ".join(f"{share['who']} {share['spent_ratio']:.0%}" for share in spent[:3]),
            "kept" if each["is_kept"] else "missed",
        ))  # fmt: skip
    columns = ("objective", "promised", "good", "bad", "budget spent", "maintenance", "alerts",
               "spent by", "")  # fmt: skip
    title = f"{_clock(found['start_s'])} to {_clock(found['until_s'])}"
    terminal.console.print(terminal.table(title, columns, rows))


def _replayed(chosen: Objective, found: Replay) -> None:
    from outrider.cli import terminal

    bad = found.total - found.good
    spent = bad / (chosen.budget * found.total)
    terminal.console.print(
        terminal.safe(
            f"{chosen.name}: {bad:,} of {found.total:,} bad ({found.good / found.total:.4%} good, "
            f"{chosen.objective:.3%} wanted), {spent:.1f} times what this time may spend."
        ),
        markup=False,
    )
    rows = [
        (
            call.what, _clock(call.start_s), units.show_duration(call.end_s - call.start_s),
            f"{call.burn:.1f} over {units.show_duration(call.window_s)}",
        )
        for call in found.calls
    ]  # fmt: skip
    if rows:
        columns = ("would have", "at", "for", "burn at first")
        terminal.console.print(terminal.table("", columns, rows))
    pages = sum(call.what == "page" for call in found.calls)
    plain = sum(call.what == "page" for call in found.plain)
    terminal.console.print(f"{pages} pages; {plain} without the guard for evidence.")


def _duration(option: str, text: str) -> float:
    try:
        return units.parse_duration(text)
    except ValueError as error:
        raise BadArgument(f"{option} {error}") from None


def _clock(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))
