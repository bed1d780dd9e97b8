"""`[origin]`: what is known of names of hosts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from multigrey.config.tables.table import ConfigTable
from multigrey.config.values.kind import shown
from multigrey.config.values.types import (
    FilePath,
    Network,
)

__all__ = ["OriginSettings"]


class OriginSettings(ConfigTable):
    """`[origin]`: further knowledge about who is sending, beside the lists that come with multigrey."""

    providers: Literal["pass", "greylist"] = Field(
        default="pass",
        description="What is done with mail from providers that are known to retry for hours or days "
        "(retries = true in the tables of providers), where a verified client name shows that it is one of "
        "their servers: pass lets it in at once, because a delay would teach nothing; greylist delays it as "
        "any other.  multigrey origins providers tells who they are.  All other providers are only grouped.",
    )
    providers_file: FilePath | None = Field(
        default=None,
        description="A TOML file of further providers whose servers count as one origin, in the form of the "
        "providers.toml that comes with multigrey: [[provider]] with origin, suffixes (of verified client "
        "names) or names (patterns of whole ones), reason, source and date, and with retries = true if its "
        "mail shall not be delayed.  Its entry for a suffix or pattern takes the place of the shipped one.  "
        "The file must belong to root or the user multigrey is started as, and not be writable by group or "
        "others.",
    )
    shared_hosts_file: FilePath | None = Field(
        default=None,
        description="A TOML file of further suffixes whose hosts belong to different customers, in the form "
        "of the shipped shared-hosts.toml: [[host]] with suffixes, exempt (what below them is named after "
        "all), reason and source.  Clients below these suffixes are known by their network only.  The same "
        "conditions hold for the file.",
    )
    own_networks: tuple[Network, ...] = Field(
        default=(),
        description="Networks whose clients are your own: they pass without delay, after blocks and rules, "
        "as clients on loopback always do.  Private networks are not among them unless you name them.  "
        "Behind NAT or a proxy that hides the client's address everybody has an address of yours: name no "
        "network then that such an address lies in, or nobody is greylisted.",
    )

    @field_validator("providers", mode="before")
    @classmethod
    def _check_providers(cls, value: object) -> object:
        """A path has a key of its own."""
        if isinstance(value, str) and ("/" in value or value.endswith(".toml")):
            raise ValueError(
                f'expected "pass" or "greylist", got {shown(value)}; a file of providers is named by '
                "providers_file"
            )
        return value
