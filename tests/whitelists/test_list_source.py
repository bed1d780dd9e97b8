"""The source `list`: what it says of a match, expiry, and names that survive a re-ordered file."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from multigrey.contracts import SourceOptions
from multigrey.errors import ConfigError
from multigrey.model import Attempt, Match, Origin
from multigrey.whitelists.list_source import entry_hit_name, entry_list, hit_name, match_of
from multigrey.whitelists.toml_file import read_lists
from tests.support.clocks import FakeClock


def attempt(**fields):
    values = {"listener": "test", "client_address": None, "client_name": None, "helo": ""}
    return Attempt(**{**values, "sender": "a@example.com", "recipient": "b@example.net", **fields})


@pytest.fixture
def make(tmp_path):
    def make(text, name="partners.toml", **options):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o644)
        return entry_list(SourceOptions(path, **options))

    return make


def test_the_match_names_file_line_entry_and_owner(make):
    source = make(
        '# x\n\n[[entry]]\nclient = ".Example.org"\nowner = "ops"\n[[entry]]\nsender = "<>"\n', owner="all"
    )
    assert source.match(attempt(client_name="mx.example.org")) == Match(
        "list", "partners.toml:3 client=.example.org", "ops", carries=True
    )
    assert source.match(attempt(sender="")) == Match("list", "partners.toml:6 sender=<>", "all", carries=True)
    assert source.match(attempt()) is None
    assert source.count == 2
    assert source.warnings == ()


@pytest.mark.parametrize(
    ("keys", "carries"),
    [
        ('client = "mx.example.org"', True),
        ('sender = "a@example.com"', True),
        ('sender_domain = "example.com"', True),
        ('recipient = "b@example.net"', False),
        ('recipient_domain = "example.net"', False),
        ('client = "mx.example.org"\nrecipient = "b@example.net"', False),
    ],
)
def test_who_names_a_recipient_says_nothing_of_the_others_of_a_message(make, keys, carries):
    match = make(f"[[entry]]\n{keys}\n").match(attempt(client_name="mx.example.org"))
    assert match is not None
    assert match.carries is carries


@pytest.mark.parametrize(
    ("entry", "sender", "matches"),
    [
        ("alice@partner.example", "prvs=1234abcdef=alice@partner.example", True),
        ("alice@partner.example", "PRVS=1234abcdef=Alice+x@Partner.Example", True),
        ("alice@partner.example", "btv1==0775a20b9c2==alice@partner.example", True),
        ("alice@partner.example", "msprvs1=20192pa=alice@partner.example", True),
        ("alice@partner.example", "alice-b=example.net@partner.example", True),
        ("alice@", "prvs=1234abcdef=alice@partner.example", True),
        ("@partner.example", "prvs=1234abcdef=alice@partner.example", True),
        ("/^alice@/", "prvs=1234abcdef=alice@partner.example", True),
        ("prvs=1234abcdef=alice@partner.example", "prvs=1234abcdef=alice@partner.example", True),
        ("/^prvs=/", "prvs=1234abcdef=alice@partner.example", True),
        ("bob@partner.example", "prvs=1234abcdef=alice@partner.example", False),
        ("alice@other.example", "prvs=1234abcdef=alice@partner.example", False),
        # a domain can put any address into its own SRS addresses
        ("alice@partner.example", "srs0=hh=tt=partner.example=alice@forward.example", False),
        ("alice@", "srs0=hh=tt=partner.example=alice@forward.example", False),
        ("@partner.example", "srs0=hh=tt=partner.example=alice@forward.example", False),
        ("alice@partner.example", "info+srs=hh=tt=partner.example=alice@firm.onmicrosoft.com", False),
        ("alice@partner.example", "prvs=1234abcdef=srs0=hh=tt=partner.example=alice@forward.example", False),
        ("@forward.example", "srs0=hh=tt=partner.example=alice@forward.example", True),
    ],
)
@pytest.mark.parametrize("further", ["", '\nrecipient = "b@example.net"'])
def test_an_entry_holds_whatever_the_senders_domain_wraps_around_it(make, entry, sender, matches, further):
    source = make(f"[[entry]]\nsender = '{entry}'{further}\n")
    assert bool(source.match(attempt(sender=sender))) is matches
    assert len(source.every(attempt(sender=sender))) == matches


def test_all_given_conditions_must_hold(make):
    source = make(
        '[[entry]]\nclient = "192.0.2.0/24"\norigin = "example.org"\nrecipient = "oncall@example.net"\n'
    )
    hit = {"client_address": ip_address("192.0.2.7"), "recipient": "OnCall+x@example.net"}
    assert source.match(attempt(**hit)) is None  # by default no client has an origin
    source = make(
        '[[entry]]\nclient = "192.0.2.0/24"\norigin = "example.org"\nrecipient = "oncall@example.net"\n',
        origin_of=lambda attempt: Origin("example.org", named=attempt.helo == "named"),
    )
    assert source.match(attempt(**hit, helo="named"))
    assert source.match(attempt(**hit)) is None
    assert source.match(attempt(**{**hit, "client_address": ip_address("192.0.3.7")}, helo="named")) is None
    assert source.match(attempt(**{**hit, "recipient": "bob@example.net"}, helo="named")) is None


@pytest.mark.parametrize(
    ("expires", "last"),
    [
        ("2027-01-31", datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC)),
        ("2027-01-31T18:00:00Z", datetime(2027, 1, 31, 17, 59, 59, tzinfo=UTC)),
        ("2027-01-31T18:00:00+02:00", datetime(2027, 1, 31, 15, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_entry_stops_by_itself(make, expires, last):
    clock = FakeClock(int(last.timestamp()))
    source = make(f'[[entry]]\nclient = "a.org"\nexpires = {expires}\n', now=clock.now)
    assert source.match(attempt(client_name="a.org"))
    clock.advance(1)
    assert source.match(attempt(client_name="a.org")) is None
    assert source.count == 1


def test_what_is_not_enabled_matches_nobody(make):
    source = make('[[entry]]\nclient = "a.org"\nenabled = false\n')
    assert source.match(attempt(client_name="a.org")) is None
    assert source.count == 0


def test_a_directory_without_lists_is_odd(tmp_path):
    (tmp_path / "partners.tml").write_text("")
    source = entry_list(SourceOptions(tmp_path))
    assert [str(warning) for warning in source.warnings] == [
        f"{tmp_path}: this directory contains no *.toml file"
    ]
    assert source.match(attempt()) is None
    (tmp_path / "partners.toml").write_text("")
    assert entry_list(SourceOptions(tmp_path)).warnings == ()


def test_without_a_path():
    with pytest.raises(ConfigError, match="needs the path"):
        entry_list(SourceOptions(None))


def test_an_entry_keeps_its_name_when_lines_come_and_go(make, tmp_path):
    one = '[[entry]]\nclient = "a.org"\nsender = "bob@example.org"\n'
    source = make(one)
    first = source.match(attempt(client_name="a.org", sender="bob@example.org"))
    source = make(
        '# comment\n[[entry]]\nclient = "b.org"\n' + one.replace("[[entry]]", "[[entry]]\nreason = 'x'")
    )
    second = source.match(attempt(client_name="a.org", sender="bob@example.org"))
    assert first != second
    assert hit_name(first) == hit_name(second) == "partners.toml client=a.org sender=bob@example.org"
    assert hit_name(Match("postgrey-clients", "a b:1 c")) == "a b:1 c"
    (entry,) = read_lists(tmp_path / "partners.toml")[0].entries[1:]
    assert match_of(entry) == second
    assert entry_hit_name(entry, "list") == hit_name(first)
    assert entry_hit_name(entry._replace(written="a.org"), "postgrey-clients") == "a.org"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ""),
        ('reason = "orders"', "orders"),
        (
            'reason = "orders"\nticket = "42"\nreview_by = 2027-01-31\nexpires = 2027-02-28',
            "orders; ticket 42; review by 2027-01-31; expires 2027-02-28",
        ),
    ],
)
def test_an_entry_says_why_it_is_there(make, text, why):
    source = make(f'[[entry]]\nclient = "192.0.2.1"\n{text}\n')
    match = source.match(attempt(client_address=ip_address("192.0.2.1")))
    assert source.why(match) == why
    assert source.why(Match("list", "another.toml:1 client=192.0.2.1")) == ""


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ('client = ".example.org"\nsender = "a@other.example"', "does not hold: sender=a@other.example"),
        ('client = ".example.org"\nexpires = 1980-01-01', "has expired"),
        ('client = ".example.org"\nenabled = false', "is switched off"),
    ],
)
def test_an_entry_that_nearly_matches_says_why_not(tmp_path, entry, why):
    path = tmp_path / "a.toml"
    path.write_text(f"[[entry]]\n{entry}\n")
    path.chmod(0o644)
    made = entry_list(SourceOptions(path, "o", lambda: 1_800_000_000, lambda _: Origin("", named=False)))
    seen = Attempt("t", ip_address("192.0.2.1"), "mx.example.org", "", "b@example.org", "c@example.net")
    assert made.match(seen) is None
    assert [told for _, told in made.almost(seen)] == [why]
    assert made.text_at(str(path), 1) == (
        "client=.example.org sender=a@other.example" if "sender" in entry else None
    )
