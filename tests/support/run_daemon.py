"""The child side of tests.support.daemon: the real wiring, but with the test's clock, if there is one."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from multigrey.cli.serve import prepare_and_run
from multigrey.clock import SystemClock
from multigrey.config.load import load
from tests.support.clocks import FileClock


def main(config: str, directory: str, ready: str, user: str) -> int:
    overrides = {"user": user} if user and os.geteuid() == 0 else {}
    load_config = partial(load, Path(config), os.environ, overrides, uid=os.geteuid())
    descriptor = int(ready)

    def tell() -> None:
        os.write(descriptor, b"ready\n")
        os.close(descriptor)

    file = Path(directory) / "clock"
    clock = FileClock(file) if file.exists() else SystemClock()
    return prepare_and_run(load_config, clock, when_ready=tell)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
