"""The values: words that must stay, and that values cannot be changed once they are shared."""

from __future__ import annotations

import dataclasses

import pytest

from multigrey import model
from multigrey.model import (
    NO_ATTRIBUTES,
    Action,
    Attempt,
    Entry,
    Match,
    Origin,
    OriginRecord,
    Reason,
    Record,
    Stage,
    Table,
    Verdict,
)

ATTEMPT = Attempt("test", None, None, "", "", "bob@example.net")


def test_words_of_reasons():
    """The log, metrics, headers and the man page use these; readers of logs depend on them."""
    assert " ".join(reason.value for reason in Reason) == (
        "new early expired retry known same-message whitelisted auto-whitelisted authenticated rule "
        "over-limit provider own-network no-identity null-sender probe mode-off error"
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_found_by_its_word_and_has_a_meaning(reason):
    assert Reason(reason.value) is reason
    assert reason.meaning.endswith(".")
    assert "\n" not in reason.meaning


def test_words_of_actions_and_stages():
    assert [action.value for action in Action] == ["pass", "defer", "reject"]
    assert [stage.value for stage in Stage] == ["rcpt", "data"]


def test_tables_on_disk():
    assert {table.name: table.value for table in Table} == {
        "RECORD": b"r",
        "ORIGIN": b"o",
        "META": b"m",
        "MARK": b"k",
    }


@pytest.mark.parametrize(
    ("record", "earned"),
    [
        (Record(10, 10, 120), False),
        (Record(10, 70, 120, attempts=3, early=2), False),
        (Record(10, 130, 120, passed_at=130, passes=1), True),
        (Record(10, 130, 0, passed_at=10, passes=1), True),
        (Record(10, 130, 120, passed_at=10, passes=0), False),
        (Record(10, 130, 120, passed_at=130, passes=0), False),
    ],
)
def test_earned(record, earned):
    assert record.earned is earned


VALUES = [
    ATTEMPT,
    Origin("192.0.2.0/24", named=False),
    Record(1, 1, 1),
    OriginRecord(),
    Match("file", "192.0.2.0/24"),
    Verdict(Action.PASS, Reason.KNOWN),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_their_fields_and_nothing_else(value):
    same = dataclasses.replace(value)
    assert same == value
    assert same is not value
    assert len({same, value}) == 1
    assert not hasattr(value, "__dict__")
    first = dataclasses.fields(value)[0].name
    assert dataclasses.replace(value, **{first: None}) != value


def test_no_attributes_can_be_added_to_the_shared_nothing():
    with pytest.raises(TypeError):
        NO_ATTRIBUTES["x"] = "y"
    assert ATTEMPT.attributes is NO_ATTRIBUTES


def test_what_else_the_server_told_makes_no_other_attempt():
    assert dataclasses.replace(ATTEMPT, attributes={"size": "1"}) == ATTEMPT


def test_a_fresh_record_has_one_attempt_and_never_passed():
    record = Record(1, 1, 120)
    assert (record.attempts, record.early, record.passed_at, record.passes) == (1, 0, 0, 0)


def test_entry_is_a_value_and_its_time():
    assert Entry(b"x", None) == (b"x", None)


def test_everything_public_is_named():
    classes = {
        name for name, value in vars(model).items() if getattr(value, "__module__", "") == model.__name__
    }
    assert {name for name in classes if not name.startswith("_")} - {"T"} <= set(model.__all__)
    assert all(hasattr(model, name) for name in model.__all__)
