"""Reply texts: what is read, what is refused, what comes out, and that nothing else can."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.model import Action, Attempt, Origin, Reason, Verdict
from multigrey.protocols.reply_text import FIELDS, Fields, Template, fields_of, samples, with_help, worded
from multigrey.protocols.wire import DEFAULT_TEXT

ATTEMPT = Attempt(
    listener="postfix",
    client_address=ip_address("192.0.2.7"),
    client_name="mail.example.org",
    helo="mail.example.org",
    sender="joe@example.org",
    recipient="Ann+list@Example.NET",
)
NAMED = Origin("example.org", named=True)
UNNAMED = Origin("192.0.2.0/24", named=False)
NEW = Verdict(Action.DEFER, Reason.NEW, retry_after=120)
SECONDS = "Greylisted[, please try again in {retry_after} seconds]"


@pytest.mark.parametrize(
    "text",
    [
        "Greylisted, please try again later",
        "100 % sure; (really)",
        "Später",
        "a <b> $c \\ %s %(x)s",
        "}}{{ ]][[",
    ],
)
def test_a_text_without_fields_is_constant(text):
    template = Template.parse(text)
    assert template.constant
    assert template.text == text.replace("{{", "{").replace("}}", "}").replace("[[", "[").replace("]]", "]")
    assert samples(template) == (template.text,)
    assert worded(text, ATTEMPT, NAMED, NEW, "7f3k2q") == template.text


@pytest.mark.parametrize(
    ("text", "origin", "expected"),
    [
        (SECONDS, NAMED, "Greylisted, please try again in 120 seconds"),
        (SECONDS, UNNAMED, "Greylisted"),
        ("Try again in {retry_after} s", NAMED, "Try again in 120 s"),
        ("Try again in {retry_after} s", UNNAMED, DEFAULT_TEXT),
        ("Greylisted ({reason})", UNNAMED, "Greylisted (new)"),
        ("Greylisted by {recipient_domain}", UNNAMED, "Greylisted by example.net"),
        ("Greylisted [[{id}]]", UNNAMED, "Greylisted [7f3k2q]"),
        ("Greylisted {{{id}}}", UNNAMED, "Greylisted {7f3k2q}"),
        ("{id}: wait[ {retry_after} s] {reason}", NAMED, "7f3k2q: wait 120 s new"),
        ("Wait[ {retry_after} s at {recipient_domain}]", NAMED, "Wait 120 s at example.net"),
        ("Wait[ {retry_after} s][ for {recipient_domain}]", UNNAMED, "Wait for example.net"),
        ("[In {retry_after} s at {recipient_domain}: ]see you", UNNAMED, "see you"),
        ("{reason} {reason}", UNNAMED, "new new"),
    ],
)
def test_what_comes_out(text, origin, expected):
    assert worded(text, ATTEMPT, origin, NEW, "7f3k2q") == expected
    assert not Template.parse(text).constant


def test_a_missing_value_takes_the_other_text_the_caller_has():
    text = "Rejected for {retry_after} s"
    rejected = Verdict(Action.REJECT, Reason.RULE, retry_after=5)
    assert worded(text, ATTEMPT, NAMED, rejected, "7f3k2q", "Rejected by policy") == "Rejected by policy"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Wait {seconds} s", '"{seconds}" is not a field: known are {retry_after}, {reason}'),
        ("Wait {} s", '"{}" is not a field'),
        ("Wait {retry_after:>5}", '"{retry_after:>5}" is not a field'),
        ("Wait {Reason}", '"{Reason}" is not a field'),
        ("Wait { reason }", '"{ reason }" is not a field'),
        ("Wait {reason", 'a "{" without its "}": write "{{"'),
        ("Wait reason}", 'a "}" without its "{": write "}}"'),
        ("Wait {a{reason}}", 'a "{" without its "}"'),
        ("Wait [in {retry_after} s", 'a "[" without its "]": write "[["'),
        ("Wait in {retry_after} s]", 'a "]" without its "[": write "]]"'),
        ("Wait [in [{retry_after} s]]", 'a "[" within brackets'),
        ("Wait [please]", '"[please]" would never be left out'),
        ("Wait [{id}]", 'write "[[{id}]]" for the brackets themselves'),
        ("Wait []", '"[]" would never be left out'),
        ("[Wait {retry_after} s]", "would be empty without its parts in brackets"),
        ("[Wait {retry_after} s] ", "would be empty"),
        ("{retry_after} seconds", "could begin with a status code, as in '450 seconds'"),
        ("4{retry_after} seconds", "could begin with a status code, as in '450 seconds'"),
        ("[{retry_after} s, ]Greylisted", "could begin with a status code"),
        ("[451 {recipient_domain}]Greylisted", "could begin with a status code"),
        ("4.7.1 {reason}", "could begin with a status code"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Template.parse(text)
    assert (
        worded(text, ATTEMPT, NAMED, NEW, "7f3k2q") == text
    )  # somebody who never asked is answered all the same


@pytest.mark.parametrize(
    ("origin", "verdict", "expected"),
    [
        (NAMED, NEW, 120),
        (UNNAMED, NEW, 0),
        (NAMED, replace(NEW, retry_after=0), 0),
        (NAMED, Verdict(Action.REJECT, Reason.RULE, retry_after=120), 0),
        (NAMED, Verdict(Action.DEFER, Reason.EARLY, retry_after=1), 1),
    ],
)
def test_seconds_are_told_to_named_origins_only(origin, verdict, expected):
    assert fields_of(ATTEMPT, origin, verdict, "7f3k2q").retry_after == expected


@pytest.mark.parametrize(
    ("recipient", "domain"),
    [
        ("ann@example.net", "example.net"),
        ("Ann@EXAMPLE.net.", "example.net"),
        ("ann@bücher.example", "xn--bcher-kva.example"),
        ("ann@[192.0.2.1]", "[192.0.2.1]"),
        ("ann@[IPv6:2001:db8::1]", "[ipv6:2001:db8::1]"),
        ("ann", ""),
        ("", ""),
        ("ann@", ""),
        ("ann@a b;c\r\nd\x00.example", "a?b?c??d?.example"),
        ('ann@"$(x)`y`{z}"', "???x??y??z??"),
        ("ann@\udcff\udcfe.example", "??.example"),
        ("ann@" + "x" * 100_000, "x" * 255),
        ("@" * 100_000, ""),
    ],
)
def test_a_recipient_domain_is_shown_as_plain_signs(recipient, domain):
    fields = fields_of(replace(ATTEMPT, recipient=recipient), NAMED, NEW, "7f3k2q")
    assert fields.recipient_domain == domain


def test_a_key_somebody_made_up_has_no_recipient_domain():
    attempt = replace(ATTEMPT, raw="whatever@example.org", recipient="whatever@example.org")
    assert fields_of(attempt, NAMED, NEW, "x").recipient_domain == ""


@pytest.mark.parametrize("domain", ["450-x.example", "4.7.1", "451"])
def test_a_domain_like_a_status_code_does_not_get_in_front(domain):
    attempt = replace(ATTEMPT, recipient=f"ann@{domain}")
    assert worded("{recipient_domain} says wait", attempt, NAMED, NEW, "x") in {
        DEFAULT_TEXT,
        f"{domain} says wait",
    }
    assert not re.match(
        r"[245](\d\d|\.\d+\.\d+)[ -]", worded("{recipient_domain} x", attempt, NAMED, NEW, "x")
    )


HELP = "https://mx.example.org/help"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Greylisted, see {help}", f"Greylisted, see {HELP}"),
        ("{help}", HELP),
        ("{help} or {help}", f"{HELP} or {HELP}"),
        ("No field: {{help}} {{{{help}}}}", "No field: {help} {{help}}"),
        ("{{{help}}}", f"{{{HELP}}}"),
        ("Later", "Later"),
    ],
)
def test_the_help_page_leaves_a_text_constant(text, expected):
    found = Template.parse(with_help(text, HELP))
    assert found.constant
    assert found.text == expected


def test_help_stands_beside_other_fields_and_a_text_without_its_address_is_not_sent():
    assert worded(with_help("{reason}: {help}", HELP), ATTEMPT, NAMED, NEW, "x") == f"new: {HELP}"
    assert worded("Greylisted, see {help}", ATTEMPT, NAMED, NEW, "x") == DEFAULT_TEXT


@given(st.text("{}[]help ", max_size=30))
def test_a_text_is_read_the_same_with_its_help_page_put_in(text):
    def trouble(text: str) -> str:
        try:
            Template.parse(text)
        except ValueError as error:
            return str(error).partition(":")[0].replace(HELP, "{help}")
        return ""

    assert trouble(with_help(text, HELP)) == trouble(text)


def test_samples_show_what_a_text_can_begin_with():
    assert set(samples(Template.parse("[{recipient_domain}: ]Service unavailable"))) == {
        "Service unavailable",
        "example.org: Service unavailable",
    }
    shown = samples(Template.parse("{reason}[ for {retry_after} s]"))
    assert {"new", "early", "expired", "over-limit", "rule for 50 s"} <= set(shown)
    assert samples(Template.parse("Wait {retry_after} s")) == ("Wait 450 s", "Wait 50 s")


pieces = st.sampled_from(
    [
        *(f"{{{name}}}" for name in FIELDS),
        "[",
        "]",
        "{",
        "}",
        "[[",
        "}}",
        "451 ",
        "4.7.1 ",
        "5",
        "-",
        " ",
        "wait",
    ]
)
texts = st.lists(st.one_of(pieces, st.text(max_size=5)), max_size=12).map("".join)
verdicts = st.builds(
    Verdict,
    st.sampled_from([Action.DEFER, Action.REJECT]),
    st.sampled_from(Reason),
    retry_after=st.integers(0, 10**9),
)


@given(texts, st.one_of(st.text(), st.text().map("a@".__add__), st.just("a@451 x")), verdicts, st.booleans())
def test_whatever_is_typed_the_reply_is_one_harmless_line(text, recipient, verdict, named):
    try:
        template = Template.parse(text)
    except ValueError:
        return
    attempt = replace(ATTEMPT, recipient=recipient)
    reply = template.render(fields_of(attempt, NAMED if named else UNNAMED, verdict, "7f3k2q"))
    assert 0 < len(reply.encode()) <= 400
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", reply)
    assert not re.match(r"[2-5](\d\d|\.\d{1,3}\.\d{1,3})([ -]|\Z)", reply, re.ASCII)
    assert reply == reply.strip(" ")
    assert reply.isascii() or not text.isascii()


@given(texts)
def test_parsing_ends_in_a_template_or_a_value_error(text):
    with suppress(ValueError):
        template = Template.parse(text)
        assert template.constant or all(samples(template))


@given(st.text(st.characters(exclude_characters="{}[]"), min_size=1))
def test_a_text_without_braces_and_brackets_is_itself(text):
    assert Template.parse(text) == Template(text, constant=True)


def test_fields_by_name():
    fields = Fields("new", "7f3k2q", 5, "example.org", HELP)
    assert [fields.text(name) for name in FIELDS] == ["5", "new", "example.org", "7f3k2q", HELP]
    assert Fields("new", "x").text("retry_after") == ""
