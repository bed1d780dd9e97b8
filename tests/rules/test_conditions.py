"""Conditions: what each finds in an attempt, and the laws of three-valued logic."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache, partial
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.config.values.when import CONDITIONS, read_conditions
from multigrey.matching.facts import Facts, Surroundings
from multigrey.matching.matchers import RegexSet
from multigrey.model import Origin
from multigrey.rules import conditions
from multigrey.rules.conditions import Maker, Node, both, either, every, negated, node_of
from tests.support.plugins import Trait, attempt

NOW = int(datetime(2026, 11, 20, 23, 30, tzinfo=UTC).timestamp())
"""A Friday."""
NAMED = Origin("example.org", named=True)


def truth(when, *, found=None, unanswered=(), origin=NAMED, provider="", traits=None, **fields):
    maker = Maker({"yes": Trait(answer=True), "no": Trait(answer=False)} if traits is None else traits)
    check = both([node.check for node in maker.all_of(read_conditions(when, None), ())])
    assert maker.problems == []
    facts = Facts(attempt(**fields), origin, provider, NOW, found, frozenset(unanswered), Surroundings(UTC))
    return check(facts)


ADDRESS = {"client_address": ip_address("192.0.2.1")}

CASES = [
    # condition, value, what the attempt is like, truth
    ("client_address", "192.0.2.1", ADDRESS, True),
    ("client_address", "192.0.2.2", ADDRESS, False),
    ("client_address", ["198.51.100.0/24", "192.0.2.0/24"], ADDRESS, True),
    ("client_address", "0.0.0.0/0", ADDRESS, True),
    ("client_address", "::/0", ADDRESS, False),
    ("client_address", "2001:db8::/32", {"client_address": ip_address("2001:db8::1")}, True),
    ("client_address", "64:ff9b::192.0.2.0/120", ADDRESS, True),
    ("client_address", "0.0.0.0/0", {"client_address": None}, None),
    ("client_name", "mx.example.org", {"client_name": "MX.example.org"}, True),
    ("client_name", "example.org", {"client_name": "mx.example.org"}, False),
    ("client_name", ".example.org", {"client_name": "mx.example.org"}, True),
    ("client_name", ".example.org", {"client_name": "example.org"}, True),
    ("client_name", ".example.org", {"client_name": "notexample.org"}, False),
    ("client_name", "/^mx[0-9]/", {"client_name": "MX1.example.org"}, True),
    ("client_name", "/^mx[0-9]/", {"client_name": "amx1.example.org"}, False),
    ("client_name", "/./", {"client_name": None}, False),
    ("named", True, {"origin": NAMED}, True),
    ("named", False, {"origin": NAMED}, False),
    ("named", False, {"origin": Origin("192.0.2.0/24", named=False)}, True),
    ("origin", "example.org", {"origin": NAMED}, True),
    ("origin", "example.org", {"origin": Origin("spf:example.org", named=True)}, False),
    ("origin", ".example.org", {"origin": Origin("spf:example.org", named=True)}, True),
    ("origin", ".example.org", {"origin": Origin("mail.example.org", named=True)}, True),
    ("origin", "192.0.2.0/24", {"origin": Origin("192.0.2.0/24", named=False)}, True),
    ("origin", "/^spf:/", {"origin": Origin("spf:example.org", named=True)}, True),
    ("provider", "bigmail", {"provider": "bigmail"}, True),
    ("provider", ["other", "/^big/"], {"provider": "bigmail"}, True),
    ("provider", "other", {"provider": "bigmail"}, False),
    ("provider", "/./", {"provider": ""}, False),
    ("provider", True, {"provider": "bigmail"}, True),
    ("provider", True, {"provider": ""}, False),
    ("provider", False, {"provider": ""}, True),
    ("helo", "[192.0.2.1]", {"helo": "[192.0.2.1]"}, True),
    ("helo", "localhost", {"helo": "LOCALHOST."}, True),
    ("helo", ".example.org", {"helo": "mx.example.org"}, True),
    ("helo", "/^$/", {"helo": ""}, True),
    ("helo", "mx.example.org", {"helo": "mx.example.net"}, False),
    ("sender", "alice@example.org", {"sender": "Alice@Example.org"}, True),
    ("sender", "alice@example.org", {"sender": "alice+list@example.org"}, False),
    ("sender", "alice@example.org", {"sender": "prvs=1234abcdef=Alice@example.org"}, True),
    ("sender", "prvs=1234abcdef=alice@example.org", {"sender": "prvs=1234abcdef=alice@example.org"}, True),
    ("sender", "alice@example.org", {"sender": "prvs=1234abcdef=alice+list@example.org"}, False),
    ("sender", "alice@example.org", {"sender": "alice-recipient=example.net@example.org"}, True),
    ("sender", "alice@", {"sender": "btv1==0775a20b9c2==alice@example.net"}, True),
    ("sender", "/^alice@/", {"sender": "prvs=1234abcdef=alice@example.net"}, True),
    ("sender", "/^prvs=/", {"sender": "prvs=1234abcdef=alice@example.net"}, True),
    ("sender", "@.example.org", {"sender": "prvs=1234abcdef=alice@mail.example.org"}, True),
    ("sender", "alice@example.org", {"sender": "srs0=hh=tt=example.org=alice@example.com"}, False),
    ("sender", "alice@", {"sender": "srs0=hh=tt=example.org=alice@example.com"}, False),
    ("sender", "@example.org", {"sender": "srs0=hh=tt=example.org=alice@example.com"}, False),
    ("sender_domain", "example.org", {"sender": "srs0=hh=tt=example.org=alice@example.com"}, False),
    ("sender", "alice@", {"sender": "alice@example.net"}, True),
    ("sender", "@example.org", {"sender": "alice@example.org"}, True),
    ("sender", "@example.org", {"sender": "alice@mail.example.org"}, False),
    ("sender", "@.example.org", {"sender": "alice@mail.example.org"}, True),
    ("sender", "<>", {"sender": ""}, True),
    ("sender", ["<>", "alice@"], {"sender": ""}, True),
    ("sender", ["@example.org", "alice@"], {"sender": ""}, False),
    ("sender", "<>", {"sender": "alice@example.org"}, False),
    ("sender", "<>", {"sender": "", "raw": "text"}, False),
    ("sender", "/^bounce-[0-9]+@/", {"sender": "bounce-77@example.org"}, True),
    ("sender_domain", "example.org", {"sender": "alice@Example.org"}, True),
    ("sender_domain", ".example.org", {"sender": "alice@mail.example.org"}, True),
    ("sender_domain", "/./", {"sender": ""}, False),
    ("recipient", "bob@example.net", {"recipient": "Bob+list@example.net"}, True),
    ("recipient", "bob+list@example.net", {"recipient": "bob+list@example.net"}, True),
    ("recipient", "bob+list@example.net", {"recipient": "bob@example.net"}, False),
    ("recipient", "bob@", {"recipient": "bob+list@example.net"}, True),
    ("recipient", ["/x/", "@example.net"], {"recipient": "bob@example.net"}, True),
    ("recipient", "/^bob@/", {"recipient": "bob+list@example.net"}, True),
    ("recipient", "postmaster@", {"recipient": "postmaster"}, True),
    ("recipient", "bob@example.net", {"recipient": "", "raw": "text"}, False),
    ("recipient_domain", "example.net", {"recipient": "bob@example.net"}, True),
    ("recipient_domain", ".net", {"recipient": "bob@example.net"}, True),
    ("recipient_domain", "example.org", {"recipient": "bob@example.net"}, False),
    ("authenticated", True, {"authenticated": "alice"}, True),
    ("authenticated", True, {}, False),
    ("authenticated", False, {}, True),
    ("authenticated", "alice", {"authenticated": "alice"}, True),
    ("authenticated", "Alice", {"authenticated": "alice"}, False),
    ("tls", True, {"attributes": {"encryption_protocol": "TLSv1.3"}}, True),
    ("tls", True, {"attributes": {"encryption_protocol": ""}}, False),
    ("tls", False, {"attributes": {"encryption_protocol": ""}}, True),
    ("tls", True, {}, None),
    ("tls", False, {}, None),
    ("size", ">=1MiB", {"attributes": {"size": "1048576"}}, True),
    ("size", ">1MiB", {"attributes": {"size": "1048576"}}, False),
    ("size", ["<10", ">1MB"], {"attributes": {"size": "9"}}, True),
    ("size", "1KB-2KB", {"attributes": {"size": "2001"}}, False),
    ("size", "<1GiB", {"attributes": {"size": "0"}}, None),
    ("listener", "test", {}, True),
    ("listener", ["Test", "/^es/"], {}, False),
    ("policy_context", "strict", {"attributes": {"policy_context": "strict"}}, True),
    ("policy_context", "strict", {}, False),
    ("time", "22:00-06:00", {}, True),
    ("time", ["08:00-12:00", "13:00-18:00"], {}, False),
    ("weekday", "mon-fri", {}, True),
    ("weekday", ["sat", "sun"], {}, False),
    ("trait", "yes", {}, True),
    ("trait", ["no", "yes"], {}, True),
    ("trait", "no", {"found": frozenset({"no"})}, False),
    ("trait", "slow", {}, None),
    ("trait", ["slow", "yes"], {}, True),
    ("trait", ["slow", "no"], {}, None),
    ("trait", "slow", {"found": frozenset()}, False),
    ("trait", "slow", {"found": frozenset({"slow"})}, True),
    ("trait", "slow", {"found": frozenset(), "unanswered": {"slow"}}, None),
    ("trait", ["slow", "other"], {"found": frozenset({"other"}), "unanswered": {"slow"}}, True),
]


@pytest.mark.parametrize(("key", "value", "told", "expected"), CASES)
def test_conditions(key, value, told, expected):
    assert truth({key: value}, **told) is expected
    opposite = None if expected is None else not expected
    assert truth({"not": {key: value}}, **told) is opposite


def test_every_condition_is_in_the_table_as_true_and_as_false():
    seen = {(key, expected) for key, _, _, expected in CASES}
    assert seen >= {(key, expected) for key in CONDITIONS for expected in (True, False)}


@pytest.mark.parametrize("key", ["helo", "client_name", "sender", "recipient", "policy_context"])
def test_long_texts_are_judged_and_not_remembered(monkeypatch, key):
    """Otherwise a client could decide how much memory they take."""
    made = []

    def noting(maxsize):
        def decorate(function):
            made.append(lru_cache(maxsize)(function))
            return made[-1]

        return decorate

    monkeypatch.setattr(conditions, "lru_cache", noting)
    value = ".bad.example" if key in {"helo", "client_name"} else "/.bad.example$/"
    [node] = Maker({}).all_of(read_conditions({key: [value]}, None), ())
    [remembering] = made
    start, end = "a@" if key in {"sender", "recipient"} else "", ".bad.example"
    for length, held in ((321, 0), (320, 1), (322, 1)):
        missing = length - len(start) - len(end)
        text = start + "x" * (2 - missing % 2) + ".x" * ((missing - 1) // 2) + end
        fields = {"attributes": {key: text}} if key == "policy_context" else {key: text}
        facts = Facts(attempt(**fields), NAMED, "", NOW, None, frozenset(), Surroundings(UTC))
        assert (len(text), node.check(facts)) == (length, True)
        assert remembering.cache_info().currsize == held


def test_answers_are_the_same_when_asked_again():
    maker = Maker({})
    (node,) = maker.all_of(read_conditions({"client_name": ["/^mx/", ".example.net"]}, None), ())
    for name, expected in [("mx.example.org", True), ("a.example.net", True), ("a.example.org", False)] * 2:
        facts = Facts(attempt(client_name=name), NAMED, "", NOW, None, frozenset(), Surroundings(UTC))
        assert node.check(facts) is expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, True),
        ({"trait": "yes", "named": True}, True),
        ({"trait": "yes", "named": False}, False),
        ({"trait": "slow", "named": True}, None),
        ({"trait": "slow", "named": False}, False),
        ({"any": [{"trait": "slow"}, {"named": True}]}, True),
        ({"any": [{"trait": "slow"}, {"named": False}]}, None),
        ({"any": [{"trait": "no"}, {"named": False}]}, False),
        ({"any": [{"trait": "no"}, {}]}, True),
        ({"all": [{"trait": "yes"}, {"named": True}]}, True),
        ({"all": [{"trait": "yes"}, {"trait": "no"}]}, False),
        ({"not": {"trait": "slow"}}, None),
        ({"not": {"trait": "slow", "named": False}}, True),
        ({"not": {"trait": "yes", "named": False}}, True),
        ({"not": {"trait": "yes", "named": True}}, False),
        ({"not": [{"trait": "no"}, {"named": False}]}, True),
        ({"not": [{"trait": "no"}, {"named": True}]}, False),
        ({"not": [{"trait": "slow"}, {"named": True}]}, False),
        ({"not": {"not": {"trait": "slow"}}}, None),
        ({"not": {"not": {"trait": "yes"}}}, True),
    ],
)
def test_tables_inside_tables(when, expected):
    assert truth(when) is expected


# --- laws ------------------------------------------------------------------------------------------

TRUTH = st.sampled_from([True, False, None])
TRUTHS = st.lists(TRUTH, max_size=5)


def constant(value):
    return lambda facts: value


def checks(values):
    return [constant(value) for value in values]


@given(TRUTHS)
def test_de_morgan(values):
    inverted = [negated(check) for check in checks(values)]
    assert negated(both(checks(values)))(None) is either(inverted)(None)
    assert negated(either(checks(values)))(None) is both(inverted)(None)


@given(TRUTHS)
def test_both_and_either_are_the_least_and_the_most(values):
    rank = {False: 0, None: 1, True: 2}
    assert both(checks(values))(None) is min(values, key=rank.get, default=True)
    assert either(checks(values))(None) is max(values, key=rank.get, default=False)
    assert bool(every(checks(values))(None)) is all(values)


@given(TRUTH)
def test_not_twice_is_nothing(value):
    assert negated(negated(constant(value)))(None) is value


@given(TRUTHS, TRUTHS, st.integers(0, 4))
def test_what_becomes_known_changes_no_answer_that_was_known(values, later, at):
    """Kleene's logic is monotone: an answer given while something was unknown stays."""
    refined = [
        new if old is None else old
        for old, new in zip(values, (later * 5 + [None] * 5)[: len(values)], strict=True)
    ]
    for combine in (both, either):
        before = combine(checks(values))(None)
        after = combine(checks(refined))(None)
        assert before is None or after is before


# --- why -------------------------------------------------------------------------------------------


def leaf(word, value):
    return Node(constant(value), word)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (leaf("a", True), (True, ("a",))),
        (node_of("all", [leaf("a", True), leaf("b", True)]), (True, ("a", "b"))),
        (node_of("all", [leaf("a", True), leaf("b", None), leaf("c", False)]), (False, ("c",))),
        (node_of("all", [leaf("a", True), leaf("b", None), leaf("c", None)]), (None, ("b", "c"))),
        (node_of("all", []), (True, ())),
        (node_of("any", [leaf("a", False), leaf("b", True), leaf("c", True)]), (True, ("b",))),
        (node_of("any", [leaf("a", False), leaf("b", False)]), (False, ("a", "b"))),
        (node_of("any", [leaf("a", False), leaf("b", None)]), (None, ("b",))),
        (node_of("not", [leaf("a", False), leaf("b", False)]), (True, ("not a", "not b"))),
        (node_of("not", [leaf("a", False), leaf("b", True)]), (False, ("not b",))),
        (node_of("not", [leaf("a", None)]), (None, ("not a",))),
        (node_of("not", [node_of("all", [leaf("a", True), leaf("b", False)])]), (True, ("not b",))),
    ],
)
def test_what_decided(node, expected):
    assert node.why(None) == expected


NODES = st.recursive(
    TRUTH.map(lambda value: leaf(str(value), value)),
    lambda inner: st.builds(
        node_of, st.sampled_from(["all", "any", "not"]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@given(NODES)
def test_what_decided_is_told_for_every_answer(node):
    truth, because = node.why(None)
    assert truth is node.check(None)
    assert because


# --- list files ------------------------------------------------------------------------------------


def made(when, directory):
    maker = Maker({})
    nodes = maker.all_of(read_conditions(when, directory), ("rule", 0, "when"))
    return maker, both([node.check for node in nodes])


def holds(check, **fields):
    return check(Facts(attempt(**fields), NAMED, "", NOW, None, frozenset(), Surroundings(UTC)))


def test_values_in_a_file(tmp_path):
    (tmp_path / "optin").write_text(
        "\ufeff# who asked for it\ninfo@example.net\n\n@example.com # all of them\r\n/^x\\x23/\n"
    )
    maker, check = made({"recipient": ["bob@", {"file": "optin"}]}, tmp_path)
    assert maker.problems == []
    for recipient in ("info@example.net", "a@example.com", "bob@example.org", "x#y@example.org"):
        assert holds(check, recipient=recipient)
    assert not holds(check, recipient="alice@example.net")


def test_an_empty_file_matches_nothing(tmp_path):
    (tmp_path / "optin").write_text("# no entry yet\n")
    maker, check = made({"recipient": {"file": "optin"}}, tmp_path)
    assert maker.problems == []
    assert holds(check) is False


def test_networks_in_a_file(tmp_path):
    (tmp_path / "nets").write_text("192.0.2.0/24\n2001:db8::/32\n")
    maker, check = made({"not": {"client_address": {"file": "nets"}}}, tmp_path)
    assert maker.problems == []
    assert holds(check, client_address=ip_address("2001:db9::1"))
    assert not holds(check, client_address=ip_address("2001:db8::1"))


def test_bad_lines_are_told_once_with_their_number(tmp_path):
    (tmp_path / "optin").write_bytes(b"info@example.net\nexample.com\n\xff@example.org\n")
    when = {"any": [{"recipient": {"file": "optin"}}, {"recipient": {"file": "optin"}}]}
    maker, _ = made(when, tmp_path)
    assert [(problem.file, problem.line) for problem in maker.problems] == [
        (str(tmp_path / "optin"), 2),
        (str(tmp_path / "optin"), 3),
    ]


def test_a_file_that_is_not_there_is_told_with_its_key(tmp_path):
    maker, _ = made({"any": [{}, {"recipient": {"file": "gone"}}]}, tmp_path)
    (problem,) = maker.problems
    assert str(problem) == (
        f"{tmp_path}/gone: rule[1].when.any[2].recipient: cannot be read: No such file or directory"
    )


def test_a_file_that_anybody_can_write_is_refused(tmp_path):
    (tmp_path / "optin").write_text("")
    (tmp_path / "optin").chmod(0o666)
    maker, _ = made({"recipient": {"file": "optin"}}, tmp_path)
    assert ["is writable by group or others" in problem.message for problem in maker.problems] == [True]


def test_too_many_patterns_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(conditions, "RegexSet", partial(RegexSet, max_memory=200_000))
    (tmp_path / "many").write_text("".join(f"/{number}[a-z]{{9}}x/\n" for number in range(500)))
    maker, _ = made({"helo": {"file": "many"}}, tmp_path)
    (problem,) = maker.problems
    assert problem.file == str(tmp_path / "many")
    assert problem.message.startswith("too many regular expressions: the expressions before it use up")
