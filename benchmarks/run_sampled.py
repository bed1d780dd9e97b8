"""`multigrey` under a sampler: python -m benchmarks.run_sampled FILE serve …

From SIGUSR2 on, a signal interrupts the main thread after each bit of processor time (a millisecond, or what
the kernel's clock allows), and the functions on its stack are noted: the innermost one as running, all of
them as present.  Python runs the handler between two bytecodes, so time in C counts for the Python function
that called it.  Other threads are not looked at, but their processor time brings the signal sooner.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from multigrey.__main__ import main

EVERY = 0.001
LINES = 40


class Sampler:
    """Counts what is on the stack."""

    def __init__(self) -> None:
        self.running: Counter[CodeType] = Counter()
        self.lines: Counter[tuple[CodeType, int]] = Counter()
        self.present: Counter[CodeType] = Counter()
        self.samples = 0

    def note(self, _number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if frame is None:
            return
        self.samples += 1
        self.running[frame.f_code] += 1
        self.lines[frame.f_code, frame.f_lineno] += 1
        on_stack = set()
        while frame is not None:
            on_stack.add(frame.f_code)
            frame = frame.f_back
        self.present.update(on_stack)

    def text(self) -> str:
        """Functions by their own time, then single lines."""
        total = max(self.samples, 1)
        rows = [f"{self.samples} samples", "  self  with callees  function"]
        rows += [
            f"{count / total:6.1%}  {self.present[code] / total:6.1%}        {_name(code)}"
            for code, count in self.running.most_common(LINES)
        ]
        rows.append("  self  line")
        rows += [
            f"{count / total:6.1%}  {_name(code)} line {line}"
            for (code, line), count in self.lines.most_common(LINES)
        ]
        return "\n".join([*rows, ""])


def _name(code: CodeType) -> str:
    path = Path(code.co_filename)
    return f"{path.parent.name}/{path.name}:{code.co_firstlineno} {code.co_qualname}"


if __name__ == "__main__":
    output = Path(sys.argv.pop(1))
    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler.note)
    signal.signal(signal.SIGUSR2, lambda _number, _frame: signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY))
    try:
        main()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        output.write_text(sampler.text())
