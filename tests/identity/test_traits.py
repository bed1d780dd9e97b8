from __future__ import annotations

from dataclasses import replace

import pytest

from multigrey.identity.traits import NoClientName, NullSender
from multigrey.model import Attempt

ATTEMPT = Attempt("smtp", None, "mail.example.org", "mail.example.org", "a@example.org", "b@example.net")

NULL = [
    # changes of the attempt, a bounce?
    ({}, False),
    ({"sender": ""}, True),
    ({"sender": "", "recipient": "", "message": "m"}, True),
    ({"sender": "", "recipient": ""}, False),
    ({"sender": "", "raw": "key"}, False),
]


@pytest.mark.parametrize(("changes", "held"), NULL)
def test_null_sender(changes, held):
    assert NullSender().holds(replace(ATTEMPT, **changes)) is held


@pytest.mark.parametrize("name", ["mail.example.org", "", None])
def test_no_client_name(name):
    assert NoClientName().holds(replace(ATTEMPT, client_name=name)) is (not name)
