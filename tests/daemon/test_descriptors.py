"""Connections never take the descriptors that the daemon itself needs."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from multigrey.daemon.descriptors import RESERVED, connections_that_fit

INFINITE = resource.RLIM_INFINITY


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch):
    """The limits of open files as the test sets them; 20 descriptors are open."""
    values = [1024, 524_288]
    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(values))

    def setrlimit(which, pair):
        assert pair[1] == values[1]
        values[:] = pair

    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(["0"] * 20))
    return values


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "fit", "raised"),
    [
        (1024, 524_288, 500, 500, 1024),
        (1024, 524_288, 1000, 1000, 1000 + 20 + RESERVED),
        (1024, 1024, 1000, 1024 - 20 - RESERVED, 1024),
        (1024, 1050, 1000, 1050 - 20 - RESERVED, 1050),
        (256, INFINITE, 1000, 1000, 1000 + 20 + RESERVED),
        (INFINITE, INFINITE, 1_000_000, 1_000_000, INFINITE),
        (64, 64, 1000, 22, 64),  # too little for a reserve: half of it
        (16, 16, 1000, 1, 16),
    ],
)
def test_the_limit_is_raised_as_far_as_needed(limits, caplog, soft, hard, wanted, fit, raised):
    limits[:] = soft, hard
    assert connections_that_fit(wanted) == fit
    assert limits == [raised, hard]
    assert (f"only {fit} fit" in caplog.text) == (fit < wanted)


def test_open_connections_are_no_descriptors_of_its_own(limits):
    limits[:] = 100, 100
    assert connections_that_fit(1000, connected=15) == 100 - 5 - RESERVED


def test_a_limit_that_cannot_be_raised_is_kept(limits, monkeypatch, caplog):
    def refuse(which, pair):
        raise OSError("not permitted")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert connections_that_fit(1000) == 1024 - 20 - RESERVED
    assert "LimitNOFILE" in caplog.text


def test_without_proc_the_usual_number_is_taken(limits, monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "iterdir", missing)
    limits[:] = 100, 100
    assert connections_that_fit(1000) == max(100 - 32 - RESERVED, (100 - 32) // 2)
