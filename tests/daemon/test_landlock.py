"""The rights that a process gives up, in processes that really do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from multigrey.daemon.landlock import Access, version

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import os, sys
from pathlib import Path
from multigrey.daemon import landlock
from multigrey.daemon.landlock import Access
allowed, other = map(Path, sys.argv[1:3])
landlock.restrict({allowed: Access(int(sys.argv[3]))}, (), None)
def tried(name, work):
    try:
        work()
    except PermissionError:
        return
    print(name)
tried("write", lambda: (allowed / "there").open("r+").close())
tried("make", lambda: (allowed / "new").touch())
tried("mkdir", lambda: (allowed / "d").mkdir())
tried("symlink", lambda: (allowed / "l").symlink_to("x"))
tried("unlink", lambda: (allowed / "there").unlink())
tried("other", lambda: (other / "new").touch())
tried("read", lambda: (other / "there").read_text())
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")][0])
"""

needs_landlock = pytest.mark.skipif(not version(), reason="this kernel has no Landlock")


@needs_landlock
@pytest.mark.parametrize(
    ("access", "done"),
    [
        (Access(0), []),
        (Access.WRITE_FILE, ["write"]),
        (Access.WRITE_FILE | Access.MAKE_REG, ["write", "make"]),
        (Access.MAKE_DIR, ["mkdir"]),
        (Access.MAKE_SYM | Access.REMOVE_FILE, ["symlink", "unlink"]),
        (~Access(0), ["write", "make", "mkdir", "symlink", "unlink"]),
    ],
    ids=str,
)
def test_only_what_is_allowed_is_possible(tmp_path, access, done):
    for name in ("allowed", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "there").touch()
    told = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path / "allowed", tmp_path / "other", str(int(access))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [*done, "read", "1"]


@needs_landlock
def test_a_path_that_is_not_there_is_an_error_and_restricts_nothing(tmp_path):
    code = (
        "import pathlib; from multigrey.daemon import landlock\n"
        f"path = pathlib.Path({str(tmp_path)!r})\n"
        "try: landlock.restrict({path / 'none': landlock.Access(0)}, (), None)\n"
        "except FileNotFoundError: (path / 'made').touch()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert (tmp_path / "made").exists()
