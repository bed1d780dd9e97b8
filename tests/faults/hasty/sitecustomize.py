"""For a daemon that answers before it has written: a negative control (see test_kill_daemon.py).

Python imports a module of this name by itself, from PYTHONPATH.
"""

from __future__ import annotations

from multigrey.contracts import Submitted
from multigrey.stores.lmdb.store import LmdbStore

_submitted = LmdbStore._submitted


def _without_waiting(*arguments: object) -> Submitted[object]:
    return Submitted(_submitted(*arguments).value, None)


LmdbStore._submitted = _without_waiting
