"""Clocks that stand still until told."""

from __future__ import annotations

from pathlib import Path

START = 1_000_000_000


class FakeClock:
    """Both clocks move together by `advance`; `step` moves the wall clock alone, as an operator would."""

    def __init__(self, now: int = START) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: int) -> None:
        self._now += seconds
        self._monotonic += seconds

    def step(self, seconds: int) -> None:
        self._now += seconds


class FileClock:
    """Both clocks, read from a file, for daemons in another process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> int:
        return int(self._path.read_text().split()[0])

    def monotonic(self) -> float:
        return float(self._path.read_text().split()[-1])

    def set(self, seconds: int) -> None:
        """Both clocks show this."""
        self._write(seconds, seconds)

    def advance(self, seconds: int) -> None:
        self._write(self.now() + seconds, int(self.monotonic()) + seconds)

    def step(self, seconds: int) -> None:
        """Move the wall clock alone."""
        self._write(self.now() + seconds, int(self.monotonic()))

    def _write(self, wall: int, monotonic: int) -> None:
        # Atomically, so that a reader never finds half a number.
        new = self._path.with_suffix(".new")
        new.write_text(f"{wall} {monotonic}")
        new.replace(self._path)
