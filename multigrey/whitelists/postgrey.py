r"""Reads whitelist files in postgrey's two formats, for clients and for recipients.

One entry per line.  `#` begins a comment, also at the end of a line (in a regular expression write it
as `\\x23`).  Blank lines are ignored.  Text is UTF-8.

Clients, compared with the client address and the *verified* client name:
    example.org         the name and all its sub-domains
    192.0.2.1           an IPv4 address
    192.0.2.0/24        an IPv4 network
    192.0.2  192.0  10  the first octets of one: /24, /16, /8
    2001:db8::1         an IPv6 address
    2001:db8::/32       an IPv6 network
    /regex/             searched in the client name only (never in the address, as with postgrey)

Recipients, compared with the key text of the envelope recipient (see
`identity.addresses.normalise_address`: unquoted, lower case, A-labels):
    user@               that local part in any domain, also user+extension@
    user@example.org    that address, also user+extension@example.org
    example.org         every address in the domain and its sub-domains
    /regex/             searched in the whole address

Regular expressions have RE2's syntax, ignore case and are not anchored.  A client without a verified
name matches by its address only; unlike postgrey, it is not compared as the word "unknown".

The file of the same name with `.local` at the end is read too if it exists, as postgrey does for its
default files; its entries come after the others.  A line that cannot be used is reported in `warnings`
and ignored.  A file that cannot be read raises ConfigError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from multigrey.contracts import SourceOptions
from multigrey.errors import AddressError, ConfigError, Problem
from multigrey.identity.addresses import host_name, normalise_address, split_address
from multigrey.identity.envelope import address_text
from multigrey.matching.matchers import (
    AddressTable,
    NameTable,
    Network,
    NetworkTable,
    RegexSet,
    parse_network,
)
from multigrey.model import Attempt, Match
from multigrey.whitelists.checks.misfits import clients_instead, ends_in_number, every_one, why_never
from multigrey.whitelists.entry import Condition, ListedEntry, network_condition

__all__ = [
    "ClientList",
    "RecipientList",
    "companion",
    "postgrey_clients",
    "postgrey_entries",
    "postgrey_recipients",
]

_NUMERIC = re.compile(r"[0-9./]+")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*")
_NAME_LENGTH = 253
_DOUBTFUL = frozenset(["unknown", "UNKNOWN", "Unknown"])


class _Line(NamedTuple):
    file: str
    number: int
    text: str


class _BadLineError(Exception):
    """A line that cannot be used; the text says why."""


def postgrey_clients(options: SourceOptions) -> ClientList:
    """Return the clients of a file in postgrey's format.  Raises ConfigError if it cannot be read."""
    return ClientList(_lines(options, "postgrey-clients"), options.owner)


def postgrey_recipients(options: SourceOptions) -> RecipientList:
    """Return the recipients of a file in postgrey's format.  Raises ConfigError if it cannot be read."""
    return RecipientList(_lines(options, "postgrey-recipients"), options.owner)


def postgrey_entries(options: SourceOptions, source: str) -> tuple[list[ListedEntry], tuple[Problem, ...]]:
    """Return the entries of a file in the format of `source`, for lint, and the lines that cannot be used.

    Raises ConfigError if the file cannot be read.
    """
    clients = source == ClientList.name
    lines = list(_lines(options, source))
    entries = []
    for line in lines:
        with suppress(_BadLineError):
            condition = _client_condition(line.text) if clients else _recipient_condition(line.text)
            place = Path(line.file), line.number
            entries.append(ListedEntry(*place, (condition,), options.owner, written=line.text))
    warnings = (ClientList(lines) if clients else RecipientList(lines)).warnings
    unusable = {(Path(problem.file), problem.line) for problem in warnings}
    return [entry for entry in entries if (entry.path, entry.line) not in unusable], warnings


def _client_condition(text: str) -> Condition:
    if text.startswith("/"):
        return Condition("client", "regex", _pattern(text, "client"))
    key = _client(text)
    return Condition("client", "below", key) if isinstance(key, str) else network_condition(key)


def _recipient_condition(text: str) -> Condition:
    if text.startswith("/"):
        return Condition("recipient", "regex", _pattern(text, "recipient"))
    user, domain = _recipient(text)
    if not user:
        return Condition("recipient", "domain below", domain)
    return (
        Condition("recipient", "exact", f"{user}@{domain}")
        if domain
        else Condition("recipient", "user", user)
    )


class ClientList:
    """A list of clients, compiled for matching: by address first, then by name, then by pattern."""

    name = "postgrey-clients"

    def __init__(self, lines: Iterable[_Line], owner: str = "") -> None:
        self._owner = owner
        self._networks: NetworkTable[str] = NetworkTable()
        self._names: NameTable[str] = NameTable()
        entries = _Entries(self._add, "client")
        entries.read(lines)
        self._patterns = entries.patterns()
        self.count = entries.keyed + len(self._patterns)
        """The number of entries in use."""
        self.warnings = tuple(entries.warnings)
        """Lines that cannot be used, with the reason."""

    def _add(self, text: str) -> None:
        key = _client(text)
        if isinstance(key, str):
            self._names.add(key, key if key == text else text)
        else:
            self._networks.add(key, text)

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with its entries (see `matching.matchers`)."""
        return [*self._networks.parts(), *self._names.parts()]

    def match(self, attempt: Attempt) -> Match | None:
        """See `WhitelistSource.match`."""
        found = self._find(attempt)
        return None if found is None else Match(self.name, found, self._owner, carries=True)

    def _find(self, attempt: Attempt) -> str | None:
        address = attempt.client_address
        if address is not None:
            found = self._networks.get(address)
            if found is not None:
                return found
        if attempt.client_name is None:
            return None
        name = host_name(attempt.client_name)
        return self._names.get(name) or self._patterns.get(name)


class RecipientList:
    """A list of recipients, compiled for matching: by address, local part, domain, then pattern."""

    name = "postgrey-recipients"

    def __init__(self, lines: Iterable[_Line], owner: str = "") -> None:
        self._owner = owner
        self._addresses: AddressTable[str] = AddressTable()
        self._domains: NameTable[str] = NameTable()
        entries = _Entries(self._add, "recipient")
        entries.read(lines)
        self._patterns = entries.patterns()
        self.count = entries.keyed + len(self._patterns)
        """The number of entries in use."""
        self.warnings = tuple(entries.warnings)
        """Lines that cannot be used, with the reason."""

    def _add(self, text: str) -> None:
        local, domain = _recipient(text)
        if local:
            self._addresses.add((local, domain), text)
        else:
            self._domains.add(domain, text)

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with its entries (see `matching.matchers`)."""
        return [*self._addresses.parts(), *self._domains.parts()]

    def match(self, attempt: Attempt) -> Match | None:
        """See `WhitelistSource.match`."""
        found = self._find(attempt)
        return None if found is None else Match(self.name, found, self._owner)

    def _find(self, attempt: Attempt) -> str | None:
        recipient = address_text(attempt.recipient)
        local, domain = split_address(recipient)
        if domain and local:
            found = self._addresses.get(local, domain) or self._domains.get(domain)
            if found is not None:
                return found
        return self._patterns.get(recipient)


class _Entries:
    """The entries of a list, separated into keys and patterns.

    A list may have a million entries.  So lines are read one after the other, and the text of an entry is all
    that is kept of it: the garbage collector does not look at texts, but a million objects of our own would
    stop all threads for a second.
    """

    def __init__(self, add: Callable[[str], None], subject: str) -> None:
        """`add` takes the text of every entry that is not a regular expression into a table.

        `subject`: `client` or `recipient`, as in conditions.
        """
        self._subject = subject
        self._add = add
        self._regexes: list[tuple[str, _Line]] = []
        self.keyed = 0
        self.warnings: list[Problem] = []

    def read(self, lines: Iterable[_Line]) -> None:
        """Read the lines."""
        for line in lines:
            try:
                if line.text.startswith("/"):
                    self._regexes.append((_pattern(line.text, self._subject), line))
                else:
                    self._add(line.text)
                    self.keyed += 1
            except _BadLineError as error:
                self._warn(line, str(error))

    def patterns(self) -> RegexSet[str]:
        """Compile the regular expressions; those that cannot be used become warnings."""
        found = RegexSet((pattern, line.text) for pattern, line in self._regexes)
        for index, reason in found.rejected.items():
            line = self._regexes[index][1]
            self._warn(line, f"{line.text[:80]!a}: this regular expression cannot be used: {reason}")
        self.warnings.sort(key=lambda problem: (problem.file, problem.line or 0))
        return found

    def _warn(self, line: _Line, message: str) -> None:
        self.warnings.append(Problem(line.file, line.number, "", f"{message}; the line is ignored"))


def companion(path: Path) -> Path | None:
    """The `.local` file of a list, whether it exists or not; None for a `.local` file itself."""
    return None if path.name.endswith(".local") else path.with_name(f"{path.name}.local")


def _lines(options: SourceOptions, source: str) -> Iterator[_Line]:
    path = options.path
    if path is None:
        raise ConfigError([Problem("", None, "whitelist.path", f"source {source} needs the path of a file")])
    yield from _read(path)
    local = companion(path)
    if local is not None and local.exists():
        yield from _read(local)


def _read(path: Path) -> Iterator[_Line]:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if text := line.removeprefix("\ufeff" if number == 1 else "").partition("#")[0].strip():
                    yield _Line(str(path), number, text)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise ConfigError([Problem(str(path), None, "whitelist.path", reason)]) from error


def _pattern(text: str, subject: str) -> str:
    if len(text) < 3 or not text.endswith("/"):
        _refuse(text, "a regular expression is written /regex/, with a # in it as \\x23")
    if subject == "client" and (why := why_never(text)):
        _refuse(text, why)
    if every_one(text[1:-1], subject):
        what = "client that has a verified name" if subject == "client" else subject
        _refuse(text, f"matches every {what}: write those that you mean")
    return text[1:-1]


def _client(text: str) -> Network | str:
    if ":" not in text and not _NUMERIC.fullmatch(text):
        if ends_in_number(text) or text in _DOUBTFUL or " " in text:
            _refuse_misfit(text)
        return _domain(text)
    try:
        return parse_network(text)
    except AddressError:
        _refuse_misfit(text)
        _refuse(text, "not an IP address, ADDRESS/LENGTH, or the first octets of an IPv4 address")


def _refuse_misfit(text: str) -> None:
    """Refuse what is written in the form of another program, or can never match."""
    if instead := clients_instead(text):
        clients = " and ".join(each.removeprefix(".") for each in instead)
        _refuse(text, f"would never match: write {clients}{', each on a line' if len(instead) > 1 else ''}")
    if why := why_never(text):
        _refuse(text, why)


def _recipient(text: str) -> tuple[str, str]:
    """The local part and the domain of a line; an empty part stands for any."""
    if len(text.split()) > 1:
        _refuse(text, "an address or a domain must not contain spaces")
    if "*" in text:
        _refuse(text, "wildcards are not supported: write user@, user@example.org, example.org or /regex/")
    local, at, domain = text.rpartition("@")
    if not at:
        return "", _domain(text)
    if not local:
        _refuse(text, f"the local part is missing: write {domain or 'example.org'} for a whole domain")
    if domain and not domain.startswith("["):
        _domain(domain)
    user, _ = split_address(normalise_address(f"{local}@localhost"))
    return user, host_name(domain)


def _domain(text: str) -> str:
    name = host_name(text)
    if text.startswith((".", "*.")):
        _refuse(text, f"sub-domains always match: write {text.lstrip('*.') or 'example.org'}")
    if len(name) > _NAME_LENGTH or not _NAME.fullmatch(name):
        _refuse(text, "not a domain name, nor any other entry of this format")
    return name


def _refuse(text: str, why: str) -> NoReturn:
    raise _BadLineError(f"{text[:80]!a}: {why}")
