"""Commands and options that manual pages and READMEs name exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from multigrey.cli import main

ROOT = Path(__file__).resolve().parents[1]
EVERY_PAGE = [
    *sorted((ROOT / "man").glob("*.[1-9]")),
    *sorted(ROOT.glob("plugins/*/man/*.[1-9]")),
    ROOT / "README.md",
    *sorted(ROOT.glob("*/*/README.md")),
]
CALL = re.compile(r"^(?:\.(?:Ql|Dl|Li) |[#$] |)(?:sudo )?multigrey(?= )(.*)$")
PROSE = "adds|and|does|itself|in|is|reads|sees"
"""What follows the program's name where it is the subject of a sentence."""


def called(line):
    """The words after `multigrey` in a line that shows a command; None: it shows none."""
    found = CALL.match(line.replace("\\-", "-").replace("\\(aq", "'"))
    if found is None or re.match(rf" (?:{PROSE})\b", found[1]):
        return None
    return re.split(r"[|;>#&]", found[1])[0].split()


def stale_names(line):
    """Names of commands and options in a line of a page that do not exist."""
    words = [word for word in called(line) or [] if word not in {".", ",", ":", ";"}]
    command = main
    options = {option for each in main.params for option in each.opts}
    for word in words:
        if isinstance(command, click.Group) and re.fullmatch("[a-z][a-z-]+", word):
            found = command.get_command(click.Context(command), word)
            if found is None:
                return [word]
            command = found
            options |= {option for each in command.params for option in each.opts + each.secondary_opts}
    named = {word.partition("=")[0].rstrip(".,:") for word in words if word.startswith("--")}
    return sorted(named - options - {"--help", "--version"})


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_that_a_page_names_exists(page):
    stale = {line: names for line in page.read_text().splitlines() if (names := stale_names(line))}
    assert stale == {}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (".Ql multigrey whitelist add", []),
        ("# multigrey --state-dir X status --json", []),
        (".Ql multigrey whitelist put", ["put"]),
        (".Ql multigrey personal\\-date", ["personal-date"]),
        ("$ multigrey history --form x@example.org", ["--form"]),
        ("multigrey sees nothing of a message", []),
    ],
)
def test_a_stale_name_is_found(line, names):
    assert stale_names(line) == names
