"""The operation `growth`."""

from __future__ import annotations

import socket

import pytest

from multigrey.background.growth import DAYS_KEPT, Growth
from multigrey.cli.client import ask
from multigrey.control.operations.growth import operations
from multigrey.control.operations.operation import OperationError
from multigrey.model import DAY, HOUR, Action
from tests.support.clocks import START
from tests.support.control import answer, collected, parts
from tests.support.daemon import Daemon


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
        ({"until": 1}, "unknown option 'until'"),
    ],
)
async def test_wrong_options(options, words):
    async with parts() as (_, made):
        with pytest.raises(OperationError, match=words):
            await answer(collected(operations, made), "growth", **options)


CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/p.sock"
"""
REQUEST = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\nsender=a@example.org\n"
)


def asked_by(directory):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(directory / "p.sock"))
        sock.sendall(REQUEST + b"recipient=b@example.net\n\n")
        assert sock.recv(1_000)


def samples_of(daemon):
    told = ask(daemon.config, "growth", {})
    return [dict(zip(told["columns"], row, strict=True)) for row in told["samples"]]


def test_a_daemon_takes_samples_and_an_orderly_end_loses_none(short_directory):
    daemon = Daemon(short_directory, CONFIG, user="nobody")
    with daemon:
        # The first one is taken beside the first answers.
        (sample,) = next(filter(None, (samples_of(daemon) for _ in range(50))))
        assert (sample["hour"], sample["records"], sample["deferred"]) == (START - START % HOUR, 0, 0)
        asked_by(short_directory)
    with daemon:
        daemon.clock.advance(HOUR)
    with daemon:
        before, after = samples_of(daemon)
    assert (before["deferred"], before["passed"]) == (1, 0)
    assert before["records"] == after["records"] > 0
    assert before["octets"] > 0
    assert (after["hour"], after["deferred"]) == (before["hour"] + HOUR, 0)
