"""What a setup says of origins and rules: delays, windows, keys."""

from __future__ import annotations

import pytest

from multigrey.greylist.policy import Policy
from multigrey.model import Origin
from multigrey.rules.rules import Outcome
from tests.support.engines import MAX_AGE, WINDOW, scheme, setup

UNNAMED = Origin("192.0.2.0/24", named=False)
NAMED = Origin("example.org", named=True)


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
