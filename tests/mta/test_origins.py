"""Who is sending, as real mail servers tell it: pools, changing senders, names that come and go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mta import shipped
from tests.mta.exim import DebianExim
from tests.mta.harness import Server, place
from tests.mta.postfix import Postfix
from tests.mta.shipped import DELAY, World

pytestmark = pytest.mark.mta

POOL = [f"198.19.{number % 12}.{10 + number}" for number in range(40)]
"""Forty addresses in twelve networks, all under one verified domain."""
BOTS = [f"198.19.{100 + number}.7" for number in range(6)]
ONCE_NAMED, LATER_NAMED = "198.19.50.1", "198.19.51.1"
HOSTS = {
    **{address: f"out{number}.mx.example.org" for number, address in enumerate(POOL)},
    **{address: f"{address.replace('.', '-')}.dyn.example.com" for address in BOTS},
    ONCE_NAMED: "mx.example.net",
}
RECIPIENT = "bob@test.example"


only_postfix = pytest.mark.parametrize("site", ["postfix"], indirect=True)
"""Exim's names come from its hosts file and stay as they are."""


class Site(World[Server]):
    """A world that can be asked by clients with names."""

    def told(self, address: str, sender: str, *, name: str | None = None, helo: str = "") -> int:
        """The code RCPT is answered with; `name` "" hides the one the client has (Postfix only)."""
        known = HOSTS.get(address, "") if name is None else name
        with self.mta.session(address, name=known, helo=helo or known or f"[{address}]") as session:
            (code,) = session.send(sender, [RECIPIENT], sender[:40]).codes
        return code

    @property
    def deferred(self) -> int:
        return 450 if self.mta.name == "Postfix" else 451


@pytest.fixture(scope="module", params=["postfix", "exim"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with (
        place() as directory,
        shipped.daemon(directory / "daemon", f"{request.param}/multigrey.toml") as daemon,
    ):
        if request.param == "postfix":
            mta: Server = Postfix(
                directory / "postfix", shipped.text("postfix/main.cf.multigrey", daemon.directory)
            )
        else:
            shipped.acl_files(directory, daemon.directory)
            mta = DebianExim(directory / "exim", shipped.exim_macros(directory), users=["bob"], hosts=HOSTS)
        with mta:
            yield Site(daemon, mta)


def test_a_pool_passes_on_its_first_retry_from_any_of_its_addresses(site: Site) -> None:
    assert site.told(POOL[0], "pool@customer.example") == site.deferred
    site.daemon.clock.advance(DELAY)
    assert [site.told(address, "pool@customer.example") for address in POOL[1::7]] == [250] * 6


def test_a_bounce_address_that_changes_with_every_retry(site: Site) -> None:
    verp = "bounces+4711-{}-bob=test.example@em.example.org"
    assert site.told(POOL[3], verp.format("9f86d081884c7d65")) == site.deferred
    site.daemon.clock.advance(DELAY)
    assert site.told(POOL[20], verp.format("2c26b46b68ffc68f")) == 250


def test_a_forwarder_whose_rewritten_senders_change_daily(site: Site) -> None:
    srs = "SRS0={}=customer.example=alice@forward.example.org"
    assert site.told(POOL[5], srs.format("a1b2=AB")) == site.deferred
    site.daemon.clock.advance(86_400)
    assert site.told(POOL[6], srs.format("c3d4=AC")) == 250


def test_an_address_that_rotates_within_its_64(site: Site) -> None:
    assert site.told("2001:db8:77:1::25", "six@customer.example") == site.deferred
    site.daemon.clock.advance(DELAY)
    assert site.told("2001:db8:77:1:a:b:c:d", "six@customer.example") == 250


@only_postfix
def test_first_with_a_name_then_without(site: Site) -> None:
    assert site.told(ONCE_NAMED, "hiccup@customer.example") == site.deferred
    site.daemon.clock.advance(DELAY)
    assert site.told(ONCE_NAMED, "hiccup@customer.example", name="") == 250


@only_postfix
def test_first_without_a_name_then_with(site: Site) -> None:
    assert site.told(LATER_NAMED, "late@customer.example") == site.deferred
    site.daemon.clock.advance(DELAY)
    assert site.told(LATER_NAMED, "late@customer.example", name="mx.example.net") == 250


def test_an_impatient_sender_with_a_name_is_let_in(site: Site) -> None:
    codes = []
    for wait in (0, 60, 60, 60):
        site.daemon.clock.advance(wait)
        codes.append(site.told(POOL[9], "impatient@customer.example"))
    assert codes == [site.deferred, site.deferred, 250, 250]


def test_machines_of_one_provider_with_one_list_never_pass_for_each_other(site: Site) -> None:
    codes = []
    for address in BOTS:
        codes.append(site.told(address, "list@customer.example"))
        site.daemon.clock.advance(DELAY)
    assert codes == [site.deferred] * len(BOTS)


def test_who_only_calls_itself_a_provider_gets_nothing(site: Site) -> None:
    told = []
    for number in range(3):
        address = f"198.19.{200 + number}.1"
        told.append(site.told(address, "boss@customer.example", helo="mail-ot1-f45.google.com"))
        site.daemon.clock.advance(DELAY)
    assert told == [site.deferred] * 3
