from __future__ import annotations

import pytest

from multigrey.identity.sender_patterns import (
    MACHINE_WORDS,
    fold_known,
    fold_padded,
    fold_tokens,
    may_hold_token,
)


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
        # letters that do not form a name, in addresses for bounces, and names that look odd
        ("bounce-abcdefab12", "example.com", "bounce-#"),
        ("bounce-fadebeef12", "example.com", "bounce-fadebeef12"),
        ("bounce-deadbeefcafe", "example.com", "bounce-deadbeefcafe"),
        ("bounce-fecdabcc", "example.com", "bounce-#"),
        ("bounce-qxzvkjwqpfgh", "example.com", "bounce-#"),
        ("bounce-qxzvkjw", "example.com", "bounce-qxzvkjw"),
        ("bounce-schlittschuhe", "example.com", "bounce-schlittschuhe"),
        ("qxzvkjwqpfgh", "bounces.example.com", "#"),
        ("qxzvkjwqpfgh", "example.com", "qxzvkjwqpfgh"),
        ("reply-qxzvkjwqpfgh", "example.com", "reply-qxzvkjwqpfgh"),
        ("reply-qxzvkjwqpfghbbqq", "example.com", "reply-#"),
        # groups of hex: whole, with letters or digits alone in some; words at an end stay
        ("x-0a1b2c3d-deadbeef-12345678", "example.com", "x-#"),
        ("abe-0a1b2c3d-4e5f6071", "example.com", "abe-#"),
        ("cade-0a1b2c3d-4e5f6071", "example.com", "cade-#"),
        ("0a1b2c3d-4e5f6071-ada1985", "example.com", "#-ada1985"),
        ("0a1b-cafe", "example.com", "0a1b-cafe"),
        ("bounce-0a1b-cafe", "example.com", "bounce-#"),
        ("bounce-1234-cafe", "example.com", "bounce-#-cafe"),
        ("0a1b2c3d.4e5f6071-8a9b", "example.com", "#"),
        ("b1234567-c7654321", "example.com", "b1234567-c7654321"),
        # UUIDs and message ids
        ("msg0a1b2c3d-4e5f-6071-8a9b-0c1d2e3f4a5b", "example.com", "msg#"),
        ("0a1b2c3d.4e5f.6071.8a9b.0c1d2e3f4a5b", "example.com", "#"),
        ("0a1b2c3d-4e5f.6071-8a9b-0c1d2e3f4a5b", "example.com", "#"),
        ("return-1rabcd-0000ab-cd", "example.com", "return-#"),
        ("return-1rabcd-00000001abc-0zyx", "example.com", "return-#"),
        # base64url with its marks, and what is in front of it
        ("bounce-dx-nlckb_legftcgx9llm9", "example.com", "bounce-#"),
        ("bounce-list-dx-nlckb_legftcgx9llm9", "example.com", "bounce-list-#"),
        ("bounce-max-mustermann-anna-x1", "example.com", "bounce-max-mustermann-anna-x1"),
        ("anna-k3x9q0zr7_tw2m5pv", "example.com", "anna-k3x9q0zr7_tw2m5pv"),
        ("anna85-k3x9q0zr7tw2m5p", "example.com", "anna85-k3x9q0zr7tw2m5p"),
        ("x7b_k3x9q0zr7-tw2m5pvq", "example.com", "#"),
        ("4711abcd.w0ql83lz-mg8r1k0dbmdbktywbkm5c1b_tt5bkil", "bnc3.example.com", "#"),
        # before a foreign domain
        ("x-7-anna=4.example.net", "example.com", "x-#-anna=4.example.net"),
        ("x-7-anna=example", "example.com", "x-7-anna=example"),
    ],
)
def test_tokens_are_known_by_themselves_and_by_what_is_beside_them(local, domain, text):
    assert fold_tokens(local, domain, returns=False) == text


@pytest.mark.parametrize(
    ("local", "text"),
    [
        ("bounce-ab+cd9x/1q2w3e4r5t6zuv==", "bounce-#"),
        ("8z54jivkmvyn5yggmf2keyif9xe=", "#"),
        ("8z54jivkmvyn5yggmf2keyif9x==", "#"),
        ("8z54jivkmvyn5yggmf2keyif9==", "8z54jivkmvyn5yggmf2keyif9=="),
        ("8z54jivk==", "8z54jivk=="),
        ("anna+verylongextension==", "anna+verylongextension=="),
        ("anna+caf_=user=example.org", "anna+caf_=user=example.org"),
        ("anna", "anna"),
    ],
)
def test_padded_base64_is_one_token_with_all_its_marks(local, text):
    assert fold_padded(local) == text


def test_words_of_machines_are_no_tokens():
    for word in MACHINE_WORDS:
        for local in (word, f"bounce-{word}", f"{word}-{word}-bounce"):
            assert fold_tokens(local, "bounces.example.com", returns=True) == local


@pytest.mark.parametrize(
    ("local", "may"),
    [("anna", False), ("max.mustermann", False), ("a1", True), ("abcdefab", True), ("max-mustermann", True)],
)
def test_a_look_shows_what_is_too_short(local, may):
    assert may_hold_token(local) is may


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
        ("s-abcdefg", "bounce.linkedin.com", ("s-#", "bounce.linkedin.com")),
        ("messages-noreply", "bounce.linkedin.com", None),
        ("20250324135407abcdefabcdefabcdef", "bounces.amazon.com", ("#", "bounces.amazon.com")),
        ("nobody", "bounces.amazon.com", None),
        ("a=b", "bounce.twitter.com", ("#", "bounce.twitter.com")),
        ("a=b", "xbounce.twitter.com", None),
        ("anna", "example.com", None),
        ("", "", None),
    ],
)
def test_known_shapes_keep_what_names_the_customer(local, domain, folded):
    assert fold_known(local, domain) == folded
