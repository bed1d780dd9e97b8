"""The story of a mail in words: what became of it, what happens next, and the commands for that.  Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multigrey.api import Reason
from multigrey_web.words import counted, duration, visible

__all__ = ["Command", "Form", "Story", "commands_of_record", "meaning_of", "stories_of"]

_TOKEN = re.compile(r"h:[a-z2-7]{16}")
_MEANINGS = {reason.value: reason.meaning for reason in Reason}
SIGNS = {"defer": "wait", "pass": "pass", "reject": "reject"}
"""The look of each action."""
_LOOKS = {
    "accepted": "pass",
    "passed": "pass",
    "waiting": "wait",
    "never came back": "never",
    "refused": "reject",
}
_FEW = 12
"""Most decisions of a story that are shown one by one."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command to copy."""

    text: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Form:
    """Something to do about a mail: a button, and what it sends."""

    act: str
    label: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Story:
    """A story as a page shows it."""

    sender: str
    recipient: str
    look: str
    outcome: str
    next: str
    next_at: int | None
    """When a retry passes; None: that is not a question of time."""
    before: int | None
    """When the first attempt was, if its decision is not among those that were read."""
    decisions: Sequence[Mapping[str, Any]]
    """The first and the latest ones, if there are many."""
    hidden: int
    """Decisions between the first and the latest ones that are not shown."""
    commands: Sequence[Command]
    acts: Sequence[Form]
    """What users may be allowed to do about it."""
    last: int


def meaning_of(reason: str) -> str:
    """What a reason means; "" for one that this version does not know."""
    return _MEANINGS.get(reason, "")


def stories_of(items: Sequence[Mapping[str, Any]]) -> list[Story]:
    """The stories in the answer of `history`, the one with the latest decision first."""
    if not items:
        return []
    now, window = items[0]["time"], items[0].get("retry_window", 0)
    found = [_story(story, now, window) for item in items[1:] for story in item["stories"]]
    return sorted(found, key=lambda story: -story.last)


def _story(story: Mapping[str, Any], now: int, window: int) -> Story:
    decisions = story["decisions"]
    hidden = max(len(decisions) - _FEW, 0)
    shown = decisions if not hidden else [decisions[0], *decisions[-_FEW + 1 :]]
    begins_before = story["first"] < decisions[0]["time"] and story["ending"] != "passed"
    what, at = _next(story, now, window)
    return Story(
        sender=story["sender"],
        recipient=story["raw"] or story["recipient"],
        look=_LOOKS.get(story["ending"], "never"),
        outcome=_outcome(story, now),
        next=what,
        next_at=at,
        before=story["first"] if begins_before else None,
        decisions=shown,
        hidden=hidden,
        commands=list(_commands(story)),
        acts=list(_acts(story)),
        last=story["last"],
    )


def _outcome(story: Mapping[str, Any], now: int) -> str:
    count = len(story["decisions"])
    tries = counted(count, "attempt")
    if story["clients"] > 1:
        tries += f" from {counted(story['clients'], 'client address', 'client addresses')}"
    if story["origins"] > 1:
        tries += f" of {counted(story['origins'], 'origin')}"
    ending = story["ending"]
    if ending == "accepted":
        return f"Accepted after {duration(story['delay'])}: {tries}"
    if ending == "waiting":
        return f"Waiting for {duration(max(now - story['first'], 0))}: {tries}"
    if ending == "passed":
        return f"Passed at once: {tries}"
    return f"{ending.capitalize()}: {tries}"


def _next(story: Mapping[str, Any], now: int, window: int) -> tuple[str, int | None]:
    """What happens next, and the second from which on a retry passes."""
    last, ending = story["decisions"][-1], story["ending"]
    if ending == "waiting":
        ready = last["time"] + last["retry_after"]
        until = f" for another {duration(story['first'] + window - now)}" if window else ""
        if ready > now:
            return (
                f"The sender's server tries again by itself: a retry passes in {duration(ready - now)}.",
                ready,
            )
        return f"The next retry passes{until}: the sender's server has to make it.", ready
    if ending == "never came back":
        return "The next attempt would count as a first one, and be deferred again.", None
    if ending == "refused":
        return f"The rule {last['rule'] or 'that refused it'} refuses the next attempt as well.", None
    return _after_pass(last), None


def _after_pass(last: Mapping[str, Any]) -> str:
    reason = last["reason"]
    if last["observed"]:
        return "Greylisting was only observed: the mail passed whatever the verdict."
    if reason == "whitelisted":
        owner = f", owner {last['owner']}" if last["owner"] else ""
        return f"It passes as long as {last['entry']} is in {last['source']}{owner}."
    if reason == "rule":
        return f"It passes by the rule {last['rule']}."
    if reason in {"retry", "known"}:
        return "This sender is known now: its next mail to this recipient passes at once."
    return meaning_of(reason)


def _commands(story: Mapping[str, Any]) -> Iterator[Command]:
    last = story["decisions"][-1]
    texts = (story["sender"], story["recipient"])
    if not story["raw"] and all(map(_is_plain, texts)) and story["ending"] in {"waiting", "never came back"}:
        sender, recipient = story["sender"] or "<>", story["recipient"]
        if story["ending"] == "waiting":
            yield _pass(sender, recipient)
        if not recipient.startswith("-"):
            domain = sender.rpartition("@")[2] if "@" in sender else ""
            words = ["multigrey", "expect", recipient, *([f"--from={domain}"] if domain else [])]
            yield Command(
                shlex.join(words), "let mail from there to this recipient pass for a quarter of an hour"
            )
        yield from _whitelisted(last["origin"], last["client_address"] or "")
    if _is_plain(last["id"]):
        yield Command(shlex.join(["multigrey", "explain", last["id"]]), "see every step of the decision")


def _acts(story: Mapping[str, Any]) -> Iterator[Form]:
    texts = (story["sender"], story["recipient"])
    if (
        story["raw"]
        or not all(map(_is_plain, texts))
        or story["ending"] not in {"waiting", "never came back"}
    ):
        return
    sender, recipient = texts
    if story["ending"] == "waiting":
        yield Form("pass", "Let its next retry pass", {"sender": sender or "<>", "recipient": recipient})
    fields = {"recipient": recipient, "seconds": "3600"}
    if "@" in sender:
        fields["from"] = sender.rpartition("@")[2]
    yield Form("expect", "Let mail from there pass for an hour", fields)


def _pass(sender: str, recipient: str) -> Command:
    words = ["multigrey", "records", "pass", f"--sender={sender}", f"--recipient={recipient}"]
    return Command(shlex.join(words), "let its next retry pass at once")


def _whitelisted(origin: str, client: str) -> Iterator[Command]:
    """The command for everything that comes from there; an origin without a name is a client."""
    is_named = bool(origin) and "/" not in origin
    value = origin if is_named else client
    if value and _is_plain(value):
        option = "--origin" if is_named else "--client"
        words = ["multigrey", "whitelist", "add", f"{option}={value}", "--reason=..."]
        yield Command(shlex.join(words), "never delay mail from there")


def commands_of_record(record: Mapping[str, Any]) -> list[Command]:
    """The commands for a record that waits."""
    if record["state"] != "waiting" or not all(map(_is_plain, (record["sender"], record["recipient"]))):
        return []
    if not record["client"] and not record["sender"]:  # a key that a client made itself
        return []
    passing = _pass(record["sender"] or "<>", record["recipient"])
    return [passing, *_whitelisted(record["origin"], record["client"])]


def _is_plain(text: str) -> bool:
    """Whether a text can stand in a command: nothing in it is invisible, and it is not a token."""
    return len(text) <= 320 and visible(text) == text and not _TOKEN.match(text)
