"""The operation `flow`."""

from __future__ import annotations

import socket

import pytest

from multigrey.background.flow import KEPT, Flow
from multigrey.cli.client import ask
from multigrey.control.operations.flow import operations
from multigrey.control.operations.operation import OperationError
from multigrey.model import DAY
from tests.support.clocks import START
from tests.support.control import answer, collected, make_parts, parts
from tests.support.daemon import Daemon
from tests.support.decisions import decision


async def test_it_tells_what_is_counted_and_stored():
    async with parts() as (house, _):
        flow = Flow(house.store, house.clock)
        flow(decision())
        told = await answer(collected(operations, make_parts(house, flow=flow)), "flow")
        await flow.note()
        stored = await answer(collected(operations, make_parts(house)), "flow")
    assert told == stored
    assert told["totals"]["first"] == 1
    assert [row["name"] for row in told["origins"]] == ["example.org"]
    assert told["since"] == START - DAY
    ((begin, complete, counts),) = told["slots"]
    assert (begin, complete, dict(zip(told["columns"], counts, strict=True))["deferred"]) == (
        told["recorded_since"],
        False,
        1,
    )


async def test_it_goes_back_as_far_as_figures_are_kept():
    async with parts() as (_, made):
        assert (await answer(collected(operations, made), "flow", since=0))["since"] == START - KEPT


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"since": -1}, "since: a number from 0"),
        ({"since": START + 1}, "since: a number from 0"),
        ({"since": True}, "since: a number from 0"),
        ({"origins": 0}, "origins: a number from 1"),
        ({"until": 1}, "unknown option 'until'"),
    ],
)
async def test_wrong_options(options, words):
    async with parts() as (_, made):
        with pytest.raises(OperationError, match=words):
            await answer(collected(operations, made), "flow", **options)


CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/p.sock"
"""
REQUEST = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.77\nclient_name=unknown\n"
    b"helo_name=mx\nsender=a@example.org\nrecipient=bob@example.net\n\n"
)


def test_a_daemon_tells_of_its_first_minute_and_keeps_it_over_a_restart(short_directory):
    daemon = Daemon(short_directory, CONFIG, user="nobody")
    for number in (1, 2):
        with daemon:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(short_directory / "p.sock"))
                sock.sendall(REQUEST)
                assert b"DEFER_IF_PERMIT" in sock.recv(1000)
            totals = ask(daemon.config, "flow", {})["totals"]
            assert (totals["deferred"], totals["first"]) == (number, 1)
