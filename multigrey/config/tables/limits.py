"""`[limits]`: how much connections and new senders may."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, model_validator

from multigrey.config.tables.table import ConfigTable, Conflict, conflicts
from multigrey.config.values.types import (
    format_duration,
    fractional_duration,
    size,
)

__all__ = ["Limits"]


class Limits(ConfigTable):
    """`[limits]`: how much, and for how long."""

    connections: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        strict=True,
        description="Most connections open at a time; further ones wait to be accepted.  Postfix needs one "
        "for each smtpd process; the process may need a higher limit of open files (LimitNOFILE=).",
    )
    request_size: Annotated[int, size("4KiB", "16MiB")] = Field(
        default=64 * 1024,
        description="Most octets one request may take; the connection of a longer one is closed.  Mail "
        "servers send a few hundred.",
    )
    idle: Annotated[float, fractional_duration("1s", "1d")] = Field(
        default=1200.0,
        description="How long a connection may be silent between two requests before it is closed.  "
        "Postfix closes idle connections itself, after 300 seconds (smtpd_policy_service_max_idle) or when "
        "the SMTP session ends; a shorter time here closes them under its hands, and a request that meets "
        "the closing waits a second for its second try.",
    )
    answer_within: Annotated[float, fractional_duration("100ms", "60s")] = Field(
        default=3.0,
        description="The longest an answer may take; then the listener's on_error decides.  Keep it below "
        "the mail server's own patience: Exim waits 5 seconds unless told otherwise.",
    )
    drain: Annotated[float, fractional_duration("0s", "5m")] = Field(
        default=5.0,
        description="How long connections may go on to finish what they have asked when the daemon stops.",
    )
    slow: Annotated[float, fractional_duration("10ms", "30s")] = Field(
        default=0.5,
        description="How long sources that ask elsewhere (DNS, directories) may take altogether for one "
        "attempt; what has not answered by then has no vote.  Must be shorter than answer_within.",
    )
    new_records: int = Field(
        default=1_000,
        ge=0,
        le=1_000_000_000,
        strict=True,
        description="Most new records a network of unnamed clients (/24 of IPv4, /64 of IPv6, whatever the "
        "prefixes of [greylist] say) makes in an hour; 0 is no limit.  The networks around it may make a "
        "multiple of this together: /56 twice as many, /48 four times, /16 and /32 ten times, and all "
        "unnamed clients of one IP version fifty times.  Attempts over the limit are deferred like others, "
        "but remembered by a mark of some 25 octets instead of a record (over-limit): their own retry "
        "passes, nobody else's does, and the store stays bounded.",
    )
    new_records_named: int = Field(
        default=100_000,
        ge=0,
        le=1_000_000_000,
        strict=True,
        description="The same for a named origin.  Everything a large provider sends counts as one, so "
        "this is many times more than new_records; 0 is no limit.",
    )
    max_records: int = Field(
        default=5_000_000,
        ge=0,
        le=1_000_000_000,
        strict=True,
        description="Most records the store keeps; 0 is no limit.  Above it, records that have never "
        "passed are forgotten early, first those of the networks that hold most, and one in twenty of "
        "max_records stays for them; a record that has passed is never forgotten for one that has not.  A "
        "sender takes two or three records, one for each key it is kept under; with LMDB each takes some "
        "300 to 400 octets of [store] map_size.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        if self.slow >= self.answer_within:
            message = (
                f"{format_duration(self.slow)} is not shorter than answer_within "
                f"({format_duration(self.answer_within)}): the answer would come too late"
            )
            yield ("slow",), message
        if 0 < self.new_records_named < self.new_records:
            message = (
                f"is {self.new_records_named}, less than new_records ({self.new_records}): a named origin "
                "stands for many networks; expected more, or 0 for no limit"
            )
            yield ("new_records_named",), message
