"""Health is what an attempt would meet."""

from __future__ import annotations

import pytest
import trio
from pydantic import ValidationError

from multigrey.config.settings import Listen
from multigrey.errors import StoreError
from multigrey.metrics.health import LISTENER, Probe
from multigrey.model import Table
from tests.support.engines import harness

WITHIN = 3.0


async def rows(store, table):
    return (await store.scan(table, b"", 100))[0]


async def test_well_and_nothing_is_left_behind():
    async with harness() as h:
        found = await Probe(h.engine).health(WITHIN)
        assert found.trouble == ""
        assert found.text.startswith("ok read=0.0")
        h.engine.report()
        assert (h.events, h.engine.counts) == ([], {})
        assert not await rows(h.store, Table.RECORD)
        assert not await rows(h.store, Table.ORIGIN)


class Broken:
    """A store with one broken part."""

    def __init__(self, store, **parts):
        self._store = store
        self._parts = parts

    def __getattr__(self, name):
        return self._parts.get(name) or getattr(self._store, name)


async def refuses(*arguments):
    raise StoreError("disk full")


async def hangs(*arguments):
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("parts", "trouble"),
    [
        ({"read": refuses}, "the store cannot be read: disk full"),
        ({"apply": refuses}, "the store cannot be written: disk full"),
        ({"read": hangs}, "the store was not read within 3 s"),
        ({"apply": hangs}, "the store was not written within 3 s"),
    ],
)
async def test_what_is_wrong_is_told(parts, trouble, autojump_clock):
    async with harness() as h:
        h.engine.store = Broken(h.store, **parts)
        found = await Probe(h.engine).health(WITHIN)
    assert found.trouble == trouble
    assert found.text == f"not well: {trouble}\n"


async def test_who_asks_often_does_not_keep_the_disk_busy(autojump_clock):
    async with harness() as h:
        asked = []

        async def apply(*arguments):
            asked.append(arguments)
            await h.store.apply(*arguments)

        h.engine.store = Broken(h.store, apply=apply)
        probe = Probe(h.engine)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(probe.health, WITHIN)
        assert len(asked) == 1
        await trio.sleep(1.1)
        await probe.health(WITHIN)
        assert len(asked) == 2


def test_no_listener_can_have_its_name():
    with pytest.raises(ValidationError):
        Listen(protocol="postfix", address="tcp:127.0.0.1:10023", name=LISTENER)
