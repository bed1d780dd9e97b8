"""The plugin under multigrey's contract, and on an attempt's whole way through an engine."""

from __future__ import annotations

import importlib.metadata
import itertools
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import listserver as ls
import multigrey_dns
import pytest
from multigrey_dns import DnsSettings

from multigrey.api import Action, ConfigError, Match, Reason, StoreOptions
from multigrey.config.load import load
from multigrey.daemon.assembly import assemble
from multigrey.engine.engine import Engine
from multigrey.plugins.loader import load_plugins
from multigrey.stores.memory import MemoryStore

GOOD, BAD = "good.example.org", "bad.example.org"
LISTS = f"""
[greylist]
delay = "2m"
unnamed_delay = "2m"

[plugins.dns]
nameservers = ["SERVER"]
score = {{ bad = 2 }}

[[plugins.dns.whitelist]]
name = "good"
zone = "{GOOD}"
levels = ["medium", "high"]
owner = "postmaster"

[[plugins.dns.blocklist]]
name = "bad"
zone = "{BAD}"
weight = 2

[[rule]]
name = "listed"
traits = ["dnsbl:bad"]
action = "greylist"
delay = "10m"
"""


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.time = 1_000_000_000

    def now(self):
        return self.time

    def monotonic(self):
        return float(self.time)

    def advance(self, seconds):
        self.time += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def assembled(tmp_path, entry_point, monkeypatch, clock):
    """Makes of a configuration what the daemon makes of it, with the plugin installed."""
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry_point])

    def assembled(text):
        path = tmp_path / "multigrey.toml"
        path.write_text(f'state_dir = "{tmp_path}"\n{text}')
        path.chmod(0o600)
        return assemble(load(path, {}), bytes(32), clock)

    return assembled


# --- the contract ---


def test_the_entry_point_leads_here(entry_point):
    assert entry_point.name == "dns"
    assert entry_point.load() is multigrey_dns
    plugins = load_plugins(None, entry_points=[entry_point])
    assert [info.name for info in plugins.infos] == ["multigrey", "dns"]
    assert plugins.settings_models() == {"dns": DnsSettings}


def test_what_it_registers(assembled):
    built = assembled(LISTS.replace("SERVER", "127.0.0.1:5353")).registry
    mine = {key for key, owner in built.owners.items() if owner.name == "dns"}
    assert mine == {("slow source", "dns"), ("service", "dns")}
    assert built.slow_traits == {"dnsbl:bad", "dnsbl-score:bad"}
    assert built.warnings == []


@pytest.mark.parametrize("text", ["", "[plugins.dns]\n", '[plugins.dns]\nbudget = "1s"\n'])
def test_without_a_list_it_registers_nothing(assembled, text):
    built = assembled(text).registry
    assert not any(owner.name == "dns" for owner in built.owners.values())
    assert built.warnings == []


def test_an_error_is_told_with_its_place(assembled):
    wrong = LISTS.replace("SERVER", "127.0.0.1").replace('"medium"', '"much"')
    with pytest.raises(ConfigError) as caught:
        assembled(wrong)
    (problem,) = caught.value.problems
    assert problem.key.startswith("plugins.dns.whitelist[")
    assert problem.line == 1 + LISTS[: LISTS.index("levels")].count("\n") + 1


# --- the README ---


def snippets(package):
    """What is indented in the README, without the shell's lines."""
    blocks = re.findall(r"(?m)(?:^    .*\n|^\n(?=    ))+", (package / "README.md").read_text())
    return [re.sub(r"(?m)^    ", "", block) for block in blocks if "zone" in block]


def test_the_configuration_of_the_readme(assembled, package):
    found = snippets(package)
    assert len(found) == 2
    made = assembled("\n".join(found))
    assert len(made.setup.rules) == 3
    assert made.registry.slow_traits == {
        "dnsbl:exploited",
        "dnsbl:dialup",
        "dnsbl:sender-domain",
        "dnsbl-score:suspicious",
        "dnsbl-score:bad",
    }


def test_every_setting_stands_in_the_readme(package):
    text = (package / "README.md").read_text()
    models = (DnsSettings, *(multigrey_dns.settings.Whitelist, multigrey_dns.settings.Blocklist))
    names = {name for model in models for name in model.model_fields} - {"whitelist", "blocklist"}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


# --- an attempt's whole way ---


@pytest.fixture
def running(assembled, server, nursery, clock):
    """An engine that asks the name server, its service running and the zones tested."""
    server.sound(GOOD, BAD)

    async def running():
        assembly = assembled(LISTS.replace("SERVER", server.address))
        store = MemoryStore(StoreOptions(Path("/nonexistent"), 0))
        events = []
        engine = Engine(
            clock=clock,
            store=store,
            setup=assembly.setup,
            ids=(f"id{number}" for number in itertools.count()),
            host="mx.example.org",
            version="0",
            subscribers=(events.append,),
        )
        await nursery.start(store.run)
        await nursery.start(assembly.registry.services["dns"].run)
        await server.heard(4)  # the test of the two zones
        server.questions.clear()
        counters = assembly.registry.counters
        return SimpleNamespace(engine=engine, clock=clock, events=events, counters=counters)

    return running


async def test_a_client_of_the_blocklist_waits_longer(running, server, attempt):
    server.names[f"5.2.0.192.{BAD}"] = ls.listed("127.0.0.2")
    made = await running()
    listed = await made.engine.judge(attempt("192.0.2.5"), "pass")
    other = await made.engine.judge(attempt("198.51.100.7"), "pass")
    assert (listed.action, listed.reason, listed.retry_after) == (Action.DEFER, Reason.NEW, 600)
    assert (other.action, other.reason, other.retry_after) == (Action.DEFER, Reason.NEW, 120)
    assert made.events[0].verdict.rule == "listed"
    assert made.counters.failures == {}
    assert server.asked_since(0) == sorted(
        f"{client}.{zone}" for client in ("5.2.0.192", "7.100.51.198") for zone in (GOOD, BAD)
    )


async def test_a_client_of_the_whitelist_passes(running, server, attempt):
    server.names[f"5.2.0.192.{GOOD}"] = ls.listed("127.0.5.2")
    server.names[f"5.2.0.192.{BAD}"] = ls.listed("127.0.0.2")
    made = await running()
    reply = await made.engine.judge(attempt(), "pass")
    assert (reply.action, reply.reason) == (Action.PASS, Reason.WHITELISTED)
    assert made.events[0].verdict.match == Match("dnswl:good", "127.0.5.2 (medium)", "postmaster")


async def test_nobody_is_asked_about_a_sender_that_is_known(running, server, attempt):
    made = await running()
    assert (await made.engine.judge(attempt(), "pass")).reason is Reason.NEW
    made.clock.advance(120)
    assert (await made.engine.judge(attempt(), "pass")).reason is Reason.RETRY
    asked = len(server.questions)
    assert asked == 2
    server.default = ls.listed("127.0.0.2")
    for _ in range(5):
        made.clock.advance(86_400)
        assert (await made.engine.judge(attempt(), "pass")).reason is Reason.KNOWN
    assert len(server.questions) == asked


async def test_without_dns_it_is_as_if_the_plugin_were_not_there(running, server, attempt, caplog):
    caplog.set_level(logging.ERROR)
    made = await running()
    server.default = ls.fails("SERVFAIL")
    reply = await made.engine.judge(attempt(), "pass")
    assert (reply.action, reply.reason, reply.retry_after) == (Action.DEFER, Reason.NEW, 120)
    made.clock.advance(120)
    assert (await made.engine.judge(attempt(), "pass")).reason is Reason.RETRY
    assert caplog.text == ""
    assert made.counters.failures == {}
