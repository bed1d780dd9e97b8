"""A daemon whose store is damaged: it dies at most twice, then serves what could be saved, and says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from multigrey.config.load import load
from multigrey.daemon.recovery import begin
from multigrey.errors import StoreError
from multigrey.stores.lmdb.state_files import StateFiles, take_lock
from tests.daemon.test_daemon import CONFIG, DEFERRED, DELAY, ask
from tests.support.daemon import ROOT, Daemon
from tests.support.damage import damage, read_unprotected

SENDERS = 150


@pytest.fixture
def daemon(short_directory: Path) -> Iterator[Daemon]:
    daemon = Daemon(short_directory, CONFIG, user="nobody")
    yield daemon
    daemon.kill()


def command(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "multigrey", *arguments, "--config", str(daemon.config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def told(daemon: Daemon, *arguments: str) -> dict:
    return json.loads(command(daemon, *arguments, "--json").stdout)


def data(daemon: Daemon) -> Path:
    return daemon.directory / "state" / "store.mdb"


def ask_all(daemon: Daemon) -> list[str]:
    return [ask(daemon.directory, f"user{number}@example.net") for number in range(SENDERS)]


def make_fatal(path: Path) -> None:
    """Damage the store so that whoever reads it ends by a signal."""
    whole = path.read_bytes()
    for seed in range(300):
        path.write_bytes(whole)
        damage(path, seed)
        if read_unprotected(path) < 0:
            return
    pytest.fail("no damage ends a reader by a signal")


def start_until_it_serves(daemon: Daemon) -> int:
    """As systemd would; returns how many starts it took."""
    for number in range(1, 4):
        try:
            daemon.start()
            ask_all(daemon)
            told(daemon, "status")
            command(daemon, "records", "list")
        except (RuntimeError, OSError, ValueError):
            assert daemon.process is not None
            daemon.process.wait(20)
            continue
        assert daemon.process is not None
        if daemon.process.poll() is None:
            return number
    pytest.fail(f"it does not serve after three starts:\n{daemon.stderr()}")


def test_a_damaged_store_ends_no_daemon_for_long(daemon: Daemon):
    with daemon:
        assert ask_all(daemon) == [DEFERRED] * SENDERS
    make_fatal(data(daemon))
    with_a_client = command(daemon, "records", "list")
    assert with_a_client.returncode != 0
    assert start_until_it_serves(daemon) <= 3
    daemon.clock.advance(DELAY)
    passed = [answer for answer in ask_all(daemon) if answer.startswith("action=PREPEND")]
    assert len(passed) > SENDERS / 2
    status = command(daemon, "status").stdout
    assert "! store: a damaged file was moved aside as " in status
    assert "damaged" in command(daemon, "check").stdout
    verified = command(daemon, "verify")
    # A value that was garbled in a page that is whole otherwise: LMDB cannot notice it, verify does.
    garbled = verified.stdout.count(": stored record cannot be read")
    assert verified.returncode == (1 if garbled else 0), verified.stdout + verified.stderr
    assert garbled < SENDERS / 10
    assert "store.mdb: damaged (" in daemon.stderr()
    daemon.stop()
    assert daemon.process is not None
    assert daemon.process.returncode == 0


def test_a_stopped_store_that_ends_its_reader_is_called_damaged(daemon: Daemon):
    with daemon:
        ask_all(daemon)
    make_fatal(data(daemon))
    result = command(daemon, "verify")
    assert result.returncode in {1, 3}
    assert "damaged" in result.stderr
    assert "start multigrey" in result.stderr
    assert "Traceback" not in result.stderr


def test_starts_that_end_by_sigterm_or_serve_are_not_followed_by_a_walk(daemon: Daemon):
    for _ in range(3):
        with daemon:
            ask(daemon.directory)
    assert "it is walked first" not in daemon.stderr()
    assert (daemon.directory / "state" / "starts").read_bytes() == b""


def test_two_kills_in_a_row_cost_a_walk_and_nothing_else(daemon: Daemon):
    for _ in range(2):
        daemon.start()
        ask(daemon.directory)
        daemon.kill()
    with daemon:
        assert "the last 2 starts ended early: it is walked first" in daemon.stderr()
        assert "can be read (" in daemon.stderr()
        daemon.clock.advance(DELAY)
        assert ask(daemon.directory).startswith("action=PREPEND X-Greylist: delayed 120")
    assert not list((daemon.directory / "state").glob("store.damaged.*"))


def test_a_signal_in_the_middle_of_the_day_is_followed_by_a_walk(daemon: Daemon):
    with daemon:
        (daemon.directory / "state" / "starts").write_bytes(b"")  # as after a minute of service
        daemon.send(signal.SIGSEGV)
        assert daemon.process is not None
        assert daemon.process.wait(20) == -signal.SIGSEGV
        daemon.start()
        assert "an earlier run was ended by a signal (Segmentation fault): it is walked" in daemon.stderr()


def test_a_damaged_history_is_moved_aside(daemon: Daemon):
    with daemon:
        ask(daemon.directory)
    state = daemon.directory / "state"
    whole = (state / "history.mdb").read_bytes()
    (state / "history.mdb").write_bytes(whole[:8192] + bytes(len(whole) - 8192))
    (state / "starts").write_text("start 1\nstart 2\n")
    if os.geteuid() == 0:
        os.chown(state / "starts", state.stat().st_uid, state.stat().st_gid)
    with daemon:
        assert ask(daemon.directory) == DEFERRED
        assert "history.mdb: damaged (" in daemon.stderr()
    assert (state / "history.mdb.bad").exists()


_ENDED = """
import os, signal, sys
from pathlib import Path
from multigrey.config.load import load
from multigrey.daemon import recovery

def rescue(*_):
    os.kill(os.getpid(), int(sys.argv[2]))
    raise AssertionError("it goes on")

recovery.rescue = rescue
recovery.begin(load(Path(sys.argv[1]), {}, {}, uid=1000).settings, {})
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_walk_that_is_ended_by_a_signal_is_an_orderly_end(tmp_path: Path, number: signal.Signals):
    config = tmp_path / "multigrey.toml"
    config.write_text(f'state_dir = "{tmp_path}"\n')
    starts = tmp_path / "starts"
    starts.write_text("start 1\nstart 2\n")
    done = subprocess.run(
        [sys.executable, "-c", _ENDED, str(config), str(int(number))], cwd=ROOT, check=False
    )
    assert (done.returncode, starts.read_bytes()) == (0, b"")


def test_another_daemon_s_notes_are_left_alone(tmp_path: Path):
    files = StateFiles(tmp_path)
    lock = take_lock(files.lock)
    files.starts.write_text("start 1\n")
    config = tmp_path / "multigrey.toml"
    config.write_text(f'state_dir = "{tmp_path}"\n')
    try:
        with pytest.raises(StoreError, match="in use by another multigrey"):
            begin(load(config, {}, {}, uid=1000).settings, {})
    finally:
        os.close(lock)
    assert files.starts.read_text() == "start 1\n"
