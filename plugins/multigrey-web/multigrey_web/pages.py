"""The content of each page, from the daemon's answers.  Pure: answers in, values for a template out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from multigrey_web.answers import Answer
from multigrey_web.charts import by_day, delays, growth, traffic, trend
from multigrey_web.stories import commands_of_record, meaning_of, stories_of
from multigrey_web.tables import Column, sorted_table
from multigrey_web.words import counted, moment, number

__all__ = [
    "DAYS",
    "days_of",
    "decision",
    "live",
    "lost",
    "mine",
    "origin",
    "origins",
    "overview",
    "providers_of",
    "record",
    "review",
    "search",
    "steer",
    "values",
    "waiting",
]

DAY = 86_400
DAYS = {"1": "24 hours", "7": "7 days", "30": "30 days"}
"""The periods that can be chosen, in days."""
_SHORT = 8
"""Most rows of a table on the first page."""
_MOST_DECISIONS = 100
_FEWEST_DAYS = 3
"""Days that a trend needs; the first and the present one are rarely whole."""
_MOST_STORIES = 20
_MOST_FLOODS = 5
ACTIONS = {"defer": "deferred", "pass": "passed", "reject": "refused"}
_MODES = {
    "observe": "Greylisting is only observed: no mail is deferred.",
    "off": "Greylisting is switched off: all mail passes.",
}

Context = dict[str, Any]
Answered = Mapping[str, Answer]
Query = Mapping[str, str]


def days_of(query: Query) -> str:
    """The chosen period, in days."""
    days = query.get("days", "")
    return days if days in DAYS else "1"


def overview(answers: Answered, query: Query) -> Context:
    """The first page."""
    report, told = answers["report"].value, answers["growth"].value
    waits = answers["waiting"].value
    flow = answers["flow"].value
    grown = None if told is None else growth(told)
    del query
    return {
        **_common(answers),
        "report": report,
        "flow": flow,
        "traffic": None if flow is None else traffic(flow),
        "delays": None if flow is None else delays(flow),
        "trend": None if flow is None or len(flow["days"]) < _FEWEST_DAYS else trend(flow),
        "growth": grown,
        "growth_days": [] if grown is None else by_day(grown),
        "waits": waits,
        "waiting": [] if waits is None else waits["waiting"][:_SHORT],
        "origins": [] if flow is None else flow["origins"][:_SHORT],
        "lost": [] if report is None else report["lost"][:_SHORT],
        "due": _due(report)[:_SHORT],
        "due_number": len(_due(report)),
    }


def _common(answers: Answered) -> Context:
    """The values for every page: errors, whether answers are pending, their time, the state of the daemon."""
    troubles = sorted({answer.trouble for answer in answers.values() if answer.trouble})
    status = answers["status"].value if "status" in answers else None
    times = [answer.value["time"] for answer in answers.values() if answer.value and "time" in answer.value]
    return {
        "troubles": troubles,
        "pending": any(answer.is_pending for answer in answers.values()),
        "as_of": min(times, default=None if status is None else status["now"]),
        "status": status,
        "notices": [] if status is None else _notices(status),
        "pressure": "" if status is None else _pressure(status),
    }


def _pressure(status: Mapping[str, Any]) -> str:
    """The pressure that an administrator has set; "" for the usual one."""
    return next((each["word"] for each in status["overrides"] if each["slot"] == "pressure"), "")


def _notices(status: Mapping[str, Any]) -> list[str]:
    """The notices at the top of the first page."""
    found = []
    mode = status["mode"]["in_effect"]
    if mode in _MODES:
        found.append(_MODES[mode])
    found += [
        f"Override in effect: {each['slot']} {each['word']}, set by {each['by'] or 'an unknown user'}."
        for each in status["overrides"]
    ]
    if trouble := status.get("state_trouble"):
        found.append(f"{trouble[0].upper()}{trouble[1:]}.")
    if "error" in status["store"]:
        found.append(f"The store does not answer: {status['store']['error']}")
    elif status["store"].get("failing"):
        found.append("The store cannot be written.")
    if status["store"].get("damaged"):
        found.append(f"The store was damaged: {status['store']['damaged']}.")
    if status.get("limits", {}).get("full"):
        found.append(
            "The store is full: new senders are remembered by a mark only, and their retries still pass."
        )
    found += _lasting(status)
    found += _of_traffic(status)
    failures = sum(plugin["failures"] for plugin in status["plugins"])
    if failures:
        found.append(f"Plugins failed {counted(failures, 'time')}: multigrey status names them.")
    return found


def _lasting(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield notices about what does not work now, although mail is answered."""
    for row in status.get("listeners", ()):
        if row.get("trouble"):
            yield f"{row['name']} cannot accept connections: {row['trouble']}."
    for row in status.get("plugins", ()):
        if row.get("trouble"):
            yield f"The plugin {row['name']} does not work now, and has no vote: {row['trouble']}."
    for row in status.get("lists", ()):
        if row.get("trouble"):
            yield f"The whitelist {row['path']} {row['trouble']}; its old entries are still in use."
    if trouble := status.get("log_trouble"):
        yield f"{trouble[0].upper()}{trouble[1:]}."
    if refused := status.get("reload_refused"):
        yield f"The latest reload was refused, and the old configuration stays: {refused.splitlines()[0]}"


def _of_traffic(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield notices about implausible input, and about floods, the worst first."""
    for row in status.get("input", ()):
        yield f"{row['what']}; usually {row['cause']}."
        yield f"Remedy: {row['remedy']}."
    floods = status.get("floods", ())
    for row in floods[:_MOST_FLOODS]:
        yield (
            f"{row['network']} is over the limit of new records since {moment(row['since'])}: "
            f"{counted(row['attempts'], 'attempt')} in the last hour; their retries still pass."
        )
    if (more := len(floods) - _MOST_FLOODS) > 0:
        yield f"{number(more)} more are over the limit of new records: multigrey status names them."


def _due(report: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The list entries that are due for review, each with its owner."""
    groups = [] if report is None else report["due"]
    return [{**entry, "owner": group["owner"]} for group in groups for entry in group["entries"]]


WAITING = (
    Column("left", "Time left", lambda row: row["ready"], is_number=True),
    Column("sender", "Sender", lambda row: row["sender"]),
    Column("recipient", "Recipient", lambda row: row["recipient"]),
    Column("origin", "Origin", lambda row: row["origin"]),
    Column("first", "First seen", lambda row: row["first_seen"], is_number=True),
    Column("attempts", "Attempts", lambda row: row["attempts"], is_number=True),
)
ORIGINS = (
    Column("name", "Origin", lambda row: row["name"]),
    Column("kind", "Kind", lambda row: row["kind"]),
    Column("attempts", "Attempts", lambda row: row["attempts"], is_number=True),
    Column("deferred", "Deferred mails", lambda row: row["deferred"], is_number=True),
    Column("returned", "Came back", lambda row: row["returned"], is_number=True),
    Column("never", "Never came back", lambda row: row["never"] or 0, is_number=True),
    Column("p50", "Median delay", lambda row: row["p50"] or 0, is_number=True),
    Column("p95", "95 % within", lambda row: row["p95"] or 0, is_number=True),
)
LOST = (
    Column("sender", "Sender", lambda row: row["sender"]),
    Column("recipient", "Recipient", lambda row: row["recipient"]),
    Column("origin", "Origin", lambda row: row["origin"]),
    Column("attempts", "Attempts", lambda row: row["attempts"], is_number=True),
    Column("first", "First attempt", lambda row: row["first"], is_number=True),
    Column("last", "Last attempt", lambda row: row["last"], is_number=True),
)
DUE = (
    Column("owner", "Owner", lambda row: row["owner"]),
    Column("kind", "What", lambda row: row["kind"]),
    Column("entry", "Entry", lambda row: row["entry"]),
    Column("place", "Where", lambda row: row["place"]),
    Column("message", "Why", lambda row: row["message"]),
)


def waiting(answers: Answered, query: Query) -> Context:
    """All mail that waits."""
    waits = answers["waiting"].value
    rows = [] if waits is None else waits["waiting"]
    return {**_common(answers), "waits": waits, "table": sorted_table(WAITING, rows, "/waiting", query)}


def origins(answers: Answered, query: Query) -> Context:
    """The origins with the most attempts."""
    flow = answers["flow"].value
    rows = [] if flow is None else flow["origins"]
    return {**_common(answers), "flow": flow, "table": sorted_table(ORIGINS, rows, "/origins", query)}


def lost(answers: Answered, query: Query) -> Context:
    """Mail that was deferred and never came back."""
    report = answers["report"].value
    rows = [] if report is None else report["lost"]
    return {**_common(answers), "report": report, "table": sorted_table(LOST, rows, "/lost", query)}


def review(answers: Answered, query: Query) -> Context:
    """Whitelist entries that are due for review."""
    report = answers["report"].value
    return {
        **_common(answers),
        "report": report,
        "table": sorted_table(DUE, _due(report), "/review", query),
    }


def record(answers: Answered, query: Query) -> Context:
    """One record, its keys, and the story of its mail."""
    del query
    told = answers["record"].value
    commands = commands_of_record(told["record"]) if told and told["record"] else []
    return {**_common(answers), "told": told, "commands": commands, **_history(answers)}


def search(answers: Answered, query: Query) -> Context:
    """The mail that was searched for."""
    decisions = _decisions(answers)
    return {
        **_common(answers),
        "query": query.get("q", "").strip(),
        "foreign": (answers.get("line", Answer()).value or {}).get("foreign"),
        "decisions": decisions,
        **_history(answers),
    }


def live(answers: Answered, query: Query) -> Context:
    """The latest decisions, all or those with one action."""
    decisions = _decisions(answers)
    only = query.get("only", "")
    if only in ACTIONS:
        decisions = [each for each in decisions if each["action"] == only]
    known = answers["history"].value is not None
    return {**_common(answers), "decisions": decisions, "only": only, "actions": ACTIONS, "is_known": known}


def steer(answers: Answered, query: Query) -> Context:
    """The mode, and the form that changes it."""
    del query
    return _common(answers)


def mine(answers: Answered, query: Query) -> Context:
    """What is expected; the template shows what is of the user."""
    del query
    told = answers["expected"].value
    return {**_common(answers), "expected": None if told is None else told["expected"]}


def providers_of(told: Mapping[str, Any]) -> frozenset[str]:
    """The names of providers, in the answer of `origins.providers`: origins and domains of their hosts."""
    rows = [row for item in told["items"] for row in item.get("providers", ())]
    return frozenset(name.lower().lstrip(".") for row in rows for name in (row["provider"], *row["hosts"]))


def values(answers: Answered, query: Query) -> Context:
    """The answers as they are."""
    del query
    return {name: answer.value for name, answer in answers.items()}


def _decisions(answers: Answered) -> list[Mapping[str, Any]]:
    """The decisions in the answer `history`, the latest first."""
    items = (answers.get("history", Answer()).value or {}).get("items", ())
    stories = [story for item in items for story in item.get("stories", ())]
    decisions = [decision for story in stories for decision in story["decisions"]]
    return sorted(decisions, key=lambda each: -each["time"])


def decision(answers: Answered, query: Query) -> Context:
    """One decision: what was decided, and how the same attempt would be judged now."""
    told = answers["explained"].value
    return {**_common(answers), "name": query.get("id", ""), "told": told, "meaning_of": meaning_of}


def _history(answers: Answered) -> Context:
    """The stories of the answer `history`, if it is there."""
    answer = answers.get("history", Answer())
    items = (answer.value or {}).get("items", ())
    found = stories_of(items)
    return {
        "stories": found[:_MOST_STORIES],
        "more_stories": len(found) > _MOST_STORIES or bool(items and items[0]["more"]),
        "oldest": items[0]["recorded_since"] if items else None,
        "lacking": items[0].get("not_recorded") if items else None,
        "is_searched": answer.value is not None,
    }


def origin(answers: Answered, query: Query) -> Context:
    """The latest decisions about one origin."""
    items = (answers["history"].value or {}).get("items", ())
    decisions = _decisions(answers)
    flow = answers["flow"].value or {"origins": ()}
    name = query.get("name", "")
    return {
        **_common(answers),
        "name": name,
        "row": next((row for row in flow["origins"] if row["name"] == name), None),
        "decisions": decisions[:_MOST_DECISIONS],
        "more": len(decisions) > _MOST_DECISIONS or any(item.get("more") for item in items),
    }
