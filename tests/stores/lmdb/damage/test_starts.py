"""Notes of starts: what makes the next start walk the store, and what does not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from multigrey.stores.lmdb.damage.starts import Starts, note_damage, noted_signals
from multigrey.stores.lmdb.state_files import StateFiles

_DIES = """
import os, sys
from pathlib import Path
from multigrey.stores.lmdb.damage.starts import Starts
from multigrey.stores.lmdb.state_files import StateFiles
starts = Starts(StateFiles(Path(sys.argv[1])))
starts.begin()
if sys.argv[3] == "served":
    starts.served()
os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.fixture
def files(tmp_path: Path) -> StateFiles:
    return StateFiles(tmp_path)


def dies(files: StateFiles, number: signal.Signals, served: str = "") -> None:
    """A start that is ended by a signal."""
    command = [sys.executable, "-c", _DIES, str(files.directory), str(int(number)), served]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -number


def suspicion(files: StateFiles) -> str:
    """What a start finds; it leaves the notes as they are."""
    before = files.starts.read_bytes() if files.starts.exists() else b""
    starts = Starts(files)
    starts.begin()
    starts.close()
    files.starts.write_bytes(before)
    return starts.suspicion


def test_two_dead_starts_are_suspicious_and_one_is_not(files):
    assert suspicion(files) == ""
    dies(files, signal.SIGKILL)
    assert suspicion(files) == ""
    dies(files, signal.SIGKILL)
    assert suspicion(files) == "the last 2 starts ended early"


def test_a_start_that_served_or_was_asked_to_end_does_not_count(files):
    for _ in range(3):
        dies(files, signal.SIGKILL, "served")
    assert suspicion(files) == ""
    dies(files, signal.SIGKILL)
    dies(files, signal.SIGKILL, "served")  # what was before it does not count either
    dies(files, signal.SIGKILL)
    assert suspicion(files) == ""


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_one_end_by_such_a_signal_is_enough_at_any_time(files, number):
    dies(files, number, "served")
    assert suspicion(files).startswith("an earlier run was ended by a signal (")


def test_a_walk_makes_earlier_starts_forgotten(files):
    dies(files, signal.SIGSEGV)
    starts = Starts(files)
    starts.begin()
    assert starts.suspicion
    starts.walked()
    starts.close()
    assert suspicion(files) == ""  # only that start itself is noted
    dies(files, signal.SIGKILL)
    assert suspicion(files) == "the last 2 starts ended early"


def test_damage_that_was_met_stays_noted_beyond_an_orderly_end(files):
    starts = Starts(files)
    starts.begin()
    note_damage(files, "page 7\nis wrong")
    starts.served()
    starts.close()
    assert suspicion(files) == "page 7"


def test_signals_of_other_processes_that_read_the_store(files):
    script = (
        "import os, sys; from pathlib import Path; from multigrey.stores.lmdb.state_files import StateFiles; "
        "from multigrey.stores.lmdb.damage.starts import noted_signals\n"
        "with noted_signals(StateFiles(Path(sys.argv[1]))): os.abort()"
    )
    subprocess.run([sys.executable, "-c", script, str(files.directory)], capture_output=True, check=False)
    assert "Abort" in suspicion(files)


def test_a_directory_that_cannot_be_written_prevents_nothing(tmp_path, caplog):
    files = StateFiles(tmp_path / "missing")
    starts = Starts(files)
    starts.begin()
    starts.walked()
    starts.served()
    starts.close()
    note_damage(files, "page 7")
    with noted_signals(files):
        assert starts.suspicion == ""
    assert "this start cannot be noted" in caplog.text


def test_a_link_is_not_followed(files, tmp_path):
    target = tmp_path / "elsewhere"
    files.starts.symlink_to(target)
    starts = Starts(files)
    starts.begin()
    starts.close()
    assert not target.exists()
