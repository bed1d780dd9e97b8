"""A witness: asks a real daemon, remembers what was answered, and finds out whether all of it still holds.

Sender N is a number: an address and a network of its own, always with the same envelope.  Whoever was
deferred must be known ever after, and whoever passed by a retry must pass.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from multigrey.events.line import parse_line
from tests.support.daemon import Daemon

__all__ = ["CONFIG", "DELAY", "LONG", "Witness", "control", "question", "reason_of"]

LONG = bool(os.environ.get("MULTIGREY_FUZZ"))
"""Whether the long form of each test is run, as `make soak` does."""
DELAY = 120
CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "exim"
address = "unix:{dir}/state/exim.sock"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/state/postfix.sock"
[greylist]
delay = "120s"
unnamed_delay = "120s"
[log]
to = "{dir}/state/decisions"
"""
_PATIENCE = 120
_MOST_KEPT = 20_000
"""Of so many senders the answers are remembered."""
_KNOWN = {"early", "retry", "known", "same-message"}
_DIAGNOSTIC = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (info|warning|error|critical) |multigrey: ")


def question(number: int) -> bytes:
    """What sender `number` asks at Exim's door."""
    address = f"{10 + (number >> 16) % 80}.{number >> 8 & 255}.{number & 255}.1"
    lines = [f"client_address={address}", f"sender=s{number}@example.org", f"recipient=r{number}@example.net"]
    return "\n".join(["multigrey/1", *lines, "", ""]).encode()


def reason_of(reply: str) -> str:
    """The reason in an answer of Exim's door; "" without an answer."""
    found = re.search(r" reason=(\S+)", reply)
    return found[1] if found else ""


def talk(path: Path, data: bytes) -> str:
    """One request on a connection of its own; "" when the daemon has gone."""
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(ConnectionError):
        sock.settimeout(_PATIENCE)
        sock.connect(str(path))
        sock.sendall(data)
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    return ""


def control(sockets: Path, name: str, **options: Any) -> list[dict[str, Any]]:
    """Ask the control socket in a folder; returns all lines of the answer (none: the daemon has gone)."""
    request = json.dumps({"multigrey": 1, "id": 1, "ask": name, "with": options}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(ConnectionError, FileNotFoundError):
        sock.settimeout(_PATIENCE)
        sock.connect(str(sockets / "control.sock"))
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in sock.makefile()]
    return []


class Witness:
    """What one daemon, started again and again on the same directory, has said."""

    def __init__(self, daemon: Daemon, seed: int = 1) -> None:
        self.daemon = daemon
        self.sockets = daemon.directory / "state"
        self.deferred: set[int] = set()
        self.passed: set[int] = set()
        self.untold: list[str] = []
        """Answers that are no answer of this door."""
        self.answers = 0
        self.errors = 0
        """Answers by on_error."""
        self.seen: Callable[[int], None] = lambda number: None
        """Called with the number of a sender when its first deferral or pass was answered."""
        self._chance = random.Random(seed)
        self._forgotten: set[int] = set()
        self._next = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._read = 0

    def ask(self, number: int) -> str:
        """One attempt of a sender; returns the reason."""
        reply = talk(self.sockets / "exim.sock", question(number))
        reason = reason_of(reply)
        with self._lock:
            self.answers += bool(reason)
            if reason == "error":
                self.errors += 1
            elif number in self._forgotten or number > _MOST_KEPT:
                pass
            elif reason == "retry":
                self.passed.add(number)
                self.seen(number)
            elif reply.startswith("action=defer"):
                if number not in self.deferred:
                    self.deferred.add(number)
                    self.seen(number)
            elif reply and reason not in _KNOWN:
                self.untold.append(reply)
        return reason

    def control(self, name: str, **options: Any) -> list[dict[str, Any]]:
        """See the function."""
        return control(self.sockets, name, **options)

    def stranger(self) -> str:
        """An attempt of a new sender."""
        with self._lock:
            self._next += 1
            number = self._next
        return self.ask(number)

    def attempts(self, count: int) -> list[str]:
        """New senders and old ones, mixed, eight at a time; returns the reasons."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda _: self._attempt(), range(count)))

    def forget(self, count: int) -> None:
        """Have a few of the deferred senders forgotten; from now on nothing is expected of them."""
        with self._lock:
            some = list(self.deferred)[:count]
            self._forgotten.update(some)
            self.deferred.difference_update(some)
            self.passed.difference_update(some)
        for number in some:
            self.control("records.forget", sender=f"s{number}@example.org")

    @contextmanager
    def load(self, threads: int = 4) -> Iterator[None]:
        """Attempts of all kinds while the block runs, and until the daemon has gone."""
        self._stop.clear()
        workers = [threading.Thread(target=self._work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            self._stop.set()
            for worker in workers:
                worker.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._attempt()
            except OSError:
                return

    def _attempt(self) -> str:
        known = self._next
        if known and self._chance.random() < 0.4:
            return self.ask(self._chance.randint(1, min(known, self._chance.choice([known, 200]))))
        return self.stranger()

    def lost(self) -> list[str]:
        """What was answered and is not known any more.  The daemon runs, and nothing fails."""
        passed = frozenset(self.passed)
        numbers = sorted(self.deferred | passed)
        with ThreadPoolExecutor(8) as pool:
            reasons = list(pool.map(self.ask, numbers))
        return [
            f"{number}: {'passed' if number in passed else 'deferred'}, now {reason or 'no answer'}"
            for number, reason in zip(numbers, reasons, strict=True)
            if reason not in ({"known"} if number in passed else _KNOWN)
        ]

    def odd_lines(self) -> list[str]:
        """New lines of the daemon that it must never write: tracebacks, forged and torn ones."""
        odd = list(self.untold)
        self.untold.clear()
        text = self.daemon.stderr()
        odd += [line for line in text[self._read :].splitlines() if not _DIAGNOSTIC.match(line)]
        self._read = len(text)
        decisions = self.daemon.directory / "state" / "decisions"
        if decisions.exists():
            lines = decisions.read_text(errors="surrogateescape").split("\n")[:-1]
            for line, following in pairwise([*lines, ""]):
                try:
                    parse_line(line)
                except ValueError as error:
                    # After a short write the whole line is written once more, on a line of its own.
                    if not following.startswith(line):
                        odd.append(str(error))
        return odd
