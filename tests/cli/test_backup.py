"""`multigrey backup`: the caller writes one archive, wherever the caller may."""

from __future__ import annotations

import getpass
import io
import json
import os
import pty
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from multigrey.cli.backup import _name
from tests.support.daemon import ROOT, Daemon

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "exim"
address = "unix:{dir}/state/exim.sock"
"""


@pytest.fixture(scope="module")
def daemon(module_directory):
    with Daemon(module_directory, CONFIG, user="nobody") as made:
        yield made


def run(
    daemon: Daemon, *arguments: object, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    command = [
        sys.executable,
        "-m",
        "multigrey",
        "backup",
        "--config",
        str(daemon.config),
        *map(str, arguments),
    ]
    return subprocess.run(command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, check=False)


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        return found.getnames()


ALL = ["backup.json", "state/store.mdb", "state/site.key", "state/history.mdb"]
ALL += ["configuration/multigrey.toml", "SHA256SUMS"]


def test_to_a_file_of_the_callers_own(daemon, tmp_path):
    """The daemon's user may not write there, nor even see it."""
    tmp_path.chmod(0o700)
    target = tmp_path / "all.tar.gz"
    before = os.umask(0)
    try:
        done = run(daemon, target)
    finally:
        os.umask(before)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"the site key: keep it where only you can read it" in done.stdout
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert names(target.read_bytes()) == ALL
    assert [path.name for path in tmp_path.iterdir()] == ["all.tar.gz"]
    done = run(daemon, target)
    assert (done.returncode, b"exists already: choose another name, or --replace" in done.stderr) == (1, True)
    target.write_bytes(b"older")
    assert run(daemon, "--replace", "--without-key", target).returncode == 0
    assert names(target.read_bytes()) == [name for name in ALL if name != "state/site.key"]


def test_into_a_directory(daemon, tmp_path):
    done = run(daemon, "--json", tmp_path)
    told = json.loads(done.stdout)
    (made,) = tmp_path.iterdir()
    assert (told["path"], told["size"], told["left_out"]) == (str(made), made.stat().st_size, [])
    assert [part["name"] for part in told["parts"]] == ALL[1:-1]
    assert made.name == _name(daemon.clock.now())
    assert made.name.endswith("Z.tar.gz")


def test_to_standard_output(daemon):
    done = run(daemon, "-")
    assert f"control socket: {getpass.getuser()} (uid {os.geteuid()}): backup\n" in daemon.stderr()
    assert (done.returncode, done.stderr, names(done.stdout)) == (0, b"", ALL)


def test_not_to_a_terminal(daemon):
    ours, theirs = pty.openpty()
    try:
        done = run(daemon, "-", stdout=theirs)
        named = run(daemon, "--replace", os.ttyname(theirs))
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, b"standard output is a terminal: name a file" in done.stderr) == (2, True)
    assert (named.returncode, b"exists already" in named.stderr) == (1, True)


@pytest.mark.parametrize("kind", ["link", "missing", "full"])
def test_what_cannot_be_written(daemon, tmp_path, kind):
    (tmp_path / "other").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    target = {"link": tmp_path / "link", "missing": tmp_path / "no" / "x", "full": Path("/dev/full")}[kind]
    done = run(daemon, "--replace", target)
    assert done.returncode == 1
    assert done.stderr.startswith(b"multigrey: " + str(target).encode() + b": ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "other"]
    assert (tmp_path / "other").read_text() == "precious"


def test_a_disk_that_is_full_at_standard_output(daemon):
    with Path("/dev/full").open("wb") as full:
        done = run(daemon, "-", stdout=full.fileno())
    assert (done.returncode, done.stderr) == (1, b"multigrey: -: No space left on device\n")


def test_of_a_stopped_daemon_and_with_a_list_that_cannot_be_read(short_directory):
    text = f'{CONFIG}[[whitelist]]\nsource = "postgrey-clients"\npath = "{{dir}}/list"\n'
    path = short_directory / "list"
    path.write_text("example.org\n")
    daemon = Daemon(short_directory, text, user="nobody")
    with daemon:
        path.unlink()
        done = run(daemon, short_directory / "running")
    assert (done.returncode, b"/list: left out: No such file or directory" in done.stderr) == (1, True)
    assert names((short_directory / "running").read_bytes()) == ALL
    path.write_text("example.org\n")
    assert run(daemon, short_directory / "stopped").returncode == 0
    assert names((short_directory / "stopped").read_bytes()) == [*ALL[:-1], "configuration/list", ALL[-1]]
