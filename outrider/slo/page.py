"""A month's report as one file: nothing is fetched, no script runs, every name is escaped."""

from __future__ import annotations

import datetime as dt
import html
import zoneinfo
from typing import TYPE_CHECKING, Any

from outrider import outside

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark;--bg:#f3f5f7;--panel:#fff;--line:#e1e5ea;--text:#171c23;
--muted:#566170;--ok:#00785a;--bad:#b53c06}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--panel:#151b23;--line:#262e39;--text:#e7ebf0;
--muted:#9ba7b5;--ok:#35c49a;--bad:#ff8355}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--text);
font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:960px;margin:0 auto;padding:1.5rem 1rem 3rem;display:grid;gap:1.2rem}
h1,h2,h3,p{margin:0}h1{font-size:1.35rem}h2{font-size:1.05rem;overflow-wrap:anywhere}
h3{font-size:.9rem;margin-top:.8rem;color:var(--muted)}
section{padding:1rem 1.2rem;background:var(--panel);border:1px solid var(--line);
border-left:5px solid var(--state);border-radius:10px;min-width:0}
.ok{--state:var(--ok)}.bad{--state:var(--bad)}.none{--state:var(--muted)}
b.ok,b.bad{color:var(--state)}
p{color:var(--muted)}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th{text-align:left;color:var(--muted);font-weight:600;font-size:.85em}
td,th{padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
svg{width:100%;height:64px;display:block;margin-top:.6rem}
svg rect{fill:var(--muted);opacity:.25}svg rect.over{fill:var(--bad);opacity:1}
svg rect.some{fill:var(--ok);opacity:1}footer{color:var(--muted);font-size:.9em}
"""


def render(report: dict[str, Any]) -> str:
    """Return a report of :func:`outrider.slo.report.build` as HTML."""
    zone = zoneinfo.ZoneInfo(report["timezone"])
    title = f"Service levels, {dt.datetime.fromtimestamp(report['start_s'], zone):%B %Y}"
    missed = [each for each in report["objectives"] if not each["is_kept"]]
    many = len(report["objectives"])
    said = f"{many - len(missed)} of {many} objectives kept" if many else "nothing was measured"
    if report["until_s"] < report["end_s"]:
        said += f", as far as {_when(report['until_s'], zone)}"
    body = "".join(_objective(each, zone) for each in report["objectives"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>"
        f"<header><h1>{title}</h1><p>{said}.</p></header>{body}"
        f"{_maintenance(report['maintenance'], zone)}"
        f"<footer>Made by Outrider at {_when(report['made_s'], zone)}; times are "
        f"{_text(report['timezone'])}.</footer></main></body></html>\n"
    )


def _objective(each: dict[str, Any], zone: zoneinfo.ZoneInfo) -> str:
    state = "none" if not each["total"] else "ok" if each["is_kept"] else "bad"
    word = {"none": "no data", "ok": "kept", "bad": "missed"}[state]
    ratio = "" if each["good_ratio"] is None else f"{each['good_ratio']:.4%} good, "
    facts = (
        f"{ratio}{each['objective']:.4%} promised: {each['bad']:,} of {each['total']:,} bad, "
        f"{each['spent_ratio']:.0%} of the budget spent."
    )
    if each["excluded"]:
        facts += f" Planned maintenance took out {each['excluded']:,}."
    if each["measured_ratio"] < 1:
        since = each["measured_since_s"]
        facts += f" Measured since {_when(since, zone)} only." if since else " Not measured yet."
    spent = [share for share in each["spent_by"] if share["bad"]]
    who = _table(
        "Who spent it",
        ("who", "bad", "of all bad", "times its share"),
        (
            (s["who"], f"{s['bad']:,}", f"{s['spent_ratio']:.0%}", f"{s['fair_ratio']:.1f}")
            for s in spent[:20]
        ),
    )
    calls = _table(
        "Alerts",
        ("at", "alert", "severity"),
        ((_when(c["at_s"], zone), c["rule"], c["severity"]) for c in each["calls"][:50]),
    )
    return (
        f'<section class="{state}"><h2>{_text(each["name"])}: <b class="{state}">{word}</b>'
        f"</h2><p>{_text(each['indicator'])}, by {each['method']}. {facts}</p>"
        f"{_days(each['days'], 1 - each['objective'])}{who if spent else ''}"
        f"{calls if each['calls'] else ''}</section>"
    )


def _days(days: Sequence[dict[str, Any]], budget: float) -> str:
    """Draw a bar a day: its failures as a share of what a day may have, at most three times."""
    bars = []
    for place, day in enumerate(days):
        spent = day["bad"] / (budget * day["total"]) if day["total"] else 0.0
        high = max(2.0, 60 * min(spent, 3.0) / 3)
        kind = "over" if spent > 1 else "some" if day["bad"] else ""
        note = f"{day['day']}: {day['bad']:,} of {day['total']:,} bad, {spent:.1f} days' budget"
        bars.append(
            f'<rect class="{kind}" x="{place * 10 + 1}" y="{62 - high:.1f}" width="8" '
            f'height="{high:.1f}"><title>{note}</title></rect>'
        )
    label = f"Budget spent day by day, {len(days)} days"
    return (
        f'<svg viewBox="0 0 {10 * max(1, len(days))} 64" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{"".join(bars)}</svg>'
        "<p>Budget spent day by day; a full bar is three days' budget or more.</p>"
    )


def _maintenance(windows: Sequence[dict[str, Any]], zone: zoneinfo.ZoneInfo) -> str:
    if not windows:
        return ""
    rows = (
        (_when(w["start_s"], zone), _when(w["end_s"], zone), w["slo"], w["bot"], w["reason"],
         w["author"]) for w in windows
    )  # fmt: skip
    table = _table("", ("from", "to", "objectives", "bots", "why", "who planned it"), rows)
    return f'<section class="none"><h2>Planned maintenance</h2>{table}</section>'


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{_text(each)}</th>" for each in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    named = f"<h3>{_text(title)}</h3>" if title else ""
    return (
        f"{named}<div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _text(value: Any) -> str:
    """Return text from outside as HTML: cleaned, bounded, escaped."""
    return html.escape(outside.clean(value))


def _when(at_s: float, zone: zoneinfo.ZoneInfo) -> str:
    return f"{dt.datetime.fromtimestamp(at_s, zone):%Y-%m-%d %H:%M}"
