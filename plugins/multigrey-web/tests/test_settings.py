"""`[plugins.web]`: what it may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from multigrey_web.service import hosts_of
from multigrey_web.settings import USUAL_ADDRESS, WebSettings
from pydantic import ValidationError

from multigrey.api import LOOPBACK


def settings(**table):
    return WebSettings.model_validate({"address": USUAL_ADDRESS, **table})


def test_what_holds_when_only_an_address_is_given():
    found = settings()
    assert (found.refresh, found.decisions, found.connections, found.mode) == (30.0, 20_000, 32, 0o660)
    assert found.address.loopback


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"address": "tcp:0.0.0.0:80"}, "without a password"),
        ({"address": "tcp:192.0.2.1:80"}, "without a password"),
        ({"address": "tcp:[::]:80"}, "without a password"),
        ({"address": "tcp:127.0.0.1:10080"}, "browsers refuse port 10080"),
        ({"address": "systemd:web"}, "expected tcp:HOST:PORT or unix:PATH"),
        ({"address": "localhost:80"}, "address"),
        ({"hosts": ["mx.example.org:80"]}, "without a port"),
        ({"hosts": ["a b"]}, "is not a host name"),
        ({"refresh": "1s"}, "refresh"),
        ({"decisions": 10}, "decisions"),
        ({"connections": 0}, "connections"),
        ({"control": "control.sock"}, "control"),
        ({"user_header": "X-Remote-User"}, "claim to be any user"),
        ({"address": "unix:/run/page.sock", "user_header": "X-U", "mode": "0666"}, "claim to be any user"),
        ({"may": ["expect"]}, "every program that reaches the pages could act"),
        (
            {"address": "unix:/run/page.sock", "may": ["expect"]},
            "every program that reaches the pages could act",
        ),
        ({"may": ["forget"]}, "may"),
        ({"may": ["expect", "whitelist"]}, "may\n.*files that the daemon only reads: remove it, and copy"),
        ({"roles": {"desk": ["expect"]}}, "one needs the other"),
        ({"role_header": "X-Groups"}, "one needs the other"),
        ({"address_header": "X-Mail"}, "every user would see the mail of all"),
        (
            {"address": "unix:/run/page.sock", "user_header": "X-U", "address_header": "X-Mail"},
            "every user would see the mail of all",
        ),
        ({"aliases": "/etc/aliases.toml"}, "needs address_header"),
        ({"proxy_secret": "secret"}, "proxy_secret"),
        ({"address": "unix:/run/page.sock", "user_header": "X User"}, "user_header"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_refused(table, words):
    with pytest.raises(ValidationError, match=words):
        settings(**table)


@pytest.mark.parametrize(
    "table",
    [
        {"user_header": "X-U", "proxy_secret": "/etc/secret", "may": ["expect", "pass", "mode"]},
        {"address": "unix:/run/page.sock", "user_header": "X-U", "may": ["expect"]},
        {
            "address": "unix:/run/page.sock",
            "user_header": "X-U",
            "may": ["expect"],
            "role_header": "X-Groups",
            "roles": {"desk": ["expect"]},
        },
    ],
)
def test_users_whom_only_the_proxy_can_name_may_act(table):
    assert settings(**table).may


def test_an_address_is_needed():
    with pytest.raises(ValidationError, match="address"):
        WebSettings.model_validate({})


@pytest.mark.parametrize(
    ("table", "hosts"),
    [
        ({}, {"localhost", "127.0.0.1", "[::1]"}),
        ({"address": "tcp:127.0.0.2:80"}, {"localhost", "127.0.0.1", "[::1]", "127.0.0.2"}),
        ({"address": "tcp:[::1]:80", "hosts": ["MX.example.org"]}, {*LOOPBACK, "mx.example.org"}),
        ({"address": "tcp:0.0.0.0:80", "hosts": ["a.example"]}, {*LOOPBACK, "0.0.0.0", "a.example"}),
        ({"address": "unix:/run/page.sock"}, None),
        ({"address": "unix:/run/page.sock", "hosts": ["a.example"]}, {"a.example"}),
    ],
)  # fmt: skip
def test_the_names_it_is_known_by(table, hosts):
    assert hosts_of(settings(**table)) == hosts


def test_the_socket_to_ask():
    assert settings().socket(Path("/a")) == Path("/a")
    assert settings().socket(None) is None
    assert settings(control="/b").socket(Path("/a")) == Path("/b")
