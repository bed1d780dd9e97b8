"""Reads a TOML whitelist in a process of its own: seconds, megabytes, and microseconds for a look-up.

    python -m benchmarks.read_list DIRECTORY ENTRIES

Prints one line of JSON.  Seconds are those of the processor, so that a busy machine gives the same figure.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from ipaddress import ip_address
from pathlib import Path

from multigrey.contracts import SourceOptions
from multigrey.model import Attempt, Origin
from multigrey.whitelists.list_source import entry_list

LOOK_UPS = 20_000


def main() -> None:
    """Write the list, read it, and look up clients in it."""
    directory, number = Path(sys.argv[1]), int(sys.argv[2])
    path = directory / "long.toml"
    with path.open("w") as file:
        file.writelines(map(_entry, range(number)))
    path.chmod(0o644)
    options = SourceOptions(path, "bench", lambda: 0, lambda _: Origin("", named=False))
    before, begun = _most_memory(), time.process_time()
    made = entry_list(options)
    seconds, used = time.process_time() - begun, _most_memory() - before
    last = (number - 1) // 3 * 3
    found = _microseconds(made.match, f"mx.host{last}.example.org")
    missed = _microseconds(made.match, "mx.example.com")
    print(json.dumps({"seconds": seconds, "megabytes": used, "found": found, "missed": missed}))


def _entry(number: int) -> str:
    """One of three kinds: a name, an address, a name with a sender's domain."""
    kind = number % 3
    if kind == 0:
        match = f'client = ".host{number}.example.org"'
    elif kind == 1:
        match = f'client = "10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"'
    else:
        match = f'client = ".mx{number}.example.net"\nsender_domain = "news{number}.example"'
    return f'[[entry]]\n{match}\nreason = "Partner number {number} asked for it"\nadded = 2026-11-22\n\n'


def _microseconds(match: object, name: str) -> float:
    attempt = Attempt("", ip_address("192.0.2.1"), name, name, "a@example.net", "b@example.com")
    assert callable(match)
    begun = time.process_time()
    for _ in range(LOOK_UPS):
        match(attempt)
    return (time.process_time() - begun) * 1e6 / LOOK_UPS


def _most_memory() -> float:
    """The most megabytes that this process has ever used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
