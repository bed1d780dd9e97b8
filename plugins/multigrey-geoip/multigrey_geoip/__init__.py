"""Countries and autonomous systems of mail clients, for multigrey's keys and rules.

As `[plugins.geoip]` configures it, the plugin registers
    key components   `asn` ("AS64496"), `country` ("DE")
    traits           `asn:N` and `country:XX` for the numbers and codes listed
    a service        `geoip`, which reads files that were replaced
An address that is not in the files has no text and no trait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import trio
from pydantic import BaseModel, ConfigDict, Field, model_validator

from multigrey.api import Attempt, Registry, hookimpl
from multigrey_geoip.database import Database

__all__ = [
    "Asn",
    "AsnIs",
    "Country",
    "CountryIs",
    "GeoipSettings",
    "Refresher",
    "multigrey_register",
    "multigrey_settings",
]

AsNumber = Annotated[int, Field(ge=1, le=2**32 - 1, strict=True)]
CountryCode = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]


class GeoipSettings(BaseModel):
    """`[plugins.geoip]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asn: Path | None = Field(default=None, description="File with the AS of each address.")
    country: Path | None = Field(default=None, description="File with the country of each address.")
    asns: tuple[AsNumber, ...] = Field(default=(), description="AS numbers that become traits asn:N.")
    countries: tuple[CountryCode, ...] = Field(
        default=(), description="ISO 3166 codes (capitals) that become traits country:XX."
    )
    check_every: int = Field(
        default=60, ge=1, description="Seconds between two checks whether a file was replaced."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, path, wanted in (
            ("asn", self.asn, self.asns),
            ("country", self.country, self.countries),
        ):
            if path is not None and not path.is_absolute():
                raise ValueError(f"{name} must be an absolute path")
            if wanted and path is None:
                raise ValueError(f"the traits need a database file: {name} is missing")
            if len(set(wanted)) < len(wanted):
                raise ValueError(f"a trait of {name} is listed twice")
        return self


@dataclass(frozen=True, slots=True)
class Asn:
    """The key component `asn`."""

    database: Database[int]

    def text(self, attempt: Attempt) -> str | None:
        """The client's AS as `AS64496`; None if the client is not in the file."""
        number = self.database.get(attempt.client_address)
        return None if number is None else f"AS{number}"


@dataclass(frozen=True, slots=True)
class Country:
    """The key component `country`."""

    database: Database[str]

    def text(self, attempt: Attempt) -> str | None:
        """The client's country as `DE`; None if the client is not in the file."""
        return self.database.get(attempt.client_address)


@dataclass(frozen=True, slots=True)
class AsnIs:
    """The trait `asn:N`."""

    database: Database[int]
    number: int

    def holds(self, attempt: Attempt) -> bool:
        """Whether the client's address belongs to that AS."""
        return self.database.get(attempt.client_address) == self.number


@dataclass(frozen=True, slots=True)
class CountryIs:
    """The trait `country:XX`."""

    database: Database[str]
    code: str

    def holds(self, attempt: Attempt) -> bool:
        """Whether the client's address is in that country."""
        return self.database.get(attempt.client_address) == self.code


@dataclass(frozen=True, slots=True)
class Refresher:
    """The service `geoip`: reads files that were replaced."""

    databases: Sequence[Database[Any]]
    seconds: float

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Check the files every `seconds`, in a thread, because they are large."""
        task_status.started()
        while True:
            await trio.sleep(self.seconds)
            for database in self.databases:
                await trio.to_thread.run_sync(database.refresh)


def asn_of(record: Any) -> int | None:
    """The AS number in a record; None if it has none."""
    number = record.get("autonomous_system_number")
    return number if isinstance(number, int) else None


def country_of(record: Any) -> str | None:
    """The ISO code of the country an address is used in, else of the one it is registered in."""
    for field in ("country", "registered_country"):
        code = record.get(field, {}).get("iso_code")
        if isinstance(code, str):
            return code
    return None


@hookimpl
def multigrey_settings() -> tuple[str, type[BaseModel]]:
    """The plugin's table is `[plugins.geoip]`."""
    return "geoip", GeoipSettings


@hookimpl
def multigrey_register(registry: Registry, settings: Mapping[str, BaseModel]) -> None:
    """Register what the table configures.  Raises DatabaseError if a file cannot be used."""
    wanted = settings.get("geoip")
    if not isinstance(wanted, GeoipSettings):
        return
    databases: list[Database[Any]] = []
    if wanted.asn is not None:
        networks = Database(wanted.asn, "autonomous_system_number", asn_of)
        registry.key_component("asn", Asn(networks))
        for number in wanted.asns:
            registry.trait(f"asn:{number}", AsnIs(networks, number))
        databases.append(networks)
    if wanted.country is not None:
        countries = Database(wanted.country, "country.iso_code", country_of)
        registry.key_component("country", Country(countries))
        for code in wanted.countries:
            registry.trait(f"country:{code}", CountryIs(countries, code))
        databases.append(countries)
    if databases:
        registry.service("geoip", Refresher(databases, wanted.check_every))
