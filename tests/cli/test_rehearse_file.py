from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.cli.rehearse_file import RehearsalError, read_rehearsal
from multigrey.model import Stage

NOW = 1_000_000_000
LISTENERS = ["postfix", "exim"]


def read(text: str):
    return read_rehearsal(text, NOW, LISTENERS)


TOML = """
start = 2026-11-02T10:00:00Z
[[attempt]]
client_address = "192.0.2.1"
client_name = "mx1.example.org"
sender = "a@example.org"
recipient = "b@example.net"
message = "m1"
expect = "defer"
[[attempt]]  # the same again
at = "+2m"
client_address = "2001:db8::1"
expect = ["pass", "retry"]
note = "comes back"
[[attempt]]
at = "1h"
listener = "exim"
sender = "<>"
stage = "data"
attributes = { size = "12" }
[[attempt]]
at = 2026-11-03T10:00:00Z
client_address = ""
client_name = ""
"""


def test_toml():
    first, second, third, last = read(TOML)
    start = int(datetime.fromisoformat("2026-11-02T10:00:00Z").timestamp())
    assert [step.time - start for step in (first, second, third, last)] == [0, 120, 3600, 86_400]
    assert [step.line for step in (first, second, third, last)] == [3, 10, 15, 21]
    assert (first.expect, second.expect, third.expect) == (("defer",), ("pass", "retry"), ())
    assert (second.note, third.note) == ("comes back", "")
    assert first.attempt.listener == "postfix"
    assert (second.attempt.client_address, second.attempt.recipient) == (
        ip_address("2001:db8::1"),
        "b@example.net",
    )
    assert (first.attempt.message, second.attempt.message) == ("m1", "")
    assert (third.attempt.sender, third.attempt.stage, third.attempt.attributes) == (
        "",
        Stage.DATA,
        {"size": "12"},
    )
    assert (last.attempt.client_address, last.attempt.client_name) == (None, None)
    assert (last.attempt.listener, last.attempt.stage) == ("exim", Stage.DATA)


def test_json_lines():
    text = '{"client_address": "192.0.2.1", "recipient": "b@example.net"}\n\n{"at": "+1m", "expect": "new"}\n'
    first, second = read(text)
    assert (first.time, second.time, second.line, second.expect) == (NOW, NOW + 60, 3, ("new",))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no attempts found"),
        ("[[attempt]]\n", "line 1: the recipient is missing"),
        ("[[attempt]\n", "not valid TOML"),
        ("attempt = 7\n", "line 1: expected [[attempt]] tables"),
        ("[attempts]\n", "line 1: unknown key 'attempts'"),
        (
            '[[attempt]]\nrecipent = "a@example.org"\n',
            "line 1: unknown key 'recipent'; did you mean \"recipient\"?",
        ),
        ("[[attempt]]\nrecipient = 7\n", "line 1: recipient: expected text, got 7"),
        ('[[attempt]]\nrecipient = "a"\nclient_address = "192.0.2"\n', "line 1: client_address: "),
        ('[[attempt]]\nrecipient = "a"\nat = "5"\n', "line 1: at: expected a time"),
        ('[[attempt]]\nrecipient = "a"\nat = "5x"\n', "line 1: at: "),
        ('[[attempt]]\nrecipient = "a"\nat = "5m"\n[[attempt]]\nat = "1m"\n', "line 4: at: is earlier than"),
        ('[[attempt]]\nrecipient = "a"\nlistener = "smtp"\n', "unknown 'smtp' (known: postfix, exim)"),
        ('[[attempt]]\nrecipient = "a"\nstage = "helo"\n', "stage: expected one of rcpt, data"),
        (
            '[[attempt]]\nrecipient = "a"\nexpect = "passed"\n',
            'neither an action nor a reason; did you mean "pass"?',
        ),
        ('[[attempt]]\nrecipient = "a"\nexpect = 1\n', "expect: expected an action"),
        (
            '[[attempt]]\nrecipient = "a"\nattributes = { size = 1 }\n',
            "attributes: expected a table of texts",
        ),
        ('start = "tomorrow"\n', "line 1: start: expected a time"),
        ('{"recipient": "a"}\n[]\n', "line 2: expected a JSON object"),
        ('{"recipient": "a"}\nx\n', "line 2: not valid JSON"),
        ('{"recipient": "a", "at": true}', "line 1: at: expected a time"),
        ('{"recipient": "a", "at": 1e99}', "line 1: at: expected a time"),
    ],
)
def test_says_what_is_wrong_and_where(text, error):
    with pytest.raises(RehearsalError) as found:
        read(text)
    assert error in str(found.value)


@given(st.text() | st.text(alphabet='{}[]":, at+5m\n=recipient'))
def test_any_text_is_read_or_refused(text):
    try:
        steps = read(text)
    except RehearsalError:
        return
    assert steps
