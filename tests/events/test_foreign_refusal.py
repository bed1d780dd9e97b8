"""Refusals that are not multigrey's are named as whose they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.events.foreign_refusal import foreign_refusal

SMTPD = "Nov 22 14:03:10 mx postfix/smtpd[4711]: NOQUEUE: "
REJECT = SMTPD + "reject: RCPT from mail.sender.example[192.0.2.10]: "
END = "; from=<alice@sender.example> to=<bob@test.example> proto=ESMTP helo=<mail.sender.example>"
EXIM = "2026-11-22 14:03:10 H=mail.sender.example [192.0.2.10] F=<alice@sender.example> "
SAID = (
    "Nov 22 14:03:10 out postfix/smtp[3]: 3F2A1C0042: to=<bob@test.example>, relay=mx.x.example[192.0.2.1]:25"
)

FOREIGN = [
    ("550 5.1.1 <bob@test.example>: Recipient address rejected: User unknown", "no such recipient"),
    (
        REJECT
        + "550 5.1.1 <bob@test.example>: Recipient address rejected: User unknown in local table"
        + END,
        "recipient",
    ),
    (
        REJECT
        + "554 5.7.1 Service unavailable; Client host [192.0.2.10] blocked using zen.spamhaus.org; https://x"
        + END,
        "a DNS blocklist's: zen.spamhaus.org",
    ),
    (REJECT + "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.10]" + END, "host name"),
    (
        REJECT
        + "451 4.3.5 <bob@test.example>: Recipient address rejected: Server configuration problem"
        + END,
        "warning",
    ),
    (REJECT + "454 4.7.1 <bob@test.example>: Relay access denied" + END, "relays no mail"),
    (
        REJECT + "450 4.1.8 <alice@sender.example>: Sender address rejected: Domain not found" + END,
        "verified",
    ),
    (REJECT + "452 4.3.1 Insufficient system storage" + END, "takes no mail now"),
    (REJECT + "504 5.5.2 <x>: Helo command rejected: need fully-qualified hostname" + END, "HELO"),
    (REJECT + "554 5.7.1 <x>: Client host rejected: Access denied" + END, "access table"),
    (
        REJECT
        + "550 5.7.23 <bob@test.example>: Recipient address rejected: Message rejected due to: SPF fail"
        + END,
        "SPF",
    ),
    (
        SMTPD
        + "milter-reject: RCPT from x[192.0.2.1]: 451 4.7.1 Greylisting in action, come back later"
        + END,
        "milter",
    ),
    (
        (
            "Nov 22 mx postfix/postscreen[9]: NOQUEUE: reject: RCPT from [192.0.2.10]:4711: 450 "
            "4.3.2 Service "
            "currently unavailable; from=<a@b.example>, to=<c@d.example>, proto=ESMTP, helo=<h>"
        ),
        "postscreen",
    ),
    (EXIM + "rejected RCPT <bob@test.example>: Unrouteable address", "no such recipient"),
    (EXIM + "rejected RCPT <bob@test.example>: relay not permitted", "relays no mail"),
    (
        EXIM + "rejected RCPT <bob@test.example>: 192.0.2.10 is in a black list at zen.spamhaus.org",
        "zen.spamhaus.org",
    ),
    (EXIM + "temporarily rejected RCPT <bob@test.example>: multigrey did not answer", "did not answer"),
    (EXIM + "rejected after DATA: This message contains a virus", "content filter"),
    (
        SAID
        + ", status=deferred (host mx said: 452 4.2.2 The mailbox is full (in reply to RCPT TO command))",
        "mailbox",
    ),
    ("<bob@test.example>: host mx.test.example said: 550 5.1.1 User unknown", "no such recipient"),
    (
        SAID
        + ", status=deferred (host mx said: 450 4.2.0 <b@x>: Recipient address rejected: Greylisted, see "
        "http://postgrey.schweikert.ch/help/x.html (in reply to RCPT TO command))",
        "postgrey's",
    ),
]
OURS_OR_UNKNOWN = [
    REJECT
    + "450 4.7.1 <bob@test.example>: Recipient address rejected: Greylisted, please try again later"
    + END,
    REJECT + "450 4.7.1 <bob@test.example>: Recipient address rejected: Greylisting, spam is held back" + END,
    REJECT + "550 5.7.1 <bob@test.example>: Recipient address rejected: Not from there" + END,
    REJECT + "450 4.3.0 <bob@test.example>: Recipient address rejected: Temporary trouble" + END,
    EXIM + "temporarily rejected RCPT <bob@test.example>: multigrey new id=7f3k2q",
    EXIM + "temporarily rejected RCPT <virus-spf@test.example>: Please wait",
    REJECT
    + "450 4.7.1 <spam@test.example>: Recipient address rejected: Wait; from=<user unknown@x> to=<spam@y> p",
    "time=2026-11-22T14:03:10Z action=defer reason=new id=7f3k2q recipient=virus@5.1.1.example",
    '{"time":"2026-11-22T14:03:10Z","action":"reject","reason":"rule","detail":"User unknown"}',
    "Nov 22 mx postfix/smtpd[1]: 3F2A1C0042: client=unknown[192.0.2.10]",
    "Nov 22 mx other[1]: the message was refused",
    SAID + ", status=sent (250 2.1.5 Ok, User unknown is a name)",
    "",
]


@pytest.mark.parametrize(("line", "whose"), FOREIGN)
def test_a_refusal_of_others(line, whose):
    assert whose in foreign_refusal(line)
    assert whose in foreign_refusal(f"noise\n{line}\n")


@pytest.mark.parametrize("line", OURS_OR_UNKNOWN)
def test_a_refusal_that_may_be_ours(line):
    assert foreign_refusal(line) == ""


@given(st.text())
def test_any_text_is_survived(text):
    foreign_refusal(text)
