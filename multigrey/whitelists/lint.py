"""What is wrong with whitelists as lists: entries nobody needs, answers for, or should trust.

Lists rot: peers' shipped ones are years out of date, and nobody dares to remove what nobody knows the
reason of.  Lint says which entries somebody has to look at, and who.  It only judges; it changes
nothing, and nothing it says keeps an entry from matching.
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
from multigrey.whitelists.coverage import covered
from multigrey.whitelists.entry import NEVER, Condition, ListedEntry, day_begin
from multigrey.whitelists.regexes import loose_ends

__all__ = ["KINDS", "Finding", "HitRecords", "LintKind", "LintOutlook", "LintedList", "lint"]


class LintKind(NamedTuple):
    """A kind of finding."""

    severity: str
    """`warning`: something to do; `note`: something to know."""
    meaning: str


KINDS: Mapping[str, LintKind] = MappingProxyType(
    {
        "expired": LintKind(
            "warning", "The entry has expired and lets nobody in any more: remove or renew it."
        ),
        "stale": LintKind("warning", "The day by which the entry was to be reviewed has passed."),
        "expires-soon": LintKind("warning", "The entry expires within the time given with `--within`."),
        "review-soon": LintKind(
            "warning", "The entry is due for review within the time given with `--within`."
        ),
        "duplicate": LintKind("warning", "An entry before this one asks for the same."),
        "shadowed": LintKind("warning", "Another entry lets in everything that this one does."),
        "unverifiable": LintKind(
            "warning",
            "The entry believes an envelope sender, which anybody can claim; give it a client or an origin.",
        ),
        "loose-pattern": LintKind(
            "warning",
            "A regular expression without an end or beginning: strangers can have names it is found in.",
        ),
        "public-suffix": LintKind(
            "warning", "Anybody can have a name below this one, which is a public suffix like co.uk."
        ),
        "shared-hosts": LintKind(
            "warning", "Names below this one belong to different customers of a provider."
        ),
        "too-wide": LintKind("warning", "A network larger than /16 (IPv6: /32)."),
        "example": LintKind("warning", "An address or name of examples or tests, which no client ever has."),
        "unused": LintKind(
            "warning",
            "The entry never matched, or not for the time given with `--unused`, as far as hits are known.",
        ),
        "no-owner": LintKind("warning", "Nobody answers for the entry."),
        "no-reason": LintKind("warning", "The entry does not say what it is for."),
        "dates": LintKind("warning", "Dates that cannot be right."),
        "ignored": LintKind("warning", "A line that cannot be used."),
        "no-review": LintKind("note", "The entry has neither a day for its review nor an end."),
        "disabled": LintKind("note", "The entry is switched off."),
        "old-list": LintKind("note", "Nothing was added to the list for a year."),
        "ignored-file": LintKind(
            "note", "A file in a drop-in directory is not read: its name does not end with .toml."
        ),
    }
)


class Finding(NamedTuple):
    """Something an owner should look at."""

    kind: str
    path: Path
    line: int | None
    owner: str
    entry: str
    """What the entry asks for; "" for a finding about a whole list."""
    message: str

    @property
    def severity(self) -> str:
        """`warning` or `note`."""
        return KINDS[self.kind].severity


@dataclass(frozen=True)
class LintedList:
    """One file and what is in it."""

    path: Path
    source: str
    entries: tuple[ListedEntry, ...] = ()
    owner: str = ""
    unusable: tuple[Problem, ...] = ()
    """Lines of it that are left out."""
    ignored: tuple[Path, ...] = ()
    """Files beside it that are not read."""
    dated: bool = True
    """Whether the format has reasons and dates."""

    @property
    def newest(self) -> date | None:
        """The last day on which an entry was added, as far as they say."""
        return max((entry.added for entry in self.entries if entry.added is not None), default=None)


class HitRecords(NamedTuple):
    """What is known of how often entries matched."""

    since: int
    """Wall-clock second since which hits are counted."""
    by_entry: Mapping[tuple[str, str], Hits]
    """By source and hit name (see `lists.hit_name`)."""


def _unknown_domain(name: str) -> str | None:
    return name


@dataclass(frozen=True)
class LintOutlook:
    """What lists are judged by."""

    now: int
    """Wall-clock time."""
    within: int = 30 * DAY
    unused: int = 180 * DAY
    registered_domain: Callable[[str], str | None] = _unknown_domain
    shared_host: Callable[[str], bool] = lambda _name: False
    hits: HitRecords | None = None
    """None: not known."""
    hit_name: Callable[[ListedEntry, str], str] = lambda entry, _source: entry.text
    """Under which name hits of an entry of a source are counted."""


def lint(lists: Sequence[LintedList], outlook: LintOutlook) -> list[Finding]:
    """Everything there is to say about the lists of a configuration, in their order."""
    found = [finding for each in lists for finding in _of_list(each, outlook)]
    used = [entry for each in lists for entry in each.entries if _in_use(entry, outlook.now)]
    for pair in covered(used):
        kind = "duplicate" if pair.same else "shadowed"
        verb = "asks for the same as" if pair.same else "is covered by"
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
        message = "nobody answers for this list: give its [[whitelist]] table an owner"
        yield Finding("no-owner", each.path, None, "", "", message)
    newest = each.newest
    if newest is not None and outlook.now - day_begin(newest) > 365 * DAY:
        age = days((outlook.now - day_begin(newest)) // DAY)
        yield Finding(
            "old-list", each.path, None, each.owner, "", f"its newest entry was added {age} ago ({newest})"
        )
    for entry in each.entries:
        yield from _of_entry(entry, each, outlook)


def days(number: int) -> str:
    """A number of days in words."""
    return "1 day" if number == 1 else f"{number} days"


# --- single entries --------------------------------------------------------------------------------


def _of_entry(entry: ListedEntry, each: LintedList, outlook: LintOutlook) -> Iterator[Finding]:
    if not entry.enabled:
        yield _finding("disabled", entry, "is switched off")
    elif outlook.now >= entry.until:
        ago = (outlook.now - entry.until) // DAY
        when = f"{days(ago)} ago" if ago else "within the last day"
        yield _finding(
            "expired", entry, f"expired {when} ({entry.expires}) and matches nobody: remove or renew it"
        )
        return
    if each.dated:
        yield from _dates(entry, outlook)
        yield from _papers(entry)
    for condition in entry.conditions:
        yield from (_finding(kind, entry, message) for kind, message in _of_condition(condition, outlook))
    subjects = {condition.subject for condition in entry.conditions}
    if "sender" in subjects and not subjects & {"client", "origin"}:
        message = "believes the envelope sender, which anybody can claim: give it a client or an origin, too"
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
            late = days(-left // DAY + 1)
            yield _finding("stale", entry, f"was to be reviewed by {review}, {late} ago")
        elif left <= outlook.within:
            yield _finding("review-soon", entry, f"is to be reviewed by {review}, {_ahead(left)}")
    elif entry.expires is None and entry.enabled:
        yield _finding("no-review", entry, "has neither review_by nor expires: nobody will look at it again")
    if added is not None:
        if day_begin(added) > now + DAY:  # somewhere it is tomorrow already
            yield _finding("dates", entry, f"was added on {added}, which is in the future")
        if review is not None and review < added:
            yield _finding("dates", entry, f"is to be reviewed by {review}, before it was added ({added})")
        if entry.until <= day_begin(added):
            yield _finding("dates", entry, f"expires on {entry.expires}, before it was added ({added})")


def _ahead(seconds: int) -> str:
    return f"in {days(seconds // DAY)}" if seconds >= DAY else "within a day"


def _papers(entry: ListedEntry) -> Iterator[Finding]:
    if not entry.owner:
        yield _finding("no-owner", entry, "has no owner: nobody answers for it")
    if not entry.reason:
        yield _finding("no-reason", entry, "has no reason: nobody will know whether it is still needed")


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
        yield _finding("unused", entry, f"has never matched in {days(silent // DAY)} of counting")
    else:
        yield _finding(
            "unused", entry, f"last matched {days(silent // DAY)} ago ({tally.number} times in all)"
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
"""RFC 1918, 1122, 6598, 4193, 4291: one's own, however large."""


def _of_condition(condition: Condition, outlook: LintOutlook) -> Iterator[tuple[str, str]]:
    """Kinds and messages."""
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
        yield "too-wide", f"holds {count:,} {what}: nobody answers for all of them"


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
        yield "public-suffix", f"{name} is a public suffix: anybody can have a name below it"
    elif condition.subject == "client" and outlook.shared_host(name):
        message = f"names like {name} are given to whoever rents a machine, and to somebody else afterwards"
        yield "shared-hosts", message


def _is_public_suffix(name: str, registered_domain: Callable[[str], str | None]) -> bool:
    return registered_domain(name) is None and registered_domain(f"a.{name}") is not None
