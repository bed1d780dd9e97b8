"""The shipped lists of providers and shared hosts, and the rules of origins run with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from ipaddress import ip_address

import pytest

from multigrey.config.origins import load_origins, registered_domain, shipped
from multigrey.model import Attempt, Origin
from multigrey.origin import Naming, Provider
from tests.support.origin_table import MAN_ROWS, NETWORK, ROWS

PROVIDERS, HOSTS = shipped()
ATTEMPT = Attempt("test", None, None, "", "alice@example.org", "bob@example.net")


@pytest.fixture(scope="module")
def origins():
    return load_origins()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.address} {row.name!a:.60} {row.helo!a:.30}")
def test_each_row_of_the_table(origins, row):
    attempt = replace(ATTEMPT, client_address=ip_address(row.address), client_name=row.name, helo=row.helo)
    expected = (
        Origin("192.0.2.0/24", named=False) if row.origin == NETWORK else Origin(row.origin, named=True)
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
        assert registered_domain(suffix) is not None, suffix


def test_nobody_groups_below_a_shared_suffix_but_by_an_exemption():
    shared = {suffix for _, suffix, entry in HOSTS.entries() if not entry.exempt}
    exempt = {suffix for _, suffix, entry in HOSTS.entries() if entry.exempt}
    for _, suffix, _ in PROVIDERS.entries():
        below = any(suffix == other or suffix.endswith(f".{other}") for other in shared)
        assert not below or suffix in exempt, suffix


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
