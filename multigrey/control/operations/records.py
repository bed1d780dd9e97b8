"""The operations `records.*`: list, show, and let in the senders that records remember.

A record is stored under several keys, and listed under its home, the one that shows sender and recipient.
Every walk reads the store in slices and lets other tasks run in between; `forget` and `pass` check each row
again at the moment they write it.  Results:

    records.list    {"records": [...]} any number of times, then {"time", "found", "more"}
    records.show    {"time", "record", "keys", "trust"}; and "marked": true if only a mark remembers it,
                    "past" if the client is known from the history only (see `control.past_attempts`)
    records.pass    {"records", "keys", "dry_run"}
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from multigrey.codec import decode_record, encode_record
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import (
    BY,
    Level,
    Operation,
    OperationError,
    OptionError,
    Options,
    Result,
)
from multigrey.control.operations.origins import trust_keys, trust_shown
from multigrey.control.past_attempts import completed
from multigrey.control.record_selection import (
    CHOICES,
    RecordFilter,
    attempt_of,
    keys_of,
    origin_of,
    read_limit,
    shown,
)
from multigrey.errors import AddressError, CodecError
from multigrey.greylist.record_choice import keep_until, speaking_record
from multigrey.identity.addresses import parse_client_address
from multigrey.model import Attempt, Change, Entry, Key, Origin, Record, Table
from multigrey.stores.walk import Row, rows_of, whole

__all__ = ["change_rows", "counts_text", "operations", "read_choice", "read_flag", "without"]

logger = logging.getLogger(__name__)

_TOGETHER = 100
"""Most records in one message."""
_USUAL = 1_000
_WHOLE_KEY = 32
"""Hexadecimal digits."""
_COUNTED = 200_000
"""Most records whose identity is kept, which bounds the memory: `forget` and `pass` count no further ones."""

_TRUSTED = frozenset({"sender", "client", "origin"})
"""The options that also choose trust; trust does not depend on a recipient."""

Puts = dict[Key, Entry | None]


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operations of this module."""
    yield Operation(
        "records.list", Level.READ, stream=lambda o: _list(parts, o), offline=True, is_search=True
    )
    yield Operation(
        "records.show", Level.READ, answer=lambda o: _show(parts, o), offline=True, is_search=True
    )
    yield Operation(
        "records.pass",
        Level.OPERATE,
        answer=lambda o: _pass(parts, o),
        offline=True,
        not_for_operators=_too_many_recipients,
    )


async def _list(parts: OperationContext, options: Options) -> AsyncGenerator[Result, None]:
    limit = read_limit(options, _USUAL)
    every_key = read_flag(options, "every_key")
    choice = RecordFilter.of(parts, without(options, "limit", "every_key"))
    found = 0
    waiting: list[Mapping[str, Any]] = []
    async with aclosing(rows_of(parts.engine.store)) as slices:
        async for rows in slices:
            for digest, record in rows:
                if (record.home and not every_key) or not choice.fits(digest, record):
                    continue
                found += 1
                if found > limit:
                    break
                waiting.append(shown(parts, digest, record))
            while len(waiting) >= _TOGETHER or (waiting and found > limit):
                yield {"records": waiting[:_TOGETHER]}
                del waiting[:_TOGETHER]
            if found > limit:
                break
    if waiting:
        yield {"records": waiting}
    yield {"time": parts.clock.now(), "found": min(found, limit), "more": found > limit}


async def _same(parts: OperationContext, record: Record) -> list[Row]:
    """The rows of a record under all keys that can be computed; some may hold an older state of it."""
    keys = keys_of(parts, record)
    found: list[Row] = []
    for key, value in zip(keys, await parts.engine.store.read(keys), strict=True):
        if value is not None:
            with suppress(CodecError):
                found.append((key[1], decode_record(value)))
    first = (record.first_seen, record.client)
    return [(digest, other) for digest, other in found if (other.first_seen, other.client) == first]


def _identity(record: Record) -> tuple[int, str, str, str]:
    return record.first_seen, record.client, record.sender, record.recipient


async def _show(parts: OperationContext, options: Options) -> Result:
    if "key" in options:
        return await _show_key(parts, options)
    unknown = options.keys() - set(_ATTEMPT) - {BY}
    if unknown:
        raise OptionError(f"unknown option {min(unknown)!r}")
    asked, past = await completed(parts, {name: text for name, text in options.items() if name != BY})
    attempt = _attempt({name: asked[name] for name in _ATTEMPT if asked.get(name) is not None})
    progress = parts.engine.progress(attempt)
    told = {**await _shown_keys(parts, progress.keys, attempt), "past": past}
    question = parts.engine.shared.decision(progress)
    found = question.speaking(await parts.engine.store.read(question.keys))
    if told["record"] is None and found is not None:
        ((digest, found),) = await whole(parts.engine.store, [(progress.keys[0][1], found)])
        told["record"] = shown(parts, digest, found)
        told["marked"] = True
    return told


async def _show_key(parts: OperationContext, options: Options) -> Result:
    choice = RecordFilter.of(parts, without(options))
    if len(choice.key) == _WHOLE_KEY:
        own = (Table.RECORD, bytes.fromhex(choice.key))
        for row in await _rows(parts, [own]):
            if choice.fits(*row):
                return await _shown_with(parts, own, row[1])
        raise OperationError("no record has this key")
    async with aclosing(rows_of(parts.engine.store)) as slices:
        async for rows in slices:
            for digest, record in rows:
                if choice.fits(digest, record):
                    return await _shown_with(parts, (Table.RECORD, digest), record)
    raise OperationError("no record has a key that begins like this")


async def _shown_with(parts: OperationContext, own: Key, record: Record) -> Result:
    """A record that is stored under `own`, with its other keys."""
    keys = keys_of(parts, record)
    if own not in keys:  # the record does not show enough of itself: it is shortened, redacted or of old keys
        keys = (own, (Table.RECORD, record.home)) if record.home else (own,)
    return await _shown_keys(parts, keys, attempt_of(record))


async def _rows(parts: OperationContext, keys: Sequence[Key]) -> list[Row]:
    """The records under these keys, as far as there are any.  Raises CodecError."""
    values = await parts.engine.store.read(keys)
    found = [(digest, value) for (_, digest), value in zip(keys, values, strict=True) if value is not None]
    return await whole(parts.engine.store, [(digest, decode_record(value)) for digest, value in found])


async def _shown_keys(parts: OperationContext, keys: Sequence[Key], attempt: Attempt | None) -> Result:
    engine = parts.engine
    rows = dict(await _rows(parts, keys))
    records = [rows.get(digest) for _, digest in keys]
    origin = None if attempt is None else engine.progress(attempt).origin
    first = next((record for record in records if record is not None), None)
    if first is not None and first.origin:
        origin = origin_of(first)
    told: dict[str, Any] = {"time": parts.clock.now(), "record": None, "keys": [], "trust": None}
    for key, record in zip(keys, records, strict=True):
        row = None if record is None else shown(parts, key[1], record)
        told["keys"].append({"key": key[1].hex(), "record": row})
    if origin is None:
        origin = Origin("", named=False)
    elif attempt is not None:
        told["trust"] = await trust_shown(parts, origin, attempt)
    found = speaking_record(engine.setup.policy_for(origin, None), parts.clock.now(), records)
    if found is not None:
        told["record"] = shown(parts, keys[0][1], found)
    return told


# --- pass, and changes of rows ---------------------------------------------------------------------


def _too_many_recipients(options: Options) -> str:
    """See `Operation.not_for_operators`: who may let in everything could switch greylisting off."""
    recipient = options.get("recipient")
    one = "key" in options or (isinstance(recipient, str) and recipient.find("@") > 0)
    return "" if one else "the whole address of a recipient, or a key"


async def _pass(parts: OperationContext, options: Options) -> Result:
    dry_run = read_flag(options, "dry_run")
    choice = read_choice(parts, without(options, "dry_run"))
    now, setup = parts.clock.now(), parts.engine.setup

    def known(record: Record) -> Entry | None:
        passed = replace(record, last_seen=now, passed_at=now, passes=0)
        return Entry(encode_record(passed), keep_until(setup.policy_for(origin_of(record), None), passed))

    choice = replace(choice, unpassed=True)
    told = await change_rows(
        parts, choice, known, dry_run=dry_run, only=partial(_had_never_passed, parts, now)
    )
    if not dry_run:
        logger.info("records let in by %s: %s", options.get(BY, "an unknown user"), counts_text(told))
    return told


async def change_rows(
    parts: OperationContext,
    choice: RecordFilter,
    new: Callable[[Record], Entry | None],
    *,
    dry_run: bool,
    trust: set[Key] | None = None,
    only: Callable[[Record], Awaitable[bool]] | None = None,
) -> dict[str, Any]:
    """Replace every chosen row by `new` of its record; returns how many rows and different records.

    `trust`: takes the keys of the trust in the origins of these records.  `only`: a further condition.
    """
    number, told_apart = 0, set[int]()
    for at_home in (False, True):  # what is shown at home chooses the other rows, so homes come last
        async with aclosing(rows_of(parts.engine.store)) as slices:
            async for rows in slices:
                chosen = [row for row in rows if at_home is not bool(row[1].home) and choice.fits(*row)]
                if only is not None:
                    chosen = [(digest, record) for digest, record in chosen if await only(record)]
                keys = tuple((Table.RECORD, digest) for digest, _ in chosen)
                if keys and not dry_run:
                    change = partial(_rewritten, chosen, choice, new)
                    number += await parts.engine.store.apply(keys, change)
                else:
                    number += len(keys)
                for _, record in chosen:
                    if len(told_apart) < _COUNTED:
                        told_apart.add(hash(_identity(record)))
                    if trust is not None:
                        trust.update(trust_keys(parts, record))
    return {"records": len(told_apart), "keys": number, "dry_run": dry_run}


async def _had_never_passed(parts: OperationContext, now: int, record: Record) -> bool:
    """Whether a record passed under none of its keys before `now`: a sender may pass from another host."""
    # Another row of it may have been let in a moment ago, by this command.
    return all(
        (other.passed_at, other.passes) in {(0, 0), (now, 0)} for _, other in await _same(parts, record)
    )


def _rewritten(
    rows: Sequence[Row],
    choice: RecordFilter,
    new: Callable[[Record], Entry | None],
    values: Sequence[bytes | None],
) -> Change[int]:
    """The change of these rows, checked again as they are now: a retry may have come since the walk."""
    puts: Puts = {}
    for (digest, seen), value in zip(rows, values, strict=True):
        if value is not None:
            record = decode_record(value)
            if record.home:
                record = replace(record, sender=seen.sender, recipient=seen.recipient)
            if choice.fits(digest, record):
                puts[Table.RECORD, digest] = new(record)
    return Change(len(puts), puts, durable=True)


# --- options ----------------------------------------------------------------------------------------

_ATTEMPT = ("client_address", "client_name", "helo", "sender", "recipient")


def _attempt(options: Options) -> Attempt:
    texts = {name: _text(options, name) for name in _ATTEMPT}
    if not texts["client_address"] or not texts["recipient"]:
        raise OptionError("expected a client address and a recipient, or the key of a record")
    try:
        address = parse_client_address(texts["client_address"])
    except AddressError as error:
        raise OptionError(f"client_address: {error}") from error
    sender = "" if texts["sender"] == "<>" else texts["sender"]
    return Attempt("", address, texts["client_name"] or None, texts["helo"], sender, texts["recipient"])


def _text(options: Options, name: str) -> str:
    text = options.get(name) or ""
    if not isinstance(text, str):
        raise OptionError(f"{name}: a text is expected")
    return text


def read_choice(parts: OperationContext, asked: Options, *, everything: bool = False) -> RecordFilter:
    """The choice in the options; all records only with `everything`, never because options are missing."""
    if not asked and not everything:
        raise OptionError(f"no records are chosen: choose by {', '.join(CHOICES)}")
    if asked and everything:
        raise OptionError("all: cannot be combined with options that choose records")
    return RecordFilter.of(parts, asked)


def read_flag(options: Options, name: str) -> bool:
    """An option that is true or false.  Raises OptionError."""
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise OptionError(f"{name}: true or false is expected")
    return value


def without(options: Options, *names: str) -> Options:
    """The options that choose records: without these names, `by`, and those that are empty."""
    return {
        name: value
        for name, value in options.items()
        if name not in {*names, BY} and value is not None and value != ""
    }


def counts_text(told: Mapping[str, Any]) -> str:
    """The numbers in a result, for the log."""
    return " ".join(f"{name}={value}" for name, value in told.items() if type(value) is int)
