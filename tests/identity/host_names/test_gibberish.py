"""How far texts are from names."""

from __future__ import annotations

from random import Random
from string import ascii_lowercase, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.identity.host_names.gibberish import oddity

NAMES = [
    *["anna", "maximilian", "mustermann", "schlittschuh", "przemyslaw", "brzeczyszczykiewicz"],
    *["szczepanski", "hrafnhildur", "thorvaldsdottir", "oddgeir", "siobhan", "caoimhe"],
    *["mcnamara", "nguyen", "phuong", "xiaoming", "zhangwei", "kowalczyk", "vercruysse"],
    *["dijkstra", "ijsbrand", "goncalves", "fernandez", "yilmaz", "oezdemir", "kaczmarek"],
    *["oluwaseun", "chukwuemeka", "venkataraman", "krishnamurthy", "subramaniam"],
    *["hitotsuyanagi", "tsukuda", "nakashima", "newsletter", "notification", "undeliverable"],
    *["buchhaltung", "sekretariat", "kundenservice", "rechnungswesen", "accounting"],
    *["purchasing", "webmaster", "hostmaster"],
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_not_odd(name):
    assert oddity(name) <= 6


def test_two_names_together_are_not_odd():
    assert sum(oddity(one + other) > 6 for one in NAMES for other in NAMES) < len(NAMES) ** 2 / 200


@pytest.mark.parametrize(("size", "least"), [(12, 0), (16, 0), (20, 3), (26, 6)])
def test_random_letters_are_odd(size, least):
    random = Random(size)
    odd = [oddity("".join(random.choices(ascii_lowercase, k=size))) >= least for _ in range(2000)]
    assert sum(odd) > 0.95 * len(odd)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("", 0),
        ("a", 0),
        ("anna1985", oddity("anna")),
        ("1985anna", oddity("anna")),
        ("a1b", 3),
        ("a1b2c3", 12),
        ("qq", 5),
        ("q-q", 0),
        ("\u00e4\u00f6", 0),
        ("123456", 0),
    ],
)
def test_pairs_and_changes_count(text, bits):
    assert oddity(text) == bits


@given(st.text(max_size=50) | st.text(ascii_lowercase + digits + "-_#", max_size=320))
def test_it_takes_everything(text):
    assert -3 * len(text) <= oddity(text) <= 6 * len(text)
