from __future__ import annotations

import contextlib
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.errors import AddressError
from multigrey.identity import addresses
from multigrey.identity.addresses import (
    host_name,
    network_of,
    normalise_address,
    parse_client_address,
    split_address,
    strip_extension,
)

V4 = IPv4Address("192.0.2.1")
V6 = IPv6Address("2001:db8::25")

ANYTHING = st.text(st.characters(exclude_categories=())) | st.binary().map(
    lambda data: data.decode("utf-8", "surrogateescape")
)
ADDRESS_LIKE = st.lists(
    st.sampled_from(['"', "\\", "@", ".", "+", "-", "a", "B", "ß", "İ", "ς", "Σ", "é", "e\u0301", "。", "＠"])
    | st.characters(exclude_categories=())
).map("".join)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", V4),
        (" 192.0.2.1\t", V4),
        ("[192.0.2.1]", V4),
        ("::ffff:192.0.2.1", V4),
        ("::FFFF:C000:0201", V4),
        ("[IPv6:::ffff:192.0.2.1]", V4),
        ("64:ff9b::192.0.2.1", V4),
        ("64:ff9b::c000:201", V4),
        ("2002:c000:0201::1", V4),
        ("2001:db8::25", V6),
        ("2001:DB8:0:0::25", V6),
        ("2001:0db8:0000:0000:0000:0000:0000:0025", V6),
        ("[2001:db8::25]", V6),
        ("IPv6:2001:db8::25", V6),
        ("IPV6:2001:DB8::25", V6),
        ("[ipv6:2001:db8::25]", V6),
        ("2001:db8::25%eth0", V6),
        ("fe80::1%", IPv6Address("fe80::1")),
        ("64:ff9b:1::c000:201", IPv6Address("64:ff9b:1::c000:201")),  # local NAT64 may embed anywhere
        ("::192.0.2.1", IPv6Address("::c000:201")),  # the compatible form is not used for hosts any more
        ("", None),
        ("  ", None),
        ("unknown", None),
        ("UNKNOWN", None),
    ],
)
def test_every_spelling_of_a_client_address_is_read(text, address):
    assert parse_client_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2",
        "192.0.2.1.1",
        "192.0.2.256",
        "192.0.2.01",
        "192.0.2.+1",
        "192.0.2.1\n",
        "192.0.2.1/24",
        "[192.0.2.1",
        "1१.0.2.1",
        "mail.example.org",
        "2001:db8::25::1",
        "IPv6:192.0.2.1:25",
        "\x00",
        "\udcff",
        "%",
        "[]",
        ":",
        "9" * 100_000,
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(AddressError, match="not an IP address") as caught:
        parse_client_address(text)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 1000


@given(ANYTHING)
def test_parse_client_address_raises_nothing_else(text):
    with contextlib.suppress(AddressError):
        parse_client_address(text)


@given(st.ip_addresses())
def test_an_address_is_read_back_from_its_own_text(address):
    read = parse_client_address(str(address))
    assert read == address or read.version == 4
    assert parse_client_address(str(read)) == read


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_ipv4_networks_are_those_of_ipaddress(address, prefix):
    assert network_of(address, prefix, 64) == str(IPv4Network((int(address), prefix), strict=False))


@given(
    st.ip_addresses(v=6)
    | st.builds(lambda n, s: IPv6Address(n << s), st.integers(0, 0xFFFF), st.integers(0, 112)),
    st.integers(0, 128),
)
def test_ipv6_networks_are_those_of_ipaddress(address, prefix):
    assert network_of(address, 24, prefix) == str(IPv6Network((int(address), prefix), strict=False))


@pytest.mark.parametrize(
    ("text", "key_text"),
    [
        # Pinned: a change here forgets every sender it concerns.
        ("", ""),
        ("Alice@Sender.Example", "alice@sender.example"),
        ("alice@sender.example.", "alice@sender.example"),
        ("alice@sender.example..", "alice@sender.example"),
        ('"alice"@sender.example', "alice@sender.example"),
        ('"odd local=X"@test.example', "odd local=x@test.example"),
        ("odd local=X@test.example", "odd local=x@test.example"),
        (r'"a\"b\\c"@test.example', r'a"b\c@test.example'),
        (r'"\"a\""@test.example', "a@test.example"),
        ('"a@b"@test.example', "a@b@test.example"),
        ('"unclosed@test.example', '"unclosed@test.example'),
        ('""@test.example', "@test.example"),
        ("alice", "alice"),
        ('"Alice"', "alice"),
        ("Alice@", "alice@"),
        ("@Test.example", "@test.example"),
        ("a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]"),
        ("jörg@Bücher.example", "jörg@xn--bcher-kva.example"),
        ("JO\u0308RG@BU\u0308CHER.example", "jörg@xn--bcher-kva.example"),
        ("a@xn--BCHER-kva.example", "a@xn--bcher-kva.example"),
        ("a@straße.example", "a@xn--strae-oqa.example"),
        ("a@例え。テスト", "a@xn--r8jz45g.xn--zckzah"),
        ("a@Under_score.Ä.example", "a@under_score.ä.example"),
        ("a@ä\udcff.example", "a@ä\udcff.example"),
        ("a\udcffB@test.example", "a\udcffb@test.example"),
        ("a@" + "Ä" * 300, "a@" + "ä" * 300),
        ("a b\x00\t@test.example", "a b\x00\t@test.example"),
    ],
)
def test_key_text_of_an_address(text, key_text):
    assert normalise_address(text) == key_text


def test_quotes_make_no_difference_between_mail_servers():
    assert normalise_address('"odd local=x"@test.example') == normalise_address("odd local=x@test.example")


@given(ANYTHING | ADDRESS_LIKE)
def test_normalising_twice_changes_nothing(text):
    once = normalise_address(text)
    assert normalise_address(once) == once
    assert host_name(host_name(text)) == host_name(text)


@given(ANYTHING | ADDRESS_LIKE)
def test_case_makes_no_difference_to_ascii(text):
    text = text.encode("ascii", "ignore").decode()
    assert normalise_address(text.upper()) == normalise_address(text)


def test_layers_of_quotes_take_no_time():
    assert normalise_address('"' + "\\" * 100_000 + '"@test.example') != ""
    assert normalise_address('"' * 100_000 + "@test.example") != ""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", ""),
        ("Mail.Example.ORG", "mail.example.org"),
        ("mail.example.org.", "mail.example.org"),
        (".", ""),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("-ä-.example", "-ä-.example"),
    ],
)
def test_host_names(text, name):
    assert host_name(text) == name


def test_nothing_is_imported_while_names_are_read():
    """A process that gave up root may not be able to read modules any more."""
    script = (
        "import sys\nfrom multigrey.identity.addresses import host_name\nsys.meta_path.clear()\n"
        "print(host_name('b\\xfccher.example'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("xn--bcher-kva.example\n", "")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a@b", ("a", "b")),
        ("a@b@c", ("a@b", "c")),
        ("a", ("a", "")),
        ("", ("", "")),
        ("@", ("", "")),
        ("@b", ("", "b")),
    ],
)
def test_split_address(text, parts):
    assert split_address(text) == parts


@pytest.mark.parametrize(
    ("address", "delimiters", "stripped"),
    [
        ("bob+list@test.example", "+", "bob@test.example"),
        ("bob+a+b@test.example", "+", "bob@test.example"),
        ("bob+@test.example", "+", "bob@test.example"),
        ("bob-a+b@test.example", "+-", "bob@test.example"),
        ("bob+a-b@test.example", "+-", "bob@test.example"),
        ("bob+list@test.example", "", "bob+list@test.example"),
        ("bob@te+st.example", "+", "bob@te+st.example"),
        ("+bob@test.example", "+", "+bob@test.example"),
        ("+@test.example", "+", "+@test.example"),
        ("bob+list", "+", "bob"),
        ("", "+", ""),
        ("owner-list@test.example", "-", "owner-list@test.example"),
        ("list-request@test.example", "-", "list-request@test.example"),
        ("-request@test.example", "-", "-request@test.example"),
        ("owner+x@test.example", "+-", "owner@test.example"),
        ("owner-list+x@test.example", "+", "owner-list@test.example"),
        ("MAILER-DAEMON@test.example", "-", "MAILER-DAEMON@test.example"),
        ("double-bounce@test.example", "-", "double-bounce@test.example"),
        ("double-bounces@test.example", "-", "double@test.example"),
    ],
)
def test_extensions_are_stripped_as_postfix_does(address, delimiters, stripped):
    assert strip_extension(address, delimiters) == stripped


@given(ANYTHING | ADDRESS_LIKE, st.text("+-._", max_size=3))
def test_stripping_keeps_the_domain_and_a_local_part(text, delimiters):
    stripped = strip_extension(text, delimiters)
    assert split_address(stripped)[1] == split_address(text)[1]
    assert bool(split_address(stripped)[0]) == bool(split_address(text)[0])
    assert strip_extension(stripped, delimiters) == stripped


@pytest.mark.parametrize("length", [321, 20_000, 200_000])
@pytest.mark.parametrize("make", [normalise_address, host_name])
@pytest.mark.parametrize(
    "of", ["A\u0300\u0323", "e\u0301", '"', '\\"', "ss.", "\u00df", "\ufb03", "\u0130", "\udc80", "a@", "="]
)
def test_longer_text_is_only_put_in_lower_case(monkeypatch: pytest.MonkeyPatch, make, of: str, length: int):
    costly = []
    monkeypatch.setattr(addresses.unicodedata, "normalize", lambda *args: costly.append(args) or args[1])
    monkeypatch.setattr(addresses.idna, "encode", lambda *args, **_: costly.append(args) or b"")
    monkeypatch.setattr(addresses, "_unquoted", lambda text: costly.append(text) or text)
    text = (of * length)[:length]
    assert make(text) in {text.lower(), text.lower().rstrip(".")}
    assert costly == []


@pytest.mark.parametrize("of", ["\u0130", "A\u0300\u0323", "\ufb03", '"', "."])
@pytest.mark.parametrize("length", [160, 254, 255, 256, 319, 320, 321, 640])
def test_around_the_longest_address_normalising_twice_changes_nothing(of: str, length: int):
    for text in ((of * length)[:length], f'"{(of * length)[: length - 14]}"@example.org'):
        for make in (normalise_address, host_name):
            once = make(text)
            assert make(once) == once
