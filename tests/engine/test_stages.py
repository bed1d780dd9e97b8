"""What is said before anybody looks at what is known, and the words of replies."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from multigrey.engine.explain import TELLERS
from multigrey.engine.progress import Progress
from multigrey.engine.stages import MODES, OBSERVE, OFF, STAGES, on_error_verdict, precheck, reply_words
from multigrey.model import Action, Attempt, Findings, Match, Origin, Reason, Stage, Verdict
from multigrey.rules.rules import Rule, Rules
from tests.support.engines import setup

UNNAMED = Origin("192.0.2.0/24", named=False)
NOW = 1_000_000_000
ATTEMPT = Attempt("postfix", ip_address("192.0.2.10"), None, "helo", "alice@example.org", "bob@example.net")


def changed(**changes):
    return Attempt(**{name: getattr(ATTEMPT, name) for name in ATTEMPT.__slots__} | changes)


def said(attempt=ATTEMPT, findings=None, **changes):
    progress = Progress(setup(**changes), attempt, NOW)
    progress.network, progress.origin, progress.findings = UNNAMED.text, UNNAMED, findings
    precheck(progress)
    verdict = progress.verdict
    return None if verdict is None else (verdict.action, verdict.reason)


def test_every_stage_is_told():
    assert [stage.name for stage in STAGES] == list(TELLERS)


def test_a_setup_goes_only_through_stages_that_matter():
    names = {stage.decide: stage.name for stage in STAGES}
    ordinary = ["authenticated", "whitelists", "own-client", "identity"]
    assert [names[decide] for decide in setup().stages] == ordinary
    assert [names[decide] for decide in setup().stages_again] == ["authenticated", "whitelists"]
    everything = setup(
        mode=OFF,
        blocked={b"k": "a b c"},
        sources=(lambda attempt: None,),
        rules=Rules([Rule("r")]),
        retrying=frozenset({"bigmail"}),
    )
    assert [names[decide] for decide in everything.stages] == [stage.name for stage in STAGES]


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
    ("verdict", "text", "code"),
    [
        (Verdict(Action.DEFER, Reason.NEW), "Greylisted, please try again later", "4.7.1"),
        (Verdict(Action.DEFER, Reason.NEW, text="soon", code="4.7.0"), "soon", "4.7.0"),
        (Verdict(Action.REJECT, Reason.RULE), "Rejected by local policy", "5.7.1"),
        (Verdict(Action.REJECT, Reason.RULE, text="no", code="5.7.0"), "no", "5.7.0"),
        (Verdict(Action.DEFER, Reason.RULE), "Temporary problem, please try again later", "4.3.0"),
        (on_error_verdict("defer", "disk full"), "Temporary problem, please try again later", "4.3.0"),
    ],
)
def test_words(verdict, text, code):
    assert reply_words(setup(), verdict)[:2] == (text, code)


def test_trouble_is_answered_as_the_listener_wants():
    assert on_error_verdict("pass", "x") == Verdict(Action.PASS, Reason.ERROR, detail="x")
    assert on_error_verdict("defer", "x").action is on_error_verdict("silent", "x").action is Action.DEFER
    assert MODES == ("enforce", "observe", "off")
