"""The examples of multigrey-rules(5): each is loaded, and does with mail what the page says it does."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from multigrey.config.load import load
from multigrey.config.tables.rule import zone_of
from multigrey.identity.origin import Origins
from multigrey.identity.traits import GeneratedName, HeloIsAddress, HeloMismatch, NoClientName, NullSender
from multigrey.model import Action, Attempt, Origin
from multigrey.rules.rules import Classes, Rules, wrong_classes, wrong_rules

PAGE = (Path(__file__).resolve().parents[1] / "man/multigrey-rules.5").read_text()
_EXAMPLE = re.compile(
    r'(?m)^\.\\" example: (?P<kind>rule|list) (?P<name>\S+)\n\.Bd -literal.*\n(?P<body>(?:.*\n)*?)\.Ed$'
)

FRIDAY = int(datetime(2026, 11, 20, 23, 30, tzinfo=UTC).timestamp())
NOON = FRIDAY - int(11.5 * 3600)
SUNDAY_NOON = NOON + 2 * 86_400

SLOW = frozenset({"dnsbl:zen", "dnsbl:spamcop", "country:XX"})

UNSHOWN_LISTS = {
    "optin_email": "boss@example.org\n",
    "optout_email": "sales@example.org\n",
    "optin_domain": "example.org\n",
    "optout_domain": "example.net\n",
}
"""What administrators print from sqlgrey's tables."""


def examples(kind):
    """Texts of one kind by name; those of the same name are one."""
    found = {}
    for each in _EXAMPLE.finditer(PAGE):
        if each["kind"] == kind:
            text = re.sub(r"(?m)^\\&", "", each["body"]).replace(r"\e", "\\")
            found[each["name"]] = found.get(each["name"], "") + text + "\n"
    return found


def lay_out(name, directory):
    directory.chmod(0o755)
    lists = directory / "lists"
    lists.mkdir(mode=0o755)
    for file, text in {**UNSHOWN_LISTS, **examples("list")}.items():
        (lists / file).write_text(text)
        (lists / file).chmod(0o644)
    config = directory / "multigrey.toml"
    config.write_text(f'time_zone = "UTC"\n{examples("rule")[name]}')
    config.chmod(0o644)
    return load(config, {"STATE_DIRECTORY": "/var/lib/multigrey"})


def traits():
    origins = Origins(lambda name: ".".join(name.split(".")[-2:]), {}, {})
    return {
        "null-sender": NullSender(),
        "no-client-name": NoClientName(),
        "generated-name": GeneratedName(origins),
        "helo-mismatch": HeloMismatch(origins),
        "helo-is-address": HeloIsAddress(),
    }


def attempt(**fields):
    values = {
        "listener": "postfix",
        "client_address": "203.0.113.9",
        "client_name": "mx.example.info",
        "helo": "mx.example.info",
        "sender": "alice@example.info",
        "recipient": "bob@example.org",
    }
    values |= fields
    values["client_address"] = ip_address(values["client_address"])
    return Attempt(**values)


def judged(
    name, directory, *, origin="example.info", named=True, provider="", now=NOON, found=None, **fields
):
    """The rule that decides, with what is known of the sender."""
    settings = lay_out(name, directory).settings
    assert [*wrong_rules(settings.rule, traits(), SLOW)] == []
    rules = Rules(settings.rule, traits(), zone=zone_of(settings.time_zone))
    found = found if found is None else frozenset(found)
    return rules.evaluate(attempt(**fields), Origin(origin, named=named), provider, now, found)


HOME = {"client_name": "dsl-203-0-113-9.isp.example", "helo": "dsl-203-0-113-9.isp.example"}
"""A home machine under its provider's name for it."""
TLS = {"encryption_protocol": "TLSv1.3"}
CLEAR = {"encryption_protocol": ""}
NIGHT = {"named": False, "now": FRIDAY}

CASES = [
    # example, what the attempt is like, the rule that decides (None: greylisted as usual)
    ("first", {"recipient": "fax@example.org", "client_address": "192.0.2.7"}, "fax gateway"),
    ("first", {"recipient": "fax@example.org", "client_address": "192.0.2.77"}, None),
    ("first", {"client_address": "192.0.2.7"}, None),
    ("lists", {"origin": "example.net", "attributes": TLS}, "partners"),
    ("lists", {"origin": "example.net", "attributes": CLEAR}, None),
    ("lists", {"origin": "example.net"}, None),
    ("lists", {"attributes": TLS}, None),
    ("below", NIGHT, "unknown hosts at night"),
    ("below", {**NIGHT, "recipient": "security@example.com"}, None),
    ("below", {**NIGHT, "recipient": "oncall@example.org"}, None),
    ("below", {**NIGHT, "now": NOON}, None),
    ("below", {**NIGHT, "named": True}, None),
    ("files", {"recipient": "info@example.net"}, "asked for it"),
    ("files", {"recipient": "alice+x@example.org"}, "asked for it"),
    ("files", {"recipient": "anyone@example.com"}, "asked for it"),
    ("files", {}, None),
    ("auth", {"origin": "bank.example", "sender": "otp@mail.bank.example"}, "login codes"),
    ("auth", {"origin": "otp.example", "sender": "otp@otp.example"}, "login codes"),
    ("auth", {"origin": "bank.example", "sender": "news@bank.example"}, None),
    ("auth", {"sender": "otp@bank.example"}, None),
    ("auth", {"client_address": "192.0.2.99", "recipient": "alerts@example.org"}, "monitoring"),
    ("auth", {"recipient": "alerts@example.org"}, None),
    ("oncall", {"recipient": "oncall+db@example.org"}, "on call"),
    ("oncall", {"recipient": "pager-alice@example.org"}, "on call"),
    ("oncall", {"recipient": "pager-@example.org"}, None),
    ("oncall", {"recipient": "help@example.org", "now": FRIDAY}, "help desk out of hours"),
    ("oncall", {"recipient": "help@example.org"}, None),
    ("selective", {}, "not suspicious"),
    ("selective", {"client_name": None}, "suspicious"),
    ("selective", HOME, "suspicious"),
    ("selective", {"helo": "[203.0.113.9]"}, "suspicious"),
    ("selective", {"helo": "localhost"}, "suspicious"),
    ("selective", {"helo": "out3.example.info"}, "not suspicious"),
    ("dynamic", {}, "looks static"),
    ("dynamic", {"client_name": None}, "looks dynamic"),
    ("dynamic", HOME, "looks dynamic"),
    ("dynamic", {"client_name": "host12-34.example.info"}, "looks dynamic"),
    ("dynamic", {"client_name": "c12345.example.info"}, "looks dynamic"),
    ("dynamic", {"client_name": "a.203.0.113.9.example.info"}, "looks dynamic"),
    ("dynamic", {"client_name": "berlin.dyn.example.info"}, "looks dynamic"),
    ("dynamic", {"client_name": "b.adsl.example.info"}, "looks dynamic"),
    ("dynamic", {"client_name": "mx1.dynamo.example.info"}, "looks static"),
    ("dynamic", {"client_name": "mail7.example.info"}, "looks static"),
    ("discrimination", {}, "no discrimination"),
    ("discrimination", {"sender": "www-data@example.info"}, "discrimination"),
    ("discrimination", {"client_name": None}, "discrimination"),
    ("discrimination", {"helo": "winpc"}, "discrimination"),
    ("discrimination", {"helo": "mx.example.net"}, "discrimination"),
    ("discrimination", {"helo": "mx2.example.info"}, "no discrimination"),
    ("optin", {"recipient": "boss@example.org"}, "address opted in"),
    ("optin", {"recipient": "sales@example.org"}, "address opted out"),
    ("optin", {}, "domain opted in"),
    ("optin", {"recipient": "bob@example.com"}, "no opt-in"),
    ("optout", {"recipient": "boss@example.org"}, "address opted in"),
    ("optout", {"recipient": "sales@example.org"}, "opted out"),
    ("optout", {"recipient": "anyone@example.net"}, "opted out"),
    ("optout", {}, None),
    ("racl", {"client_address": "192.0.2.200"}, "our own network"),
    ("racl", {"client_name": "out.example.net"}, "example.net"),
    ("racl", {"client_name": "notexample.net"}, "all other mail"),
    ("racl", {"client_name": "mx.example.com", "sender": "alice@example.com"}, "example.com"),
    ("racl", {"sender": "alice@example.com"}, "all other mail"),
    ("racl", {"recipient": "lists-dev@example.org"}, "lists"),
    ("racl", {"sender": "win@spam.example"}, "spam.example"),
    ("racl", {"found": ["dnsbl:zen", "country:XX"]}, "on a list"),
    ("racl", {"found": ["country:XX"]}, "far away"),
    ("racl", {"found": ["country:XX"], "client_name": "mx.example"}, "all other mail"),
    ("racl", {"recipient": "sales@example.org"}, "sales, in office hours"),
    ("racl", {"recipient": "sales@example.org", "now": SUNDAY_NOON}, "all other mail"),
    ("racl", {"recipient": "sales@example.org", "now": FRIDAY}, "all other mail"),
    ("racl", {}, "all other mail"),
    ("dnsbl", {}, None),
    ("dnsbl", {"found": ["dnsbl:spamcop"]}, "listed"),
    ("dnsbl", {"found": []}, None),
    ("blacklist", {"client_address": "198.51.100.3"}, "blacklist"),
    ("blacklist", {"client_address": "198.51.100.200"}, None),
    ("blacklist", {"client_address": "2001:db8:bad::1"}, "blacklist"),
    ("blacklist", {"sender": "a@news.spam.example"}, "blacklist"),
    ("blacklist", {"sender": "a@casino.example"}, "blacklist"),
    ("blacklist", {"sender": "a@no.casino.example"}, None),
    ("providers", {"provider": "microsoft"}, "providers"),
    ("providers", {}, None),
    ("some-providers", {"provider": "microsoft", "recipient": "sales@example.org"}, "microsoft, for sales"),
    ("some-providers", {"provider": "microsoft"}, None),
    ("some-providers", {"recipient": "sales@example.org"}, None),
]


@pytest.mark.parametrize(("name", "told", "decides"), CASES)
def test_examples_do_what_the_page_says(name, told, decides, tmp_path):
    outcome = judged(name, tmp_path, **told)
    assert (outcome.rule if outcome else None) == decides


def test_every_rule_of_every_example_decides_once():
    deciding = {}
    for name, _, decides in CASES:
        deciding.setdefault(name, set()).add(decides)
    for name, text in examples("rule").items():
        rules = set(re.findall(r'(?m)^\[\[rule\]\]\nname = "(.*)"$', text))
        assert rules == deciding.get(name, set()) - {None}, name


def test_examples_end_otherwise_too():
    """An example whose last rule has conditions has a case in which none of its rules matches."""
    cases = {(name, decides) for name, _, decides in CASES}
    for name, text in examples("rule").items():
        rules = tomllib.loads(text).get("rule", [])
        if rules and rules[-1]["when"] != {}:
            assert (name, None) in cases, name


OUTCOMES = [
    ("first", "pass", {}),
    ("below", None, {"delay": 600}),
    ("selective", None, {}),
    ("dnsbl", None, {"delay": 1800, "text": "Greylisted, please try again in half an hour"}),
    ("blacklist", "reject", {"code": "5.7.1", "text": "Rejected, write to postmaster@example.org"}),
    ("providers", "pass", {}),
]


@pytest.mark.parametrize(("name", "action", "fields"), OUTCOMES)
def test_what_the_rules_of_examples_want(name, action, fields, tmp_path):
    told, decides = next((told, decides) for each, told, decides in CASES if each == name and decides)
    if name == "selective":
        told = {"client_name": None}
    outcome = judged(name, tmp_path, **told)
    assert outcome.action is (None if action is None else Action(action))
    assert decides
    for field in ("delay", "text", "code"):
        assert getattr(outcome, field) == fields.get(field, None if field == "delay" else "")


def test_the_racl_lines_do_what_milter_greylist_would(tmp_path):
    settings = lay_out("racl", tmp_path).settings
    lines = re.findall(r'(?m)^\.It Li "(racl .*)"$', PAGE)
    words = {"pass": "whitelist", "greylist": "greylist", "reject": "blacklist"}
    assert [line.split()[1] for line in lines] == [words[rule.action] for rule in settings.rule]
    delays = [re.search(r"delay (\S+)", line) for line in lines]
    seconds = {"12h": 43_200, "1h": 3600, "30m": 1800}
    assert [each and seconds[each[1]] for each in delays] == [rule.delay for rule in settings.rule]


@pytest.mark.parametrize(
    ("fields", "named", "expected"),
    [
        ({"sender": "no-reply@example.com"}, True, "login codes"),
        ({"sender": "no-reply@example.com"}, False, ""),
        ({}, True, ""),
    ],
)
def test_the_class(fields, named, expected, tmp_path):
    settings = lay_out("class", tmp_path).settings
    assert [*wrong_classes(settings.class_, traits(), SLOW)] == []
    classes = Classes(settings.class_, traits(), zone=zone_of(settings.time_zone))
    assert classes.of(attempt(**fields), Origin("example.com", named=named), "", NOON) == expected
    assert settings.class_[0].target == 60


def test_the_order_is_that_of_how_often_it_is_wanted():
    titles = re.findall(r"(?m)^\.Ss (.*)$", PAGE[PAGE.index(".Sh EXAMPLES") : PAGE.index(".Sh SEE ALSO")])
    assert titles == [
        "Auth and alert mail passes",
        "On-call addresses",
        "Selective greylisting of suspicious clients only",
        "sqlgrey's discrimination",
        "sqlgrey's opt-in and opt-out",
        "milter-greylist's racl lines",
        "A longer delay for clients on a DNS list",
        "A blacklist",
        "Providers pass",
    ]


def test_every_list_that_is_named_is_there():
    named = {name for text in examples("rule").values() for name in re.findall(r'"lists/(\w+)"', text)}
    assert named == {*examples("list"), *UNSHOWN_LISTS}


def test_every_literal_display_of_toml_is_an_example():
    displays = re.findall(r"(?m)^(.*)\n\.Bd -literal.*\n(\[\[.*)$", PAGE)
    assert displays
    assert all(before.startswith(r".\" example: rule ") for before, _ in displays)
