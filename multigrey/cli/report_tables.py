"""The tables of a report for the terminal and the page: their heads and cells, and the summary above them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from multigrey.cli.common import lasting, moment, shown_address
from multigrey.text import counted

__all__ = [
    "CLASS_HEADS",
    "DELAY_HEADS",
    "DUE_HEADS",
    "FLOOD_HEADS",
    "HIT_HEADS",
    "LET_IN_HEADS",
    "ONCE_HEADS",
    "SENDER_HEADS",
    "as_known",
    "class_cells",
    "delay_cells",
    "due_cells",
    "flood_cells",
    "hit_cells",
    "let_in_cells",
    "never_unknown",
    "once_cells",
    "sender_cells",
    "summary",
]

FLOOD_HEADS = ("network", "from", "to", "attempts", "most an hour")
LET_IN_HEADS = ("provider", "attempts", "sender domains", "last")
DELAY_HEADS = ("origins", "defer", "back", "wait", "never", "p50", "p95", "max")
CLASS_HEADS = ("class", "owner", "target", "over target", *DELAY_HEADS[1:])
SENDER_HEADS = ("name", "origin", "att", "total wait", *DELAY_HEADS[1:])
ONCE_HEADS = ("mails", "last", "origin", "sender", "recipient")
HIT_HEADS = ("times", "source", "entry", "owner")
DUE_HEADS = ("owner", "why", "where", "entry", "what")


def summary(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures in sentences."""
    traffic, delays, since = found["traffic"], found["delays"], found["recorded_since"]
    if not traffic["decisions"]:
        known = f"the oldest decision is of {moment(since)}" if since else "it is empty"
        yield f"The history holds no decision of this time: {known}."
        return
    at_once = counted(traffic["passed_at_once"], "attempt")
    yield f"{counted(traffic['decisions'], 'decision')}; {at_once} passed at once."
    never = "" if never_unknown(found) else f", {delays['never']:,} never came back"
    yield (
        f"{counted(delays['deferred'], 'mail was', 'mails were')} deferred: "
        f"{counted(delays['returned'], 'came back and was', 'came back and were')} let in, "
        f"{counted(delays['waiting'], 'still waits', 'still wait')}{never}."
    )
    if delays["p50"] is not None:
        longest = "" if delays["longest"] is None else f", longest {lasting(delays['longest'])}"
        p50, p95 = lasting(delays["p50"]), lasting(delays["p95"])
        yield f"Delay of those that came back: p50 {p50}, p95 {p95}{longest}."
    if traffic["over_limit"]:
        yield (
            f"{counted(traffic['over_limit'], 'attempt was', 'attempts were')} over the limit of new "
            "records: deferred like the others, and only their own retries pass."
        )
    if traffic["refused"]:
        yield f"{counted(traffic['refused'], 'mail was', 'mails were')} refused by a rule."
    if traffic["observed"]:
        yield f"{counted(traffic['observed'], 'attempt')} would have been deferred, but only observed."
    if found["counted_since"]:
        read = f"{counted(found['listed'], 'decision')} since {moment(found['listed_since'])} (--limit)"
        lists = read if found["listed"] else "no decisions, because the history has none of this time"
        begin = moment(found["counted_since"])
        yield f"These are the figures of whole hours since {begin}; lists are of {lists}."
    elif found["more"]:
        yield f"There are more decisions; only the latest {traffic['decisions']} were read (--limit)."
    elif since and since > found["since"]:
        yield f"The history begins at {moment(since)}."


def never_unknown(found: Mapping[str, Any]) -> bool:
    """Whether it is too early to know which mail never came back."""
    return bool(found["first_figures"]) and not found["delays"]["never"]


def as_known(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """A report in which rows leave open what never came back while it is too early to know that."""
    if not never_unknown(found):
        return found
    tables = ("origins", "classes", "domains", "top_origins")
    return {**found, **{name: [_left_open(row) for row in found[name]] for name in tables}}


def _left_open(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**row, "delays": {**row["delays"], "never": None}}


def delay_cells(row: Mapping[str, Any]) -> list[str]:
    """A row about a class of origins, as `DELAY_HEADS`."""
    return [row["name"], *_figures(row["delays"])]


def class_cells(row: Mapping[str, Any]) -> list[str]:
    """A row about a class, as `CLASS_HEADS`."""
    target = "" if row["target"] is None else lasting(row["target"])
    over = str(row["over_target"]) if target else ""
    return [row["name"], row["owner"], target, over, *_figures(row["delays"])]


def sender_cells(row: Mapping[str, Any]) -> list[str]:
    """A row about a domain or an origin, as `SENDER_HEADS`."""
    waited = lasting(row["waited"]) if row["waited"] else ""
    return [row["name"], row["kind"], str(row["attempts"]), waited, *_figures(row["delays"])]


def flood_cells(row: Mapping[str, Any]) -> list[str]:
    """A row about a network over the limit, as `FLOOD_HEADS`."""
    return [
        row["network"],
        moment(row["first"]),
        moment(row["last"]),
        str(row["attempts"]),
        str(row["most"]),
    ]


def let_in_cells(row: Mapping[str, Any]) -> list[str]:
    """A row about a provider that passed at once, as `LET_IN_HEADS`."""
    return [row["provider"], str(row["number"]), str(row["domains"]), moment(row["last"])]


def once_cells(row: Mapping[str, Any]) -> list[str]:
    """A row about first contacts that never came back, as `ONCE_HEADS`."""
    return [
        str(row["mails"]),
        moment(row["last"]),
        row["origin"],
        shown_address(row["sender"]),
        row["recipient"],
    ]


def hit_cells(row: Mapping[str, Any]) -> list[str]:
    """A row about an entry that matched, as `HIT_HEADS`."""
    return [str(row["number"]), row["source"], row["entry"], row["owner"]]


def due_cells(owner: str, row: Mapping[str, Any]) -> list[str]:
    """A row about an entry that is due for review, as `DUE_HEADS`."""
    return [owner or "(no owner)", row["kind"], row["place"], row["entry"], row["message"]]


def _figures(delays: Mapping[str, Any]) -> list[str]:
    counts = [delays[name] for name in ("deferred", "returned", "waiting", "never")]
    times = ["" if delays[name] is None else lasting(delays[name]) for name in ("p50", "p95", "longest")]
    return ["" if number is None else str(number) for number in counts] + times
