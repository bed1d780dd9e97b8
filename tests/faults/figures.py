"""What a process and its state directory take, in octets and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["Figures", "figures"]


class Figures(NamedTuple):
    """Sizes in octets."""

    anonymous: int
    """Memory that no file stands behind: all that can leak."""
    resident: int
    """With the pages of mapped files that happen to be in memory."""
    descriptors: int
    threads: int
    store: int
    """The store's file and its journal: the blocks they have."""
    history: int

    def __str__(self) -> str:
        memory = f"{self.anonymous / 1e6:.1f} MB anonymous, {self.resident / 1e6:.1f} MB resident"
        files = f"store {self.store / 1e6:.1f} MB, history {self.history / 1e6:.1f} MB"
        return f"{memory}, {files}, {self.descriptors} descriptors, {self.threads} threads"


def figures(pid: int, state: Path) -> Figures:
    """Of a process on Linux, and of the files in a state directory."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    kilobytes = {name: int(status[name].split()[0]) * 1024 for name in ("RssAnon", "VmRSS")}
    sizes = [
        sum(path.stat().st_blocks * 512 for path in state.glob(name)) for name in ("store.*", "history.*")
    ]
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Figures(kilobytes["RssAnon"], kilobytes["VmRSS"], descriptors, int(status["Threads"]), *sizes)
