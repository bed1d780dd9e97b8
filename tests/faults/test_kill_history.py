"""kill -9 while the history is written: it opens again, with all that was written before the last second."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from lmdb.verify import verify

from multigrey.history.file import NAME, open_history

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 8
WRITER = """
import os, sys
from pathlib import Path
from multigrey.history.file import HistoryEntry, open_history
file = open_history(Path(sys.argv[1]), 1 << 20)
number = int(sys.argv[2])
while True:
    numbers = range(number, number + 20)
    file.append([HistoryEntry(10**9, frozenset({each}), b"%d " % each + os.urandom(100)) for each in numbers])
    number += 20
    if file.full:
        file.trim(5000, lambda summaries: ())
    os.write(1, b"%d\\n" % number)
"""


def one_round(path: Path, first: int, lines: int) -> int:
    """Let a child write from number `first` on and kill it; returns what it said last."""
    command = [sys.executable, "-c", WRITER, str(path), str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for count, _ in enumerate(child.stdout):
            if count == lines:
                child.kill()
                break
        return first + 20 * (lines + 1 + len(child.stdout.readlines()))


def test_it_opens_again(tmp_path):
    chance = random.Random(7)
    path, number = tmp_path / NAME, 1
    for _ in range(ROUNDS):
        number = one_round(path, number, chance.randrange(200))
        assert verify(path) == []
        file = open_history(path, 1 << 20)
        (latest, *_), _ = file.walk([[number - 1]], None, 100_000)
        assert any(data.startswith(b"%d " % (number - 1)) for data in file.read(latest.number))
        summaries, _ = file.walk([], None, 100_000)
        assert file.count == sum(len(file.read(summary.number)) for summary in summaries)
        file.close()
