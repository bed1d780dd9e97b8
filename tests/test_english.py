"""Texts that people read are in plain words: a list of those that are not used.

Looked at are string constants, docstrings and comments of the package and of the plugins, man pages and
Markdown.  Identifiers are not.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise
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


# --- numbers and their nouns ---------------------------------------------------------------------------

ADJECTIVES = "new|deferred|more|open|client|sender|waiting|decision|whitelist|counted|printable|cancelled"
PLURAL = re.compile(rf" (?:(?:{ADJECTIVES}) ){{,2}}([a-z]{{2,}}s)\b")
NO_NOUNS = re.compile(
    r"\b(answers|as|belongs|comes|covers|does|ends|exists|has|holds|is|its|lets|listens|makes|matches|names|needs"
    r"|pass|passes|reads|refuses|status|takes|this|us|was)$"
)
"""Words that end like a plural."""

ALWAYS_SEVERAL = {
    "archive/tar.py": "octets of a file, of a header",
    "config/values/types.py": "more octets than a limit",
    "config/values/patterns.py": "more characters than a limit",
    "config/error_messages.py": "more characters than a limit",
    "config/values/units.py": "the value as the administrator wrote it",
    "config/values/when.py": "more than three values",
    "config/warnings.py": "more records than fit",
    "control/protocol.py": "limits of a connection",
    "engine/engine.py": "the header X-Greylist, which other programs read",
    "events/typed_address.py": "more addresses than one",
    "greylist/marks.py": "octets of a damaged value",
    "protocols/greylistd.py": "lines of greylistd, which other programs read",
    "protocols/wire.py": "a limit of bytes",
    "stores/entries.py": "octets of a damaged value",
    "stores/lmdb/commits.py": "more changes than a limit",
    "stores/lmdb/damage/starts.py": "more starts than a limit",
    "stores/lmdb/frames.py": "bytes of a damaged file",
    "stores/lmdb/state_files.py": "bytes of a damaged file",
    "stores/meta.py": "octets of a damaged value",
    "stores/site_key.py": "bytes of a damaged key",
    "background/hits.py": "a limit of entries",
    "daemon/descriptors.py": "a limit of files",
    "listeners/accept.py": "a limit of connections",
    "cli/personal_data.py": "a limit of decisions",
}
"""Modules whose numbers are never 1, or whose form other programs fixed."""


def bare_plurals(path: Path) -> Iterator[tuple[int, str]]:
    """Numbers that are filled in before a plural without `counted`; constants in capitals are limits."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            for value, after in pairwise(node.values):
                if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                    filled = ast.unparse(value.value)
                    found = PLURAL.match(str(after.value))
                    if found and may_be_number(value.value) and not NO_NOUNS.search(found[0]):
                        yield after.lineno, f"{filled}{found[0]}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for found in re.finditer(rf"%d{PLURAL.pattern}", node.value):
                if not NO_NOUNS.search(found[0]):
                    yield node.lineno, found[0]


def may_be_number(node: ast.expr) -> bool:
    """Whether what is filled in is a number that can be 1."""
    text = ast.unparse(node)
    return not (text.startswith(("counted(", "', '.join")) or re.fullmatch(r"[A-Z_]+( // [A-Z]+)?", text))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_numbers_agree_with_their_nouns(path):
    found = list(bare_plurals(path))
    name = str(path.relative_to(ROOT)).removeprefix("multigrey/")
    assert found == [] or name in ALWAYS_SEVERAL, "write counted(number, noun) from multigrey.text"


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("plugins/*/multigrey_*/**/*.html")), ids=lambda path: path.name
)
def test_numbers_of_the_page_agree_with_their_nouns(path):
    found = [each[0] for each in re.finditer(rf"\|number }}}}{PLURAL.pattern}", path.read_text())]
    assert found == [], "write {{ number|counted(noun) }}"


def test_the_exceptions_are_in_use():
    assert [name for name in ALWAYS_SEVERAL if not list(bare_plurals(ROOT / "multigrey" / name))] == []


def test_a_bare_plural_is_found(tmp_path):
    source = tmp_path / "source.py"
    source.write_text(
        'f"{n} attempts"\nf"{row[0]:,} new records"\nlog("%d rows", n)\nf"{name} is in lists"\n'
    )
    assert [line for line, _ in bare_plurals(source)] == [1, 2, 3]
