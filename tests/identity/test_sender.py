from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from multigrey.identity.addresses import normalise_address
from multigrey.identity.sender import (
    PLACEHOLDER,
    Forwarded,
    forwarded_sender,
    is_probe,
    listed_forms,
    plain_domain,
    sender_domain,
    sender_text,
)
from tests.support.sender_families import FAMILIES, members
from tests.support.sender_shapes import RECIPIENT, SHAPES

# --- the table of real shapes


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_sender_and_its_next_message_have_one_text(shape):
    assert sender_text(shape.sender, RECIPIENT) == shape.text
    assert sender_text(shape.again, RECIPIENT) == shape.text
    assert normalise_address(shape.sender) == shape.sender, "the table shows what sender_text is given"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_case_is_of_no_importance(shape):
    assert sender_text(shape.sender.upper(), RECIPIENT) == shape.text


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_domain_is_the_one_of_the_text(shape):
    domain = shape.text.rpartition("@")[2]
    assert sender_domain(shape.sender) == domain
    assert sender_domain(shape.text) == domain


def test_the_table_is_large_and_shows_some_of_it():
    assert len(SHAPES) >= 60
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)
    assert 10 <= sum(shape.shown for shape in SHAPES) <= 24


# --- families: whatever letters and digits a token has by chance


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_all_members_of_a_family_have_one_text(family):
    assert {sender_text(sender, RECIPIENT) for sender in members(family, 300)} == {family.text}


def test_there_are_many_families():
    assert len(FAMILIES) >= 100
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


@given(st.integers(1, 2**32), st.sampled_from(FAMILIES))
def test_nothing_of_a_family_depends_on_when_it_is_asked(seed, family):
    [sender] = members(family, 1, seed)
    text = sender_text(sender, RECIPIENT)
    assert sender_text(text, RECIPIENT) == text
    assert plain_domain(sender, RECIPIENT) in {None, text.rpartition("@")[2]}


# --- what stays as it is


@pytest.mark.parametrize(
    "sender",
    [
        "",
        "anna",
        "@",
        "@example.com",
        "anna@",
        "a@b@example.com",
        "postmaster@example.com",
        "mailer-daemon@example.com",
        "owner-list@example.com",
        "list-owner@example.com",
        "list-bounces@example.com",
        "pm_bounces@pm-bounces.example.com",
        "nobody@bounces.amazon.com",
        "messages-noreply@bounce.linkedin.com",
        "deadbeef@example.com",
        "fabface@bounces.example.com",
        "1234567@example.com",
        "anna1985@bounces.example.com",
        "4915112345678@example.com",
        "+4915112345678@example.com",
        "ab12345@uni.example.com",
        "anna.19850412@example.com",
        "news.1985@example.com",
        "office-12@example.com",
        "dpdcnf87nu@privaterelay.appleid.com",
        "5qlgtdx4557tnyn@marketplace.amazon.com",
        "h4x0r5@example.com",
        "musikverein1885oberndorf@example.com",
        "turnverein1890oberndorf@example.com",
        "lauftreff2go4everyone@example.com",
        "abcdefghijklmnopqrst1985@example.com",
        "k0000000012345678@example.com",
        "c0000000012345678@example.com",
        "0000000012345678a@example.com",
        "de89370400440532013000@example.com",
        "deadbeef-cafe-babe-face@example.com",
        "deadbeefcafebabe2010@example.com",
        "ada-abe-1985-beef@example.com",
        "dade1985-cafe2010-face2011@example.com",
        "max-mustermann-von-der-au@example.com",
        "bounce-max-mustermann-von@example.com",
        "reply-max_mustermann-au-x@example.com",
        "fabface-deadbeef@bounces.example.com",
        "decade1985@bounces.example.com",
        "przemyslaw.brzeczyszczykiewicz@example.com",
        "grzegorz-brzeczyszczykiewicz1985@bounces.example.com",
        "bounce-hrafnhildur.thorvaldsdottir@example.com",
        "notifications-newsletter@bounces.example.com",
        "undeliverable-returnpath@bounces.example.com",
        "jürgen1985@example.com",
        # SRS that isn't: too few parts, no domain, nothing left, a hash alone
        "srs0=hhhh=tt=example.net@forwarder.example",
        "srs0=hhhh=tt=localhost=anna@forwarder.example",
        "srs0=hhhh=tt=example.net=@forwarder.example",
        "srs0==tt=example.net=anna@forwarder.example",
        "srs0=opaque+0123456789abcdef0123@forwarder.example",
        "srs1=gggg=first.example=hhhh=tt=example.net=anna@second.example",
        "srs1=chai=first.example==opaque+string@second.example",
        "srs0@example.com",
        "srs1=@example.com",
        # BATV that isn't
        "prvs=anna@example.com",
        "prvs=1234abcdef=@example.com",
        "btv1=0775a20b9c2=anna@example.com",
        "btv1====anna@example.com",
        "btv1==0775a20b9c2==@example.com",
        "msprvs1==anna@example.com",
        "msprvs2=abc=anna@example.com",
        # Salesforce's without an address in it
        "info__abc@x.bnc.salesforce.com",
        # beginnings that only look like a known shape
        "double-bounce@mx.example.com",
        "double-bouncer@mx.example.com",
        "v-anna@example.com",
        "123-abc-456@example.com",
        "anna@mail12.suw15.mcsv.net",
    ],
)
def test_what_has_no_known_shape_stays(sender):
    assert sender_text(sender, RECIPIENT) == sender


def test_more_than_an_address_can_have_stays():
    long = "bounce-1234567-" + "a" * 400 + "@example.com"
    assert sender_text(long, RECIPIENT) == long


@pytest.mark.parametrize(
    ("sender", "recipient", "text"),
    [
        # human at-signs need something beside the recipient and a separator between
        ("user.example.org@example.com", RECIPIENT, "user.example.org@example.com"),
        ("superuser.example.org@example.com", RECIPIENT, "superuser.example.org@example.com"),
        ("super-user.example.org@example.com", RECIPIENT, "super-#@example.com"),
        ("user=example.org@example.com", RECIPIENT, "#@example.com"),
        ("user=example.organisation@example.com", RECIPIENT, "user=example.organisation@example.com"),
        ("user=example.org-7@example.com", RECIPIENT, "#@example.com"),
        # another recipient is constant for its mailbox and stays
        ("list-anna=example.net@example.com", RECIPIENT, "list-anna=example.net@example.com"),
        # a recipient of a local host is too short to be found
        ("max.root.localhost@example.com", "root@localhost", "max.root.localhost@example.com"),
        ("max.root@example.com", "root", "max.root@example.com"),
        ("list-user@example.com", "", "list-user@example.com"),
        # with its extension, or without
        ("bounce-nbd=lists+nbd=example.org@example.com", "lists+nbd@example.org", "bounce-nbd=#@example.com"),
        ("bounce-nbd=lists+nbd=example.org@example.com", "lists@example.org", "bounce-nbd=lists@example.com"),
        # names do not count as numbers
        ("return-7-max-user=example.org@example.com", RECIPIENT, "return-#-max-#@example.com"),
    ],
)
def test_only_the_recipient_itself_is_found(sender, recipient, text):
    assert sender_text(sender, recipient) == text


def test_what_the_forwarder_says_is_the_domain():
    assert sender_domain("srs0=hhhh=tt=example.net=anna@forwarder.example") == "example.net"
    assert sender_domain("") == ""
    assert sender_domain("anna") == ""


# --- what lists and people mean by a sender


@pytest.mark.parametrize(
    ("sender", "forms"),
    [
        ("alice@partner.example", []),
        ("", []),
        ("alice", []),
        # signatures of the sender's own domain
        ("prvs=1234abcdef=alice@partner.example", ["alice@partner.example"]),
        ("prvs=alice/1234abcdef@partner.example", ["alice@partner.example"]),
        ("btv1==0775a20b9c2==alice@partner.example", ["alice@partner.example"]),
        ("msprvs1=20192pa_4brjs=bounces-1-2@partner.example", ["bounces-1-2@partner.example"]),
        ("prvs=1234abcdef=prvs=5678fedcba=alice@partner.example", ["alice@partner.example"]),
        ("prvs=1234abcdef=alice+x@partner.example", ["alice+x@partner.example"]),
        ("prvs=1234abcdef=@partner.example", []),
        ("prvs=1234abcdef=alice", []),
        # the recipient
        ("alice-user=example.org@partner.example", ["alice@partner.example"]),
        ("alice+user=example.org@partner.example", ["alice@partner.example"]),
        ("owner-list*user**example.org@partner.example", ["owner-list@partner.example"]),
        ("return-7-user=example.org@partner.example", ["return-7@partner.example"]),
        ("user=example.org-alice@partner.example", ["alice@partner.example"]),
        ("a-user=example.org-b@partner.example", ["a-b@partner.example"]),
        ("user=example.org@partner.example", []),
        ("alice-anna=example.net@partner.example", []),
        ("user.example.org@partner.example", []),
        (
            "prvs=1234abcdef=alice-user=example.org@partner.example",
            ["alice-user=example.org@partner.example", "alice@partner.example"],
        ),
        # what another domain asserts stays where it is
        ("srs0=hh=tt=partner.example=alice@forwarder.example", []),
        ("srs0=hh=tt=example.org=user@forwarder.example", []),
        (
            "prvs=1234abcdef=srs0=hh=tt=partner.example=alice@forwarder.example",
            ["srs0=hh=tt=partner.example=alice@forwarder.example"],
        ),
        ("srs0=hh=tt=forwarder.example=alice@forwarder.example", ["alice@forwarder.example"]),
        ("info+srs=hne87=c7=partner.example=alice@firm.onmicrosoft.com", []),
        ("info=partner.example__0-1r12@x.um8.bnc.salesforce.com", []),
    ],
)
def test_a_sender_is_listed_as_it_is_and_without_what_its_domain_has_wrapped_around_it(sender, forms):
    assert listed_forms(sender, RECIPIENT) == (sender, *forms)


@pytest.mark.parametrize(
    ("sender", "found"),
    [
        ("alice@partner.example", None),
        ("prvs=1234abcdef=alice@partner.example", None),
        ("", None),
        ("alice", None),
        ("srs0=hh=tt=a.example=alice@b.example", ("SRS", "b.example", "alice@a.example")),
        ("srs0+hh=tt=a.example=alice@b.example", ("SRS", "b.example", "alice@a.example")),
        ("srs1=gg=a.example==hh=tt=c.example=alice@b.example", ("SRS", "b.example", "alice@c.example")),
        ("srs0=x=y=b.example=srs0=x=y=c.example=alice@a.example", ("SRS", "a.example", "alice@c.example")),
        ("srs0=hh=tt=a.example=prvs=1234abcdef=alice@b.example", ("SRS", "b.example", "alice@a.example")),
        ("prvs=1234abcdef=srs0=hh=tt=a.example=alice@b.example", ("SRS", "b.example", "alice@a.example")),
        ("info+srs=hne87=c7=a.example=alice@b.example", ("SRS", "b.example", "alice@a.example")),
        ("srs0=hh=tt=b.example=alice@b.example", None),
        ("srs0=hh=tt=alice@b.example", None),
        ("info=a.example__x@y.bnc.salesforce.com", ("Salesforce", "y.bnc.salesforce.com", "info@a.example")),
        ("srs0=hh=tt=a.example=" + "a" * 400 + "@b.example", None),
    ],
)
def test_what_a_forwarder_asserts_is_told(sender, found):
    assert forwarded_sender(sender) == (found and Forwarded(*found))


@pytest.mark.parametrize(
    ("sender", "probe"),
    [
        ("double-bounce@mx.example.com", True),
        ("Double-Bounce@mx.example.com", True),
        ("double-bounce", True),
        # address_verify_sender_ttl: digits and consonants, in base 31, without anything between
        ("double-bounce8YZQ7@mx.example.com", True),
        ("double-bounce3xk9p@mx.example.com", True),
        ("double-bounce1B2@mx.example.com", True),
        ("double-bounce-3xk9p@mx.example.com", True),
        ("double-bounces@mx.example.com", False),
        ("double-bouncer@mx.example.com", False),
        ("double-bounce-office@mx.example.com", True),
        ("double-bounceaeiou@mx.example.com", False),
        ("double-bounce3xk9p12345678901@mx.example.com", False),
        ("double-bounce+x@mx.example.com", False),
        ("double-bounce#@mx.example.com", False),
        ("a-double-bounce@mx.example.com", False),
        ("anna@double-bounce.example.com", False),
        ("verify@mx.example.com", False),
        ("verification-12345@mx.example.com", False),
        ("probe-4f2a9c@mx.example.com", False),
        ("postmaster@mx.example.com", False),
        ("", False),
        ("@", False),
    ],
)
def test_probes_of_mail_servers(sender, probe):
    assert is_probe(sender) is probe


@given(st.integers(0, 2**40))
def test_every_time_dependent_probe_is_one(epoch):
    digits, token = "0123456789BCDFGHJKLMNPQRSTVWXYZ", ""
    while epoch or len(token) < 2:
        epoch, digit = divmod(epoch, 31)
        token = digits[digit] + token
    assert is_probe(f"double-bounce{token}@mx.example.com")
    assert sender_text(f"double-bounce{token}@mx.example.com", RECIPIENT) == "double-bounce@mx.example.com"


# --- properties

NAMES = ["anna", "max", "mustermann", "ada", "abe", "fabface", "deadbeef", "beef", "cafe", "decade", "o", "j"]
NAMES += [
    "info",
    "sales",
    "office",
    "bounce",
    "bounces",
    "return",
    "error",
    "reply",
    "noreply",
    "news",
    "lists",
]
NAMES += ["jürgen", "søren", "müller", "李", "admin", "support", "postmaster", "abuse", "root", "v"]

NUMBERS = st.integers(0, 9999).map(str)
NAME = st.sampled_from(NAMES)
HUMAN = st.one_of(
    st.lists(NAME, min_size=1, max_size=4)
    .flatmap(
        lambda names: st.tuples(st.sampled_from([*"._-", ""]), NUMBERS | st.just("")).map(
            lambda ends: ends[0].join(names) + ends[1]
        )
    )
    # beside a word like "bounce", one letter with a long number is a counter (`sender_patterns`), not a name
    .filter(lambda local: not re.search(r"(?:bounces?|return|error)[._-].*\b[^\W\d][0-9]{3,}$", local)),
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=30),
    st.tuples(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12), NUMBERS).map("".join),
    st.integers(0, 10**15).map(str),  # telephone and customers' numbers
    st.tuples(st.text("abcdefgsu", min_size=1, max_size=2), st.integers(0, 10**8).map(str)).map("".join),
    st.tuples(st.sampled_from(NAMES[:8]), st.dates().map(lambda day: day.strftime("%Y%m%d"))).map(".".join),
)
"""Local parts that humans, offices and machines with a fixed address have."""


@settings(max_examples=300)
@given(HUMAN)
@example("double-bounce")
@example("max.mustermann.fabface.deadbeef.decade")
def test_a_human_address_stays(local):
    assert sender_text(f"{local}@example.com", RECIPIENT) == f"{local}@example.com"


@settings(max_examples=300)
@given(HUMAN, HUMAN, st.sampled_from(["", "+tag", "+bounce-12345"]))
def test_two_humans_at_one_domain_never_have_one_text(one, other, extension):
    texts = {sender_text(f"{local}{extension}@example.com", RECIPIENT) for local in (one, other)}
    assert len(texts) == len({one, other})


def test_no_two_of_many_real_names_have_one_text():
    locals_ = [f"{first}{mark}{second}{year}" for first in NAMES for mark in ("", ".", "-", "_")
               for second in NAMES for year in ("", "1", "42", "1985")]  # fmt: skip
    for domain in ("example.com", "bounces.example.com"):
        texts = {sender_text(f"{local}@{domain}", RECIPIENT) for local in locals_}
        assert len(texts) == len(set(locals_))


@given(HUMAN, st.from_regex(r"[0-9]{4}[0-9a-f]{6}", fullmatch=True))
def test_a_signature_is_all_that_batv_folds(local, tag):
    assert sender_text(f"prvs={tag}={local}@example.com", RECIPIENT) == f"{local}@example.com"
    assert sender_text(f"btv1=={tag}=={local}@example.com", RECIPIENT) == f"{local}@example.com"


@given(HUMAN, st.text("abcdefghijklmnopqrstuvwxyz0123456789/+", min_size=1, max_size=6), st.integers(1, 4))
def test_srs_gives_the_original_however_deep(local, signature, depth):
    sender = f"{local}@example.net"
    for level in range(depth):
        inside, _, domain = sender.rpartition("@")
        sender = f"srs0={signature}=tt={domain}={inside}@fwd{level}.example"
    original = sender_text(f"{local}@example.net", RECIPIENT)
    assert len(sender) > 320 or sender_text(sender, RECIPIENT) == original


ANYTHING = st.text(st.characters(exclude_categories=()), max_size=60)
PARTS = [
    "srs0=",
    "srs1=",
    "prvs=",
    "btv1==",
    "msprvs1=",
    "=",
    "==",
    "=hh=tt=a.example=",
    "+srs=",
    "+",
    "-",
    "_",
]
PARTS += [
    ".",
    "#",
    "@",
    "/",
    "*",
    "%40",
    "user",
    "example.org",
    "user=example.org",
    "__",
    "1234abcdef=",
    "bounce",
]
PARTS += [
    "double-bounce",
    "v-",
    "1234567",
    "7",
    "1b",
    "dcgpdkfimohjejclelga",
    "bounce-mc.us1_2.",
    "bounce-md_3.",
]
PARTS += [
    "0100018cf450cae5",
    "228c0b4f-d408-4013-b275-5f4d775559cb",
    "anna",
    "noreply",
    "107-fms-070.0.1",
    "A",
]
PARTS += [
    ".bnc.salesforce.com",
    ".mcsv.net",
    ".d.sender-sib.com",
    ".bounces.google.com",
    "@bounces.example.com",
]
PARTS += [
    "@in.constantcontact.com",
    "_1133104752381_",
    "@bounce.twitter.com",
    "microsoftexchange",
    "\udcff",
    "é",
]
MUTATED = st.one_of(
    st.lists(st.sampled_from(PARTS) | ANYTHING, max_size=12).map("".join),
    st.tuples(
        st.sampled_from(SHAPES), st.integers(0, 80), st.integers(0, 6), st.sampled_from([*PARTS, ""])
    ).map(lambda drawn: drawn[0].sender[: drawn[1]] + drawn[3] + drawn[0].sender[drawn[1] + drawn[2] :]),
)
RECIPIENTS = (
    st.sampled_from([RECIPIENT, "", "lists+nbd@example.org", "a@b.cd", "@", "\udcff@é.example"]) | ANYTHING
)


@settings(max_examples=500)
@given(MUTATED | ANYTHING, RECIPIENTS)
def test_it_takes_everything_and_twice_is_once(sender, recipient):
    text = sender_text(sender, recipient)
    assert sender_text(text, recipient) == text
    assert sender_domain(text) == text.rpartition("@")[2] * ("@" in text)


LETTERS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=30)
BESIDE = st.tuples(
    st.sampled_from(["", "bounce-", "noreply.", "list-returns_", "Bounce-", "ticket-", "max."]),
    LETTERS,
    st.sampled_from(["", "1985", "-abcdefab12", "_x"]),
    st.sampled_from(["@example.com", "@bounces.example.com", "@a-return.example.com", "@x.bnc.example.com"]),
).map("".join)
"""Letters where they may be a token."""
PLAIN = st.from_regex(r"[a-z]{1,4}(?:[._-][a-z]{1,4}){0,2}[0-9]{0,5}@[a-z0-9.-]{1,9}", fullmatch=True)


@settings(max_examples=500)
@given(MUTATED.map(normalise_address) | HUMAN | PLAIN | BESIDE, RECIPIENTS.map(normalise_address))
def test_who_is_plain_at_a_look_is_never_folded(sender, recipient):
    domain = plain_domain(sender, recipient)
    assert domain is None or (sender_text(sender, recipient), sender_domain(sender)) == (sender, domain)


@pytest.mark.parametrize(
    ("sender", "domain"),
    [
        ("anna@example.com", "example.com"),
        ("anna.max-b1985@a-b.example", "a-b.example"),
        ("double-bounce@example.com", None),
        ("v-anna@example.com", None),
        ("anna12345@example.com", None),
        ("anna+tag@example.com", None),
        ("ann\u00e4@example.com", None),
        ("anna", None),
        ("", None),
        ("a-name-longer-than-the-recipient@example.com", None),
    ],
)
def test_plain_at_a_look(sender, domain):
    assert plain_domain(sender, RECIPIENT) == domain


@given(MUTATED | ANYTHING, RECIPIENTS)
def test_all_forms_have_the_domain_of_the_sender(sender, recipient):
    forms = listed_forms(sender, recipient)
    assert forms[0] == sender
    assert len(set(forms)) == len(forms) <= 3
    assert {form.rpartition("@")[2] for form in forms if "@" in form} <= {sender.rpartition("@")[2]}
    told = forwarded_sender(sender)
    assert told is None or told.inner not in forms


@given(MUTATED | ANYTHING)
def test_nothing_is_made_up(sender):
    text = sender_text(sender, RECIPIENT)
    assert set(text) <= {*sender.lower(), PLACEHOLDER, "@"}
    assert len(text) <= len(sender.lower())


# 320 characters each, made for patterns that go back: were one of them not linear, this would not end.
ADVERSARIAL = [
    "0" * 320,
    "a1" * 160,
    "1-" * 160,
    "-" * 320,
    "#" * 320,
    "#." * 160,
    "bounce-" + "#" * 300 + "x1",
    "bounce-" + "a" * 312,
    "a." * 154 + "1@a.example",
    "v-" + "abcde_" * 50 + "!",
    "double-bounce" + "b" * 300,
    "=" * 320,
    "srs0" + "=a" * 150,
    "srs1=a=b=" + "=srs0=a=b=c.d" * 23,
    "prvs=1234abcdef=" * 20,
    "user=example.org" * 20,
    "user.example." * 24,
    "1@" + "bounces-" * 38 + "a.b",
    "1@" + "a-" * 150 + ".b",
    "x=" + "a-" * 150,
    "x1=" + "a." * 150,
    "107-fms-070." + "0." * 150 + "x",
    "a_1111111111" * 20 + "@in.constantcontact.com",
    "aaaaaaaa-1111-1111-1111-11111111111-" * 8,
    "é1" * 160,
    "bounce-" + "ada" * 104 + "x",
    "bounce-" + "adab" * 78 + "1",
    "0a1b-" * 64,
    "a1-" * 106,
    "a1_" * 106,
    "abcdefab-" * 35,
    "a" * 318 + "=",
    "a+" * 159 + "=",
    "a/" * 159 + "==",
    "prvs=1234abcdef=" * 19 + "a@b.example",
]


@pytest.mark.parametrize("sender", ADVERSARIAL, ids=lambda sender: sender[:20])
def test_no_text_takes_long(sender):
    for text in (sender, f"{sender[:300]}@bounces.example.com", sender * 100):
        for _ in range(20):
            sender_text(text, RECIPIENT)
            sender_text(text, sender)
            listed_forms(text, RECIPIENT)
            forwarded_sender(text)


def test_shapes_of_different_senders_stay_apart():
    texts = {}
    for shape in SHAPES:
        texts.setdefault(shape.text.partition("@")[2], set()).add(shape.text)
    assert sum(map(len, texts.values())) > 60
    for one, other in combinations(["anna", "max"], 2):
        assert sender_text(f"{one}-return-7@example.com", RECIPIENT) != sender_text(
            f"{other}-return-7@example.com", RECIPIENT
        )
