"""Counts the steps that a function takes with a text, so that its growth can be asserted without a clock.

A step is one of
  - a line of Python, wherever it stands (also in libraries);
  - a character that a method of str or bytes works on in C (`split`, `lower`, `replace`, …), and a character
    of a slice, a search with `in`, a comparison or a sum of the text itself, or of what such methods made;
  - a character that a pattern of `re` looks at, with all backtracking: our patterns are also run by a slow
    matcher that counts, and that is compared with `re`;
  - for `unicodedata.normalize` a character, and the square of each run of combining characters.

What cannot be seen: slices, `in` and sums of texts that come from an f-string, a group of a match or `join`;
how far `find` and `startswith` look; C code of libraries (RE2 is linear, `json` and pydantic are trusted).

`instrument` has to be called before the modules are imported whose patterns are to be counted: run this in a
process of its own.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from types import CodeType, FrameType
from typing import Any

from tests.support.backtracking import Matcher

MOST = 3_000_000
"""Steps after which a function is stopped: it is not linear."""
_WRONGLY_CALLED = (TypeError, AttributeError, NameError, AssertionError, KeyError, ImportError)
"""What a mistake in the way itself raises."""
OURS = ("multigrey", "idna", "tests.scenarios.test_time_per_input")
_WHOLE = frozenset(
    [
        *("lower", "upper", "casefold", "encode", "decode", "strip", "lstrip", "rstrip", "split", "rsplit"),
        *(
            "splitlines",
            "partition",
            "rpartition",
            "replace",
            "translate",
            "isprintable",
            "isdigit",
            "isdecimal",
        ),
        *("isalpha", "isalnum", "islower", "count", "rfind", "rindex", "title", "hex"),
    ]
)
"""Methods that look at every character, as far as one can know."""


class TooMany(BaseException):
    """A function takes more than MOST steps.  Not an Exception: nothing may catch it."""


class Steps:
    """The count, and which functions were called."""

    most = MOST

    def __init__(self) -> None:
        self.count = 0
        self.called: set[CodeType] = set()
        self.counting = False

    def add(self, steps: int) -> None:
        if self.counting:
            self.count += steps
            if self.count > MOST:
                self.counting = False
                raise TooMany

    def of(self, function: Callable[[str], object], text: str) -> int:
        """The number of steps of one call, whatever it raises."""
        self.count = 0
        with self._watching():
            try:
                function(Text(text))
            except TooMany:
                return MOST
            except _WRONGLY_CALLED:
                raise
            except Exception:  # noqa: BLE001  (the functions refuse most of these texts: that takes steps, too)
                return self.count
        return self.count

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self.counting = True
        sys.setprofile(self._profile)
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)
            sys.setprofile(None)
            self.counting = False

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename in _NOT_COUNTED:
            return None
        self.called.add(frame.f_code)
        return self._line

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self.add(1)
        return self._line

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and argument.__name__ in _WHOLE:
            whose = argument.__self__
            if isinstance(whose, str | bytes | bytearray):
                self.add(len(whose))


STEPS = Steps()


class Text(str):
    """A text whose slices, searches, comparisons and sums count; so does what its methods return."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __getitem__(self, key: Any) -> Any:
        found = str.__getitem__(self, key)
        STEPS.add(len(found))
        return Text(found)

    def __contains__(self, part: Any) -> bool:
        STEPS.add(len(self))
        return str.__contains__(self, part)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str) and len(other) == len(self):
            STEPS.add(len(self))
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __add__(self, other: str) -> Any:
        STEPS.add(len(self) + len(other))
        return Text(str.__add__(self, other))


def _tracked(name: str) -> Any:
    plain = getattr(str, name)

    def method(self: Text, *arguments: Any) -> Any:
        STEPS.add(len(self))
        found = plain(self, *arguments)
        if isinstance(found, str):
            return Text(found)
        return type(found)(map(Text, found))

    return method


for _name in (
    "lower",
    "strip",
    "lstrip",
    "rstrip",
    "partition",
    "rpartition",
    "split",
    "rsplit",
    "splitlines",
):
    setattr(Text, _name, _tracked(_name))
for _name in ("replace", "removeprefix", "removesuffix"):
    setattr(Text, _name, _tracked(_name))


class CountedPattern:
    """A compiled pattern of `re` whose steps are counted."""

    def __init__(self, real: re.Pattern[Any]) -> None:
        self._real = real
        self._matcher = Matcher(real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def _once(self, how: str, text: Any, *where: int) -> Any:
        self._count(how, text, *where)
        return getattr(self._real, how)(text, *where)

    def match(self, text: Any, *where: int) -> Any:
        return self._once("match", text, *where)

    def fullmatch(self, text: Any, *where: int) -> Any:
        return self._once("fullmatch", text, *where)

    def search(self, text: Any, *where: int) -> Any:
        return self._once("search", text, *where)

    def findall(self, text: Any) -> Any:
        return self._once("findall", text)

    def finditer(self, text: Any) -> Any:
        return self._once("finditer", text)

    def split(self, text: Any, *more: Any) -> Any:
        self._count("split", text)
        return self._real.split(text, *more)

    def sub(self, by: Any, text: Any, *more: Any) -> Any:
        self._count("sub", text)
        return self._real.sub(by, text, *more)

    def subn(self, by: Any, text: Any, *more: Any) -> Any:
        self._count("sub", text)
        return self._real.subn(by, text, *more)

    def _count(self, how: str, text: Any, *where: int) -> None:
        if not STEPS.counting:
            return
        trace, profile = sys.gettrace(), sys.getprofile()
        sys.settrace(None)
        sys.setprofile(None)
        try:
            steps = self._matcher.steps(how, text, where[0] if where else 0, MOST - STEPS.count)
        finally:
            sys.settrace(trace)
            sys.setprofile(profile)
        STEPS.add(steps)


def instrument() -> None:
    """Have `re` and `unicodedata` count, for modules that are imported from now on."""
    compile_, normalize = re._compile, unicodedata.normalize

    def counted(pattern: Any, flags: Any) -> Any:
        if isinstance(pattern, CountedPattern):
            return pattern
        real = compile_(pattern, flags)
        caller = sys._getframe(2).f_globals.get("__name__", "")
        return CountedPattern(real) if caller.startswith(OURS) else real

    def normalized(form: str, text: str) -> str:
        STEPS.add(len(text) + sum(length * length for length in _runs(text)))
        return normalize(form, text)

    re._compile = counted  # type: ignore[attr-defined]
    unicodedata.normalize = normalized


def _runs(text: str) -> Iterator[int]:
    """The lengths of the runs of combining characters."""
    for marks, run in groupby(text, lambda char: unicodedata.combining(char) > 0):
        if marks:
            yield len(list(run))


_NOT_COUNTED = frozenset({__file__})
