"""Asking over the control socket: what is written, what is read, and every kind of trouble."""

from __future__ import annotations

import pytest
import trio

from multigrey.control.client import ControlError, ask, items
from multigrey.control.protocol import Code


@pytest.fixture
async def answering(short_directory, nursery):
    """Somebody at a socket who says this to whatever is asked; None: nothing, and stays."""

    async def answering(said):
        path = short_directory / "control.sock"
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(path))
        sock.listen()

        async def serve(stream):
            async with stream:
                await stream.receive_some()
                if said is None:
                    await trio.sleep_forever()
                await stream.send_all(said)

        nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(sock)])
        return path

    return answering


async def test_an_answer(answering):
    path = await answering(b'{"id": 1, "answer": {"x": 2}}\n')
    assert await ask(path, "status", {}, patience=5) == {"x": 2}


async def test_items(answering):
    path = await answering(b'{"item": {"x": 1}}\n{"item": {"x": 2}}\n{"end": true}\n')
    assert [item async for item in items(path, "list", {}, patience=5)] == [{"x": 1}, {"x": 2}]


async def test_the_end_without_an_answer(answering):
    with pytest.raises(ControlError, match="did not answer"):
        await ask(await answering(b'{"end": true}\n'), "status", {}, patience=5)


@pytest.mark.parametrize("said", [b"", b'{"id": 1, "answer"'])
async def test_somebody_who_breaks_off(answering, said):
    with pytest.raises(ControlError, match="closed the connection too early") as caught:
        await ask(await answering(said), "status", {}, patience=5)
    assert caught.value.code is Code.NO_DAEMON


async def test_somebody_who_says_too_much(answering, monkeypatch):
    monkeypatch.setattr("multigrey.control.client._MOST_OCTETS", 10_000)
    with pytest.raises(ControlError, match="sent more than 10000 octets"):
        await ask(await answering(b"x" * 20_000), "status", {}, patience=5)


async def test_somebody_who_says_nothing(answering):
    path = await answering(None)
    with pytest.raises(ControlError, match=r"did not answer within 0\.01 s"):
        await ask(path, "status", {}, patience=0.01)


async def test_nobody(tmp_path):
    with pytest.raises(ControlError, match=r"no daemon answers at unix:.*No such file") as caught:
        await ask(tmp_path / "control.sock", "status", {}, patience=5)
    assert caught.value.code is Code.NO_DAEMON
