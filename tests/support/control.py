"""Operations without a daemon or a socket: parts made by hand, and asking them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast

from multigrey.config.load import load
from multigrey.config.settings import Settings
from multigrey.contracts import Store
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import Operation, Operations
from multigrey.core import Assembly, Core
from multigrey.greylist.quota import NewRecordLimits, NewRecordQuota
from multigrey.plugins.registry import BuiltRegistry
from tests.support.engines import Harness, harness

__all__ = ["answer", "collected", "items", "make_core", "make_parts", "make_settings", "parts"]

STATE_DIR = Path("/nonexistent")


def make_settings(directory: Path | None = None, text: str = "") -> Settings:
    """Settings as the daemon would read them from `text`, which may use {dir}."""
    if directory is None:
        return load(None, {"HOME": str(STATE_DIR), "XDG_CONFIG_HOME": str(STATE_DIR)}, uid=1000).settings
    path = directory / "multigrey.toml"
    path.write_text(text.replace("{dir}", str(directory)))
    path.chmod(0o644)
    return load(path, {"STATE_DIRECTORY": str(directory)}).settings


def make_core(house: Harness, settings: Settings | None = None) -> Core:
    """A core around a harness."""
    found = make_settings() if settings is None else settings
    assembly = Assembly(found, BuiltRegistry(house.clock), house.engine.setup, {}, ())
    core = Core(assembly, house.engine, NewRecordQuota(NewRecordLimits(0, 0), key=b""))
    core.blocks = house.blocks
    return core


def make_parts(house: Harness, settings: Settings | None = None, **changes: Any) -> OperationContext:
    """Parts around a harness; `changes` replace single ones."""
    return OperationContext(make_core(house, settings), **changes)


@asynccontextmanager
async def parts(
    store: Store | None = None, settings: Settings | None = None, **changes: Any
) -> AsyncIterator[tuple[Harness, OperationContext]]:
    """A harness whose store runs, and parts around it."""
    async with harness(store) as house:
        yield house, make_parts(house, settings, **changes)


def collected(
    operations: Callable[[OperationContext], Iterable[Operation]], parts: OperationContext
) -> Operations:
    """The operations one module makes of parts."""
    found = Operations()
    for operation in operations(parts):
        found.add(operation)
    return found


async def answer(operations: Operations, name: str, /, **options: Any) -> Mapping[str, Any]:
    """What an operation answers.  Raises what it raises."""
    operation = operations.get(name)
    assert operation.answer is not None
    return await operation.answer(options)


async def items(
    operations: Operations, name: str, /, limit: int = 1_000, **options: Any
) -> list[Mapping[str, Any]]:
    """What a streaming operation tells, up to `limit` items."""
    operation = operations.get(name)
    assert operation.stream is not None
    found: list[Mapping[str, Any]] = []
    async with aclosing(cast("Any", operation.stream(options))) as rows:
        async for row in rows:
            found.append(row)
            if len(found) >= limit:
                break
    return found
