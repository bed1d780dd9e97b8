"""`[greylist]`: how long unknown senders are deferred, and by which key they are recognised."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from multigrey.config.tables.table import ConfigTable, Conflict, conflicts
from multigrey.config.values.kind import shown
from multigrey.config.values.types import (
    REPLY_OCTETS,
    RegisteredName,
    ReplyText,
    WebAddress,
    duration,
    format_duration,
)
from multigrey.model import DAY
from multigrey.protocols.reply_text import with_help
from multigrey.text import counted

__all__ = ["Greylist", "help_problem"]


class Greylist(ConfigTable):
    """`[greylist]`: when an attempt is deferred, and which later attempt counts as a retry of it."""

    delay: Annotated[int, duration("1s", "30d")] = Field(
        default=120,
        description="The minimum age of the first attempt before a retry passes.  Many senders retry after "
        "200 to 285 seconds and then only after hours, so more than three minutes delays a lot of mail.  The "
        "delay is stored in each record: a change affects new records only.",
    )
    unnamed_delay: Annotated[int, duration("1s", "30d")] = Field(
        default_factory=lambda values: max(180, values.get("delay", 0)),
        description="The same for clients that are known by their network only, as most infected home "
        "machines are.  The default is 3m, or delay if that is longer.  A longer delay does little harm "
        "here: a mail server without a name of its own commonly retries after five minutes or more, later "
        "than spammers' programs do.",
    )
    patience: Annotated[int, duration("0s", "30d")] = Field(
        default=300,
        description="How far early retries may prolong unnamed_delay.  For a client without a trustworthy "
        "name, each early retry after the first adds a minute to the delay of its record, up to this value.  "
        "A client that retries every half minute for four minutes and then gives up is never let in.  0s "
        "switches this off.",
    )
    retry_window: Annotated[int, duration("2s")] = Field(
        default=2 * DAY,
        description="The maximum age of a first attempt at which a retry still counts.  A later retry starts "
        "a new record.  Must be longer than the delays.  Some senders retry only once in several hours.",
    )
    max_age: Annotated[int, duration("2s")] = Field(
        default=36 * DAY,
        description="How long a sender that has passed is remembered after its last mail.  The default lets "
        "a monthly newsletter pass at once.  A longer time takes more disk space and has no other drawback.",
    )
    key: tuple[RegisteredName, ...] = Field(
        default=("origin", "sender", "recipient"),
        description="The components by which a returning sender is recognised, in this order.  Built in "
        "are origin (who is sending, by name; see multigrey(8)), client-address, client-network, sender, "
        "sender-domain, recipient, recipient-domain and helo; plugins add others.  A change of the key "
        "loses no sender: records under the client network, sender and recipient are still found.",
    )
    ipv4_prefix: int = Field(
        default=24,
        ge=1,
        le=32,
        strict=True,
        description="Prefix length in bits of the client network of an IPv4 address.  Choose a smaller value "
        "when large senders retry from addresses farther apart; 32 means the exact address.",
    )
    ipv6_prefix: int = Field(
        default=64,
        ge=1,
        le=128,
        strict=True,
        description="Prefix length in bits of the client network of an IPv6 address.  One host commonly owns "
        "a whole /64, so with a longer prefix the same sender can look new each time.",
    )
    auto_whitelist_after: int = Field(
        default=5,
        ge=0,
        le=1_000_000,
        strict=True,
        description="After how many deferred and returned messages an origin stops being deferred for mail "
        "from the same sender domain.  They must have at least two different keys, and at most one counts in "
        "an hour.  0 switches this off.  Two are enough for an organisation that sends from its own hosts, "
        "because no other sender can use them.",
    )
    prove_origins: bool = Field(
        default=True,
        strict=True,
        description="Whether an origin stops being delayed once it has proved that its deferred mail comes "
        "back.  A named origin proves this as prove_after says; an origin without a name does when mail of "
        "ten sender domains came back from its address, as from a forwarder.  One new triplet in 64 is still "
        "deferred, to check that mail still comes back.  The origin is delayed again when too little "
        "returns.",
    )
    prove_after: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        strict=True,
        description="For prove_origins: how many deferrals must be resolved within 30 days.  A deferral is "
        "resolved after the time within which nearly all of this origin's returning mail has come back: six "
        "hours, until the origin's own mail has shown a better time.",
    )
    prove_domains: int = Field(
        default=4,
        ge=1,
        le=64,
        strict=True,
        description="For prove_origins: the number of different sender domains (registered domains) from "
        "which mail must have come back.",
    )
    prove_percent: int = Field(
        default=95,
        ge=1,
        le=100,
        strict=True,
        description="For prove_origins: the percentage of resolved deferrals that must have come back.",
    )
    mode: Literal["enforce", "observe", "off"] = Field(
        default="enforce",
        description="How verdicts are applied.  enforce defers as configured.  observe lets every attempt "
        "pass that would be deferred or refused, and logs that verdict; its sender is known later, but earns "
        "no trust.  off lets every attempt pass without looking at it or remembering it.",
    )
    text: ReplyText = Field(
        default="Greylisted, please try again later",
        description="The text of the reply to a deferred sender, without status codes: one line of at most "
        "400 octets.  It may contain {retry_after}, {reason}, {recipient_domain}, {id} and {help} (the "
        "address in help_url), but is best kept constant, as it is with {help}, because log analysers group "
        "by it.  A part in [brackets] is left out when its field has no value ({retry_after} has one for "
        "named origins only).  Write {{ }} [[ ]] for the characters themselves.",
    )
    help_url: WebAddress | None = Field(
        default=None,
        description="The address of a page that explains greylisting to senders, for {help} in reply texts, "
        'as in "https://mx.example.org/help".  It is the same for every sender.  The plugin multigrey-web '
        "has such a page.",
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
        description="Whether other new recipients of a message pass together with a recipient for whom the "
        "sender is known.  Unless the origin has proved itself, at most ten of them pass in a message, and "
        "only in the domain of the known recipient, whose record must be older than an hour or have passed "
        "twice.  Recipients that have only just come back let as many others pass as they are themselves.  "
        "With false, a message to many recipients needs several rounds, because the mail server's error "
        "limits end the session.",
    )
    null_sender: Literal["data", "rcpt"] = Field(
        default="data",
        description="The SMTP stage at which a verdict is given on bounces and other mail with the null "
        "sender, and on mail from double-bounce@, by which mail servers verify addresses.  data spares "
        "probes and callouts, which never send data; it needs a mail server that also asks at DATA (as the "
        "shipped snippets do).  rcpt treats them like other mail.  From the second recipient of a message "
        "on, the verdict is always given at RCPT.",
    )
    header: bool = Field(
        default=True,
        strict=True,
        description="Whether the first message that passes after a deferral gets an X-Greylist header "
        "field that states how long it was delayed.",
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
                    f"{format_duration(delay)} is not shorter than retry_window ({window}), so no retry "
                    "could pass: choose a smaller value"
                )
                yield (key,), message
        if self.max_age < self.retry_window:
            message = (
                f"{format_duration(self.max_age)} is shorter than retry_window ({window}): choose a value at "
                "least as long"
            )
            yield ("max_age",), message


def help_problem(text: str, url: str | None) -> str:
    """What is wrong with a reply text once `url` stands for {help}; "": nothing."""
    if url is None:
        uses_it = with_help(text, "") != text
        return "{help} has no address: set help_url in [greylist]" if uses_it else ""
    octets = len(with_help(text, url).encode())
    if octets <= REPLY_OCTETS:
        return ""
    has = counted(octets, "octet")
    return f"has {has} with help_url of [greylist]; a reply can have at most {REPLY_OCTETS}"
