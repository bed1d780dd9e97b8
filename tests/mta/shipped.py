"""The files an administrator copies, with paths replaced by the test's own, and nothing else changed.

Users and groups they name (multigrey, postfix, Debian-exim) exist for the daemon by nss_wrapper, so
even `group = "postfix"` and mode 0660 are tried as shipped.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tests.mta.harness import GID, UID, Server, folder, place, until, wrapped, write
from tests.support.daemon import Daemon

INTEGRATIONS = Path(__file__).resolve().parents[2] / "integrations"
TEXT = "Come back in a little while"
DELAY = 120

_POLICY = "/var/spool/postfix/multigrey/policy.sock"
_EXIM = "/run/multigrey/exim.sock"
_GREYLISTD = "/run/multigrey/greylistd.sock"

_COMMON = f"""\
state_dir = "{{dir}}/state"

[greylist]
delay = "{DELAY}s"
unnamed_delay = "{DELAY}s"
text = "{TEXT}"
auto_whitelist_after = 0

[[whitelist]]
source = "postgrey-clients"
path = "{{dir}}/clients"

[[whitelist]]
source = "postgrey-recipients"
path = "{{dir}}/recipients"

"""
WHITELISTED_CLIENT = "198.51.100.25"
WHITELISTED_RECIPIENT = "welcome@test.example"

T = TypeVar("T", bound=Server)


@dataclass(frozen=True)
class World(Generic[T]):
    """A daemon and the mail server that asks it."""

    daemon: Daemon
    mta: T

    def decisions(self, text: str, count: int) -> list[str]:
        """The decision lines that hold `text`; waits until there are `count`.

        Lines come in order, so a test that nobody asked lets somebody else ask afterwards.
        """
        return decisions(self.daemon, text, count)


def decisions(daemon: Daemon, text: str, count: int) -> list[str]:
    """See `World.decisions`."""

    def found() -> list[str]:
        return [line for line in daemon.log() if text in line]

    until(lambda: len(found()) >= count, f"{count} decisions about {text!r}")
    return found()


def sockets(directory: Path) -> dict[str, Path]:
    """Shipped path of each socket: path in the test."""
    return {
        _POLICY: directory / "policy.sock",
        _EXIM: directory / "exim.sock",
        _GREYLISTD: directory / "greylistd.sock",
    }


def text(name: str, directory: Path) -> str:
    """A shipped file whose sockets lie in `directory`."""
    content = (INTEGRATIONS / name).read_text()
    for shipped, ours in sockets(directory).items():
        content = content.replace(shipped, str(ours))
    return content.replace("unix:multigrey/policy.sock", f"unix:{directory / 'policy.sock'}")


@contextlib.contextmanager
def daemon(directory: Path, *tables: str) -> Iterator[Daemon]:
    """A running daemon with the shipped `multigrey.toml` tables named, in a new directory."""
    directory = folder(directory)
    (directory / "clients").write_text(f"{WHITELISTED_CLIENT}\n")
    (directory / "recipients").write_text(f"{WHITELISTED_RECIPIENT}\n")
    if os.getuid() == 0:
        os.chown(directory, 0, 0)
    config = _COMMON + "\n".join(text(table, directory) for table in tables)
    names = folder(directory / "names")
    # as root the daemon becomes another user than the mail servers': only the group lets them meet
    users = {"multigrey": UID + 1} if os.getuid() == 0 else {}
    environment = wrapped(names, users=users, groups={"postfix": GID, "Debian-exim": GID})
    running = Daemon(directory, config, user="multigrey", env=environment)
    with running:
        yield running


def acl_files(directory: Path, daemon_directory: Path) -> tuple[Path, Path]:
    """Both of Exim's ACL files, as a mail server finds them."""
    made = [
        write(directory / name, text(f"exim/{name}", daemon_directory))
        for name in ("multigrey.rcpt.acl", "multigrey.data.acl")
    ]
    return made[0], made[1]


def exim_macros(directory: Path) -> str:
    """The shipped macro lines, with the ACL files in `directory`."""
    return (
        (INTEGRATIONS / "exim/exim4.conf.localmacros")
        .read_text()
        .replace("/etc/exim4/multigrey.", f"{directory}/multigrey.")
    )


def diagnosed(page: str, said: str) -> bool:
    """Whether the DIAGNOSTICS of a man page know what a mail server says, by any path of the socket."""
    source = (INTEGRATIONS.parent / "man" / page).read_text().partition(".Sh DIAGNOSTICS")[2]
    entries = [
        line.removeprefix(".It Li ").strip('"') for line in source.splitlines() if line.startswith(".It")
    ]
    return any(entry.replace("multigrey/policy.sock", "SOCKET") == said for entry in entries)


_networks = itertools.count()


def client() -> str:
    """The address of a client nobody has seen, in a network of its own (RFC 2544's range)."""
    return f"198.18.{next(_networks)}.25"


__all__ = ["DELAY", "TEXT", "World", "acl_files", "client", "daemon", "exim_macros", "place", "text"]
