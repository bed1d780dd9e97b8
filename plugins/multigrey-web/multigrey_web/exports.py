"""Tables as CSV and JSON, for other programs.  Pure: rows in, text out.

Times are written in UTC (`2026-11-29T20:25:07Z`), numbers as they are, what is not known as an empty field or
null.
A text that a stranger chose cannot become a formula in a spreadsheet: an apostrophe stands before its sign.
Octets that are not UTF-8 are written out, so that every export is valid UTF-8.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from multigrey_web.words import machine_time

__all__ = ["EXPORTS", "FORMS", "Export", "Form", "exported"]

Context = Mapping[str, Any]
Row = Mapping[str, Any]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How formulas begin, in the wide forms of East Asia as well."""
_TIMES = frozenset({"time", "first", "last", "first_seen", "last_seen", "ready", "until", "begin", "hour"})
"""Names of columns that hold seconds since 1970."""


class Export(NamedTuple):
    """A table: the names of its columns, and what finds its rows in the values of its page."""

    columns: Sequence[str]
    rows: Callable[[Context], Iterable[Row]]


class Form(NamedTuple):
    """A form of exports."""

    media_type: str
    write: Callable[[Sequence[str], Iterable[Row]], str]


def exported(export: Export, form: Form, context: Context) -> str:
    """The text of a table."""
    return form.write(export.columns, export.rows(context))


def _as_csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(_value(name, row.get(name))) for name in columns])
    return out.getvalue()


def _as_json(columns: Sequence[str], rows: Iterable[Row]) -> str:
    found = [{name: _value(name, row.get(name)) for name in columns} for row in rows]
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _value(name: str, value: Any) -> Any:
    if name in _TIMES and isinstance(value, int) and not isinstance(value, bool):
        return machine_time(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _decisions(context: Context) -> Iterable[Row]:
    found: Iterable[Row] = context["decisions"]
    return found


def _traffic(context: Context) -> Iterable[Row]:
    flow = context["flow"]
    for begin, complete, counts in flow["slots"]:
        named = {} if counts is None else dict(zip(flow["columns"], counts, strict=True))
        yield {"begin": begin, "seconds": flow["step"], "complete": complete, **named}


def _growth(context: Context) -> Iterable[Row]:
    told = context["growth"]
    return [dict(zip(told["columns"], sample, strict=True)) for sample in told["samples"]]


_DECISION = (
    *("time", "id", "action", "reason", "observed", "sender", "recipient", "raw", "client_address"),
    *("client_name", "helo", "origin", "listener", "delay", "retry_after", "age", "attempts"),
    *("source", "entry", "owner", "rule", "detail"),
)
_COUNTS = ("deferred", "passed", "refused", "observed", "first", "returned", "at_once", "back")

EXPORTS: Mapping[str, Export] = {
    "waiting": Export(
        (
            *("sender", "recipient", "origin", "client", "first_seen", "last_seen"),
            *("attempts", "ready", "until", "key"),
        ),
        lambda context: context["table"].rows,
    ),
    "origins": Export(
        ("name", "kind", "attempts", "deferred", "returned", "never", "p50", "p95"),
        lambda context: context["table"].rows,
    ),
    "lost": Export(
        ("sender", "recipient", "origin", "attempts", "first", "last", "id"),
        lambda context: context["table"].rows,
    ),
    "review": Export(("owner", "kind", "entry", "place", "message"), lambda context: context["table"].rows),
    "origin": Export(_DECISION, _decisions),
    "search": Export(_DECISION, _decisions),
    "live": Export(_DECISION, _decisions),
    "traffic": Export(("begin", "seconds", "complete", *_COUNTS), _traffic),
    "growth": Export(("hour", "records", "origins", "octets", "deferred", "passed", "refused"), _growth),
}
"""By name, as in the address /NAME.csv."""
FORMS: Mapping[str, Form] = {
    "csv": Form("text/csv; charset=utf-8", _as_csv),
    "json": Form("application/json", _as_json),
}
