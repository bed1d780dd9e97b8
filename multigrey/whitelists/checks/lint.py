"""Lint for whitelists: finds entries that are unused, have no owner, or are too generous.

Lists become outdated: those shipped with other greylisting programs are years old, and entries whose
reason is unknown are never removed.  Lint reports which entries must be reviewed, and by which owner.
It changes nothing, and an entry with findings still matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from multigrey.codec import Hits
from multigrey.errors import Problem
from multigrey.matching.matchers import Network
from multigrey.model import DAY
from multigrey.text import counted
from multigrey.whitelists.checks.coverage import covered
from multigrey.whitelists.checks.regexes import loose_ends
from multigrey.whitelists.entry import NEVER, Condition, ListedEntry, day_begin

__all__ = ["KINDS", "Finding", "HitRecords", "LintKind", "LintOutlook", "LintedList", "lint"]


class LintKind(NamedTuple):
    """A kind of finding."""

    severity: str
    """`warning`: the owner should act; `note`: for information."""
    meaning: str


KINDS: Mapping[str, LintKind] = MappingProxyType(
    {
        "expired": LintKind(
            "warning", "The entry has expired and does not match any more: remove or renew it."
        ),
        "stale": LintKind("warning", "The day by which the entry was to be reviewed has passed."),
        "expires-soon": LintKind("warning", "The entry expires within the time given with `--within`."),
        "review-soon": LintKind(
            "warning", "The entry is due for review within the time given with `--within`."
        ),
        "duplicate": LintKind("warning", "An earlier entry has the same conditions."),
        "shadowed": LintKind("warning", "Another entry lets in everything that this one does."),
        "unverifiable": LintKind(
            "warning",
            "The entry relies on the envelope sender, which any client can claim: add a client or an origin.",
        ),
        "loose-pattern": LintKind(
            "warning",
            "A regular expression that is not anchored at its beginning and end: it also matches names of "
            "strangers.",
        ),
        "public-suffix": LintKind(
            "warning", "The name is a public suffix like co.uk: anyone can register a name below it."
        ),
        "shared-hosts": LintKind(
            "warning", "Names below this one belong to different customers of a provider."
        ),
        "too-wide": LintKind("warning", "A network larger than /16 (IPv6: /32)."),
        "example": LintKind("warning", "An address or name of examples or tests, which no client ever has."),
        "unused": LintKind(
            "warning",
            "The entry has never matched, or not for the time given with `--unused`, as far as hits are "
            "known.",
        ),
        "no-owner": LintKind("warning", "The entry has no owner."),
        "no-reason": LintKind("warning", "The entry has no reason."),
        "dates": LintKind("warning", "Dates that cannot be right."),
        "ignored": LintKind("warning", "A line that cannot be used."),
        "no-review": LintKind("note", "The entry has neither a review date nor an expiry date."),
        "host-only": LintKind(
            "note", "The name is a registered domain: the entry covers the host of that name, not its hosts."
        ),
        "disabled": LintKind("note", "The entry is switched off."),
        "old-list": LintKind("note", "No entry was added to the list for a year."),
        "ignored-file": LintKind(
            "note", "A file in a drop-in directory is not read: its name does not end with .toml."
        ),
    }
)


class Finding(NamedTuple):
    """One finding about an entry or a list, for its owner."""

    kind: str
    path: Path
    line: int | None
    owner: str
    entry: str
    """The conditions of the entry; "" for a finding about a whole list."""
    message: str

    @property
    def severity(self) -> str:
        """`warning` or `note`."""
        return KINDS[self.kind].severity


@dataclass(frozen=True)
class LintedList:
    """One list file and its content."""

    path: Path
    source: str
    entries: Sequence[ListedEntry] = ()
    owner: str = ""
    unusable: tuple[Problem, ...] = ()
    """Lines that cannot be used and are left out."""
    ignored: tuple[Path, ...] = ()
    """Files in the same directory that are not read."""
    dated: bool = True
    """Whether the format has reasons and dates."""

    @property
    def newest(self) -> date | None:
        """The latest `added` date of its entries; None if no entry has one."""
        return max((entry.added for entry in self.entries if entry.added is not None), default=None)


class HitRecords(NamedTuple):
    """The counted hits of whitelist entries."""

    since: int
    """Wall-clock second since which hits are counted."""
    by_entry: Mapping[tuple[str, str], Hits]
    """By source and hit name (see `list_source.hit_name`)."""


def _unknown_domain(name: str) -> str | None:
    return name


@dataclass(frozen=True)
class LintOutlook:
    """The time, limits and functions that lint uses to check lists; times and limits in seconds."""

    now: int
    """Wall-clock time."""
    within: int = 30 * DAY
    unused: int = 180 * DAY
    registered_domain: Callable[[str], str | None] = _unknown_domain
    shared_host: Callable[[str], bool] = lambda _name: False
    hits: HitRecords | None = None
    """None: not known, so that unused entries are not reported."""
    hit_name: Callable[[ListedEntry, str], str] = lambda entry, _source: entry.text
    """Returns the name under which the hits of an entry of a source are counted."""


def lint(lists: Sequence[LintedList], outlook: LintOutlook) -> list[Finding]:
    """Return all findings about the lists of a configuration, in the order of lists and lines."""
    found = [finding for each in lists for finding in _of_list(each, outlook)]
    used = [entry for each in lists for entry in each.entries if _in_use(entry, outlook.now)]
    for pair in covered(used):
        kind = "duplicate" if pair.same else "shadowed"
        verb = "has the same conditions as" if pair.same else "is covered by"
        found.append(_finding(kind, pair.entry, f"{verb} {pair.by.path}:{pair.by.line} ({pair.by.text})"))
    order = {path: number for number, path in enumerate(dict.fromkeys(each.path for each in lists))}
    found.sort(key=lambda each: (order.get(each.path, len(order)), each.line or 0))
    return found


def _in_use(entry: ListedEntry, now: int) -> bool:
    return entry.enabled and now < entry.until


def _finding(kind: str, entry: ListedEntry, message: str) -> Finding:
    return Finding(kind, entry.path, entry.line, entry.owner, entry.text, message)


# --- whole lists -----------------------------------------------------------------------------------


def _of_list(each: LintedList, outlook: LintOutlook) -> Iterator[Finding]:
    for problem in each.unusable:
        yield Finding("ignored", Path(problem.file), problem.line, each.owner, "", problem.message)
    for path in each.ignored:
        yield Finding(
            "ignored-file", path, None, each.owner, "", "is not read: its name does not end with .toml"
        )
    if not each.dated and not each.owner and each.entries:
        message = "has no owner: add owner to its [[whitelist]] table"
        yield Finding("no-owner", each.path, None, "", "", message)
    newest = each.newest
    if newest is not None and outlook.now - day_begin(newest) > 365 * DAY:
        age = counted((outlook.now - day_begin(newest)) // DAY, "day")
        yield Finding(
            "old-list", each.path, None, each.owner, "", f"its newest entry was added {age} ago ({newest})"
        )
    for entry in each.entries:
        yield from _of_entry(entry, each, outlook)


# --- single entries --------------------------------------------------------------------------------


def _of_entry(entry: ListedEntry, each: LintedList, outlook: LintOutlook) -> Iterator[Finding]:
    if not entry.enabled:
        yield _finding("disabled", entry, "is switched off")
    elif outlook.now >= entry.until:
        ago = (outlook.now - entry.until) // DAY
        when = f"{counted(ago, 'day')} ago" if ago else "within the last day"
        yield _finding(
            "expired", entry, f"expired {when} ({entry.expires}) and matches nothing: remove or renew it"
        )
        return
    if each.dated:
        yield from _dates(entry, outlook)
        yield from _owner_and_reason(entry)
    for condition in entry.conditions:
        yield from (_finding(kind, entry, message) for kind, message in _of_condition(condition, outlook))
    subjects = {condition.subject for condition in entry.conditions}
    if "sender" in subjects and not subjects & {"client", "origin"}:
        message = "relies on the envelope sender, which any client can claim: add a client or an origin"
        yield _finding("unverifiable", entry, message)
    if entry.enabled:
        yield from _unused(entry, each.source, outlook)


def _dates(entry: ListedEntry, outlook: LintOutlook) -> Iterator[Finding]:
    now, review, added = outlook.now, entry.review_by, entry.added
    if entry.enabled and entry.until != NEVER and entry.until - now <= outlook.within:
        yield _finding("expires-soon", entry, f"expires {_ahead(entry.until - now)} ({entry.expires})")
    if review is not None:
        left = day_begin(review) + DAY - now
        if left <= 0:
            late = counted(-left // DAY + 1, "day")
            yield _finding("stale", entry, f"was to be reviewed by {review}, {late} ago")
        elif left <= outlook.within:
            yield _finding("review-soon", entry, f"is to be reviewed by {review}, {_ahead(left)}")
    elif entry.expires is None and entry.enabled:
        yield _finding("no-review", entry, "has neither review_by nor expires, so it is never reviewed")
    if added is not None:
        if day_begin(added) > now + DAY:  # a day of tolerance: in other time zones it is tomorrow already
            yield _finding("dates", entry, f"was added on {added}, which is in the future")
        if review is not None and review < added:
            yield _finding("dates", entry, f"is to be reviewed by {review}, before it was added ({added})")
        if entry.until <= day_begin(added):
            yield _finding("dates", entry, f"expires on {entry.expires}, before it was added ({added})")


def _ahead(seconds: int) -> str:
    return f"in {counted(seconds // DAY, 'day')}" if seconds >= DAY else "within a day"


def _owner_and_reason(entry: ListedEntry) -> Iterator[Finding]:
    if not entry.owner:
        yield _finding("no-owner", entry, "has no owner: add one, who is responsible for it")
    if not entry.reason:
        yield _finding("no-reason", entry, "has no reason: add one, to know whether it is still needed")


def _unused(entry: ListedEntry, source: str, outlook: LintOutlook) -> Iterator[Finding]:
    hits = outlook.hits
    if hits is None:
        return
    since = max(hits.since, 0 if entry.added is None else day_begin(entry.added))
    tally = hits.by_entry.get((source, outlook.hit_name(entry, source)))
    last = since if tally is None else tally.last
    silent = outlook.now - last
    if silent <= outlook.unused:
        return
    if tally is None:
        yield _finding("unused", entry, f"has never matched in {counted(silent // DAY, 'day')} of counting")
    else:
        yield _finding(
            "unused",
            entry,
            f"last matched {counted(silent // DAY, 'day')} ago ({counted(tally.number, 'time')} in all)",
        )


# --- single conditions -----------------------------------------------------------------------------

_WIDEST = {4: 16, 6: 32}
_EXAMPLE_NETWORKS = tuple(
    map(
        ip_network,
        ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32", "3fff::/20"),
    )
)
"""RFC 5737, RFC 2544, RFC 3849, RFC 9637."""
_EXAMPLE_NAMES = ("example", "invalid", "test", "example.org", "example.com", "example.net")
"""RFC 2606."""
_PRIVATE_NETWORKS = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "127.0.0.0/8",
            "100.64.0.0/10",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)
"""RFC 1918, 1122, 6598, 4193, 4291: the site's own networks, which are never too wide."""


def _of_condition(condition: Condition, outlook: LintOutlook) -> Iterator[tuple[str, str]]:
    """Yield the kind and the message of each finding about one condition."""
    if condition.network is not None:
        yield from _of_network(condition.network)
    elif condition.how.endswith("regex"):
        ends = loose_ends(condition.text) if condition.subject == "client" else ""
        if ends:
            yield "loose-pattern", f"/{condition.text}/ {ends}"
    elif condition.subject != "recipient":
        yield from _of_name(condition, outlook)


def _of_network(network: Network) -> Iterator[tuple[str, str]]:
    if any(_within(network, other) for other in _EXAMPLE_NETWORKS):
        yield "example", f"{network} is reserved for examples and tests (RFC 5737, 2544, 3849)"
    elif network.prefixlen < _WIDEST[network.version] and not any(
        _within(network, other) for other in _PRIVATE_NETWORKS
    ):
        count = 1 << (32 if network.version == 4 else 64) - network.prefixlen
        what = "addresses" if network.version == 4 else "networks of length 64"
        yield "too-wide", f"holds {count:,} {what}, which do not all have one owner: name a smaller network"


def _within(network: Network, other: Network) -> bool:
    if network.version != other.version or network.prefixlen < other.prefixlen:
        return False
    return network.network_address in other


def _of_name(condition: Condition, outlook: LintOutlook) -> Iterator[tuple[str, str]]:
    name = condition.text.rpartition("@")[2] if condition.how == "exact" else condition.text
    if condition.how == "user" or not name or name.startswith("["):
        return
    if any(name == example or name.endswith(f".{example}") for example in _EXAMPLE_NAMES):
        yield "example", f"{name} is reserved for examples and tests (RFC 2606)"
    elif condition.how in {"below", "domain below"} and _is_public_suffix(name, outlook.registered_domain):
        yield "public-suffix", f"{name} is a public suffix: anyone can register a name below it"
    elif condition == Condition("client", "exact", name) and _is_registered(name, outlook.registered_domain):
        yield "host-only", f"covers only the host {name}; write .{name} for its hosts too"
    elif condition.subject == "client" and outlook.shared_host(name):
        message = f"names like {name} belong to the current customer of a provider, and later to another one"
        yield "shared-hosts", message


def _is_registered(name: str, registered_domain: Callable[[str], str | None]) -> bool:
    return registered_domain(f"a.{name}") == name


def _is_public_suffix(name: str, registered_domain: Callable[[str], str | None]) -> bool:
    return registered_domain(name) is None and registered_domain(f"a.{name}") is not None
