"""How many connections fit into the limit of open files."""

from __future__ import annotations

import logging
import resource
from contextlib import suppress
from pathlib import Path

__all__ = ["RESERVED", "connections_that_fit"]

logger = logging.getLogger(__name__)

RESERVED = 48
"""Descriptors kept back for the journal, reloads, the control socket, look-ups and the pages."""
_USUAL = 32


def connections_that_fit(wanted: int, connected: int = 0) -> int:
    """The number of connections to allow, at most `wanted`; `connected` are open now.

    Raises the soft limit of open files (getrlimit(2)) as far as they need it and the hard limit allows it.
    If they still do not fit, the log says so.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    own = _open_files() - connected
    needed = own + RESERVED + wanted
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    free = max(soft - own, 2)
    fit = max(free - RESERVED, free // 2)
    logger.warning(
        "[limits] connections = %d: only %d fit into the limit of %d open files (LimitNOFILE=); "
        "further ones wait",
        wanted,
        fit,
        soft,
    )
    return fit


def _open_files() -> int:
    """The number of open files of this process; an estimate without /proc."""
    try:
        return len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        return _USUAL
