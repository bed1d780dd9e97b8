"""Many attempts at once: each is judged as it would be alone, and what one meets harms no other."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from multigrey.engine.engine import failure_of
from multigrey.engine.progress import Progress
from multigrey.errors import StoreError
from multigrey.model import Action, Attempt, Reason
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.engines import DELAY, harness
from tests.support.stores import options

PEOPLE = ("alice@example.org", "Bob@example.com", "")
RECIPIENTS = ("carol@example.net", "carol+list@example.net", "postmaster@example.net")
CLIENTS = (
    ("192.0.2.10", "mail.example.org"),
    ("192.0.2.11", None),
    ("2001:db8::25", None),
    (None, None),
)


def attempt(person: str = PEOPLE[0], recipient: str = RECIPIENTS[0], client=CLIENTS[0], **more) -> Attempt:
    address, name = client
    return Attempt(
        "postfix",
        None if address is None else ip_address(address),
        name,
        name or "[192.0.2.11]",
        person,
        recipient,
        **more,
    )


ATTEMPTS = st.builds(
    attempt,
    st.sampled_from(PEOPLE),
    st.sampled_from(RECIPIENTS),
    st.sampled_from(CLIENTS),
    message=st.sampled_from(["", "one", "two"]),
)


def seen_of(reply):
    return None if reply is None else (reply.action, reply.reason, reply.retry_after, reply.text)


async def together(parts, attempts):
    """What a round of the daemon answers to attempts that arrive together."""
    begun = parts.engine.begin_all([(one, "pass") for one in attempts])
    replies = []
    for what in begun:
        assert not isinstance(what, Exception)
        if not isinstance(what, Progress):
            replies.append(what)
        elif what.durability is not None:
            replies.append(parts.engine.end(what, await failure_of(what.durability)))
        else:
            replies.append(await parts.engine.finish(what))
    parts.engine.report()
    return replies


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(ATTEMPTS, max_size=8), st.integers(0, 2 * DELAY)), max_size=5))
def test_a_round_is_answered_like_its_attempts_one_after_the_other(rounds):
    async def play():
        async with harness() as one, harness() as other:
            for attempts, pause in rounds:
                alone = [await one.engine.judge(each, "pass") for each in attempts]
                assert [*map(seen_of, await together(other, attempts))] == [*map(seen_of, alone)]
                one.clock.advance(pause)
                other.clock.advance(pause)
            assert one.engine.counts == other.engine.counts

    trio.run(play)


async def test_the_second_of_a_round_sees_what_the_first_wrote(tmp_path):
    async with harness(LmdbStore(options(tmp_path / "state"))) as parts:
        replies = await together(parts, [attempt(), attempt(client=CLIENTS[1]), attempt()])
        assert [reply.reason for reply in replies] == [Reason.NEW, Reason.EARLY, Reason.EARLY]
        parts.clock.advance(DELAY)
        replies = await together(parts, [attempt(), attempt()])
        assert [reply.reason for reply in replies] == [Reason.RETRY, Reason.KNOWN]


async def test_a_late_retry_lets_in_the_rest_of_its_message_in_the_same_round():
    """As it does when the recipients are asked about one after the other."""
    retried = attempt(message="4e1f.0001")
    another = attempt(recipient="dave@example.net", message="4e1f.0001")
    async with harness() as parts:
        await together(parts, [retried])
        parts.clock.advance(3601)
        replies = await together(parts, [retried, another])
        assert [reply.reason for reply in replies] == [Reason.RETRY, Reason.SAME_MESSAGE]


class _Broken:
    def match(self, one: Attempt):
        if one.sender.startswith("broken"):
            raise RuntimeError("a bug")


async def test_a_bug_stands_in_the_place_of_the_attempt_that_met_it():
    async with harness(sources=(_Broken().match,)) as parts:
        before, met, after = parts.engine.begin_all(
            [(attempt(), "pass"), (attempt("broken@example.org"), "pass"), (attempt(PEOPLE[1]), "pass")]
        )
        assert isinstance(met, RuntimeError)
        assert (before.reason, after.reason) == (Reason.NEW, Reason.NEW)
        with pytest.raises(RuntimeError, match="a bug"):
            parts.engine.begin(attempt("broken@example.org"), "pass")


class _Trouble:
    """A store that has trouble with one call, from the so manieth on."""

    def __init__(self, store, call: str, after: int) -> None:
        self._store = store
        self._call = call
        self._after = after

    def __getattr__(self, name: str):
        if name != self._call:
            return getattr(self._store, name)
        self._after -= 1
        if self._after >= 0:
            return getattr(self._store, name)
        raise StoreError("no disk")


@pytest.mark.parametrize(("call", "fine"), [("peek", 0), ("submit", 1), ("submit", 3)])
async def test_trouble_with_the_store_is_answered_by_each_listeners_on_error(call, fine):
    async with harness() as parts:
        parts.engine.store = _Trouble(parts.store, call, fine)
        people = zip("abcd", ("pass", "pass", "defer", "silent"), strict=True)
        begun = parts.engine.begin_all([(attempt(person), on_error) for person, on_error in people])
        assert [(reply.action, reply.reason) for reply in begun[:fine]] == [(Action.DEFER, Reason.NEW)] * fine
        troubled = [
            (Action.PASS, Reason.ERROR),
            (Action.PASS, Reason.ERROR),
            (Action.DEFER, Reason.ERROR),
            None,
        ]
        assert [reply and (reply.action, reply.reason) for reply in begun[fine:]] == troubled[fine:]


async def test_an_empty_round_is_nothing():
    async with harness() as parts:
        assert parts.engine.begin_all([]) == []
