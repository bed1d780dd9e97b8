"""`[history]`: how many past decisions are kept, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multigrey.config.tables.table import ConfigTable
from multigrey.config.values.types import duration, size
from multigrey.model import DAY

__all__ = ["History"]


class History(ConfigTable):
    """`[history]`: past decisions, kept for later inspection (see multigrey history) in a separate file.

    The file is history.mdb in the state directory of this host.  Mail never waits for it: a decision that
    cannot be written is missing later, with no other effect.
    """

    enabled: bool = Field(
        default=True,
        strict=True,
        description="Whether decisions are kept.  A change needs a restart.  An existing file is not "
        "removed, and can still be read while the daemon is stopped.",
    )
    max_age: Annotated[int, duration("1h")] = Field(
        default=35 * DAY,
        description="How long a decision is kept.  It is removed within two hours after that.",
    )
    max_entries: int = Field(
        default=2_000_000,
        ge=1000,
        le=1_000_000_000,
        strict=True,
        description="The largest number of decisions that are kept; the oldest are removed first.  A million "
        "decisions take some 100 to 150 MB.",
    )
    map_size: Annotated[int, size("1MiB", "1TiB")] = Field(
        default=2**30,
        description="The largest size of the file.  When it is reached, the oldest decisions are removed.  A "
        "change needs a restart.",
    )
