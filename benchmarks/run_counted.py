"""`multigrey` under cProfile: python -m benchmarks.run_counted FILE serve …

Counts from SIGUSR2 on, in the main thread.
"""

from __future__ import annotations

import cProfile
import signal
import sys

from multigrey.__main__ import main

if __name__ == "__main__":
    output = sys.argv.pop(1)
    profiler = cProfile.Profile()
    signal.signal(signal.SIGUSR2, lambda _number, _frame: profiler.enable())
    try:
        main()
    finally:
        profiler.disable()
        profiler.dump_stats(output)
