"""What greylisting is for, over weeks of mail: real senders get through, spam programs do not.

The figures are the goals of the product with default settings.  `python -m tests.support.simulation`
prints the table behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import trio

from multigrey.model import Reason
from tests.support.simulation import KINDS, Message, rows, simulate


@pytest.fixture(scope="module")
def mail() -> Sequence[Message]:
    """All messages of one run."""
    return trio.run(simulate)


def of(mail: Sequence[Message], which: Callable[[object], bool]) -> list[Message]:
    names = {kind.name for kind in KINDS if which(kind)}
    chosen = [message for message in mail if message.kind in names]
    assert len(chosen) > 500
    return chosen


def share(part: Sequence[Message], whole: Sequence[Message]) -> float:
    return len(part) / len(whole)


def test_no_legitimate_message_is_lost(mail):
    assert [message for message in of(mail, lambda kind: kind.legitimate) if message.delivered is None] == []


def test_mail_from_pools_passes_on_its_first_retry_after_the_delay(mail):
    delayed = [message for message in of(mail, lambda kind: kind.pool) if message.refused]
    assert len(delayed) > 200
    late = [message for message in delayed if any(age >= message.asked_for for age in message.refused)]
    assert share(late, delayed) <= 0.01


def test_follow_up_mail_of_a_proven_pair_is_never_delayed(mail):
    follow_ups = [message for message in of(mail, lambda kind: kind.legitimate) if message.follow_up]
    assert len(follow_ups) > 2000
    assert [message for message in follow_ups if message.refused] == []


def test_mail_of_proven_organisations_is_hardly_ever_delayed(mail):
    proven = [message for message in of(mail, lambda kind: kind.legitimate) if message.proven]
    assert len(proven) > 2000
    assert share([message for message in proven if message.refused], proven) <= 0.02


def test_spam_that_does_not_come_back_is_deferred(mail):
    spam = of(mail, lambda kind: not kind.legitimate)
    assert share([message for message in spam if message.delivered is not None], spam) <= 0.001


def test_programs_that_retry_at_once_for_four_minutes_get_nowhere(mail):
    eager = of(mail, lambda kind: kind.name == "eager bots")
    assert [message for message in eager if message.delivered is not None] == []
    assert sum(message.tries for message in eager) > 5 * len(eager)


def test_machines_of_one_provider_never_pass_for_each_other(mail):
    listed = of(mail, lambda kind: kind.name == "bot net with a list")
    assert len({(message.sender, message.recipient) for message in listed}) < 250
    assert [message for message in listed if message.delivered is not None] == []


def test_big_providers_come_to_be_trusted_as_a_whole(mail):
    pool = [message for message in mail if message.kind == "provider pool" and message.proven]
    assert any(message.last_reason is Reason.AUTO_WHITELISTED for message in pool)


def test_the_table_has_a_line_for_every_class(mail):
    assert [row.name for row in rows(mail)] == [kind.name for kind in KINDS]
    assert sum(row.messages for row in rows(mail)) == len(mail)
