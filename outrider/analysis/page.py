"""A report as one file: everything is in it, nothing is fetched, and it says the same as the text.

Names and words come from bots and hosts; all of them are escaped. The file carries a policy that
allows no script and no address, in case one is missed.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from outrider import outside
from outrider.analysis import plot, words
from outrider.analysis.sections import sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.analysis.plot import Picture
    from outrider.analysis.sections import Section

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark;--bg:#f3f5f7;--panel:#fff;--line:#e1e5ea;--text:#171c23;
--muted:#566170;--data:#0072b2;--band:#0072b21f;--ahead:#955f00;--interval:#955f0022;--grid:#e9ecf0;
--ok:#00785a;--warning:#955f00;--critical:#b53c06;--unknown:#566170}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--panel:#151b23;--line:#262e39;--text:#e7ebf0;
--muted:#9ba7b5;--data:#56b4e9;--band:#56b4e92b;--ahead:#efb03a;--interval:#efb03a29;--grid:#222a34;
--ok:#35c49a;--warning:#efb03a;--critical:#ff8355;--unknown:#9ba7b5}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);
font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1120px;margin:0 auto;
padding:1.5rem clamp(.8rem,3vw,2rem) 3rem;display:grid;gap:1.3rem}
main>*{min-width:0}
h1,h2,h3,p{margin:0}h2{font-size:.95rem;margin-bottom:.4rem}h3{font-size:.95rem;font-weight:600;
overflow-wrap:anywhere}
.ok{--state:var(--ok)}.warning{--state:var(--warning)}.critical{--state:var(--critical)}
.unknown{--state:var(--unknown)}
.verdict{padding:1rem 1.2rem;border-radius:10px;border:1px solid var(--line);
border-left:5px solid var(--state);background:var(--panel)}
.verdict h1{font-size:1.35rem;line-height:1.3;font-weight:620;overflow-wrap:anywhere}
.verdict p{color:var(--muted);margin-top:.25rem}.verdict b{color:var(--state)}
section,figure{margin:0;padding:.9rem 1.1rem;background:var(--panel);border:1px solid var(--line);
border-radius:10px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th{text-align:left;color:var(--muted);font-weight:600;font-size:.85em;white-space:nowrap}
td,th{padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}td{overflow-wrap:anywhere}
.pictures{display:grid;gap:1.1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr))}
figcaption{color:var(--muted);margin:.1rem 0 .3rem;overflow-wrap:anywhere}
.plot{width:100%;height:auto;display:block;font-size:12px}
.plot .grid{stroke:var(--grid)}
.plot text{fill:var(--muted);paint-order:stroke;stroke:var(--panel);stroke-width:3px}
.plot .band{fill:var(--band)}.plot .interval{fill:var(--interval)}
.plot .line{fill:none;stroke:var(--data);stroke-width:1.8;stroke-linejoin:round}
.plot .ahead{fill:none;stroke:var(--ahead);stroke-width:1.8;stroke-dasharray:5 3}
.plot .limit{stroke:var(--critical);stroke-width:1.4;stroke-dasharray:2 3}
.plot .limit-text,.plot text.anomaly{fill:var(--critical)}
.plot line.anomaly{stroke:var(--critical);stroke-width:1.4}
.plot line.change{stroke:var(--muted);stroke-width:1.4;stroke-dasharray:6 3}
.plot text.change{fill:var(--text)}
.key{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;color:var(--muted);font-size:.9em}
.key svg{width:26px;height:12px;vertical-align:-1px;margin-right:.4rem}
footer{color:var(--muted);font-size:.9em}
"""
_KEY = (
    ("line", "M0 6H26", "measured"), ("band", "M0 1H26V11H0Z", "expected range"),
    ("ahead", "M0 6H26", "forecast"), ("interval", "M0 1H26V11H0Z", "95 % of what may come"),
)  # fmt: skip
_KEY_LINES = (("mark anomaly", "anomaly"), ("mark change", "change"), ("limit", "limit"))


def render(report: dict[str, Any], pictures: Sequence[Picture], *, now_s: float) -> str:
    """Return a report as HTML, with these pictures."""
    name = f"bot {report['bot']}" if report.get("bot") else str(report["host"])
    title = _text(f"Outrider: {name}")
    parts = [_verdict(report, name, now_s), *(_section(each) for each in sections(report, now_s))]
    drawn = [_figure(picture) for picture in pictures]
    if drawn:
        parts.insert(1, f'<div class="pictures">{"".join(drawn)}</div>{_key()}')
    made = _text(words.clock(now_s, 0.0))
    footer = f"<footer>Made by Outrider at {made} from the row of tick {report['tick']:d}.</footer>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>"
        f"{''.join(parts)}{footer}</main></body></html>\n"
    )


def _verdict(report: dict[str, Any], name: str, now_s: float) -> str:
    state = report["state"] if report["state"] in ("ok", "warning", "critical") else "unknown"
    since = words.clock(report["since_s"], now_s) if report.get("since_s") else "unknown"
    return (
        f'<header class="verdict {state}"><h1>{_text(report["verdict"])}</h1>'
        f"<p><b>{state}</b> since {since} · {_text(name)} · measured at "
        f"{words.clock(report['at_s'], now_s)} · {report['series']:d} series</p></header>"
    )


def _section(section: Section) -> str:
    heads = "".join(f"<th scope=col>{_text(column)}</th>" for column in section.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>"
        for row in section.rows
    )
    return (
        f"<section><h2>{_text(section.title)}</h2><div class=scroll><table><thead>"
        f"<tr>{heads}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _figure(picture: Picture) -> str:
    caption = "" if picture.title == picture.series else _text(picture.title)
    return (
        f"<figure><h3>{_text(picture.series)}</h3><figcaption>{caption}</figcaption>"
        f"{plot.svg(picture)}</figure>"
    )


def _text(value: Any) -> str:
    """Return text from outside as HTML: cleaned, bounded, escaped."""
    return html.escape(outside.clean(value))


def _key() -> str:
    """Return what the colours mean."""
    paths = [f'<path class="{kind}" d="{d}"/>' for kind, d, _ in _KEY]
    lines = [f'<line class="{kind}" x1="13" x2="13" y1="0" y2="12"/>' for kind, _ in _KEY_LINES]
    named = [*(text for *_, text in _KEY), *(text for _, text in _KEY_LINES)]
    return '<p class="key">' + "".join(
        f'<span><svg class="plot" viewBox="0 0 26 12" aria-hidden="true">{mark}</svg>{text}</span>'
        for mark, text in zip([*paths, *lines], named, strict=True)
    ) + "</p>"  # fmt: skip
