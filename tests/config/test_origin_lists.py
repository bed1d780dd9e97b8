"""The administrator's own lists of providers and shared hosts."""

from __future__ import annotations

import os
import re
from datetime import date
from ipaddress import ip_address

import pytest

from multigrey.config.origin_lists import (
    effective_providers,
    load_origins,
    outdated,
    registered_domain,
    shipped,
)
from multigrey.config.tables.origin import OriginSettings
from multigrey.errors import ConfigError
from multigrey.model import Attempt, Origin

UNNAMED = Origin("192.0.2.0/24", named=False)

PROVIDERS = """\
updated = 2026-11-22

[[provider]]
origin = "example-mail"
suffixes = ["Out.Example.ORG.", "mx.bücher.example.org"]
reason = "a reason"
"""
HOSTS = """\
[[host]]
suffixes = ["rent.example.net"]
exempt = ["mx.rent.example.net"]
reason = "a reason"
source = "a source"
"""


@pytest.fixture
def write(tmp_path):
    """Writes the two files and gives the settings that name them."""

    def write(providers=None, hosts=None):
        paths = []
        for name, text in (("providers.toml", providers), ("hosts.toml", hosts)):
            path = None if text is None else tmp_path / name
            if path is not None:
                path.write_bytes(text if isinstance(text, bytes) else text.encode())
                path.chmod(0o644)
            paths.append(path)
        return OriginSettings(providers_file=paths[0], shared_hosts_file=paths[1])

    return write


def origin(origins, name, helo=None):
    attempt = Attempt("test", ip_address("192.0.2.77"), name, name if helo is None else helo, "", "")
    return origins.of(attempt, UNNAMED.text)


def test_without_own_files_the_shipped_lists_hold():
    for origins in (load_origins(), load_origins(OriginSettings())):
        assert origin(origins, "mail-ot1-f45.google.com", "x") == Origin("google", named=True)
        assert origin(origins, "vmd1.contaboserver.net") == UNNAMED
        assert origin(origins, "mail.example.org") == Origin("example.org", named=True)


def test_by_default_providers_pass_and_no_network_is_ones_own():
    settings = OriginSettings()
    assert (settings.providers, settings.own_networks) == ("pass", ())


def test_own_entries_come_beside_the_shipped_ones(write):
    origins = load_origins(write(PROVIDERS, HOSTS))
    assert origin(origins, "a.out.example.org", "x") == Origin("example-mail", named=True)
    assert origin(origins, "mx.xn--bcher-kva.example.org", "x") == Origin("example-mail", named=True)
    assert origin(origins, "mail.example.org", "x") == UNNAMED
    assert origin(origins, "a.rent.example.net") == UNNAMED
    assert origin(origins, "a.mx.rent.example.net") == Origin("example.net", named=True)
    assert origin(origins, "mail-ot1-f45.google.com", "x") == Origin("google", named=True)
    assert origin(origins, "vmd1.contaboserver.net") == UNNAMED


def test_an_own_entry_takes_the_place_of_a_shipped_one(write):
    providers = (
        '[[provider]]\norigin = "own"\nsuffixes = ["contaboserver.net"]\nreason = "all of it is ours"\n'
    )
    hosts = '[[host]]\nsuffixes = ["google.com"]\nexempt = ["your-server.de"]\nreason = "a trial"\n'
    origins = load_origins(write(providers, hosts))
    assert origin(origins, "vmd1.contaboserver.net", "x") == Origin("own", named=True)
    assert origin(origins, "mail-ot1-f45.google.com") == UNNAMED
    assert origin(origins, "www62.your-server.de") == Origin("your-server.de", named=True)


PATTERNS = """\
[[provider]]
origin = "isp"
names = ["MailOut#.ISP.example.", "smtp*-g#.isp.example"]
reason = "shares its domain with its customers"
date = 2026-11-22
retries = true
schedule = "every hour for five days, says its postmaster"
spf = ["_spf.isp.example"]
"""


def test_servers_that_share_a_domain_with_customers_are_known_by_pattern(write):
    origins = load_origins(write(PATTERNS))
    assert origin(origins, "mailout7.isp.example", "x") == Origin("isp", named=True)
    assert origin(origins, "smtp4-g21.isp.example", "x") == Origin("isp", named=True)
    assert origin(origins, "mailout.isp.example", "x") == UNNAMED
    assert origin(origins, "a.mailout7.isp.example") == Origin("isp.example", named=True)


def test_an_entry_says_whether_its_mail_passes_at_once(write):
    origins = load_origins(write(PATTERNS))
    attempt = Attempt("test", ip_address("192.0.2.77"), "mailout7.isp.example", "x", "", "")
    found = origins.provider_entry(attempt)
    assert found is not None
    assert (found.origin, found.retries, found.spf) == ("isp", True, ("_spf.isp.example",))


def taken(settings):
    return {table.origin: keys for table, keys in effective_providers(settings)}


def test_who_counts_as_a_provider(write):
    shipped_ones = taken(OriginSettings())
    assert len(shipped_ones) == len(shipped()[0].provider)
    assert shipped_ones["google"] == ("google.com",)

    own = (
        '[[provider]]\norigin = "own"\nsuffixes = ["google.com", "mcsv.net"]\n'
        'names = ["mx#.wp.pl"]\nreason = "x"\n'
    )
    hosts = '[[host]]\nsuffixes = ["zoho.com"]\nreason = "a trial"\n'
    found = taken(write(own, hosts))
    assert found["own"] == ("google.com", "mcsv.net", "mx#.wp.pl")
    assert found.keys() == {*shipped_ones, "own"} - {"google", "wp", "zoho"}
    assert found["mailchimp"] == ("mcdlv.net", "rsgsv.net", "mandrillapp.com")
    with pytest.raises(ConfigError):
        taken(write("colour = 1\n"))


def test_tables_that_nobody_looked_over_for_a_year_are_named(write):
    providers, hosts = shipped()
    assert providers.updated is not None
    assert hosts.updated is not None
    first, latest = sorted([providers.updated, hosts.updated])
    assert [*outdated(None, latest)] == []
    assert [*outdated(OriginSettings(), first.replace(year=first.year + 1))] == []
    texts = [*outdated(None, latest.replace(year=latest.year + 2))]
    assert len(texts) == 2
    assert f"comes with multigrey was last reviewed on {providers.updated}" in texts[0]
    assert "shared hosts" in texts[1]

    settings = write("updated = 2024-02-01\n", "# without a date\n")
    [text] = outdated(settings, date(2026, 11, 22))
    assert text.startswith(f"{settings.providers_file} was last reviewed on 2024-02-01, more than a year")
    assert [*outdated(write("updated = 2026-02-01\n"), date(2026, 11, 22))] == []
    assert [*outdated(write(None, "updated = 2024-02-01\n"), date(2026, 11, 22))] != []


def test_empty_files_are_fine(write):
    assert origin(load_origins(write("", "# nothing yet\n")), "mail.example.org").named


ENTRY = '[[provider]]\norigin = "own"\nreason = "a reason"\n'
HOST = '[[host]]\nreason = "a reason"\n'
WRONG_PROVIDERS = [
    # providers.toml, problems as regular expressions
    ('colour = "blue"\n', [r":1: colour: unknown key"]),
    (f'{ENTRY}suffixes = ["a.org"]\nowner = "me"\n', [r":5: provider\[1\]\.owner: unknown key"]),
    ('[[host]]\nsuffixes = ["a.org"]\nreason = "x"\n', [r":1: host: unknown (key|table)"]),
    (ENTRY, [r":1: provider\[1\]\.suffixes: must name at least one domain, or names one pattern$"]),
    (f"{ENTRY}suffixes = []\n", [r":4: provider\[1\]\.suffixes: must name at least one domain, or"]),
    (f'{ENTRY}names = "mx#.a.org"\n', [r":4: provider\[1\]\.names: expected a list"]),
    (f"{ENTRY}names = [7]\n", [r"names\[1\]: expected a name in quotes, got 7"]),
    (f'{ENTRY}names = ["mx.a.org"]\n', [r"names\[1\]: .*neither \* nor #: write it under suffixes"]),
    (f'{ENTRY}names = ["mx#"]\n', [r'names\[1\]: expected a name such as "mailout#.example.org"']),
    (f'{ENTRY}names = ["mx?*.a.org"]\n', [r"names\[1\]: expected a name such as"]),
    (f'{ENTRY}names = ["mx##.a.org"]\n', [r"names\[1\]: .*# stands for all digits in its place"]),
    (f'{ENTRY}names = ["mx#7.a.org"]\n', [r"names\[1\]: .*# stands for all digits in its place"]),
    (f'{ENTRY}names = ["mx#.co.uk"]\n', [r':4: .*names\[1\]: "mx#.co.uk" ends in a public suffix']),
    (f'{ENTRY}names = ["mx.*"]\n', [r':4: .*names\[1\]: "mx.\*" ends in a public suffix']),
    (f'{ENTRY}names = ["mx#.*.org"]\n', [r':4: .*names\[1\]: "mx#.\*.org" ends in a public suffix']),
    (
        f'{ENTRY}names = ["MX#.a.org.", "mx#.a.org"]\n',
        [r':4: .*"mx#.a.org" is already listed in .*providers.toml:4'],
    ),
    (f'{ENTRY}suffixes = ["a.org"]\nretries = "yes, often"\n', [r":5: .*retries: expected true or false"]),
    (f'{ENTRY}suffixes = ["a.org"]\nspf = ["a"]\n', [r":5: .*spf\[1\]: expected a domain"]),
    (f'{ENTRY}suffixes = ["a.org"]\ndate = "lately"\n', [r":5: .*date: "]),
    (f'{ENTRY}suffixes = "a.org"\n', [r":4: provider\[1\]\.suffixes: expected a list"]),
    (f"{ENTRY}suffixes = [7]\n", [r":4: provider\[1\]\.suffixes\[1\]: expected a domain in quotes, got 7"]),
    (f'{ENTRY}suffixes = [".a.org"]\n', [r"suffixes\[1\]: .*sub-domains always match"]),
    (f'{ENTRY}suffixes = ["*.a.org"]\n', [r"suffixes\[1\]: .*sub-domains always match"]),
    (f'{ENTRY}suffixes = ["a b.org"]\n', [r'suffixes\[1\]: expected a domain such as "mail.example.org"']),
    (f'{ENTRY}suffixes = ["a..org"]\n', [r"suffixes\[1\]: expected a domain"]),
    (f'{ENTRY}suffixes = ["localhost"]\n', [r"suffixes\[1\]: expected a domain"]),
    (f'{ENTRY}suffixes = ["192.0.2.0/24"]\n', [r"suffixes\[1\]: expected a domain"]),
    (
        f'{ENTRY}suffixes = [\n"a.org",\n"co.uk",\n"github.io",\n"mail.corp.local"]\n',
        [r':6: .*suffixes\[2\]: "co.uk" is a public suffix', r":7: .*github.io"],
    ),
    (
        f'{ENTRY}suffixes = [\n"a.org",\n"A.org."]\n',
        [r':6: .*"a.org" is already listed in .*providers.toml:5'],
    ),
    (
        '[[provider]]\norigin = "a.org"\nsuffixes = ["a.org"]\nreason = "x"\n',
        [r":2: .*origin: expected a word"],
    ),
    ('[[provider]]\norigin = ""\nsuffixes = ["a.org"]\nreason = "x"\n', [r":2: .*origin: expected a word"]),
    (
        '[[provider]]\norigin = "Own"\nsuffixes = ["a.org"]\nreason = "x"\n',
        [r":2: .*origin: expected a word"],
    ),
    ('[[provider]]\norigin = 7\nsuffixes = ["a.org"]\nreason = ""\n', [r":2: .*origin", r":4: .*reason"]),
    ('[[provider]]\norigin = "own"\nsuffixes = ["a.org"]\n', [r":1: provider\[1\]\.reason: is missing"]),
    ("[provider]\n", [r":1: provider: "]),
    ('updated = "yesterday"\n', [r":1: updated: "]),
    ("a = \n", [r":1: syntax error"]),
    ("[[provider]\n", [r"syntax error"]),
    ("[[provider", [r"syntax error"]),
    ("a = " + "[" * 5000, [r"nested too deeply"]),
    (b"# \xff\n", [r":1: is not UTF-8"]),
    (b"\xef\xbb\xbf", [r":1: begins with a byte order mark"]),
]
WRONG_HOSTS = [
    (HOST, [r":1: host\[1\]\.suffixes: must name at least one domain, or exempt must$"]),
    (f'{HOST}suffixes = ["a"]\n', [r":3: host\[1\]\.suffixes\[1\]: expected a domain"]),
    (f'{HOST}exempt = ["a b"]\n', [r":3: host\[1\]\.exempt\[1\]: expected a domain"]),
    (f'{HOST}except = ["a.org"]\n', [r":3: host\[1\]\.except: unknown key; did you mean \"exempt\""]),
    (
        f'{HOST}suffixes = ["a.org"]\nexempt = ["a.org"]\n',
        [r':4: .*"a.org" is already listed in .*hosts.toml:3'],
    ),
    ('[[host]]\nsuffixes = ["a.org"]\n', [r":1: host\[1\]\.reason: is missing"]),
]


def refused(settings):
    with pytest.raises(ConfigError) as caught:
        load_origins(settings)
    return [str(problem) for problem in caught.value.problems]


def check(problems, file, patterns):
    assert len(problems) == len(patterns), problems
    for problem, pattern in zip(problems, patterns, strict=True):
        assert f"{file}:" in problem
        assert re.search(pattern, problem), problem


@pytest.mark.parametrize(("text", "patterns"), WRONG_PROVIDERS)
def test_wrong_providers(write, text, patterns):
    check(refused(write(text)), "providers.toml", patterns)


@pytest.mark.parametrize(("text", "patterns"), WRONG_HOSTS)
def test_wrong_shared_hosts(write, text, patterns):
    check(refused(write(None, text)), "hosts.toml", patterns)


def test_one_suffix_in_both_files(write):
    problems = refused(write(PROVIDERS, '[[host]]\nsuffixes = ["out.example.org"]\nreason = "x"\n'))
    check(problems, "hosts.toml", [r':2: .*"out.example.org" is already listed in .*providers.toml:5'])


def test_everything_wrong_in_both_files_is_told_at_once(write):
    problems = refused(write('colour = "blue"\n', 'size = "big"\n'))
    assert len(problems) == 2


def test_public_suffixes_may_be_shared(write):
    hosts = f'{HOST}suffixes = ["github.io"]\n'
    assert origin(load_origins(write(None, hosts)), "a.github.io") == UNNAMED


def test_files_that_are_not_there(tmp_path):
    settings = OriginSettings(providers_file=tmp_path / "none.toml", shared_hosts_file=tmp_path)
    first, second = refused(settings)
    assert "none.toml: cannot be read: No such file" in first
    assert "is a directory" in second


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_files_that_others_could_write(write, mode):
    settings = write(PROVIDERS, HOSTS)
    settings.shared_hosts_file.chmod(mode)
    assert ["hosts.toml: is writable by group or others" in problem for problem in refused(settings)] == [
        True
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_files_of_strangers(write):
    settings = write(PROVIDERS)
    os.chown(settings.providers_file, 1000, -1)
    assert load_origins(settings, uid=1000)
    with pytest.raises(ConfigError, match="belongs to user id 1000"):
        load_origins(settings, uid=1001)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("mail.example.org", "example.org"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("example.org", "example.org"),
        ("a.one.github.io", "one.github.io"),
        ("mail.xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("www.city.kawasaki.jp", "city.kawasaki.jp"),
        ("x.ck", None),
        ("www.ck", "www.ck"),
        ("org", None),
        ("co.uk", None),
        ("github.io", None),
        ("mail.corp.local", "corp.local"),
        ("mail.newtld", "mail.newtld"),
        ("192.0.2.77", None),
        ("localhost", None),
        ("", None),
    ],
)
def test_registered_domains(name, domain):
    assert registered_domain(name) == domain
