"""All operations of the control socket, gathered from the modules of this folder."""

from __future__ import annotations

from multigrey.control.operations import (
    backup,
    explain,
    export,
    flow,
    growth,
    history,
    mode,
    origins,
    records,
    removal,
    report,
    status,
    store,
    waiting,
    watch,
    where,
    whitelist,
)
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import Operations

__all__ = ["all_operations"]

_MODULES = (
    status,
    store,
    backup,
    watch,
    export,
    records,
    removal,
    origins,
    history,
    where,
    mode,
    explain,
    whitelist,
    report,
    flow,
    growth,
    waiting,
    # one line for each module that defines `operations(parts)`
)


def all_operations(parts: OperationContext) -> Operations:
    """All operations on these parts."""
    found = Operations()
    for module in _MODULES:
        for operation in module.operations(parts):
            found.add(operation)
    return found
