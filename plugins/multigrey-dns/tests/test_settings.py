"""`[plugins.dns]`: what is accepted, what is refused, and what follows from it."""

from __future__ import annotations

import re

import pytest
from multigrey_dns.codes import parse_pattern
from multigrey_dns.settings import DnsSettings
from multigrey_dns.zones import KnownEntries
from pydantic import ValidationError

WL = {"name": "good", "zone": "good.example.org", "levels": ["medium"]}
BL = {"name": "bad", "zone": "bad.example.org"}


def settings(**table) -> DnsSettings:
    return DnsSettings.model_validate(table)


def test_by_default_nobody_is_asked():
    made = settings()
    assert made.tables == ()
    assert made.traits == frozenset()
    assert (made.budget, made.questions, made.test_every) == (0.4, 200, 3600)
    assert (made.cache_min, made.cache_max, made.cache_size) == (10, 3600, 10_000)


def test_traits():
    made = settings(blocklist=[BL, {**BL, "name": "worse", "weight": 4}], score={"suspicious": 2, "bad": 5})
    assert made.traits == {"dnsbl:bad", "dnsbl:worse", "dnsbl-score:suspicious", "dnsbl-score:bad"}


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]", ("::1", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_name_servers(text, server):
    assert settings(nameservers=[text]).servers == [server]


def test_a_zone_is_written_in_one_way():
    assert settings(blocklist=[{**BL, "zone": "Bad.Example.ORG."}]).blocklist[0].zone == "bad.example.org"


@pytest.mark.parametrize(
    ("change", "entries"),
    [
        ({}, KnownEntries("2.0.0.127", "1.0.0.127")),
        ({"of": "sender-domain"}, KnownEntries("test", "invalid")),
        ({"of": "helo"}, KnownEntries("test", "invalid")),
        ({"of": "client-name"}, KnownEntries("test", "invalid")),
        ({"of": "helo", "test_listed": "Listed.example.com"}, KnownEntries("listed.example.com", "invalid")),
        ({"test_listed": "192.0.2.1"}, KnownEntries("1.2.0.192", "1.0.0.127")),
        (
            {"test_unlisted": "::ffff:7f00:1"},
            KnownEntries("2.0.0.127", "1.0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20),
        ),
        ({"test": False}, None),
    ],
)
def test_entries_to_test(change, entries):
    made = settings(blocklist=[{**BL, **change}])
    assert made.blocklist[0].options(made).test == entries


def test_options_of_a_zone():
    made = settings(whitelist=[WL], blocklist=[BL], cache_min="5s", cache_max="2m", cache_size=7)
    good, bad = (table.options(made) for table in made.tables)
    refused = tuple(map(parse_pattern, ("127.0.0.1", "127.255.255.*")))
    assert bad.refused == refused
    assert good.refused == (*refused, parse_pattern("127.0.0.255"))
    assert (bad.cache_min, bad.cache_max, bad.cache_size) == (5, 120, 7)


def test_lists_of_names_may_share_a_zone_that_also_lists_addresses():
    made = settings(
        blocklist=[
            BL,
            {**BL, "name": "senders", "of": "sender-domain", "test_listed": "listed.example.com"},
            {**BL, "name": "helos", "of": "helo", "test_listed": "listed.example.com"},
        ]
    )
    assert len(made.tables) == 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"nameserver": ["127.0.0.1"]}, "Extra inputs are not permitted"),
        ({"nameservers": ["localhost"]}, "expected a name server such as"),
        ({"nameservers": ["127.0.0.1:0"]}, "expected a name server such as"),
        ({"nameservers": ["127.0.0.1:65536"]}, "expected a name server such as"),
        ({"nameservers": ["::1:"]}, "expected a name server such as"),
        ({"nameservers": ["127.0.0.1:"]}, "expected a name server such as"),
        ({"nameservers": ["1.2.3.4.5"]}, "expected a name server such as"),
        ({"budget": "5ms"}, "too short"),
        ({"budget": "11s"}, "too long"),
        ({"budget": 1}, "has no unit"),
        ({"questions": 0}, "greater than or equal to 1"),
        ({"cache_min": "2m", "cache_max": "1m"}, "cache_min is longer than cache_max"),
        ({"test_every": "10s"}, "too short"),
        ({"blocklist": [{"name": "bad"}]}, "zone\n  Field required"),
        ({"blocklist": [{"zone": "bad.example.org"}]}, "name\n  Field required"),
        ({"blocklist": [{**BL, "name": "two words"}]}, "expected up to 50 letters"),
        ({"blocklist": [{**BL, "name": "-"}]}, "expected up to 50 letters"),
        ({"blocklist": [{**BL, "name": "x" * 51}]}, "expected up to 50 letters"),
        ({"blocklist": [{**BL, "zone": "org"}]}, "expected the domain of a DNS list"),
        ({"blocklist": [{**BL, "zone": "bad..example.org"}]}, "expected the domain of a DNS list"),
        ({"blocklist": [{**BL, "zone": "*.example.org"}]}, "expected the domain of a DNS list"),
        ({"blocklist": [{**BL, "zone": ".".join(["a" * 47] * 4)}]}, "is too long"),
        ({"blocklist": [{**BL, "of": "recipient"}]}, "Input should be 'client-address'"),
        ({"blocklist": [{**BL, "codes": []}]}, "at least 1 item"),
        ({"blocklist": [{**BL, "codes": ["10.0.0.2"]}]}, "begin with 127"),
        ({"blocklist": [{**BL, "refused": ["never"]}]}, "not a pattern of return codes"),
        ({"blocklist": [{**BL, "weight": -1}]}, "greater than or equal to 0"),
        ({"blocklist": [{**BL, "weight": 1.5}]}, "valid integer"),
        ({"blocklist": [{**BL, "test_listed": "example.com"}]}, "must be an IP address, got 'example.com'"),
        ({"blocklist": [{**BL, "of": "helo", "test_listed": "a..b"}]}, "must be a domain name, got 'a..b'"),
        ({"blocklist": [{**BL, "test": False, "test_listed": "127.0.0.2"}]}, "no meaning with test = false"),
        ({"blocklist": [BL, {**BL, "zone": "b.example.org"}]}, "two tables blocklist have the name bad"),
        ({"blocklist": [BL], "score": {"bad": 2}}, "score.bad: 2 is never reached: all weights together"),
        ({"blocklist": [BL], "score": {"bad": 0}}, "greater than or equal to 1"),
        ({"blocklist": [BL], "score": {"a:b": 1}}, "'a:b': expected up to 50 letters"),
        (
            {"blocklist": [BL, {**BL, "name": "other", "refused": ["127.0.0.9"]}]},
            "bad and other have the same zone",
        ),
        ({"whitelist": [{**WL, "levels": None}]}, "either levels (none, low, medium, high) or codes"),
        ({"whitelist": [{**WL, "levels": []}]}, "either levels (none, low, medium, high) or codes"),
        ({"whitelist": [{**WL, "codes": ["127.0.0.2"]}]}, "either levels (none, low, medium, high) or codes"),
        ({"whitelist": [{**WL, "levels": ["extreme"]}]}, "Input should be 'none'"),
        ({"whitelist": [{**WL, "of": "sender-domain"}]}, "Input should be 'client-address' or 'client-name'"),
        ({"whitelist": [{**WL, "of": "helo"}]}, "Input should be 'client-address' or 'client-name'"),
        ({"whitelist": [{**WL, "owner": 'the "team"'}]}, "without double quotes"),
        ({"whitelist": [{**WL, "owner": "a\nb"}]}, "without double quotes"),
        ({"whitelist": [WL, WL]}, "two tables whitelist have the name good"),
    ],
)
def test_settings_that_cannot_be_meant(table, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        settings(**table)
