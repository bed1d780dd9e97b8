"""Reads the files of `multigrey rehearse`: lists of attempts with times and expected verdicts."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from multigrey.config.locate import locate
from multigrey.config.values.units import parse_duration
from multigrey.errors import AddressError, MultigreyError
from multigrey.identity.addresses import parse_client_address
from multigrey.model import Action, Attempt, Reason, Stage
from multigrey.text import did_you_mean

__all__ = ["RehearsalError", "RehearsedAttempt", "read_rehearsal"]

_TEXTS = ("client_name", "helo", "sender", "recipient", "message", "authenticated", "raw")
_KEPT = ("listener", "client_address", "client_name", "helo", "sender", "recipient", "stage", "attributes")
"""The keys whose values an attempt takes from the previous one if it does not set them."""
_KEYS = frozenset({*_TEXTS, *_KEPT, "at", "note", "expect"})
_EXPECTED = frozenset([*(action.value for action in Action), *(reason.value for reason in Reason)])
_LAST_SECOND = 253_402_214_400


class RehearsalError(MultigreyError):
    """The file cannot be played; the text begins with the line, if there is one."""


@dataclass(frozen=True, slots=True)
class RehearsedAttempt:
    """One attempt with its time and its expected verdict."""

    number: int
    line: int
    time: int
    attempt: Attempt
    expect: tuple[str, ...] = ()
    """Actions and reasons that the verdict must all have; none: any verdict is accepted."""
    note: str = ""


class _Row(NamedTuple):
    line: int
    values: Mapping[str, Any]


def read_rehearsal(text: str, now: int, listeners: Sequence[str]) -> list[RehearsedAttempt]:
    """The steps of a file, in TOML or JSON lines.

    `now`: the start, if the file does not set it.  `listeners`: the known names; the first is the default.
    Raises RehearsalError for the first thing that is wrong.
    """
    start, rows = _toml(text, now) if not text.lstrip("\ufeff \t\r\n").startswith("{") else (now, _json(text))
    reader = _Reader(start, listeners)
    steps = [reader.step(number, row) for number, row in enumerate(rows, 1)]
    if not steps:
        raise RehearsalError("no attempts found: expected [[attempt]] tables or JSON lines")
    return steps


def _toml(text: str, now: int) -> tuple[int, Iterator[_Row]]:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RehearsalError(f"not valid TOML: {error}") from error
    lines = locate(text)
    start = data.pop("start", None)
    attempts = data.pop("attempt", [])
    if data:
        key = next(iter(data))
        raise RehearsalError(f"line {lines[key,]}: unknown key {key!r}; expected start and [[attempt]]")
    if not isinstance(attempts, list) or not all(isinstance(each, dict) for each in attempts):
        raise RehearsalError(f"line {lines['attempt',]}: expected [[attempt]] tables")
    rows = (_Row(lines["attempt", index], each) for index, each in enumerate(attempts))
    return (now if start is None else _moment(start, f"line {lines['start',]}: start")), rows


def _json(text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RehearsalError(f"line {number}: not valid JSON: {error}") from error
        if not isinstance(found, dict):
            raise RehearsalError(f"line {number}: expected a JSON object")
        yield _Row(number, found)


def _moment(value: object, where: str) -> int:
    """A time as seconds since 1970; without a zone it is local time."""
    found: object = value
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            found = None
    elif isinstance(value, date) and not isinstance(value, datetime):
        found = datetime(value.year, value.month, value.day)  # noqa: DTZ001  (midnight of the local day)
    if isinstance(found, datetime):
        found = int(found.timestamp())
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= _LAST_SECOND:
        raise RehearsalError(f"{where}: expected a time such as 2026-11-02T10:00:00, got {value!r}")
    return found


class _Reader:
    """Reads one attempt after the other; each starts with the values of the previous one."""

    def __init__(self, start: int, listeners: Sequence[str]) -> None:
        self._start = start
        self._time = start
        self._listeners = listeners
        self._kept: dict[str, Any] = {"listener": listeners[0]}

    def step(self, number: int, row: _Row) -> RehearsedAttempt:
        """The next step.  Raises RehearsalError."""
        where = f"line {row.line}"
        for key in row.values:
            if key not in _KEYS:
                hint = did_you_mean(key, _KEYS) or f" (known: {', '.join(sorted(_KEYS))})"
                raise RehearsalError(f"{where}: unknown key {key!r}{hint}")
        told = {**self._kept, **row.values}
        self._kept = {key: told[key] for key in _KEPT if key in told}
        self._time = self._when(row.values.get("at"), f"{where}: at")
        return RehearsedAttempt(
            number=number,
            line=row.line,
            time=self._time,
            attempt=self._attempt(told, where),
            expect=_expected(told.get("expect", []), f"{where}: expect"),
            note=_text(told, "note", where),
        )

    def _when(self, at: object, where: str) -> int:
        if at is None:
            return self._time
        if isinstance(at, str) and re.match(r"\+?[0-9]+[a-z]", at):
            base = self._time if at.startswith("+") else self._start
            try:
                found = base + int(parse_duration(at.removeprefix("+")))
            except ValueError as error:
                raise RehearsalError(f"{where}: {error}") from None
        else:
            found = _moment(at, where)
        if found < self._time:
            raise RehearsalError(f"{where}: is earlier than the previous attempt: order attempts by time")
        return found

    def _attempt(self, told: Mapping[str, Any], where: str) -> Attempt:
        listener = _text(told, "listener", where)
        if listener not in self._listeners:
            raise RehearsalError(
                f"{where}: listener: unknown {listener!r} (known: {', '.join(self._listeners)})"
            )
        stages = [stage.value for stage in Stage]
        stage = _text(told, "stage", where) or Stage.RCPT.value
        if stage not in stages:
            raise RehearsalError(f"{where}: stage: expected one of {', '.join(stages)}, got {stage!r}")
        attributes = told.get("attributes", {})
        if not isinstance(attributes, dict) or not all(isinstance(each, str) for each in attributes.values()):
            raise RehearsalError(f"{where}: attributes: expected a table of texts")
        texts = {key: _text(told, key, where) for key in _TEXTS}
        if not texts["recipient"] and not texts["raw"]:
            raise RehearsalError(f"{where}: the recipient is missing")
        sender = texts.pop("sender")
        return Attempt(
            listener=listener,
            client_address=_address(_text(told, "client_address", where), where),
            client_name=texts.pop("client_name") or None,
            sender="" if sender == "<>" else sender,
            stage=Stage(stage),
            attributes=attributes,
            **texts,
        )


def _text(told: Mapping[str, Any], key: str, where: str) -> str:
    value = told.get(key, "")
    if not isinstance(value, str):
        raise RehearsalError(f"{where}: {key}: expected text, got {value!r}")
    return value


def _address(text: str, where: str) -> Any:
    """A client address; None: the mail server does not know it.  Raises RehearsalError."""
    if text in {"", "unknown"}:
        return None
    try:
        return parse_client_address(text)
    except AddressError as error:
        raise RehearsalError(f"{where}: client_address: {error}") from None


def _expected(value: object, where: str) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list):
        raise RehearsalError(f"{where}: expected an action or a reason, or a list of them")
    for word in words:
        if word not in _EXPECTED:
            hint = did_you_mean(word, _EXPECTED)
            raise RehearsalError(f"{where}: {word!r} is neither an action nor a reason{hint}")
    return tuple(words)
