"""Asks a daemon with many distinct strangers, and prints what it takes meanwhile.

    python -m tests.faults.strangers --count 1000000

Each has a network, a sender and a recipient of its own, and never comes again.  Unnamed ones soon are over
the limit of new records, and get marks; with --named each makes records.  The daemon runs with the defaults
of its configuration and the system's clock.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from pathlib import Path
from typing import Self

import click

from tests.faults.figures import Figures, figures
from tests.support.daemon import Daemon

CONNECTIONS = 400
CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/state/postfix.sock"
[log]
to = "/dev/null"
"""


def question(number: int, *, named: bool) -> bytes:
    """Stranger `number` of 2**24."""
    # A shuffled pack: neighbours in the numbers are no neighbours in the addresses.
    network = number * 0x9E3779B1 & 0xFFFFFF
    loopback = network >> 16 == 127
    client = IPv6Address((0x20010DB8 << 96) + (network << 64)) if loopback else IPv4Address(network << 8 | 1)
    name = f"mail.d{number}-example.com" if named else "unknown"
    text = f"client_address={client}\nclient_name={name}\nhelo_name={name}\n"
    text += f"sender=s{number}@d{number}-example.com\nrecipient=r{number}@example.net\n"
    return f"request=smtpd_access_policy\nprotocol_state=RCPT\n{text}\n".encode()


class Crowd:
    """Connections to a daemon, each with one question under way."""

    def __init__(self, path: Path, *, named: bool, connections: int = CONNECTIONS) -> None:
        self._named = named
        self._stack = contextlib.ExitStack()
        self._sockets = [self._stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(connections)]
        for sock in self._sockets:
            sock.settimeout(120)
            sock.connect(str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def ask(self, numbers: range) -> int:
        """Ask with these strangers; returns how many were deferred."""
        deferred = 0
        for begin in range(0, len(numbers), len(self._sockets)):
            some = list(zip(self._sockets, numbers[begin : begin + len(self._sockets)], strict=False))
            for sock, number in some:
                sock.sendall(question(number, named=self._named))
            for sock, _ in some:
                deferred += b"DEFER_IF_PERMIT" in sock.recv(65536)
        return deferred


def run(
    directory: Path,
    count: int,
    steps: int,
    *,
    named: bool,
    config: str = CONFIG,
    env: dict[str, str] | None = None,
) -> Iterator[tuple[int, int, Figures]]:
    """The figures at each of so many steps: strangers so far, and how many of them were deferred."""
    with Daemon(directory, config, now=None, user="nobody", env=env) as daemon:
        assert daemon.process is not None
        pid, state = daemon.process.pid, directory / "state"
        with Crowd(state / "postfix.sock", named=named) as crowd:
            yield 0, 0, figures(pid, state)
            deferred, begins = 0, [count * step // steps for step in range(steps + 1)]
            for begin, end in pairwise(begins):
                deferred += crowd.ask(range(begin, end))
                yield end, deferred, figures(pid, state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--config", default="", help="further lines of the configuration")
    parser.add_argument("--named", action="store_true", help="each has a verified name, and so no quota")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mg-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        config = CONFIG + options.config.replace("\\n", "\n")
        for asked, deferred, found in run(
            Path(name), options.count, options.steps, named=options.named, config=config
        ):
            click.echo(f"{asked} strangers, {deferred} deferred: {found}")


if __name__ == "__main__":
    main()
