"""The text of decision lines: nothing a client says can forge one."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multigrey.events.line import (
    FACILITIES,
    INFO,
    LONGEST,
    event_fields,
    file_line,
    format_event,
    format_fields,
    format_json,
    format_json_fields,
    format_postgrey,
    parse_line,
    syslog_line,
    syslog_time,
    unescaped,
    utc_time,
)
from multigrey.model import Action, Attempt, DecisionEvent, Match, Reason, Stage, Verdict

NOON = 1_795_348_800  # 2026-11-22T12:00:00Z

PLAIN = DecisionEvent(
    NOON,
    "7f3k2q",
    Attempt(
        listener="postfix",
        client_address=ip_address("192.0.2.10"),
        client_name="mail.example.org",
        helo="mail.example.org",
        sender="alice@example.org",
        recipient="bob@example.net",
    ),
    Verdict(Action.DEFER, Reason.NEW, retry_after=120, delay=120, attempts=1),
    "192.0.2.0/24",
)


def event(*, action=Action.DEFER, reason=Reason.NEW, **changes) -> DecisionEvent:
    """PLAIN with another verdict or other fields, whichever dataclass they belong to."""
    in_attempt = {name: value for name, value in changes.items() if hasattr(PLAIN.attempt, name)}
    in_verdict = {name: value for name, value in changes.items() if hasattr(PLAIN.verdict, name)}
    assert changes.keys() == in_attempt.keys() | in_verdict.keys()
    # `attempts` is a number of the verdict
    verdict = Verdict(action, reason, **in_verdict)
    return replace(PLAIN, attempt=replace(PLAIN.attempt, **in_attempt), verdict=verdict)


ANY_CHARACTER = st.characters(codec=None, exclude_categories=())
ANY_TEXT = st.one_of(
    st.text(ANY_CHARACTER, max_size=20),
    st.text(
        st.sampled_from('a= ",\\\n\r\x00\x7f\x85\u2028\u2029\u202e\u200b\udcff\U000e0001é界'), max_size=12
    ),
    st.sampled_from(["", "<>", "unknown", "a" * 256, "a" * 257, "\x00" * 300, "é" * 200, "\U0010ffff" * 99]),
    st.text(st.sampled_from(string.ascii_letters + "@.=+-"), max_size=300),
)
NUMBERS = st.integers(min_value=-10, max_value=10**12)
ADDRESSES = st.one_of(st.none(), st.ip_addresses())
MATCHES = st.one_of(st.none(), st.builds(Match, source=ANY_TEXT, entry=ANY_TEXT, owner=ANY_TEXT))
ATTEMPTS = st.builds(
    Attempt,
    listener=ANY_TEXT,
    client_address=ADDRESSES,
    client_name=st.one_of(st.none(), ANY_TEXT),
    helo=ANY_TEXT,
    sender=ANY_TEXT,
    recipient=ANY_TEXT,
    stage=st.sampled_from(Stage),
    message=ANY_TEXT,
    authenticated=ANY_TEXT,
    raw=st.one_of(st.just(""), ANY_TEXT),
)
VERDICTS = st.builds(
    Verdict,
    action=st.sampled_from(Action),
    reason=st.sampled_from(Reason),
    retry_after=NUMBERS,
    delay=NUMBERS,
    age=NUMBERS,
    attempts=NUMBERS,
    match=MATCHES,
    rule=ANY_TEXT,
    detail=ANY_TEXT,
    observed=st.booleans(),
)
EVENTS = st.builds(
    DecisionEvent, time=st.integers(), id=ANY_TEXT, attempt=ATTEMPTS, verdict=VERDICTS, origin=ANY_TEXT
)


# --- multigrey's form ---


def test_a_whole_line():
    assert format_event(PLAIN) == (
        "time=2026-11-22T12:00:00Z action=defer reason=new id=7f3k2q listener=postfix"
        " client_address=192.0.2.10 client_name=mail.example.org helo=mail.example.org"
        " sender=alice@example.org recipient=bob@example.net origin=192.0.2.0/24"
        " retry_after=120 delay=120 age=0 attempts=1"
    )


def test_the_shortest_line_has_what_always_stands():
    attempt = Attempt("exim", None, None, "", "", "bob@example.net")
    line = format_event(DecisionEvent(NOON, "7f3k2q", attempt, Verdict(Action.PASS, Reason.NO_IDENTITY)))
    assert line == (
        "time=2026-11-22T12:00:00Z action=pass reason=no-identity id=7f3k2q listener=exim"
        " client_address=unknown sender=<> recipient=bob@example.net"
    )


def test_the_longest_line_has_everything():
    line = format_event(
        event(
            action=Action.PASS,
            reason=Reason.WHITELISTED,
            attempts=3,
            age=5,
            delay=7,
            retry_after=2,
            stage=Stage.DATA,
            message="1a2b.3",
            authenticated="alice",
            match=Match("postgrey-clients", "example.org", "mail team"),
            rule="partners",
            detail="timeout",
            observed=True,
        )
    )
    assert line.endswith(
        " retry_after=2 delay=7 age=5 attempts=3 message=1a2b.3 stage=data authenticated=alice"
        ' source=postgrey-clients entry=example.org owner="mail team" rule=partners'
        " detail=timeout observed=yes"
    )


def test_the_administrators_class_is_told():
    line = format_event(replace(event(rule="partners"), class_="business partners"))
    assert line.endswith(' rule=partners class="business partners"')


def test_a_raw_key_stands_in_place_of_the_addresses():
    fields = event_fields(event(raw="some words", sender="", recipient=""))
    assert fields["raw"] == "some words"
    assert not fields.keys() & {"sender", "recipient"}


QUOTED = [
    ("bounce+bob=example.net@example.org", '"bounce+bob=example.net@example.org"'),
    ('"a b"@example.org', '"\\"a b\\"@example.org"'),
    ("a\\b@example.org", '"a\\\\b@example.org"'),
    ("", "<>"),
    ("a@example.org action=pass", '"a@example.org action=pass"'),
    ('a" action=pass reason="known', '"a\\" action=pass reason=\\"known"'),
    ("a\ntime=x", '"a\\x0atime=x"'),
    ("a\r\n\x00\t\x1b[2J\x7f", '"a\\x0d\\x0a\\x00\\x09\\x1b[2J\\x7f"'),
    ("\u2028\u2029\x85", '"\\u2028\\u2029\\u0085"'),
    ("\u202egro.elpmaxe\u2069", '"\\u202egro.elpmaxe\\u2069"'),
    ("\u00a0\u200b\ufeff", '"\\u00a0\\u200b\\ufeff"'),
    ("caf\udce9", '"caf\\xe9"'),
    ("\ud800", '"\\ud800"'),
    ("\U000e0041", '"\\U000e0041"'),
    ("andré@例え.example", '"andré@例え.example"'),
]


@pytest.mark.parametrize(("sender", "shown"), QUOTED)
def test_what_is_quoted_and_how(sender, shown):
    line = format_event(event(sender=sender))
    assert f" sender={shown} recipient=bob@example.net " in line
    assert parse_line(line)["sender"] == (sender or "<>")


@given(EVENTS)
@example(event(sender='x" time=1', recipient="\\", helo="\n"))
def test_any_line_reads_back_as_what_was_said(any_event):
    line = format_event(any_event)
    assert parse_line(line) == event_fields(any_event)


@given(EVENTS)
def test_any_line_is_one_printable_line_that_no_reader_splits(any_event):
    for line in (format_event(any_event), format_postgrey(any_event)):
        assert line.isprintable()
        assert not any(unicodedata.category(sign) in {"Cc", "Cf", "Zl", "Zp", "Cs"} for sign in line)
        assert line.splitlines() == ([line] if line else [])
        assert len(line.encode()) < LONGEST


def test_the_worst_values_still_fit_into_a_line():
    worst = "\U000e0001" * 400
    attempt = Attempt(worst, ip_address("2001:db8:1111:2222:3333:4444:5555:6666"), worst, worst, worst, worst)
    attempt = replace(attempt, message=worst, authenticated=worst, stage=Stage.DATA)
    verdict = Verdict(
        Action.PASS,
        Reason.AUTO_WHITELISTED,
        *(10**15,) * 4,
        match=Match(worst, worst, worst),
        rule=worst,
        detail=worst,
        observed=True,
    )
    line = format_event(DecisionEvent(NOON, worst, attempt, verdict, worst))
    assert 3000 < len(line.encode()) < LONGEST
    assert parse_line(line)["sender"].endswith("...")


@pytest.mark.parametrize(
    ("length", "shown"), [(256, "a" * 256), (257, "a" * 253 + "..."), (100_000, "a" * 253 + "...")]
)
def test_long_values_are_cut_when_the_line_would_be_long(length, shown):
    fields = parse_line(format_event(event(sender="a" * length, helo="h" * 200)))
    assert fields["sender"] == shown
    assert fields["helo"] == "h" * 200


def test_an_address_of_the_longest_kind_is_not_cut():
    local, domain = "l" * 64, ".".join(["d" * 60] * 3)
    sender = f"{local}@{domain}"
    assert parse_line(format_event(event(sender=sender, recipient=sender)))["sender"] == sender


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a=b ",
        " a=b",
        "a=b  c=d",
        "a=b c",
        "a=b=c",
        'a="b',
        'a="b"c=d',
        'a=b"c',
        'a="b\\q"',
        'a="b\\x4"',
        'a="\\U00110000"',
        "a=b a=c",
        "A=b",
        "a=b\n",
        'a="b\nc"',
        "a=é",
        "action=pass, reason=triplet found, client_name=unknown",
    ],
)
def test_other_lines_are_refused(line):
    with pytest.raises(ValueError, match="not a line of multigrey's log"):
        parse_line(line)


def test_an_empty_line_has_no_fields():
    assert parse_line("") == {}


@given(st.dictionaries(st.text(string.ascii_lowercase + "_", min_size=1), ANY_TEXT, max_size=5))
def test_any_fields_read_back_unless_they_are_too_long(fields):
    back = parse_line(format_fields(fields))
    if sum(map(len, fields.values())) <= 360:
        assert back == fields
    assert back.keys() == fields.keys()


# --- postgrey's form ---

FRAME = "client_name=mail.example.org, client_address=192.0.2.10"
LINES = [
    (event(), f"action=greylist, reason=new, {FRAME}, sender=alice@example.org, recipient=bob@example.net"),
    (
        event(action=Action.PASS, reason=Reason.RETRY, age=1800, delay=120, attempts=2),
        (
            "action=pass, reason=triplet found, delay=1800, "
            f"{FRAME}, sender=alice@example.org, recipient=bob@example.net"
        ),
    ),
    (event(sender=""), f"action=greylist, reason=new, {FRAME}, recipient=bob@example.net"),
    (event(recipient=""), f"action=greylist, reason=new, {FRAME}, sender=alice@example.org"),
    (
        event(client_name=None, client_address=None),
        (
            "action=greylist, reason=new, client_name=unknown, client_address=unknown,"
            " sender=alice@example.org, recipient=bob@example.net"
        ),
    ),
    (
        event(sender="", recipient="", raw="some words, here"),
        f"action=greylist, reason=new, {FRAME}, recipient=some\\x20words\\x2c\\x20here",
    ),
    (
        event(sender="prvs=1=alice@example.org", client_name=None, client_address=ip_address("2001:db8::1")),
        (
            "action=greylist, reason=new, client_name=unknown, client_address=2001:db8::1,"
            " sender=prvs=1=alice@example.org, recipient=bob@example.net"
        ),
    ),
]


@pytest.mark.parametrize(("case", "line"), LINES)
def test_postgrey_lines(case, line):
    assert format_postgrey(case) == line


WORDS = {
    # reason: passed, deferred
    Reason.NEW: ("triplet found", "new"),
    Reason.EARLY: ("triplet found", "early-retry (90s missing)"),
    Reason.EXPIRED: ("triplet found", "new"),
    Reason.RETRY: ("triplet found, delay=30", "new"),
    Reason.KNOWN: ("triplet found", "new"),
    Reason.SAME_MESSAGE: ("triplet found", "new"),
    Reason.WHITELISTED: ("client whitelist", "new"),
    Reason.AUTO_WHITELISTED: ("client AWL", "new"),
    Reason.AUTHENTICATED: ("client whitelist", "new"),
    Reason.RULE: ("client whitelist", "new"),
    Reason.OVER_LIMIT: ("triplet found", "new"),
    Reason.PROVIDER: ("client whitelist", "new"),
    Reason.OWN_NETWORK: ("client whitelist", "new"),
    Reason.NO_IDENTITY: ("client whitelist", "new"),
    Reason.NULL_SENDER: (None, "new"),
    Reason.PROBE: (None, "new"),
    Reason.MODE_OFF: ("client whitelist", "new"),
    Reason.ERROR: ("client whitelist", "new"),
}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_postgrey_words(reason):
    passed, deferred = WORDS[reason]
    numbers = {"retry_after": 90, "delay": 120, "age": 30, "attempts": 2}
    line = format_postgrey(event(action=Action.PASS, reason=reason, **numbers))
    assert line.startswith(f"action=pass, reason={passed}, client_name=") if passed else line == ""
    line = format_postgrey(event(action=Action.DEFER, reason=reason, **numbers))
    assert line.startswith(f"action=greylist, reason={deferred}, client_name=")
    line = format_postgrey(event(action=Action.REJECT, reason=reason, **numbers))
    assert line.startswith("action=reject, reason=rule, client_name=")


def test_the_table_in_the_docstring_is_what_the_code_does():
    table = (format_postgrey.__doc__ or "").partition("deferred\n")[2].partition("\n\n")[0]
    rows = {}
    for row in table.splitlines():
        reason, passed, deferred = re.split("  +", row.strip())
        rows[Reason(reason)] = passed, deferred
    assert list(rows) == list(Reason)
    for reason, (passed, deferred) in WORDS.items():
        assert rows[reason][0].startswith((passed or "no line").partition(", ")[0])
        assert deferred.partition(" ")[0] in rows[reason][1]


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("postgrey-clients", "client whitelist"),
        ("postgrey-recipients", "recipient whitelist"),
        ("role-addresses", "recipient whitelist"),
        ("dnswl", "client whitelist"),
    ],
)
def test_the_source_tells_whose_whitelist_it_was(source, word):
    case = event(action=Action.PASS, reason=Reason.WHITELISTED, match=Match(source, "entry"))
    assert format_postgrey(case).startswith(f"action=pass, reason={word}, ")


@given(EVENTS)
@example(event(sender="a, recipient=forged@example.net"))
@example(event(client_name="a, client_address=198.51.100.1, sender=x", sender="\n"))
def test_no_value_can_forge_a_field_of_postgrey_lines(any_event):
    line = format_postgrey(any_event)
    keys = [part.partition("=")[0] for part in line.split(", ")]
    attempt, verdict = any_event.attempt, any_event.verdict
    silent = verdict.action is Action.PASS and verdict.reason in {Reason.NULL_SENDER, Reason.PROBE}
    delayed = verdict.action is Action.PASS and verdict.reason is Reason.RETRY
    expected = ["action", "reason", *["delay"] * delayed, "client_name", "client_address"]
    expected += ["sender"] * bool(attempt.sender) + ["recipient"] * bool(attempt.raw or attempt.recipient)
    assert keys == ([""] if silent else expected)


# --- around the text ---


def test_a_syslog_datagram():
    stamp = syslog_time(datetime(2026, 11, 2, 8, 5, 9, tzinfo=UTC))
    line = syslog_line(
        stamp=stamp, ident="postgrey", pid=42, text="é", facility=FACILITIES["mail"], severity=INFO
    )
    assert line == "<22>Nov  2 08:05:09 postgrey[42]: é".encode()


def test_a_line_of_a_log_file():
    stamp = syslog_time(datetime(2026, 1, 22, 23, 59, 59, tzinfo=timezone(timedelta(hours=5))))
    line = file_line(stamp=stamp, host="mx1", ident="postgrey", pid=42, text="action=pass")
    assert line == b"Jan 22 23:59:59 mx1 postgrey[42]: action=pass"


@pytest.mark.parametrize(
    ("second", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (NOON, "2026-11-22T12:00:00Z"),
        (-(10**30), "1970-01-01T00:00:00Z"),
        (10**30, "9999-12-31T00:00:00Z"),
    ],
)
def test_times(second, text):
    assert utc_time(second) == text


def test_facilities_are_those_of_the_system():
    import logging.handlers

    known = logging.handlers.SysLogHandler.facility_names
    assert {name: known[name] for name in FACILITIES} == FACILITIES


# --- JSON ---


def from_json(line):
    """The fields of a line, as `event_fields` has them."""
    found = json.loads(line)
    return {key: unescaped(str(value)) for key, value in found.items()}


def test_a_whole_json_line():
    assert json.loads(format_json(PLAIN)) == {
        **event_fields(PLAIN),
        "retry_after": 120,
        "delay": 120,
        "age": 0,
        "attempts": 1,
    }
    assert list(json.loads(format_json(PLAIN))) == list(event_fields(PLAIN))


@given(EVENTS)
@example(event(sender='a"\\\n\u2028\u202e\udcff\U000e0001', rule="é"))
def test_json_says_what_the_line_says(made):
    line = format_json(made)
    assert line.isprintable()
    assert len(line.encode()) <= LONGEST
    assert all(str(value).isprintable() for value in json.loads(line).values())
    said, told = from_json(line), event_fields(made)
    assert said.keys() == told.keys()
    for key, value in said.items():
        if not value.endswith("..."):
            assert value == told[key]


@pytest.mark.parametrize("sign", ["a", "\\", '"', "\x00", "\udcff", "\u2028", "\U000e0001", "é", "界", "😀"])
@pytest.mark.parametrize("form", [format_event, format_json])
def test_no_form_is_longer_than_it_may_be(form, sign):
    for length in (8, 20, 30, 60, 300, 5000):
        text = sign * length
        made = event(
            stage=Stage.DATA, listener=text, client_name=text, helo=text, sender=text, recipient=text,
            message=text, authenticated=text, match=Match(text, text, text), rule=text, detail=text,
            attempts=10**9, delay=10**9, age=10**9, retry_after=10**9, observed=True,
        )  # fmt: skip
        made = replace(made, origin=text, class_=text)
        assert len(form(made).encode()) <= LONGEST
        assert form is format_event or json.loads(form(made))["attempts"] == 10**9


def test_any_fields_as_json():
    assert format_json_fields({"lost": "3", "x": 'a"'}) == '{"lost":3,"x":"a\\""}'
