"""The operations that forget records, decisions, and everything of one person.

    records.forget  {"records", "keys", "trust", "marks", "decisions", "dry_run"}
    person.forget   {"records", "keys", "marks", "decisions", "expectations", "dry_run", "scrubbed", "left"}

`left` says what may still name the person: what is known by its path, and what an administrator has to find.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

from multigrey.contracts import LocalStore
from multigrey.control.operations.backup import ConfigurationFiles
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import (
    BY,
    Level,
    Operation,
    OptionError,
    Options,
    Result,
)
from multigrey.control.operations.records import change_rows, counts_text, read_choice, read_flag, without
from multigrey.control.record_selection import HISTORY_WORDS, RecordFilter, attempt_of, keys_of, origin_of
from multigrey.errors import AddressError
from multigrey.events.typed_address import read_address
from multigrey.greylist.marks import count
from multigrey.identity.envelope import address_text
from multigrey.model import Change, Entry, Key, Record, Table
from multigrey.stores.walk import SLICE, rows_of
from multigrey.threads import in_thread

__all__ = ["operations"]

logger = logging.getLogger(__name__)

_TRUSTED = frozenset({"sender", "client", "origin"})
"""The options that also choose trust; trust does not depend on a recipient."""
_MOST_DECISIONS = 1_000_000

Puts = dict[Key, Entry | None]


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operations of this module."""
    yield Operation("records.forget", Level.ADMIN, answer=lambda o: _forget(parts, o), offline=True)
    yield Operation("person.forget", Level.ADMIN, answer=lambda o: _forget_person(parts, o), offline=True)


async def _forget(parts: OperationContext, options: Options) -> Result:
    dry_run, scrub = read_flag(options, "dry_run"), read_flag(options, "scrub")
    asked, everything = without(options, "all", "dry_run", "scrub"), read_flag(options, "all")
    choice = read_choice(parts, asked, everything=everything)
    trust: set[Key] = set()
    told = await change_rows(parts, choice, _nothing, dry_run=dry_run, trust=trust)
    if everything:
        told["trust"] = await _forget_all_trust(parts, dry_run=dry_run)
    else:
        told["trust"] = await _forget_trust(parts, trust if asked.keys() & _TRUSTED else (), dry_run=dry_run)
    told["marks"] = await _forget_marks(parts, asked, dry_run=dry_run, everything=everything)
    told["decisions"] = None
    if not dry_run:
        told["decisions"] = await _forget_decisions(parts, asked)
        if scrub:
            await _scrub(parts)
        logger.info("records forgotten by %s: %s", options.get(BY, "an unknown user"), counts_text(told))
    return told


def _nothing(record: Record) -> None:
    """The entry that replaces a forgotten record: none."""
    del record


async def _forget_trust(parts: OperationContext, keys: Iterable[Key], *, dry_run: bool) -> int:
    """Delete the trust under these keys; the reputation of an origin as a whole stays.  Returns how many."""
    ordered, store = sorted(keys, key=lambda key: key[1]), parts.engine.store
    gone = 0
    for start in range(0, len(ordered), SLICE):
        piece = ordered[start : start + SLICE]
        found = await store.read(piece)
        gone += await _delete(parts, [k for k, v in zip(piece, found, strict=True) if v], dry_run=dry_run)
    return gone


async def _forget_all_trust(parts: OperationContext, *, dry_run: bool) -> int:
    """Delete everything the store knows of origins; returns how many rows."""
    gone, cursor = 0, b""
    while True:
        rows, cursor = await parts.engine.store.scan(Table.ORIGIN, cursor, SLICE)
        gone += await _delete(parts, [(Table.ORIGIN, digest) for digest, _ in rows], dry_run=dry_run)
        if not cursor:
            return gone


async def _delete(parts: OperationContext, keys: Sequence[Key], *, dry_run: bool) -> int:
    if keys and not dry_run:
        doomed: Puts = dict.fromkeys(keys)
        await parts.engine.store.apply(tuple(keys), lambda _: Change(None, doomed, durable=True))
    return len(keys)


async def _forget_marks(parts: OperationContext, asked: Options, *, dry_run: bool, everything: bool) -> int:
    """Delete marks: all of them, or those of one whole attempt; returns how many.

    A mark is a fingerprint and can only be found by its attempt: client, sender and recipient.  A mark that
    was made for a named origin is only found if that origin is given too.
    """
    store = parts.engine.store
    if everything:
        gone, cursor = 0, b""
        while True:
            rows, cursor = await store.scan(Table.MARK, cursor, SLICE)
            gone += sum(count(bucket) for _, bucket in rows)
            await _delete(parts, [(Table.MARK, digest) for digest, _ in rows], dry_run=dry_run)
            if not cursor:
                return gone
    if asked.keys() - {"origin"} != {"client", "sender", "recipient"}:
        return 0
    return await _forget_marks_of(parts, _record_of(asked), dry_run=dry_run)


def _record_of(asked: Options) -> Record:
    """A record that shows an attempt."""
    return Record(
        first_seen=0,
        last_seen=0,
        delay=0,
        client=str(asked["client"]),
        sender="" if asked["sender"] == "<>" else str(asked["sender"]),
        recipient=str(asked["recipient"]),
        origin=str(asked.get("origin", "")),
    )


async def _forget_marks_of(parts: OperationContext, record: Record, *, dry_run: bool) -> int:
    """Delete the marks of the attempt that a record shows; returns how many."""
    attempt, store = attempt_of(record), parts.engine.store
    if attempt is None:
        return 0
    progress, origin = parts.engine.progress(attempt), origin_of(record)
    if origin.named:
        progress.origin, progress.keys = origin, keys_of(parts, record)
    question = parts.engine.shared.decision(progress)
    if dry_run:
        return question.unmarked(await store.read(question.keys)).value
    return await store.apply(question.keys, question.unmarked)


async def _forget_decisions(parts: OperationContext, asked: Options) -> int | None:
    """Delete the decisions that were asked for from the history; returns how many.

    None: they stay, because decisions cannot be found by some of these options, or the history is off.
    """
    if parts.decisions is None or not asked.keys() <= HISTORY_WORDS:
        return None
    return await parts.decisions.forget({name: str(text) for name, text in asked.items()})


async def _scrub(parts: OperationContext) -> None:
    """Rewrite the files, so that nothing of the deleted rows is left in them."""
    if isinstance(parts.engine.store, LocalStore):
        await parts.engine.store.compact()
    if parts.decisions is not None:
        await parts.decisions.compact()


# --- one person -------------------------------------------------------------------------------------


async def _forget_person(parts: OperationContext, options: Options) -> Result:
    dry_run, scrub = read_flag(options, "dry_run"), read_flag(options, "scrub")
    if unknown := options.keys() - {"address", "dry_run", "scrub", BY}:
        raise OptionError(f"unknown option {min(unknown)!r}")
    told = options.get("address")
    if not isinstance(told, str):
        raise OptionError("address: a text is expected")
    try:
        address = address_text(read_address(told))
    except AddressError as error:
        raise OptionError(f"address: {error}") from error
    by = str(options.get(BY, "an unknown user"))
    choices = [RecordFilter.of(parts, {word: address}) for word in ("sender", "recipient")]
    marks = await _forget_marks_of_person(parts, address, choices, dry_run=dry_run)
    found = [await change_rows(parts, choice, _nothing, dry_run=dry_run) for choice in choices]
    result = {name: sum(each[name] for each in found) for name in ("records", "keys")}
    result |= {"marks": marks, "dry_run": dry_run, "scrubbed": False, "decisions": None}
    waited_for = [each for each in parts.core.expectations.all() if each.recipient == address]
    result["expectations"] = len(waited_for)
    if not dry_run:
        await parts.core.expectations.cancel(address, None, by)
    if parts.decisions is not None:
        if dry_run:
            result["decisions"] = len(await parts.decisions.about({"about": address}, _MOST_DECISIONS))
        else:
            result["decisions"] = await parts.decisions.forget({"about": address})
    if not dry_run:
        if scrub:
            await _scrub(parts)
            result["scrubbed"] = True
        # (without the address: the log is one of the things that would name it)
        logger.info("a person was forgotten by %s: %s", by, counts_text(result))
    return {**result, "left": await in_thread(_left, parts, address)}


async def _forget_marks_of_person(
    parts: OperationContext, address: str, choices: Iterable[RecordFilter], *, dry_run: bool
) -> int:
    """Delete the marks of every attempt of a person that records and history show; returns how many."""
    known: set[tuple[str, str, str, str]] = set()
    async with aclosing(rows_of(parts.engine.store)) as slices:
        async for rows in slices:
            for digest, record in rows:
                if any(choice.fits(digest, record) for choice in choices):
                    known.add((record.client, record.sender, record.recipient, record.origin))
    if parts.decisions is not None:
        for event in await parts.decisions.about({"about": address}, _MOST_DECISIONS):
            shown = [str(event[name] or "") for name in ("client_address", "sender", "recipient", "origin")]
            known.add((shown[0], shown[1], shown[2], shown[3]))
            known.add((shown[0], shown[1], shown[2], ""))
    gone = 0
    for client, sender, recipient, origin in sorted(known):
        told = {"client": client, "sender": sender, "recipient": recipient, "origin": origin}
        gone += await _forget_marks_of(parts, _record_of(told), dry_run=dry_run)
    return gone


def _left(parts: OperationContext, address: str) -> list[str]:
    """What may still name a person, for an administrator.  Blocks."""
    files = ConfigurationFiles()
    files.take(parts.settings, parts.core.assembly.configuration)
    wanted = address.encode("utf-8", "surrogateescape").lower()
    named = [str(path) for path, text in files.paths.items() if wanted in text.lower()]
    kept = sorted(map(str, parts.settings.state_dir.glob("*.damaged.*")))
    kept += sorted(map(str, parts.settings.state_dir.glob("history.mdb.bad")))
    log = parts.settings.log.to
    return [
        *(f"{path} names the address: edit it" for path in named),
        *(f"{path} may hold it: delete it" for path in kept),
        f"the decision log ({log if Path(log).is_absolute() else f'to {log}'}), and the daemon's other lines",
        "the logs of the mail servers",
        "backups and exports, and copies of them",
        "other hosts that greylist the same mail",
    ]
