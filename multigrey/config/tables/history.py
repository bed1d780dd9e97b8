"""The table about what is remembered of decisions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multigrey.config.tables.table import ConfigTable
from multigrey.config.values.types import duration, size
from multigrey.model import DAY

__all__ = ["History"]


class History(ConfigTable):
    """`[history]`: decisions that are kept for looking back (see multigrey history), in a file of their own.

    They lie on this host only, in history.mdb in the state directory.  Mail never waits for them: what
    cannot be written is missing later, and nothing else happens.
    """

    enabled: bool = Field(
        default=True,
        strict=True,
        description="Whether decisions are kept.  Changes need a restart; a file that is there stays, and "
        "what is in it can still be asked for while the daemon is stopped.",
    )
    max_age: Annotated[int, duration("1h")] = Field(
        default=35 * DAY,
        description="How long a decision is kept; it goes within two hours after that.",
    )
    max_entries: int = Field(
        default=2_000_000,
        ge=1000,
        le=1_000_000_000,
        strict=True,
        description="How many decisions are kept at most; the oldest go first.  A million takes some 100 "
        "to 150 MB.",
    )
    map_size: Annotated[int, size("1MiB", "1TiB")] = Field(
        default=2**30,
        description="The most the file may grow to; the oldest decisions go when it is reached.  Changes "
        "need a restart.",
    )
