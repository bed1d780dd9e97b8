"""The entry point of `multigrey` and `python -m multigrey`."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress

__all__ = ["main"]


def main() -> None:
    """Run the command line.  Ends the process with the exit status of the command."""
    if "serve" in sys.argv[1:2]:
        # Before the imports, which take most of a start: a reload or a rotated log must not end a daemon that
        # is starting.  It sets its own handlers when it serves.
        for number in (signal.SIGHUP, signal.SIGUSR1):
            with suppress(ValueError):  # not in the main thread, as in tests
                signal.signal(number, signal.SIG_IGN)
    from multigrey import cli  # noqa: PLC0415  (see above)

    cli.main(prog_name="multigrey")


if __name__ == "__main__":
    main()
