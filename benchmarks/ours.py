"""multigrey, and the trio server that only echoes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import Server, spawn

__all__ = ["CHECKOUT", "SERVICE_USER", "start_echo", "start_multigrey", "start_watching", "write_config"]

CHECKOUT = Path(__file__).resolve().parents[1]
SERVICE_USER = "nobody"
"""Whom multigrey becomes when the benchmarks run as root."""
PROTOCOLS = ("postfix", "exim", "greylistd")
SERVE = ("-m", "multigrey")


def write_config(
    directory: Path, *, lists: Sequence[tuple[str, Path]] = (), more: Sequence[str] = ()
) -> Path:
    """A configuration with everything as shipped, but for a delay of one second.

    `lists` are whitelists: (source, path); `more` are further lines.  The decision log goes to a file.
    """
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    run = directory / "run"
    run.mkdir(exist_ok=True)
    state = directory / "state"
    state.mkdir(exist_ok=True, mode=0o700)
    logs = directory / "log"
    logs.mkdir(exist_ok=True)
    lines = [f'state_dir = "{state}"']
    if os.getuid() == 0:
        lines.append(f'user = "{SERVICE_USER}"')
        logs.chmod(0o777)
    lines += ["[greylist]", 'delay = "1s"', 'unnamed_delay = "1s"', "[log]", f'to = "{logs / "decisions"}"']
    for protocol in PROTOCOLS:
        lines += ["[[listen]]", f'protocol = "{protocol}"', f'address = "unix:{run / protocol}"']
    for source, path in lists:
        lines += ["[[whitelist]]", f'source = "{source}"', f'path = "{path}"']
    lines += more
    config = directory / "multigrey.toml"
    config.write_text("\n".join([*lines, ""]))
    return config


def start_multigrey(config: Path, core: int | None, *, serve: Sequence[str] = SERVE) -> Server:
    """The daemon; `serve` may put a profiler between Python and the program."""
    directory = config.parent
    log = directory / "multigrey.log"
    process = spawn([sys.executable, *serve, "serve", "--config", config], core=core, log=log, cwd=CHECKOUT)
    addresses = {protocol: f"unix:{directory / 'run' / protocol}" for protocol in PROTOCOLS}
    return Server("multigrey", process, addresses, log)


def start_watching(config: Path, core: int | None) -> Server:
    """An administrator who looks at every decision (`multigrey watch`)."""
    log = config.parent / "watch.log"
    command = [sys.executable, "-m", "multigrey", "watch", "--json", "--config", config]
    return Server("watch", spawn(command, core=core, log=log, cwd=CHECKOUT), {}, log)


def start_echo(directory: Path, core: int | None) -> Server:
    """The server that only answers."""
    addresses = {"postfix": f"unix:{directory / 'echo-policy'}", "exim": f"unix:{directory / 'echo-one'}"}
    log = directory / "echo.log"
    command = [sys.executable, "-m", "benchmarks.echo", *addresses.values()]
    return Server("bare trio", spawn(command, core=core, log=log, cwd=CHECKOUT), addresses, log)
