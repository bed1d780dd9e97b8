"""Decisions as JSON, in clear and redacted."""

from __future__ import annotations

import json

from multigrey.events.as_json import event_as_json, hidden
from multigrey.identity.redaction import Redactor
from multigrey.model import Match, Reason
from tests.support.decisions import decision


def test_told_says_everything():
    event = decision(
        Reason.WHITELISTED,
        attributes={"queue_id": "abc"},
        verdict={"match": Match("list", "entry", "ops"), "rule": "r"},
    )
    said = event_as_json(event)
    assert (said["source"], said["entry"], said["owner"], said["rule"]) == ("list", "entry", "ops", "r")
    assert said["attributes"] == {"queue_id": "abc"}
    assert (said["client_address"], said["stage"], said["observed"]) == ("192.0.2.10", "rcpt", False)
    assert event_as_json(decision(client_address=None))["client_address"] is None


def test_text_from_the_wire_survives_json():
    event = decision(helo="\udcff", sender='\x1b"')
    assert json.loads(json.dumps(event_as_json(event))) == event_as_json(event)


def test_hidden_says_as_much_as_the_log_does():
    redactor = Redactor(bytes(32))
    event = decision(authenticated="anna", attributes={"sasl_username": "anna"}, origin="192.0.2.0/24")
    said = event_as_json(hidden(event, redactor))
    assert "anna" not in str(said)
    assert said["sender"] == redactor.address("a@example.org")
    assert said["client_address"] == redactor.client("192.0.2.10")
    assert said["client_name"] == said["helo"] == redactor.name("mx1.example.org")
    assert said["origin"] == redactor.token("192.0.2.0/24")
    assert event_as_json(hidden(decision(), redactor))["origin"] == "example.org"
    nobody = event_as_json(hidden(decision(client_address=None, client_name=None, sender=""), redactor))
    assert (nobody["client_address"], nobody["client_name"], nobody["sender"]) == (None, None, "")
