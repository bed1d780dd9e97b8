"""Rules and classes: the first that matches, and what slow sources have not said yet."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.config.tables import rule as tables
from multigrey.config.values.when import read_conditions
from multigrey.errors import ConfigError
from multigrey.model import Action, Origin
from multigrey.rules.rules import (
    ACTIONS,
    Classes,
    ExplainedRule,
    Outcome,
    Rule,
    Rules,
    wrong_classes,
    wrong_rules,
)
from tests.support.plugins import Trait, attempt

QUICK = {"yes": True, "also": True, "no": False}
ORIGIN = Origin("example.org", named=True)
NOW = int(datetime(2026, 11, 20, 23, 30, tzinfo=UTC).timestamp())


def asked(rules, found=None, *, unanswered=(), origin=ORIGIN, provider="", now=NOW, **fields):
    found = found if found is None else frozenset(found)
    return rules.evaluate(attempt(**fields), origin, provider, now, found, frozenset(unanswered))


def evaluate(rules, found=None, **more):
    traits = {name: Trait(holds) for name, holds in QUICK.items()}
    outcome = asked(Rules(rules, traits), found, **more)
    return outcome and outcome.rule


def when(**conditions):
    return read_conditions(conditions, None)


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
        # a slow trait is unknown until the slow sources have been asked
        ([("a", ("listed",))], None, None),
        ([("a", ("listed",)), ("b", ("yes",))], None, "b"),
        ([("a", ("listed",)), ("b", ("yes",))], {"listed"}, "a"),
        ([("a", ("listed",)), ("b", ("yes",))], set(), "b"),
        ([("a", ("listed", "yes"))], {"listed"}, "a"),
        ([("a", ("listed", "no"))], {"listed"}, None),
        ([("a", ("listed", "spf"))], {"listed"}, None),
        ([("a", ("listed", "spf"))], {"listed", "spf"}, "a"),
        # a slow source cannot make a quick trait hold by finding it
        ([("a", ("no",))], {"no"}, None),
    ],
)
def test_the_first_matching_rule(rules, found, matching):
    assert evaluate([Rule(name, traits) for name, traits in rules], found) == matching


@pytest.mark.parametrize(
    ("rule", "told", "matches"),
    [
        (Rule("a", when=when()), {}, True),
        (Rule("a", when=when(named=True)), {}, True),
        (Rule("a", when=when(named=True)), {"origin": Origin("192.0.2.0/24", named=False)}, False),
        (Rule("a", ("yes",), when=when(named=True)), {}, True),
        (Rule("a", ("no",), when=when(named=True)), {}, False),
        (Rule("a", ("yes",), when=when(named=False)), {}, False),
        (Rule("a", when=when(provider="bigmail")), {"provider": "bigmail"}, True),
        (Rule("a", when=when(provider="bigmail")), {}, False),
        (Rule("a", when=when(time="23:00-24:00")), {}, True),
        (Rule("a", when=when(time="23:00-24:00")), {"now": NOW + 1800}, False),
        # `not` of what is unknown yet is unknown too
        (Rule("a", when=read_conditions({"not": {"trait": "listed"}}, None)), {}, False),
        (Rule("a", when=read_conditions({"not": {"trait": "listed"}}, None)), {"found": ()}, True),
        (
            Rule("a", when=read_conditions({"not": {"trait": "listed"}}, None)),
            {"found": {"listed"}},
            False,
        ),
        (
            Rule("a", when=read_conditions({"not": {"trait": "listed"}}, None)),
            {"found": (), "unanswered": {"listed"}},
            False,
        ),
        (
            Rule("a", when=read_conditions({"not": {"trait": "listed"}}, None)),
            {"found": (), "unanswered": {"another"}},
            True,
        ),
        (
            Rule("a", when=read_conditions({"not": {"trait": ["listed", "another"]}}, None)),
            {"found": {"another"}, "unanswered": {"listed"}},
            False,
        ),
        (Rule("a", ("listed",)), {"found": (), "unanswered": {"listed"}}, False),
    ],
)
def test_conditions_of_a_rule(rule, told, matches):
    rules = Rules([rule], {"yes": Trait(answer=True), "no": Trait(answer=False)}, zone=UTC)
    assert (asked(rules, **told) is not None) is matches


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        (Rule("a", (), "pass"), Outcome("a", Action.PASS)),
        (Rule("a", (), "defer", text="later"), Outcome("a", Action.DEFER, text="later")),
        (Rule("a", (), "reject"), Outcome("a", Action.REJECT)),
        (Rule("a", (), "greylist", delay=3600), Outcome("a", None, delay=3600)),
        (Rule("a", (), "observe"), Outcome("a", None, observe=True)),
        (
            tables.RuleTable(name="a", traits=(), action="greylist", delay="1h"),
            Outcome("a", None, delay=3600),
        ),
        (
            tables.RuleTable(name="a", when={}, action="reject", text="no", code="5.7.0"),
            Outcome("a", Action.REJECT, text="no", code="5.7.0"),
        ),
        (
            tables.RuleTable(
                name="a",
                when={},
                action="observe",
                delay="1h",
                unnamed_delay="2h",
                retry_window="1d",
                key=["recipient"],
            ),
            Outcome("a", None, True, 3600, 7200, 86400, ("recipient",)),
        ),
    ],
)
def test_what_a_rule_wants(rule, outcome):
    assert asked(Rules([rule])) == outcome


def test_every_action_of_the_configuration_is_known():
    words = tables.RuleTable.model_fields["action"].annotation.__args__
    assert [*ACTIONS] == [*words]


def test_no_rules_are_false():
    assert not Rules()
    assert Rules([Rule("a")])
    assert not Classes()


def test_a_trait_is_asked_once_and_only_if_it_matters():
    often, never = Trait(answer=False), Trait(answer=True)
    rules = Rules(
        [
            Rule("a", ("often",)),
            Rule("b", ("often", "never")),
            Rule("c", ("slow", "never")),
            Rule("d", ("never",), when=when(named=False)),
        ],
        {"often": often, "never": never},
    )
    assert asked(rules) is None
    assert (often.asked, never.asked) == (1, 0)


def test_which_slow_traits_matter():
    rules = Rules(
        [
            Rule("a", ("yes", "slow")),
            Rule("b", when=read_conditions({"any": [{"trait": "other"}]}, None)),
        ],
        {"yes": Trait(answer=True)},
    )
    assert rules.slow_traits == {"slow", "other"}
    assert Rules([Rule("a", ("yes",))], {"yes": Trait(answer=True)}).slow_traits == frozenset()


def test_the_recipient_delimiter_counts():
    rule = Rule("a", when=when(recipient="bob@example.net"))
    assert asked(Rules([rule]), recipient="bob+list@example.net")
    assert not asked(Rules([rule], delimiters="-"), recipient="bob+list@example.net")
    assert asked(Rules([rule], delimiters="-"), recipient="bob-list@example.net")


def test_the_time_zone_counts():
    rule = Rule("a", when=when(time="00:00-01:00", weekday="sat"))
    assert asked(Rules([rule], zone=ZoneInfo("Europe/Vienna")))
    assert not asked(Rules([rule], zone=UTC))


def test_lists_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "optin").write_text("example.org\n")
    conditions = read_conditions({"recipient": [{"file": "optin"}, {"file": "gone"}]}, tmp_path)
    with pytest.raises(ConfigError) as raised:
        Rules([Rule("a", when=conditions)])
    assert [problem.line for problem in raised.value.problems] == [1, None]
    with pytest.raises(ConfigError):
        Classes([SimpleNamespace(name="a", when=conditions)])


def test_lists_are_read_anew_by_whoever_makes_rules_anew(tmp_path):
    path = tmp_path / "optin"
    path.write_text("alice@example.net\n")
    rule = Rule("a", when=read_conditions({"recipient": {"file": "optin"}}, tmp_path))
    before = Rules([rule])
    path.write_text("bob@example.net\n")
    assert not asked(before, recipient="bob@example.net")
    assert asked(Rules([rule]), recipient="bob@example.net")


# --- explaining ------------------------------------------------------------------------------------


def explained(rules, found=None, **fields):
    found = found if found is None else frozenset(found)
    return rules.explained(attempt(**fields), ORIGIN, "", NOW, found)


def test_why_rules_match_and_why_not():
    rules = Rules(
        [
            Rule("all", ("listed",), when=when(named=True)),
            Rule("none", when=read_conditions({"not": {"named": True}}, None)),
            Rule("some", ("yes",), when=when(recipient=["a@example.net", "recipient@"])),
            Rule("rest"),
        ],
        {"yes": Trait(answer=True)},
    )
    assert explained(rules) == [
        ExplainedRule("all", None, ('trait = "listed"',)),
        ExplainedRule("none", False, ("not named = true",)),
        ExplainedRule("some", True, ('recipient = ["a@example.net", "recipient@"]', 'trait = "yes"')),
        ExplainedRule("rest", True, ()),
    ]
    assert explained(rules, {"listed"})[0] == ExplainedRule("all", True, ("named = true", 'trait = "listed"'))


TRAITS = ["yes", "no", "listed", "spf"]
WITHOUT_NOT = st.recursive(
    st.lists(st.sampled_from(TRAITS), min_size=1, max_size=3).map(lambda names: {"trait": names}),
    lambda inner: st.dictionaries(
        st.sampled_from(["any", "all"]), st.lists(inner, min_size=1, max_size=3), min_size=1
    ),
    max_leaves=6,
)
WITH_NOT = st.recursive(
    WITHOUT_NOT,
    lambda inner: (
        st.fixed_dictionaries({"not": inner}) | st.fixed_dictionaries({"any": st.tuples(inner).map(list)})
    ),
    max_leaves=4,
)
FOUND = st.none() | st.frozensets(st.sampled_from(["listed", "spf"]))


def ready(*conditions):
    traits = {name: Trait(QUICK[name]) for name in ("yes", "no")}
    return Rules(
        [Rule(str(number), when=read_conditions(each, None)) for number, each in enumerate(conditions)],
        traits,
    )


@given(st.lists(WITH_NOT, max_size=4), FOUND)
def test_the_first_that_is_explained_as_true_decides(conditions, found):
    rules = ready(*conditions)
    true = [each.rule for each in explained(rules, found) if each.truth]
    outcome = asked(rules, found)
    assert (outcome.rule if outcome else None) == (true[0] if true else None)


@given(WITHOUT_NOT, FOUND, st.frozensets(st.sampled_from(["listed", "spf"])))
def test_without_not_finding_more_never_unmatches(conditions, found, more):
    rules = ready(conditions)
    if asked(rules, found):
        assert asked(rules, (found or frozenset()) | more)


@given(WITH_NOT, FOUND.filter(lambda found: found is not None))
def test_a_match_that_needed_nothing_stays_whatever_is_found(conditions, found):
    rules = ready(conditions)
    if asked(rules, None):
        assert asked(rules, found)


@given(WITH_NOT, FOUND)
def test_unknown_matches_neither_a_rule_nor_its_opposite(conditions, found):
    rules = ready(conditions, {"not": conditions})
    truths = [each.truth for each in explained(rules, found)]
    assert truths in ([True, False], [False, True], [None, None])
    assert (asked(rules, found) is None) is (truths[0] is None)


@given(WITH_NOT)
def test_nothing_is_unknown_once_everybody_has_answered(conditions):
    assert explained(ready(conditions), set())[0].truth is not None


# --- classes ---------------------------------------------------------------------------------------


def class_of(tables_, **fields):
    classes = Classes(
        [tables.Class(name=name, when=conditions) for name, conditions in tables_],
        {"yes": Trait(answer=True)},
        zone=UTC,
    )
    return classes.of(attempt(**fields), ORIGIN, "", NOW)


def test_the_first_class_that_matches():
    assert class_of([]) == ""
    assert class_of([("a", {"named": False})]) == ""
    assert class_of([("a", {"named": False}), ("b", {"trait": "yes"}), ("c", {})]) == "b"
    assert class_of([("a", {"trait": "listed"}), ("b", {})]) == "b"
    assert class_of([("night", {"time": "22:00-06:00"})]) == "night"


# --- checking --------------------------------------------------------------------------------------


def test_check_finds_nothing_wrong():
    rules = [
        Rule("a", ("yes", "listed"), "pass"),
        Rule("b", when=when(trait=["yes", "listed"])),
    ]
    assert [*wrong_rules(rules, ["yes", "no"], ["listed"])] == []


def test_check_finds_everything_wrong():
    rules = [Rule("a", ("yse", "gone")), Rule("b", ("yes",), "drop"), Rule("a")]
    assert [*wrong_rules(rules, ["yes"], ["listed"])] == [
        (("rule", 0, "traits"), "the trait 'yse' does not exist; did you mean \"yes\"?"),
        (("rule", 0, "traits"), "the trait 'gone' does not exist"),
        (("rule", 1, "action"), "'drop' is none of pass, greylist, observe, defer, reject"),
        (("rule", 2, "name"), "another rule is also named 'a'"),
    ]


def test_every_place_of_an_unknown_word():
    conditions = read_conditions({"any": [{"trait": ["yes", "gone"]}], "not": {"trait": "yse"}}, None)
    rules = [Rule("a", when=conditions, key=("recipient", "recipeint"))]
    assert [*wrong_rules(rules, ["yes"], [], ["recipient", "sender"])] == [
        (("rule", 0, "when", "any", 0, "trait"), "the trait 'gone' does not exist"),
        (("rule", 0, "when", "not", "trait"), "the trait 'yse' does not exist; did you mean \"yes\"?"),
        (
            ("rule", 0, "key"),
            "'recipeint' is not a key component; did you mean \"recipient\"? (known: recipient, sender)",
        ),
    ]


def test_a_class_cannot_wait():
    one = tables.Class(name="a", when={"trait": ["yes", "listed", "gone"]})
    assert [*wrong_classes([one], ["yes"], ["listed"])] == [
        (
            ("class", 0, "when", "trait"),
            "the trait 'listed' comes from a slow source, and a class cannot wait for it",
        ),
        (("class", 0, "when", "trait"), "the trait 'gone' does not exist"),
    ]
