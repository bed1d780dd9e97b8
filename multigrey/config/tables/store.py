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
    """`[store]`: where records are kept.  A change needs a restart."""

    backend: Word = Field(
        default="lmdb",
        description="The kind of store: lmdb keeps everything in a file in state_dir; memory (for trials) "
        "loses everything when the daemon stops; plugins add others.",
    )
    map_size: Annotated[int, size("1MiB", "16TiB")] = Field(
        default=4 * 2**30,
        description="The largest size of a store of kind lmdb.  The file grows as needed.  When 85 percent "
        "are in use, records that have never passed are evicted as above max_records (see [limits]).  The "
        "last twentieth (of a small store up to a quarter) is kept for marks and for rewriting records that "
        "exist; while nothing else is left, new senders are remembered by a mark only.  multigrey status "
        "says when that happens: raise this value then.",
    )
