"""Wanted mail that comes from pools: big providers as they are named in the field, and others nobody lists.

The names are those of the shipped table's sources; the addresses are made up, for nothing is looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from random import Random

from tests.support.simulation.hosts import (
    among,
    dashed,
    mandrill_token,
    named_pool,
    only,
    people,
    pool,
    ses_token,
    someone,
    sometimes_nameless,
    ticket_token,
    tokens,
    uuid_token,
)
from tests.support.simulation.mail import BOTH, Kind, Letter, MakeClient, MakeLetter
from tests.support.simulation.schedules import BULK, LOGIN, MACHINE, big_provider, postfix

__all__ = ["ACCESS_PROVIDERS", "GOOGLE", "OUTLOOK", "provider_pools", "providers"]

ACCESS_PROVIDERS = tuple(f"isp{number}-example.net" for number in range(1, 7))
"""Their customers' machines are infected (see `attacks`); the first three have mail servers as well."""

OUTLOOK = "20.40.0.0"
GOOGLE = "20.10.0.0"


def _google(random: Random, which: int, address: IPv4Address) -> str:
    del random
    return f"mail-{'ow'[which % 2]}{'tim'[which % 3]}{which % 9}-f{int(address) % 256}.google.com"


def _outlook(random: Random, which: int, address: IPv4Address) -> str:
    del random
    if which % 2:
        return f"mail-eopbgr{int(address) % 2**16:05}{which:03}.outbound.protection.outlook.com"
    return f"mail-francesouthazon{11_000_000 + int(address) % 2**16}.outbound.protection.outlook.com"


def _yahoo(random: Random, which: int, address: IPv4Address) -> str:
    del random
    return f"sonic{300 + which}-{int(address) % 50}.consmr.mail.ne1.yahoo.com"


def _ses(random: Random, which: int, address: IPv4Address) -> str:
    del random
    return f"a{which}-{int(address) % 256}.smtp-out.amazonses.com"


def _sendgrid(random: Random, which: int, address: IPv4Address) -> str:
    del random, which
    return f"o{int(address) % 10**7}x{int(address) % 256}.outbound-mail.sendgrid.net"


def _mandrill(random: Random, which: int, address: IPv4Address) -> str:
    del random
    return f"mail{which}-{int(address) % 256}.suw31.mandrillapp.com"


def _mailchimp(random: Random, which: int, address: IPv4Address) -> str:
    del random
    return f"mail{int(address) % 256}.suw{which % 20}.mcsv.net"


def _facebook(random: Random, which: int, address: IPv4Address) -> str:
    del random, which
    return f"{dashed(address)}.mail-mail.facebook.com"


def _generated(domain: str) -> Callable[[Random, int, IPv4Address], str]:
    return lambda random, which, address: f"{dashed(address)}.mail-out.{domain}"


def provider_pools() -> dict[str, MakeClient]:
    """The hosts of providers, by a short name; `attacks` sends through them too."""
    return {
        "google": pool(_google, GOOGLE),
        "microsoft": pool(_outlook, OUTLOOK),
        "yahoo": pool(_yahoo, "20.20.0.0"),
        "ses": pool(_ses, "20.30.0.0"),
        "sendgrid": pool(_sendgrid, "20.50.0.0"),
        "mandrill": pool(_mandrill, "20.60.0.0"),
        "mailchimp": pool(_mailchimp, "20.70.0.0"),
        "gmx": pool(lambda random, which, address: "mout.gmx.net", "20.80.0.0", 8),
        "bigpool": named_pool("bigpool-example.com", "20.90.0.0"),
    }


def providers() -> list[Kind]:
    pools = provider_pools()
    shops = among("shop", 60)

    def kind(name: str, per_day: float, which: str, word: str, letter: MakeLetter, **more: object) -> Kind:
        values = {"pool": True, "provider": word, **more}
        return Kind(name, per_day, big_provider, pools[which], letter, **values)  # type: ignore[arg-type]

    ses = tokens(ses_token, shops, "mail.")
    codes = tokens(ses_token, among("code", 40), "eu-west-1.")
    sendgrid = tokens(uuid_token, among("signin", 30), "em.")
    tickets = tokens(mandrill_token, among("service", 40), "mta.")
    return [
        kind("Google, people", 200, "google", "google", people(among("customer", 150))),
        kind("Microsoft 365, people", 150, "microsoft", "microsoft", people(among("company", 120))),
        kind("Yahoo, people", 40, "yahoo", "yahoo", people(only("yahoo.com"))),
        kind("GMX, people", 50, "gmx", "ionos", people(only("gmx.net"))),
        kind("Amazon SES, shops", 60, "ses", "amazon-ses", ses, deadline=BULK),
        kind("Amazon SES, login codes", 30, "ses", "amazon-ses", codes, deadline=LOGIN),
        kind("SendGrid, login codes", 30, "sendgrid", "sendgrid", sendgrid, deadline=LOGIN),
        kind("Mandrill, tickets", 30, "mandrill", "mailchimp", tickets, deadline=MACHINE),
        kind("Mailchimp, newsletters", 60, "mailchimp", "mailchimp", _newsletter("mcsv.net"), deadline=BULK),
        replace(
            kind("Microsoft 365, name missing", 15, "microsoft", "", people(among("company", 120))),
            client=sometimes_nameless(pools["microsoft"], 0.3),
        ),
        Kind(
            "Facebook, notices",
            30,
            postfix,
            pool(_facebook, "20.100.0.0"),
            tokens(ticket_token, only("facebook.com"), "support."),
            pool=True,
            deadline=BULK,
        ),
        Kind(
            "provider pool",
            200,
            big_provider,
            pools["bigpool"],
            people(among("client", 150)),
            pool=True,
        ),
        Kind(
            "second pool, Postfix",
            40,
            postfix,
            named_pool("mailer-example.org", "20.110.0.0"),
            people(among("firm", 60)),
            pool=True,
        ),
        Kind(
            "generated names, agreement",
            30,
            postfix,
            pool(_generated("telegrams-example.com"), "20.120.0.0"),
            people(only("telegrams-example.com"), 20),
            pool=True,
        ),
        Kind(
            "generated names, SPF",
            30,
            postfix,
            pool(_generated("postcards-example.com"), "20.130.0.0"),
            people(only("greetings-example.com"), 20),
            pool=True,
        ),
        *(
            Kind(
                f"mail hosts of {isp}",
                100 if isp == ACCESS_PROVIDERS[0] else 25,
                postfix,
                named_pool(isp, f"20.{140 + index}.0.0", 12, "mta-"),
                people(only(isp), 20),
                pool=True,
                isp=isp,
                mx=BOTH,
            )
            for index, isp in enumerate(ACCESS_PROVIDERS[:3])
        ),
    ]


def _newsletter(domain: str) -> MakeLetter:
    def letter(random: Random, number: int) -> Letter:
        which = int(20 * random.random() ** 1.5)
        # An account is one sender: its number stays, as the whole of bounce-md_30571234 does (hosts.py).
        token = f"bounce-mc.us8_{56_201_157 + which}.{random.getrandbits(24)}-{random.getrandbits(40):010x}"
        sender = f"{token}@mail{number % 200}.atl01.{domain}"
        return Letter(sender, (someone(random),), domain, f"news{which}@{domain}")

    return letter
