"""Commands of clients, besides asking for a verdict: the state of a key, lists, figures (greylistd's words).

Every command is one method named after its word.  It is given the Command, and returns a mapping that the
protocol turns into text.  Long work (listing, clearing) goes through the store in small pieces.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import trio

from multigrey.clock import Since
from multigrey.codec import decode_record
from multigrey.engine.engine import Engine
from multigrey.errors import CommandError
from multigrey.greylist.record_choice import keep_until
from multigrey.greylist.stored_decision import StoredDecision, record_puts
from multigrey.model import Action, Attempt, Change, Command, Entry, Key, Origin, Reason, Record, Table
from multigrey.overrides.blocks import Blocks

__all__ = ["Commands"]

_PIECE = 200
_MOST_ROWS = 10_000

WHITE = "white"
GREY = "grey"
BLACK = "black"


class Commands:
    """Carries out commands on one engine's store."""

    def __init__(
        self, engine: Engine, blocks: Blocks, *, host: str, reload: Callable[[], Awaitable[None]]
    ) -> None:
        """`reload` re-reads the configuration; it raises ConfigError and keeps the old one."""
        self._engine = engine
        self._blocks = blocks
        self._host = host
        self._reload = reload
        self._since = Since(engine.clock)
        self._before: Mapping[tuple[Action, Reason], int] = {}
        """The engine's counts when the statistics were last cleared."""
        self._words = {
            "state": self._state,
            "check": self._check,
            "add": self._add,
            "delete": self._delete,
            "stats": self._stats,
            "list": self._list,
            "save": self._save,
            "reload": self._reload_all,
            "clear": self._clear,
        }

    async def run(self, command: Command) -> Mapping[str, Any]:
        """Carry out one command.  Raises CommandError, StoreError, ConfigError."""
        carry_out = self._words.get(command.word)
        if carry_out is None:
            raise CommandError(f"unknown command {command.word!r}")
        return await carry_out(command)

    async def _state(self, command: Command) -> Mapping[str, Any]:
        question = self._question(_attempt(command))
        if question.case.key in self._blocks.texts:
            return {"state": BLACK}
        record = question.speaking(await self._engine.store.read(question.keys))
        if record is None or keep_until(question.policy, record) < question.now:
            return {"state": "unseen"}
        return {"state": WHITE if record.passed_at else GREY}

    async def _check(self, command: Command) -> Mapping[str, Any]:
        question = self._question(_attempt(command))
        if question.case.key in self._blocks.texts:
            return {"state": BLACK}
        verdict = question(await self._engine.store.read(question.keys)).value
        return {"state": WHITE if verdict.action is Action.PASS else GREY}

    async def _add(self, command: Command) -> Mapping[str, Any]:
        question = self._question(_attempt(command))
        wanted = _list_name(command) or WHITE
        if wanted == BLACK:
            await self._block(question)
            return {"list": BLACK}
        await self._blocks.remove(question.case.key)
        now, case = question.now, question.case
        record = Record(
            first_seen=now,
            last_seen=now,
            delay=question.policy.delay,
            passed_at=now if wanted == WHITE else 0,
            client=case.client_shown,
            sender=case.sender,
            recipient=case.recipient,
            origin=case.origin.text,
        )
        await self._unmark(question)
        await self._write(record_puts(question.policy, record, question.record_keys))
        return {"list": wanted}

    async def _delete(self, command: Command) -> Mapping[str, Any]:
        found = (await self._state(command))["state"]
        question = self._question(_attempt(command))
        if found == BLACK:
            await self._blocks.remove(question.case.key)
        await self._unmark(question)
        await self._write(dict.fromkeys(await self._all_keys(_attempt(command), question)))
        return {"list": "" if found == "unseen" else found}

    async def _all_keys(self, attempt: Attempt, question: StoredDecision) -> tuple[Key, ...]:
        """The record's keys, also those under the sender's name, which the request does not contain."""
        progress = self._engine.progress(attempt)
        values = await self._engine.store.read(question.record_keys)
        origins = {decode_record(value).origin for value in values if value is not None}
        named = [
            progress.setup.scheme.named_key(attempt, Origin(text, named=True), progress.network)
            for text in sorted(origins - {"", progress.network})
        ]
        return tuple(dict.fromkeys([*question.record_keys, *named]))

    async def _stats(self, command: Command) -> Mapping[str, Any]:
        del command
        engine = self._engine
        counts = {WHITE: 0, GREY: 0}
        async with aclosing(self._rows(Table.RECORD)) as rows:
            async for _, value in rows:
                record = decode_record(value)
                if not record.home:
                    counts[_list_of(record)] += 1
        done = {Action.PASS: 0, Action.DEFER: 0, Action.REJECT: 0}
        for kind, number in engine.counts.items():
            done[kind[0]] += number - self._before.get(kind, 0)
        return {
            **counts,
            BLACK: len(self._blocks.texts),
            "passed": done[Action.PASS],
            "deferred": done[Action.DEFER],
            "rejected": done[Action.REJECT],
            "since": self._since.time,
            "now": engine.clock.now(),
            "host": self._host,
        }

    async def _list(self, command: Command) -> Mapping[str, Any]:
        wanted = _list_name(command)
        rows: list[Sequence[Any]] = []
        if wanted in ("", BLACK):
            rows += [[BLACK, 0, 0, text] for text in self._blocks.texts.values()]
        more = False
        async with aclosing(self._rows(Table.RECORD)) as stored:
            async for _, value in stored:
                record = decode_record(value)
                if record.home or (wanted and wanted != _list_of(record)):
                    continue
                if len(rows) >= _MOST_ROWS:
                    more = True
                    break
                rows.append([_list_of(record), record.last_seen, record.attempts, _shown(record)])
        return {"rows": rows, "more": more, "now": self._engine.clock.now()}

    async def _save(self, command: Command) -> Mapping[str, Any]:
        """Wait for changes that are under way; everything that was answered is on disk already."""
        del command
        await self._write({})
        return {}

    async def _reload_all(self, command: Command) -> Mapping[str, Any]:
        del command
        await self._reload()
        return {}

    async def _clear(self, command: Command) -> Mapping[str, Any]:
        wanted = _list_name(command)
        if not wanted:
            await self._delete_rows(Table.ORIGIN, lambda _: True)
            self._since, self._before = Since(self._engine.clock), dict(self._engine.counts)
        if wanted in ("", BLACK):
            await self._blocks.clear()
        if wanted in ("", GREY):
            await self._delete_rows(Table.MARK, lambda _: True)
        await self._delete_rows(Table.RECORD, lambda value: wanted in ("", _list_of(decode_record(value))))
        return {}

    async def _delete_rows(self, table: Table, doomed: Callable[[bytes], bool]) -> None:
        due: dict[Key, Entry | None] = {}
        async with aclosing(self._rows(table)) as rows:
            async for digest, value in rows:
                if doomed(value):
                    due[(table, digest)] = None
                if len(due) >= _PIECE:
                    await self._write(due)
                    due = {}
        await self._write(due)

    def _question(self, attempt: Attempt) -> StoredDecision:
        return self._engine.shared.decision(self._engine.progress(attempt))

    async def _unmark(self, question: StoredDecision) -> None:
        await self._engine.store.apply(question.keys, question.unmarked)

    async def _block(self, question: StoredDecision) -> None:
        case = question.case
        await self._unmark(question)
        text = " ".join(part for part in (case.client_shown, case.sender, case.recipient) if part)
        await self._blocks.add(case.key, text, dict.fromkeys(question.record_keys))

    async def _write(self, puts: Mapping[Key, Entry | None]) -> None:
        await self._engine.store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))

    async def _rows(self, table: Table) -> AsyncGenerator[tuple[bytes, bytes], None]:
        """All rows of a table, in pieces, giving way to other tasks in between."""
        cursor = b""
        while True:
            rows, cursor = await self._engine.store.scan(table, cursor, _PIECE)
            for row in rows:
                yield row
            if not cursor:
                return
            await trio.lowlevel.checkpoint()


def _attempt(command: Command) -> Attempt:
    if command.attempt is None:
        raise CommandError(f"{command.word} needs an attempt or a key")
    return command.attempt


def _list_name(command: Command) -> str:
    return command.options.get("list", "")


def _list_of(record: Record) -> str:
    return WHITE if record.passed_at else GREY


def _shown(record: Record) -> str:
    return " ".join(part for part in (record.client, record.sender, record.recipient) if part)
