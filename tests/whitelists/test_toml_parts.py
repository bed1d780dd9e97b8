"""A list that is read entry by entry has what tomllib reads from all of it, or is read as a whole."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.errors import ConfigError
from multigrey.whitelists.toml_file import _parse_whole, _UnreadableError, understood
from multigrey.whitelists.toml_parts import UnusualError, parts

LINES = [
    *[
        "[[entry]]",
        " [[ entry ]] # c",
        "[[entry]]x",
        "[list]",
        "[entry.more]",
        "[other]",
        "",
        "# [[entry]]",
        "  ",
    ],
    *[
        'client = "192.0.2.1"',
        "client='192.0.2.0/24'",
        'client = ".example.org" # "c"',
        'client = "a\\u0062.org"',
    ],
    *[
        'sender = "a@example.org"',
        "added = 2026-11-22",
        "added = 2026-13-22",
        "expires = 2026-12-31T18:00:00Z",
    ],
    *["enabled = false", "enabled = False", "reason = 3", 'reason = "x" y', 'reason = "\t"', "owner.x = 1"],
    *['reason = """', '"""', "x = [", "[1]]", "review_by = 2027-01-01 ", "\x7f", 'client = ""', "client"],
]
FILE = Path("a.toml")


def outcome(read, text):
    try:
        found = read(FILE, text, "me")
    except ConfigError as error:
        return [(each.line, each.key, each.message) for each in error.problems]
    except _UnreadableError as error:
        return [(error.line, "", error.message)]
    if isinstance(found, tuple):
        found, problems = found
        if problems:
            return [(each.line, each.key, each.message) for each in problems]
    return [*found.entries], found.owner


@given(st.lists(st.sampled_from(LINES), max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_both_ways_read_the_same(lines, end):
    text = end.join(lines)
    assert outcome(understood, text) == outcome(_parse_whole, text)


@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_the_parts_are_the_tables_of_tomllib(lines):
    text = "\n".join(lines)
    try:
        head, following = parts(text)
        found = [part.values for part in following]
    except UnusualError:
        return
    assert tomllib.loads(text) == ({**head, "entry": found} if found else head)


@pytest.mark.parametrize(
    "text", ['x = """\n[[entry]]\n"""', "entry = []", "[[entry]]\n[list]\n", "[[entry]]\nx"]
)
def test_what_cannot_be_cut_is_read_as_a_whole(text):
    with pytest.raises(UnusualError):
        list(parts(text)[1])
