"""Asking the daemon: only what changes nothing, and only so much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from multigrey_web.source import OPERATIONS, acting, asking

from multigrey.control.client import ControlError
from multigrey.control.operations.all import all_operations
from multigrey.control.operations.operation import Level
from tests.support.control import parts


async def test_everything_it_asks_only_reads():
    async with parts() as (_, made):
        found = all_operations(made)
    assert {found.get(name).level for name in OPERATIONS} == {Level.READ}


@pytest.mark.parametrize("name", ["records.forget", "override", "watch", ""])
async def test_nothing_else_is_asked(name):
    with pytest.raises(ControlError, match="operation is not allowed"):
        await asking(Path("/nowhere"))(name, {})


@pytest.mark.parametrize("name", ["records.forget", "person.forget", "reload", "compact", "status"])
async def test_nothing_else_is_done(name):
    with pytest.raises(ControlError, match="operation is not allowed"):
        await acting(Path("/nowhere"))(name, {})
    with pytest.raises(ControlError, match="no control socket"):
        await acting(None)("expect", {})


async def test_without_a_socket_it_says_why():
    with pytest.raises(ControlError, match=r'\[control\] address is "off"'):
        await asking(None)("status", {})


async def test_answers_and_items(tmp_path):
    path = tmp_path / "c.sock"
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(path))
    sock.listen()

    async def answer(stream):
        async with stream:
            name = json.loads(await stream.receive_some())["ask"]
            if name == "status":
                await stream.send_all(b'{"id": 1, "answer": {"x": 1}}\n')
            else:
                await stream.send_all(b'{"id": 1, "item": {"x": 1}}\n' * 200 + b'{"id": 1, "end": true}\n')

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(sock)])
        assert await asking(path)("status", {}) == {"x": 1}
        assert await asking(path)("history", {}) == {"items": [{"x": 1}] * 100}
        nursery.cancel_scope.cancel()
