"""The settings of the plugin: the table `[plugins.dns]`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from multigrey.api import RegisteredName, duration, fractional_duration
from multigrey_dns.codes import ANY, LEVELS, CodePattern, level_pattern, parse_pattern
from multigrey_dns.subjects import Of, is_name, reversed_address
from multigrey_dns.zones import KnownEntries, ZoneOptions

__all__ = ["Blocklist", "DnsSettings", "ListTable", "Whitelist"]

_ZONE_OCTETS = 189
"""The octets of a name that the 32 nibbles of an IPv6 address and their dots leave for the zone."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
_REFUSED = ("127.0.0.1", "127.255.255.*")
_REFUSED_BY_WHITELISTS = (*_REFUSED, "127.0.0.255")
_TEST_ADDRESSES = ("127.0.0.2", "127.0.0.1")
_TEST_NAMES = ("test", "invalid")
"""RFC 5782 section 5."""
_LABEL = re.compile(r'[^"\x00-\x1f\x7f]{1,200}')


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ListTable(_Table):
    """The common part of whitelists and blocklists: a zone, and which of its answers count."""

    name: str = Field(description="The name of the list in the log and in traits; unique.")
    zone: str = Field(description="The domain that the questions end in.")
    ipv6: bool = Field(default=True, strict=True, description="Whether to ask about IPv6 addresses.")
    refused: tuple[str, ...] = Field(
        default=_REFUSED, description="Answers by which the zone refuses to answer."
    )
    test: bool = Field(default=True, strict=True, description="Whether to test the zone before using it.")
    test_listed: str | None = Field(default=None, description="What the zone is known to list.")
    test_unlisted: str | None = Field(default=None, description="What the zone is known not to list.")

    @property
    def subject(self) -> Of:
        """The part of an attempt that the list has entries about."""
        raise NotImplementedError

    @property
    def patterns(self) -> tuple[CodePattern, ...]:
        """The codes that count."""
        raise NotImplementedError

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f'expected up to 50 letters, digits and "._-", got {name[:60]!r}')
        return name

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, zone: str) -> str:
        zone = zone.lower().rstrip(".")
        if not is_name(zone) or "." not in zone:
            raise ValueError("expected the domain of a DNS list, such as list.example.org")
        if len(zone) > _ZONE_OCTETS:
            raise ValueError(f"is too long; a zone can have {_ZONE_OCTETS} characters")
        return zone

    @field_validator("refused", "codes", mode="after", check_fields=False)
    @classmethod
    def _check_patterns(cls, texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in texts or ():
            parse_pattern(text)
        return texts

    @model_validator(mode="after")
    def _check_test(self) -> Self:
        points = (self.test_listed, self.test_unlisted)
        if not self.test and points != (None, None):
            raise ValueError("test_listed and test_unlisted have no meaning with test = false: remove them")
        for point in points:
            if point is not None:
                self._test_subject(point)
        return self

    def options(self, settings: DnsSettings) -> ZoneOptions:
        """The options of the zone."""
        return ZoneOptions(
            refused=tuple(parse_pattern(text) for text in self.refused),
            test=self._known_entries(),
            cache_min=settings.cache_min,
            cache_max=settings.cache_max,
            cache_size=settings.cache_size,
        )

    def _known_entries(self) -> KnownEntries | None:
        if not self.test:
            return None
        listed, unlisted = _TEST_NAMES if self.subject.is_domain else _TEST_ADDRESSES
        return KnownEntries(
            self._test_subject(self.test_listed or listed),
            self._test_subject(self.test_unlisted or unlisted),
        )

    def _test_subject(self, point: str) -> str:
        if not self.subject.is_domain:
            try:
                return reversed_address(ip_address(point))
            except ValueError:
                raise ValueError(
                    f"a test entry of this list must be an IP address, got {point[:60]!r}"
                ) from None
        name = point.lower().rstrip(".")
        if not is_name(name):
            raise ValueError(f"a test entry of this list must be a domain name, got {point[:60]!r}")
        return name


class Whitelist(ListTable):
    """`[[plugins.dns.whitelist]]`: clients that it lists are not greylisted."""

    of: Literal["client-address", "client-name"] = Field(
        default="client-address",
        description="What the zone lists; only data that cannot be forged may let mail pass.",
    )
    levels: tuple[Literal["none", "low", "medium", "high"], ...] | None = Field(
        default=None, description="Levels of trust, for lists in dnswl.org's form (127.0.CATEGORY.LEVEL)."
    )
    codes: tuple[str, ...] | None = Field(
        default=None, description="The answers that count, for other lists."
    )
    owner: str = Field(
        default="", description="Who is responsible for the use of this list; shown in the log."
    )
    refused: tuple[str, ...] = _REFUSED_BY_WHITELISTS

    @property
    def subject(self) -> Of:
        """See `ListTable.subject`."""
        return Of(self.of)

    @property
    def patterns(self) -> tuple[CodePattern, ...]:
        """See `ListTable.patterns`."""
        if self.levels:
            return tuple(level_pattern(level) for level in self.levels)
        return tuple(parse_pattern(text) for text in self.codes or ())

    @field_validator("owner")
    @classmethod
    def _check_owner(cls, owner: str) -> str:
        if owner and (not _LABEL.fullmatch(owner) or not owner.isprintable()):
            raise ValueError("expected up to 200 printable characters without double quotes")
        return owner

    @model_validator(mode="after")
    def _check_codes(self) -> Self:
        if bool(self.levels) == bool(self.codes):
            levels = ", ".join(LEVELS)
            raise ValueError(
                f"set either levels ({levels}) or codes, to select the entries of the list that let mail pass"
            )
        return self


class Blocklist(ListTable):
    """`[[plugins.dns.blocklist]]`: attempts that it lists have the trait dnsbl:NAME."""

    of: Literal["client-address", "client-name", "helo", "sender-domain"] = Field(
        default="client-address", description="What the zone lists."
    )
    codes: tuple[str, ...] = Field(
        default=(ANY.text,), min_length=1, description="The answers that count; by default all."
    )
    weight: int = Field(
        default=1, ge=0, le=1000, strict=True, description="What a listing adds to the score."
    )

    @property
    def subject(self) -> Of:
        """See `ListTable.subject`."""
        return Of(self.of)

    @property
    def patterns(self) -> tuple[CodePattern, ...]:
        """See `ListTable.patterns`."""
        return tuple(parse_pattern(text) for text in self.codes)

    @property
    def trait(self) -> str:
        """The trait of attempts that are listed."""
        return f"dnsbl:{self.name}"


def _read_nameserver(value: Any) -> tuple[str, int]:
    """An address and a port, from "127.0.0.1", "127.0.0.1:5353", "::1" or "[::1]:5353"."""
    matched = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?|([0-9.]+):([0-9]{1,5})", str(value))
    host, port = str(value), "53"
    if matched:
        host, port = matched[1] or matched[3], matched[2] or matched[4] or "53"
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is None or not 1 <= int(port) <= 65535:
        raise ValueError(f'expected a name server such as "127.0.0.1:5353" or "[::1]:53", got {value!r:.60}')
    return str(address), int(port)


class DnsSettings(_Table):
    """`[plugins.dns]`."""

    nameservers: tuple[str, ...] = Field(
        default=(), description="The name servers to ask; by default those of /etc/resolv.conf."
    )
    budget: Annotated[float, fractional_duration("10ms", "10s")] = Field(
        default=0.4,
        description="How long all questions of one attempt may take together; less than slow in [limits].",
    )
    questions: int = Field(
        default=200, ge=1, le=10_000, strict=True, description="Most questions in flight at a time."
    )
    cache_min: Annotated[int, duration("0s", "1h")] = Field(
        default=10, description="The shortest time for which an answer is cached."
    )
    cache_max: Annotated[int, duration("1s", "1d")] = Field(
        default=3600, description="The longest time for which an answer is cached."
    )
    cache_size: int = Field(
        default=10_000, ge=0, le=1_000_000, strict=True, description="Most answers cached for each zone."
    )
    test_every: Annotated[int, duration("1m", "1d")] = Field(
        default=3600, description="The time between two tests of a zone."
    )
    score: Mapping[RegisteredName, Annotated[int, Field(ge=1, strict=True)]] = Field(
        default_factory=dict, description="Sums of weights that become traits dnsbl-score:WORD."
    )
    whitelist: tuple[Whitelist, ...] = ()
    blocklist: tuple[Blocklist, ...] = ()

    @field_validator("nameservers")
    @classmethod
    def _check_nameservers(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            _read_nameserver(text)
        return texts

    @field_validator("score")
    @classmethod
    def _check_score(cls, score: Mapping[str, int]) -> Mapping[str, int]:
        for word in score:
            if not _NAME.fullmatch(word):
                raise ValueError(f'{word[:60]!r}: expected up to 50 letters, digits and "._-"')
        return score

    @model_validator(mode="after")
    def _check(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterable[str]:
        if self.cache_min > self.cache_max:
            yield "cache_min is longer than cache_max: choose a shorter time"
        for what, tables in (("whitelist", self.whitelist), ("blocklist", self.blocklist)):
            names = [table.name for table in tables]
            for name in sorted({name for name in names if names.count(name) > 1}):
                yield f"two tables {what} have the name {name}"
        highest = sum(table.weight for table in self.blocklist)
        for word, least in self.score.items():
            if least > highest:
                yield f"score.{word}: {least} is never reached: all weights together are {highest}"
        yield from self._disagreements()

    def _disagreements(self) -> Iterable[str]:
        """Yield the lists of one zone with different options: a zone is tested once for all its lists."""
        first: dict[tuple[str, bool], ListTable] = {}
        for table in self.tables:
            other = first.setdefault((table.zone, table.subject.is_domain), table)
            if table.options(self) != other.options(self):
                yield (
                    f"the lists {other.name} and {table.name} have the same zone: "
                    "refused, test, test_listed and test_unlisted must be the same in both"
                )

    @property
    def tables(self) -> Sequence[Whitelist | Blocklist]:
        """All lists in the order of the file, whitelists first."""
        return (*self.whitelist, *self.blocklist)

    @property
    def servers(self) -> list[tuple[str, int]]:
        """Addresses and ports of the name servers."""
        return [_read_nameserver(text) for text in self.nameservers]

    @property
    def traits(self) -> frozenset[str]:
        """All traits that the lists may find."""
        words = {f"dnsbl-score:{word}" for word in self.score}
        return frozenset({table.trait for table in self.blocklist} | words)
