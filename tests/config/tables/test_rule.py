"""`[[rule]]` and `[[class]]`, each by itself and among the other tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from multigrey.config.error_messages import explain
from multigrey.config.settings import Settings
from multigrey.config.tables.rule import Class, RuleTable, zone_of

LISTEN = [{"protocol": "postfix", "address": "tcp:127.0.0.1:10023", "name": "mx"}]


def rule(**keys):
    return {"name": "r", "when": {}, "action": "greylist", **keys}


def wrong(model, raw):
    with pytest.raises(ValidationError) as raised:
        model.model_validate(raw)
    return list(explain(raised.value, model))


def settings(**tables):
    return {"state_dir": "/var/lib/multigrey", "listen": LISTEN, **tables}


@pytest.mark.parametrize(
    "raw",
    [
        rule(),
        rule(delay="10m", unnamed_delay="20m", retry_window="1d", key=["client-network"], code="4.7.0"),
        rule(action="observe", delay="10m", unnamed_delay="20m", retry_window="1d", key=["recipient"]),
        rule(action="defer", text="later", code="4.3.5"),
        rule(action="reject", text="never", code="5.7.25"),
        rule(action="pass"),
        {"name": "old", "traits": [], "action": "pass"},
        {"name": "both", "traits": ["null-sender"], "when": {"tls": True}, "action": "pass"},
    ],
)
def test_what_fits(raw):
    assert RuleTable.model_validate(raw).name == raw["name"]


GREYLISTING = {"delay": "10m", "unnamed_delay": "10m", "retry_window": "1d", "key": ["recipient"]}


@pytest.mark.parametrize("action", ["pass", "defer", "reject"])
@pytest.mark.parametrize("key", GREYLISTING)
def test_what_only_greylisting_has(action, key):
    ((path, said),) = wrong(RuleTable, rule(action=action, **{key: GREYLISTING[key]}))
    assert path == (key,)
    assert said == f'has no meaning for action = "{action}", only for "greylist" and "observe": remove it'


@pytest.mark.parametrize("action", ["pass", "observe"])
def test_nothing_is_told_to_who_passes(action):
    found = wrong(RuleTable, rule(action=action, text="x", code="4.7.1"))
    assert [path for path, _ in found] == [("text",), ("code",)]


@pytest.mark.parametrize(
    ("raw", "path", "said"),
    [
        ({"name": "r", "action": "pass"}, ("when",), "is missing: for a rule that matches every attempt"),
        (rule(action="drop"), ("action",), 'expected "pass", "greylist", "observe", "defer" or "reject"'),
        (rule(code="5.7.1"), ("code",), "expected 4.x.x"),
        (rule(action="reject", code="4.7.1"), ("code",), "expected 5.x.x"),
        (rule(code="2.0.0"), ("code",), "expected 4.x.x"),
        (rule(code="451"), ("code",), 'such as "4.7.1"'),
        (rule(code="4.7.1 later"), ("code",), 'such as "4.7.1"'),
        (rule(key=[]), ("key",), "at least one"),
        (rule(key=["recipient", "recipient"]), ("key",), "twice"),
    ],
)
def test_what_does_not_fit(raw, path, said):
    ((found, message),) = wrong(RuleTable, raw)
    assert found == path
    assert said in message


@pytest.mark.parametrize(
    ("grey", "keys", "path"),
    [
        ({}, {"delay": "1d"}, None),
        ({}, {"delay": "2d"}, "delay"),
        ({}, {"unnamed_delay": "2d"}, "unnamed_delay"),
        ({}, {"delay": "2d", "retry_window": "3d"}, None),
        ({}, {"delay": "1h", "retry_window": "1h"}, "delay"),
        ({}, {"retry_window": "1m"}, "retry_window"),
        ({"unnamed_delay": "2h"}, {"retry_window": "1h"}, "retry_window"),
        ({"unnamed_delay": "2h"}, {"retry_window": "1h", "delay": "10m"}, None),
        ({}, {"retry_window": "37d"}, "retry_window"),
        ({"max_age": "40d"}, {"retry_window": "37d"}, None),
    ],
)
def test_times_that_fit_together(grey, keys, path):
    raw = settings(greylist=grey, rule=[rule(**keys)])
    if path is None:
        assert Settings.model_validate(raw)
    else:
        assert [found for found, _ in wrong(Settings, raw)] == [("rule", 0, path)]


@pytest.mark.parametrize("word", ["rule", "class"])
@pytest.mark.parametrize(
    ("listener", "known"), [("mx", True), ("/^m/", True), ("MX", False), (["mx", "nobody"], False)]
)
def test_listeners_there_are(word, listener, known):
    table = rule(when={"not": {"listener": listener}}) if word == "rule" else {"name": "c"}
    table = {**table, "when": {"not": {"listener": listener}}}
    raw = settings(**{word: [table]})
    if known:
        assert Settings.model_validate(raw)
    else:
        ((path, said),) = wrong(Settings, raw)
        assert path == (word, 0, "when", "not", "listener")
        assert said.startswith("no listener is called ")


def test_names_are_there_once():
    both = settings(rule=[rule(), rule()], **{"class": [{"name": "c", "when": {}}] * 2})
    assert [path for path, _ in wrong(Settings, both)] == [("rule", 1, "name"), ("class", 1, "name")]


def test_a_class():
    one = Class.model_validate({"name": "codes", "when": {"tls": True}, "target": "1m", "owner": "desk"})
    assert (one.name, one.target, one.owner) == ("codes", 60, "desk")
    assert [path for path, _ in wrong(Class, {"name": "codes"})] == [("when",)]


def test_time_zones():
    assert Settings.model_validate(settings()).time_zone is None
    assert Settings.model_validate(settings(time_zone="Europe/Vienna")).time_zone == "Europe/Vienna"
    for bad in (1, "Europe/Wien", "../etc/passwd", "", "Europe"):
        ((path, said),) = wrong(Settings, settings(time_zone=bad))
        assert path == ("time_zone",)
        assert "expected a time zone such as" in said


def test_the_zone_of_a_name():
    assert zone_of(None) is None
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert noon.astimezone(zone_of("Europe/Vienna")).hour == 14
