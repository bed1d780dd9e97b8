"""The operation `where`: its options; what it finds is tested by the command."""

from __future__ import annotations

import pytest

from multigrey.control.operations.operation import OperationError, OptionError
from multigrey.control.operations.where import operations
from multigrey.errors import AddressError, StoreError
from multigrey.history.reader import PastHistory
from tests.support.control import answer, collected, make_parts
from tests.support.engines import harness


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, OptionError),
        ({"addresses": "bob"}, AddressError),
        ({"addresses": ["a@x.example"]}, OptionError),
        ({"addresses": "a@x.example", "from": "bob"}, AddressError),
        ({"addresses": "a@x.example", "since": -1}, OptionError),
        ({"addresses": "a@x.example", "since": "now"}, OptionError),
        ({"addresses": "a@x.example", "more": 1}, OptionError),
    ],
)
async def test_wrong_options(tmp_path, options, error):
    async with harness() as house:
        where = collected(operations, make_parts(house, decisions=PastHistory(tmp_path, 1 << 20)))
        with pytest.raises(error):
            await answer(where, "where", **options)


async def test_without_a_history_it_says_so(tmp_path):
    async with harness() as house:
        where = collected(operations, make_parts(house))
        with pytest.raises(OperationError, match="enabled is false"):
            await answer(where, "where", addresses="a@x.example")


async def test_a_history_that_cannot_be_read(tmp_path, monkeypatch):
    def broken(self, work):
        raise StoreError("gone")

    monkeypatch.setattr(PastHistory, "_do", broken)
    async with harness() as house:
        where = collected(operations, make_parts(house, decisions=PastHistory(tmp_path, 1 << 20)))
        with pytest.raises(OperationError, match="cannot be read: gone"):
            await answer(where, "where", addresses="a@x.example")
