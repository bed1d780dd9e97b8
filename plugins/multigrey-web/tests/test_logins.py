"""Whom the pages believe, and what each may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multigrey_web.logins import ACTS, PROXY_HEADER, Logins, User, read_aliases, read_secret
from multigrey_web.settings import Act

ANNA = {"host": "mx.example.org", "x-user": "anna", "x-groups": "staff, helpdesk"}
ROLES = {"helpdesk": ("expect",), "postmaster": ACTS}


def logins(**changes):
    return Logins(**{"user_header": "X-User", "may": ACTS, **changes})


@pytest.mark.parametrize(
    ("changes", "headers", "user"),
    [
        ({}, ANNA, User("anna", frozenset(ACTS))),
        ({}, {}, User()),
        ({}, {"x-user": "  "}, User()),
        ({"user_header": ""}, ANNA, User()),
        ({"may": ()}, ANNA, User("anna")),
        ({"role_header": "X-Groups", "roles": ROLES}, ANNA, User("anna", frozenset({"expect"}))),
        ({"role_header": "X-Groups", "roles": ROLES, "may": ("pass",)}, ANNA, User("anna")),
        ({"role_header": "X-Groups", "roles": ROLES}, {"x-user": "bob"}, User("bob")),
        (
            {"role_header": "X-Groups", "roles": ROLES},
            {"x-user": "bob", "x-groups": "helpdesk;postmaster"},
            User("bob", frozenset(ACTS)),
        ),
        ({}, {"x-user": "a\nb"}, User("a\\u000ab", frozenset(ACTS))),
    ],
)
def test_users(changes, headers, user):
    assert logins(**changes).user(headers) == user


def test_own_addresses_are_those_of_the_proxy_and_their_aliases():
    aliases = {"anna": ("office@example.net",), "anna@example.net": ("Info@example.net", "anna@example.net")}
    found = logins(role_header="X-Groups", roles=ROLES, address_header="X-Mail", aliases=aliases)
    user = found.user({**ANNA, "x-groups": "", "x-mail": "Anna@Example.net, rubbish, a b@example.net"})
    assert user.addresses == ("anna@example.net", "office@example.net", "info@example.net")
    assert not user.may_read
    assert found.user({**ANNA, "x-mail": ""}).may_read  # by the role
    assert not found.user({}).may_read
    assert logins().user({}).may_read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"anna" = ["info@example.net"]\n"Bob@example.net" = []\n', None),
        ('anna = "info@example.net"', "anna: expected addresses"),
        ('anna = ["info"]', "anna: expected addresses"),
        ("anna = [1]", "anna: expected addresses"),
        ("anna", "Expected"),
    ],
)
def test_aliases_are_a_table_of_addresses(tmp_path, text, words):
    path = tmp_path / "aliases.toml"
    path.write_text(text)
    if words is None:
        assert read_aliases(path) == {"anna": ("info@example.net",), "bob@example.net": ()}
    else:
        with pytest.raises(ValueError, match=words):
            read_aliases(path)
    with pytest.raises(ValueError, match="No such file"):
        read_aliases(tmp_path / "nothing")


def test_the_settings_know_the_same_acts():
    assert Act.__args__ == ACTS


def test_only_the_proxy_has_the_secret():
    found = logins(secret=b"0123456789abcdef")
    assert found.is_from_proxy({PROXY_HEADER: "0123456789abcdef"})
    for headers in ({}, {PROXY_HEADER: ""}, {PROXY_HEADER: "0123456789abcdeX"}, {PROXY_HEADER: "\u20ac"}):
        assert not found.is_from_proxy(headers)
    assert logins().is_from_proxy({})


OWN = {**ANNA, "sec-fetch-site": "same-origin"}


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        (OWN, True),
        ({**ANNA, "origin": "https://mx.example.org"}, True),
        (ANNA, False),
        ({**OWN, "sec-fetch-site": "cross-site", "origin": "https://mx.example.org"}, False),
        ({**OWN, "sec-fetch-site": "same-site"}, False),
        ({**ANNA, "origin": "https://evil.example"}, False),
        ({**ANNA, "origin": "null"}, False),
        ({"origin": "", "x-user": "anna"}, False),
    ],
)
def test_a_form_of_another_site_is_none_of_ours(headers, is_own):
    found = logins()
    user = found.user(headers)
    token = found.token(user, headers.get("host", ""))
    assert found.is_own(headers, token, user) is is_own
    for wrong in ("", token[:-1], token.upper() + "0", "\u20ac", logins().token(user, "mx.example.org")):
        assert not found.is_own(headers, wrong, user)
    assert not found.is_own(headers, found.token(User("bob"), "mx.example.org"), user)
    assert not found.is_own(headers, found.token(user, "other.example"), user)


@given(st.text(max_size=50), st.text(max_size=50))
def test_any_header_is_a_user_or_none(name, roles):
    found = logins(role_header="X-Groups", roles=ROLES).user({"x-user": name, "x-groups": roles})
    assert found.name.isprintable()
    assert found.may <= frozenset(ACTS)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (b"0123456789abcdef\n", 0o640, None),
        (b"0123456789abcdef", 0o644, "other users can read it: chmod o="),
        (b"short", 0o600, "one line of 16 to 1000"),
        (b"0123456789abcdef\nmore", 0o600, "one line"),
        (b"0123456789abcde\xff", 0o600, "one line"),
        (b"x" * 1001, 0o600, "one line"),
    ],
)
def test_the_secret_is_one_line_that_others_cannot_read(tmp_path, text, mode, words):
    path = tmp_path / "secret"
    path.write_bytes(text)
    path.chmod(mode)
    if words is None:
        assert read_secret(path) == b"0123456789abcdef"
    else:
        with pytest.raises(ValueError, match=words):
            read_secret(path)
    with pytest.raises(ValueError, match="No such file"):
        read_secret(tmp_path / "nothing")
