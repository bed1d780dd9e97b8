"""What happens next to a mail, and the commands that change it: from its story and today's verdict.  Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from multigrey.analysis.timeline import Ending, Story
from multigrey.identity.addresses import LONGEST_ADDRESS
from multigrey.identity.redaction import TOKEN
from multigrey.model import Action, DecisionEvent, Reason, Verdict

__all__ = [
    "NextStep",
    "Remedy",
    "outlook",
    "remedies",
    "remedies_without_attempt",
    "whitelist_add",
    "whitelist_command",
]

_FIRST = frozenset({Reason.NEW, Reason.EXPIRED, Reason.OVER_LIMIT})
"""Reasons of an attempt of which no earlier one counts."""


@dataclass(frozen=True, slots=True)
class NextStep:
    """What happens next."""

    text: str
    at: int = 0
    """From when on (seconds since 1970); 0: that is not a question of time."""
    until: int = 0


@dataclass(frozen=True, slots=True)
class Remedy:
    """A command to copy, and what it does."""

    command: str
    purpose: str


def outlook(story: Story, now: int, retry_window: int, verdict: Verdict | None) -> NextStep:
    """What happens next; `verdict` is what its last attempt would get now (None: not known)."""
    last = story.events[-1]
    if story.ending is Ending.REFUSED:
        return NextStep(f"the rule {last.verdict.rule or 'that refused it'} refuses the next attempt as well")
    if story.ending in {Ending.ACCEPTED, Ending.PASSED}:
        return NextStep(_after_pass(last))
    if verdict is not None and verdict.action is Action.PASS:
        return NextStep(f"the next attempt passes: {_clause(verdict.reason.meaning)}")
    if story.ending is Ending.NEVER or (verdict is not None and verdict.reason in _FIRST):
        return NextStep("the next attempt counts as a first one, and is deferred again")
    ready = last.time + last.verdict.retry_after
    if verdict is not None and ready <= now:
        # Not before: an early retry at this moment may make the wait longer, which it has not done yet.
        ready = now + verdict.retry_after
    if ready > now:
        return NextStep("the sender's server tries again by itself, and a retry passes", ready)
    return NextStep(
        "the next retry passes; the sender's server has to make it", 0, story.first + retry_window
    )


def _after_pass(last: DecisionEvent) -> str:
    verdict = last.verdict
    if verdict.observed:
        return "greylisting was only observed: the mail passed whatever the verdict"
    if verdict.reason in {Reason.RETRY, Reason.KNOWN}:
        return (
            "multigrey let it pass, and lets the next one pass at once: if it is not in the mailbox, the "
            "mail server's log says what became of it after that time"
        )
    return f"multigrey let it pass: {_clause(verdict.reason.meaning)}"


def _clause(meaning: str) -> str:
    """A sentence as the end of another."""
    return (meaning[:1].lower() + meaning[1:]).rstrip(".")


def remedies(story: Story) -> Iterator[Remedy]:
    """The commands for a story, the mildest first."""
    last = story.events[-1]
    attempt = last.attempt
    is_plain = not attempt.raw and _is_plain(attempt.sender) and _is_plain(attempt.recipient)
    if is_plain and story.ending in {Ending.WAITING, Ending.NEVER}:
        if story.ending is Ending.WAITING:
            words = [f"--sender={attempt.sender or '<>'}", f"--recipient={attempt.recipient}"]
            yield _remedy("let its next retry pass at once", "records", "pass", *words)
        yield from _expected(attempt.recipient, attempt.sender.rpartition("@")[2])
        if command := whitelist_command(last):
            yield Remedy(command, "never delay mail from there")
    if story.ending is not Ending.PASSED:
        yield _remedy("see every step of the decision", "explain", last.id)


def remedies_without_attempt(recipient: str, sender: str) -> Iterator[Remedy]:
    """The commands for a mail that was never tried; `sender` is an address, a domain, or ""."""
    if _is_plain(recipient) and _is_plain(sender):
        yield from _expected(recipient, sender.rpartition("@")[2])


def _expected(recipient: str, domain: str) -> Iterator[Remedy]:
    if "@" in recipient and not recipient.startswith("-"):
        words = [recipient, *([f"--from={domain}"] if "." in domain else [])]
        yield _remedy("let mail from there to this recipient pass for a quarter of an hour", "expect", *words)


def whitelist_command(event: DecisionEvent) -> str:
    """The command that adds the origin of a decision to a whitelist; "" if nothing is known to add."""
    origin, address = event.origin, event.attempt.client_address
    if origin and "/" not in origin and _is_plain(origin):
        return whitelist_add(origin=origin)
    return "" if address is None else whitelist_add(client=str(address))


def whitelist_add(**entry: str) -> str:
    """The command that adds an entry with these properties to a whitelist; "" if one cannot be typed."""
    if not all(map(_is_plain, entry.values())):
        return ""
    options = [f"--{key.replace('_', '-')}={value}" for key, value in entry.items()]
    return shlex.join(["multigrey", "whitelist", "add", *options, "--reason=..."])


def _remedy(purpose: str, *words: str) -> Remedy:
    return Remedy(shlex.join(["multigrey", *words]), purpose)


def _is_plain(text: str) -> bool:
    """Whether a text can stand in a command to copy: it is short and printable, and not a token."""
    return len(text) <= LONGEST_ADDRESS and text.isprintable() and not TOKEN.match(text)
