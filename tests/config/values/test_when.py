"""Tables of conditions: how they are read, where problems are, and that they are written back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from multigrey.config.error_messages import explain
from multigrey.config.settings import RuleTable
from multigrey.config.show import _raw, options
from multigrey.config.values.when import CONDITIONS, GROUPS, Test, conditions_text, read_conditions

DIRECTORY = Path("/etc/multigrey")


def read(text):
    return read_conditions(tomllib.loads(f"when = {text}")["when"], DIRECTORY)


def written(conditions):
    kind = RuleTable.model_fields["when"].annotation.__args__[0].__metadata__[0]
    return _raw(kind.write(conditions))


def problems(text):
    with pytest.raises(ValidationError) as raised:
        RuleTable.model_validate(
            {"name": "r", "action": "pass", **tomllib.loads(f"when = {text}")},
            context={"directory": DIRECTORY},
        )
    return list(explain(raised.value, RuleTable))


WHOLE = [
    "{}",
    '{ recipient = "info@example.org" }',
    '{ recipient = ["info@example.org"] }',
    '{ recipient = ["info@", "@example.org", { file = "/etc/multigrey/optin" }] }',
    '{ client_address = { file = "/etc/multigrey/partners" } }',
    '{ named = true, tls = false, provider = true, authenticated = "alice" }',
    '{ size = [">=1MiB", "<1KiB"], time = "22:00-06:00", weekday = ["sat", "sun"] }',
    '{ trait = ["dnsbl:zen", "null-sender"], listener = "mx", policy_context = "strict" }',
    '{ not = { recipient = "a@b" } }',
    '{ not = [{ recipient = "a@b" }, { sender = "<>", tls = true }] }',
    '{ any = [{ named = false }, { all = [{ tls = true }, {}] }], helo = "/^[0-9]/" }',
    '{ origin = [".example.org", "192.0.2.0/24"], client_name = ".example.org" }',
    '{ sender_domain = "example.org", recipient_domain = "/e/", sender = "<>" }',
]


@pytest.mark.parametrize("text", WHOLE)
def test_what_is_read_is_written(text):
    assert written(read(text)) == text
    assert read(written(read(text))) == read(text)


def test_everything_there_is_was_written_above():
    used = {key for text in WHOLE for key, _ in keys_of(read(text))}
    assert used == {*CONDITIONS}


def keys_of(conditions):
    return [(path[-1], test) for path, test in conditions.tests()]


def test_a_relative_path_begins_beside_the_configuration():
    ((_, test),) = keys_of(read('{ recipient = { file = "lists/optin" } }'))
    assert [file.path for file in test.files] == [DIRECTORY / "lists/optin"]


def test_every_condition_is_found_with_its_place():
    conditions = read(
        '{ helo = "a", not = { sender = "<>" }, any = [{ tls = true }, { all = [{ size = "<1" }] }] }'
    )
    assert [path for path, _ in conditions.tests(("when",))] == [
        ("when", "helo"),
        ("when", "not", "sender"),
        ("when", "any", 0, "tls"),
        ("when", "any", 1, "all", 0, "size"),
    ]
    assert all(isinstance(test, Test) for _, test in conditions.tests())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"x"', [(("when",), "expected a table")]),
        ("{ recipients = 1 }", [(("when", "recipients"), 'did you mean "recipient"?')]),
        ("{ colour = 1 }", [(("when", "colour"), "known here: client_address, ")]),
        ("{ tls = 1, named = [] }", [(("when", "tls"), "got 1"), (("when", "named"), "true or false")]),
        ("{ recipient = true }", [(("when", "recipient"), "got true")]),
        ("{ provider = [true] }", [(("when", "provider", 0), "got true")]),
        ('{ recipient = ["a@b", "c"] }', [(("when", "recipient", 1), "has no @")]),
        ("{ not = [{ helo = 1 }, 2] }", [(("when", "not", 0, "helo"), "1"), (("when", "not", 1), "2")]),
        ("{ any = [1] }", [(("when", "any", 0), "expected a table")]),
        ("{ all = 1 }", [(("when", "all"), "expected a list of tables")]),
        ("{ not = [] }", [(("when", "not"), "empty list")]),
        ("{ not = [{}] }", [(("when", "not"), "could never be true")]),
        ("{ sender = [] }", [(("when", "sender"), "empty list, which matches nothing")]),
        ("{ trait = 1 }", [(("when", "trait"), "expected a name such as")]),
        ("{ sender = { file = 1 } }", [(("when", "sender"), "expected a path")]),
        ('{ sender = { file = "~/x" } }', [(("when", "sender"), "~ is not expanded here")]),
        ("{ sender = {} }", [(("when", "sender"), "got the keys none")]),
        ('{ size = { file = "x" } }', [(("when", "size"), "cannot be in a file")]),
    ],
)  # fmt: skip
def test_every_problem_has_its_place(text, found):
    said = problems(text)
    assert [path for path, _ in said] == [path for path, _ in found]
    for (_, message), (_, part) in zip(said, found, strict=True):
        assert part in message


def test_nobody_writes_twenty_tables_inside_each_other():
    assert problems(f"{'{ not = ' * 20}{{ named = true }}{' }' * 20}")[0][1].startswith(
        "is nested too deeply"
    )
    assert read(f"{'{ not = ' * 19}{{ named = true }}{' }' * 19}")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('{ recipient = "info@example.org" }', 'recipient = "info@example.org"'),
        ('{ recipient = ["a@b"] }', 'recipient = ["a@b"]'),
        ('{ helo = ["a", "b", "c", "d"] }', 'helo = ["a", "b", "c", ... (4 values)]'),
        ('{ helo = { file = "/l" } }', 'helo = { file = "/l" }'),
        ("{ tls = false }", "tls = false"),
    ],
)
def test_a_condition_as_people_read_it(text, label):
    ((_, test),) = keys_of(read(text))
    assert conditions_text(test) == label


def test_the_manual_knows_what_when_is():
    kinds = {(option.table, option.key): option.kind for option in options()}
    assert kinds["[[rule]]", "when"] == "conditions"


TABLE = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=8), st.just([]), st.just({})),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*CONDITIONS, *GROUPS, "file", "x"]), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(TABLE)
def test_any_table_is_read_or_refused_with_words(raw):
    try:
        conditions = RuleTable.model_validate({"name": "r", "action": "pass", "when": raw}).when
    except ValidationError as error:
        for path, message in explain(error, RuleTable):
            assert path[:1] == ("when",)
            assert message
    else:
        if raw is not None:
            assert read(written(conditions)) == conditions
