"""Texts that people read are in plain words: a list of those that are not used.

Looked at are string constants, docstrings and comments of the package and of the plugins, man pages and
Markdown.  Identifiers are not.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

INSTEAD = {
    "nought": "zero",
    "anew": "again",
    "whoever": "the client, the caller, the administrator",
    "whomever": "the client",
    "in vain": "without success",
    "is no": "is not a; does not exist",
    "are no": "are not; do not exist",
    "somebody": "a client, another one",
    "nobody": "no client, no caller",
    "everybody": "every client, all",
    "anybody": "any client",
    "told": "given, reported, logged, returned",
    "tells": "says, shows, reports",
    "hears": "receives",
}
"""What is not used, and what is."""
BANNED = re.compile(rf"(?i)(?<![\w\"'`=.-])({'|'.join(INSTEAD)})(?![\w\"'`-])")
ACCOUNT = re.compile(r"(?i)(user|account|become[s]?|as|\\.Ql|SERVE_AS[ =]|User=)\s*[`\"']?nobody")
"""The unix account of this name."""

FILLED_IN = re.compile(r"\{[^{}]*\}")
"""What an f-string fills in is code."""

SOURCES = [
    *sorted((ROOT / "multigrey").rglob("*.py")),
    *sorted(path for path in ROOT.glob("plugins/*/multigrey_*/**/*.py")),
]
PAGES = [
    *sorted((ROOT / "man").glob("*.[1-9]")),
    *sorted(ROOT.glob("plugins/*/man/*.[1-9]")),
    *sorted(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),
    *sorted(ROOT.glob("integrations/*/README.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that people read, with their numbers."""
    source = path.read_text()
    if path.suffix != ".py":
        yield from enumerate(source.split("\n"), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in {tokenize.STRING, tokenize.COMMENT}:
            text = token.string
            if text[:1] in "fF" or text[1:2] in "fF":
                text = FILLED_IN.sub("{}", text)
            yield from enumerate(text.split("\n"), token.start[0])


def wrong(lines: Iterator[tuple[int, str]]) -> list[str]:
    found = []
    for number, line in lines:
        for match in BANNED.finditer(line):
            if match[0].lower() == "nobody" and ACCOUNT.search(line):
                continue
            found.append(f"line {number}: {match[0]!r}: {INSTEAD[match[0].lower()]}: {line.strip()[:80]}")
    return found


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_plain_words(path):
    assert wrong(texts(path)) == []


@pytest.mark.parametrize("word", INSTEAD)
def test_each_word_is_found(word):
    assert wrong(iter([(7, f"Here {word} stands.")])) != []
    assert wrong(iter([(7, f"{word.capitalize()} stands here.")])) != []


@pytest.mark.parametrize(
    "line", ["it becomes `nobody`", "user nobody", "the word `event_as_json`", "a stranger", "foretold"]
)
def test_what_is_right_is_left_alone(line):
    assert wrong(iter([(1, line)])) == []
