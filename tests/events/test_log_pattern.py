"""Patterns of log lines: octets that are not UTF-8 stay what they are."""

from __future__ import annotations

from multigrey.events.log_pattern import LogPattern


def test_groups_and_what_follows():
    found = LogPattern(r"to=<([^>]*)>( x)?,").search("from=<a> to=<j\udcf6rg@ü.example>, rest\udcff")
    assert found is not None
    assert (found[1], found.groups()) == ("j\udcf6rg@ü.example", ("j\udcf6rg@ü.example", None))
    assert found.rest == " rest\udcff"


def test_no_match():
    assert LogPattern("a+").search("b") is None
