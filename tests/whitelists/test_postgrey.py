"""postgrey's two file formats: every documented shape, bad lines, files."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multigrey.contracts import SourceOptions
from multigrey.errors import ConfigError
from multigrey.identity.addresses import parse_client_address
from multigrey.model import Attempt, Match
from multigrey.whitelists import postgrey_clients, postgrey_recipients
from multigrey.whitelists.postgrey import postgrey_entries


def attempt(address="203.0.113.9", name=None, recipient="someone@example.net"):
    return Attempt(
        listener="test",
        client_address=None if address is None else parse_client_address(address),
        client_name=name,
        helo="helo.example",
        sender="sender@example.com",
        recipient=recipient,
    )


@pytest.fixture
def write(tmp_path):
    def write(text, name="list"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def clients(write):
    def make(text, owner=""):
        return postgrey_clients(SourceOptions(write(text), owner))

    return make


@pytest.fixture
def recipients(write):
    def make(text, owner=""):
        return postgrey_recipients(SourceOptions(write(text), owner))

    return make


@pytest.mark.parametrize(
    ("entry", "name", "matches"),
    [
        ("example.org", "example.org", True),
        ("example.org", "mx.example.org", True),
        ("example.org", "a.b.c.example.org", True),
        ("example.org", "MX.Example.ORG", True),
        ("example.org", "mx.example.org.", True),
        ("Example.ORG", "mx.example.org", True),
        ("example.org.", "mx.example.org", True),
        ("example.org", "notexample.org", False),
        ("example.org", "example.org.example.com", False),
        ("example.org", "org", False),
        ("example.org", None, False),
        ("_spf.example.org", "_spf.example.org", True),
        ("bücher.example", "mx.xn--bcher-kva.example", True),
        ("xn--bcher-kva.example", "mx.xn--bcher-kva.example", True),
        (r"/^mail\d+\.example\.org$/", "mail12.example.org", True),
        (r"/^mail\d+\.example\.org$/", "MAIL12.EXAMPLE.ORG", True),
        (r"/^mail\d+\.example\.org$/", "mail12.example.org.example.com", False),
        (r"/EXAMPLE/", "mx.example.org", True),
        (r"/example\.org/", "example.org.example.com", True),
        (r"/^mx /", "mx example", True),
        (r"/unknown/", None, False),
        (r"/203/", None, False),
        (r"/203/", "mx.example.org", False),
        (r"/a\x23b/", "a#b", True),
    ],
)
def test_client_names(clients, entry, name, matches):
    source = clients(f"{entry}\n")
    assert (source.count, source.warnings) == (1, ())
    found = source.match(attempt(name=name))
    assert found == (Match("postgrey-clients", entry, carries=True) if matches else None)


@pytest.mark.parametrize(
    ("entry", "address", "matches"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.10", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.0/24", "192.0.2.255", True),
        ("192.0.2.0/24", "192.0.3.0", False),
        ("192.0.2.77/24", "192.0.2.1", True),
        ("192.0.2.128/25", "192.0.2.127", False),
        ("192.0.2", "192.0.2.1", True),
        ("192.0.2", "192.0.20.1", False),
        # postgrey itself only takes 192.168.0.0/24 for this one
        ("192.168", "192.168.0.1", True),
        ("192.168", "192.168.1.1", True),
        ("192.168", "192.168.255.255", True),
        ("192.168", "192.169.0.1", False),
        ("192.16", "192.168.0.1", False),
        ("10", "10.255.0.1", True),
        ("10", "100.0.0.1", False),
        ("2001:db8::1", "2001:db8::1", True),
        ("2001:db8::1", "2001:db8:0:0:0:0:0:1", True),
        ("2001:db8::1", "2001:db8::10", False),
        ("2001:DB8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("::ffff:192.0.2.0/120", "192.0.2.200", True),
        ("192.0.2.0/24", "2001:db8::1", False),
        ("192.0.2.0/24", None, False),
    ],
)
def test_client_addresses(clients, entry, address, matches):
    source = clients(f"{entry}\n")
    assert (source.count, source.warnings) == (1, ())
    found = source.match(attempt(address))
    assert found == (Match("postgrey-clients", entry, carries=True) if matches else None)


@pytest.mark.parametrize(
    ("entry", "recipient", "matches"),
    [
        ("postmaster@", "postmaster@example.org", True),
        ("postmaster@", "PostMaster@Example.ORG", True),
        ("postmaster@", "postmaster+queue@example.org", True),
        ("postmaster@", "postmaster+a+b@example.org", True),
        ("postmaster@", "xpostmaster@example.org", False),
        ("postmaster@", "postmasters@example.org", False),
        ("postmaster@", "postmaster", False),
        ("postmaster@", '"postmaster"@example.org', True),
        ("PostMaster@", "postmaster@example.org", True),
        ("user@example.org", "user@example.org", True),
        ("user@example.org", "USER@EXAMPLE.ORG", True),
        ("User@Example.ORG", "user@example.org", True),
        ("user@example.org", "user+ext@example.org", True),
        ("user@example.org", "user@mx.example.org", False),
        ("user@example.org", "user@example.com", False),
        ("user@example.org", "another.user@example.org", False),
        ("user@example.org.", "user@example.org", True),
        ("user+a@example.org", "user+a@example.org", True),
        ("user+a@example.org", "user+a+b@example.org", True),
        ("user+a@example.org", "user@example.org", False),
        ("user+a@example.org", "user+b@example.org", False),
        ("user@[192.0.2.1]", "user@[192.0.2.1]", True),
        ("user@bücher.example", "user@xn--bcher-kva.example", True),
        ("example.org", "anyone@example.org", True),
        ("example.org", "anyone@mx.example.org", True),
        ("example.org", "anyone@notexample.org", False),
        ("example.org", "example.org", False),
        ("example.org", "+@example.org", True),
        (r"/^list-.*@example\.org$/", "List-Announce@example.org", True),
        (r"/^list-.*@example\.org$/", "my-list-x@example.org", False),
        (r"/foo/", "a@foo.example", True),
    ],
)
def test_recipients(recipients, entry, recipient, matches):
    source = recipients(f"{entry}\n")
    assert (source.count, source.warnings) == (1, ())
    found = source.match(attempt(recipient=recipient))
    assert found == (Match("postgrey-recipients", entry) if matches else None)


def test_comments_blanks_and_line_ends(clients):
    source = clients(
        b"\xef\xbb\xbf# a head\r\n\r\n  example.org   # reason\r\n"
        b"\texample.net#reason\r\n192.0.2.1 # x # y\n#\n   \n/a/"
    )
    assert (source.count, source.warnings) == (4, ())
    assert source.match(attempt(name="mx.example.org")).entry == "example.org"
    assert source.match(attempt(name="mx.example.net")).entry == "example.net"
    assert source.match(attempt("192.0.2.1")).entry == "192.0.2.1"
    assert source.match(attempt(name="bab")).entry == "/a/"


def test_the_owner_is_told(clients, recipients):
    assert clients("example.org", "ops").match(attempt(name="example.org")).owner == "ops"
    assert recipients("someone@", "ops").match(attempt()).owner == "ops"


def test_address_before_name_before_pattern_and_the_narrowest_first(clients):
    source = clients("/example/\norg\nexample.org\n192.0.2.0/24\n192.0.2.1\n")
    assert source.match(attempt("192.0.2.1", "mx.example.org")).entry == "192.0.2.1"
    assert source.match(attempt("192.0.2.2", "mx.example.org")).entry == "192.0.2.0/24"
    assert source.match(attempt("198.51.100.1", "mx.example.org")).entry == "example.org"
    assert source.match(attempt("198.51.100.1", "mx.example.com")).entry == "/example/"


def test_recipient_address_before_domain_before_pattern(recipients):
    source = recipients("/x/\nexample.org\nx@\nx@example.org\nx+y@\n")
    assert source.match(attempt(recipient="x@example.org")).entry == "x@example.org"
    assert source.match(attempt(recipient="x+z@example.org")).entry == "x@example.org"
    assert source.match(attempt(recipient="x+y@example.org")).entry == "x+y@"
    assert source.match(attempt(recipient="x@example.com")).entry == "x@"
    assert source.match(attempt(recipient="xx@example.org")).entry == "example.org"
    assert source.match(attempt(recipient="xx@example.com")).entry == "/x/"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("example.org example.net", "not a domain name, nor any other entry"),
        ("192.0.2.1/33", "not an IP address"),
        ("192.0.2.1/0", "not an IP address"),
        ("192.0.2.256", "not an IP address"),
        ("192.168/16", "not an IP address"),
        ("1::2::3", "not an IP address"),
        (".example.org", "sub-domains always match: write example.org"),
        ("*.example.org", "sub-domains always match: write example.org"),
        ("mx*.example.org", "not a domain name"),
        ("ex_ample..org", "not a domain name"),
        ("-x.example.org", "not a domain name"),
        ("a" * 64 + ".example", "not a domain name"),
        (".".join(["a" * 50] * 6), "not a domain name"),
        ("user@example.org", "not a domain name"),
        ("/example", "a regular expression is written /regex/"),
        ("/a#b/", "a regular expression is written /regex/"),
        ("//", "a regular expression is written /regex/"),
        ("/", "a regular expression is written /regex/"),
        ("/(?=x)/", "cannot be used: invalid perl operator"),
        (r"/(x)\1/", "cannot be used: invalid escape sequence"),
        ("/[/", "cannot be used: missing ]"),
        ("\udcff", "not a domain name"),
    ],
)
def test_bad_client_lines_are_told_and_ignored(write, line, message):
    path = write(f"# head\n{line}\nexample.org\n".encode("utf-8", "surrogateescape"))
    source = postgrey_clients(SourceOptions(path))
    assert source.count == 1
    assert source.match(attempt(name="example.org")).entry == "example.org"
    (warning,) = source.warnings
    assert (warning.file, warning.line) == (str(path), 2)
    assert message in str(warning)
    assert str(warning).endswith("the line is ignored")
    assert str(warning).isprintable()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a b@example.org", "must not contain spaces"),
        ("@example.org", "write example.org for a whole domain"),
        ("@", "write example.org for a whole domain"),
        ("*@example.org", "wildcards are not supported"),
        ("user@exa mple.org", "must not contain spaces"),
        ("user@-example.org", "not a domain name"),
        (".example.org", "sub-domains always match: write example.org"),
        ("/(?!x)y/", "cannot be used"),
    ],
)
def test_bad_recipient_lines_are_told_and_ignored(recipients, line, message):
    source = recipients(f"{line}\nexample.org\n")
    assert source.count == 1
    (warning,) = source.warnings
    assert warning.line == 1
    assert message in str(warning)


def test_warnings_come_in_the_order_of_the_lines(clients):
    source = clients("/(?=x)/\n..\n/[/\n*\n")
    assert [warning.line for warning in source.warnings] == [1, 2, 3, 4]


def test_a_pattern_that_blows_up_elsewhere_is_harmless(clients):
    source = clients("/(a+)+$/\n")
    assert source.match(attempt(name="a" * 200 + "!")) is None
    assert source.match(attempt(name="a" * 200)).entry == "/(a+)+$/"


def test_endless_names_and_recipients_are_harmless(clients, recipients):
    names = clients("example.org\n/x/\n")
    assert names.match(attempt(name="x." * 50_000)) is None
    addresses = recipients("user+a@\nexample.org\n/x/\n")
    assert addresses.match(attempt(recipient="x+" * 50_000 + "@example.com")) is None
    assert addresses.match(attempt(recipient="x@" + "x." * 50_000)) is None
    assert addresses.match(attempt(recipient="user+a" + "+b" * 50_000 + "@example.com")).entry == "user+a@"


@pytest.mark.parametrize("recipient", ["", "@", "a@", "@example.com", "\x00", "\udcff@\udcfe", '"', '"@x'])
def test_odd_recipients_match_nothing(recipients, recipient):
    assert recipients("someone@\nexample.org\n/y/\n").match(attempt(recipient=recipient)) is None


@pytest.mark.parametrize("make", [postgrey_clients, postgrey_recipients])
def test_the_local_file_beside_it_is_read_too(write, make):
    path = write("example.org\n")
    write("example.net\n..\n", "list.local")
    source = make(SourceOptions(path))
    assert source.count == 2
    assert [Path(warning.file).name for warning in source.warnings] == ["list.local"]
    for domain in ("example.org", "example.net"):
        assert source.match(attempt(name=domain, recipient=f"a@{domain}")).entry == domain


def test_a_local_file_has_no_local_file(write):
    path = write("example.org\n", "list.local")
    write("example.net\n", "list.local.local")
    assert postgrey_clients(SourceOptions(path)).count == 1


def test_an_empty_file_is_an_empty_list(clients):
    source = clients("")
    assert (source.count, source.warnings) == (0, ())
    assert source.match(attempt(name="example.org")) is None


@pytest.mark.parametrize("make", [postgrey_clients, postgrey_recipients])
def test_a_missing_file_is_an_error_that_names_it(tmp_path, make):
    path = tmp_path / "absent"
    with pytest.raises(ConfigError) as caught:
        make(SourceOptions(path))
    assert str(caught.value) == f"{path}: whitelist.path: cannot be read: No such file or directory"


def test_a_directory_is_no_list(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        postgrey_clients(SourceOptions(tmp_path))


def test_a_local_file_that_cannot_be_read_is_an_error(write, tmp_path):
    path = write("example.org\n")
    (tmp_path / "list.local").mkdir()
    with pytest.raises(ConfigError, match=r"list\.local: .*Is a directory"):
        postgrey_clients(SourceOptions(path))


def test_no_path_at_all_is_an_error():
    with pytest.raises(ConfigError, match="source postgrey-recipients needs the path of a file"):
        postgrey_recipients(SourceOptions(None))


def test_ten_thousand_of_each(clients):
    lines = [f"10.{i >> 8}.{i & 255}.0/24" for i in range(10_000)]
    lines += [f"mx{i}.example.org" for i in range(10_000)]
    source = clients("\n".join(lines))
    assert (source.count, source.warnings) == (20_000, ())
    assert source.match(attempt("10.39.15.77")).entry == "10.39.15.0/24"
    assert source.match(attempt(name="a.mx9999.example.org")).entry == "mx9999.example.org"
    assert source.match(attempt("10.39.16.1", "mx10000.example.org")) is None


lines = st.lists(
    st.sampled_from(
        ["example.org", "192.0.2", "10", "/", "//", "/(/", "/a|b/", "a@", "@", "2001:db8::/32", "#"]
    )
    | st.text(alphabet="a.@/:*#0+[] \t\r\x00\xfc", max_size=12),
    max_size=8,
).map("\n".join)


@given(text=lines | st.text(max_size=30), odd=st.binary(max_size=6), name=st.text(max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_and_no_attempt_is_too_odd(tmp_path, text, odd, name):
    path = tmp_path / "list"
    path.write_bytes(text.encode("utf-8", "replace") + b"\n" + odd)
    told = odd.decode("utf-8", "surrogateescape") + name
    for make in (postgrey_clients, postgrey_recipients):
        source = make(SourceOptions(path))
        assert source.count + len(source.warnings) <= text.count("\n") + odd.count(b"\n") + 2
        found = source.match(attempt(name=told, recipient=told))
        assert found is None or found.source == source.name


async def test_lists_are_made_in_threads(write):
    """The caller makes them off the event loop, several at a time."""
    path = write("".join(f"mx{i}.example.org\n/^x{i}/\n" for i in range(200)))
    made = []

    async def make():
        made.append(await trio.to_thread.run_sync(postgrey_clients, SourceOptions(path)))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(make)
    for source in made:
        assert source.count == 400
        assert source.match(attempt(name="a.mx199.example.org")).entry == "mx199.example.org"
        assert source.match(attempt(name="x7")).entry == "/^x7/"


# --- for lint ---


def test_client_entries(write):
    path = write("example.org\n# x\n192.0.2\n/^mx/  # y\n*.bad\n2001:db8::1\n/(/\n")
    write("more.example.org\n", "list.local")
    entries, unusable = postgrey_entries(SourceOptions(path, "me"), "postgrey-clients")
    assert [(entry.path.name, entry.line, entry.text) for entry in entries] == [
        ("list", 1, "client=.example.org"),
        ("list", 3, "client=192.0.2.0/24"),
        ("list", 4, "client=/^mx/"),
        ("list", 6, "client=2001:db8::1"),
        ("list.local", 1, "client=.more.example.org"),
    ]
    assert [problem.line for problem in unusable] == [5, 7]
    assert {entry.owner for entry in entries} == {"me"}
    assert entries[1].written == "192.0.2"


def test_recipient_entries(write):
    path = write("user@\nuser@example.org\nexample.org\n/^a/\n@\n")
    entries, unusable = postgrey_entries(SourceOptions(path), "postgrey-recipients")
    assert [entry.text for entry in entries] == [
        "recipient=user@",
        "recipient=user@example.org",
        "recipient=@.example.org",
        "recipient=/^a/",
    ]
    assert [problem.line for problem in unusable] == [5]
