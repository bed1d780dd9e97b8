"""Families of envelope senders that differ by their tokens alone, each with the one text of all its members.

A template's fields are what changes: `{hex:32}` is 32 random hex digits, other kinds stand in `ALPHABETS`
and `SPECIAL`.  `members` draws senders from a family; whatever letters and digits come, the text is the
same, for the rules look at lengths, places, separators and alphabets, not at what a token happens to be.

What stays out because nothing can tell it from a name: tokens of base32, base36 or base64url with fewer
than some 16 characters beside a word for bounces, or fewer than 32 without any; hex of fewer than 8 and 24.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

__all__ = ["FAMILIES", "Family", "members"]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"

ALPHABETS = {
    "d": _DIGITS,
    "hex": _DIGITS + "abcdef",
    "az": _LETTERS,
    "ap": "abcdefghijklmnop",
    "b31": _DIGITS + "bcdfghjklmnpqrstvwxyz",
    "b32": _LETTERS + "234567",
    "hex32": _DIGITS + "abcdefghijklmnopqrstuv",  # RFC 4648's "extended hex"
    "crockford": _DIGITS + "abcdefghjkmnpqrstvwxyz",
    "b36": _LETTERS + _DIGITS,
    "b58": "abcdefghijkmnopqrstuvwxyz" + "abcdefghjklmnpqrstuvwxyz" + "123456789",
    "b62": _LETTERS * 2 + _DIGITS,
    "b64": _LETTERS * 2 + _DIGITS + "+/",
    "b64url": _LETTERS * 2 + _DIGITS + "-_",
}
"""What a token of a kind is made of, in lower case: letters that have two cases come twice as often."""


def _uuid(random: Random, _: int) -> str:
    groups = [_token(random, "hex", size) for size in (8, 4, 4, 4, 12)]
    return "-".join(groups)


def _count(random: Random, size: int) -> str:
    """A number of up to so many digits."""
    return str(random.randrange(1, 10 ** random.randint(1, size)))


def _padded(random: Random, size: int) -> str:
    """base64 of so many octets."""
    return _token(random, "b64", (size * 8 + 5) // 6) + "=" * (-size % 3)


SPECIAL: dict[str, Callable[[Random, int], str]] = {
    "uuid": _uuid,
    "count": _count,
    "base64": _padded,
}


def _token(random: Random, kind: str, size: int) -> str:
    if kind in SPECIAL:
        return SPECIAL[kind](random, size)
    return "".join(random.choices(ALPHABETS[kind], k=size))


@dataclass(frozen=True, slots=True)
class Family:
    """Senders of one program for one customer."""

    name: str
    template: str
    text: str


def members(family: Family, number: int, seed: int = 0) -> Iterator[str]:
    """So many senders of a family, the same ones for one seed."""
    random = Random(f"{family.name} {seed}")
    pieces = re.split(r"\{(\w+)(?::([0-9]+))?\}", family.template)
    for _ in range(number):
        tokens = [
            _token(random, kind, int(size or 0))
            for kind, size in zip(pieces[1::3], pieces[2::3], strict=True)
        ]
        yield "".join([text + token for text, token in zip(pieces[::3], [*tokens, ""], strict=True)])


# fmt: off
FAMILIES = tuple(Family(*row) for row in (
    # Amazon SES: 16 hex digits, a UUID, a counter; in whatever domain.
    ("SES", "0100018f{hex:8}-{uuid}-000000@amazonses.com", "#@amazonses.com"),
    ("SES, region", "0102018f{hex:8}-{uuid}-000000@eu-west-1.amazonses.com", "#@eu-west-1.amazonses.com"),
    ("SES, own domain", "0102019{hex:9}-{uuid}-000000@mail.example.com", "#@mail.example.com"),
    ("SES, counter", "0107018c{hex:8}-{uuid}-{d:6}@example.com", "#@example.com"),
    ("SES in SRS0", "srs0={b64:4}={b32:2}=example.net=0100018f{hex:8}-{uuid}-000000@forwarder.example",
     "#@example.net"),
    # UUIDs anywhere.
    ("UUID", "{uuid}@example.com", "#@example.com"),
    ("UUID behind a name", "anna-{uuid}@example.com", "anna-#@example.com"),
    ("UUID behind a name, dot", "anna.example.{uuid}@example.com", "anna.example.#@example.com"),
    ("UUID before a name", "{uuid}-anna@example.com", "#-anna@example.com"),
    ("UUID between", "0_{d:5}_{uuid}_us@newsletters.example.com", "0_#_us@newsletters.example.com"),
    ("UUID for bounces", "bounce-{uuid}@example.com", "bounce-#@example.com"),
    ("UUID behind a word", "bounce{uuid}@example.com", "bounce#@example.com"),
    ("UUID, a number before", "b-{d:4}-{uuid}@example.com", "b-#@example.com"),
    ("UUID, a number behind", "notify_{uuid}_{d:5}@example.com", "notify_#@example.com"),
    ("UUID and recipient", "{uuid}-user=example.org@example.com", "#@example.com"),
    ("two UUIDs", "{uuid}.{uuid}@example.com", "#@example.com"),
    ("UUID in one", "n-{hex:32}@example.com", "n-#@example.com"),
    ("UUID with underlines", "job_{hex:8}_{hex:4}_{hex:4}_{hex:4}_{hex:12}@example.com", "job_#@example.com"),
    ("UUID with dots", "job-{hex:8}.{hex:4}.{hex:4}.{hex:4}.{hex:12}@example.com", "job-#@example.com"),
    ("UUID, short word before", "id{uuid}@bounces.example.com", "id#@bounces.example.com"),
    # Groups of hex.
    ("hex 8-8-8", "x-{hex:8}-{hex:8}-{hex:8}@example.com", "x-#@example.com"),
    ("hex 8-8", "bounce-{hex:8}-{hex:8}@example.com", "bounce-#@example.com"),
    ("hex 8-4-4", "bounce-{hex:8}-{hex:4}-{hex:4}@example.com", "bounce-#@example.com"),
    ("hex 4-4-4-4", "return-{hex:4}-{hex:4}-{hex:4}-{hex:4}@example.com", "return-#@example.com"),
    ("hex 6 of 4", "x.{hex:4}.{hex:4}.{hex:4}.{hex:4}.{hex:4}.{hex:4}@example.com", "x.#@example.com"),
    ("hex 24-8", "{hex:24}-{hex:8}@example.com", "#@example.com"),
    ("hex 32-4-4", "msg-{hex:32}-{hex:4}-{hex:4}@example.com", "msg-#@example.com"),
    ("hex 16-16", "news-{hex:16}.{hex:16}@example.com", "news-#@example.com"),
    ("hex and counter", "b-{hex:24}-{d:6}@example.com", "b-#@example.com"),
    ("hex and time", "b_{d:10}_{hex:24}@example.com", "b_#@example.com"),
    ("hex, underlines", "mta_{hex:12}_{hex:12}@bounces.example.com", "mta_#@bounces.example.com"),
    # Hex in one word.
    ("hex 24 (ObjectId)", "{hex:24}@example.com", "#@example.com"),
    ("hex 32 (MD5)", "{hex:32}@example.com", "#@example.com"),
    ("hex 40 (SHA-1)", "{hex:40}@example.com", "#@example.com"),
    ("hex 64 (SHA-256)", "{hex:64}@example.com", "#@example.com"),
    ("hex behind a name", "anna-{hex:32}@example.com", "anna-#@example.com"),
    ("hex before a name", "{hex:32}.anna.example@example.com", "#.anna.example@example.com"),
    ("hex 10 for bounces", "bounce-{hex:10}@example.com", "bounce-#@example.com"),
    ("hex 12 for bounces", "bounces_{hex:12}@example.com", "bounces_#@example.com"),
    ("hex 16 for bounces", "return.{hex:16}@example.com", "return.#@example.com"),
    ("hex 12 at a bounce host", "{hex:12}@bounces.example.com", "#@bounces.example.com"),
    ("hex 16 at a bounce host", "b-{hex:16}@bounce.example.com", "b-#@bounce.example.com"),
    ("hex 32 at a bounce host", "m-{hex:32}@bnc3.example.com", "m-#@bnc3.example.com"),
    ("hex 12 and recipient", "{hex:12}-user=example.org@example.com", "#@example.com"),
    ("hex 32 and recipient", "{hex:32}.user=example.org@example.com", "#@example.com"),
    ("hex of a ticket", "ticket-{hex:12}@example.com", "ticket-#@example.com"),
    ("hex of an order", "order.{hex:16}@example.com", "order.#@example.com"),
    ("hex of a verification", "verify-{hex:20}@example.com", "verify-#@example.com"),
    ("hex, glued", "msg{hex:32}@example.com", "#@example.com"),
    ("Exchange journal", "microsoftexchange{hex:32}@example.com", "microsoftexchange#@example.com"),
    ("Postfix queue id", "return-{hex:11}-{count:5}@example.com", "return-#@example.com"),
    # Known services.
    ("Mandrill", "bounce-md_30504962.{hex:8}.v1-{hex:32}@mandrillapp.com",
     "bounce-md_30504962.#@mandrillapp.com"),
    ("Mandrill, own domain", "bounce-md_7.{hex:8}.v1-{hex:32}@example.com", "bounce-md_7.#@example.com"),
    ("Mandrill in SRS0", "srs0={b64:4}={b32:2}=example.net=bounce-md_7.{hex:8}.v1-{hex:32}@srs.example",
     "bounce-md_7.#@example.net"),
    ("Mailchimp", "bounce-mc.us13_56201157.{d:7}-{hex:10}@mail{count:3}.wdc02.mcdlv.net",
     "bounce-mc.us13_56201157.#@mcdlv.net"),
    ("Mailchimp and recipient", "bounce-mc.us11_46716125.{d:6}-user=example.org@mail.example.com",
     "bounce-mc.us11_46716125.#@mail.example.com"),
    ("Amazon orders", "2025{d:10}{hex:30}p0na-c{b36:14}@bounces.amazon.com", "#@bounces.amazon.com"),
    ("LinkedIn", "m-{b36:51}@bounce.linkedin.com", "m-#@bounce.linkedin.com"),
    ("LinkedIn, short", "s-{b36:7}@bounce.linkedin.com", "s-#@bounce.linkedin.com"),
    ("HubSpot", "1ax{b36:35}@bf01.hubspotstarter.net", "#@bf01.hubspotstarter.net"),
    ("HubSpot and recipient", "1ax{b36:35}-user=example.org@mail.example.com", "#@mail.example.com"),
    ("Mailjet", "{hex:8}.{b64url:48}@a123456.bnc3.mailjet.com", "#@a123456.bnc3.mailjet.com"),
    ("Mailjet, own domain", "{hex:8}.{b64url:48}@bnc3.example.com", "#@bnc3.example.com"),
    ("Marketo", "107-fms-070.0.{d:5}.0.0.{d:4}.9.{d:8}@em.example.com", "107-fms-070.#@em.example.com"),
    ("Salesforce", "info=example.com__{b64url:18}@{b36:12}.um8.bnc.salesforce.com", "info@example.com"),
    ("Salesforce marketing", "bounce-{d:4}_html-{d:7}-{d:5}-{d:6}-{d:4}@bounce.s7.exacttarget.com",
     "bounce-#_html-#@bounce.s7.exacttarget.com"),
    ("Constant Contact", "{base64:16}_1133104752381_{base64:16}@in.constantcontact.com",
     "#_1133104752381_#@in.constantcontact.com"),
    ("Google Calendar", "3{b64url:22}.{az:15}.{az:9}-{az:14}.{az:3}@calendar-server.bounces.google.com",
     "#@calendar-server.bounces.google.com"),
    ("Twitter", "b{hex:12}user=example.org@bounce.twitter.com", "#@bounce.twitter.com"),
    ("Brevo", "bounces-{d:9}-{d:10}@g{az:1}.d.sender-sib.com", "bounces-#@d.sender-sib.com"),
    ("Brevo, own domain", "bounces-{d:8}-user=example.org@email.example.com", "bounces-#@email.example.com"),
    ("SendGrid", "bounces+{d:8}-{hex:4}-user=example.org@em1234.example.com", "bounces@em1234.example.com"),
    ("Discourse", "forum+verp-{hex:32}@discoursemail.com", "forum@discoursemail.com"),
    ("GitHub", "noreply+{b36:26}@github.com", "noreply@github.com"),
    ("Google Groups", "list+bncb{b36:30}@googlegroups.com", "list@googlegroups.com"),
    ("SparkPost", "msprvs1={d:5}{b64url:8}=bounces-{d:5}-{d:2}@bounces.example.com",
     "bounces-#@bounces.example.com"),
    ("Acoustic", "v-{ap:8}_{ap:10}_{ap:8}_{ap:8}_a@bounce.example.com", "v-#@bounce.example.com"),
    ("ezmlm", "list-sc.{d:10}.{ap:20}-user=example.org@lists.example.com", "list-sc.#@lists.example.com"),
    ("Exim message id", "return-1{b62:5}-000{b62:3}-{b62:2}@example.com", "return-#@example.com"),
    ("Exim message id, new", "return-1{b62:5}-0000000{b62:4}-{b62:4}@example.com", "return-#@example.com"),
    # Signatures and forwarders.
    ("BATV", "prvs={d:4}{hex:6}=anna@example.com", "anna@example.com"),
    ("BATV, tag last", "prvs=anna/{d:4}{hex:6}@example.com", "anna@example.com"),
    ("Barracuda", "btv1=={hex:11}==anna@example.com", "anna@example.com"),
    ("SRS0", "srs0={b64:4}={b32:2}=example.net=anna@forwarder.example", "anna@example.net"),
    ("SRS1", "srs1={b64:4}=first.example=={b64:4}={b32:2}=example.net=anna@second.example",
     "anna@example.net"),
    ("Microsoft 365 SRS", "info+srs={b62:5}={b32:2}=example.net=anna@firm.onmicrosoft.com",
     "anna@example.net"),
    ("BATV in SRS0", "srs0={b64:4}={b32:2}=example.net=prvs={d:4}{hex:6}=anna@forwarder.example",
     "anna@example.net"),
    # base32, base36 and the like.
    ("base32 32", "bounce-{b32:32}@example.com", "bounce-#@example.com"),
    ("base32 26", "bounce-{b32:26}@example.com", "bounce-#@example.com"),
    ("base32 26 at a bounce host", "{b32:26}@bounces.example.com", "#@bounces.example.com"),
    ("base32 52", "{b32:52}@example.com", "#@example.com"),
    ("base32 and recipient", "{b32:32}-user=example.org@example.com", "#@example.com"),
    ("base32 of a reply", "reply-{b32:32}@example.com", "reply-#@example.com"),
    ("base32, extended hex", "bounces.{hex32:26}@example.com", "bounces.#@example.com"),
    ("base32 of a ticket", "ticket.{b32:32}@example.com", "ticket.#@example.com"),
    ("base32, two", "bounce-{b32:26}-{b32:26}@example.com", "bounce-#@example.com"),
    ("ULID", "01h{crockford:23}@example.com", "#@example.com"),
    ("ULID for bounces", "bounce_01h{crockford:23}@example.com", "bounce_#@example.com"),
    ("ULID of a notification", "notifications-01j{crockford:23}@example.com", "notifications-#@example.com"),
    ("base36 20", "bounce-{b36:20}@example.com", "bounce-#@example.com"),
    ("base36 25", "{b36:25}@bounce.example.com", "#@bounce.example.com"),
    ("base36 40", "{b36:40}@example.com", "#@example.com"),
    ("base36 and time", "return-{d:10}.{b36:20}@example.com", "return-#@example.com"),
    ("base58 44", "{b58:44}@bounces.example.com", "#@bounces.example.com"),
    ("KSUID", "bounce-{b62:27}@example.com", "bounce-#@example.com"),
    ("KSUID of an alert", "alerts-0{b62:26}@example.com", "alerts-#@example.com"),
    ("Postfix probe", "double-bounce{d:1}{b31:4}@mx.example.com", "double-bounce@mx.example.com"),
    # base64 and base64url, whose marks are separators elsewhere.
    ("base64url 22", "bounce-{b64url:22}@example.com", "bounce-#@example.com"),
    ("base64url 43", "bounce-{b64url:43}@example.com", "bounce-#@example.com"),
    ("base64url 22 at a bounce host", "{b64url:22}@bounces.example.com", "#@bounces.example.com"),
    ("base64url 43 at a bounce host", "{b64url:43}@bounces.example.com", "#@bounces.example.com"),
    ("base64url and recipient", "{b64url:22}-user=example.org@example.com", "#@example.com"),
    ("base64url of a reply", "reply-{b64url:43}@example.com", "reply-#@example.com"),
    ("Nano ID", "bounces-{b64url:21}@example.com", "bounces-#@example.com"),
    ("base64, one pad", "bounce-{base64:20}@example.com", "bounce-#@example.com"),
    ("base64, two pads", "{base64:16}@bounces.example.com", "#@bounces.example.com"),
    # Numbers.
    ("counter", "bounce-{count:12}@example.com", "bounce-#@example.com"),
    ("counter, glued", "bounce{d:6}@example.com", "bounce#@example.com"),
    ("counters", "list-errors.{d:10}.{d:5}.{d:10}.{d:3}.{d:1}.{d:1}@example.com",
     "list-errors.#@example.com"),
    ("counter and recipient", "list-return-{count:6}-user=example.org@example.com",
     "list-return-#@example.com"),
    ("sequence of Yahoo Groups", "sentto-{d:6}-{d:4}-{d:9}-user=example.org@returns.example.com",
     "sentto-#@returns.example.com"),
    ("time", "newsletter-2025{d:10}@example.com", "newsletter-#@example.com"),
    ("ticket", "ticket-1{d:5}@example.com", "ticket-#@example.com"),
    ("Snowflake", "notification-1{d:18}@example.com", "notification-#@example.com"),
    ("LISTSERV", "owner-list*user**example.org@listserv.example.com", "owner-list*#@listserv.example.com"),
))
# fmt: on
