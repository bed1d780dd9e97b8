"""Tables that match a text or address in microseconds, independent of the number of their entries.

- `NetworkTable`: networks by length of prefix, with a hash table of network numbers for each length; the
  longest matching prefix wins.
- `NameTable`: names with their sub-domains, found by walking the suffixes of the wanted name.
- `AddressTable`: envelope addresses, or their local parts alone, with any extension.
- `RegexSet`: many regular expressions in one automaton (google-re2), so that no pattern can take more than
  linear time.

All stay as they were made; one may be made in one thread and used in another.  `get` returns the *value* of
the matching entry, `every` all values.  Of equal entries the first one counts.  A value must not be None.

`add` is for a source with entries for several tables.  `place` is for one that keeps several values together:
it returns the mapping and the key under which an entry is filed.

A table may hold a million entries, and to free these in one go would stop all threads: `parts` are for
freeing them piece by piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Network, NetmaskValueError
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import re2

from multigrey.errors import AddressError
from multigrey.model import Address

__all__ = [
    "TEXT_LIMIT",
    "AddressTable",
    "NameTable",
    "Network",
    "NetworkTable",
    "RegexSet",
    "parse_network",
]

T = TypeVar("T")

Network = IPv4Network | IPv6Network

TEXT_LIMIT = 1024
"""Characters; a longer text never matches a regular expression.  Real names and addresses are far shorter."""

_SET_MEMORY = 64 << 20
_PATTERN_MEMORY = 1 << 20
_NO_ROOM = "the expressions before it use up the memory"
_PROBE = "\x00multigrey probe\x00"
"""A text that no mail server sends, and that is added as a pattern to test the automaton."""


_OCTETS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,3}")
_IPV4_INSIDE = (
    (IPv6Network("::ffff:0:0/96"), 96),
    (IPv6Network("64:ff9b::/96"), 96),
    (IPv6Network("2002::/16"), 16),
)
"""IPv6 networks that contain IPv4 addresses, and after which bit (see `parse_client_address`)."""


def parse_network(text: str) -> Network:
    """The network of a list entry: an address, ADDRESS/LENGTH, or the first octets of IPv4.

    `192.0` is 192.0.0.0/16.  Bits after the prefix are ignored.  A network of IPv6 addresses that stand for
    IPv4 hosts becomes the network of those hosts, because clients are looked up in that form.  Raises
    AddressError, also for the length 0: an address entry that matches every client is certainly a mistake.
    """
    try:
        if "/" not in text and _OCTETS.fullmatch(text):
            octets = text.split(".")
            padded = ".".join(octets + ["0"] * (4 - len(octets)))
            return IPv4Network(f"{padded}/{8 * len(octets)}")
        if text.partition("/")[2].isdigit() or "/" not in text:
            kind = IPv6Network if ":" in text else IPv4Network
            network = _ipv4_inside(kind(text, strict=False))
            if network.prefixlen:
                return network
    except (AddressValueError, NetmaskValueError):
        pass
    raise AddressError(f"not an IP address or network: {text[:80]!a}")


def _ipv4_inside(network: Network) -> Network:
    if isinstance(network, IPv6Network):
        for outer, bits in _IPV4_INSIDE:
            if network.prefixlen >= bits and network.subnet_of(outer):
                number = int(network.network_address) >> (96 - bits) & 0xFFFFFFFF
                return IPv4Network((number, min(network.prefixlen - bits, 32)))
    return network


class NetworkTable(Generic[T]):
    """Values by network; looked up by address."""

    __slots__ = ("_ipv4", "_ipv6")

    def __init__(self, entries: Iterable[tuple[Network, T]] = ()) -> None:
        self._ipv4: dict[int, dict[int, T]] = {}
        self._ipv6: dict[int, dict[int, T]] = {}
        """By the number of bits after the prefix, the smallest first, and the number of the network."""
        for network, value in entries:
            self.add(network, value)

    def add(self, network: Network, value: T) -> None:
        """Take one more entry."""
        shift = network.max_prefixlen - network.prefixlen
        tables = self._ipv6 if network.version == 6 else self._ipv4
        if shift not in tables:
            tables = dict(sorted({**tables, shift: {}}.items(), key=_shift_of))
            if network.version == 6:
                self._ipv6 = tables
            else:
                self._ipv4 = tables
        tables[shift].setdefault(int(network.network_address) >> shift, value)

    def place(self, network: Network) -> tuple[dict[int, T], int]:
        """The mapping and the key of a network."""
        shift = network.max_prefixlen - network.prefixlen
        tables = self._ipv6 if network.version == 6 else self._ipv4
        return tables.get(shift, {}), int(network.network_address) >> shift

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with its entries."""
        return [*self._ipv4.values(), *self._ipv6.values()]

    def __len__(self) -> int:
        return sum(map(len, self.parts()))

    def get(self, address: Address) -> T | None:
        """The value of the smallest network that contains this address; None if there is none."""
        number = int(address)
        for shift, table in (self._ipv4 if isinstance(address, IPv4Address) else self._ipv6).items():
            value = table.get(number >> shift)
            if value is not None:
                return value
        return None

    def every(self, address: Address) -> Iterator[T]:
        """The values of all networks that contain this address, the smallest network first."""
        number = int(address)
        for shift, table in (self._ipv4 if isinstance(address, IPv4Address) else self._ipv6).items():
            value = table.get(number >> shift)
            if value is not None:
                yield value


def _shift_of(item: tuple[int, object]) -> int:
    return item[0]


class NameTable(Generic[T]):
    """Values by host or domain name; each name stands for itself and all its sub-domains."""

    __slots__ = ("_longest", "_table")

    def __init__(self, entries: Iterable[tuple[str, T]] = ()) -> None:
        """Names are in the form that `identity.addresses.host_name` returns: lower case, no trailing dot."""
        self._table: dict[str, T] = {}
        self._longest = 0
        for name, value in entries:
            self.add(name, value)

    def add(self, name: str, value: T) -> None:
        """Take one more entry."""
        self._table.setdefault(name, value)
        self._longest = max(self._longest, len(name))

    def place(self, name: str) -> tuple[dict[str, T], str]:
        """The mapping and the key of a name."""
        return self._table, name

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with its entries."""
        return [self._table]

    def __len__(self) -> int:
        return len(self._table)

    def get(self, name: str) -> T | None:
        """The value of the longest entry that is the name or a parent of it; None if there is none.

        `name` is in the form that `identity.addresses.host_name` returns.
        """
        table = self._table
        name = self._end_of(name)
        while name:
            value = table.get(name)
            if value is not None:
                return value
            name = name.partition(".")[2]
        return None

    def every(self, name: str) -> Iterator[T]:
        """The values of all entries that are the name or a parent of it, the longest first."""
        table = self._table
        name = self._end_of(name)
        while name:
            value = table.get(name)
            if value is not None:
                yield value
            name = name.partition(".")[2]

    def _end_of(self, name: str) -> str:
        """The last labels of a name that can match; bounds the time for a name with very many labels."""
        if len(name) <= self._longest:
            return name
        cut = name.find(".", len(name) - self._longest - 1)
        return "" if cut < 0 else name[cut + 1 :]


class AddressTable(Generic[T]):
    """Values by envelope address, with any extension: `bob@example.org` matches `bob+list@example.org` too.

    An empty domain matches every domain.  An extension in an entry must be in the address too.
    """

    __slots__ = ("_most_pluses", "_table")

    def __init__(self, entries: Iterable[tuple[tuple[str, str], T]] = ()) -> None:
        """Local parts and domains are in the form of `identity.addresses.normalise_address`."""
        self._table: dict[tuple[str, str], T] = {}
        self._most_pluses = 0
        for address, value in entries:
            self.add(address, value)

    def add(self, address: tuple[str, str], value: T) -> None:
        """Take one more entry."""
        self._table.setdefault(address, value)
        self._most_pluses = max(self._most_pluses, address[0].count("+"))

    def place(self, address: tuple[str, str]) -> tuple[dict[tuple[str, str], T], tuple[str, str]]:
        """The mapping and the key of an address."""
        return self._table, address

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with its entries."""
        return [self._table]

    def __len__(self) -> int:
        return len(self._table)

    def get(self, local: str, domain: str) -> T | None:
        """The value of the most specific entry for this address; None if there is none."""
        return next(self.every(local, domain), None)

    def every(self, local: str, domain: str) -> Iterator[T]:
        """The values of all entries that match this address, the most specific first."""
        table = self._table
        for user in self._users(local):
            for key in ((user, domain), (user, "")) if domain else ((user, ""),):
                value = table.get(key)
                if value is not None:
                    yield value

    def _users(self, local: str) -> Iterator[str]:
        """The local part with less and less of its extension; only as many forms as entries can match."""
        if not self._most_pluses and "+" not in local:
            yield local
            return
        parts = local.split("+", self._most_pluses + 1)
        for length in range(min(len(parts), self._most_pluses + 1), 0, -1):
            yield "+".join(parts[:length])


@dataclass(frozen=True, slots=True)
class _Pattern(Generic[T]):
    position: int
    text: bytes
    value: T


class RegexSet(Generic[T]):
    """Values by regular expression (RE2 syntax: no look-around, no back-references), searched all at once.

    Case-insensitive and unanchored.  Time is linear in the length of the text, which is bounded.  Memory is
    bounded by `max_memory` bytes for all patterns together.  A pattern is left out and listed in `rejected`
    if RE2 refuses it, if it is too large, or if it does not fit into the rest of the memory.  Python's `re`
    is never used instead.
    """

    __slots__ = ("_searcher", "_size", "_values", "rejected")

    def __init__(
        self,
        patterns: Iterable[tuple[str, T]] = (),
        *,
        max_memory: int = _SET_MEMORY,
        pattern_memory: int = _PATTERN_MEMORY,
    ) -> None:
        rejected: dict[int, str] = {}
        accepted: list[_Pattern[T]] = []
        for index, (pattern, value) in enumerate(patterns):
            encoded = pattern.encode("utf-8", "surrogateescape")
            reason = _reason_against(encoded, min(pattern_memory, max_memory))
            if reason:
                rejected[index] = reason
            else:
                accepted.append(_Pattern(index, encoded, value))
        self._searcher, self._size = _largest_automaton(accepted, max_memory) if accepted else (None, 0)
        self._values = tuple(pattern.value for pattern in accepted[: self._size])
        rejected |= {pattern.position: _NO_ROOM for pattern in accepted[self._size :]}
        self.rejected: Mapping[int, str] = MappingProxyType(rejected)
        """The reasons by position of the patterns that were left out."""

    def __len__(self) -> int:
        return self._size

    def get(self, text: str) -> T | None:
        """The value of the first pattern that matches the text; None if there is none."""
        if self._searcher is None or len(text) > TEXT_LIMIT:
            return None
        found: list[int] | None = self._searcher.Match(text.encode("utf-8", "surrogateescape"))
        if not found:
            return None
        first = min(found)
        return self._values[first] if first < self._size else None  # the last one is the probe

    def every(self, text: str) -> Iterator[T]:
        """The values of all patterns that match the text, in their order."""
        if self._searcher is None or len(text) > TEXT_LIMIT:
            return
        found: list[int] | None = self._searcher.Match(text.encode("utf-8", "surrogateescape"))
        for index in sorted(found or ()):
            if index < self._size:
                yield self._values[index]


def _options(memory: int) -> re2.Options:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False  # RE2 would write to standard error, not to the log
    options.max_mem = memory
    return options


def _reason_against(pattern: bytes, memory: int) -> str:
    """Why RE2 refuses this pattern; "" if it accepts it."""
    alone = re2.Set.SearchSet(_options(memory))
    try:
        alone.Add(pattern)
    except re2.error:
        try:
            re2.compile(pattern, _options(memory))
        except re2.error as error:
            return _text_of(error)
        return "cannot be used"
    try:
        alone.Compile()
    except re2.error:
        return "too large"
    return ""


def _text_of(error: Exception) -> str:
    """The text of an error of RE2, which gives its reason as bytes."""
    reason = error.args[0] if error.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def _automaton(patterns: Sequence[_Pattern[T]], memory: int) -> re2.Set | None:
    """All patterns in one automaton; None if it does not fit."""
    searcher = re2.Set.SearchSet(_options(memory))
    for pattern in patterns:
        searcher.Add(pattern.text)
    searcher.Add(_PROBE)
    try:
        searcher.Compile()
    except re2.error:
        return None
    # RE2 may compile a set and then lack the memory to search with it; the probe detects that.
    return searcher if searcher.Match(_PROBE) else None


def _largest_automaton(patterns: Sequence[_Pattern[T]], memory: int) -> tuple[re2.Set | None, int]:
    """An automaton of as many of the first patterns as fit, and their number."""
    everything = _automaton(patterns, memory)
    if everything is not None:
        return everything, len(patterns)
    fitting, too_many, best = 0, len(patterns), None
    while too_many - fitting > 1:
        size = (fitting + too_many) // 2
        found = _automaton(patterns[:size], memory)
        if found is None:
            too_many = size
        else:
            fitting, best = size, found
    return best, fitting
