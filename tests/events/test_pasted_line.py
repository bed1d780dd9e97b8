"""An attempt in text pasted from a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.events.line import format_event, format_json, format_postgrey
from multigrey.events.pasted_line import PastedLine, find_attempt
from multigrey.identity.addresses import parse_client_address
from multigrey.model import Action, Attempt, DecisionEvent, Reason, Stage, Verdict

STAMP = "Nov 22 14:03:10 mx postfix/smtpd[4711]: "
EXIM = "2026-11-22 14:03:10 "
WHO = {"client_address": "192.0.2.10", "client_name": "mail.sender.example", "helo": "mail.sender.example"}
MAIL = {"sender": "alice@sender.example", "recipient": "bob@test.example"}

LINES = [
    (
        "the lines of a Postfix message whose sender has logged in",
        STAMP + "3F2A1C0042: client=mail.sender.example[192.0.2.10], sasl_method=PLAIN, sasl_username=alice\n"
        "Nov 22 14:03:10 mx postfix/qmgr[4712]: 3F2A1C0042: from=<alice@sender.example>, size=321, nrcpt=1\n"
        "Nov 22 14:03:11 mx postfix/lmtp[4713]: 3F2A1C0042: to=<bob@test.example>, relay=mx, status=sent",
        PastedLine(
            "postfix",
            {
                "client_address": "192.0.2.10",
                "client_name": "mail.sender.example",
                "authenticated": "alice",
                **MAIL,
            },
        ),
    ),
    (
        "Postfix at RCPT",
        STAMP + "NOQUEUE: reject: RCPT from mail.sender.example[192.0.2.10]: 450 4.7.1 <bob@test.example>: "
        "Recipient address rejected: Greylisted, please try again later; from=<alice@sender.example> "
        "to=<bob@test.example> proto=ESMTP helo=<mail.sender.example>",
        PastedLine("postfix", {**WHO, **MAIL}),
    ),
    (
        "an unknown name, a port, a queue id, no HELO",
        STAMP + "3F2A1C0042: reject: RCPT from unknown[2001:db8::25]:2525: 450 4.7.1 <b@test.example>: "
        "Recipient address rejected: grey; from=<> to=<b@test.example> proto=SMTP",
        PastedLine(
            "postfix", {"client_address": "2001:db8::25", "sender": "", "recipient": "b@test.example"}
        ),
    ),
    (
        "a reply that repeats what follows",
        STAMP + "NOQUEUE: reject: RCPT from unknown[192.0.2.10]: 450 4.7.1 <x@y>: ; from=<z@z> to=<z@z> "
        "proto=ESMTP helo=<z>; from=<alice@sender.example> to=<bob@test.example> proto=ESMTP helo=<h>",
        PastedLine("postfix", {"client_address": "192.0.2.10", "helo": "h", **MAIL}),
    ),
    (
        "postscreen puts commas",
        (
            "Nov 22 mx postfix/postscreen[9]: NOQUEUE: reject: RCPT from [192.0.2.10]:4711: 450 4.3.2 "
            "Service currently unavailable; from=<alice@sender.example>, to=<bob@test.example>, proto=ESMTP, "
            "helo=<mail.sender.example>"
        ),
        PastedLine("postfix", {"client_address": "192.0.2.10", "helo": "mail.sender.example", **MAIL}),
    ),
    (
        "a bounce at DATA",
        STAMP + "7B3C2D0042: reject: DATA from mail.sender.example[192.0.2.10]: 451 4.7.1 <DATA>: Data "
        "command rejected: Greylisted; from=<> to=<bob@test.example> proto=ESMTP helo=<mail.sender.example>",
        PastedLine("postfix", {**WHO, "sender": "", "recipient": "bob@test.example", "stage": "data"}),
    ),
    *(
        (
            f"a bounce to several at {verb}",
            STAMP + f"6427C20E261: reject: {verb} from unknown[192.0.2.10]: 451 4.7.1 <DATA>: Data command "
            "rejected: Greylisted, please try again later; from=<> proto=ESMTP helo=<[192.0.2.10]>",
            PastedLine(
                "postfix",
                {
                    "client_address": "192.0.2.10",
                    "helo": "[192.0.2.10]",
                    "sender": "",
                    "recipient": "",
                    "stage": "data",
                },
            ),
        )
        for verb in ("DATA", "BDAT")
    ),
    (
        "a login",
        STAMP + "NOQUEUE: reject: RCPT from unknown[192.0.2.10]: 550 5.7.1 no; from=<alice@sender.example> "
        "to=<bob@test.example> proto=ESMTP helo=<h> sasl_username=<joe>",
        PastedLine("postfix", {"client_address": "192.0.2.10", "helo": "h", **MAIL, "authenticated": "joe"}),
    ),
    (
        "three lines of an accepted message, among others",
        "\n".join(
            [
                STAMP + "connect from mail.sender.example[192.0.2.10]",
                STAMP + "4F1B2A0D3E: client=mail.sender.example[192.0.2.10]",
                "Nov 22 14:03:11 mx postfix/qmgr[12]: 5555555555: from=<other@x.example>, size=1, nrcpt=1",
                "Nov 22 mx postfix/qmgr[12]: 4F1B2A0D3E: from=<alice@sender.example>, size=1, nrcpt=1",
                (
                    "Nov 22 14:03:12 mx postfix/local[13]: 4F1B2A0D3E: to=<bob@int.example>, "
                    "orig_to=<bob@test.example>, relay=local, delay=0.1, status=sent"
                ),
            ]
        ),
        PastedLine("postfix", {"client_address": "192.0.2.10", "client_name": "mail.sender.example", **MAIL}),
    ),
    (
        "Exim, HELO as the name",
        EXIM + "H=mail.sender.example [192.0.2.10]:4711 F=<alice@sender.example> temporarily rejected RCPT "
        "<bob@test.example>: multigrey new id=7f3k2q",
        PastedLine("exim", {**WHO, **MAIL}, "7f3k2q"),
    ),
    (
        "Exim, another HELO, no name, TLS",
        EXIM + "H=([192.0.2.99]) [192.0.2.10] I=[198.51.100.1]:25 X=TLS1.3:ECDHE_X25519:256 CV=no F=<> "
        "temporarily rejected RCPT <bob@test.example>: Greylisted, please try again later",
        PastedLine(
            "exim",
            {
                "client_address": "192.0.2.10",
                "helo": "[192.0.2.99]",
                "sender": "",
                "recipient": "bob@test.example",
            },
        ),
    ),
    (
        "Exim, name and HELO, a quoted sender that ends early",
        EXIM + 'H=a.example (b.example) [2001:db8::1]:25 F=<"x> rejected RCPT <y@z.example"@sender.example> '
        "rejected RCPT <bob@test.example>: no",
        PastedLine(
            "exim",
            {
                "client_address": "2001:db8::1",
                "client_name": "a.example",
                "helo": "b.example",
                "sender": '"x> rejected RCPT <y@z.example"@sender.example',
                "recipient": "bob@test.example",
            },
        ),
    ),
    (
        "Exim, neither name nor HELO",
        EXIM
        + "H=[192.0.2.10] F=<alice@sender.example> rejected RCPT <bob@test.example>: relay not permitted",
        PastedLine("exim", {"client_address": "192.0.2.10", **MAIL}),
    ),
    (
        "Exim, a login behind the sender",
        EXIM
        + "H=mail.sender.example [192.0.2.10] F=<alice@sender.example> A=login:carol temporarily rejected "
        "RCPT <bob@test.example>: multigrey new id=7f3k2q",
        PastedLine("exim", {**WHO, **MAIL, "authenticated": "carol"}, "7f3k2q"),
    ),
    (
        "Exim, a bounce after DATA",
        EXIM + "1tEXAM-000000001Ab-0Cde H=mail.sender.example [192.0.2.10] F=<> temporarily rejected after "
        "DATA: multigrey new id=vky28p",
        PastedLine("exim", {**WHO, "sender": "", "recipient": "", "stage": "data"}, "vky28p"),
    ),
    (
        "postgrey",
        (
            "Nov 22 14:03:10 mx postgrey[815]: action=greylist, reason=early-retry (120s missing), "
            "client_name=mail.sender.example, client_address=192.0.2.10/32, sender=alice@sender.example, "
            "recipient=bob@test.example"
        ),
        PastedLine(
            "postgrey", {"client_address": "192.0.2.10", "client_name": "mail.sender.example", **MAIL}
        ),
    ),
    (
        "postgrey, without a name and a sender",
        (
            "mx postgrey[815]: action=pass, reason=triplet found, delay=301, client_name=unknown, "
            "client_address=2001:db8::25, recipient=bob@test.example"
        ),
        PastedLine(
            "postgrey", {"client_address": "2001:db8::25", "sender": "", "recipient": "bob@test.example"}
        ),
    ),
    (
        "Postfix on the sender's side",
        (
            "Nov 22 14:03:09 out postfix/qmgr[2]: 3F2A1C0042: from=<alice@sender.example>, "
            "size=321, nrcpt=1\n"
            "Nov 22 14:03:10 out postfix/smtp[3]: 3F2A1C0042: to=<bob@test.example>, relay=mx.test.example"
            "[192.0.2.1]:25, delay=1, dsn=4.7.1, status=deferred (host mx.test.example[192.0.2.1] "
            "said: 450 4.7.1 "
            "<bob@test.example>: Recipient address rejected: Greylisted, please try again later (in "
            "reply to RCPT "
            "TO command))"
        ),
        PastedLine("sender", MAIL),
    ),
    (
        "Exim on the sender's side",
        EXIM + "1tEXAM-000000001Ab-0Cde == bob@test.example R=dnslookup T=remote_smtp defer (-44) "
        "H=mx.test.example [192.0.2.1]: SMTP error from remote mail server after RCPT TO:<bob@test.example>: "
        "451 4.7.1 Greylisted, please try again later",
        PastedLine("sender", {"recipient": "bob@test.example"}),
    ),
    (
        "Sendmail on the sender's side",
        (
            "Nov 22 out sendmail[4]: 3AMD3A: to=<bob@test.example>, delay=00:00:01, mailer=esmtp, relay=mx., "
            "dsn=4.7.1, stat=Deferred: 451 4.7.1 Greylisted, please try again later"
        ),
        PastedLine("sender", {"recipient": "bob@test.example"}),
    ),
    (
        "a bounce",
        (
            "<bob@test.example>: host mx.test.example[192.0.2.1] said: 450 4.7.1 "
            "<bob@test.example>: Recipient "
            "address rejected: Greylisted, please try again later (in reply to RCPT TO command)"
        ),
        PastedLine("sender", {"recipient": "bob@test.example"}),
    ),
    (
        "a reply",
        "450 4.7.1 <bob@test.example>: Recipient address rejected: Greylisted, please try again later",
        PastedLine("sender", {"recipient": "bob@test.example"}),
    ),
    (
        "headers of a message that was delayed",
        (
            "Return-Path: <alice@sender.example>\nDelivered-To: bob@test.example\nX-Greylist: "
            "delayed 183 seconds "
            "by multigrey-0.3 at mx.test.example; Sun, 22 Nov 2026 14:03:10 +0100"
        ),
        PastedLine("header", MAIL, delayed=183),
    ),
    (
        "the header alone",
        "X-Greylist: delayed 183 seconds by multigrey-0.3 at mx; Sun, 22 Nov 2026 14:03:10 +0100",
        PastedLine("header", {}, delayed=183),
    ),
    (
        "Exim, accepted, with received_recipients and a login",
        EXIM
        + "1tEXAM-000000001Ab-0Cde <= alice@sender.example H=mail.sender.example [192.0.2.10]:4711 P=esmtpsa "
        "X=TLS1.3 CV=no A=plain:joe S=1234 id=x@y for bob@test.example carol@test.example",
        PastedLine("exim", {**WHO, **MAIL, "authenticated": "joe"}),
    ),
    (
        "Exim, an accepted bounce",
        EXIM
        + "1tEXAM-000000001Ab-0Cde <= <> H=mail.sender.example [192.0.2.10] P=esmtp S=9 for bob@test.example",
        PastedLine("exim", {**WHO, "sender": "", "recipient": "bob@test.example"}),
    ),
]


@pytest.mark.parametrize(("line", "found"), [row[1:] for row in LINES], ids=[row[0] for row in LINES])
def test_what_a_log_tells(line, found):
    assert find_attempt(line) == found
    assert find_attempt(f"\n  noise\n{line}\nmore noise\n") == found


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        STAMP + "connect from mail.sender.example[192.0.2.10]",
        STAMP + "4F1B2A0D3E: client=mail.sender.example[192.0.2.10]",
        EXIM + "H=mail.sender.example [192.0.2.10] F=<a@b.example> temporarily rejected after DATA: grey",
        EXIM
        + '1tEXAM-000000001Ab-0Cde <= a@b.example H=c.example [192.0.2.10] P=esmtp S=9 T="waiting for you"',
        EXIM + "1tEXAM-000000001Ab-0Cde => bob <bob@test.example> R=local T=maildir",
        "F=<a@b> rejected RCPT <c@d>",
        STAMP + "NOQUEUE: reject: RCPT from c.example[192.0.2.10]: 450 wait; from=<a@b.example> proto=SMTP",
        '{"time":"2026-11-22T14:03:10Z","action":"defer","reason":"new","client_address":"192.0.2',
        '{"answer": 7, "action": []}',
        "X-Greylist: delayed 300 seconds by postgrey-1.37 at mx; Sun, 22 Nov 2026 14:03:10 +0100",
        'action=defer reason=new id=7f3k2q client_address=192.0.2.10 sender="cut while it was pas',
        'action=defer reason=new id=7f3k2q client_address=192.0.2.10 sender="a b"@example.org',
        "action=defer reason=new id=7f3k2q sender=twice@example.org sender=twice@example.org",
    ],
)
def test_lines_without_an_attempt(line):
    assert find_attempt(line) is None


@given(
    sender=st.text(max_size=20),
    helo=st.text(max_size=20),
    recipient=st.text(min_size=1, max_size=20),
    name=st.sampled_from(["", "mail.example.org"]),
)
def test_our_own_lines_come_back_whole(sender, helo, recipient, name):
    address = parse_client_address("192.0.2.10")
    attempt = Attempt("mx", address, name or None, helo, sender, recipient, Stage.DATA, "m1", "joe")
    event = DecisionEvent(1_000_000_000, "7f3k2q", attempt, Verdict(Action.DEFER, Reason.NEW))
    told = {"listener": "mx", "client_address": "192.0.2.10", "recipient": recipient, "stage": "data"}
    told |= {"sender": "" if sender == "<>" else sender, "message": "m1", "authenticated": "joe"}
    told |= {key: text for key, text in {"helo": helo, "client_name": name}.items() if text}
    line = format_event(event)
    _, _, without_time = line.partition(" ")  # as syslog and the journal get it
    for text in (line, without_time, format_json(event)):
        found = find_attempt(f"Nov 22 mx multigrey[1]: {text}")
        assert found is not None
        assert (found.id, dict(found.fields)) == ("7f3k2q", told)
    found = find_attempt(f"Nov 22 mx multigrey[1]: {format_postgrey(event)}")
    assert found is not None
    assert (found.program, found.id) == ("multigrey", "")
    less = {key: told.get(key) for key in ("client_address", "client_name", "recipient")}
    assert {key: found.fields.get(key) for key in less} == less
    assert found.fields["sender"] == sender


@given(st.text())
def test_any_text_is_survived(text):
    find_attempt(text)


HOSTILE = [
    STAMP + "reject: RCPT from a[1.2.3.4]: " + "; from=<" * 500,
    STAMP + "reject: RCPT from a[1.2.3.4]: ; from=<" + '"' * 4_000,
    "H=a (b) [1.2.3.4] " + "x " * 2_000,
    "H=a (b) [1.2.3.4] F=<" + '"\\' * 2_000,
    "<= a " + "H=a (b) [1.2.3.4] " * 225,
    "H=" * 2_000,
    "x" * 1_000_000,
    '{"' * 2_000,
    "[" * 4_000,
    "action=greylist, reason=" + ", client_name=" * 250,
    "<" * 4_000,
    "<a>: host x said: 4" * 200,
    "== a SMTP error from remote mail server " * 90,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_lines_made_to_take_long_are_answered(text):
    assert find_attempt("\n".join([text] * 4)) is None


def test_a_line_nobody_logs_is_not_looked_at():
    whole = LINES[0][1]
    assert find_attempt(whole + " " * 5_000) is None


def test_a_line_that_only_begins_like_one_of_ours_is_not_one():
    assert find_attempt("x action=pass reason=known id=a id=b") is None
