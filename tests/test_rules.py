"""Rules: the first that matches, and what slow sources have not said yet."""

from __future__ import annotations

import pytest

from multigrey.config import settings
from multigrey.model import Action
from multigrey.rules import Outcome, Rule, Rules, check
from tests.support.plugins import Trait, attempt

QUICK = {"yes": True, "also": True, "no": False}


def evaluate(rules, found=None):
    traits = {name: Trait(holds) for name, holds in QUICK.items()}
    outcome = Rules(rules, traits).evaluate(attempt(), found if found is None else frozenset(found))
    return outcome and outcome.rule


@pytest.mark.parametrize(
    ("rules", "found", "matching"),
    [
        ([], None, None),
        ([("a", ())], None, "a"),
        ([("a", ("yes",))], None, "a"),
        ([("a", ("no",))], None, None),
        ([("a", ("yes", "also"))], None, "a"),
        ([("a", ("yes", "no"))], None, None),
        ([("a", ("no",)), ("b", ("yes",)), ("c", ())], None, "b"),
        ([("a", ("yes",)), ("b", ("yes",))], None, "a"),
        # a slow trait is unknown until somebody has been asked
        ([("a", ("listed",))], None, None),
        ([("a", ("listed",)), ("b", ("yes",))], None, "b"),
        ([("a", ("listed",)), ("b", ("yes",))], {"listed"}, "a"),
        ([("a", ("listed",)), ("b", ("yes",))], set(), "b"),
        ([("a", ("listed", "yes"))], {"listed"}, "a"),
        ([("a", ("listed", "no"))], {"listed"}, None),
        ([("a", ("listed", "spf"))], {"listed"}, None),
        ([("a", ("listed", "spf"))], {"listed", "spf"}, "a"),
        # nobody can make a quick trait hold by finding it
        ([("a", ("no",))], {"no"}, None),
    ],
)
def test_the_first_matching_rule(rules, found, matching):
    assert evaluate([Rule(name, traits) for name, traits in rules], found) == matching


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        (Rule("a", (), "pass"), Outcome("a", Action.PASS)),
        (Rule("a", (), "defer", text="later"), Outcome("a", Action.DEFER, text="later")),
        (Rule("a", (), "reject"), Outcome("a", Action.REJECT)),
        (Rule("a", (), "greylist", delay=3600), Outcome("a", None, 3600)),
        (settings.Rule(name="a", traits=(), action="greylist", delay="1h"), Outcome("a", None, 3600)),
        (
            settings.Rule(name="a", traits=(), action="reject", text="no"),
            Outcome("a", Action.REJECT, text="no"),
        ),
    ],
)
def test_what_a_rule_wants(rule, outcome):
    assert Rules([rule]).evaluate(attempt(), None) == outcome


def test_no_rules_are_false():
    assert not Rules()
    assert Rules([Rule("a")])


def test_a_trait_is_asked_once_and_only_if_it_matters():
    often, never = Trait(False), Trait(True)
    rules = Rules(
        [Rule("a", ("often",)), Rule("b", ("often", "never")), Rule("c", ("slow", "never"))],
        {"often": often, "never": never},
    )
    assert rules.evaluate(attempt(), None) is None
    assert (often.asked, never.asked) == (1, 0)


def test_check_finds_nothing_wrong():
    rules = [Rule("a", ("yes", "listed"), "pass"), Rule("b")]
    assert check(rules, ["yes", "no"], ["listed"]) == []


def test_check_finds_everything_wrong():
    rules = [Rule("a", ("yse", "gone")), Rule("b", ("yes",), "drop"), Rule("a")]
    assert [str(problem) for problem in check(rules, ["yes"], ["listed"])] == [
        ": rule[0].traits: nobody provides the trait 'yse'; did you mean 'yes'?",
        ": rule[0].traits: nobody provides the trait 'gone'",
        ": rule[1].action: 'drop' is none of pass, greylist, defer, reject",
        ": rule[2].name: there is another rule 'a'",
    ]
