"""`[confinement]`: what the daemon may do beyond what the rest of the configuration needs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from multigrey.config.tables.table import ConfigTable
from multigrey.config.values.types import FilePath

__all__ = ["ConfinementSettings"]

_Port = Annotated[int, Field(ge=1, le=65535, strict=True)]


class ConfinementSettings(ConfigTable):
    """`[confinement]`: the daemon gives up, once it has started, what its configuration does not need.

    It then writes only into the state directory and beside its log file, makes and removes sockets only where
    its endpoints are, and listens at no other TCP ports.  Plugins are confined with it.  This needs Linux
    5.13; what the kernel cannot confine yet stays possible.  A change needs a restart.
    """

    mode: Literal["auto", "off"] = Field(
        default="auto",
        description="How far the daemon confines itself: auto for as far as the kernel can, off for not at "
        "all.",
    )
    write: tuple[FilePath, ...] = Field(
        default=(),
        description="Further directories into which the daemon may write, for plugins.  They must exist "
        "when it starts.",
    )
    connect: tuple[_Port, ...] | None = Field(
        default=None,
        description="TCP ports to which plugins may connect, as in [53, 389].  By default all ports if "
        "plugins are installed or [plugins] dir is set, and none without plugins.  Needs Linux 6.7; UDP is "
        "not confined.",
    )
