"""Any octets: each reader takes or refuses them, and nothing of them gets out.  See tests/faults/fuzz.py."""

from __future__ import annotations

import random
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from multigrey.events import line
from tests.faults import fuzz as fuzzing
from tests.faults.fuzz import fuzz, main, mutated
from tests.faults.fuzz_targets import TARGETS, seeds
from tests.faults.witness import CONFIG, LONG, Witness
from tests.support.daemon import Daemon

COUNT = 100_000 if LONG else 1_000
AT_DAEMON = 100_000 if LONG else 600


@pytest.mark.timeout(3600 if LONG else 60)
@pytest.mark.parametrize("target", TARGETS)
def test_any_octets(target: str):
    count = max(COUNT // fuzzing.SLOW.get(target, 1), 30)
    fuzz(target, count, random.randrange(1 << 30) if LONG else 1)


def test_every_target_has_seeds_that_mean_something():
    assert [target for target in TARGETS if not seeds(target)] == []


@pytest.mark.parametrize("target", ["exim", "postfix"])
def test_a_line_that_can_be_forged_is_found(target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The negative control: a log that does not escape what it quotes."""
    monkeypatch.setattr(line, "_quoted", lambda value: value)
    monkeypatch.setattr(fuzzing, "KEPT", tmp_path)
    with pytest.raises((AssertionError, ValueError)):
        fuzz(target, 20_000, 1)
    assert (tmp_path / f"{target}-failed").exists()


@pytest.mark.timeout(3600 if LONG else 60)
def test_a_real_daemon(short_directory: Path):
    """The same inputs at its sockets: it stays, and no operation fails by a bug."""
    doors = ["exim", "postfix", "control"]
    corpora = {door: [data[1:] for data in seeds(door)] for door in doors}
    chance, said = random.Random(1), b""
    with Daemon(short_directory, CONFIG, user="nobody") as daemon:
        witness = Witness(daemon)
        assert witness.stranger() == "new"
        for number in range(AT_DAEMON):
            door = doors[number % 3]
            said += talk(short_directory / "state" / f"{door}.sock", mutated(corpora[door], chance))
        assert b'"code": "internal"' not in said
        assert b'"answer"' in said
        assert b"action=" in said
        assert witness.lost() == []
        assert witness.odd_lines() == []


def talk(path: Path, data: bytes) -> bytes:
    """What is answered to some octets; the daemon may end the connection before it has read them."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))
        except ConnectionError:
            return b""


@pytest.mark.skipif(not find_spec("atheris"), reason="needs Atheris (pip install atheris)")
@pytest.mark.parametrize("target", ["control", "exim"])
def test_guided(target: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["fuzz", "--count", "2000", target])
    main()
    assert "2000 inputs" in capfd.readouterr().out


def test_mutated_inputs_differ_and_are_bounded():
    chance = random.Random(1)
    made = {mutated([b"abc", b"x" * 10_000], chance) for _ in range(500)}
    assert len(made) > 300
    assert max(map(len, made)) <= fuzzing.LONGEST
