"""What is allowed and warned of."""

from __future__ import annotations

import pytest

from multigrey.config.settings import Settings
from multigrey.config.warnings import advice

LISTEN = {"protocol": "postfix", "address": "unix:/run/multigrey/postfix.sock"}
RULE = {"name": "r", "traits": ["null-sender"], "action": "reject"}


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        (
            {"greylist": {"text": "Service unavailable"}},
            ("greylist", "text"),
            'begins with "Service unavailable"',
        ),
        ({"greylist": {"text": "service unavailable, retry"}}, ("greylist", "text"), "fail2ban"),
        ({"greylist": {"text": "Client host rejected: greylisted"}}, ("greylist", "text"), "fail2ban"),
        ({"greylist": {"text": "Relay access denied for now"}}, ("greylist", "text"), "fail2ban"),
        ({"greylist": {"text": "Später noch einmal"}}, ("greylist", "text"), "is not ASCII"),
        (
            {"rule": [RULE, {**RULE, "name": "s", "text": "Domain not found"}]},
            ("rule", 1, "text"),
            "fail2ban",
        ),
        ({"limits": {"idle": "300s"}}, ("limits", "idle"), "300s for which Postfix keeps an idle connection"),
        ({"limits": {"answer_within": "5s"}}, ("limits", "answer_within"), "the 5s that Exim waits"),
        ({"listen": [{**LISTEN, "mode": "0666"}]}, ("listen", 0, "mode"), "every user of this machine"),
        ({"store": {"map_size": "1GiB"}}, ("limits", "max_records"), "5000000 records do not fit in"),
        ({"limits": {"max_records": 13_000_000}}, ("limits", "max_records"), "there are some 12240656,"),
        (
            {"store": {"map_size": "383MiB"}, "limits": {"max_records": 100_000}},
            ("store", "map_size"),
            "no room for the marks of a large flood",
        ),
    ],
)
def test_warnings(settings, path, message):
    [(found, text)] = advice(_settings(settings))
    assert found == path
    assert message in text


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"greylist": {"text": "The service is unavailable"}},
        {"greylist": {"text": "Matching later attempts pass"}},
        {"limits": {"idle": "301s"}},
        {"limits": {"max_records": 12_000_000}},
        {"limits": {"max_records": 0}, "store": {"map_size": "384MiB"}},
        {"store": {"backend": "memory", "map_size": "1MiB"}},
        {"limits": {"answer_within": "4999ms"}},
        {"listen": [{**LISTEN, "mode": "0770"}]},
    ],
)
def test_nothing_to_say(settings):
    assert [*advice(_settings(settings))] == []


def _settings(values: dict) -> Settings:
    return Settings.model_validate({"state_dir": "/srv/multigrey", "listen": [LISTEN], **values})
