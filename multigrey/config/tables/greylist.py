"""`[greylist]`: how long unknown senders wait, and by what they are remembered."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from multigrey.config.tables.table import ConfigTable, Conflict, conflicts
from multigrey.config.values.kind import shown
from multigrey.config.values.types import (
    RegisteredName,
    ReplyText,
    duration,
    format_duration,
)
from multigrey.model import DAY

__all__ = ["Greylist"]


class Greylist(ConfigTable):
    """`[greylist]`: when an attempt is deferred, and what counts as the same sender coming back."""

    delay: Annotated[int, duration("1s", "30d")] = Field(
        default=120,
        description="How old the first attempt has to be before a retry passes.  Many senders retry after "
        "200 to 285 seconds and then only after hours, so more than three minutes delays a lot of mail; the "
        "delay is stored with each record, and a change holds for new records only.",
    )
    unnamed_delay: Annotated[int, duration("1s", "30d")] = Field(
        default_factory=lambda values: max(180, values.get("delay", 0)),
        description="The same for clients that are known by nothing but their network, as most infected "
        "home machines are; by default 3m, or delay if that is longer.  They are more patient than spammers' "
        "programs: a mail server without a name of its own commonly retries after five minutes or more.",
    )
    patience: Annotated[int, duration("0s", "30d")] = Field(
        default=300,
        description="How far early retries may prolong unnamed_delay: for a client without a trustworthy "
        "name each early retry after the first adds a minute to the delay of its record, up to this.  Who "
        "retries every half minute for four minutes and then gives up is never let in.  0s switches it off.",
    )
    retry_window: Annotated[int, duration("2s")] = Field(
        default=2 * DAY,
        description="The oldest age of a first attempt at which a retry still counts; later ones start "
        "again.  Must be longer than the delays; some senders retry once in several hours.",
    )
    max_age: Annotated[int, duration("2s")] = Field(
        default=36 * DAY,
        description="How long a sender that has passed is remembered after its last mail.  The default "
        "lets a monthly newsletter through at once; a longer time costs disk space only.",
    )
    key: tuple[RegisteredName, ...] = Field(
        default=("origin", "sender", "recipient"),
        description="The components a sender is recognised by when it comes back, in this order; built in "
        "are origin (who is sending, by name; see multigrey(8)), client-address, client-network, sender, "
        "sender-domain, recipient, recipient-domain and helo, and plugins add others.  Changing the key "
        "forgets nobody: records under the client network, sender and recipient are still found.",
    )
    ipv4_prefix: int = Field(
        default=24,
        ge=1,
        le=32,
        strict=True,
        description="Length in bits of the client network of an IPv4 address.  Lower it when big senders "
        "retry from farther apart; 32 means the exact address.",
    )
    ipv6_prefix: int = Field(
        default=64,
        ge=1,
        le=128,
        strict=True,
        description="Length in bits of the client network of an IPv6 address.  One host commonly owns a "
        "whole /64, so a longer prefix lets a sender be a stranger each time.",
    )
    auto_whitelist_after: int = Field(
        default=5,
        ge=0,
        le=1_000_000,
        strict=True,
        description="After how many deferred and returned messages (of at least two different keys, at most "
        "one counted an hour) an origin is no longer deferred for mail from the same sender domain; 0 "
        "switches this off.  Two are enough for an organisation that sends from its own hosts, because "
        "nobody else can.",
    )
    prove_origins: bool = Field(
        default=True,
        strict=True,
        description="Whether an origin with a name is no longer delayed once it has shown that what is "
        "deferred comes back (see prove_after), and one without when mail of ten sender domains came back "
        "from its address, as from a forwarder.  One new triplet in 64 is still deferred to see whether that "
        "goes on; the origin falls out again when too little returns.",
    )
    prove_after: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        strict=True,
        description="For prove_origins: how many deferrals have to be resolved, within 30 days.  A deferral "
        "is resolved when nearly all of this origin that ever come back would have: after six hours, until "
        "its own mail has shown a better time.",
    )
    prove_domains: int = Field(
        default=4,
        ge=1,
        le=64,
        strict=True,
        description="For prove_origins: from how many different sender domains (registered domains) mail has "
        "to have come back.",
    )
    prove_percent: int = Field(
        default=95,
        ge=1,
        le=100,
        strict=True,
        description="For prove_origins: how many of a hundred resolved deferrals have to have come back.",
    )
    mode: Literal["enforce", "observe", "off"] = Field(
        default="enforce",
        description="What is done with what is found: enforce defers as configured; observe lets every "
        "attempt pass that would be deferred or refused, and logs what it would have been (its sender is "
        "known later, but earns no trust); off lets everybody pass, and nothing is looked at or remembered.",
    )
    text: ReplyText = Field(
        default="Greylisted, please try again later",
        description="The text a deferred sender is told, without status codes: one line of at most 400 "
        "octets.  Best kept constant, because log analysers group by it, it may hold {retry_after}, "
        "{reason}, {recipient_domain} and {id}; a part in [brackets] is left out when its field has no value "
        "({retry_after} only has one for named origins), and {{ }} [[ ]] stand for themselves.",
    )
    recipient_delimiter: str = Field(
        default="+",
        max_length=16,
        strict=True,
        description="Characters that begin an address extension, as in Postfix's parameter of this name: "
        "user+list@example.org is keyed as user@example.org.  An empty text switches this off.",
    )
    message_pass: bool = Field(
        default=True,
        strict=True,
        description="Whether further new recipients of one message pass together with a recipient for whom "
        "the sender is known.  Unless the origin has proved itself these are at most ten a message, in the "
        "domain of that recipient, whose record has to be older than an hour or to have passed twice; "
        "recipients that have only just come back carry as many others as they are.  "
        "Without it a message to many recipients needs several rounds, because the mail server's error "
        "limits end the session.",
    )
    null_sender: Literal["data", "rcpt"] = Field(
        default="data",
        description="Where bounces and other mail with the null sender are judged, and that from "
        "double-bounce@, by which mail servers verify addresses: data spares probes and callouts, which "
        "never send data, and needs the mail server to ask at DATA too (the shipped snippets do); rcpt "
        "judges them like other mail.  From the second recipient of a message on they are judged at RCPT "
        "anyway.",
    )
    header: bool = Field(
        default=True,
        strict=True,
        description="Whether the first message that passes after a deferral gets an X-Greylist header "
        "field that tells how long it was delayed.",
    )

    @field_validator("key")
    @classmethod
    def _check_key(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if not words:
            raise ValueError("must name at least one component")
        if twice := sorted({word for word in words if words.count(word) > 1}):
            raise ValueError(f"names {shown(twice[0])} twice")
        return words

    @field_validator("recipient_delimiter")
    @classmethod
    def _check_delimiter(cls, text: str) -> str:
        if not text.isascii() or not text.isprintable() or re.search(r"[A-Za-z0-9@ ]", text):
            raise ValueError(f'expected punctuation such as "+" or "+-", got {shown(text)}')
        return text

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        window = format_duration(self.retry_window)
        followed = "unnamed_delay" not in self.model_fields_set and self.unnamed_delay == self.delay
        for key in ("delay",) if followed else ("delay", "unnamed_delay"):
            delay = getattr(self, key)
            if delay >= self.retry_window:
                message = (
                    f"{format_duration(delay)} is not shorter than retry_window ({window}): no retry could "
                    "ever pass"
                )
                yield (key,), message
        if self.max_age < self.retry_window:
            message = (
                f"{format_duration(self.max_age)} is shorter than retry_window ({window}); expected at least "
                "as long"
            )
            yield ("max_age",), message
