"""The shipped lists of providers and shared hosts, and the rules of origins run with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from ipaddress import ip_address

import pytest

from multigrey.config.origin_lists import load_origins, registered_domain, shipped
from multigrey.identity.host_names.host_table import HostTable, is_pattern, tail_of
from multigrey.identity.origin import Naming, Provider
from multigrey.model import Attempt, Origin
from tests.support.origin_table import CUSTOMERS, MAN_ROWS, NETWORK, ROWS

PROVIDERS, HOSTS = shipped()
ATTEMPT = Attempt("test", None, None, "", "alice@example.org", "bob@example.net")


@pytest.fixture(scope="module")
def origins():
    return load_origins()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.address} {row.name!a:.60} {row.helo!a:.30}")
def test_each_row_of_the_table(origins, row):
    attempt = replace(
        ATTEMPT,
        client_address=ip_address(row.address),
        client_name=row.name,
        helo=row.helo,
        sender=row.sender or ATTEMPT.sender,
        attributes={"reverse_client_name": row.reverse} if row.reverse else {},
    )
    expected = (
        Origin("192.0.2.0/24", named=False)
        if row.origin == NETWORK
        else Origin(row.origin, named=True, claimed=row.why == "claimed")
    )

    explained = origins.explained(attempt, "192.0.2.0/24")

    assert (explained.origin, explained.naming) == (expected, Naming(row.why))
    assert origins.of(attempt, "192.0.2.0/24") == expected
    assert origins.provider_of(attempt) == (row.origin if row.why == "provider" else "")


def test_the_table_is_large_and_the_manual_page_has_each_reason():
    assert len(ROWS) > 150
    assert len(set(ROWS)) == len(ROWS)
    left_out = {Naming.NO_ADDRESS, Naming.ODD_NAME}
    assert {Naming(row.why) for row in MAN_ROWS} == {*Naming} - left_out


def test_each_list_is_dated():
    assert PROVIDERS.updated is not None
    assert HOSTS.updated is not None
    assert min(PROVIDERS.updated, HOSTS.updated) >= date(2026, 11, 22)


def test_each_provider_is_dated():
    assert PROVIDERS.updated is not None
    for table in PROVIDERS.provider:
        assert table.date is not None, table.origin
        assert PROVIDERS.updated - timedelta(days=366) <= table.date <= PROVIDERS.updated, table.origin


def test_the_largest_senders_are_there():
    assert len(PROVIDERS.provider) >= 60


def test_whoever_passes_at_once_has_a_schedule_with_its_source():
    passing = [table for table in PROVIDERS.provider if table.retries]
    assert len(passing) >= 10
    for table in passing:
        assert table.schedule is not None, table.origin
        assert any(word in table.schedule for word in ("hour", "minute", "day")), table.origin


def test_nobody_on_record_as_slow_or_giving_up_passes_at_once():
    on_record = {table.origin for table in PROVIDERS.provider if table.schedule and not table.retries}
    assert on_record >= {"postmark", "facebook", "ionos", "github", "mailchimp", "barracuda"}


@pytest.mark.parametrize("name", CUSTOMERS)
def test_no_customer_is_a_provider(origins, name):
    table = HostTable({key: entry.origin for _, key, entry in PROVIDERS.entries()})
    assert table.find(name) == (None, "")
    for address in ("192.0.2.77", "2001:db8::1"):
        for helo in (name, "mail-ot1-f45.google.com"):
            attempt = replace(ATTEMPT, client_address=ip_address(address), client_name=name, helo=helo)
            assert origins.provider_of(attempt) == ""
            assert origins.explained(attempt, "192.0.2.0/24").naming is not Naming.PROVIDER


def test_each_source_shows_a_name_that_its_entry_knows():
    """So that a suffix or pattern with a slip of the pen is found."""
    for table in PROVIDERS.provider:
        known = HostTable(dict.fromkeys((*table.suffixes, *table.names), table.origin))
        words = (table.source or "").replace(",", " ").replace(";", " ").split()
        own = [word for word in words if "." in word and known.find(word)[0]]
        assert own or table.origin in WITHOUT_FULL_NAME, table.origin


WITHOUT_FULL_NAME = {"twitter"}
"""Their sources show none."""


def test_spf_domains_belong_to_one_provider():
    domains = [domain for table in PROVIDERS.provider for domain in table.spf]
    assert len(domains) == len(set(domains)) > 30


def test_no_suffix_stands_twice():
    suffixes = [suffix for file in (PROVIDERS, HOSTS) for _, suffix, _ in file.entries()]
    assert len(suffixes) == len(set(suffixes))


def test_each_entry_has_its_reason_and_source():
    tables = (*PROVIDERS.provider, *HOSTS.host)
    assert all(table.reason and table.source for table in tables)


def test_each_provider_stands_once_and_in_a_domain_of_its_own():
    words = [table.origin for table in PROVIDERS.provider]
    assert len(words) == len(set(words))
    for _, suffix, entry in PROVIDERS.entries():
        assert isinstance(entry, Provider)
        domain = tail_of(suffix) if is_pattern(suffix) else suffix
        assert registered_domain(domain) is not None, suffix


def test_what_lies_below_a_shared_suffix_is_meant():
    """A hoster that is a provider too: only its own mail servers, never all of the hoster's names."""
    shared = {suffix for _, suffix, entry in HOSTS.entries() if not entry.exempt}
    below = {
        key
        for _, key, _ in PROVIDERS.entries()
        if any(key == other or key.endswith(f".{other}") for other in shared)
    }
    assert below == {"mail-out.ovh.net", "*smtp*.prod.*.secureserver.net"}


def test_exemptions_lie_below_a_suffix_of_their_entry():
    for table in HOSTS.host:
        for suffix in table.exempt:
            assert any(suffix.endswith(f".{other}") for other in table.suffixes), suffix


def test_the_providers_and_hosters_everybody_meets_are_there():
    words = {table.origin for table in PROVIDERS.provider}
    assert words >= {
        "apple",
        "microsoft",
        "google",
        "amazon-ses",
        "yahoo",
        "fastmail",
        "mailchimp",
        "sendgrid",
    }
    assert words >= {"mailgun", "mailjet", "sparkpost", "salesforce", "proofpoint", "mimecast", "zoho"}
    assert words >= {"yandex", "mail-ru", "ionos", "proton"}
    suffixes = {suffix for _, suffix, entry in HOSTS.entries() if not entry.exempt}
    assert suffixes >= {"contaboserver.net", "ovh.net", "your-server.de", "googleusercontent.com"}
    assert suffixes >= {"cloudapp.azure.com", "vultrusercontent.com", "scw.cloud"}
