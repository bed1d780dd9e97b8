"""Opens the file of an LMDB store for reading, beside a daemon that may have it open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from multigrey.errors import CodecError, StoreError
from multigrey.stores.lmdb.damage.child import run, seconds_for
from multigrey.stores.lmdb.state_files import StateFiles, check_file, trouble

__all__ = ["open_beside"]


@contextmanager
def open_beside(state_dir: Path) -> Iterator[lmdb.Environment]:
    """The store in a state directory, read-only.  Makes no file; the latest minutes may be missing.

    Raises StoreError when the store is missing or cannot be read, or the body meets a value it cannot decode.
    """
    files = StateFiles(state_dir)
    check_file(files.data)
    run(("walk-beside", str(files.data)), files.data, seconds_for(files.data))
    try:
        # No table of readers: no process has the store open.  Do not make one, it would belong to our user.
        with lmdb.open(
            str(files.data),
            subdir=False,
            readonly=True,
            create=False,
            lock=files.readers.exists(),
            max_dbs=8,
            lib_version=0,
        ) as env:
            yield env
    except (OSError, lmdb.Error) as error:
        raise trouble(files.data, error) from error
    except CodecError as error:
        raise StoreError(f"{files.data}: {error}") from error
