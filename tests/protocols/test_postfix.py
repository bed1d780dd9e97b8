from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.model import Action, Attempt, Ignored, Signal, Stage
from multigrey.protocols.postfix import PostfixDialogue
from tests.support.feeding import DEFER, PASS, REJECT, always, converse, feed, options

# What Postfix 3.7 sends at RCPT, byte for byte.
POSTFIX_37 = {
    "request": "smtpd_access_policy",
    "protocol_state": "RCPT",
    "protocol_name": "ESMTP",
    "client_address": "192.0.2.10",
    "client_name": "mail.sender.example",
    "client_port": "4711",
    "reverse_client_name": "mail.sender.example",
    "server_address": "127.0.0.1",
    "server_port": "13525",
    "helo_name": "mail.sender.example",
    "sender": "Alice@Sender.Example",
    "recipient": "Bob+tag@Test.Example",
    "recipient_count": "0",
    "queue_id": "",
    "instance": "370f.6b02fe82.3b630.0",
    "size": "1234",
    "etrn_domain": "",
    "stress": "",
    "sasl_method": "",
    "sasl_username": "",
    "sasl_sender": "",
    "ccert_subject": "",
    "ccert_issuer": "",
    "ccert_fingerprint": "",
    "ccert_pubkey_fingerprint": "",
    "encryption_protocol": "",
    "encryption_cipher": "",
    "encryption_keysize": "0",
    "policy_context": "",
}
POSTFIX_38 = POSTFIX_37 | {"compatibility_level": "3.6", "mail_version": "3.8.1"}
POSTFIX_21 = {
    name: POSTFIX_37[name]
    for name in (
        "request",
        "protocol_state",
        "protocol_name",
        "helo_name",
        "queue_id",
        "sender",
        "recipient",
        "client_address",
        "client_name",
        "reverse_client_name",
        "instance",
    )
}
SEVEN = {
    "request": "smtpd_access_policy",
    "protocol_state": "RCPT",
    "client_address": "192.0.2.10",
    "client_name": "mail.sender.example",
    "helo_name": "mail.sender.example",
    "sender": "Alice@Sender.Example",
    "recipient": "Bob+tag@Test.Example",
}
ATTEMPT = Attempt(
    listener="test",
    client_address=IPv4Address("192.0.2.10"),
    client_name="mail.sender.example",
    helo="mail.sender.example",
    sender="Alice@Sender.Example",
    recipient="Bob+tag@Test.Example",
    message="370f.6b02fe82.3b630.0",
)
DUNNO = b"action=DUNNO\n\n"
DEFERRED = b"action=DEFER_IF_PERMIT 4.7.1 Greylisted, please try again later\n\n"


def make(request_size=65536):
    return PostfixDialogue(options(request_size=request_size))


def question(attributes, **changes):
    told = attributes | changes
    text = "".join(f"{name}={value}\n" for name, value in told.items() if value is not None)
    return (text + "\n").encode("utf-8", "surrogateescape")


def only(talk):
    assert talk.error is None
    assert len(talk.heard) == 1
    return talk.heard[0]


def attempt_of(data, **more):
    attempt = only(feed(make, data, **more))
    assert isinstance(attempt, Attempt)
    return attempt


@pytest.mark.parametrize("attributes", [POSTFIX_37, POSTFIX_38], ids=["3.7", "3.8"])
def test_question_of_a_current_postfix(attributes):
    talk = feed(make, question(attributes))
    assert talk.heard == [ATTEMPT]
    assert dict(talk.heard[0].attributes) == attributes
    assert repr(talk.heard[0].attributes) == f"Attributes({attributes})"
    assert talk.sent == DEFERRED
    assert talk.end is Signal.NEED_DATA


def test_question_of_an_old_postfix():
    assert attempt_of(question(POSTFIX_21)) == ATTEMPT


def test_seven_attributes_by_hand():
    talk = feed(make, question(SEVEN), eof=True)
    assert talk.heard == [replace(ATTEMPT, message="")]
    assert talk.sent == DEFERRED
    assert talk.end is Signal.CLOSED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"client_address": "unknown"}, {"client_address": None}),
        ({"client_address": ""}, {"client_address": None}),
        ({"client_address": "rubbish\x00"}, {"client_address": None}),
        ({"client_address": "2001:DB8:0:0::25"}, {"client_address": IPv6Address("2001:db8::25")}),
        ({"client_address": "::ffff:192.0.2.10"}, {}),
        ({"client_address": None}, {"client_address": None}),
        ({"client_name": "unknown"}, {"client_name": None}),
        ({"client_name": ""}, {"client_name": None}),
        ({"client_name": None}, {"client_name": None}),
        ({"sender": ""}, {"sender": ""}),
        ({"sender": None}, {"sender": ""}),
        ({"sender": "a b=c to=x@d.example"}, {"sender": "a b=c to=x@d.example"}),
        ({"sender": "%s%n@d.example"}, {"sender": "%s%n@d.example"}),
        ({"sender": "jörg@d.example"}, {"sender": "jörg@d.example"}),
        ({"sender": "\udce9\x00\r\x1b@d.example"}, {"sender": "\udce9\x00\r\x1b@d.example"}),
        ({"sender": "x" * 50_000}, {"sender": "x" * 50_000}),
        ({"recipient": "odd local=x@test.example"}, {"recipient": "odd local=x@test.example"}),
        ({"helo_name": "evil?name=x"}, {"helo": "evil?name=x"}),
        ({"helo_name": None}, {"helo": ""}),
        ({"instance": None}, {"message": ""}),
        ({"protocol_state": None}, {}),
        ({"protocol_name": "SMTP", "stress": "yes"}, {}),
        ({"sasl_username": "joe", "ccert_subject": "c.example"}, {"authenticated": "joe"}),
        ({"ccert_subject": "c.example"}, {"authenticated": "c.example"}),
        ({"ccert_subject": "Joe+20Doe+2B+C3+A9+zz+"}, {"authenticated": "Joe Doe+é+zz+"}),
        ({"ccert_fingerprint": "AA:BB", "ccert_pubkey_fingerprint": "CC"}, {}),
        ({"policy_test_time": "1"}, {}),
    ],
)
@pytest.mark.parametrize("order", ["in order", "reversed"])
def test_values(changes, expected, order):
    told = POSTFIX_37 | changes
    if order == "reversed":
        told = dict(reversed(told.items()))
    attempt = attempt_of(question(told))
    assert attempt == replace(ATTEMPT, **expected)
    assert dict(attempt.attributes) == {name: value for name, value in told.items() if value is not None}


def test_of_two_attributes_with_one_name_the_first_counts():
    forged = question(POSTFIX_37).removesuffix(b"\n") + (
        b"client_address=198.51.100.1\nsender=x\nrecipient=y\nrequest=z\nprotocol_state=DATA\n"
        b"sasl_username=joe\n\n"
    )
    attempt = attempt_of(forged)
    assert attempt == ATTEMPT
    assert attempt.attributes["sender"] == "Alice@Sender.Example"
    first = question({"sasl_username": ""}).removesuffix(b"\n") + question(POSTFIX_37, sasl_username="joe")
    assert attempt_of(first) == ATTEMPT


ONE = "Bob+tag@Test.Example"


@pytest.mark.parametrize("sender", ["", "double-bounce@d.example", "Double-Bounce-7k2m9x@D.example"])
@pytest.mark.parametrize(
    ("changes", "stage", "recipient"),
    [
        ({"protocol_state": "RCPT"}, Stage.RCPT, ONE),
        ({"protocol_state": "DATA", "recipient_count": "1"}, Stage.DATA, ONE),
        ({"protocol_state": "DATA", "recipient_count": "0"}, Stage.DATA, ONE),
        ({"protocol_state": "DATA", "recipient_count": None}, Stage.DATA, ONE),
        # Of several recipients Postfix tells none.
        ({"protocol_state": "DATA", "recipient": "", "recipient_count": "2"}, Stage.DATA, ""),
        ({"protocol_state": "DATA", "recipient": "", "recipient_count": "50"}, Stage.DATA, ""),
        ({"protocol_state": "DATA", "recipient": None, "recipient_count": None}, Stage.DATA, ""),
        ({"protocol_state": "DATA", "recipient_count": "2"}, Stage.DATA, ""),
        ({"protocol_state": "DATA", "recipient_count": "many"}, Stage.DATA, ""),
    ],
)
def test_stages_that_are_judged(changes, stage, recipient, sender):
    talk = feed(make, question(POSTFIX_37, sender=sender, **changes))
    assert talk.heard == [replace(ATTEMPT, stage=stage, sender=sender, recipient=recipient)]
    later = b"action=451 4.7.1 Greylisted, please try again later\n\n"
    assert talk.sent == (later if stage is Stage.DATA else DEFERRED)


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"protocol_state": "CONNECT", "recipient": ""}, "smtpd_client_restrictions"),
        ({"protocol_state": "EHLO", "recipient": ""}, "smtpd_helo_restrictions"),
        ({"protocol_state": "HELO", "recipient": ""}, "smtpd_helo_restrictions"),
        ({"protocol_state": "MAIL", "recipient": ""}, "smtpd_sender_restrictions"),
        ({"protocol_state": "ETRN", "etrn_domain": "x"}, "smtpd_etrn_restrictions"),
        ({"protocol_state": "END-OF-MESSAGE"}, "smtpd_end_of_data_restrictions"),
        ({"protocol_state": "VRFY"}, "VRFY"),
        ({"protocol_state": "RCPT", "recipient": ""}, "smtpd_recipient_restrictions"),
        ({"protocol_state": "RCPT", "recipient": None}, "smtpd_recipient_restrictions"),
        ({"protocol_state": None, "recipient": ""}, "smtpd_recipient_restrictions"),
        ({"protocol_state": "rcpt\x1b"}, r"'rcpt\x1b'"),
        ({"protocol_state": ""}, "''"),
        ({"request": "junk\x1b"}, r"request='junk\x1b'"),
        ({"request": None}, "without request=smtpd_access_policy"),
        ({"protocol_state": "DATA", "recipient_count": "1"}, ""),
        ({"protocol_state": "DATA", "recipient": "", "recipient_count": "2"}, ""),
        ({"protocol_state": "DATA", "sender": "verify@d.example", "recipient_count": "1"}, ""),
        ({"protocol_state": "DATA", "sender": "double-bouncer@d.example", "recipient_count": "1"}, ""),
    ],
)
def test_what_is_not_judged_is_answered_dunno(changes, hint):
    talk = feed(make, question(POSTFIX_37, **changes))
    ignored = only(talk)
    assert isinstance(ignored, Ignored)
    assert hint in ignored.hint
    assert bool(hint) == bool(ignored.hint)
    assert ignored.hint.isprintable()
    assert talk.sent == DUNNO


def test_pipelined_questions_are_answered_in_order():
    data = (
        question(POSTFIX_37)
        + b"\n\n"
        + question(POSTFIX_37, protocol_state="MAIL")
        + question(SEVEN, sender="b@c")
    )
    talk = feed(make, data)
    assert [type(one) for one in talk.heard] == [Attempt, Ignored, Attempt]
    assert talk.heard[2].sender == "b@c"
    assert talk.sent == DEFERRED + DUNNO + DEFERRED


def test_an_answer_stays_until_it_is_taken():
    dialogue = make()
    dialogue.receive(question(SEVEN) * 2)
    for _ in range(2):
        dialogue.answer(dialogue.next_request(), PASS)
    assert dialogue.data_to_send() == DUNNO * 2
    assert dialogue.data_to_send() == b""


@pytest.mark.parametrize(
    ("data", "judged"),
    [
        (b"", 0),
        (b"\n", 0),
        (question(SEVEN), 1),
        (question(SEVEN) + b"\n", 1),
        (question(SEVEN) + b"request=smtpd_access_policy\nsender=a", 1),
        (question(SEVEN)[:-1], 0),
        (question(SEVEN)[:-2], 0),
        (b"\x00\xff\xfe" * 500, 0),
    ],
)
def test_after_the_end_of_file_what_is_complete_is_answered(data, judged):
    talk = feed(make, data, eof=True)
    assert talk.error is None
    assert len(talk.heard) == judged
    assert talk.end is Signal.CLOSED


def test_bytes_after_the_end_of_file_count_for_nothing():
    talk = converse(make(), [question(SEVEN), b"", question(SEVEN)])
    assert len(talk.heard) == 1
    assert talk.end is Signal.CLOSED


@pytest.mark.parametrize(
    "data",
    [
        b"no attribute\n\n",
        b"\x00\x01\x02\n\n",
        b"GET / HTTP/1.0\n\n",
        b"x=" + b"y" * 5000 + b"\n\n",
        b"y" * 5000,
        b"a=b\n" * 2000,
        b"\n" * 500 + b"a=b\n" * 500 + b"\n",
    ],
)
def test_nonsense_ends_the_connection_silently(data):
    talk = feed(lambda: make(request_size=1000), data)
    assert talk.error is not None
    assert talk.error.reply is None
    assert talk.sent == b""


def test_requests_before_the_nonsense_are_answered():
    talk = feed(lambda: make(request_size=1000), question(POSTFIX_37) + b"x" * 1001)
    assert talk.heard == [ATTEMPT]
    assert talk.sent == DEFERRED
    assert talk.error is not None


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_the_limit_counts_the_whole_question(spare, fits):
    data = question(POSTFIX_37)
    talk = feed(lambda: make(request_size=len(data) + spare), data)
    assert (talk.error is None) == fits


def test_thousands_of_attributes_and_lines_without_equals():
    more = b"".join(b"a%d=%d\nno equals sign\n" % (i, i) for i in range(3000))
    data = question(POSTFIX_37).removesuffix(b"\n") + more + b"\n"
    talk = converse(PostfixDialogue(options(request_size=1 << 20)), [data])
    assert talk.heard == [ATTEMPT]
    assert len(talk.heard[0].attributes) == 3029
    assert talk.heard[0].attributes["a2999"] == "2999"


def test_a_slow_drip_searches_every_byte_once():
    """Quadratic work would take minutes here; the timeout of the suite is the judge."""
    size = 1 << 20
    dialogue = PostfixDialogue(options(request_size=2 * size))
    dialogue.receive(question(SEVEN)[:-2])
    for _ in range(size // 8):
        dialogue.receive(b"xxxxxxx\n")
        assert dialogue.next_request() is Signal.NEED_DATA
    dialogue.receive(b"\n")
    assert isinstance(dialogue.next_request(), Attempt)


@pytest.mark.parametrize(
    ("reply", "sent"),
    [
        (PASS, DUNNO),
        (replace(PASS, text="unused"), DUNNO),
        (replace(PASS, header="X-Greylist: delayed 300 s"), b"action=PREPEND X-Greylist: delayed 300 s\n\n"),
        (
            replace(PASS, header="X-A: b\r\nX-C: d\n\naction=REJECT"),
            b"action=PREPEND X-A: b X-C: d action=REJECT\n\n",
        ),
        (replace(PASS, header="\n"), DUNNO),
        (DEFER, DEFERRED),
        (replace(DEFER, code="4.3.0", text="Later"), b"action=DEFER_IF_PERMIT 4.3.0 Later\n\n"),
        (replace(DEFER, code="5.7.1", text="Later"), b"action=DEFER_IF_PERMIT 4.7.1 Later\n\n"),
        (replace(DEFER, code="451\n", text="Later"), b"action=DEFER_IF_PERMIT 4.7.1 Later\n\n"),
        (replace(DEFER, text="451 4.3.0 Later"), b"action=DEFER_IF_PERMIT 4.7.1 Later\n\n"),
        (replace(DEFER, text="450-451 Later"), b"action=DEFER_IF_PERMIT 4.7.1 Later\n\n"),
        (replace(DEFER, text="4.7.1 450"), DEFERRED),
        (replace(DEFER, text="5 minutes"), b"action=DEFER_IF_PERMIT 4.7.1 5 minutes\n\n"),
        (replace(DEFER, text=""), DEFERRED),
        (replace(DEFER, text=" \r\n\t"), DEFERRED),
        (replace(DEFER, text="a\r\n\r\naction=OK\n\n"), b"action=DEFER_IF_PERMIT 4.7.1 a action=OK\n\n"),
        (replace(DEFER, text="a\x00b\x1b[1m\x85\u2028c\x7f"), b"action=DEFER_IF_PERMIT 4.7.1 a b [1m c\n\n"),
        (replace(DEFER, text="später\udcff"), "action=DEFER_IF_PERMIT 4.7.1 später\n\n".encode()),
        (REJECT, b"action=REJECT 5.7.1 Not here\n\n"),
        (replace(REJECT, code="4.3.0"), b"action=REJECT 5.3.0 Not here\n\n"),
        ("no command here", DUNNO),
        ({}, DUNNO),
    ],
)
def test_answers(reply, sent):
    assert feed(make, question(POSTFIX_37), respond=always(reply)).sent == sent


@given(
    st.sampled_from([DEFER, PASS, REJECT]),
    st.text(st.characters(exclude_categories=())) | st.text("450 -.7\n\x85é€😀", min_size=300),
)
def test_an_answer_is_one_line_whatever_it_says(reply, text):
    dialogue = make()
    dialogue.receive(question(SEVEN))
    dialogue.answer(dialogue.next_request(), replace(reply, text=text, header=text, code=text))
    sent = dialogue.data_to_send()
    assert sent.startswith(b"action=")
    assert sent.endswith(b"\n\n")
    line = sent[:-2].decode()
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
    if reply.action is not Action.PASS:
        _, code, words = line.split(" ", 2)
        assert code == ("4.7.1" if reply.action is Action.DEFER else "5.7.1") or code[1:] == text[1:]
        assert 0 < len(words.encode()) <= 400
        assert re.match(r"[2-5]\d\d(?: |-|\Z)", words, re.ASCII) is None


NAMES = st.sampled_from([*POSTFIX_38, "x", ""])
VALUES = st.sampled_from(
    [
        *["", "RCPT", "DATA", "smtpd_access_policy", "unknown", "192.0.2.1", "a=b", "é", "\udcff", "0", "2"],
        *["\ra\r", "double-bounce@example.org"],
    ]
)
LINES = st.builds("{}={}\n".format, NAMES, VALUES) | st.sampled_from(["no equals\n", "=\n", "\r\n", "\x00\n"])


@given(st.data())
def test_fast_path_and_full_parse_agree(data):
    changes = data.draw(st.dictionaries(st.sampled_from([*POSTFIX_38]), VALUES | st.none(), max_size=6))
    lines = (
        question(POSTFIX_38, **changes)
        .decode("utf-8", "surrogateescape")
        .removesuffix("\n")
        .splitlines(keepends=True)
    )
    for _ in range(data.draw(st.integers(0, 2))):
        lines.insert(data.draw(st.integers(0, len(lines))), data.draw(LINES))
    text = "".join(lines).removesuffix("\n")
    fast, full = make(), make()
    one, other = fast._read(text), full._read_any(text)
    assert one == other
    if isinstance(one, Attempt):
        assert dict(one.attributes) == dict(other.attributes)
    assert fast.data_to_send() == full.data_to_send()


def test_the_fast_path_is_taken_by_what_postfix_sends(monkeypatch):
    monkeypatch.setattr(PostfixDialogue, "_read_any", None)
    for attributes in (POSTFIX_37, POSTFIX_38):
        assert converse(make(), [question(attributes)]).heard == [ATTEMPT]


@given(
    st.lists(
        st.binary(max_size=80) | st.just(b"\n\n") | LINES.map(lambda s: s.encode("utf-8", "surrogateescape"))
    )
)
def test_any_bytes_in_any_pieces(pieces):
    def small():
        return make(request_size=300)

    data = b"".join(pieces)
    whole = converse(small(), [data, b""] if data else [b""])
    parts = converse(small(), [piece for piece in pieces if piece] + [b""])
    assert parts.outcome() == whole.outcome()
    assert whole.end is Signal.CLOSED


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("protocol_state=RCPT\nsender=a@example.org", b"action=DEFER_IF_PERMIT 4.7.1 Greylisted"),
        ("protocol_state=RCPT\nsender=", b"action=DEFER_IF_PERMIT 4.7.1 Greylisted"),
        ("protocol_state=DATA\nsender=", b"action=451 4.7.1 Greylisted"),
    ],
)
def test_a_bounce_is_deferred_at_data_in_words_fail2ban_does_not_count(told, expected):
    dialogue = make()
    question = f"request=smtpd_access_policy\nclient_address=192.0.2.1\n{told}\nrecipient=b@example.net\n\n"
    dialogue.receive(question.encode())
    dialogue.answer(dialogue.next_request(), DEFER)
    assert dialogue.data_to_send().startswith(expected)
