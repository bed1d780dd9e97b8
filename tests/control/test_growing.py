"""The operation `growth`."""

from __future__ import annotations

import pytest

from multigrey.control.growing import operations
from multigrey.control.operations import OperationError
from multigrey.growth import DAY, DAYS_KEPT, HOUR, Growth
from multigrey.model import Action
from tests.support.clocks import START
from tests.support.control import answer, collected, parts


async def test_samples_under_the_names_of_their_columns():
    async with parts() as (house, made):
        await Growth(house.store, house.clock.now, lambda: {Action.DEFER: 7}).note()
        told = await answer(collected(operations, made), "growth")
    (row,) = told["samples"]
    sample = dict(zip(told["columns"], row, strict=True))
    assert sample["hour"] == START - START % HOUR
    assert sample["deferred"] == 7
    assert told["every"] == HOUR
    assert told["since"] == START - 35 * DAY


async def test_it_is_told_how_far_back_it_goes():
    async with parts() as (_, made):
        told = await answer(collected(operations, made), "growth", since=0)
    assert told["since"] == START - DAYS_KEPT * DAY
    assert told["samples"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"since": -1}, "since: a number from 0"),
        ({"since": START + 1}, "since: a number from 0"),
        ({"since": True}, "since: a number from 0"),
        ({"since": "1"}, "since: a number from 0"),
        ({"until": 1}, "no option 'until'"),
    ],
)
async def test_wrong_options(options, words):
    async with parts() as (_, made):
        with pytest.raises(OperationError, match=words):
            await answer(collected(operations, made), "growth", **options)
