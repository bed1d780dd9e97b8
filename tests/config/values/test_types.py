"""Endpoints, networks, modes, texts and paths: tables of what is read and what is refused."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from multigrey.config.values.types import (
    FilePath,
    ReplyText,
    SystemdEndpoint,
    TcpEndpoint,
    UnixEndpoint,
    Word,
    format_mode,
    parse_endpoint,
    parse_mode,
    parse_network,
    read_label,
)

UNIX_LONGEST = "/run/" + "x" * 102


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix:/run/multigrey/postfix.sock", UnixEndpoint(Path("/run/multigrey/postfix.sock"))),
        (f"unix:{UNIX_LONGEST}", UnixEndpoint(Path(UNIX_LONGEST))),
        ("tcp:127.0.0.1:10023", TcpEndpoint("127.0.0.1", 10_023)),
        ("tcp:[::1]:1", TcpEndpoint("::1", 1)),
        ("tcp:[2001:db8::1]:65535", TcpEndpoint("2001:db8::1", 65_535)),
        ("tcp:localhost:10023", TcpEndpoint("localhost", 10_023)),
        ("tcp:mx.example.org:10023", TcpEndpoint("mx.example.org", 10_023)),
        ("systemd:postfix", SystemdEndpoint("postfix")),
        ("systemd:multigrey-exim.socket", SystemdEndpoint("multigrey-exim.socket")),
    ],
)
def test_endpoints(text, endpoint):
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == text
    assert parse_endpoint(endpoint) is endpoint


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", 'expected "unix:PATH", "tcp:HOST:PORT" or "systemd:NAME"'),
        (10_023, "got 10023"),
        ("/run/postfix.sock", 'did you mean "unix:/run/postfix.sock"?'),
        ("local:/run/postfix.sock", 'did you mean "unix:/run/postfix.sock"?'),
        ("inet:127.0.0.1:10023", 'did you mean "tcp:127.0.0.1:10023"?'),
        ("127.0.0.1:10023", 'did you mean "tcp:127.0.0.1:10023"?'),
        ("tpc:127.0.0.1:10023", 'did you mean "tcp:127.0.0.1:10023"?'),
        ("unix:run/x.sock", "the path of a socket must be absolute"),
        ("unix:", "the path of a socket must be absolute"),
        ("unix:/run/", "is a directory"),
        ("unix:/run/a\nb", "control character"),
        ("tpc:\x1b[2J", "\\u001b[2J"),
        (f"unix:{UNIX_LONGEST}x", "has 108 octets, but the path of a unix socket can have at most 107"),
        ("unix:/" + "ä" * 54, "has 109 octets"),
        ("tcp:10023", "host and port are expected"),
        ("tcp:127.0.0.1", "host and port are expected"),
        ("tcp::10023", "host and port are expected"),
        ("tcp:127.0.0.1:", "the port must be a number from 1 to 65535"),
        ("tcp:127.0.0.1:0", "the port must be a number from 1 to 65535"),
        ("tcp:127.0.0.1:65536", "the port must be a number from 1 to 65535"),
        ("tcp:127.0.0.1:smtp", 'the port must be a number from 1 to 65535, got "smtp"'),
        ("tcp:127.0.0.1:٢٢", "the port must be a number"),
        ("tcp:*:10023", "for every address"),
        ("tcp:::1:10023", "in brackets"),
        ("tcp:[127.0.0.1]:10023", "neither an IP address nor a host name"),
        ("tcp:[mx]:10023", "neither an IP address nor a host name"),
        ("tcp:300.1.1.1:10023", "neither an IP address nor a host name"),
        ("tcp:mx example:10023", "neither an IP address nor a host name"),
        ("systemd:", "is not a name for a systemd socket"),
        ("systemd:a:b", "is not a name for a systemd socket"),
        ("systemd:a b", "is not a name for a systemd socket"),
    ],
)
def test_what_is_no_endpoint(value, message):
    with pytest.raises(ValueError, match=r"^") as caught:
        parse_endpoint(value)
    assert message in str(caught.value)


@given(
    st.one_of(
        st.text(),
        st.sampled_from(["unix:", "tcp:", "systemd:", "tcp:["]).flatmap(lambda s: st.text().map(s.__add__)),
    )
)
def test_an_endpoint_reads_back_or_is_a_value_error(text):
    try:
        endpoint = parse_endpoint(text)
    except ValueError as error:
        message = str(error)
    else:
        message = "ok"
        assert parse_endpoint(str(endpoint)) == endpoint
    assert message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("tcp:127.0.0.1:1", True),
        ("tcp:127.9.9.9:1", True),
        ("tcp:[::1]:1", True),
        ("tcp:localhost:1", True),
        ("tcp:LOCALHOST:1", True),
        ("tcp:0.0.0.0:1", False),
        ("tcp:[::]:1", False),
        ("tcp:192.0.2.1:1", False),
        ("tcp:localhost.example.org:1", False),
    ],
)
def test_loopback(text, loopback):
    assert parse_endpoint(text).loopback is loopback


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_networks(text, network):
    assert parse_network(text) == ip_network(network)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("192.0.2.1/24", 'did you mean "192.0.2.0/24"?'),
        ("2001:db8::1/32", 'did you mean "2001:db8::/32"?'),
        ("::ffff:192.0.2.0/120", "write it in IPv4 notation"),
        ("192.0.2", "is not a network"),
        ("example.org", "is not a network"),
        ("192.0.2.0/33", "is not a network"),
        ("", "is not a network"),
        (5, "got 5"),
    ],
)
def test_what_is_no_network(value, message):
    with pytest.raises(ValueError, match=r"^") as caught:
        parse_network(value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "mode"),
    [("0660", 0o660), ("660", 0o660), ("0o660", 0o660), (0o660, 0o660), ("0777", 0o777), (0, 0)],
)
def test_modes(value, mode):
    assert parse_mode(value) == mode
    assert parse_mode(format_mode(mode)) == mode


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (660, 'did you mean "0660"?'),
        (0o1777, "is not between 0 and 0777 (octal)"),
        (-1, "is not between"),
        ("1777", "is not between"),
        ("0888", "expected octal permissions"),
        ("g+w", "expected octal permissions"),
        ("", "expected octal permissions"),
        (True, "got true"),
    ],
)
def test_what_is_no_mode(value, message):
    with pytest.raises(ValueError, match=r"^") as caught:
        parse_mode(value)
    assert message in str(caught.value)


class Texts(BaseModel):
    word: Word = "x"
    reply: ReplyText = "x"
    path: FilePath = Path("/")


def _read(field, value, context=None):
    return getattr(Texts.model_validate({field: value}, context=context), field)


@pytest.mark.parametrize("word", ["lmdb", "client-network", "a", "x.y_z-9"])
def test_words(word):
    assert _read("word", word) == word


@pytest.mark.parametrize("value", ["", "-a", "a-", "a b", "a\n", "ä", 5, "x" * 65])
def test_what_is_no_word(value):
    with pytest.raises(ValidationError, match="expected a word of letters, digits"):
        _read("word", value)


@pytest.mark.parametrize("text", ["Greylisted, please try again later", "x" * 400, "reasons", "4.7 or so"])
def test_reply_texts(text):
    assert _read("reply", text) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "must not be empty"),
        (" \t", "must not be empty"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        ("a\x85", "control character"),
        ("x" * 401, "has 401 octets"),
        ("ä" * 201, "has 402 octets"),
        ("451 later", "begins with the status code 451"),
        ("4.7.1 later", "begins with the status code 4.7.1"),
        ("450", "begins with the status code 450"),
        (5, "expected text in quotes, got 5"),
    ],
)
def test_what_is_no_reply_text(value, message):
    with pytest.raises(ValidationError, match=message):
        _read("reply", value)


def test_a_relative_path_begins_beside_the_configuration():
    assert _read("path", "lists/clients", {"directory": Path("/etc/multigrey")}) == Path(
        "/etc/multigrey/lists/clients"
    )
    assert _read("path", "/srv/x", {"directory": Path("/etc/multigrey")}) == Path("/srv/x")
    with pytest.raises(ValidationError, match="expected an absolute path"):
        _read("path", "lists/clients", {"directory": None})
    with pytest.raises(ValidationError, match="expected an absolute path"):
        _read("path", "lists/clients")


@pytest.mark.parametrize("value", ["", "~/x", "a\0b", 5])
def test_what_is_no_path(value):
    with pytest.raises(ValidationError):
        _read("path", value, {"directory": Path("/etc/multigrey")})


def test_labels():
    assert read_label("Debian-exim") == "Debian-exim"
    for value in ("", " a", "a\n", 'a"b', "x" * 201, 5):
        with pytest.raises(ValueError, match="expected"):
            read_label(value)


def test_a_kind_reads_by_itself():
    class Model(BaseModel):
        endpoint: Annotated[object, Word] = None

    assert Model().endpoint is None
