"""Answers as a daemon gives them, for pages without one."""

from __future__ import annotations

from copy import deepcopy

from multigrey.control.client import ControlError

NOW = 1_790_000_000
KEY = "0123456789abcdef" * 2


def delays(**changes):
    return {
        "deferred": 5,
        "returned": 3,
        "waiting": 1,
        "never": 1,
        "p50": 150,
        "p95": 900,
        "longest": 901,
        **changes,
    }


def waits(number=0, **changes):
    return {
        "key": KEY,
        "state": "waiting",
        "client": "192.0.2.1",
        "sender": f"s{number}@example.org",
        "recipient": "r@example.net",
        "origin": "example.org",
        "named": True,
        "first_seen": NOW - 60,
        "last_seen": NOW - 60,
        "delay": 120,
        "attempts": 1,
        "early": 0,
        "passed_at": None,
        "passes": 0,
        "observed": False,
        "ready": NOW + 60,
        "until": NOW + 86_400,
        **changes,
    }


def origin(name="example.org", **changes):
    counts = {"attempts": 9, "deferred": 5, "returned": 3, "never": 1, "p50": 150, "p95": 900}
    return {"name": name, "kind": "named", **counts, **changes}


def flows(**changes):
    """The answer to `flow`; `changes` are those of its totals."""
    columns = ["deferred", "passed", "refused", "observed", "first", "returned", "at_once", "back"]
    begin = NOW - NOW % 300
    counts = dict(zip(columns, (8, 10, 0, 0, 5, 3, 7, 3), strict=True))
    return {
        "time": NOW,
        "since": NOW - 86_400,
        "recorded_since": NOW - 40 * 86_400,
        "retry_window": 2 * 86_400,
        "step": 300,
        "columns": columns,
        "slots": [
            [begin - 900, True, [1, 2, 0, 0, 1, 1, 1, 0]],
            [begin - 600, True, None],
            [begin - 300, True, [3, 4, 0, 0, 2, 1, 3, 2]],
            [begin, False, [4, 4, 0, 0, 2, 1, 3, 1]],
        ],
        "totals": {**counts, "settled": 4, "never": 1, "p50": 150, "p95": 900, **changes},
        "bounds": [60, 300, 3600],
        "histogram": [0, 2, 1, 0],
        "days": [[NOW - (3 - day) * 86_400, 5, 130 + day, 900] for day in range(4)],
        "week": {
            "deferred": 5_010,
            "never": 4_120,
            "since": NOW - 9 * 86_400,
            "until": NOW - 2 * 86_400,
            "first_figures": None,
        },
        "origins": [origin()],
    }


def lost(**changes):
    row = {"sender": "l@example.org", "recipient": "r@example.net", "origin": "192.0.2.0/24"}
    return {**row, "first": NOW - 9, "last": NOW - 8, "attempts": 2, "id": "abcdef", **changes}


def decided(**changes):
    """A decision in the history."""
    return {
        "time": NOW - 60,
        "id": "abcdef",
        "action": "defer",
        "reason": "new",
        "sender": "s@example.org",
        "recipient": "r@example.net",
        "raw": "",
        "client_name": None,
        "client_address": "192.0.2.1",
        "origin": "example.org",
        "retry_after": 120,
        "source": "",
        "entry": "",
        "owner": "",
        "rule": "",
        "observed": False,
        **changes,
    }


def told(*decisions, more=False, **changes):
    """The items of the answer to `history`, with one story."""
    story = {
        "sender": "s@example.org",
        "recipient": "r@example.net",
        "raw": "",
        "ending": "waiting",
        "first": decisions[0]["time"],
        "last": decisions[-1]["time"],
        "delay": 0,
        "clients": 1,
        "origins": 1,
        "decisions": list(decisions),
        **changes,
    }
    head = {"time": NOW, "since": None, "recorded_since": NOW - 900, "retry_window": 2 * 86_400}
    return [{**head, "decisions": len(decisions), "more": more}, {"stories": [story]}]


ANSWERS = {
    "status": {
        "version": "0.2.0",
        "now": NOW,
        "uptime": 90_061.5,
        "connections": {"open": 3, "most": 100},
        "mode": {"configured": "enforce", "in_effect": "enforce"},
        "overrides": [],
        "store": {"records": 12, "used": 4096},
        "limits": {"full": False},
        "floods": [],
        "input": [],
        "plugins": [{"name": "web", "failures": 0}],
    },
    "growth": {
        "time": NOW,
        "since": 0,
        "every": 3600,
        "columns": ["hour", "records", "origins", "octets", "deferred", "passed", "refused"],
        "samples": [
            [NOW - NOW % 3600 - 3600, 11, 2, 4096, 1, 2, 0],
            [NOW - NOW % 3600, 12, 2, 4096, 5, 6, 0],
        ],
    },
    "flow": flows(),
    "report": {
        "time": NOW,
        "since": NOW - 86_400,
        "more": False,
        "traffic": {"decisions": 20, "passed_at_once": 7, "first": NOW - 80_000},
        "delays": delays(),
        "first_figures": None,
        "slot": 3600,
        "slots": [{"begin": NOW - 3600, "deferred": 5, "returned": 3, "passed": 7}],
        "histogram": [1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        "delay_bounds": [300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400],
        "lost": [lost()],
        "due": [
            {
                "owner": "",
                "entries": [
                    {
                        "owner": "",
                        "kind": "stale",
                        "place": "/etc/list:2",
                        "entry": "client=x",
                        "message": "look",
                    }
                ],
            }
        ],
    },
    "waiting": {
        "time": NOW,
        "waiting": [waits()],
        "delayed": 1,
        "ready": 0,
        "looked": 1,
        "total": 1,
        "complete": True,
        "more": False,
    },
    "records.show": {
        "time": NOW,
        "record": waits(),
        "keys": [{"key": KEY, "record": waits()}, {"key": KEY[::-1], "record": None}],
        "trust": None,
    },
    "history": {"items": told(decided())},
    "explain": {
        "time": NOW,
        "attempt": {
            "client_address": "192.0.2.1",
            "client_name": None,
            "helo": "mx",
            "sender": "s@example.org",
            "recipient": "r@example.net",
            "listener": "smtp",
            "raw": "",
        },
        "read": None,
        "then": decided(),
        "origin": {"text": "example.org", "named": True},
        "verdict": {"action": "defer", "reason": "early", "meaning": "Too early.", "observed": False},
        "certain": True,
        "decided_by": "records",
        "steps": [
            {"step": "mode", "outcome": "enforce", "details": []},
            {"step": "records", "outcome": "first seen", "details": []},
        ],
        "advice": [{"text": "a retry passes", "from": NOW + 60, "until": None}],
    },
}


class Asked:
    """A daemon that gives these answers; an answer that is an exception is raised."""

    def __init__(self, **changes):
        self.answers = {
            **deepcopy(ANSWERS),
            **{name.replace("_", "."): value for name, value in changes.items()},
        }
        self.questions = []

    async def __call__(self, name, options):
        self.questions.append((name, dict(options)))
        found = self.answers[name]
        if isinstance(found, ControlError):
            raise found
        return found
