"""Tables for other programs: whole, valid, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multigrey_web.exports import FORMS, Export, exported
from sites import HOSTILE

NAMES = ("first_seen", "sender", "number", "observed")
TEXTS = st.text(alphabet=st.characters(exclude_characters="\0"), max_size=60)


def rows(*found):
    return Export(NAMES, lambda _: [dict(zip(NAMES, row, strict=True)) for row in found])


def as_csv(*found):
    return list(csv.reader(io.StringIO(exported(rows(*found), FORMS["csv"], {}), newline="")))


def as_json(*found):
    return json.loads(exported(rows(*found), FORMS["json"], {}))


def test_times_are_utc_and_what_is_not_known_is_empty():
    row = (1_790_000_000, "a@x.example", None, True)
    assert as_csv(row)[1] == ["2026-09-21T14:13:20Z", "a@x.example", "", "true"]
    assert as_json(row) == [
        {"first_seen": "2026-09-21T14:13:20Z", "sender": "a@x.example", "number": None, "observed": True}
    ]


def test_a_table_without_rows_has_its_columns():
    assert as_csv() == [list(NAMES)]
    assert as_json() == []


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\uff1d1"])
def test_a_stranger_makes_no_formula(text):
    assert as_csv((0, text, 0, False))[1][1] == "'" + text
    assert as_json((0, text, 0, False))[0]["sender"] == text


def test_a_number_below_zero_is_a_number():
    assert as_csv((0, "", -5, False))[1][2] == "-5"


@given(st.one_of(TEXTS, st.sampled_from(HOSTILE)))
def test_any_text_is_one_field_and_valid(text):
    assert len(as_csv((0, text, 0, False))[1]) == len(NAMES)
    for form in FORMS.values():
        exported(rows((0, text, 0, False)), form, {}).encode()
