"""Which clients are hosts of the domain that sends, and what it costs to find out."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from multigrey_spf.dnslookup import Known
from multigrey_spf.evaluation import Question, Session, evaluate
from multigrey_spf.own_hosts import own_hosts
from spfzone import SILENCE, TROUBLE, Zone, attempt, source

from multigrey.config.origin_lists import registered_domain

V4, V6 = "192.0.2.1", "2001:db8::1"
HOME = "example.org"


def records(**texts):
    """SPF records by name: `_` is example.org, names without a dot lie below it."""
    names = {name: name.replace("__", ".") for name in texts}
    return {
        (HOME if name == "_" else full if "." in full else f"{full}.{HOME}", "TXT"): f"v=spf1 {text}"
        for (name, text), full in zip(texts.items(), names.values(), strict=True)
    }


def asking(table, asked):
    def ask(name, kind):
        asked.append((name, kind))
        values = table.get((name, kind), ())
        if values is TROUBLE:
            return Known(None, 10.0)
        values = (values,) if isinstance(values, str) else values
        return Known(tuple((v.encode(),) if kind == "TXT" else v for v in values), 100.0)

    return ask


def outcome(table, client=V4, domain=HOME):
    """The outcome of a check and whether the client is an own host, as `SpfSource` finds it out."""
    asked = []
    question = Question(
        ip_address(client), domain, "alice", "mx.example.org", registered_domain(domain) or ""
    )
    session = Session(asking(table, asked))

    def is_own(name):
        return registered_domain(name) == question.home

    found = evaluate(question, session, is_own)
    checked = len(asked)
    if found.own:
        found = replace(found, own=own_hosts(question, session, is_own).own)
    return found, len(asked) - checked


MX = {
    (HOME, "MX"): ((10, "mx.example.org"), (20, "in.hoster.example")),
    ("mx.example.org", "A"): V4,
    ("mx.example.org", "AAAA"): V6,
    ("in.hoster.example", "A"): "198.51.100.1",
}


def scattered(count):
    """That many single hosts, each in a /24 of its own; the client is the first."""
    return " ".join(["ip4:192.0.2.1", *(f"ip4:5.9.{number}.7" for number in range(1, count))])


@pytest.mark.parametrize(
    ("table", "client", "own"),
    [
        # the domain's own addresses
        (records(_="ip4:192.0.2.1 -all"), V4, True),
        (records(_="ip6:2001:db8::/64 -all"), V6, True),
        (records(_="a -all") | {(HOME, "A"): V4}, V4, True),
        (records(_="a:out.example.org ~all") | {("out.example.org", "A"): V4}, V4, True),
        (records(_="mx -all") | MX, V4, True),
        (records(_="MX -all") | MX, V6, True),
        (records(_="A:MX.Example.ORG -all") | MX, V4, True),
        (records(_="ip4:198.51.100.9 mx ?all") | MX, V4, True),
        # what lies below its registered domain speaks for it
        (records(_="include:_spf.example.org -all", _spf="ip4:192.0.2.0/24 -all"), V4, True),
        (records(_="redirect=_spf.example.org", _spf="include:a.example.org -all", a="mx:example.org") | MX,
         V4, True),
        # of another owner, directly or in between
        (records(_="include:hoster.example -all", hoster__example="ip4:192.0.2.0/24 -all"), V4, False),
        (records(_="redirect=hoster.example", hoster__example="ip4:192.0.2.0/24 -all"), V4, False),
        (records(_="include:_spf.example.org -all", _spf="include:hoster.example -all",
                 hoster__example="ip4:192.0.2.1 -all"), V4, False),
        (records(_="include:hoster.example -all", hoster__example="include:_spf.example.org -all",
                 _spf="ip4:192.0.2.1 -all"), V4, False),
        (records(_="a:out.hoster.example -all") | {("out.hoster.example", "A"): V4}, V4, False),
        (records(_="mx:hoster.example -all")
         | {("hoster.example", "MX"): ((1, "mx.example.org"),), ("mx.example.org", "A"): V4}, V4, False),
        (records(_="mx -all") | MX, "198.51.100.1", False),
        # ... which takes nothing away from those that are its own
        (records(_="include:hoster.example ip4:192.0.2.1 -all", hoster__example="ip4:5.0.0.0/8 -all"),
         V4, True),
        (records(_="ip4:192.0.2.1 include:hoster.example a:out.hoster.example -all"), V4, True),
        # no addresses
        (records(_="ptr -all") | {("1.2.0.192.in-addr.arpa", "PTR"): ("mx.example.org",)} | MX, V4, False),
        (records(_="exists:%{i}.e.example.org -all") | {(f"{V4}.e.example.org", "A"): "127.0.0.2"},
         V4, False),
        (records(_="a:mx.%{d} -all") | MX, V4, False),
        (records(_="include:_spf.%{d} -all", _spf="ip4:192.0.2.1"), V4, False),
        (records(_="ip4:192.0.2.1 ptr exists:%{i}.e.example.org redirect=%{d}.example.org"), V4, True),
        # every client
        (records(_="ip4:192.0.2.1 all"), V4, False),
        (records(_="ip4:192.0.2.1 include:_spf.example.org -all", _spf="+all"), V4, False),
        (records(_="ip4:192.0.2.1 redirect=_spf.example.org", _spf="+all"), V4, False),
        (records(_="ip4:192.0.2.1 -all redirect=_spf.example.org", _spf="+all"), V4, True),
        (records(_="ip4:192.0.2.1 -all ip4:5.0.0.0/8"), V4, True),
        (records(_="ip4:192.0.2.1 ?all"), V4, True),
        # how many networks: a /20, or as many of /24 in pieces
        (records(_="ip4:192.0.0.0/20 -all"), V4, True),
        (records(_="ip4:192.0.0.0/19 -all"), V4, False),
        (records(_="ip4:192.0.2.1 ip4:5.9.0.0/19 -all"), V4, False),
        (records(_="ip4:192.0.2.1 ip4:5.9.0.0/20 -all"), V4, False),
        (records(_="ip4:192.0.0.0/21 ip4:5.9.0.0/21 -all"), V4, True),
        (records(_="ip4:192.0.0.0/21 ip4:5.9.0.0/21 ip4:5.10.0.1 -all"), V4, False),
        (records(_="a/19 -all") | {(HOME, "A"): V4}, V4, False),
        (records(_=f"{scattered(16)} -all"), V4, True),
        (records(_=f"{scattered(17)} -all"), V4, False),
        (records(_="ip4:192.0.2.1 include:_spf.example.org -all", _spf=scattered(17)), V4, False),
        (records(_="ip4:192.0.2.1 redirect=_spf.example.org", _spf=scattered(17)), V4, False),
        (records(_="ip4:192.0.2.1 a -all") | {(HOME, "A"): tuple(f"5.9.{n}.7" for n in range(16))},
         V4, False),
        (records(_=" ".join(f"ip4:192.0.2.{n}" for n in range(100)) + " -all"), V4, True),
        (records(_="ip6:2001:db8::/44 -all"), V6, True),
        (records(_="ip6:2001:db8::/43 -all"), V6, False),
        (records(_="ip6:2001:db8::1 " + " ".join(f"ip6:2001:db9:{n}::1" for n in range(16))), V6, False),
        # ... of the client's own kind, that can send at all, and that are authorised
        (records(_="ip6:2001:db8::1 ip4:5.0.0.0/8 -all"), V6, True),
        (records(_="ip4:192.0.2.1 ip4:10.0.0.0/8 ip4:172.16.0.0/12 -all"), V4, True),
        (records(_="ip4:192.0.2.1 ip4:8.0.0.0/7 -all"), V4, False),
        (records(_="ip4:192.0.2.1 -ip4:5.0.0.0/8 ?include:_spf.example.org -all", _spf="all"), V4, True),
        # what cannot be looked up may be anything
        (records(_="ip4:192.0.2.1 a -all") | {(HOME, "A"): TROUBLE}, V4, False),
        (records(_="ip4:192.0.2.1 include:_spf.example.org -all"), V4, False),
        (records(_="ip4:192.0.2.1 include:_spf.example.org -all", _spf="a:e example"), V4, False),
        (records(_="ip4:192.0.2.1 include:_spf.example.org -all", _spf="include:example.org -all"),
         V4, False),
        (records(_="ip4:192.0.2.1 mx -all")
         | {(HOME, "MX"): tuple((n, f"mx{n}.example.org") for n in range(11))}, V4, False),
        (records(_="ip4:192.0.2.1 " + " ".join(f"a:a{n}.example.org" for n in range(10))), V4, True),
        (records(_="ip4:192.0.2.1 " + " ".join(f"a:a{n}.example.org" for n in range(11))), V4, False),
        (records(_="ip4:192.0.2.1 " + " ".join(f"include:h{n}.example" for n in range(11))), V4, False),
        # no hosts of its own: nobody's domain
        (records(_="ip4:192.0.2.0/15 -all"), V4, False),
    ],
)  # fmt: skip
def test_own_hosts(table, client, own):
    found, _ = outcome(table, client)
    assert (found.result, found.own) == ("pass", own)


@pytest.mark.parametrize(
    ("domain", "own"),
    [
        ("mail.example.org", True),
        ("customer.github.io", True),  # github.io is a public suffix: another customer is another owner
        ("github.io", False),
    ],
)
def test_the_registered_domain_says_whose_it_is(domain, own):
    table = {
        (domain, "TXT"): f"v=spf1 include:_spf.{domain} -all",
        (f"_spf.{domain}", "TXT"): "v=spf1 ip4:192.0.2.1 -all",
    }
    found, _ = outcome(table, domain=domain)
    assert (found.result, found.own) == ("pass", own)


def test_another_customer_of_a_suffix_is_somebody_else():
    table = {
        ("one.github.io", "TXT"): "v=spf1 include:two.github.io -all",
        ("two.github.io", "TXT"): "v=spf1 ip4:192.0.2.1 -all",
    }
    found, _ = outcome(table, domain="one.github.io")
    assert (found.authorised, found.own) == (True, False)


@pytest.mark.parametrize(
    ("table", "more"),
    [
        (records(_="ip4:192.0.2.0/24 -all"), 0),
        (records(_="include:hoster.example a mx -all", hoster__example="ip4:192.0.2.1"), 0),
        (records(_="a mx -all") | {(HOME, "A"): V4} | MX, 2),  # the MX, and its host that is the domain's
        (records(_="+all"), 0),
        (records(_="ip4:198.51.100.1 a mx -all"), 0),
    ],
)
def test_nobody_asks_for_more_than_can_matter(table, more):
    assert outcome(table)[1] == more


@pytest.mark.parametrize(
    ("table", "listed_by"),
    [
        (records(_="ip4:192.0.2.1"), (HOME,)),
        (records(_="include:_Spf.Hoster.Example", _spf__hoster__example="ip4:192.0.2.1"),
         ("_spf.hoster.example", HOME)),
        (records(_="redirect=hoster.example", hoster__example="include:a.hoster.example",
                 a__hoster__example="redirect=b.hoster.example", b__hoster__example="ip4:192.0.2.1"),
         ("b.hoster.example", "a.hoster.example", "hoster.example", HOME)),
        (records(_="include:other.example include:hoster.example", other__example="-all",
                 hoster__example="ip4:192.0.2.1"), ("hoster.example", HOME)),
        # a record that lets every client pass lists no client
        (records(_="include:hoster.example", hoster__example="+all"), ()),
        (records(_="include:hoster.example", hoster__example="ip4:0.0.0.0/0"), ()),
        (records(_="include:hoster.example", hoster__example="-ip4:192.0.2.1"), ()),
        (records(_="include:%{h} -all", mx="ip4:192.0.2.1"), ()),
    ],
)  # fmt: skip
def test_who_lists_the_client(table, listed_by):
    assert outcome(table)[0].listed_by == listed_by


TERMS = st.lists(
    st.sampled_from(
        [
            *("a", "a/20", "mx", "+all", "?all", "ip4:192.0.2.1", "ip4:5.9.0.0/21", "ip4:0.0.0.0/0", "a//44"),
            *("include:b.example.org", "redirect=b.example.org", "include:hoster.example", "-include:%{d}"),
            *("exists:%{i}.x", "ptr", "mx:%{h}", "ip6:2001:db8::/43", "exp=%{d}", "a:%", "redirect=", "moo"),
        ]
    ),
    max_size=8,
)


@given(TERMS, TERMS, st.sampled_from([V4, V6]))
def test_no_choice_of_terms_breaks_it(first, second, client):
    table = records(_=" ".join(first), b=" ".join(second), hoster__example="ip4:192.0.2.1") | MX
    session = Session(asking(table, []))
    question = Question(ip_address(client), HOME, "alice", "mx.example.org", HOME)
    found = own_hosts(question, session, lambda name: registered_domain(name) == HOME).own
    terms = {*first, *second}
    assert not found or terms & {"a", "a/20", "mx", "a//44", "ip4:192.0.2.1"}


# --- in the source ---

RECORD = (HOME, "TXT")


def spf(zone, **settings):
    return source(zone, registered_domain=registered_domain, **settings)


async def test_it_is_told_and_remembered():
    zone = Zone({RECORD: "v=spf1 a mx -all", (HOME, "A"): V4, **MX})
    one = spf(zone)
    for _ in range(2):
        findings = await one.ask(attempt())
        assert (findings.own, findings.listed_by) == (True, (HOME,))
        assert len(zone.asked) == 4
    assert (one.counts["own"], one.counts["remembered"]) == (2, 1)
    assert not (await one.ask(attempt("198.51.100.1"))).own


async def test_for_bounces_nothing_more_is_asked():
    zone = Zone({RECORD: "v=spf1 a mx -all", (HOME, "A"): V4, **MX})
    one = spf(zone)
    findings = await one.ask(attempt(sender="", helo=HOME))
    assert (findings.own, findings.origin.text) == (False, f"spf:{HOME}")
    assert len(zone.asked) == 2
    assert (await one.ask(attempt())).own, "what was not asked for a bounce is asked for mail"


async def test_without_a_list_of_suffixes_nobody_has_hosts():
    assert not (await source({RECORD: "v=spf1 ip4:192.0.2.1 -all"}).ask(attempt())).own


async def test_who_passed_has_passed_even_if_the_time_is_over(mock_clock, nursery):
    zone = Zone({RECORD: "v=spf1 ip4:192.0.2.1 a -all", (HOME, "A"): SILENCE})
    one = spf(zone)
    answers = []

    async def ask():
        answers.append(await one.ask(attempt()))

    nursery.start_soon(ask)
    await zone.waiting.wait()
    mock_clock.jump(0.41)
    while not answers:
        await trio.testing.wait_all_tasks_blocked(0.001)
    (findings,) = answers
    assert findings.traits == {"spf:pass"}
    assert (findings.origin.text, findings.own) == (f"spf:{HOME}", False)
    assert one._limiter.borrowed_tokens == 0  # the thread has ended
    assert one.counts["late"] == 0
    zone.records[HOME, "A"] = "198.51.100.7"
    assert not (await one.ask(attempt())).own
    mock_clock.jump(10)
    assert (await one.ask(attempt())).own


async def test_what_breaks_it_costs_no_pass(monkeypatch, caplog):
    def broken(question, session, is_own):
        raise ZeroDivisionError

    monkeypatch.setattr("multigrey_spf.own_hosts", broken)
    one = spf({RECORD: "v=spf1 ip4:192.0.2.1 -all"})
    findings = await one.ask(attempt())
    assert (findings.traits, findings.own) == ({"spf:pass"}, False)
    assert one.counts["broken"] == 1
    assert "the hosts of example.org could not be counted" in caplog.text


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (scattered(16), False),
        (scattered(17), True),
        (" ".join(f"ip4:5.{number}.1.0/24" for number in range(30)), False),
        ("ip4:5.0.0.0/8 " + scattered(17), True),
        ("ip4:192.0.2.0/24", False),
    ],
)
def test_single_hosts_in_too_many_networks_are_no_sender(terms, expected):
    session = Session(asking(records(_=f"{terms} -all"), []))
    question = Question(ip_address(V4), HOME, "alice", "mx.example.org", HOME)
    found = own_hosts(question, session, lambda name: registered_domain(name) == HOME)
    assert found.scattered is expected
    assert not (found.own and expected)
