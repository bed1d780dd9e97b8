"""`multigrey personal-data`: which data of persons this configuration keeps, why, and for how long.

The section PERSONAL DATA of multigrey(8) is the same text for the built-in defaults.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from multigrey.background.flow import KEPT as FLOW_KEPT
from multigrey.cli.client import json_text
from multigrey.cli.config import config_option, load_or_refuse
from multigrey.config.settings import Settings
from multigrey.config.tables.control import NoEndpoint
from multigrey.config.values.units import format_duration
from multigrey.evidence.name_ledger import KEPT as NAMES_KEPT
from multigrey.greylist.messages import MOST_MESSAGES
from multigrey.greylist.policy import STANDING_AGE

__all__ = ["OTHERS", "PersonalData", "as_text", "personal_data", "place", "sentences", "statements"]

_WIDTH = 79
OTHERS = (
    "multigrey sees nothing of a message beyond its envelope, and itself sends nothing to other hosts; the "
    "plugins dns and spf ask name servers about client addresses, host names and senders' domains.  The "
    "header X-Greylist shows the recipient how long the mail was delayed, and names no person."
)
"""What other hosts and recipients learn."""
_IN_CLEAR = "client address, envelope sender, recipient and origin, in clear"
_REDACTED = (
    "client address, envelope sender, recipient and unnamed origin as tokens, with the senders' domains"
)


@dataclass(frozen=True, slots=True)
class PersonalData:
    """One kind of data about persons."""

    title: str
    data: str
    """What is kept; a sentence without its end."""
    purpose: str
    kept: str
    """For how long."""
    rows: tuple[str, ...] = ()
    """The tables of the store, and the kinds of its META rows, that this is about."""


def statements(settings: Settings) -> Iterator[PersonalData]:
    """Yield every kind of data about persons that a daemon with these settings keeps or shows."""
    yield from _in_records(settings)
    yield from _by_administrators()
    yield from _elsewhere(settings)


def _in_records(settings: Settings) -> Iterator[PersonalData]:
    grey = settings.greylist
    window = max([grey.retry_window, *(rule.retry_window or 0 for rule in settings.rule)])
    waiting, passed = format_duration(window), format_duration(grey.max_age)
    shown = _shown(settings)
    key = ", ".join(grey.key)
    yield PersonalData(
        "Records",
        f"for each combination of the key's components ({key}; and client network, sender and recipient) "
        f"a keyed hash, and beside it {shown}, the times of the first and last attempt, and the "
        "numbers of attempts and passes",
        "to recognise a sender that comes back, and to show an administrator whom a record is about",
        f"{waiting} after the first attempt if the mail never came back, else {passed} after the last mail",
        ("RECORD",),
    )
    yield PersonalData(
        "Origin records",
        "a keyed hash of the origin (for a client without a name its network) and of the sender's domain, "
        "numbers of messages, deferrals and returns by hour and day, times, and keyed hashes of sender "
        "domains; no readable address",
        "to stop delaying the mail of origins that have proved themselves",
        f"{passed} after the last mail, and of an origin as a whole at least "
        f"{format_duration(max(grey.max_age, STANDING_AGE))}",
        ("ORIGIN",),
    )
    yield PersonalData(
        "Marks",
        "of an attempt over the limit of new records a fingerprint of its key, two times, how often it came "
        "too early, and keyed hashes of the client's networks and address; no readable address",
        "to recognise the attempt when it comes back",
        waiting,
        ("MARK",),
    )
    yield PersonalData(
        "Evidence about names",
        "of a registered domain whose hosts were deferred its name, kinds of host names without their "
        "numbers, and keyed hashes of client networks, of domains announced in HELO and of sender "
        "domains, with times",
        "to distinguish a provider's servers from its customers' machines",
        format_duration(NAMES_KEPT),
        ("names",),
    )

    yield PersonalData(
        "Figures of origins",
        "by hour, of the origins with the most attempts, "
        + (
            "the name, or a token for a client network"
            if settings.log.redact
            else "the name or client network"
        )
        + ", and numbers of attempts, deferrals, returns and delays",
        "to show where mail comes from and how long it was delayed",
        format_duration(FLOW_KEPT),
        ("flow-origins",),
    )


def _by_administrators() -> Iterator[PersonalData]:
    yield PersonalData(
        "Expectations",
        "a recipient, the sender's domain if one was given, a reason, the user who asked, and times",
        "to let mail pass that a person waits for",
        "until the time given with multigrey expect",
        ("expect",),
    )
    yield PersonalData(
        "Blocked keys",
        "only what was added with greylistd's words (add --black): client address, sender and recipient, or "
        "the words given, in clear",
        "to refuse them",
        "until they are deleted",
        ("blocked",),
    )
    yield PersonalData(
        "Modes and hits",
        "the user who changed a mode, and when; of each whitelist entry, which may name a person, how often "
        "and when it matched",
        "to show who changed what, and which entries are still needed",
        "a mode until it is over; hits until the entry is removed",
        ("override", "hits"),
    )


def _elsewhere(settings: Settings) -> Iterator[PersonalData]:
    log, history = settings.log, settings.history
    if history.enabled:
        yield PersonalData(
            "History",
            f"in history.mdb every decision with {_shown(settings)}, host name, HELO and login",
            "to find out what became of a mail",
            f"{format_duration(history.max_age)}, and at most {history.max_entries:,} decisions",
        )
    yield PersonalData(
        "Decision log",
        f"one line for each attempt with the same as in the history, written to {log.to} in the form "
        f"{log.format}",
        "to find out what became of a mail",
        "as long as that log is kept, see journald.conf(5) and logrotate(8); multigrey itself never reads it",
    )
    yield PersonalData(
        "Copies",
        "what multigrey backup and multigrey export wrote, and a damaged store that was moved aside "
        "(store.damaged.N)",
        "to restore the service, and to look at its data with other programs",
        "until they are deleted; multigrey does not delete them",
    )
    yield PersonalData(
        "Memory",
        f"the last {MOST_MESSAGES:,} messages by sender, origin and recipients, and senders that were "
        "known a moment ago",
        "to decide fast, and once for all recipients of a message",
        "until the daemon ends",
    )


def _shown(settings: Settings) -> str:
    return _REDACTED if settings.log.redact else _IN_CLEAR


def sentences(one: PersonalData) -> str:
    """A statement as prose."""
    return f"{one.data[0].upper()}{one.data[1:]}.  Purpose: {one.purpose}.  Kept: {one.kept}."


def place(settings: Settings) -> str:
    """Where the data is, and who can read it."""
    control = settings.control
    groups = [name for name in (control.read_group, control.operate_group, control.admin_group) if name]
    text = (
        f"Everything is in {settings.state_dir}, which only root and the daemon's user can read, and in the "
        "decision log."
    )
    if isinstance(control.address, NoEndpoint) or not groups:
        return text
    return f"{text}  Members of these groups may ask the daemon for it: {', '.join(dict.fromkeys(groups))}."


def as_text(settings: Settings) -> Iterator[str]:
    """The statements as paragraphs for a terminal, of at most 79 columns."""
    yield from textwrap.wrap(place(settings), _WIDTH)
    for one in statements(settings):
        yield ""
        yield one.title
        yield from textwrap.wrap(sentences(one), _WIDTH, initial_indent="    ", subsequent_indent="    ")
    yield ""
    yield from textwrap.wrap(OTHERS, _WIDTH)


@click.command()
@config_option
@click.option(
    "--json", "json_", is_flag=True, help="Write JSON: a list of title, data, purpose, kept and rows."
)
def personal_data(config: Path | None, *, json_: bool) -> None:
    """List which data of persons is kept, why, and how long.

    The list is made from the configuration, for a record of processing activities or a privacy notice.

    Exit status: 0, or 2 when the configuration is wrong (the problems go to standard error).
    """
    settings = load_or_refuse(config).settings
    if json_:
        click.echo(json_text([asdict(one) for one in statements(settings)], indent=2))
        return
    for line in as_text(settings):
        click.echo(line)
