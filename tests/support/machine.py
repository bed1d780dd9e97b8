"""A small Debian that runs systemd as its first process, for tests of packages and units.

The root is made once per checkout by mmdebstrap (unpacked, not installed) and holds the packages of both mail
servers ready to be installed without a network.  Each `Machine` boots it in namespaces of its own: a loopback
network, its own processes, mounts and control groups, and a file system whose changes are gone at the end.

It needs root and an apt.  Tests call `machine_or_skip`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest

from tests.mta.harness import until
from tests.support.debian import DebianError, NoAptError, cache_directory, locked, mirror, run, unpack

__all__ = ["RELEASES", "Machine", "machine_or_skip", "machine_root"]

RELEASES = {"bookworm": "3.11", "trixie": "3.13"}
"""Names of Debian's releases, and the version of their Python."""

_INSTALLED = "systemd,systemd-sysv,dbus,python3,python3-venv,iproute2"
_READY = ("postfix", "exim4-daemon-heavy", "apparmor", "logcheck", "logrotate", "swaks")
"""Packages that a test may install: their files lie in the root's cache, each with its dependencies."""
_DEADLINE = 60.0

_BOOT = """\
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root" "$1/groups"
mount -t cgroup2 none "$1/groups"
group="$1/groups/multigrey-tests-$$"
mkdir "$group"
echo $$ > "$group/cgroup.procs"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
status=0
unshare --mount --uts --ipc --net --cgroup --pid --fork --kill-child sh -c "$3" sh "$1/root" || status=$?
echo $$ > "$1/groups/cgroup.procs"
find "$group" -depth -type d -exec rmdir {} \\;
exit $status
"""
"""$1: an empty directory, $2: the root, $3: the next script."""
_PROBE = """\
directory=$(mktemp -d)
mount --make-rprivate /
mount -t cgroup2 none "$directory"
umount "$directory"
rmdir "$directory"
"""
_FIRST_PROCESS = """\
set -e
read -r pid rest < /proc/self/stat
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=0755 tmpfs dev
for name in null zero full random urandom tty; do
  touch "dev/$name"
  mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 none dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
pivot_root . mnt
umount -l /mnt
echo "$pid"
exec env -i container=oci PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init </dev/null >/dev/null
"""
_LAST = """\
set -e
for each in $2; do
  chroot "$1" apt-get -q -y --no-install-recommends --download-only install $each
done
ln -sf /dev/null "$1/etc/systemd/system/console-getty.service"
ln -sf /dev/null "$1/etc/systemd/system/systemd-resolved.service"
echo mx.test.example > "$1/etc/hostname"
echo "127.0.0.1 localhost mx.test.example" > "$1/etc/hosts"
: > "$1/etc/resolv.conf"
rm -rf "$1/var/lib/apt/lists/auxfiles"
"""


class Machine:
    """One running Debian (a context manager)."""

    def __init__(self, root: Path) -> None:
        """`root`: what `machine_root` made; it is not changed."""
        self._root = root
        self._process: subprocess.Popen[str] | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="mg"))
        words = ["sh", "-c", _BOOT, "sh", str(self._directory), str(self._root), _FIRST_PROCESS]
        with (self._directory / "stderr").open("w+") as stderr:
            self._process = subprocess.Popen(
                ["unshare", "--mount", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
            assert self._process.stdout is not None
            pid = self._process.stdout.readline()
            if not pid:
                stderr.seek(0)
                reason = stderr.read()
                self.__exit__()
                raise RuntimeError(f"the machine did not start: {reason}")
        self._pid = int(pid)
        try:
            # systemd answers once it has made its socket
            until((self.files / "run/systemd/private").exists, "systemd starts", _DEADLINE)
            self.run("systemctl", "is-system-running", "--wait", check=False)
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            if self._pid:
                os.kill(self._pid, signal.SIGKILL)
        self._process.wait(_DEADLINE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        shutil.rmtree(self._directory)

    @property
    def files(self) -> Path:
        """The machine's root directory, as this process sees it."""
        return Path(f"/proc/{self._pid}/root")

    def run(
        self, *command: str, check: bool = True, stdin: str = "", user: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine to its end; AssertionError with what it wrote if it fails."""
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        done = subprocess.run(
            ["nsenter", f"--target={self._pid}", "--all", "--root", "--wd", *become, *command],
            env=environment,
            cwd="/",
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * _DEADLINE,
        )
        if check:
            what = (
                f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
            )
            assert done.returncode == 0, what
        return done

    def shell(self, script: str, *, check: bool = True, user: str = "") -> subprocess.CompletedProcess[str]:
        """Run lines as an administrator would type them; the first that fails ends them."""
        return self.run("sh", "-e", "-c", script, check=check, user=user)

    def install(self, *packages: str) -> subprocess.CompletedProcess[str]:
        """apt-get install; a package is a name, or the path of a file in the machine."""
        return self.run("apt-get", "-q", "-y", "--no-install-recommends", "install", *packages)

    def copy(self, source: Path, target: str) -> str:
        """Copy a file into the machine and return `target`."""
        shutil.copyfile(source, self.files / target.lstrip("/"))
        return target

    def journal(self, unit: str) -> str:
        """What a unit wrote."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit, check=False).stdout


def machine_root(suite: str) -> Path:
    """The root of a release, made at the first call.  Raises DebianError."""
    cache = cache_directory()
    root, stamp = cache / f"machine-{suite}", cache / f"machine-{suite}.stamp"
    wanted = f"{_INSTALLED} {' '.join(_READY)} {_LAST}"
    with locked(cache, root.name):
        if not stamp.is_file() or stamp.read_text() != wanted:
            program = unpack("mmdebstrap", "mmdebstrap", dependencies=False) / "usr/bin/mmdebstrap"
            last = f'{shlex.join(["sh", "-c", _LAST, "sh"])} "$1" {shlex.quote(" ".join(_READY))}'
            shutil.rmtree(root, ignore_errors=True)
            run(
                *["perl", str(program), "--mode=root", "--variant=minbase", f"--include={_INSTALLED}"],
                *["--skip=cleanup/apt,cleanup/tmp", '--aptopt=Acquire::Languages "none"', "--quiet"],
                f"--customize-hook={last}",
                *[suite, str(root), mirror()],
            )
            root.chmod(0o755)
            stamp.write_text(wanted)
    return root


def machine_or_skip(suite: str = "bookworm") -> Machine:
    """A machine to be started, for tests: skips where none can be."""
    if os.getuid() != 0:
        pytest.skip("a machine of its own needs root")
    probe = ["unshare", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid", "--fork", "sh", "-e", "-c"]
    done = subprocess.run([*probe, _PROBE], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no namespaces or control groups for a machine of its own: {done.stderr.strip()}")
    try:
        return Machine(machine_root(suite))
    except NoAptError as error:
        pytest.skip(str(error))
    except DebianError as error:
        if suite == "bookworm":
            raise
        pytest.skip(f"Debian {suite} cannot be had: {error}")
