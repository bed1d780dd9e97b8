"""Every operation there is: the modules below each bring some."""

from __future__ import annotations

from multigrey.control import (
    basic,
    explaining,
    exporting,
    growing,
    histories,
    origins,
    overview,
    records,
    reporting,
    waiting,
    watching,
    whitelisting,
)
from multigrey.control.operations import Operations
from multigrey.control.parts import Parts

__all__ = ["all_operations"]

_MODULES = (
    overview,
    basic,
    watching,
    exporting,
    records,
    origins,
    histories,
    explaining,
    whitelisting,
    reporting,
    growing,
    waiting,
    # one line for each module with `operations(parts)`
)


def all_operations(parts: Parts) -> Operations:
    """Everything that can be asked of these parts."""
    found = Operations()
    for module in _MODULES:
        for operation in module.operations(parts):
            found.add(operation)
    return found
