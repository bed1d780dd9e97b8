"""What a daemon says of itself while its wall clock is set: durations are those of the monotonic clock."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from rich.console import Console

from multigrey.background.eviction import Eviction
from multigrey.cli.status import _show
from multigrey.clock import Since
from multigrey.config.load import load
from multigrey.control.operations.status import operations
from multigrey.control.operations.watch import operations as watching
from multigrey.daemon.admin import Admin
from multigrey.daemon.confinement import Confinement
from multigrey.daemon.status import Running
from multigrey.listeners.commands import Commands
from multigrey.listeners.connection import ConnectionLimits
from multigrey.listeners.server import Server
from multigrey.model import Command, Reason
from multigrey.protocols.greylistd import _statistics
from tests.support.clocks import START
from tests.support.control import answer, collected, items, make_core
from tests.support.decisions import decision
from tests.support.engines import harness

YEARS = 400 * 86_400


@asynccontextmanager
async def desk(tmp_path):
    """A desk as the daemon makes one, and its engine's harness."""
    loaded = load(None, {}, {"state_dir": str(tmp_path)}, uid=1000)
    async with harness() as house:

        async def reload():
            pass

        core = make_core(house, loaded.settings)
        running = Running(
            core=core,
            server=Server(house.engine, None, ConnectionLimits(10, 60.0, 3.0)),
            eviction=Eviction(house.clock, house.store, 0),
            listens=loaded.settings.listen,
            loaded=lambda: loaded,
            log=lambda: SimpleNamespace(lost=0, trouble=""),
            history=None,
            since=Since(house.clock),
        )
        made = Admin(core=core, running=running, reload=reload, confinement=Confinement())
        await core.load()
        await made.start()
        house.engine.subscribers = (*house.engine.subscribers, *made.subscribers)
        yield house, made


def words(told):
    out = io.StringIO()
    _show(Console(file=out, width=200, markup=False, highlight=False), told)
    return out.getvalue()


@pytest.mark.parametrize("jump", [0, YEARS, -YEARS, 60 - START])
async def test_how_long_it_runs_is_no_matter_of_the_wall_clock(tmp_path, jump):
    async with desk(tmp_path) as (house, made):
        await made._core.overrides.put("mode", "observe", 3600, "root")
        house.clock.advance(90)
        house.clock.step(jump)
        told = await answer(collected(operations, made.parts), "status")
        assert (told["uptime"], told["now"] - told["since"], told["now"] - told["loaded"]) == (90, 90, 90)
        assert [each["word"] for each in told["overrides"]] == ["observe"]
        shown = words(told)
        assert "has been running for 1m30s (since " in shown
        assert "for -" not in shown
        (picture,) = await items(collected(watching, made.parts), "top", 1)
        assert picture["time"] - picture["since"] == 90


@pytest.mark.parametrize("jump", [0, YEARS, -YEARS])
async def test_statistics_of_greylistd_too(jump):
    async with harness() as house:

        async def reload():
            pass

        commands = Commands(house.engine, house.blocks, host="mx", reload=reload)
        house.clock.advance(90)
        house.clock.step(jump)
        told = await commands.run(Command("stats"))
        assert told["now"] - told["since"] == 90
        assert "(1 minute and 30 seconds ago)" in _statistics(told)


async def test_floods_and_input_are_told_by_status_and_top(tmp_path):
    async with desk(tmp_path) as (house, made):
        for index in range(300):
            host = f"h{index}.d{index % 50}.example"
            for listener in made.subscribers:
                listener(decision(Reason.OVER_LIMIT, client="94.102.49.7", origin="94.102.49.0/24"))
                listener(decision(Reason.OWN_NETWORK, client="172.18.0.1", helo=host, sender=f"a@{host}"))
        house.clock.advance(30)
        told = await answer(collected(operations, made.parts), "status")
        (picture,) = await items(collected(watching, made.parts), "top", 1)
    flood = {"network": "94.102.49.0/24", "since": START, "seconds": 30, "attempts": 300}
    assert told["floods"] == picture["floods"] == [flood]
    assert [each["problem"] for each in told["input"]] == ["own-clients", "one-address"]
    assert "! 94.102.49.0/24 is over the limit of new records since" in words(told)
