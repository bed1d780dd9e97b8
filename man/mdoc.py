"""Writing mdoc(7): plain text and docstrings as lines that `mandoc -T lint` has nothing to say about."""
# ruff: noqa: INP001  (man/ is not a package; `python -m man.regions` and tests run from the checkout)

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["docstring", "item", "literal", "prose", "quoted", "tagged"]

_WIDTH = 78
_SENTENCE_END = re.compile(r"(?<=[.!?])\s{2,}|(?<=[.!?][)\"`])\s{2,}|(?<=[.!?])\s+(?=[A-Z\"`(])")
_MARK = re.compile(
    r"(?P<before>[(\[]*)"
    r"(?:`(?P<code>[^`]+)`|(?P<page>[A-Za-z][\w.-]*)\((?P<section>[1-8])\))"
    r"(?P<after>[)\],.:;!?]*)(?P<rest>[^\s`]*)"
)


def docstring(thing: object) -> str:
    """The docstring of a class, function or module without indentation; "" if it has none of its own."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


def prose(text: str) -> list[str]:
    """Paragraphs as mdoc; indented ones are shown as they are, `code` and page(5) get their macros."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if paragraph.startswith("    "):
            lines += literal(textwrap.dedent(paragraph).split("\n"))
        else:
            lines += [".Pp", *_paragraph(paragraph)]
    return lines[1:] if lines[:1] == [".Pp"] else lines


def literal(lines: Iterable[str], *, indent: bool = True) -> list[str]:
    """Text shown exactly as it is; `indent`: set off to the right."""
    return [
        ".Bd -literal -offset indent" if indent else ".Bd -literal",
        *(_text(line) for line in lines),
        ".Ed",
    ]


def tagged(items: Iterable[tuple[str, Sequence[str]]], *, beside: str = "") -> list[str]:
    """A list of tags (the arguments of `.It`) and what stands below each.

    `beside`: the widest tag; everything then stands beside its tag, without lines between.
    """
    body = [line for tag, lines in items for line in (f".It {tag}", *lines)]
    shape = f"-width {beside} -compact" if beside else "-width Ds"
    return [f".Bl -tag {shape}", *body, ".El"] if body else []


def item(macro: str, text: str) -> str:
    """A macro and its one argument, for the tag of a list."""
    return f"{macro} {quoted(text)}"


def quoted(text: str) -> str:
    """Text as one argument of a macro."""
    escaped = text.replace("\\", "\\e").replace('"', '""')
    return f'"{escaped}"' if re.search(r'[\s"]', text) or len(text) <= 2 else escaped


def _paragraph(text: str) -> Iterator[str]:
    bullets = re.split(r"(?m)^- ", text)
    yield from _sentences(bullets[0])
    if len(bullets) > 1:
        yield ".Bl -bullet"
        for bullet in bullets[1:]:
            yield ".It"
            yield from _sentences(bullet)
        yield ".El"


def _sentences(text: str) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(text.strip()):
        if sentence:
            yield from _sentence(" ".join(sentence.split()))


def _sentence(text: str) -> Iterator[str]:
    at = 0
    for mark in _MARK.finditer(text):
        yield from _wrapped(text[at : mark.start()])
        yield _marked(mark)
        at = mark.end()
    yield from _wrapped(text[at:])


def _marked(mark: re.Match[str]) -> str:
    code = mark["code"]
    macro, argument = ("Ql", quoted(code)) if code else ("Xr", f"{mark['page']} {mark['section']}")
    rest = f" Ns {quoted(mark['rest'])}" if mark["rest"] else ""
    before = "".join(f"{char} " for char in mark["before"])
    after = "".join(f" {char}" for char in mark["after"])
    return f".{macro} {before}{argument}{after}{rest}"


def _wrapped(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text.strip(), _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield _text(line)


def _text(line: str) -> str:
    line = line.replace("\\", "\\e").replace("\u2026", "...")
    return f"\\&{line}" if line.startswith((".", "'")) else line
