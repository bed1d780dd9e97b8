"""Who passes, by which way, and for whom that says anything."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
import spf
from hypothesis import given
from hypothesis import strategies as st
from multigrey_spf.dnslookup import Known
from multigrey_spf.evaluation import Question, Session, evaluate, is_local, strangers

PTR = {("1.2.0.192.in-addr.arpa", "PTR"): ("mx.example.org",), ("mx.example.org", "A"): ("192.0.2.1",)}
MX = {("example.org", "MX"): ((10, "mx.example.org"),), ("mx.example.org", "A"): ("192.0.2.9",)}
V6 = "2001:db8::1"


class Table:
    """Answers from a table, or by a function of (name, type)."""

    def __init__(self, records, make=None):
        self.records = records
        self.make = make
        self.asked = []

    def ask(self, name, kind):
        self.asked.append((name, kind))
        values = self.records.get((name, kind))
        if values is None:
            values = () if self.make is None else self.make(name, kind) or ()
        if kind == "TXT":
            values = tuple((value.encode(),) for value in values)
        return Known(tuple(values), 100.0)


def check(records, client="192.0.2.1", domain="example.org", local="alice", helo="mx.example.org", make=None):
    table = Table({key: (v,) if isinstance(v, str) else v for key, v in records.items()}, make)
    question = Question(ip_address(client), domain, local, helo)
    return evaluate(question, Session(table.ask)), table


def txt(**records):
    """Records by name; `_` is the domain itself, other names are below it."""
    return {
        ("example.org" if name == "_" else f"{name}.example.org", "TXT"): f"v=spf1 {text}"
        for name, text in records.items()
    }


@pytest.mark.parametrize(
    ("records", "client", "authorised"),
    [
        # networks: /16 and /32 are the widest that count
        (txt(_="ip4:192.0.2.1 -all"), "192.0.2.1", True),
        (txt(_="ip4:192.0.0.0/16 -all"), "192.0.2.1", True),
        (txt(_="ip4:192.0.0.0/15 -all"), "192.0.2.1", False),
        (txt(_="ip4:0.0.0.0/0 -all"), "192.0.2.1", False),
        (txt(_="ip6:2001:db8::/32 -all"), V6, True),
        (txt(_="ip6:2001:db8::/31 -all"), V6, False),
        (txt(_="ip6:::/0 -all"), V6, False),
        # of two terms the first that matches counts, as it does for SPF
        (txt(_="ip4:192.0.2.0/24 +all"), "192.0.2.1", True),
        (txt(_="ip4:128.0.0.0/1 ip4:192.0.2.0/24 -all"), "192.0.2.1", False),
        (txt(_="ip4:198.51.100.0/24 ip4:192.0.2.1 -all"), "192.0.2.1", True),
        # all
        (txt(_="+all"), "192.0.2.1", False),
        (txt(_="all"), "192.0.2.1", False),
        (txt(_="a mx all"), "192.0.2.1", False),
        # ptr; and what comes after a ptr that does not match
        (txt(_="ptr -all") | PTR, "192.0.2.1", False),
        (txt(_="ptr:example.net +all") | PTR, "192.0.2.1", False),
        (txt(_="ptr:example.net ip4:192.0.2.1 -all") | PTR, "192.0.2.1", True),
        # a and mx
        (txt(_="a -all") | {("example.org", "A"): "192.0.2.1"}, "192.0.2.1", True),
        (txt(_="a/16 -all") | {("example.org", "A"): "192.0.99.1"}, "192.0.2.1", True),
        (txt(_="a/15 -all") | {("example.org", "A"): "192.1.99.1"}, "192.0.2.1", False),
        (txt(_="a//32 -all") | {("example.org", "AAAA"): "2001:db8:9::"}, V6, True),
        (txt(_="a/24//31 -all") | {("example.org", "AAAA"): "2001:db9::"}, V6, False),
        (txt(_="a +all") | {("example.org", "A"): "192.0.2.9"}, "192.0.2.1", False),
        (txt(_="mx/24 -all") | MX, "192.0.2.1", True),
        (txt(_="mx/8 -all") | MX, "192.0.2.1", False),
        (txt(_="mx +all") | MX, "192.0.2.1", False),
        # include and redirect lead to the term that counts
        (txt(_="include:a.example.org -all", a="ip4:192.0.2.0/24 -all"), "192.0.2.1", True),
        (txt(_="include:a.example.org -all", a="+all"), "192.0.2.1", False),
        (txt(_="include:a.example.org -all", a="ip4:192.0.0.0/8 -all"), "192.0.2.1", False),
        (
            txt(_="include:a.example.org -all", a="include:b.example.org -all", b="+all"),
            "192.0.2.1",
            False,
        ),
        (txt(_="include:a.example.org -all", a="ptr:example.org -all") | PTR, "192.0.2.1", False),
        (txt(_="include:a.example.org +all", a="-ip4:192.0.2.1"), "192.0.2.1", False),
        (txt(_="include:a.example.org +all", a="?ip4:192.0.2.1"), "192.0.2.1", False),
        (txt(_="include:a.example.org ip4:192.0.2.1", a="-all"), "192.0.2.1", True),
        (txt(_="redirect=a.example.org", a="ip4:192.0.2.0/24 -all"), "192.0.2.1", True),
        (txt(_="redirect=a.example.org", a="+all"), "192.0.2.1", False),
        (
            txt(_="redirect=a.example.org", a="include:b.example.org -all", b="ip4:192.0.2.0/24"),
            "192.0.2.1",
            True,
        ),
        # exists: for every client, by a wildcard, for this client
        (txt(_="exists:e.example.org -all") | {("e.example.org", "A"): "127.0.0.2"}, "192.0.2.1", False),
        (
            txt(_="exists:%{i}.e.example.org -all") | {("192.0.2.1.e.example.org", "A"): "127.0.0.2"},
            "192.0.2.1",
            True,
        ),
        (
            txt(_="include:%{ir}.e.example.org -all")
            | {("1.2.0.192.e.example.org", "TXT"): "v=spf1 ip4:192.0.2.1"},
            "192.0.2.1",
            True,
        ),
        # what the sender chooses himself says nothing
        (
            txt(_="exists:%{l}.e.example.org -all") | {("alice.e.example.org", "A"): "127.0.0.2"},
            "192.0.2.1",
            False,
        ),
        (txt(_="a:%{h} -all") | {("mx.example.org", "A"): "192.0.2.1"}, "192.0.2.1", False),
        (txt(_="a:%{p} -all") | PTR, "192.0.2.1", False),
        (
            txt(_="mx:%{h} -all") | MX | {("mx.example.org", "MX"): ((1, "mx.example.org"),)},
            "192.0.2.9",
            False,
        ),
        (
            txt(_="include:%{h} -all") | {("mx.example.org", "TXT"): "v=spf1 ip4:192.0.2.1"},
            "192.0.2.1",
            False,
        ),
        (txt(_="redirect=%{h}") | {("mx.example.org", "TXT"): "v=spf1 ip4:192.0.2.1"}, "192.0.2.1", False),
        # ... but only on the way that was taken; and the domain's own macros are its own
        (txt(_="exists:%{l}.e.example.org ip4:192.0.2.1 -all"), "192.0.2.1", True),
        (txt(_="include:a.%{d2} -all", a="ip4:192.0.2.1 -all"), "192.0.2.1", True),
        (txt(_="a:a.%{o} -all") | {("a.example.org", "A"): "192.0.2.1"}, "192.0.2.1", True),
    ],
)
def test_ways(records, client, authorised):
    outcome, _ = check(records, client)
    assert (outcome.result, outcome.authorised) == ("pass", authorised)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("?all", "neutral"),
        ("~all", "softfail"),
        ("-all", "fail"),
        ("?ip4:192.0.2.1 -all", "neutral"),
        ("~ip4:192.0.2.1 -all", "softfail"),
        ("?include:a.example.org -all", "neutral"),
        ("foo -all", "permerror"),
    ],
)
def test_only_a_pass_authorises(text, result):
    outcome, _ = check(txt(_=text, a="ip4:192.0.2.1"))
    assert (outcome.result, outcome.authorised) == (result, False)


def holds_the_address(name, kind):
    """Like public name servers that answer with the address in the name."""
    head = name.removesuffix(".ip.example.org")
    return (head,) if head != name and kind == "A" else ()


def anything(below, kind, values):
    return lambda name, asked: values if name.endswith(below) and asked == kind else ()


@pytest.mark.parametrize(
    ("text", "make"),
    [
        ("exists:%{i}.e.example.org -all", anything(".e.example.org", "A", ("127.0.0.2",))),
        ("exists:%{ir}.e.example.org -all", anything(".192.e.example.org", "A", ("127.0.0.2",))),
        ("include:%{i}.e.example.org -all", anything(".e.example.org", "TXT", ("v=spf1 +all",))),
        ("a:%{i}.ip.example.org -all", holds_the_address),
        (
            "mx:%{i}.e.example.org -all",
            lambda name, kind: (
                ((1, name.replace(".e.", ".ip.")),) if kind == "MX" else holds_the_address(name, kind)
            ),
        ),
        (
            "redirect=%{i}.e.example.org",
            lambda name, kind: (
                (f"v=spf1 ip4:{name.removesuffix('.e.example.org')} -all",)
                if kind == "TXT" and ".e." in name
                else ()
            ),
        ),
    ],
)
def test_a_wildcard_is_as_good_as_all(text, make):
    outcome, _ = check(txt(_=text), make=make)
    assert (outcome.result, outcome.authorised) == ("pass", False)


@pytest.mark.parametrize("which", [0, 1])
def test_as_long_as_the_strangers_are_unknown_nobody_is_authorised(which):
    other = f"{strangers(ip_address('192.0.2.1'))[which]}.e.example.org"
    records = {**txt(_="exists:%{i}.e.example.org -all"), ("192.0.2.1.e.example.org", "A"): ("127.0.0.2",)}

    def ask(name, kind):
        values = tuple((v.encode(),) if kind == "TXT" else v for v in aslist(records.get((name, kind), ())))
        return Known(None if name == other else values, 9.0)

    question = Question(ip_address("192.0.2.1"), "example.org", "alice", "mx.example.org")
    outcome = evaluate(question, Session(ask))
    assert (outcome.result, outcome.authorised) == ("pass", False)


def aslist(value):
    return [value] if isinstance(value, str) else value


def test_names_that_are_too_long_lose_labels_at_the_left():
    """RFC 7208 section 7.3."""
    domain = ".".join(["a" * 30] * 3 + ["example.org"])
    records = {(domain, "TXT"): "v=spf1 exists:%{d}.%{d}.%{d}.%{d} -all"}
    _, table = check(records, domain=domain)
    (_, (name, kind)) = table.asked
    assert kind == "A"
    assert 253 - 31 < len(name) <= 253
    assert f"{domain}.{domain}.{domain}.{domain}".endswith(f".{name}")


@given(st.ip_addresses())
def test_strangers_have_nothing_to_do_with_the_client(client):
    if is_local(client):
        return
    near, far = strangers(client)
    assert strangers(client) == (near, far)
    wide, close = (16, 8) if client.version == 4 else (32, 16)
    network = ip_network((client, wide), strict=False)
    for other in (near, far):
        assert other not in network
        assert not is_local(other)
    assert near in ip_network((client, close), strict=False)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("10.1.2.3", True), ("172.16.0.1", True), ("172.31.0.1", True), ("192.168.0.1", True),
        ("127.0.0.1", True), ("169.254.1.1", True), ("100.64.0.1", True), ("0.0.0.0", True),
        ("224.0.0.1", True), ("255.255.255.255", True), ("240.0.0.1", True),
        ("::1", True), ("::", True),
        ("fe80::1", True), ("fc00::1", True), ("fdff::1", True),
        ("ff02::1", True),
        ("172.32.0.1", False), ("100.128.0.1", False), ("8.8.8.8", False), ("2001:db8::1", False),
    ],
)  # fmt: skip
def test_local_addresses(address, local):
    assert is_local(ip_address(address)) is local


def names(prefix, count, text):
    return " ".join(f"{text}:{prefix}{n}.example.org" for n in range(count))


@pytest.mark.parametrize(
    ("records", "result"),
    [
        # ten terms that look something up (RFC 7208 section 4.6.4)
        (txt(_=names("a", 11, "include"), **{f"a{n}": "-all" for n in range(11)}), "permerror"),
        (txt(_=names("a", 10, "include") + " -all", **{f"a{n}": "-all" for n in range(10)}), "fail"),
        # two that find nothing
        (txt(_="a:a.example.org a:b.example.org -all"), "fail"),
        (txt(_="a:a.example.org a:b.example.org a:c.example.org -all"), "permerror"),
        # ten mail servers
        (
            txt(_="mx -all") | {("example.org", "MX"): tuple((n, f"m{n}.example.org") for n in range(11))},
            "permerror",
        ),
        # loops
        (txt(_="include:example.org -all"), "permerror"),
        (txt(_="include:a.example.org", a="include:b.example.org", b="include:a.example.org"), "permerror"),
        (
            txt(_="redirect=a.example.org", a="redirect=b.example.org", b="redirect=a.example.org"),
            "permerror",
        ),
        # records beyond any reason; the second would keep pyspf's patterns busy for minutes
        (txt(_=" ".join(["ip4:198.51.100.1"] * 300)), "permerror"),
        (txt(_="a:b." + "a" * 60_000 + "!"), "permerror"),
        (txt(_="exists:" + "a" * 600 + ".example.org"), "permerror"),
    ],
)
def test_limits(records, result):
    outcome, table = check(records)
    assert outcome.result == result
    assert len(table.asked) <= 12


def test_no_check_asks_more_than_fifty_questions():
    """RFC 7208 allows ten terms of ten mail servers each."""
    records = txt(_=names("d", 10, "mx") + " -all")
    for d in range(10):
        records[f"d{d}.example.org", "MX"] = tuple((n, f"m{n}.d{d}.example.org") for n in range(10))
    outcome, table = check(records, make=anything(".example.org", "A", ("198.51.100.1",)))
    assert outcome.result == "temperror"
    assert len(table.asked) == 50


def test_a_question_is_asked_once_for_the_client_and_the_strangers():
    records = txt(_="a:a.example.org exists:%{i}.e.example.org -all")
    records |= {("192.0.2.1.e.example.org", "A"): "127.0.0.2", ("a.example.org", "A"): "198.51.100.1"}
    outcome, table = check(records)
    assert outcome.authorised
    assert len(table.asked) == len(set(table.asked)) == 5  # TXT, a, exists for three


def test_explanations_are_never_fetched():
    outcome, table = check(txt(_="-all exp=why.example.org"))
    assert outcome.result == "fail"
    assert table.asked == [("example.org", "TXT")]


@pytest.mark.parametrize(
    ("text", "reusable"),
    [
        ("ip4:192.0.2.1 -all", True),
        ("exists:%{i}.%{d}.%{v}.%{o}.e.example.org -all", True),
        ("exists:%{l}.e.example.org -all", False),
        ("exists:%{S}.e.example.org -all", False),
        ("exists:%{h2}.e.example.org -all", False),
        ("include:a.example.org -all", False),
    ],
)
def test_what_depends_on_the_sender_is_not_kept_for_others(text, reusable):
    outcome, _ = check(txt(_=text, a="exists:%{l}.e.example.org"))
    assert outcome.reusable is reusable


def test_an_outcome_is_believed_as_long_as_its_shortest_answer():
    ttls = {("example.org", "TXT"): 300.0, ("a.example.org", "A"): 20.0}
    values = {"TXT": ((b"v=spf1 a:a.example.org",),), "A": ("192.0.2.1",)}
    session = Session(lambda name, kind: Known(values[kind], ttls[name, kind]))
    question = Question(ip_address("192.0.2.1"), "example.org", "alice", "mx.example.org")
    assert evaluate(question, session).until == 20


@given(st.binary(max_size=300), st.booleans())
def test_no_record_breaks_it(data, spf_like):
    """Whatever a record holds: a result, and no exception."""
    text = (b"v=spf1 " if spf_like else b"") + data
    question = Question(ip_address("192.0.2.1"), "example.org", "al@ice", "mx.example.org")
    session = Session(lambda name, kind: Known(((text,),) if kind == "TXT" else (), 9.0))
    assert evaluate(question, session).result in {"none", "neutral", "permerror", "pass", "fail", "softfail"}


TERMS = st.lists(
    st.sampled_from(
        [
            "a",
            "mx/24",
            "ptr",
            "-all",
            "+all",
            "?all",
            "exists:%{i}.%{h}",
            "include:%{d}",
            "redirect=%{l}.x.org",
            "a:%{p}",
            "ip4:1.2.3.4/%{l}",
            "%",
            "%{x}",
            "exp=%{c}",
            "ip6:::1/129",
            "a//0/0",
            "exists:",
            "moo=%{s1r-}",
        ]
    ),
    max_size=12,
)


@given(TERMS, st.sampled_from(["192.0.2.1", V6]))
def test_no_choice_of_terms_breaks_it(terms, client):
    table = Table(
        {("example.org", "TXT"): (f"v=spf1 {' '.join(terms)}",)}, anything("", "A", ("192.0.2.77",))
    )
    question = Question(ip_address(client), "example.org", "alice", "mx.example.org")
    outcome = evaluate(question, Session(table.ask))
    assert not outcome.authorised
    assert len(table.asked) <= 50


def test_pyspf_itself_is_left_alone():
    """Another user of pyspf in the process keeps his own way of looking names up."""
    before = spf.DNSLookup, spf.query.dns, spf.MAX_LOOKUP
    check(txt(_="a mx ptr -all"))
    assert (spf.DNSLookup, spf.query.dns, spf.MAX_LOOKUP) == before
