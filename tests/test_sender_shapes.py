from __future__ import annotations

import pytest

from multigrey.sender_shapes import fold_known, fold_tokens


@pytest.mark.parametrize(
    ("local", "domain", "text"),
    [
        # nothing beside them: only what no human is called
        ("1234567890123456789", "example.com", "1234567890123456789"),
        ("deadbeefdeadbeefdeadbeef", "example.com", "deadbeefdeadbeefdeadbeef"),
        ("deadbeef20102011", "example.com", "deadbeef20102011"),
        ("4e1ef36e05a1b2c3", "example.com", "#"),
        ("a1b2c3d4e5f6a1b", "example.com", "a1b2c3d4e5f6a1b"),
        ("k3x9q0zr7tw2m5pv8ys4", "example.com", "#"),
        ("k3x9q0zr7tw2m5pv8ys", "example.com", "k3x9q0zr7tw2m5pv8ys"),
        ("abcdefghijklmnopqrst1985", "example.com", "abcdefghijklmnopqrst1985"),
        ("é1a2b3c4d5e6f7a8b9c0d", "example.com", "é1a2b3c4d5e6f7a8b9c0d"),
        ("a-1111-2222", "example.com", "a-1111-2222"),
        # beside a token: long numbers
        ("room-12-4e1ef36e05a1b2c3", "example.com", "room-12-#"),
        ("room-1234-4e1ef36e05a1b2c3-anna1985", "example.com", "room-#-anna1985"),
        # automatic mail: longer ones
        ("news-1985", "example.com", "news-1985"),
        ("news-19850", "example.com", "news-#"),
        ("order-ab12cd34", "example.com", "order-#"),
        ("order-kx12zw34", "example.com", "order-#"),
        ("order-kxzwqrs12345", "example.com", "order-kxzwqrs12345"),
        ("order-anna1985", "example.com", "order-anna1985"),
        # where bounces go: all
        ("bounce-1", "example.com", "bounce-#"),
        ("bounce-x1", "example.com", "bounce-x1"),
        ("bounce-1x", "example.com", "bounce-#"),
        ("bounce-x123", "example.com", "bounce-#"),
        ("bounce-anna1985", "example.com", "bounce-anna1985"),
        ("bounce-abcdefghijklmnopabcd-1", "example.com", "bounce-#"),
        ("bounce-12.34_56", "example.com", "bounce-#"),
        ("returns2", "example.com", "returns2"),
        ("7", "bounces.example.com", "#"),
        ("7", "news-bounces.example.com", "#"),
        ("7", "bounce-eu.example.com", "#"),
        ("7", "bnc3.example.com", "#"),
        # a firm of that name, and words that only begin like it
        ("7", "bounce.com", "7"),
        ("7", "bouncehouse.example.com", "7"),
        # before a foreign domain
        ("x-7-anna=4.example.net", "example.com", "x-#-anna=4.example.net"),
        ("x-7-anna=example", "example.com", "x-7-anna=example"),
    ],
)
def test_tokens_are_known_by_themselves_and_by_what_is_beside_them(local, domain, text):
    assert fold_tokens(local, domain, returns=False) == text


def test_a_recipient_says_that_bounces_go_there():
    assert fold_tokens("x-7-#", "example.com", returns=False) == "x-7-#"
    assert fold_tokens("x-7-#", "example.com", returns=True) == "x-#"


@pytest.mark.parametrize(
    ("local", "domain", "folded"),
    [
        ("bounce-md_1.2", "example.com", ("bounce-md_1.#", "example.com")),
        ("bounce-md_1", "example.com", None),
        ("bounce-mc.us1_2.3", "mail1.atl1.rsgsv.net", ("bounce-mc.us1_2.#", "rsgsv.net")),
        ("bounce-mc.us1_2.3", "rsgsv.net", ("bounce-mc.us1_2.#", "rsgsv.net")),
        ("bounce-mc.us1_2.3", "xrsgsv.net", ("bounce-mc.us1_2.#", "xrsgsv.net")),
        ("bounces-1", "d.sender-sib.com", ("bounces-#", "d.sender-sib.com")),
        ("bounces", "gt.d.sender-sib.com", None),
        ("a=b", "bounce.twitter.com", ("#", "bounce.twitter.com")),
        ("a=b", "xbounce.twitter.com", None),
        ("anna", "example.com", None),
        ("", "", None),
    ],
)
def test_known_shapes_keep_what_names_the_customer(local, domain, folded):
    assert fold_known(local, domain) == folded
