"""Expectations: mail to one recipient that passes for a while, because a person waits for it.

Example: a user on the telephone waits for a code that an unknown sender sends.  Mail to that user then passes
at once, until a given second; nothing of it is remembered.  Expectations are rows of the META table, which
are forgotten when they are over.  They survive a restart, and there are at most `MOST`.  They are asked
before every other whitelist; if there are none, that is one look at an empty mapping.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import fields, replace
from hashlib import blake2b
from typing import Any

from multigrey.contracts import Store
from multigrey.engine.setup import Setup, SourceInfo
from multigrey.errors import CodecError, MultigreyError
from multigrey.identity.addresses import LONGEST_ADDRESS, host_name, split_address
from multigrey.identity.components import Recipient
from multigrey.identity.envelope import address_text
from multigrey.model import Attempt, Change, Entry, Key, Match, value
from multigrey.stores.meta import EXPECTATIONS
from multigrey.text import printable

__all__ = ["MOST", "SOURCE", "Expectation", "ExpectationError", "Expectations", "TooManyExpectationsError"]

logger = logging.getLogger(__name__)

MOST = 1_000
"""Expectations at a time; each is for one waiting person."""
SOURCE = "expect"
"""The name of this source in the log."""
_LONGEST_REASON = 200


class ExpectationError(MultigreyError):
    """An expectation with a wrong recipient, domain or duration; the text is for the caller."""


class TooManyExpectationsError(MultigreyError):
    """As many expectations as are possible are there already; the text is for the caller."""


@value
class Expectation:
    """Mail to one recipient that passes until a second."""

    recipient: str
    """Key text.  Without an extension it stands for every extension too."""
    sender_domain: str
    """Key text: a domain with its sub-domains, or a whole address; "" for mail from any sender."""
    since: int
    until: int
    """The first second at which it is over."""
    asked_by: str
    reason: str = ""

    @property
    def text(self) -> str:
        """What is expected, as a whitelist entry shows it."""
        return f"recipient={self.recipient}" + (f" from={self.sender_domain}" if self.sender_domain else "")


class Expectations:
    """The expectations of one daemon."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        """`now` gives the wall clock in seconds."""
        self._store = store
        self._now = now
        self._by_recipient: dict[str, tuple[Expectation, ...]] = {}

    def joined(self, setup: Setup) -> Setup:
        """The same setup, with this source asked before all others."""
        recipient = setup.recipient

        # Looks at the present expectations, so that a change of them needs no new Setup.
        def match(attempt: Attempt) -> Match | None:
            return self.match(attempt, recipient) if self._by_recipient else None

        return replace(
            setup,
            sources=(match, *setup.sources),
            about_sources=(SourceInfo(SOURCE), *setup.about_sources),
        )

    def match(self, attempt: Attempt, recipient: Recipient) -> Match | None:
        """The match of an attempt that is expected; None for all others."""
        if attempt.raw:
            return None
        whole = address_text(attempt.recipient)
        found = [*self._by_recipient.get(whole, ())]
        bare = recipient.text(attempt) or whole
        if bare != whole:
            found += self._by_recipient.get(bare, ())
        if not found:
            return None
        now, sender = self._now(), address_text(attempt.sender)
        for each in found:
            if now < each.until and _is_from(each, sender):
                return Match(SOURCE, each.text, each.asked_by, carries=bool(each.sender_domain))
        return None

    def all(self) -> list[Expectation]:
        """The expectations that are not over, the next to end first."""
        now = self._now()
        rows = (each for rows in self._by_recipient.values() for each in rows if each.until > now)
        return sorted(rows, key=lambda each: (each.until, each.text))

    async def add(
        self, recipient: str, sender_domain: str, seconds: int, asked_by: str, reason: str = ""
    ) -> Expectation:
        """Expect mail from now on, for so many seconds.  The same expectation again replaces the old one.

        Raises ExpectationError for text that is not an address or a domain, TooManyExpectationsError,
        StoreError.
        """
        now = self._now()
        made = Expectation(
            _recipient_text(recipient),
            _domain_text(sender_domain),
            now,
            now + seconds,
            printable(asked_by)[:LONGEST_ADDRESS] or "unknown",
            printable(reason)[:_LONGEST_REASON],
        )
        if seconds <= 0:
            raise ExpectationError("an expectation must last at least a second")
        others = [each for each in self.all() if each.text != made.text]
        if len(others) >= MOST:
            raise TooManyExpectationsError(f"at most {MOST} expectations are possible: cancel some first")
        await self._write({_key(made): Entry(EXPECTATIONS.coder.encode(_fields_of(made)), made.until)})
        self._take([*others, made])
        logger.info(
            "mail is expected: %s for %d s, asked by %s%s",
            printable(made.text),
            seconds,
            made.asked_by,
            f" ({made.reason})" if made.reason else "",
        )
        return made

    async def cancel(self, recipient: str, sender_domain: str | None, asked_by: str) -> list[Expectation]:
        """Cancel expectations, and return them.  `sender_domain` None: those of every sender.

        Raises ExpectationError, StoreError.
        """
        text = _recipient_text(recipient)
        domain = None if sender_domain is None else _domain_text(sender_domain)
        present = self.all()
        gone = [each for each in present if each.recipient == text and domain in {None, each.sender_domain}]
        if gone:
            await self._write({_key(each): None for each in gone})
            self._take([each for each in present if each not in gone])
        for each in gone:
            logger.info(
                "mail is not expected any more: %s, asked by %s", printable(each.text), printable(asked_by)
            )
        return gone

    async def load(self) -> None:
        """Read the expectations of earlier runs; call once, when the store runs.

        A row that cannot be read is logged and left out.  Raises StoreError.
        """
        found: list[Expectation] = []
        async with aclosing(EXPECTATIONS.walk(self._store)) as slices:
            async for rows in slices:
                for _, stored in rows:
                    try:
                        found.append(Expectation(**EXPECTATIONS.coder.decode(stored)))
                    except CodecError as error:
                        logger.warning("an expectation cannot be read and is left out: %s", error)
        now = self._now()
        self._take(each for each in found[:MOST] if each.until > now)

    def _take(self, expectations: Iterator[Expectation] | Sequence[Expectation]) -> None:
        by_recipient: dict[str, list[Expectation]] = {}
        for each in expectations:
            by_recipient.setdefault(each.recipient, []).append(each)
        self._by_recipient = {recipient: tuple(rows) for recipient, rows in by_recipient.items()}

    async def _write(self, puts: dict[Key, Entry | None]) -> None:
        await self._store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))


def _is_from(expectation: Expectation, sender: str) -> bool:
    wanted = expectation.sender_domain
    if "@" in wanted:
        return sender == wanted
    domain = split_address(sender)[1]
    return not wanted or domain == wanted or domain.endswith(f".{wanted}")


def _recipient_text(told: str) -> str:
    text = address_text(told.strip().removeprefix("<").removesuffix(">"))
    local, domain = split_address(text)
    if not local or not domain or len(text) > LONGEST_ADDRESS or not text.isprintable() or " " in domain:
        raise ExpectationError(
            f"{told[:80]!a} is not a recipient: expected an address such as user@example.org"
        )
    return text


def _domain_text(told: str) -> str:
    bare = told.strip()
    if not bare:
        return ""
    if bare.find("@") > 0:
        return _sender_text(bare)
    name = host_name(bare.removeprefix("@").removeprefix("."))
    if not name or "@" in name or not name.isprintable() or " " in name or len(name) > LONGEST_ADDRESS:
        raise ExpectationError(f"{told[:80]!a} is not a domain: expected one such as example.org")
    return name


def _sender_text(told: str) -> str:
    """The key text of a whole address."""
    text = address_text(told)
    local, domain = split_address(text)
    if not local or not domain or len(text) > LONGEST_ADDRESS or not text.isprintable() or " " in text:
        raise ExpectationError(f"{told[:80]!a} is not a sender: expected an address or a domain")
    return text


def _key(expectation: Expectation) -> Key:
    digest = blake2b(expectation.text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return EXPECTATIONS.key(digest)


def _fields_of(expectation: Expectation) -> dict[str, Any]:
    return {field.name: getattr(expectation, field.name) for field in fields(expectation)}
