"""The engine: takes attempts, returns replies and reports decisions.

Each step of an attempt has a module of its own:

    1 decide without reading the store: `stages`
    2 decide by what the store holds under the attempt's keys: `round`
    3 only if the sender would have to wait: ask slow sources, once; repeat the stages; add keys: `slow`
    4 make the decision, atomically in the store
    x if the store fails, or an answer is late: use the listener's on_error

So a known sender never waits for a slow source.  multigrey(8) describes the same for administrators.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
"""What is decided about an attempt without waiting (see `Engine.begin`)."""


class Engine:
    """Judges attempts.  One per daemon.  A reload replaces `setup`."""

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
        set_back: Callable[[], int] = lambda: 0,
        names: NameLedger | None = None,
    ) -> None:
        """`host` and `version` appear in the header.  `subscribers` are given every decision.

        `quota` limits the new records of each origin.  `is_full` returns whether no origin may make more.  An
        attempt that may not make a record gets a mark under `mark_key` (secret bytes).  `clock_believed`
        returns whether the wall clock can be trusted, `set_back` by how many seconds it was set back last.
        `names` is the evidence on which names can be trusted.
        """
        self.setup = setup
        self.store = store
        self.clock = clock
        self.counts: dict[tuple[Action, Reason], int] = {}
        self.subscribers = tuple(subscribers)
        self.shared = Shared(Knowledge(mark_key, names), quota, is_full, store, clock_believed, set_back)
        self._round = Round(self.shared, KnownSenders())
        self._ids = ids
        self._by = f"multigrey-{version} at {host}"
        self._unreported: list[DecisionEvent] = []

    @property
    def knowledge(self) -> Knowledge:
        """What the engine has learned from mail."""
        return self.shared.knowledge

    def begin(self, attempt: Attempt, on_error: OnError) -> Begun:
        """Decide without waiting, which is possible for nearly every attempt.

        Returns a Reply; or a Progress with a `durability`: the attempt is decided, and `end` gives the reply
        when the decision is on disk; or a Progress without one: the attempt waits for slow sources or for the
        store, await `finish`; or None: close without an answer (on_error = silent).
        """
        (begun,) = self.begin_all([(attempt, on_error)])
        if isinstance(begun, Exception):
            raise begun
        return begun

    def begin_all(self, asked: Iterable[tuple[Attempt, OnError]]) -> list[Begun | Exception]:
        """The same for many attempts.  An exception in the result is a bug that the attempt met.

        Each attempt is drawn from `asked` when the one before has made its first step, so an iterator may
        end when time is up.
        """
        setup, now = self.setup, self.clock.now()
        all_progress: list[Progress] = []

        def begun_with(one: tuple[Attempt, OnError]) -> Progress:
            progress = Progress(setup, one[0], now, one[1])
            all_progress.append(progress)
            return progress

        self._round.decide(map(begun_with, asked), self.store)
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
        """The reply to a decided attempt that is on disk, or that cannot be written (`error`: why)."""
        verdict = on_error_verdict(progress.on_error, error) if error else progress.verdict
        return self._conclude(progress, verdict)

    async def finish(self, progress: Progress) -> Reply | None:
        """Decide what `begin` could not decide; returns the reply."""
        try:
            await slow.decide(progress, self.store, self.shared)
        except (StoreError, CodecError) as error:
            progress.verdict = on_error_verdict(progress.on_error, str(error))
        return self._conclude(progress, progress.verdict)

    def report(self) -> None:
        """Give the subscribers every decision since the last call.  Call it when the answers are sent.

        A subscriber that fails affects no answer and no other subscriber.
        """
        events, self._unreported = self._unreported, []
        for subscriber in self.subscribers:
            for event in events:
                try:
                    subscriber(event)
                except Exception:
                    logger.exception("decision %s could not be reported", event.id)

    async def judge(self, attempt: Attempt, on_error: OnError) -> Reply | None:
        """Decide, remember and report one attempt.  None: close without an answer."""
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
        """The reply when a decision takes longer than `[limits] answer_within`."""
        progress.now = self.clock.now()
        return self._conclude(
            progress, on_error_verdict(progress.on_error, f"no decision within {seconds:g} s")
        )

    def progress(self, attempt: Attempt) -> Progress:
        """An attempt with its origin and keys, without a verdict; for commands."""
        progress = Progress(self.setup, attempt, self.clock.now())
        self.knowledge.place(progress)
        progress.keys = record_keys(progress)
        return progress

    def _conclude(self, progress: Progress, verdict: Verdict | None) -> Reply | None:
        """Count and queue a verdict as a decision, to be reported; returns the reply."""
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
    """Wait until a decision is on disk; returns why it cannot be written, or ""."""
    try:
        await durability.committed()
    except StoreError as error:
        return str(error)
    return ""
