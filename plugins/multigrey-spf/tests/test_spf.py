"""The plugin under multigrey's contract: settings, what it registers, what the source finds."""

from __future__ import annotations

import logging
import re
import threading
import tomllib
from importlib.metadata import EntryPoint
from ipaddress import ip_address

import dns.rcode
import multigrey_spf
import pytest
import trio
import trio.testing
from dnsserver import DnsServer, failing, silent, truncated
from multigrey_spf import SpfSettings, SpfSource, question_of
from multigrey_spf.dnslookup import StubResolver
from pydantic import ValidationError
from spfzone import SILENCE, TROUBLE, Zone, attempt, source

from multigrey.api import Findings, Origin, PluginError
from multigrey.config.tables.rule import RuleTable
from multigrey.plugins.loader import load_plugins
from multigrey.rules.rules import Rules

RESULTS = ("pass", "fail", "softfail", "neutral", "none", "temperror", "permerror")
RECORD = ("example.org", "TXT")


@pytest.fixture
def entry_point(package):
    """The one that installing the distribution would make."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["multigrey"].items()
    return EntryPoint(name, value, "multigrey")


@pytest.fixture
def register(entry_point):
    def register(**table):
        plugins = load_plugins(None, entry_points=[entry_point])
        model = plugins.settings_models()["spf"]
        return plugins.register({"spf": model.model_validate(table)})

    return register


def found(result, domain=None, *, own=False):
    """Findings of one result, and of an origin if there is a domain, whose own record lists the client."""
    origin = None if domain is None else Origin(f"spf:{domain}", named=True)
    others = frozenset(f"spf:{other}" for other in RESULTS if other != result)
    unanswered = others if result == "temperror" else frozenset()
    return Findings(
        origin=origin,
        traits=frozenset({f"spf:{result}"}),
        unanswered=unanswered,
        own=own,
        listed_by=() if domain is None else (domain,),
    )


# --- the plugin ---


def test_the_entry_point_leads_here(entry_point):
    assert entry_point.name == "spf"
    assert entry_point.load() is multigrey_spf
    plugins = load_plugins(None, entry_points=[entry_point])
    assert [info.name for info in plugins.infos] == ["multigrey", "spf"]
    assert plugins.settings_models() == {"spf": SpfSettings}


def test_all_it_registers(register):
    built = register(nameservers=["127.0.0.1"])
    assert {key for key, owner in built.owners.items() if owner.name == "spf"} == {("slow source", "spf")}
    assert built.slow_sources["spf"].traits == {f"spf:{result}" for result in RESULTS}
    assert built.warnings == []


def test_without_a_name_server_it_is_an_error_that_says_what_to_do(register, monkeypatch):
    def nothing(configure):
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.asyncresolver, "Resolver", nothing)
    with pytest.raises(PluginError, match=r"plugin spf .*set nameservers in \[plugins\.spf\]"):
        register()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"budget": 0.01}, "budget"),
        ({"budget": 11}, "budget"),
        ({"budget": "500ms"}, "budget"),
        ({"nameservers": ["ns.example.org"]}, "'ns.example.org' is not an IP address"),
        ({"nameservers": "192.0.2.53"}, "nameservers"),
        ({"nameservers": ["192.0.2.53", "192.0.2.53"]}, "listed twice in nameservers"),
        ({"nameservers": ["2001:db8::53", "2001:DB8:0::53"]}, "listed twice in nameservers"),
        ({"nameservers": [f"192.0.2.{n}" for n in range(9)]}, "nameservers"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"checks": 0}, "checks"),
        ({"checks": 401}, "checks"),
        ({"min_ttl": 0}, "min_ttl"),
        ({"max_ttl": 86401}, "max_ttl"),
        ({"min_ttl": 60, "max_ttl": 59}, "max_ttl must not be less than min_ttl"),
        ({"cache": 99}, "cache"),
        ({"failures": 0}, "failures"),
        ({"pause": 0}, "pause"),
        ({"pause": 301}, "pause"),
        ({"timeout": 1}, "timeout"),
    ],
)
def test_settings_that_cannot_be_meant(table, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        SpfSettings.model_validate(table)


def test_the_readme_shows_every_setting_as_it_is_without_one(package):
    text = (package / "README.md").read_text()
    start = text.index("    [plugins.spf]")
    block = text[start : text.index("\n\n| ", start)]
    config = tomllib.loads("\n".join(line.removeprefix("    ") for line in block.splitlines()))
    table = config["plugins"]["spf"]
    assert set(table) == set(SpfSettings.model_fields)
    assert SpfSettings.model_validate(table) == SpfSettings()
    rule = RuleTable.model_validate(config["rule"][0])
    assert rule.delay == 900
    assert set(config["rule"][0]["traits"]) <= SpfSource.traits
    assert all(f"`spf:{result}`" in text for result in RESULTS)


# --- who is asked about ---


@pytest.mark.parametrize(
    ("sender", "helo", "domain"),
    [
        ("alice@example.org", "mx.example.net", "example.org"),
        ("Alice@EXAMPLE.Org.", "mx.example.net", "example.org"),
        ("a@b@example.org", "mx.example.net", "example.org"),
        ("alice@b\xfccher.example", "mx.example.net", "xn--bcher-kva.example"),
        ("@example.org", "mx.example.net", "example.org"),
        ("\udcff\udcfe@example.org", "mx.example.net", "example.org"),
        ("alice@example.org", "\udcff", "example.org"),
        ("", "MX.example.net.", "mx.example.net"),
        ("", "mx", None),
        ("", "", None),
        ("", "[192.0.2.1]", None),
        ("", "192.0.2.1", None),
        ("", "[IPv6:2001:db8::1]", None),
        ("alice", "mx.example.net", None),
        ("alice@", "mx.example.net", None),
        ("alice@localhost", "mx.example.net", None),
        ("alice@host.local", "mx.example.net", None),
        ("alice@[192.0.2.1]", "mx.example.net", None),
        ("alice@a..example.org", "mx.example.net", None),
        ("alice@.example.org", "mx.example.net", None),
        ("alice@" + "a" * 64 + ".example.org", "mx.example.net", None),
        ("alice@" + ".".join(["a" * 50] * 6), "mx.example.net", None),
        ("alice@%{i}.example.org", "mx.example.net", None),
        ("alice@exam ple.org", "mx.example.net", None),
        ("alice@\udcff.example.org", "mx.example.net", None),
        ("x" * 100_000, "y" * 100_000, None),
    ],
)
async def test_the_domain_that_is_asked(sender, helo, domain):
    question = question_of(attempt(sender=sender, helo=helo))
    assert (question and question.domain) == domain
    zone = Zone({(domain, "TXT"): "v=spf1 ip4:192.0.2.0/24 -all"})
    findings = await source(zone).ask(attempt(sender=sender, helo=helo))
    assert findings == (found("none") if domain is None else found("pass", domain))
    assert zone.asked == ([] if domain is None else [(domain, "TXT")])


@pytest.mark.parametrize(
    "address", [None, "10.0.0.1", "192.168.1.1", "127.0.0.1", "::1", "fe80::1", "fc00::1"]
)
async def test_nobody_is_asked_about_local_clients(address):
    zone = Zone({RECORD: "v=spf1 +all"})
    assert await source(zone).ask(attempt(address)) == Findings()
    assert zone.asked == []


async def test_nobody_is_asked_about_raw_keys():
    zone = Zone({RECORD: "v=spf1 +all"})
    assert await source(zone).ask(attempt(raw="some words")) == Findings()
    assert zone.asked == []


async def test_the_null_sender_is_asked_about_by_helo():
    spf = source({("mx.example.org", "TXT"): "v=spf1 a -all", ("mx.example.org", "A"): "192.0.2.1"})
    assert await spf.ask(attempt(sender="")) == found("pass", "mx.example.org")
    assert await spf.ask(attempt("198.51.100.1", sender="")) == found("fail")


# --- what is found ---


@pytest.mark.parametrize(
    ("record", "findings"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", found("pass", "example.org")),
        ("v=spf1 +all", found("pass")),
        ("v=spf1 -all", found("fail")),
        ("v=spf1 ~all", found("softfail")),
        ("v=spf1 ?all", found("neutral")),
        ("v=spf1", found("neutral")),
        ("no record of ours", found("none")),
        ((), found("none")),
        (("v=spf1 -all", "v=spf1 -all"), found("permerror")),
        ("v=spf1 ip4:nonsense -all", found("permerror")),
        ("v=spf1 ip4:192.0.2.\xb2 -all", found("permerror")),
        (TROUBLE, found("temperror")),
    ],
)
async def test_results(record, findings):
    spf = source({RECORD: record})
    assert await spf.ask(attempt()) == findings
    assert findings.traits <= spf.traits
    assert spf.counts[next(iter(findings.traits)).removeprefix("spf:")] == 1


async def test_a_pool_over_unrelated_networks_is_one_origin():
    pool = [f"{net}.{host}" for net in ("192.0.2", "198.51.100", "203.0.113") for host in range(1, 13)]
    pool += ["2001:db8:1::25", "2001:db8:ffff::25"]
    spf = source(
        {
            RECORD: "v=spf1 include:one.example.net redirect=two.example.net",
            ("one.example.net", "TXT"): "v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 -all",
            ("two.example.net", "TXT"): "v=spf1 mx ip6:2001:db8::/32 ~all",
            ("two.example.net", "MX"): ((10, "out.example.net"),),
            ("out.example.net", "A"): tuple(f"203.0.113.{n}" for n in range(1, 13)),
        }
    )
    origins = {(await spf.ask(attempt(address))).origin for address in pool}
    assert origins == {Origin("spf:example.org", named=True)}


@pytest.mark.parametrize(
    "record",
    ["+all", "ip4:0.0.0.0/1 ip4:128.0.0.0/1", "exists:%{i}.x.example.org", "include:all.example.org"],
)
async def test_five_hundred_bots_with_one_domain_have_no_origin(record):
    class Open(Zone):
        async def resolve(self, name, kind):
            if name.endswith(".x.example.org") and kind == "A":
                self.records[name, kind] = ("127.0.0.2",)
            return await super().resolve(name, kind)

    spf = source(Open({RECORD: f"v=spf1 {record} -all", ("all.example.org", "TXT"): "v=spf1 all"}))
    for n in range(500):
        address = str(ip_address(0x05000000 + n * 0x00630017 % 0x4FFFFFFF))
        findings = await spf.ask(attempt(address))
        assert findings.origin is None
        assert findings.traits <= spf.traits
    assert spf.counts["authorised"] == 0
    assert spf.counts["pass"] > 450  # some of the addresses are local ones


@pytest.mark.parametrize(
    ("record", "matching"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", ["pass"]),
        ("v=spf1 -all", ["not pass"]),
        ((), ["not pass"]),
        (TROUBLE, ["temperror"]),
    ],
)
async def test_a_rule_for_what_does_not_pass_needs_a_result(record, matching):
    seen = await source({RECORD: record}).ask(attempt())
    origin = Origin("example.org", named=True)
    conditions = {
        "pass": {"trait": "spf:pass"},
        "not pass": {"not": {"trait": "spf:pass"}},
        "temperror": {"trait": "spf:temperror"},
    }
    rules = {
        name: Rules([RuleTable.model_validate({"name": name, "action": "defer", "when": when})])
        for name, when in conditions.items()
    }
    told = (attempt(), origin, "", 0, seen.traits, seen.unanswered)
    assert [name for name, one in rules.items() if one.evaluate(*told)] == matching


# --- the memory ---


async def test_a_result_is_remembered_for_client_and_domain(mock_clock):
    zone = Zone({RECORD: "v=spf1 a -all", ("example.org", "A"): "192.0.2.1"}, ttls={RECORD: 300}, ttl=60)
    spf = source(zone)
    for sender in ("alice@example.org", "bob@EXAMPLE.org"):
        assert await spf.ask(attempt(sender=sender)) == found("pass", "example.org")
    assert len(zone.asked) == 2
    assert spf.counts["remembered"] == 1
    assert await spf.ask(attempt("192.0.2.2")) == found("fail")
    assert len(zone.asked) == 2  # another client: another check, of the same answers
    assert spf.counts["remembered"] == 1
    mock_clock.jump(60)  # the shortest TTL
    zone.records["example.org", "A"] = "192.0.2.2"
    assert await spf.ask(attempt()) == found("fail")
    assert zone.asked[2:] == [("example.org", "A")]


async def test_a_result_that_depends_on_the_sender_is_not_remembered():
    spf = source({RECORD: "v=spf1 exists:%{l}.e.example.org -all", ("alice.e.example.org", "A"): "127.0.0.2"})
    assert await spf.ask(attempt(sender="alice@example.org")) == found("pass")
    assert await spf.ask(attempt(sender="bob@example.org")) == found("fail")
    assert spf.counts["remembered"] == 0


# --- trouble ---


async def test_time_is_over(mock_clock, nursery, caplog):
    zone = Zone({RECORD: SILENCE})
    spf = source(zone)
    answers = []

    async def ask(*what):
        answers.append(await spf.ask(*what))

    nursery.start_soon(ask, attempt())
    await zone.waiting.wait()
    mock_clock.jump(0.39)
    await trio.testing.wait_all_tasks_blocked()
    assert answers == []
    mock_clock.jump(0.02)
    while not answers:
        await trio.testing.wait_all_tasks_blocked(0.001)
    assert answers == [found("temperror")]
    assert spf._running == 0
    assert spf._limiter.borrowed_tokens == 0  # the thread has ended
    assert spf.counts["late"] == 1
    assert "took longer than 0.4 s (budget in [plugins.spf])" in caplog.text
    # neither this client nor another one of the same domain waits for it again soon
    assert await spf.ask(attempt()) == found("temperror")
    assert await spf.ask(attempt("198.51.100.1")) == found("temperror")
    assert len(zone.asked) == 1
    zone.records[RECORD] = "v=spf1 ip4:192.0.2.1 -all"
    mock_clock.jump(10)
    assert await spf.ask(attempt()) == found("pass", "example.org")


async def late(spf, mock_clock, sender):
    """One check whose time is over."""
    spf.lookups._resolver.waiting = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spf.ask, attempt(sender=sender))
        await spf.lookups._resolver.waiting.wait()
        mock_clock.jump(1)


async def test_while_the_name_servers_are_down_nobody_is_asked(mock_clock, caplog):
    zone = Zone({(f"{n}.example", "TXT"): SILENCE for n in range(9)})
    zone.records[RECORD] = "v=spf1 ip4:192.0.2.1 -all"
    spf = source(zone)
    for n in range(5):
        await late(spf, mock_clock, f"a@{n}.example")
    asked = len(zone.asked)
    for n in range(100):
        assert await spf.ask(attempt(sender=f"a@{n}.example.org")) == found("temperror")
    assert len(zone.asked) == asked
    assert spf.counts["paused"] == 100
    assert len([record for record in caplog.records if "do not answer" in record.message]) == 1
    mock_clock.jump(10)  # it finds out by one question without an answer: the pause is longer now
    await late(spf, mock_clock, "a@8.example")
    mock_clock.jump(15)
    assert await spf.ask(attempt()) == found("temperror")
    mock_clock.jump(5)
    assert await spf.ask(attempt()) == found("pass", "example.org")
    assert await spf.ask(attempt(sender="a@none.example")) == found("none")


async def test_cancelling_one_check_harms_no_other(nursery):
    zone = Zone({RECORD: SILENCE, ("example.net", "TXT"): "v=spf1 ip4:192.0.2.1 -all"})
    spf = source(zone)
    before = threading.active_count()
    with trio.CancelScope() as scope:
        nursery.start_soon(cancel_when, zone.waiting, scope)
        await spf.ask(attempt())
    assert scope.cancelled_caught
    assert spf._running == 0
    assert spf._limiter.borrowed_tokens == 0
    assert threading.active_count() <= before + 1  # trio keeps idle threads for a while
    assert await spf.ask(attempt(sender="a@example.net")) == found("pass", "example.net")
    assert not spf.lookups.paused
    assert spf.counts["late"] == 0
    zone.records[RECORD] = "v=spf1 ip4:192.0.2.1 -all"  # a check that the caller cancelled is not a failure
    assert await spf.ask(attempt()) == found("pass", "example.org")


async def cancel_when(event, scope):
    await event.wait()
    scope.cancel()


async def test_no_more_checks_at_once_than_allowed(nursery, caplog):
    class Gate(Zone):
        def __init__(self, records):
            super().__init__(records)
            self.now = 0
            self.most = 0
            self.full = trio.Event()
            self.open = trio.Event()

        async def resolve(self, name, kind):
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == 20:
                self.full.set()
            await self.open.wait()
            self.now -= 1
            return await super().resolve(name, kind)

    zone = Gate({})
    spf = source(zone, checks=20, budget=10)
    answers = []

    async def ask(n):
        answers.append(await spf.ask(attempt(sender=f"a@{n}.example.org")))

    async with trio.open_nursery() as asking:
        for n in range(450):
            asking.start_soon(ask, n)
        await zone.full.wait()
        assert answers == [Findings(unanswered=spf.traits)] * 430  # at once
        zone.open.set()
    assert answers[430:] == [found("none")] * 20
    assert zone.most == 20
    assert spf.counts["busy"] == 430
    assert len([r for r in caplog.records if "more checks at a time" in r.message]) == 1


async def test_what_pyspf_was_not_made_for_is_logged_and_no_more(monkeypatch, caplog):
    def broken(question, session, is_own):
        raise ZeroDivisionError

    monkeypatch.setattr(multigrey_spf, "evaluate", broken)
    spf = source({})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await spf.ask(attempt()) == found("temperror")
    assert spf.counts["broken"] == 3
    assert caplog.text.count("Traceback (most recent call last)") == 1
    assert "the check of example.org failed" in caplog.text


# --- over the wire ---


@pytest.fixture
async def wire(nursery):
    server = DnsServer(
        {
            ("example.org", "TXT"): truncated('300 IN TXT "v=spf1 a -all"'),
            ("example.org", "A"): ("300 IN A 192.0.2.1",),
            ("broken.example", "TXT"): failing(dns.rcode.SERVFAIL),
            ("silent.example", "TXT"): silent,
        }
    )
    await nursery.start(server.run)
    yield server
    nursery.cancel_scope.cancel()


def over(server, **settings):
    wanted = SpfSettings.model_validate({"budget": 5, **settings})
    return SpfSource(wanted, StubResolver(wanted.budget, ["127.0.0.1"], server.port))


async def test_checks_over_the_wire(wire):
    spf = over(wire)
    assert await spf.ask(attempt()) == found("pass", "example.org")
    assert await spf.ask(attempt("192.0.2.2")) == found("fail")
    assert await spf.ask(attempt(sender="a@broken.example")) == found("temperror")
    assert await spf.ask(attempt(sender="a@nowhere.example")) == found("none")
    assert wire.asked[:3] == [
        ("example.org", "TXT", "udp"),
        ("example.org", "TXT", "tcp"),
        ("example.org", "A", "udp"),
    ]
    assert len(wire.asked) == 5


async def test_a_server_that_never_answers_costs_the_budget(wire):
    spf = over(wire, budget=0.05)
    assert await spf.ask(attempt(sender="a@silent.example")) == found("temperror")
    assert wire.silent.is_set()
    assert await spf.ask(attempt()) == found("pass", "example.org")


async def test_the_registered_source_asks_the_configured_server(wire, register):
    built = register(nameservers=["127.0.0.1"], port=wire.port, budget=5)
    assert await built.slow_sources["spf"].ask(attempt()) == found("pass", "example.org", own=True)
    assert built.counters.failures == {}
