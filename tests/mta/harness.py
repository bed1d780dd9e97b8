"""What real Exim and real Postfix have in common: private roots, one identity, an orderly end.

Nothing is installed.  Programs come out of Debian packages (tests.support.debian) and are told by
libnss_wrapper which users exist, by libresolv_wrapper what the DNS says, and Postfix's master by
libuid_wrapper that it is root.  Everything of one server runs as one ordinary user: the caller or,
for root, a number that no account has; so a run by root and a run by a user differ in nothing.

That user cannot enter pytest's `tmp_path` of root, and names of unix sockets are short
(108 octets), so servers live in directories of `place()`.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

from tests.mta.smtp import Session
from tests.support.debian import library_path, unpack_or_skip

UID = os.getuid() or 64001
GID = os.getgid() if os.getuid() else 64001
_USER: dict[str, Any] = {"user": UID, "group": GID, "extra_groups": ()} if os.getuid() == 0 else {}
"""Arguments of Popen that give up root."""

DEADLINE = 20.0
_TICK = 0.005


def until(done: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Wait until `done()` is true; AssertionError with `what` when the deadline passes.

    For things that happen in another process, nothing else; a passing test never waits for the deadline.
    """
    pause = threading.Event()
    for _ in range(int(deadline / _TICK)):
        if done():
            return
        pause.wait(_TICK)
    raise AssertionError(f"{what}: not within {deadline} s")


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A directory with a short name that the servers' user may write to; it ends with the block."""
    directory = Path(tempfile.mkdtemp(prefix="mg"))
    own(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def own(path: Path, mode: int = 0o755) -> Path:
    """Give `path` to the servers' user."""
    path.chmod(mode)
    if os.getuid() == 0:
        os.chown(path, UID, GID)
    return path


def folder(path: Path, mode: int = 0o755) -> Path:
    """Make a directory of the servers' user."""
    path.mkdir(parents=True)
    return own(path, mode)


def write(path: Path, text: str) -> Path:
    """Make a file of the servers' user."""
    path.write_text(text)
    return own(path, 0o644)


_given_out: set[int] = set()


def free_port() -> int:
    """A loopback port nobody listens on, outside the range the kernel gives to outgoing connections.

    Never the same twice: who asks for many listens on them only later.
    """
    while True:
        port = random.randint(20_000, 32_000)
        if port in _given_out:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given_out.add(port)
            return port


def accepts(port: int) -> bool:
    """Whether somebody listens; without reading, as Exim sends no banner before the PROXY line."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def greylist_headers(message: EmailMessage) -> list[str]:
    """The X-Greylist header lines of a delivered message."""
    return [str(value) for value in message.get_all("X-Greylist", [])]


class Server:
    """A mail server process and the directory it lives in (a context manager).

    Subclasses write the configuration, set `command` and extend `environment`.
    """

    name: str
    command: Sequence[str | Path]

    def __init__(
        self,
        directory: Path,
        root: Path,
        *,
        users: Sequence[str],
        hosts: Mapping[str, str],
        libraries: Path | None = None,
    ) -> None:
        """`users` exist for the server; `hosts` (address to name) is all the DNS there is.

        `libraries`: where the wrappers lie, if `root` is of another release; it needs them of the same one.
        """
        self.root = root
        self.directory = folder(directory)
        self.port = free_port()
        self.log_directory = folder(directory / "log")
        self.home = folder(directory / "home")
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C",
            "TZ": "UTC",
            "LD_LIBRARY_PATH": library_path(root),
            **wrapped(
                directory,
                users=dict.fromkeys(users, UID),
                # Postfix wants a set-gid group that is not its user's own; nothing here ever gets it
                groups={**dict.fromkeys(users, GID), "postdrop": GID + 1},
                hosts=hosts,
                home=self.home,
                libraries=libraries,
            ),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def kept(self) -> list[str]:
        """Names of the variables the server must hand on to its children: both purge their environment."""
        return [name for name in self.environment if name not in {"PATH", "LANG", "TZ", "MAIL_CONFIG"}]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        with (self.log_directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [str(word) for word in self.command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                **_USER,
            )
        try:
            self._until(lambda: self._ended() or accepts(self.port), f"{self.name} listens")
            assert not self._ended(), f"{self.name} ended at once\n{self.logs()}"
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and whatever it started, nothing else."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            until(lambda: _is_zombie(process.pid), f"{self.name} ends", 10)
        # The leader is not reaped yet, so its number still names this group and no other.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def session(self, client: str, *, name: str = "", helo: str = "") -> Session:
        """An SMTP session of a client with this address (and verified name, where the test can choose it)."""
        raise NotImplementedError

    def run(self, *command: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of the server's tools to its end."""
        return subprocess.run(
            [str(word) for word in command],
            env=self.environment,
            input=stdin,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
            cwd="/",
            **_USER,
        )

    def logs(self) -> str:
        """Everything the server wrote."""
        return "".join(
            f"--- {path.name}\n{path.read_text(errors='replace')}"
            for path in sorted(self.log_directory.iterdir())
        )

    def wait_for_log(self, text: str) -> None:
        """Wait until `text` is in a log."""
        self._until(lambda: text in self.logs(), f"{self.name} logs {text!r}")

    def messages(self) -> list[EmailMessage]:
        """What lies in the maildirs, in order of delivery."""
        files = sorted(self.home.rglob("new/*"), key=lambda path: path.stat().st_mtime_ns)
        return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in files]

    def delivered(self, subject: str, count: int) -> list[EmailMessage]:
        """Wait for `count` delivered messages with this subject and return them."""

        def found() -> list[EmailMessage]:
            return [message for message in self.messages() if message["Subject"] == subject]

        self._until(lambda: len(found()) >= count, f"{self.name} delivers {count} of {subject!r}")
        return found()

    def _until(self, done: Callable[[], object], what: str) -> None:
        """`until`, with the logs in the error."""
        try:
            until(done, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def _ended(self) -> bool:
        return self._process is None or _is_zombie(self._process.pid)


def _is_zombie(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


WRAPPERS = ("libnss-wrapper", "libuid-wrapper", "libresolv-wrapper")


def wrappers() -> Path:
    """Where the libraries lie that show processes a world of our own."""
    return unpack_or_skip("wrappers", *WRAPPERS, dependencies=False)


def wrapped(
    directory: Path,
    *,
    users: Mapping[str, int],
    groups: Mapping[str, int],
    hosts: Mapping[str, str] | None = None,
    home: Path = Path("/nonexistent"),
    libraries: Path | None = None,
) -> dict[str, str]:
    """Variables (and files in `directory`) that show a process these users and groups beside root.

    With `hosts` (address to name) they are all the DNS there is; without, the machine's is used.
    """
    root = libraries or wrappers()
    accounts = {"root": 0, "nobody": 65534, **users}
    passwd = [
        f"{name}:x:{uid}:{GID if uid == UID else uid}::{home}:/bin/false\n" for name, uid in accounts.items()
    ]
    group = [f"{name}:x:{gid}:\n" for name, gid in {"root": 0, "nogroup": 65534, **groups}.items()]
    environment = {
        "LD_PRELOAD": library(root, "libnss_wrapper.so"),
        "NSS_WRAPPER_PASSWD": str(write(directory / "passwd", "".join(passwd))),
        "NSS_WRAPPER_GROUP": str(write(directory / "group", "".join(group))),
    }
    if hosts is not None:
        names = "".join(f"{address} {name}\n" for address, name in hosts.items())
        records = "".join(
            f"A {name} {address}\nPTR {_reverse(address)} {name}\n" for address, name in hosts.items()
        )
        environment["LD_PRELOAD"] += ":" + library(root, "libresolv_wrapper.so")
        environment["NSS_WRAPPER_HOSTS"] = str(write(directory / "hosts", "127.0.0.1 localhost\n" + names))
        environment["RESOLV_WRAPPER_HOSTS"] = str(write(directory / "dns", records))
    return environment


def _reverse(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def library(root: Path, name: str) -> str:
    """The path of a shared library, whatever the architecture's directory is called."""
    return str(next(root.rglob(name)))
