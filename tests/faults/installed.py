"""Plugins of the project as they are when they are installed, for a daemon in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.daemon import ROOT

__all__ = ["EARLY", "installed"]

EARLY = {
    "spf": "encodings.idna, dns.asyncresolver, dns.rdtypes.ANY.TXT, multigrey_spf",
    "web": "encodings.unicode_escape, encodings.latin_1, encodings.idna, anyio._backends._trio, h11, "
    "h2.connection, multigrey_web.service, wsproto",
}
"""What each imports late.  Root's daemon becomes another user, who may not read root's Python."""


def installed(directory: Path, *names: str) -> dict[str, str]:
    """The environment of a daemon that has these plugins."""
    paths = [directory / "site"]
    for name in names:
        info = directory / "site" / f"multigrey_{name}-0.1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: multigrey-{name}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[multigrey]\n{name} = multigrey_{name}\n")
        paths.append(ROOT / "plugins" / f"multigrey-{name}")
    early = "".join(f"import {EARLY[name]}\n" for name in names)
    (directory / "site" / "sitecustomize.py").write_text(early)
    return {"PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT]))}
