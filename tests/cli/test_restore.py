"""`multigrey restore`: everything was lost, and is there again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.witness import DELAY, Witness
from tests.support.daemon import ROOT, Daemon

CONFIG = """
state_dir = "{dir}/state"
user = "nobody"
[[listen]]
protocol = "exim"
address = "unix:{dir}/state/exim.sock"
[greylist]
delay = "120s"
unnamed_delay = "120s"
[[whitelist]]
source = "postgrey-clients"
path = "lists/clients"
[[whitelist]]
source = "postgrey-clients"
path = "{dir}/../{name}.list"
"""


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "multigrey", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def daemon(short_directory: Path):
    (short_directory / "lists").mkdir()
    (short_directory / "lists" / "clients").write_text("example.org\n")
    other = short_directory.parent / f"{short_directory.name}.list"
    other.write_text("example.com\n")
    user = "nobody" if os.geteuid() == 0 else None
    text = CONFIG if user else CONFIG.replace('user = "nobody"\n', "")
    yield Daemon(short_directory, text.replace("{name}", short_directory.name), user=user)
    other.unlink()


@pytest.fixture
def archive(daemon, tmp_path):
    """A backup of a daemon that knows sender 1, and waits for sender 2; it has learned more since."""
    witness = Witness(daemon)
    with daemon:
        assert witness.ask(1) == "new"
        daemon.clock.advance(DELAY)
        assert [witness.ask(1), witness.ask(2)] == ["retry", "new"]
        done = run("backup", "--config", daemon.config, tmp_path / "all.tar.gz")
        assert (done.returncode, done.stderr) == (0, "")
        assert witness.ask(3) == "new"
    return tmp_path / "all.tar.gz"


def knows_what_was_backed_up(daemon: Daemon) -> None:
    witness = Witness(daemon)
    daemon.clock.advance(DELAY)
    with daemon:
        assert [witness.ask(number) for number in (1, 2, 3)] == ["known", "retry", "new"]
        found = run("history", "r1@example.net", "--json", "--config", daemon.config)
        assert json.loads(found.stdout.splitlines()[0]), found


def test_everything_is_lost_and_there_again(daemon, archive):
    shutil.rmtree(daemon.directory / "state")
    done = run("restore", "--dry-run", archive, "--config", daemon.config)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"makes {daemon.directory}/state/store.mdb" in done.stdout
    assert "leaves configuration/multigrey.toml in the archive" in done.stdout
    assert not (daemon.directory / "state").exists()
    done = run("restore", archive, "--config", daemon.config)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("restored 3 files: start the daemon\n")
    owners = {path.stat().st_uid for path in (daemon.directory / "state").iterdir()}
    assert owners == {daemon.directory.stat().st_uid if os.geteuid() else 65534}
    knows_what_was_backed_up(daemon)


def test_with_the_configuration(daemon, archive):
    shutil.rmtree(daemon.directory / "state")
    shutil.rmtree(daemon.directory / "lists")
    text = daemon.config.read_text()
    daemon.config.unlink()
    done = run("restore", "--configuration", archive, "--config", daemon.config)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"makes {daemon.directory}/lists/clients" in done.stdout
    assert f"leaves elsewhere/1/{daemon.directory.name}.list in the archive; it was " in done.stdout
    assert daemon.config.read_text() == text
    assert daemon.config.stat().st_mode & 0o777 == 0o640
    assert (daemon.directory / "lists" / "clients").read_text() == "example.org\n"
    assert not [path for path in daemon.directory.iterdir() if path.name.startswith(".")]
    knows_what_was_backed_up(daemon)


def test_what_exists_is_replaced_only_if_asked_for(daemon, archive):
    done = run("restore", archive, "--config", daemon.config)
    text = (
        f"multigrey: {daemon.directory}/state/store.mdb exists already: restore with --replace to lose it\n"
    )
    assert (done.returncode, done.stderr) == (1, text)
    told = json.loads(run("restore", "--json", "--dry-run", "--replace", archive, "-c", daemon.config).stdout)
    assert {Path(each["path"]).name: each["replaces"] for each in told["files"]} == {
        "store.mdb": True,
        "site.key": True,
        "history.mdb": True,
    }
    assert run("restore", "--replace", archive, "--config", daemon.config).returncode == 0
    knows_what_was_backed_up(daemon)


def test_not_while_the_daemon_runs(daemon, archive):
    with daemon:
        done = run("restore", "--replace", archive, "--config", daemon.config)
        assert (done.returncode, "is in use by another multigrey" in done.stderr) == (1, True)
        assert Witness(daemon).ask(1) == "known"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[:-100], "cut short"),
        (lambda data: b"PK" + data, "not a backup"),
        (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], "damaged|not a"),
    ],
)
def test_an_archive_that_is_not_whole(daemon, archive, spoil, words):
    archive.write_bytes(spoil(archive.read_bytes()))
    done = run("restore", "--replace", archive, "--config", daemon.config)
    assert done.returncode == 1
    assert done.stderr.startswith(f"multigrey: {archive}: ")
    assert any(word in done.stderr for word in words.split("|")), done.stderr
    with daemon:
        assert Witness(daemon).ask(3) == "early"


def test_what_is_no_archive(daemon, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, words in ((tmp_path / "fifo", "not a regular file"), (tmp_path / "none", "No such file")):
        done = run("restore", path, "--config", daemon.config)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_who_may_restore(daemon, archive):
    archive = Path(shutil.copy(archive, daemon.directory))
    archive.chmod(0o644)
    command = ["setpriv", "--reuid=1", "--regid=1", "--clear-groups", sys.executable, "-c", "pass"]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("another user cannot run this Python")
    command[5:] = ["-m", "multigrey", "restore", str(archive), "--config", str(daemon.config)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, "restore as root or" in done.stderr) == (4, True), done.stderr
