"""Registered domains by the public suffix list, without a walk through it for the usual ones.

Most names lie below a suffix of one label (`com`, `de`), and no longer rule is about the domain they
are in.  Two look-ups show that; every other name is left to the library, which takes several times as
long, and every stranger brings a name that nobody asked for before.

For a name below no suffix of the list the list's algorithm says that the prevailing rule is `*`
(publicsuffix.org/list): its top-level domain is a suffix, the domain below it is registered.  So
top-level domains that are newer than the list, and private ones, work like any other.  Only a name
that ends in a number is no name of a host but an address (RFC 3696 section 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from publicsuffixlist import PSLFILE, PublicSuffixList

__all__ = ["RegisteredDomains", "read_list"]


def read_list() -> Iterator[str]:
    """The lines of the list inside the package publicsuffixlist.  Raises OSError."""
    with Path(PSLFILE).open(encoding="utf-8") as file:
        yield from file


class RegisteredDomains:
    """A list, ready to be asked; both its sections count."""

    __slots__ = ("_below", "_ends", "_list", "_tops")

    def __init__(self, lines: Iterable[str]) -> None:
        """`lines` in the form of publicsuffix.org's list."""
        self._tops: set[str] = set()
        self._ends: set[str] = set()
        self._below: set[str] = set()
        """The last two labels of every longer rule, wildcards and exceptions too."""
        self._list = PublicSuffixList(map(self._noted, lines), accept_unknown=True)

    def __call__(self, name: str) -> str | None:
        """The registered domain of a name, None if it has none.

        `name` as `identity.addresses.host_name` gives it.  None have: suffixes, names of one label, names
        that end in a number, and texts with an empty label.
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
    """The rule of a line, if it has one, also with its labels as A-labels."""
    rule = line.partition(" ")[0].strip().lower()
    if not rule or rule.startswith("//"):
        return
    rule = rule.removeprefix("!")
    yield rule
    if not rule.isascii():
        yield rule.encode("idna").decode("ascii")
