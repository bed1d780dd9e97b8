"""For a daemon whose disk is to be full: from SIGWINCH on no file of it can grow (see test_fail_open.py).

Python imports a module of this name by itself, from PYTHONPATH.
"""

from __future__ import annotations

import resource
import signal


def _fill(number: int, frame: object) -> None:
    del number, frame
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


signal.signal(signal.SIGWINCH, _fill)
