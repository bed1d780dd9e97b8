"""A slow matcher for the patterns of `re` that counts the characters it looks at, with all backtracking."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from re import _constants as op
from re import _parser as parser
from typing import Any

_Then = Callable[[int], "int | None"]
_Step = Callable[[int, _Then], "int | None"]

_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    op.CATEGORY_DIGIT: str.isdecimal,
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
}
_OPPOSITES = {
    op.CATEGORY_NOT_DIGIT: op.CATEGORY_DIGIT,
    op.CATEGORY_NOT_SPACE: op.CATEGORY_SPACE,
    op.CATEGORY_NOT_WORD: op.CATEGORY_WORD,
}


class _EnoughError(Exception):
    """More steps than are to be counted."""


class Matcher:
    """One pattern.  Every step of it is a function of a position and of what has to follow."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        self._real = pattern
        self._text: Sequence[int] = ()
        self._groups: dict[int, tuple[int, int]] = {}
        self._count = 0
        self._most = 0
        self.found: tuple[int, int] | None = None
        """Where the last `match`, `fullmatch` or `search` found the pattern."""
        self._flags = pattern.flags
        self._run = self._sequence(list(parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)))

    def steps(self, how: str, text: str | bytes, begin: int, most: int) -> int:
        """How many characters are looked at; `most` + 1 when there are more."""
        self._text = list(text) if isinstance(text, bytes | bytearray) else [ord(char) for char in str(text)]
        self._count, self._most = 0, most
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(1_000_000)
        try:
            if how in {"match", "fullmatch"}:
                end = self._at(begin, whole=how == "fullmatch")
                self.found = None if end is None else (begin, end)
            elif how == "search":
                self.found = self._search(begin)
            else:
                self._every()
        except _EnoughError:
            return most + 1
        finally:
            sys.setrecursionlimit(limit)
        return self._count

    def _at(self, begin: int, *, whole: bool = False) -> int | None:
        self._groups = {}
        end = len(self._text)
        return self._run(begin, (lambda at: at if at == end else None) if whole else (lambda at: at))

    def _search(self, begin: int) -> tuple[int, int] | None:
        for start in range(begin, len(self._text) + 1):
            self._look()
            end = self._at(start)
            if end is not None:
                return start, end
        return None

    def _every(self) -> None:
        begin = 0
        while begin <= len(self._text) and (found := self._search(begin)) is not None:
            begin = found[1] if found[1] > found[0] else found[1] + 1

    def _look(self) -> None:
        self._count += 1
        if self._count > self._most:
            raise _EnoughError

    # --- what a pattern consists of ---

    def _sequence(self, items: Sequence[tuple[Any, Any]]) -> _Step:
        run: _Step = lambda at, then: then(at)  # noqa: E731  (one of many such functions)
        for item in reversed(items):
            run = self._before(self._item(*item), run)
        return run

    @staticmethod
    def _before(first: _Step, rest: _Step) -> _Step:
        return lambda at, then: first(at, lambda middle: rest(middle, then))

    def _item(self, kind: Any, value: Any) -> _Step:
        if kind in {op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN}:
            return self._one(self._test(kind, value))
        if kind in {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}:
            return self._repeat(kind, *value)
        if kind is op.BRANCH:
            branches = [self._sequence(list(branch)) for branch in value[1]]
            return lambda at, then: next(
                (end for branch in branches if (end := branch(at, then)) is not None), None
            )
        if kind is op.SUBPATTERN:
            return self._group(value[0], self._sequence(list(value[3])))
        if kind is op.ATOMIC_GROUP:
            return self._atomic(self._sequence(list(value)))
        if kind is op.AT:
            return lambda at, then: then(at) if self._is_at(value, at) else None
        if kind in {op.ASSERT, op.ASSERT_NOT}:
            return self._assertion(kind is op.ASSERT, value[0], self._sequence(list(value[1])), value[1])
        if kind is op.GROUPREF:
            return self._repeated_group(value)
        raise NotImplementedError(f"{kind} in {self._real.pattern!r}")

    def _one(self, test: Callable[[int], bool]) -> _Step:
        def run(at: int, then: _Then) -> int | None:
            self._look()
            return then(at + 1) if at < len(self._text) and test(self._text[at]) else None

        return run

    def _test(self, kind: Any, value: Any) -> Callable[[int], bool]:
        """Whether a character fits an item of one character."""
        folded = bool(self._flags & re.IGNORECASE)
        if kind is op.ANY:
            return (lambda _: True) if self._flags & re.DOTALL else (lambda char: char != 10)
        if kind is op.LITERAL or kind is op.NOT_LITERAL:
            wanted = chr(value).lower() if folded else chr(value)
            same = kind is op.LITERAL
            return lambda char: ((chr(char).lower() if folded else chr(char)) == wanted) is same
        tests = [self._member(*item) for item in value if item[0] is not op.NEGATE]
        wanted_any = value[0][0] is not op.NEGATE
        if folded:
            return lambda char: (
                any(test(ord(each[0])) for test in tests for each in (chr(char).lower(), chr(char).upper()))
                is wanted_any
            )
        return lambda char: any(test(char) for test in tests) is wanted_any

    def _member(self, kind: Any, value: Any) -> Callable[[int], bool]:
        if kind is op.LITERAL:
            return lambda char: char == value
        if kind is op.RANGE:
            return lambda char: value[0] <= char <= value[1]
        ascii_only = bool(self._flags & re.ASCII) or isinstance(self._real.pattern, bytes)
        holds = _CATEGORIES[_OPPOSITES.get(value, value)]
        wanted = value not in _OPPOSITES
        return lambda char: (holds(chr(char)) and (not ascii_only or char < 128)) is wanted

    def _repeat(self, kind: Any, least: int, most: Any, body: Any) -> _Step:
        items = list(body)
        if len(items) == 1 and items[0][0] in {op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN}:
            return self._repeat_one(kind, least, most, self._test(*items[0]))
        run = self._sequence(items)
        if kind is op.POSSESSIVE_REPEAT:
            return self._atomic(self._repeat(op.MAX_REPEAT, least, most, body))

        def again(number: int, at: int, then: _Then) -> int | None:
            def more() -> int | None:
                if most is not op.MAXREPEAT and number >= most:
                    return None
                return run(
                    at,
                    lambda end: again(number + 1, end, then) if end != at or number < least else None,
                )

            self._look()
            if number < least:
                return more()
            first, second = (then, None) if kind is op.MIN_REPEAT else (None, then)
            end = more() if first is None else first(at)
            if end is None:
                end = more() if second is None else second(at)
            return end

        return lambda at, then: again(0, at, then)

    def _repeat_one(self, kind: Any, least: int, most: Any, test: Callable[[int], bool]) -> _Step:
        def run(at: int, then: _Then) -> int | None:
            end = len(self._text) if most is op.MAXREPEAT else min(len(self._text), at + int(most))
            if kind is op.MIN_REPEAT:
                here = at
                while True:
                    if here - at >= least and (found := then(here)) is not None:
                        return found
                    self._look()
                    if here >= end or not test(self._text[here]):
                        return None
                    here += 1
            here = at
            while here < end and test(self._text[here]):
                self._look()
                here += 1
            self._look()
            for back in range(here, at + least - 1, -1):
                self._look()
                if (found := then(back)) is not None or kind is op.POSSESSIVE_REPEAT:
                    return found
            return None

        return run

    def _group(self, number: Any, run: _Step) -> _Step:
        def step(at: int, then: _Then) -> int | None:
            def closed(end: int) -> int | None:
                before = self._groups.get(number)
                self._groups[number] = (at, end)
                found = then(end)
                if found is None and before is not None:
                    self._groups[number] = before
                return found

            return run(at, closed)

        return run if number is None else step

    def _atomic(self, run: _Step) -> _Step:
        def step(at: int, then: _Then) -> int | None:
            end = run(at, lambda here: here)
            return None if end is None else then(end)

        return step

    def _assertion(self, wanted: bool, direction: int, run: _Step, body: Any) -> _Step:
        def step(at: int, then: _Then) -> int | None:
            begin = at
            if direction < 0:
                begin = at - body.getwidth()[0]
                found = None if begin < 0 else run(begin, lambda end: end if end == at else None)
            else:
                found = run(begin, lambda end: end)
            return then(at) if (found is not None) is wanted else None

        return step

    def _repeated_group(self, number: int) -> _Step:
        def step(at: int, then: _Then) -> int | None:
            begin, end = self._groups.get(number, (0, -1))
            size = end - begin
            self._look()
            same = size >= 0 and self._text[at : at + size] == self._text[begin:end]
            return then(at + size) if same else None

        return step

    def _is_at(self, where: Any, at: int) -> bool:
        self._look()
        last = len(self._text)
        many = self._flags & re.MULTILINE
        if where is op.AT_BEGINNING:
            return at == 0 or bool(many and self._text[at - 1] == 10)
        if where is op.AT_BEGINNING_STRING:
            return at == 0
        if where is op.AT_END:
            return at == last or (self._text[at] == 10 and (at == last - 1 or bool(many)))
        if where is op.AT_END_STRING:
            return at == last
        word = _CATEGORIES[op.CATEGORY_WORD]
        before = at > 0 and word(chr(self._text[at - 1]))
        after = at < last and word(chr(self._text[at]))
        return (before is not after) is (where is op.AT_BOUNDARY)
