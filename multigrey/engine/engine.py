"""The engine: attempts in, replies and decisions out; the way between stands in the modules beside it.

    1 what needs no look at what is known: `stages`
    2 what is known under the attempt's keys: `round`
    3 only if that means waiting: slow sources are asked, once; stages again; keys widened: `slow`
    4 the decision, atomically in the store
    x store trouble, or no answer in time: the listener's on_error

So a sender who is known never waits for anybody else.  multigrey(8) tells the same to administrators.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import formatdate
from typing import Any

from multigrey.clock import Clock
from multigrey.contracts import Durability, Store
from multigrey.engine import slow
from multigrey.engine.knowledge import Knowledge
from multigrey.engine.known import KnownSenders
from multigrey.engine.progress import OnError, Progress, record_keys
from multigrey.engine.round import Round
from multigrey.engine.setup import Setup
from multigrey.engine.shared import Shared
from multigrey.engine.stages import on_error_verdict, reply_words
from multigrey.errors import CodecError, StoreError
from multigrey.evidence.name_ledger import NameLedger
from multigrey.greylist.quota import NewRecordQuota
from multigrey.model import Action, Attempt, DecisionEvent, Reason, Reply, Verdict
from multigrey.protocols.reply_text import worded

__all__ = ["Begun", "Engine", "failure_of"]

logger = logging.getLogger(__name__)

Begun = Reply | Progress | None
"""What becomes of an attempt at once (see `Engine.begin`)."""


class Engine:
    """Judges attempts.  One per daemon; `setup` is replaced by a reload."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        setup: Setup,
        ids: Iterator[str],
        host: str,
        version: str,
        subscribers: Sequence[Callable[[DecisionEvent], None]] = (),
        quota: NewRecordQuota | None = None,
        is_full: Callable[[], bool] = lambda: False,
        mark_key: bytes = b"",
        clock_believed: Callable[[], bool] = lambda: True,
        names: NameLedger | None = None,
    ) -> None:
        """`host` and `version` stand in the header; `subscribers` are given every decision.

        `quota` says which origins may make no more records, `is_full` that none may: attempts get marks under
        `mark_key` (secret bytes) then.  `clock_believed` says whether the clock may be, `names` which names.
        """
        self.setup = setup
        self.store = store
        self.clock = clock
        self.counts: dict[tuple[Action, Reason], int] = {}
        self.subscribers = tuple(subscribers)
        self.shared = Shared(Knowledge(mark_key, names), quota, is_full, clock_believed)
        self._round = Round(self.shared, KnownSenders())
        self._ids = ids
        self._by = f"multigrey-{version} at {host}"
        self._unreported: list[DecisionEvent] = []

    @property
    def knowledge(self) -> Knowledge:
        """What was learned from mail."""
        return self.shared.knowledge

    def begin(self, attempt: Attempt, on_error: OnError) -> Begun:
        """Decide what can be decided without waiting: nearly every attempt.

        A Progress with a `durability` is decided, and `end` gives the reply when it is on disk; without one
        somebody else has to be asked first: await `finish`.  None: say nothing and close (on_error = silent).
        """
        (begun,) = self.begin_all([(attempt, on_error)])
        if isinstance(begun, Exception):
            raise begun
        return begun

    def begin_all(self, asked: Sequence[tuple[Attempt, OnError]]) -> list[Begun | Exception]:
        """The same for many at once; an exception is a bug of ours that one of them met."""
        setup, now = self.setup, self.clock.now()
        all_progress = [Progress(setup, attempt, now, on_error) for attempt, on_error in asked]
        self._round.decide(all_progress, self.store)
        begun: list[Begun | Exception] = []
        for progress in all_progress:
            if progress.failure is not None:
                begun.append(progress.failure)
            elif progress.verdict is None or progress.durability is not None:
                begun.append(progress)
            else:
                try:
                    begun.append(self._conclude(progress, progress.verdict))
                except Exception as error:  # noqa: BLE001  (it belongs to the connection that brought the attempt)
                    begun.append(error)
        return begun

    def end(self, progress: Progress, error: str = "") -> Reply | None:
        """The reply to what was decided, now that it is on disk, or that it never will be (`error`)."""
        verdict = on_error_verdict(progress.on_error, error) if error else progress.verdict
        return self._conclude(progress, verdict)

    async def finish(self, progress: Progress) -> Reply | None:
        """The rest of the way, for what `begin` could not decide."""
        try:
            await slow.decide(progress, self.store, self.shared)
        except (StoreError, CodecError) as error:
            progress.verdict = on_error_verdict(progress.on_error, str(error))
        return self._conclude(progress, progress.verdict)

    def report(self) -> None:
        """Give the subscribers what was decided since the last call: once the answers are on their way.

        A subscriber that fails harms no answer and no other subscriber.
        """
        events, self._unreported = self._unreported, []
        for subscriber in self.subscribers:
            for event in events:
                try:
                    subscriber(event)
                except Exception:
                    logger.exception("decision %s could not be reported", event.id)

    async def judge(self, attempt: Attempt, on_error: OnError) -> Reply | None:
        """The whole way: decide, remember, report.  None: say nothing and close."""
        try:
            begun = self.begin(attempt, on_error)
            if not isinstance(begun, Progress):
                return begun
            if begun.durability is None:
                return await self.finish(begun)
            return self.end(begun, await failure_of(begun.durability))
        finally:
            self.report()

    def overdue(self, progress: Progress, seconds: float) -> Reply | None:
        """The answer when a decision took longer than `[limits] answer_within`."""
        progress.now = self.clock.now()
        return self._conclude(
            progress, on_error_verdict(progress.on_error, f"no decision within {seconds:g} s")
        )

    def progress(self, attempt: Attempt) -> Progress:
        """An attempt with its origin and keys, when nobody asked for a verdict (commands)."""
        progress = Progress(self.setup, attempt, self.clock.now())
        self.knowledge.place(progress)
        progress.keys = record_keys(progress)
        return progress

    def _conclude(self, progress: Progress, verdict: Verdict | None) -> Reply | None:
        """The reply to a verdict; from now on it is a decision."""
        assert verdict is not None
        setup, attempt, now, origin = progress.setup, progress.attempt, progress.now, progress.origin
        decision_id = next(self._ids)
        class_ = ""
        if setup.classes:
            class_ = setup.classes.of(attempt, origin, setup.provider_of(attempt), now)
        self._unreported.append(DecisionEvent(now, decision_id, attempt, verdict, origin.text, class_))
        kind = (verdict.action, verdict.reason)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if verdict.reason is Reason.ERROR and progress.on_error == "silent":
            return None
        if verdict.action is Action.PASS:
            header = self._header(progress, verdict) if verdict.reason is Reason.RETRY else ""
            return Reply(Action.PASS, verdict.reason, decision_id, "", header=header)
        text, code, otherwise = reply_words(setup, verdict)
        text = worded(text, attempt, origin, verdict, decision_id, otherwise)
        return Reply(verdict.action, verdict.reason, decision_id, text, code, verdict.retry_after)

    def _header(self, progress: Progress, verdict: Verdict) -> str:
        if not progress.setup.header or not self.shared.messages.wants_header(progress.attempt):
            return ""
        return f"X-Greylist: delayed {verdict.age} seconds by {self._by}; {formatdate(progress.now)}"

    def figures(self) -> Mapping[str, Any]:
        """Decisions since the start, by action and reason."""
        return {f"{action.value} {reason.value}": n for (action, reason), n in self.counts.items()}


async def failure_of(durability: Durability) -> str:
    """What kept a decision from the disk; "" when it is there."""
    try:
        await durability.committed()
    except StoreError as error:
        return str(error)
    return ""
