"""postgrey and greylistd as Debian ships them, unpacked into a private directory: nothing is installed.

Both run with the durability they have by default and as Debian's service files start them: postgrey in
the foreground, its decision lines going to standard error (here a file, as ours do); greylistd silent
unless there is trouble.  Only the delay differs: one second, so that a run can make triplets known.
"""

from __future__ import annotations

import grp
import os
import pwd
import sys
from pathlib import Path

from benchmarks.machine import Server, spawn
from tests.support.debian import library_path, unpack

__all__ = ["SYSTEM_PYTHON", "start_greylistd", "start_postgrey"]

SYSTEM_PYTHON = Path("/usr/bin/python3")


def start_postgrey(directory: Path, core: int | None) -> Server:
    """postgrey on a unix socket; Postfix's protocol."""
    root = unpack("postgrey", "postgrey")
    data = directory / "postgrey"
    data.mkdir()
    sock, log = directory / "postgrey.sock", directory / "postgrey.log"
    user, group = _who_we_are()
    includes = [root / "usr/share/perl5", *sorted(root.glob("usr/lib/*/perl5/*"))]
    lists = root / "usr/share/postgrey"
    command: list[str | Path] = [
        *("perl", "-T", *(f"-I{path}" for path in includes)),
        root / "usr/sbin/postgrey",
        *(f"--unix={sock}", f"--dbdir={data}", f"--user={user}", f"--group={group}", "--delay=1"),
        f"--whitelist-clients={lists / 'whitelist_clients'}",
        f"--whitelist-recipients={lists / 'whitelist_recipients'}",
    ]
    environment = {"LD_LIBRARY_PATH": library_path(root)}
    process = spawn(command, core=core, log=log, environment=environment)
    return Server("postgrey", process, {"postfix": f"unix:{sock}"}, log)


def start_greylistd(directory: Path, core: int | None) -> Server:
    """greylistd on a unix socket, under Debian's own Python where there is one."""
    root = unpack("greylistd", "greylistd", dependencies=False)
    data = directory / "greylistd"
    data.mkdir()
    sock, log, config = directory / "greylistd.sock", directory / "greylistd.log", data / "config"
    # what the package's own configuration says, but for paths, owner and the first delay
    config.write_text(
        "[timeouts]\nretryMin = 1\nretryMax = 28800\nexpire = 5184000\n"
        f"[socket]\npath = {sock}\nmode = 0660\nowner = {':'.join(_who_we_are())}\n"
        f"[data]\nupdate = 600\nstatefile = {data}/states\ntripletfile = {data}/triplets\n"
        "savetriplets = true\nsinglecheck = false\nsingleupdate = false\n"
    )
    python = SYSTEM_PYTHON if SYSTEM_PYTHON.exists() else Path(sys.executable)
    process = spawn([python, root / "usr/sbin/greylistd", config], core=core, log=log)
    return Server("greylistd", process, {"greylistd": f"unix:{sock}"}, log)


def _who_we_are() -> tuple[str, str]:
    return pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
