"""Registered domains of host names, by the public suffix list, with a fast path for common names.

Most names are below a suffix of one label (`com`, `de`), and no rule of more labels concerns their
domain.  Two set look-ups show that.  The library handles every other name, which takes several times
as long.  A cache would not help: each new client brings a name that was not looked up before.

For a name below no suffix of the list, the list's algorithm applies the prevailing rule `*`
(publicsuffix.org/list): the top-level domain is a suffix, and the domain below it is registered.  So
private top-level domains, and those newer than the list, work like any other.  A name that ends in a
number is an address rather than a host name (RFC 3696 section 2), and has no registered domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from publicsuffixlist import PSLFILE, PublicSuffixList

__all__ = ["RegisteredDomains", "read_list"]


def read_list() -> Iterator[str]:
    """Yield the lines of the list inside the package publicsuffixlist.  Raises OSError."""
    with Path(PSLFILE).open(encoding="utf-8") as file:
        yield from file


class RegisteredDomains:
    """A public suffix list (both its sections), as a function from a name to its registered domain."""

    __slots__ = ("_below", "_ends", "_list", "_tops")

    def __init__(self, lines: Iterable[str]) -> None:
        """`lines`: a list in the format of publicsuffix.org."""
        self._tops: set[str] = set()
        self._ends: set[str] = set()
        self._below: set[str] = set()
        """The last two labels of every rule of two or more labels, wildcards and exceptions included."""
        self._list = PublicSuffixList(map(self._noted, lines), accept_unknown=True)

    # Shortcut of PublicSuffixList.privatesuffix.
    def __call__(self, name: str) -> str | None:
        """Return the registered domain of a name; None if it has none.

        `name` is in the form that `identity.addresses.host_name` returns.  Suffixes, names of one label,
        names that end in a number, and texts with an empty label have no registered domain.
        """
        rest, _, top = name.rpartition(".")
        if not rest or top.isdecimal():
            return None
        if top in self._tops or (top and top not in self._ends):
            domain = f"{rest.rpartition('.')[2]}.{top}"
            if domain not in self._below and f"*.{top}" not in self._below:
                return None if ".." in name or name[0] == "." else domain
        return self._list.privatesuffix(name)

    def _noted(self, line: str) -> str:
        for rule in _rules(line):
            rest, _, top = rule.rpartition(".")
            self._ends.add(top)
            if rest:
                self._below.add(f"{rest.rpartition('.')[2]}.{top}")
            else:
                self._tops.add(top)
        return line


def _rules(line: str) -> Iterator[str]:
    """Yield the rule of a line, if the line has one, and the same rule with its labels as A-labels."""
    rule = line.partition(" ")[0].strip().lower()
    if not rule or rule.startswith("//"):
        return
    rule = rule.removeprefix("!")
    yield rule
    if not rule.isascii():
        yield rule.encode("idna").decode("ascii")
