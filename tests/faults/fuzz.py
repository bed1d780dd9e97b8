"""Fuzzes all that reads octets from outside: dialogues, the control protocol, log lines, and files.

    python -m tests.faults.fuzz --count 10000000
    python -m tests.faults.fuzz --count 100000 postfix config

Inputs begin with those of tests/faults/corpus and of other tests.  Where Atheris is installed (`pip install
atheris`; it is no dependency) they are guided by what they reach in the package, and what reached more is
kept in .cache/fuzz.  Without it they are mutated blindly, which finds less with as many inputs.  An input
that fails is kept there as TARGET-failed: put it into the corpus with the mend.
"""

from __future__ import annotations

import argparse
import logging
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click

__all__ = ["fuzz", "mutated"]

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".cache" / "fuzz"
LONGEST = 4096
SLOW = {"config": 100, "whitelist": 10, "postgrey-clients": 10, "postgrey-recipients": 10, "rehearsal": 3}
"""How many times as long as others these targets take: they get as many times fewer inputs."""
_WORDS = [
    *[b"\n", b"\n\n", b"\r\n", b"\0", b"=", b'"', b"\\", b"[", b"]", b"{", b"}", b"<>", b"@", b" ", b"\xff"],
    *["\u202e".encode(), "\u2028".encode(), "\u00df".encode(), b"\xed\xa0\x80", b"\x1b[2J", b"-1", b"1e999"],
    *[b"9" * 20, b"A" * 300, b"[" * 200, "\u0300\u0323".encode() * 30, b"SRS0=a=b=c=d@", b"xn--", b"::1"],
]


def mutated(corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """An input made of one or two others."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        end = min(at + chance.randint(0, 16), len(data))
        match chance.randrange(6):
            case 0 if data:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 1:
                data[at:at] = chance.choice(_WORDS)
            case 2:
                del data[at:end]
            case 3:
                other = chance.choice(corpus)
                begin = chance.randint(0, len(other))
                data[at:end] = other[begin : begin + chance.randint(0, 200)]
            case 4:
                data[at:at] = data[at:end] * chance.randint(1, 8)
            case _:
                data[at:end] = chance.randbytes(end - at)
    return bytes(data[:LONGEST])


def fuzz(target: str, count: int, seed: int) -> None:
    """Give a target its seeds and so many mutated inputs.  Raises what it raises."""
    from tests.faults.fuzz_targets import TARGETS, seeds

    corpus, chance, run = [*seeds(target), b""], random.Random(seed), TARGETS[target]
    for number in range(-len(corpus), count):
        data = corpus[number] if number < 0 else mutated(corpus, chance)
        try:
            run(data)
        except BaseException:
            KEPT.mkdir(parents=True, exist_ok=True)
            (KEPT / f"{target}-failed").write_bytes(data)
            raise


def _guided(target: str, count: int) -> None:
    """The same with Atheris, which ends the process."""
    atheris = import_module("atheris")  # this way, because it is no dependency of the tests
    with atheris.instrument_imports(include=["multigrey"]):
        from tests.faults.fuzz_targets import TARGETS, seeds
    kept = KEPT / target
    kept.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(target)):
        (kept / f"seed-{number}").write_bytes(data)
    arguments = [
        f"-runs={count}",
        f"-max_len={LONGEST}",
        "-timeout=10",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup(
        [target, *arguments, f"-artifact_prefix={KEPT}/{target}-failed-", str(kept)], TARGETS[target]
    )
    atheris.Fuzz()


def _shares(targets: Sequence[str], count: int) -> Iterator[tuple[str, int]]:
    whole = sum(1 / SLOW.get(target, 1) for target in targets)
    for target in targets:
        yield target, max(round(count / SLOW.get(target, 1) / whole), 1)


def main() -> None:
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="of inputs in all")
    parser.add_argument("--seed", type=int, default=1, help="of blind mutations")
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args()
    if options.only:
        (target,) = options.targets
        if find_spec("atheris"):
            _guided(target, options.count)
        fuzz(target, options.count, options.seed)
        return
    from tests.faults.fuzz_targets import TARGETS

    for target, count in _shares(options.targets or list(TARGETS), options.count):
        command = [sys.executable, "-m", "tests.faults.fuzz", "--only", target, "--count", str(count)]
        subprocess.run([*command, "--seed", str(options.seed)], cwd=ROOT, check=True)
        click.echo(f"{target}: {count} inputs")


if __name__ == "__main__":
    main()
