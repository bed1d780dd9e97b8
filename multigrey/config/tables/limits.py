"""`[limits]`: limits on connections, answer times and new records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, model_validator

from multigrey.codec import LARGEST_RECORD, RECORD_OCTETS
from multigrey.config.tables.table import ConfigTable, Conflict, conflicts
from multigrey.config.values.types import (
    format_duration,
    fractional_duration,
    size,
)

__all__ = ["Limits"]


class Limits(ConfigTable):
    """`[limits]`: limits on connections, answer times and the number of records."""

    connections: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        strict=True,
        description="The largest number of connections open at a time; further ones wait to be accepted.  "
        "Postfix needs one for each smtpd process.  The daemon raises its soft limit of open files as far as "
        "this needs it; if the hard limit (LimitNOFILE=) is too low, it allows fewer and says so in the log.",
    )
    request_size: Annotated[int, size("4KiB", "16MiB")] = Field(
        default=64 * 1024,
        description="The largest size of one request in octets; the connection of a longer one is closed.  "
        "Mail servers send a few hundred octets.",
    )
    idle: Annotated[float, fractional_duration("1s", "1d")] = Field(
        default=1200.0,
        description="How long a connection may be silent between two requests before it is closed.  "
        "Postfix closes idle connections itself, after 300 seconds (smtpd_policy_service_max_idle) or when "
        "the SMTP session ends.  With a shorter time here Postfix can send a request on a connection that "
        "has just been closed, and then waits a second before it repeats the request.",
    )
    answer_within: Annotated[float, fractional_duration("100ms", "60s")] = Field(
        default=3.0,
        description="The longest time an answer may take; after it, the listener's on_error decides.  Keep "
        "it below the mail server's own time limit: Exim waits 5 seconds unless configured otherwise.",
    )
    drain: Annotated[float, fractional_duration("0s", "5m")] = Field(
        default=5.0,
        description="How long connections with an unanswered request are kept open when the daemon stops.",
    )
    slow: Annotated[float, fractional_duration("10ms", "30s")] = Field(
        default=0.5,
        description="How long all sources that query other services (DNS, directories) may take together for "
        "one attempt.  A source that has not answered by then is left out.  Must be shorter than "
        "answer_within.",
    )
    new_records: int = Field(
        default=1_000,
        ge=0,
        le=1_000_000_000,
        strict=True,
        description="The largest number of new records that a network of unnamed clients (/24 of IPv4, /64 "
        "of IPv6, whatever the prefixes of [greylist] are) makes in an hour; 0 means no limit.  The networks "
        "around it may make a multiple of this together: /56 twice as many, /48 four times, /16 and /32 ten "
        "times, and all unnamed clients of one IP version fifty times.  Attempts over the limit are deferred "
        "like others, but remembered by a mark of some 25 octets instead of a record (over-limit).  Only "
        "their own retry passes, and the size of the store stays bounded.",
    )
    new_records_named: int = Field(
        default=100_000,
        ge=0,
        le=1_000_000_000,
        strict=True,
        description="The same for a named origin.  All mail of a large provider counts as one origin, so "
        "this is many times more than new_records; 0 means no limit.",
    )
    max_records: int = Field(
        default=5_000_000,
        ge=0,
        le=1_000_000_000,
        strict=True,
        description="The largest number of records in the store; 0 means no limit.  Above it, records that "
        "have never passed are evicted early, first those of the networks that hold most; one twentieth of "
        "max_records stays reserved for them.  A record that has passed is never evicted for one that has "
        "not.  A sender takes two or three records, one for each key it is kept under.  With LMDB each takes "
        f"up to {RECORD_OCTETS} octets of [store] map_size, or up to {LARGEST_RECORD} when the addresses are "
        "as long as a sender can make them.  The size of the store bounds the number of records as well.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        if self.slow >= self.answer_within:
            message = (
                f"{format_duration(self.slow)} is not shorter than answer_within "
                f"({format_duration(self.answer_within)}), so the answer would come too late: choose a "
                "smaller value"
            )
            yield ("slow",), message
        if 0 < self.new_records_named < self.new_records:
            message = (
                f"is {self.new_records_named}, less than new_records ({self.new_records}), but a named "
                "origin stands for many networks: choose a larger value, or 0 for no limit"
            )
            yield ("new_records_named",), message
