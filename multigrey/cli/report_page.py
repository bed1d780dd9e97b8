"""The report as one self-contained HTML page: it has no script and loads nothing; pictures are inline SVG.

Everything a picture shows is in a table as well.  Every text is escaped, because senders choose some of it.
No line is longer than the 998 octets of a mail (RFC 5321 section 4.5.3.1.6), so the page can be mailed as it
is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from multigrey import __version__
from multigrey.cli.common import lasting, moment
from multigrey.cli.report_tables import (
    CLASS_HEADS,
    DELAY_HEADS,
    DUE_HEADS,
    FLOOD_HEADS,
    HIT_HEADS,
    LET_IN_HEADS,
    ONCE_HEADS,
    SENDER_HEADS,
    as_known,
    class_cells,
    delay_cells,
    due_cells,
    flood_cells,
    hit_cells,
    let_in_cells,
    never_unknown,
    once_cells,
    sender_cells,
    summary,
)
from multigrey.model import DAY
from multigrey.text import printable

__all__ = ["report_page"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_WORDS = frozenset({"origins", "origin", "source", "why", "from", "to", "delay", "network"})
"""Columns with one or two words, which are not wrapped."""
_TEXTS = frozenset({"class", "owner", "name", "entry", "where", "what", "sender", "recipient"})
"""Columns with longer texts, which may be wrapped anywhere; all other columns hold numbers."""

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1c2126; --soft: #59636e; --line: #d0d7de;
  --first: #1f6feb; --second: #1a7f37; --bad: #b42318; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14181d; --text: #e6e9ec; --soft: #9aa5b1; --line: #363d46;
    --first: #58a6ff; --second: #56d364; --bad: #ff8f80; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 75rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
.soft, caption, footer { color: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(6, 1fr); gap: .75rem; padding: 0; margin: 1.5rem 0; }
.figures div { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem 1rem; }
.figures dt { color: var(--soft); font-size: .9rem; }
.figures dd { margin: 0; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--first); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; padding-bottom: .25rem; }
.again { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.scroll + .scroll { margin-top: 1rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  font-weight: normal; }
thead th { color: var(--soft); white-space: nowrap; }
.word { white-space: nowrap; } .text { min-width: 8rem; overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.over { color: var(--bad); font-weight: bold; }
svg { width: 100%; height: auto; display: block; }
.narrow { display: none; }
@media (max-width: 60rem) { .figures { grid-template-columns: repeat(3, 1fr); } }
@media screen and (max-width: 40rem) {
  .wide { display: none; } .narrow { display: block; }
  body { padding: 1rem; } .figures { grid-template-columns: repeat(2, 1fr); } }
svg text { fill: var(--soft); font-size: 12px; }
svg line { stroke: var(--line); }
.first { fill: var(--first); background: var(--first); }
.second { fill: var(--second); background: var(--second); }
.legend span { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; }
summary { cursor: pointer; color: var(--soft); } footer { margin-top: 3rem; font-size: .85rem; }
@media print {
  :root { font-size: 75%; color-scheme: light; --back: #fff; --text: #000; --soft: #444; --line: #bbb;
    --first: #1f6feb; --second: #1a7f37; --bad: #b42318; }
  body { max-width: none; padding: 0; } details { display: none; }
  .scroll { overflow: visible; } .text { min-width: 7rem; }
  table { font-size: .85rem; } th, td { padding: .2rem .35rem; }
  h2, caption, .legend { break-after: avoid; } tr, svg, li, .figures { break-inside: avoid; }
  .legend span { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

_PIECE = 100
"""Characters of a text on one line of the source; each may become six octets escaped, or four in UTF-8."""
_HEIGHT, _LEFT, _BOTTOM, _TOP = 240, 56, 28, 12
_SIZES = (("wide", 960, 10), ("narrow", 340, 3))
"""Each picture is there for wide and for narrow screens: its class, its width, and about how many names."""
_WIDEST_BAR = 60


def report_page(found: Mapping[str, Any]) -> str:
    """The page for an answer of the operation `report`."""
    title = f"Greylisting, {_day(found['since'])} to {_day(found['time'])}"
    body = "\n".join(_body(title, as_known(found)))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _body(title: str, found: Mapping[str, Any]) -> Iterator[str]:
    owner = f" For {found['owner']}." if found["owner"] else ""
    yield f"<header><h1>{_text(title)}</h1>"
    made = f"Made {moment(found['time'])} (local time).{owner}"
    yield f'<p class="soft">{_long_text(made)}</p></header>\n<main>'
    yield _cards(found)
    yield "\n".join(f"<p>{_long_text(line)}</p>" for line in summary(found))
    if found["advice"]:
        advice = "\n".join(f"<li>{_long_text(line)}</li>" for line in found["advice"])
        yield f'<section><h2>Advice</h2>\n<ul class="advice">{advice}</ul></section>'
    if found["traffic"]["decisions"]:
        yield _over_time(found)
        yield _delays(found)
    yield _section(
        "Over the limit of new records",
        "New senders of these networks get only a mark instead of a record; their own retries still pass.",
        FLOOD_HEADS,
        map(flood_cells, found["floods"]),
    )
    yield _section(
        "Providers that passed at once",
        "Only mail without a record; known mail passes as known.",
        LET_IN_HEADS,
        map(let_in_cells, found["let_in"]),
    )
    yield _section("Delay by kind of origin", "", DELAY_HEADS, map(delay_cells, found["origins"]))
    yield _section(
        "Classes against their targets",
        "“Over target”: mail that took longer than the target, or already waits longer.",
        CLASS_HEADS,
        map(class_cells, found["classes"]),
        "over target",
    )
    yield _section(
        "Sender domains that waited longest",
        "Only domains whose mail came back; servers that send spam rarely come back.",
        SENDER_HEADS,
        map(sender_cells, found["domains"]),
    )
    yield _section("Origins with most attempts", "", SENDER_HEADS, map(sender_cells, found["top_origins"]))
    yield _section(
        "First contacts that never came back",
        "Most is unwanted mail; a whitelist entry lets through at once what is wanted.",
        ONCE_HEADS,
        map(once_cells, found["once"]),
    )
    if commands := [_long_text(row["command"]) for row in found["once"] if row["command"]]:
        lines = "\n".join(commands)
        yield f'<pre class="scroll" tabindex="0" aria-label="Commands for wanted mail">{lines}</pre>'
    yield _section("Whitelist entries that let mail pass", "", HIT_HEADS, map(hit_cells, found["hits"]))
    yield from _due(found)
    yield f"</main>\n<footer>multigrey {_text(__version__)}</footer>"


def _cards(found: Mapping[str, Any]) -> str:
    delays = found["delays"]
    cards = [
        ("deferred", delays["deferred"]),
        ("came back", delays["returned"]),
        ("still waiting", delays["waiting"]),
        ("never came back", "not known yet" if never_unknown(found) else delays["never"]),
        ("delay p50", _lasting(delays["p50"])),
        ("delay p95", _lasting(delays["p95"])),
    ]
    inside = "\n".join(f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in cards)
    return f'<dl class="figures">{inside}</dl>'


def _due(found: Mapping[str, Any]) -> Iterator[str]:
    if found["due"]:
        yield "<section><h2>Whitelist entries due for review</h2>"
    for group in found["due"]:
        rows = [due_cells(group["owner"], row)[1:] for row in group["entries"]]
        yield _table(group["owner"] or "(no owner)", DUE_HEADS[1:], rows)
    if found["due"]:
        yield "</section>"
    if found["unreadable"]:
        problems = "\n".join(f"<li>{_long_text(problem)}</li>" for problem in found["unreadable"])
        yield f"<section><h2>Lists that cannot be read</h2><ul>{problems}</ul></section>"


# --- tables ----------------------------------------------------------------------------------------


def _section(
    title: str, note: str, heads: Sequence[str], rows: Iterable[Sequence[str]], marked: str = ""
) -> str:
    """A heading and a table; "" without rows."""
    rows = list(rows)
    if not rows:
        return ""
    table = _table(note or title, heads, rows, marked, again=not note)
    return f"<section><h2>{_text(title)}</h2>\n{table}</section>"


def _table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    marked: str = "",
    *,
    again: bool = False,
) -> str:
    """A table with a caption.

    `marked`: the column in which every value but 0 is shown as a warning.  `again`: the heading above already
    shows the caption, so it is there only for screen readers.
    """
    style = ' class="again"' if again else ""
    head = "\n".join(f'<th scope="col"{_column(name)}>{_text(name)}</th>' for name in heads)
    rows = ["\n".join(_cells(heads, row, marked)) for row in rows]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="scroll" role="region" aria-label="{_text(caption[:_PIECE])}" tabindex="0"><table>\n'
        f"<caption{style}>{_long_text(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
        "</table></div>"
    )


def _cells(heads: Sequence[str], row: Sequence[str], marked: str) -> Iterator[str]:
    for index, (name, cell) in enumerate(zip(heads, row, strict=True)):
        if index == 0:
            yield f'<th scope="row"{_column(name)}>{_long_text(cell)}</th>'
        elif name == marked and cell not in {"", "0"}:
            yield f'<td class="number over">{_text(cell)}</td>'
        else:
            yield f"<td{_column(name)}>{_long_text(cell)}</td>"


def _column(name: str) -> str:
    style = "word" if name in _WORDS else "text" if name in _TEXTS else "number"
    return f' class="{style}"'


# --- pictures --------------------------------------------------------------------------------------


def _over_time(found: Mapping[str, Any]) -> str:
    slots, length = found["slots"], found["slot"]
    kinds = (("deferred", "first"), ("returned", "second"))
    groups = [(_slot_name(slot["begin"], length), [slot[kind] for kind, _ in kinds]) for slot in slots]
    legend = (
        '<p class="legend" aria-hidden="true"><span class="first"></span>deferred '
        '<span class="second"></span>came back</p>'
    )
    rows = [
        [moment(slot["begin"]), *(str(slot[name]) for name in ("deferred", "returned", "passed"))]
        for slot in slots
    ]
    heads = ("from", "deferred", "came back", "passed at once")
    what = f"Mail that was deferred and that came back, every {lasting(length)}"
    return (
        f"<section><h2>Over time</h2>{legend}{_bars(what, groups, [style for _, style in kinds])}"
        f"<details><summary>The same as a table</summary>{_table(what, heads, rows)}</details></section>"
    )


def _delays(found: Mapping[str, Any]) -> str:
    if not found["delays"]["returned"]:
        return ""
    bounds = [lasting(bound) for bound in found["delay_bounds"]]
    names = [f"≤ {bound}" for bound in bounds] + [f"> {bounds[-1]}"]
    groups = [(name, [number]) for name, number in zip(names, found["histogram"], strict=True)]
    rows = [[name, str(number)] for name, (number,) in groups]
    what = "Mails by the time between the first attempt and being let in"
    return (
        f"<section><h2>Real delay</h2>{_bars(what, groups, ['second'])}"
        f"<details><summary>The same as a table</summary>{_table(what, ('delay', 'mails'), rows)}</details>"
        "</section>"
    )


def _bars(what: str, groups: Sequence[tuple[str, Sequence[int]]], styles: Sequence[str]) -> str:
    """A bar chart: the bars of a group side by side, a scale at the left, and some names below."""
    return "\n".join(_drawn(what, groups, styles, *size) for size in _SIZES)


def _drawn(
    what: str,
    groups: Sequence[tuple[str, Sequence[int]]],
    styles: Sequence[str],
    shown: str,
    width: int,
    names: int,
) -> str:
    most = _round_up(max((value for _, values in groups for value in values), default=0))
    height, step = _HEIGHT - _BOTTOM - _TOP, (width - _LEFT) / max(len(groups), 1)
    wide = min(step * 0.8 / len(styles), _WIDEST_BAR)
    parts = []
    for mark in range(5):
        y = _TOP + height * (4 - mark) / 4
        parts.append(f'<line x1="{_LEFT}" x2="{width}" y1="{y:g}" y2="{y:g}"/>')
        number = _short(most * mark // 4)
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:g}" text-anchor="end">{number}</text>')
    every = -(-len(groups) // names)
    for index, (name, values) in enumerate(groups):
        middle = _LEFT + step * (index + 0.5)
        left = middle - wide * len(styles) / 2
        for place, (value, style) in enumerate(zip(values, styles, strict=True)):
            if value:
                tall = max(height * value / most, 1)
                parts.append(
                    f'<rect class="{style}" x="{left + wide * place:.1f}" '
                    f'y="{_TOP + height - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}">'
                    f"<title>{_text(name)}: {value}</title></rect>"
                )
        if index % every == 0:
            middle = min(middle, width - 34)  # the whole name has to be on the picture
            parts.append(
                f'<text x="{middle:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{_text(name)}</text>'
            )
    drawn = "\n".join(parts)
    return (
        f'<svg class="{shown}" viewBox="0 0 {width} {_HEIGHT}" role="img" '
        f'aria-label="{_text(what)}; the numbers are in the table below">{drawn}</svg>'
    )


def _short(number: int) -> str:
    """A number of a scale, short enough for the room at its left."""
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return str(number)


def _round_up(number: int) -> int:
    """The end of a scale of four parts that are round numbers: 4, 8, 12, 16, 20, 24, 28, 40 and so on."""
    tens = 1
    while True:
        for part in (tens, *(tens * tenths // 10 for tenths in (15, 20, 25, 30, 40, 50, 60, 75))):
            if 4 * part >= number:
                return 4 * part
        tens *= 10


def _slot_name(begin: int, length: int) -> str:
    form = "%d %b" if length >= DAY else "%d %b %H:%M"
    return f"{datetime.fromtimestamp(begin).astimezone():{form}}"


def _day(seconds: int) -> str:
    return moment(seconds).partition(" ")[0] or "the beginning"


def _lasting(seconds: int | None) -> str:
    return "-" if seconds is None else lasting(seconds)


def _long_text(value: object) -> str:
    """Any text, escaped for an element.

    Lines of the source are broken inside a `<wbr>` tag, where a line end is not shown on the page.
    """
    text = printable(str(value))
    pieces = [text[begin : begin + _PIECE] for begin in range(0, len(text), _PIECE)]
    return "<wbr\n>".join(map(escape, pieces))


def _text(value: object) -> str:
    """Any text, escaped for an element or an attribute."""
    return escape(printable(str(value)))
