"""What an engine learns from mail besides records: marks, and names in doubt."""

from __future__ import annotations

from multigrey.contracts import Store
from multigrey.engine.progress import Doubted, Progress
from multigrey.engine.setup import Setup
from multigrey.evidence.mark_ledger import MarkLedger
from multigrey.evidence.name_ledger import FLUSH_EVERY, Judged, NameLedger
from multigrey.identity.origin import Origins
from multigrey.model import Attempt, Origin, Reason, Verdict

__all__ = ["Knowledge"]


class Knowledge:
    """The knowledge of one engine, kept in its store."""

    __slots__ = ("_settled_at", "marks", "names")

    def __init__(self, mark_key: bytes, names: NameLedger | None) -> None:
        """`mark_key`: secret bytes for marks.  `names`: evidence about names; None: none is kept."""
        self.marks = MarkLedger(mark_key)
        self.names = names
        self._settled_at = 0

    async def begin(self, store: Store, now: int) -> None:
        """Read what earlier runs have learned."""
        if self.names is not None:
            await self.names.begin(store, now)

    def go_on(self, now: int) -> None:
        """Draw the conclusions that a daemon draws once a minute; for engines with a simulated clock."""
        if self.names is not None and abs(now - self._settled_at) >= FLUSH_EVERY:
            self._settled_at = now
            self.names.settle()

    async def flush(self, store: Store) -> None:
        """Write what was learned since the last flush."""
        if self.names is not None:
            await self.names.flush(store)

    def place(self, progress: Progress) -> None:
        """Set the client network and the origin of an attempt, and the name that is in doubt, if any."""
        setup, attempt, names = progress.setup, progress.attempt, self.names
        network = progress.network = setup.network(attempt)
        origin = progress.origin = setup.origin_of(attempt, network)
        if names is not None and origin.text in names.doubted and setup.origins is not None:
            since = names.demoted_for(setup.origins, attempt, progress.now)
            if since:
                pattern = names.told_apart(setup.origins, attempt, progress.now)
                stands = Origin(pattern, named=True) if pattern else None
                progress.origin = Origin(network, named=False)
                progress.doubted = Doubted(origin, since, stands)

    def judged(self, setup: Setup, attempt: Attempt, now: int) -> Judged | None:
        """The evidence about hosts with such a name; None: no evidence applies."""
        if self.names is None or setup.origins is None or not attempt.client_name:
            return None
        return self.names.judged(setup.origins, attempt, now)

    def note(self, progress: Progress, verdict: Verdict, place: bytes) -> None:
        """Learn from what the store has decided about an attempt.

        `place`: who makes a mark (see `greylist.marks.place_of`); b"": not worked out yet.
        """
        if verdict.reason is Reason.OVER_LIMIT:
            place = place or self.marks.place_of(progress.counted, progress.attempt.client_address)
            self.marks.note(place, progress.now, progress.setup.policy.retry_window)
        origins = progress.setup.origins
        if self.names is not None and origins is not None and progress.attempt.client_name:
            self._note_name(self.names, origins, progress, verdict)

    def _note_name(self, names: NameLedger, origins: Origins, progress: Progress, verdict: Verdict) -> None:
        attempt, now = progress.attempt, progress.now
        match verdict.reason:
            case Reason.NEW | Reason.EXPIRED | Reason.OVER_LIMIT if not verdict.observed:
                names.note_deferred(origins, attempt, now)
            case Reason.RETRY:
                names.note_returned(origins, attempt, now, now - verdict.age, own=verdict.from_home)
            case Reason.KNOWN:
                names.note_known(origins, attempt, now)
