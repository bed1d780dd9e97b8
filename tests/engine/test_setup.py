"""What is said before anybody looks at what is known: modes, rules' numbers, words of the reply."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from multigrey.engine.setup import MODES, OBSERVE, OFF, trouble, without_store, words
from multigrey.greylist.policy import Policy
from multigrey.model import Action, Attempt, Findings, Match, Origin, Reason, Stage, Verdict
from multigrey.rules.rules import Outcome, Rule, Rules
from tests.support.engines import MAX_AGE, WINDOW, scheme, setup

UNNAMED = Origin("192.0.2.0/24", named=False)
NAMED = Origin("example.org", named=True)
NOW = 1_000_000_000
ATTEMPT = Attempt("postfix", ip_address("192.0.2.10"), None, "helo", "alice@example.org", "bob@example.net")


def changed(**changes):
    return Attempt(**{name: getattr(ATTEMPT, name) for name in ATTEMPT.__slots__} | changes)


def said(attempt=ATTEMPT, findings=None, **changes):
    found = without_store(setup(**changes), attempt, UNNAMED, NOW, findings)
    return (found.action, found.reason) if isinstance(found, Verdict) else found


MATCH = Match("list", "entry")


@pytest.mark.parametrize(
    ("attempt", "changes", "expected"),
    [
        (ATTEMPT, {}, None),
        (changed(authenticated="alice"), {}, (Action.PASS, Reason.AUTHENTICATED)),
        (ATTEMPT, {"sources": (lambda attempt: MATCH,)}, (Action.PASS, Reason.WHITELISTED)),
        (changed(sender=""), {}, (Action.PASS, Reason.NULL_SENDER)),
        (changed(sender="", stage=Stage.DATA), {}, None),
        (changed(sender=""), {"null_sender_at_data": False}, None),
        (changed(client_address=None), {}, (Action.PASS, Reason.NO_IDENTITY)),
        (changed(client_address=None, raw="any text"), {}, None),
        (ATTEMPT, {"mode": OFF}, (Action.PASS, Reason.MODE_OFF)),
        (ATTEMPT, {"rules": Rules([Rule("r", (), "reject")])}, (Action.REJECT, Reason.RULE)),
        (
            ATTEMPT,
            {"rules": Rules([Rule("r", (), "reject")]), "mode": OBSERVE},
            (Action.PASS, Reason.RULE),
        ),
        (
            ATTEMPT,
            {"rules": Rules([Rule("r", (), "pass")]), "mode": OBSERVE},
            (Action.PASS, Reason.RULE),
        ),
    ],
)
def test_steps_one_to_three(attempt, changes, expected):
    assert said(attempt, **changes) == expected


def test_what_slow_sources_match_lets_in_and_what_nobody_answered_stays_unknown():
    assert said(findings=Findings(match=MATCH)) == (Action.PASS, Reason.WHITELISTED)
    listed = Rules([Rule("listed", ("dnsbl:zone",), "reject")])
    assert said(rules=listed) is None
    assert said(findings=Findings(), rules=listed) is None
    assert said(findings=Findings(traits=frozenset({"dnsbl:zone"})), rules=listed) == (
        Action.REJECT,
        Reason.RULE,
    )


@pytest.mark.parametrize(
    ("origin", "rule", "delay"),
    [
        (NAMED, None, 120),
        (UNNAMED, None, 180),
        (NAMED, Outcome("r", None), 120),
        (UNNAMED, Outcome("r", None), 180),
        (NAMED, Outcome("r", None, delay=600), 600),
        (UNNAMED, Outcome("r", None, delay=600), 600),
        (NAMED, Outcome("r", None, delay=600, unnamed_delay=900), 600),
        (UNNAMED, Outcome("r", None, delay=600, unnamed_delay=900), 900),
    ],
)
def test_the_delay_under_a_rule(origin, rule, delay):
    parts = setup(
        policy=Policy(120, WINDOW, MAX_AGE, 5), unnamed_policy=Policy(180, WINDOW, MAX_AGE, 5, patience=300)
    )
    policy = parts.policy_for(origin, rule)
    assert policy.delay == delay
    assert policy.patience == (0 if origin.named else 300)
    assert policy.retry_window == WINDOW
    assert not policy.observe


def test_a_rules_window_key_and_observing():
    other = scheme(recipient="-")
    rule = Outcome("r", None, retry_window=3600, observe=True, key=("sender",))
    parts = setup(schemes={("sender",): other})
    assert parts.policy_for(NAMED, rule).retry_window == 3600
    assert parts.policy_for(NAMED, rule).observe
    assert parts.scheme_for(rule) is other
    assert parts.scheme_for(Outcome("r", None)) is parts.scheme_for(None) is parts.scheme


@pytest.mark.parametrize(
    ("verdict", "text", "code"),
    [
        (Verdict(Action.DEFER, Reason.NEW), "Greylisted, please try again later", "4.7.1"),
        (Verdict(Action.DEFER, Reason.NEW, text="soon", code="4.7.0"), "soon", "4.7.0"),
        (Verdict(Action.REJECT, Reason.RULE), "Rejected by local policy", "5.7.1"),
        (Verdict(Action.REJECT, Reason.RULE, text="no", code="5.7.0"), "no", "5.7.0"),
        (Verdict(Action.DEFER, Reason.RULE), "Temporary problem, please try again later", "4.3.0"),
        (trouble("defer", "disk full"), "Temporary problem, please try again later", "4.3.0"),
    ],
)
def test_words(verdict, text, code):
    assert words(setup(), verdict)[:2] == (text, code)


def test_trouble_is_answered_as_the_listener_wants():
    assert trouble("pass", "x") == Verdict(Action.PASS, Reason.ERROR, detail="x")
    assert trouble("defer", "x").action is trouble("silent", "x").action is Action.DEFER
    assert MODES == ("enforce", "observe", "off")
