"""kill -9 while the store is busy: what was acknowledged is there, and the store opens."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lmdb.verify import verify

from multigrey.greylist import marks
from multigrey.model import Table
from multigrey.stores.lmdb.store import LmdbStore
from tests.faults.kill_loader import mark_digest
from tests.support.stores import FAR, everything, options, running

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = int(os.environ.get("MULTIGREY_KILL_ROUNDS", "100"))
PER_ROUND = 1_000_000


@pytest.fixture
def loader():
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.kill_loader"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.stdin.close()


class Acknowledged:
    """What the children said had been done."""

    def __init__(self) -> None:
        self.records: set[int] = set()
        self.marks: set[int] = set()
        self.counts: dict[int, int] = {}
        self.lines = 0

    def note(self, line: str) -> None:
        self.lines += 1
        what, number, *more = line.split()
        if what == "record":
            self.records.add(int(number))
        elif what == "mark":
            self.marks.add(int(number))
        elif what == "count":
            (value,) = map(int, more)
            self.counts[int(number)] = max(value, self.counts.get(int(number), 0))
        else:
            pytest.fail(line)


def one_round(loader, directory: Path, prefix: int, kill_after: int, acknowledged: Acknowledged) -> None:
    """Let a child work until `kill_after` things were acknowledged, kill it, take note of all it said."""
    loader.stdin.write(f"{directory} {prefix}\n")
    loader.stdin.flush()
    pid = int(loader.stdout.readline().removeprefix("pid "))
    for count, line in enumerate(iter(loader.stdout.readline, "end\n")):
        acknowledged.note(line)
        if count == kill_after:
            os.kill(pid, signal.SIGKILL)
            pid = 0
    assert pid == 0, "the child ended by itself"


async def check(directory: Path, acknowledged: Acknowledged) -> None:
    async with running(LmdbStore(options(directory))) as store:
        records = await everything(store, Table.RECORD, 10_000)
        kept = {int.from_bytes(digest, "big"): value for digest, value in records.items()}
        lost = acknowledged.records - kept.keys()
        assert not lost, f"{len(lost)} acknowledged records are lost"
        assert all(kept[number] == b"%d" % number for number in acknowledged.records)
        buckets = await everything(store, Table.MARK, 10_000)
        for number in acknowledged.marks:
            digest = mark_digest(number)
            bucket = buckets.get(marks.bucket_key(digest)[1])
            assert marks.find(bucket, digest, 0, FAR) == marks.Mark(number & 0xFFFF, 300)
        origins = await everything(store, Table.ORIGIN)
        counts = {int.from_bytes(digest, "big"): int(value) for digest, value in origins.items()}
        assert all(counts[number] >= value for number, value in acknowledged.counts.items())


async def kill_again_and_again(loader, directory: Path, rounds: int) -> Acknowledged:
    chance = random.Random(rounds)
    acknowledged = Acknowledged()
    for number in range(rounds):
        kill_after = chance.choice([0, chance.randrange(20), chance.randrange(1500)])
        one_round(loader, directory, number * PER_ROUND, kill_after, acknowledged)
        await check(directory, acknowledged)
    return acknowledged


async def test_a_few(loader, tmp_path):
    acknowledged = await kill_again_and_again(loader, tmp_path, 5)
    assert acknowledged.lines > 5


@pytest.mark.crash
@pytest.mark.timeout(600)
async def test_many(loader, tmp_path):
    acknowledged = await kill_again_and_again(loader, tmp_path, ROUNDS)
    assert acknowledged.lines > ROUNDS
    assert verify(tmp_path / "store.mdb") == []
    async with running(LmdbStore(options(tmp_path))) as store:
        # the time index is whole: everything comes due
        assert await store.forget(FAR + 2, 10_000_000) >= len(acknowledged.records)
        assert await everything(store, Table.RECORD) == {}
        assert await everything(store, Table.MARK) == {}


async def test_killed_while_it_opens(loader, tmp_path):
    """Before anything was acknowledged, in a directory where nothing was."""
    for number in range(3):
        directory = tmp_path / str(number)
        loader.stdin.write(f"{directory} 0\n")
        loader.stdin.flush()
        pid = int(loader.stdout.readline().removeprefix("pid "))
        while number and not directory.exists():
            pass
        os.kill(pid, signal.SIGKILL)
        acknowledged = Acknowledged()
        for line in iter(loader.stdout.readline, "end\n"):
            acknowledged.note(line)
        await check(directory, acknowledged)
