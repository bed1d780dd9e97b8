"""Operations by name."""

from __future__ import annotations

import pytest

from multigrey.control.operations.operation import Level, Operation, OperationError, Operations


async def _answer(options):
    return {}


async def _stream(options):
    yield {}


def test_by_name():
    found = Operations()
    one, two = Operation("two", Level.READ, answer=_answer), Operation("one", Level.ADMIN, stream=_stream)
    found.add(one)
    found.add(two)
    assert found.names() == ("one", "two")
    assert found.get("two") is one
    with pytest.raises(OperationError, match="unknown operation 'three'"):
        found.get("three")


@pytest.mark.parametrize(
    "operation",
    [
        Operation("taken", Level.READ, answer=_answer),
        Operation("neither", Level.READ),
        Operation("both", Level.READ, answer=_answer, stream=_stream),
    ],
)
def test_what_cannot_be_added(operation):
    found = Operations()
    found.add(Operation("taken", Level.READ, answer=_answer))
    with pytest.raises(ValueError, match=operation.name):
        found.add(operation)
