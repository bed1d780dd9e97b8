"""Samples: well-formed, all defined, and no more of them for any number of clients."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from multigrey.background.loop_lag import LoopLag
from multigrey.clock import Since
from multigrey.listeners.timings import Timings
from multigrey.metrics.collector import OverLimit, ScrapedFigures, Sources, exposition
from multigrey.metrics.definitions import METRICS
from multigrey.metrics.tally import Tally
from multigrey.model import Action, Attempt, DecisionEvent, Findings, Reason, Verdict
from multigrey.plugins.guards import PluginInfo, PluginKind, guarded_ask
from multigrey.plugins.registry import BuiltRegistry
from multigrey.plugins.slow_calls import ask_all
from tests.support.clocks import START, FakeClock
from tests.support.engines import setup

HEALTH = {
    "backend": "lmdb", "records": 3, "origins": 1, "marks": 2, "pending": 0, "map_size": 100, "used": 10,
    "file": 20,
    "last_commit_us": 250, "commit_failures": 0, "journaled": 1, "journal": 5,
    "last_checkpoint_us": 900, "checkpoint_failures": 0, "damaged": "",
}  # fmt: skip


def figures(**changes):
    values = {
        "mode": "enforce",
        "connections": 1,
        "connections_limit": 10,
        "internal_errors": 0,
        "log_lines_lost": 0,
        "listeners_accept": {"exim": True, "postfix": False},
        "log_written": True,
        "reload_accepted": False,
        "lists_readable": {"list /x": False},
        "records_limit": 5,
        "store_full": False,
        "records_bounded": 0,
        "targets": {"partners": 300},
        "lists": {'list "a\\b"\n': {"active": 2}},
        "health": HEALTH,
        "state_in_place": True,
        "history": {"decisions": 40, "lost": 2, "trouble": ""},
        "over_limit": OverLimit(40, 2, {"192.0.2.0/24": (31, START)}),
        "implausible": {("postfix", "one-helo"): True, ("postfix", "no-names"): False},
        "own_clients": {"postfix": 0.25},
    }
    return ScrapedFigures(**{**values, **changes})


def sources():
    tally = Tally(setup, {"partners": 300}.get)
    registry = BuiltRegistry(FakeClock())
    registry.owners["trait", "x"] = PluginInfo("geoip", "multigrey-geoip 1")
    made = Sources("1.0", Since(FakeClock()), tally, Timings(), LoopLag(), lambda: registry)
    attempt = Attempt("postfix", ip_address("192.0.2.1"), None, "h", "a@example.org", "b@example.net")
    verdict = Verdict(Action.PASS, Reason.RETRY, age=500, attempts=2)
    tally(DecisionEvent(START, "id0000", attempt, verdict, "192.0.2.0/24", "partners"))
    return made


def samples(text):
    return {
        (each.name, *dict(sorted(each.labels.items())).values()): each.value
        for family in read_text(text)
        for each in family.samples
    }


@pytest.mark.parametrize(
    ("accept", "read", "kind"),
    [
        ("", read_text, "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", read_text, "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3",
            read_openmetrics,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ],
)
def test_every_metric_is_there_in_the_form_that_was_asked_for(accept, read, kind):
    body, told = exposition(sources(), figures(), accept)
    assert told == kind
    families = {family.name: family for family in read(body.decode())}
    assert families.keys() == METRICS.keys()
    for name, family in families.items():
        assert family.type == METRICS[name].kind
        assert family.documentation == METRICS[name].meaning
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(METRICS[name].labels)


def test_values():
    found = samples(exposition(sources(), figures(), "")[0].decode())
    assert found["multigrey_decisions_total", "pass", "postfix", "no", "retry"] == 1
    assert found["multigrey_mode", "enforce"] == 1
    assert found["multigrey_mode", "off"] == 0
    assert found["multigrey_store_marks",] == 2
    assert found["multigrey_store_damaged",] == 0
    hurt = figures(health={**figures().health, "damaged": "page 7"})
    assert samples(exposition(sources(), hurt, "")[0].decode())["multigrey_store_damaged",] == 1
    assert found["multigrey_store_last_commit_seconds",] == pytest.approx(0.00025)
    assert found["multigrey_class_over_target_total", "partners"] == 1
    assert found["multigrey_list_entries", 'list "a\\b"\n', "active"] == 2
    assert found["multigrey_plugin_failures_total", "geoip"] == 0
    assert found["multigrey_plugin_up", "geoip"] == 1
    assert (found["multigrey_listener_up", "exim"], found["multigrey_listener_up", "postfix"]) == (1, 0)
    assert (found["multigrey_log_up",], found["multigrey_reload_up",]) == (1, 0)
    assert found["multigrey_list_up", "list /x"] == 0
    assert found["multigrey_acceptance_delay_seconds_sum", "partners", "unnamed"] == 500
    assert found["multigrey_over_limit_attempts_total",] == 40
    assert found["multigrey_over_limit_networks",] == 2
    assert found["multigrey_over_limit_hourly_attempts", "192.0.2.0/24"] == 31
    assert found["multigrey_over_limit_since_seconds", "192.0.2.0/24"] == START
    assert found["multigrey_input_implausible", "postfix", "one-helo"] == 1
    assert found["multigrey_input_implausible", "postfix", "no-names"] == 0
    assert found["multigrey_own_clients_ratio", "postfix"] == 0.25


def test_a_plugin_that_fails_is_down_until_it_answers():
    made = sources()
    counters = made.registry().counters
    counters.failed(PluginKind.TRAIT, "x", "a bug")
    counters.failed(PluginKind.WHITELIST_SOURCE, "own", "a bug")
    found = samples(exposition(made, figures(), "")[0].decode())
    assert (found["multigrey_plugin_up", "geoip"], found["multigrey_plugin_up", "multigrey"]) == (0, 0)
    counters.worked(PluginKind.TRAIT, "x")
    found = samples(exposition(made, figures(), "")[0].decode())
    assert (found["multigrey_plugin_up", "geoip"], found["multigrey_plugin_up", "multigrey"]) == (1, 0)


@pytest.mark.parametrize("jump", [0, 400 * 86_400, -400 * 86_400])
def test_the_uptime_is_that_of_a_clock_that_nobody_sets(jump):
    clock = FakeClock()
    made = replace(sources(), started=Since(clock))
    clock.advance(90)
    clock.step(jump)
    found = samples(exposition(made, figures(), "")[0].decode())
    assert found["multigrey_uptime_seconds",] == 90
    assert clock.now() - found["multigrey_start_time_seconds",] == 90


def test_a_store_that_does_not_tell():
    found = samples(exposition(sources(), figures(health=None), "")[0].decode())
    assert found["multigrey_store_up",] == 0
    assert not [name for name, *_ in found if name == "multigrey_store_records"]


@pytest.mark.parametrize(("trouble", "up"), [("", 1), ("the disk is full", 0)])
def test_the_history_tells_how_it_is(trouble, up):
    told = {"decisions": 40, "lost": 2, "trouble": trouble}
    found = samples(exposition(sources(), figures(history=told), "")[0].decode())
    assert found["multigrey_history_up",] == up
    assert (found["multigrey_history_decisions",], found["multigrey_history_lost_total",]) == (40, 2)


def test_without_a_history_nothing_is_told_of_it():
    text = exposition(sources(), figures(history=None), "")[0].decode()
    assert "multigrey_history" not in text


def test_a_store_that_tells_little():
    found = samples(exposition(sources(), figures(health={"backend": "other", "records": 7}), "")[0].decode())
    assert found["multigrey_store_info", "other"] == 1
    assert found["multigrey_store_records",] == 7


def test_under_attack_there_are_no_more_lines():
    made = sources()

    def lines():
        return len(re.findall(rb"(?m)^multigrey", exposition(made, figures(), "")[0]))

    def flood(begin):
        for number in range(begin, begin + 500):
            attempt = Attempt(
                "postfix", None, f"h{number}.example", f"h{number}", f"{number}@example.org", "b"
            )
            for reason in (Reason.NEW, Reason.RETRY):
                action = Action.DEFER if reason is Reason.NEW else Action.PASS
                verdict = Verdict(action, reason, age=number, attempts=2, detail=f"{number}", rule="r")
                made.tally(DecisionEvent(START, f"{number}", attempt, verdict, f"h{number}.example"))

    flood(0)
    before = lines()
    flood(500)
    assert lines() == before


class Source:
    traits = frozenset({"x"})

    def __init__(self, seconds):
        self._seconds = seconds

    async def ask(self, attempt):
        await trio.sleep(self._seconds)
        return Findings()


async def test_calls_and_time_outs_of_plugins(autojump_clock):
    registry = BuiltRegistry(FakeClock())
    for name in ("quick", "slow"):
        registry.owners[PluginKind.SLOW_SOURCE, name] = PluginInfo(name, "x 1")
    slow = [guarded_ask(Source(s), registry.counters, name) for name, s in (("quick", 0), ("slow", 9))]
    for _ in range(2):
        await ask_all(slow, Attempt("postfix", None, None, "h", "", "b"), 0.5, registry.counters)
    found = samples(exposition(replace(sources(), registry=lambda: registry), figures(), "")[0].decode())
    told = {key: value for key, value in found.items() if key[0].startswith("multigrey_plugin")}
    assert told == {
        ("multigrey_plugin_calls_total", "quick"): 2,
        ("multigrey_plugin_calls_total", "slow"): 2,
        ("multigrey_plugin_failures_total", "quick"): 0,
        ("multigrey_plugin_failures_total", "slow"): 2,
        ("multigrey_plugin_timeouts_total", "quick"): 0,
        ("multigrey_plugin_timeouts_total", "slow"): 2,
        ("multigrey_plugin_up", "quick"): 1,
        ("multigrey_plugin_up", "slow"): 0,
    }
