"""The plugins that come with multigrey, in one registry: each has its vote, whatever befalls the others."""

from __future__ import annotations

import importlib
import itertools
import tomllib
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
import trio.testing

from multigrey.config.load import load
from multigrey.daemon.assembly import assemble, check
from multigrey.engine.engine import Engine
from multigrey.errors import ConfigError, PluginError
from multigrey.model import Action, Attempt, Match, Reason
from multigrey.plugins.loader import load_plugins
from tests.support.clocks import FakeClock
from tests.support.engines import SITE_KEY, memory_store
from tests.support.plugins import Settings, SlowSource, plugin, point

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {
    path.parent.name.removeprefix("multigrey-"): path
    for path in ROOT.glob("plugins/*/pyproject.toml")
    if path.parent.name != "multigrey-web"  # it has no vote: it only shows
}

CONFIG = """
[greylist]
key = ["asn", "sender", "recipient"]
delay = "2m"
unnamed_delay = "2m"

[limits]
slow = "2s"

[plugins.geoip]
asn = "{directory}/asn.mmdb"
country = "{directory}/country.mmdb"
countries = ["DE"]

[plugins.spf]
budget = 1.5

[plugins.dns]
budget = "1500ms"
score = {{ bad = 2 }}

[[plugins.dns.whitelist]]
name = "good"
zone = "good.example.net"
codes = ["127.0.0.2"]

[[plugins.dns.blocklist]]
name = "bad"
zone = "bad.example.net"
weight = 2

[[rule]]
name = "listed and forged"
traits = ["dnsbl-score:bad", "spf:fail"]
action = "reject"

[[rule]]
name = "listed"
traits = ["dnsbl:bad"]
action = "greylist"
delay = "10m"

[[rule]]
name = "forged"
traits = ["spf:fail"]
action = "greylist"
delay = "15m"

[[rule]]
name = "abroad"
when = {{ trait = "country:DE" }}
action = "greylist"
delay = "5m"

[[rule]]
name = "clean but not authorised"
when = {{ not = {{ trait = ["spf:pass", "dnsbl:bad"] }} }}
action = "greylist"
delay = "3m"
"""

PLAIN, LISTED, ALLOWED, ABROAD = "198.51.100.1", "198.51.100.2", "198.51.100.3", "192.0.2.1"
NEIGHBOUR = "203.0.113.9"
"""Another network of the AS that PLAIN is in."""
FORGING = "alice@strict.example.org"
"""The domain authorises NEIGHBOUR alone."""
SPF = {
    ("strict.example.org", "TXT"): f"v=spf1 ip4:{NEIGHBOUR} -all",
    ("open.example.org", "TXT"): "v=spf1 ?all",
}


def module(name):
    """A module of one of the plugins, or of its tests."""
    return importlib.import_module(name)


def install(directory, names):
    """What installing the plugins writes beside the packages, so that their entry points are found."""
    for name in names:
        project = tomllib.loads(SHIPPED[name].read_text())["project"]
        info = directory / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        points = project["entry-points"]["multigrey"].items()
        lines = ["[multigrey]", *(f"{word} = {value}" for word, value in points)]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs all of them, or those that are named."""

    def installed(*names):
        for path in SHIPPED.values():
            monkeypatch.syspath_prepend(path.parent)
            monkeypatch.syspath_prepend(path.parent / "tests")
        install(tmp_path / "site", names or SHIPPED)
        monkeypatch.syspath_prepend(tmp_path / "site")

    return installed


@pytest.fixture
def dns(installed, monkeypatch):
    """What the plugins ask instead of name servers: the lists of `dns`, the zone of `spf`."""
    installed()
    lists = module("fakeresolver").FakeResolver()
    lists.refresh = lambda: None
    lists.sound("good.example.net", "bad.example.net")
    lists.names["2.100.51.198.bad.example.net"] = ["127.0.0.2"]
    lists.names["3.100.51.198.good.example.net"] = ["127.0.0.2"]
    monkeypatch.setattr("multigrey_dns.StubResolver", lambda *_: lists)
    zone = module("spfzone").Zone(SPF)
    monkeypatch.setattr("multigrey_spf.StubResolver", lambda *_: zone)
    lists.spf = zone
    return lists


def written(directory, text=CONFIG):
    """The configuration, with the small databases it names."""
    write = module("mmdb").write
    asns = {"198.51.100.0/24": 64496, "203.0.113.0/24": 64496, "192.0.2.0/24": 64497}
    write(directory / "asn.mmdb", {net: {"autonomous_system_number": number} for net, number in asns.items()})
    write(directory / "country.mmdb", {"192.0.2.0/24": {"country": {"iso_code": "DE"}}})
    path = directory / "multigrey.toml"
    path.write_text(text.format(directory=directory))
    path.chmod(0o600)
    return load(path, {"STATE_DIRECTORY": str(directory)})


class Running:
    """An engine with all plugins, their services running."""

    def __init__(self, assembly, store, clock) -> None:
        self.registry = assembly.registry
        self.clock = clock
        self.events = []
        self.engine = Engine(
            clock=clock,
            store=store,
            setup=assembly.setup,
            ids=(f"id{number}" for number in itertools.count()),
            host="mx.example.org",
            version="0",
            subscribers=(self.events.append,),
        )

    async def judge(self, client=PLAIN, sender="alice@open.example.org"):
        """The reply, and the name of the rule."""
        one = Attempt("test", ip_address(client), None, "mx.example.org", sender, "bob@example.net")
        reply = await self.engine.judge(one, "pass")
        return reply, self.events[-1].verdict.rule

    async def rule(self, *what):
        return (await self.judge(*what))[1]


@pytest.fixture
async def start(dns, tmp_path, nursery):
    async def start():
        clock = FakeClock()
        assembly = assemble(written(tmp_path), SITE_KEY, clock)
        store = memory_store()
        await nursery.start(store.run)
        for service in assembly.registry.services.values():
            await nursery.start(service.run)
        await trio.testing.wait_all_tasks_blocked()
        dns.questions.clear()
        return Running(assembly, store, clock)

    yield start
    nursery.cancel_scope.cancel()


# --- all of them -----------------------------------------------------------------------------------


def test_there_are_three():
    assert set(SHIPPED) == {"dns", "geoip", "spf"}


def test_they_are_found_by_their_entry_points(dns, tmp_path):
    infos = {info.name: info.distribution for info in load_plugins(None).infos}
    assert {name: infos.get(name) for name in SHIPPED} == {
        name: f"multigrey-{name} 0.2.0" for name in SHIPPED
    }
    assembly = assemble(written(tmp_path), SITE_KEY)
    assert assembly.warnings == ()
    registry = assembly.registry
    mine = {kind: [] for kind in ("key component", "trait", "slow source", "service")}
    for (kind, name), owner in registry.owners.items():
        if owner.name in SHIPPED:
            mine[kind].append((owner.name, name))
    assert mine == {
        "key component": [("geoip", "asn"), ("geoip", "country")],
        "trait": [("geoip", "country:DE")],
        "slow source": [("dns", "dns"), ("spf", "spf")],
        "service": [("dns", "dns"), ("geoip", "geoip")],
    }


@pytest.mark.parametrize(
    ("client", "sender", "action", "rule", "wait"),
    [
        (PLAIN, "alice@open.example.org", Action.DEFER, "clean but not authorised", 180),
        (ABROAD, "alice@open.example.org", Action.DEFER, "abroad", 300),
        (LISTED, "alice@open.example.org", Action.DEFER, "listed", 600),
        (PLAIN, FORGING, Action.DEFER, "forged", 900),
        (LISTED, FORGING, Action.REJECT, "listed and forged", 0),
        (NEIGHBOUR, FORGING, Action.DEFER, "", 120),
    ],
)
async def test_each_has_its_vote(start, client, sender, action, rule, wait):
    running = await start()
    reply, decided = await running.judge(client, sender)
    assert (reply.action, decided, reply.retry_after) == (action, rule, wait)
    assert running.registry.counters.failures == {}


async def test_a_whitelist_of_one_is_stronger_than_the_traits_of_others(start):
    running = await start()
    reply, _ = await running.judge(ALLOWED, FORGING)
    assert (reply.action, reply.reason) == (Action.PASS, Reason.WHITELISTED)
    assert running.events[-1].verdict.match == Match("dnswl:good", "127.0.0.2", "")


async def test_a_known_sender_asks_nobody(start, dns):
    running = await start()
    await running.judge()
    assert len(dns.questions) == 2
    assert dns.spf.asked == [("open.example.org", "TXT")]
    running.clock.advance(180)
    reply, _ = await running.judge(NEIGHBOUR)  # another host of the same AS: the key is geoip's
    assert reply.reason is Reason.RETRY
    asked = len(dns.questions), len(dns.spf.asked)
    for client in (PLAIN, NEIGHBOUR):
        running.clock.advance(86_400)
        reply, _ = await running.judge(client)
        assert reply.reason is Reason.KNOWN
    assert (len(dns.questions), len(dns.spf.asked)) == asked


# --- one of them is broken -------------------------------------------------------------------------


async def never_awaited(self, attempt):
    pytest.fail("nobody should run this")


def raising(self, attempt):
    raise RuntimeError("broken")


BROKEN = {
    "raises": raising,
    "leaves the program": lambda self, attempt: exit(3),
    "a wrong type": lambda self, attempt: 7,
    "a coroutine nobody awaits": never_awaited,
}
SLOW_SOURCES = {"dns": "multigrey_dns.DnsSource.ask", "spf": "multigrey_spf.SpfSource.ask"}
VOTES = {
    # plugin: client, sender, and the rule that its vote leads to
    "dns": (LISTED, "alice@open.example.org", "listed"),
    "spf": (PLAIN, FORGING, "forged"),
    "geoip": (ABROAD, "alice@open.example.org", "abroad"),
}


async def assert_votes(running, broken):
    """The others' votes are as they were, and nobody is judged for what nobody could tell."""
    for name, (client, sender, rule) in VOTES.items():
        if name != broken:
            assert await running.rule(client, sender) == rule, name
    client, sender, rule = VOTES[broken]
    assert await running.rule(client, sender) != rule
    assert set(running.registry.counters.failures) == {broken}
    assert (await running.judge(ALLOWED))[0].action is (Action.DEFER if broken == "dns" else Action.PASS)


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("broken", SLOW_SOURCES)
async def test_a_slow_source_that_is_broken(start, monkeypatch, broken, how):
    function = BROKEN[how]

    async def ask(self, attempt):
        await trio.lowlevel.checkpoint()
        return function(self, attempt)

    monkeypatch.setattr(SLOW_SOURCES[broken], ask)
    running = await start()
    await assert_votes(running, broken)
    assert await running.rule(PLAIN) == "", "what is not known to be missing cannot be asked for by `not`"


@pytest.mark.parametrize("broken", SLOW_SOURCES)
async def test_a_slow_source_that_never_ends(start, monkeypatch, mock_clock, broken):
    """The other one has answered when the time is over."""
    (other,) = SLOW_SOURCES.keys() - {broken}
    package, class_, method = SLOW_SOURCES[other].split(".")
    original = getattr(getattr(module(package), class_), method)
    answered = trio.Event()

    async def ask(self, attempt):
        try:
            return await original(self, attempt)
        finally:
            answered.set()

    async def hang(self, attempt):
        nonlocal answered
        await answered.wait()
        answered = trio.Event()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(2)
        await trio.sleep_forever()

    monkeypatch.setattr(SLOW_SOURCES[other], ask)
    monkeypatch.setattr(SLOW_SOURCES[broken], hang)
    running = await start()
    await assert_votes(running, broken)
    assert await running.rule(PLAIN) == ""


@pytest.mark.parametrize("how", BROKEN)
async def test_a_trait_and_a_key_component_that_are_broken(start, monkeypatch, how):
    monkeypatch.setattr("multigrey_geoip.CountryIs.holds", wrapped(BROKEN[how]))
    monkeypatch.setattr("multigrey_geoip.Asn.text", wrapped(BROKEN[how]))
    running = await start()
    await assert_votes(running, "geoip")
    reply, _ = await running.judge()
    running.clock.advance(reply.retry_after)
    assert (await running.judge(NEIGHBOUR))[0].reason is Reason.NEW, "the network stands in for the AS"
    assert (await running.judge())[0].reason is Reason.RETRY


def wrapped(function):
    """A plain function that gives what this one gives: `async def` itself would not be registered."""
    return lambda self, attempt: function(self, attempt)  # noqa: PLW0108  (what is wrapped may be async)


@pytest.mark.parametrize("broken", SHIPPED)
def test_one_that_cannot_be_imported(installed, tmp_path, monkeypatch, broken):
    installed(*SHIPPED.keys() - {broken})
    site = tmp_path / "broken" / f"multigrey_{broken}-0.1.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text(f"Metadata-Version: 2.1\nName: multigrey-{broken}\nVersion: 0.1.0\n")
    (site / "entry_points.txt").write_text(f"[multigrey]\n{broken} = multigrey_gone.{broken}\n")
    monkeypatch.syspath_prepend(site.parent)
    zone = "[[plugins.dns.blocklist]]\nname = 'bad'\nzone = 'bad.example.net'\n"
    tables = {
        "dns": f"[plugins.dns]\nnameservers = ['127.0.0.1']\n{zone}",
        "spf": "[plugins.spf]\nnameservers = ['127.0.0.1']\n",
        "geoip": "[plugins.geoip]\ncountry = '{directory}/country.mmdb'\n",
    }
    others = "".join(text for name, text in tables.items() if name != broken)
    assembly = assemble(written(tmp_path, others), SITE_KEY)
    owners = {owner.name for owner in assembly.registry.owners.values()}
    assert owners & SHIPPED.keys() == SHIPPED.keys() - {broken}
    (warning,) = assembly.warnings
    assert f"plugin {broken} (multigrey-{broken} 0.1.0) could not be loaded" in warning
    with pytest.raises((ConfigError, PluginError), match="could not be loaded"):
        assemble(written(tmp_path, "".join(tables.values())), SITE_KEY)


# --- their time ------------------------------------------------------------------------------------

LISTS = "[[plugins.dns.blocklist]]\nname = 'bad'\nzone = 'bad.example.net'\n"


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("", {}),
        (LISTS, {}),
        ("[plugins.spf]\nbudget = 0.49\n", {}),
        ("[plugins.spf]\nbudget = 0.5\n", {"spf": 2}),
        ("[plugins.spf]\nbudget = 2\n[limits]\nslow = '2500ms'\n", {}),
        ("[plugins.dns]\nbudget = '600ms'\n" + LISTS, {"dns": 2}),
        ("[plugins.dns]\nbudget = '600ms'\n", {}),  # without a list it asks nobody
        ("[plugins.spf]\nbudget = 1\n[plugins.dns]\nbudget = '1s'\n" + LISTS, {"dns": 4, "spf": 2}),
        ("[limits]\nslow = '300ms'\n", {"spf": None}),
        ("[limits]\nslow = '300ms'\n" + LISTS, {"dns": None, "spf": None}),
    ],
)
def test_a_budget_that_is_not_shorter_than_slow_is_warned_of(dns, tmp_path, text, warned):
    loaded = written(tmp_path, text)
    problems, warnings = check(loaded)
    assert problems == []
    assert len(warnings) == len(warned)
    for warning, (name, line) in zip(warnings, sorted(warned.items()), strict=True):
        assert f": plugins.{name}.budget: " in warning
        assert "is not shorter than slow in [limits] (" in warning
        assert line is None or warning.startswith(f"{loaded.path}:{line}: ")


@pytest.mark.parametrize(
    ("type_", "budget", "warned"),
    [
        (float, 1.0, True),
        (int, 1, True),
        (float, 0.1, False),
        (str, "1s", False),
        (float | None, None, False),
    ],
)
def test_whose_budget_is_no_number_of_seconds_is_not_compared(
    installed, tmp_path, monkeypatch, type_, budget, warned
):
    installed("geoip")
    model = type("Made", (Settings,), {"__annotations__": {"budget": type_}, "budget": budget})
    made = plugin(lambda registry, settings: registry.slow_source("made", SlowSource()), "made", model)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point("made", made)])
    _, warnings = check(written(tmp_path, "[plugins.made]\n"))
    assert any("plugins.made.budget" in warning for warning in warnings) is warned
