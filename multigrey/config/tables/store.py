"""`[store]`: where records are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multigrey.config.tables.table import ConfigTable
from multigrey.config.values.types import (
    Word,
    size,
)

__all__ = ["StoreSettings"]


class StoreSettings(ConfigTable):
    """`[store]`: where records are kept.  Changes need a restart."""

    backend: Word = Field(
        default="lmdb",
        description="The kind of store: lmdb keeps everything in a file in state_dir, memory forgets "
        "everything at the end (for trials); plugins add others.",
    )
    map_size: Annotated[int, size("1MiB", "16TiB")] = Field(
        default=4 * 2**30,
        description="The most a store of kind lmdb may grow to.  The file grows as needed; raise this when "
        "the figures that SIGUSR1 logs show used near map_size.",
    )
