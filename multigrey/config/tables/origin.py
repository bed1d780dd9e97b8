"""`[origin]`: providers, shared hosts and the site's own networks."""

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
    """`[origin]`: who is sending: settings and lists that add to the lists shipped with multigrey."""

    providers: Literal["pass", "greylist"] = Field(
        default="pass",
        description="The treatment of mail from providers that are known to retry for hours or days "
        "(retries = true in the tables of providers), when a verified client name shows that the client is "
        "one of their servers.  pass lets the mail in at once, because a delay would show nothing new; "
        "greylist delays it like other mail.  multigrey origins providers lists these providers.  All other "
        "providers are only grouped into one origin each.",
    )
    providers_file: FilePath | None = Field(
        default=None,
        description="A TOML file of further providers whose servers count as one origin, in the form of the "
        "shipped providers.toml: [[provider]] with origin, suffixes (of verified client names) or names "
        "(patterns of whole names), reason, source and date, and with retries = true if its mail is not to "
        "be delayed.  An entry here for a suffix or pattern replaces the shipped entry for it.  The file "
        "must belong to root or to the user that multigrey is started as, and must not be writable by group "
        "or others.",
    )
    shared_hosts_file: FilePath | None = Field(
        default=None,
        description="A TOML file of further suffixes whose hosts belong to different customers, in the form "
        "of the shipped shared-hosts.toml: [[host]] with suffixes, exempt (domains below them that are named "
        "origins nevertheless), reason and source.  Clients below these suffixes are known by their network "
        "only.  Owner and permissions must be as for providers_file.",
    )
    own_networks: tuple[Network, ...] = Field(
        default=(),
        description="Networks of your own clients.  They pass without delay, after blocks and rules, as "
        "clients on loopback always do.  Private networks are included only if you list them.  Behind NAT or "
        "a proxy that hides client addresses, every client has an address of yours: do not list a network "
        "with such an address then, or no mail is greylisted.",
    )

    @field_validator("providers", mode="before")
    @classmethod
    def _check_providers(cls, value: object) -> object:
        """Reject a path, and name the key for it."""
        if isinstance(value, str) and ("/" in value or value.endswith(".toml")):
            raise ValueError(
                f'expected "pass" or "greylist", got {shown(value)}: name a file of providers in '
                "providers_file"
            )
        return value
