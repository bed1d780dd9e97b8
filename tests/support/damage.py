"""Stores that are damaged on purpose: the same seed gives the same damage."""

from __future__ import annotations

import random
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

from multigrey.codec import encode_record
from multigrey.model import Entry, Key, Record, Table
from multigrey.stores.lmdb.environment import open_store
from multigrey.stores.lmdb.state_files import StateFiles
from multigrey.stores.meta import BLOCKS
from tests.support.clocks import START

ROOT = Path(__file__).resolve().parents[2]
PAGE = 4096
MAP_SIZE = 64 << 20
_FIRST = 2
"""Before it are the two meta pages."""

KINDS = ("header", "pointer", "bits", "zeros", "swap")


def digest(number: int) -> bytes:
    """Spread over the whole range, as those of keys are."""
    return blake2b(b"%d" % number, digest_size=16).digest()


def fill(directory: Path, records: int = 3_000) -> dict[Key, Entry]:
    """Make a store with rows in every table, and with free pages; returns what it holds."""
    files = StateFiles(directory)
    opened = open_store(files, MAP_SIZE)
    entries: dict[Key, Entry] = {}
    for number in range(records):
        record = Record(first_seen=START - number, last_seen=START, attempts=1 + number % 7, delay=120)
        entries[Table.RECORD, digest(number)] = Entry(encode_record(record), START + 1_000 + number)
        if number % 10 == 0:
            entries[Table.ORIGIN, digest(-number)] = Entry(b"\x01origin %d" % number, START + number)
            entries[Table.MARK, digest(number)] = Entry(b"\x01" + b"m" * 40, START + number)
        if number % 100 == 0:
            entries[BLOCKS.key(digest(number))] = Entry(b"\x01\xa7blocked", None)
    stale = {(Table.RECORD, digest(records + number)): Entry(b"stale", START) for number in range(500)}
    opened.checkpoint({**entries, **stale}, 1)
    opened.checkpoint(dict.fromkeys(stale), 2)
    opened.env.close()
    files.readers.unlink()
    return entries


def rows_of(files: StateFiles) -> dict[Key, Entry]:
    """Every row of a store, read by LMDB."""
    opened = open_store(files, MAP_SIZE)
    with opened.env.begin() as txn:
        found = {
            (table, digest): opened.rows.entry(row)
            for table in Table
            for digest, row in txn.cursor(opened.rows.databases[table])
        }
    opened.env.close()
    return found


def damage(path: Path, seed: int) -> str:
    """Damage 1 to 16 places in the pages of a store; returns what was done."""
    dice = random.Random(seed)
    data = bytearray(path.read_bytes())
    pages = len(data) // PAGE
    done = []
    for _ in range(dice.choice((1, 1, 2, 4, 8, 16))):
        kind = dice.choice(KINDS)
        at = dice.randrange(_FIRST, pages) * PAGE
        _DO[kind](dice, data, at)
        done.append(f"{kind} {at // PAGE}")
    path.write_bytes(data)
    return ", ".join(done)


def _header(dice: random.Random, data: bytearray, at: int) -> None:
    place = at + dice.randrange(16)
    data[place] = dice.randrange(256)


def _pointer(dice: random.Random, data: bytearray, at: int) -> None:
    place = at + 16 + 2 * dice.randrange(20)
    data[place : place + 2] = dice.randbytes(2)


def _bits(dice: random.Random, data: bytearray, at: int) -> None:
    for _ in range(dice.randrange(1, 9)):
        data[at + dice.randrange(PAGE)] ^= 1 << dice.randrange(8)


def _zeros(dice: random.Random, data: bytearray, at: int) -> None:
    del dice
    data[at : at + PAGE] = bytes(PAGE)


def _swap(dice: random.Random, data: bytearray, at: int) -> None:
    other = dice.randrange(_FIRST, len(data) // PAGE) * PAGE
    data[at : at + PAGE], data[other : other + PAGE] = data[other : other + PAGE], data[at : at + PAGE]


_DO = dict(zip(KINDS, (_header, _pointer, _bits, _zeros, _swap), strict=True))

_READ = """
import sys, lmdb
env = lmdb.open(sys.argv[1], subdir=False, readonly=True, lock=False, max_dbs=8, lib_version=0)
with env.begin() as txn:
    for name in [name for name, _ in txn.cursor()]:
        for key, value in txn.cursor(env.open_db(name, txn=txn, create=False)):
            pass
"""


_WALK = """
import sys, lmdb
from pathlib import Path
from multigrey.model import Table
from multigrey.errors import StoreError
from multigrey.stores.lmdb.environment import open_store
from multigrey.stores.lmdb.state_files import StateFiles
from tests.support.damage import MAP_SIZE

def forget(opened):
    while opened.forget(4_000_000_000, 500)[0] == 500:
        pass

def scan(opened, table):
    cursor = b""
    while True:
        with opened.env.begin() as txn:
            _, cursor = opened.rows.scan(txn, table, cursor, 50)
        if not cursor:
            return

def newest(opened, table):
    cursor = b""
    while True:
        _, cursor = opened.newest(table, cursor, 50)
        if not cursor:
            return

try:
    opened = open_store(StateFiles(Path(sys.argv[1])), MAP_SIZE)
except StoreError:
    sys.exit()
for work in (*((walk, table) for walk in (scan, newest) for table in Table), (forget,)):
    try:
        work[0](opened, *work[1:])
    except lmdb.Error:
        pass
"""


def walk_as_the_daemon_does(directory: Path) -> int:
    """The exit status of a process that makes every kind of walk.  Fails when one has no end."""
    command = [sys.executable, "-c", _WALK, str(directory)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=30).returncode


def read_unprotected(path: Path) -> int:
    """The exit status of a process that reads every row as the daemon does; negative: a signal ended it."""
    return subprocess.run(
        [sys.executable, "-c", _READ, str(path)], capture_output=True, check=False
    ).returncode
