"""The documentation as a web site: every manual page as HTML, one index, one style sheet; nothing is fetched.

    python -m man.site DIRECTORY

`make site` calls it.  mandoc makes the pages; it is taken from PATH or unpacked from Debian's archive.
"""
# ruff: noqa: INP001  (man/ is not a package; `python -m man.site` runs from the checkout)

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from man.regions import PAGES, PLUGIN_PAGES
from multigrey import __version__
from tests.support.debian import library_path, unpack

__all__ = ["PARTS", "build", "main"]

PARTS: Sequence[tuple[str, Sequence[str]]] = (
    ("Begin", ("multigrey-tutorial.7", "multigrey-faq.7")),
    ("Mail servers", ("multigrey-postfix.7", "multigrey-exim.7")),
    ("The command", (".1",)),
    ("The daemon and its configuration", ("multigrey.8", ".5")),
    ("For programs", (".7",)),
)
"""The headings of the index, and the pages under each: their names, or their endings."""

_OTHERS = "https://manpages.debian.org/%N.%S"
"""A link, followed only by a reader who clicks it, to the pages that other programs have."""
_STYLE = """\
:root { color-scheme: light dark; --line: #8886; --link: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --link: #8ab4f8; } }
body { font: 1rem/1.55 system-ui, sans-serif; max-width: 48rem; margin: 0 auto; padding: 1rem; }
a { color: var(--link); }
h1 { font-size: 1.35rem; margin-top: 2.2rem; } h2 { font-size: 1.1rem; }
.permalink { color: inherit; text-decoration: none; }
pre, code { font-family: ui-monospace, monospace; font-size: .92em; }
pre { overflow-x: auto; padding: .6rem .8rem; border-left: 3px solid var(--line); }
table.head, table.foot { width: 100%; color: GrayText; font-size: .85rem; }
.head-vol, .foot-date { text-align: center; } .head-rtitle, .foot-os { text-align: right; }
dt { margin-top: .7rem; } dd { margin-left: 2rem; }
.Bd-indent { margin-left: 1rem; }
table.Nm { display: block; overflow-x: auto; } td { vertical-align: top; }
"""


def build(directory: Path) -> list[Path]:
    """Write the site into a directory, which may exist; return its files.

    Raises DebianError where mandoc can neither be found nor unpacked, CalledProcessError if it fails.
    """
    directory.mkdir(parents=True, exist_ok=True)
    program, environment = _mandoc()
    sources = [*PAGES, *PLUGIN_PAGES]
    form = f"man=./%N.%S.html;{_OTHERS},style=style.css,toc"
    with TemporaryDirectory() as beside:
        # mandoc takes a manual page for one of another program if its source is not in the working directory.
        for source in sources:
            shutil.copy(source, beside)
        for source in sources:
            command = [program, "-T", "html", "-O", form, source.name]
            made = subprocess.run(  # noqa: S603  (a program of this machine, on our own pages)
                command, cwd=beside, env=environment, capture_output=True, check=True
            )
            (directory / f"{source.name}.html").write_bytes(_with_way_back(made.stdout))
    (directory / "style.css").write_text(_STYLE)
    (directory / "index.html").write_text(_index(sources))
    return sorted(directory.iterdir())


def _mandoc() -> tuple[Path, dict[str, str]]:
    if (found := shutil.which("mandoc")) is not None:
        return Path(found), {**os.environ, "LC_ALL": "C.UTF-8"}
    root = unpack("mandoc", "mandoc")
    return root / "usr/bin/mandoc", {"LD_LIBRARY_PATH": library_path(root), "LC_ALL": "C.UTF-8"}


def _with_way_back(page: bytes) -> bytes:
    return page.replace(b"<body>", b'<body>\n<p><a href="index.html">multigrey</a></p>', 1)


def _index(sources: Sequence[Path]) -> str:
    rest = {source.name: _about(source) for source in sources}
    return "".join(
        f"{line}\n"
        for line in (
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1.0"/>',
            '<link rel="stylesheet" href="style.css"/><title>multigrey</title></head>',
            "<body>",
            "<h1>multigrey</h1>",
            "<p>Greylisting: an unknown sender is asked once to come back a little later.</p>",
            f"<p>This is the manual of version {__version__}.</p>",
            *_parts(rest),
            "</body>",
            "</html>",
        )
    )


def _parts(rest: dict[str, str]) -> Iterator[str]:
    for heading, names in PARTS:
        yield f"<h2>{heading}</h2>"
        yield "<ul>"
        for name in names:
            for page in [page for page in rest if page == name or (name[0] == "." and page.endswith(name))]:
                title, _, number = page.rpartition(".")
                yield f'<li><a href="{page}.html">{title}({number})</a>: {html.escape(rest.pop(page))}</li>'
        yield "</ul>"
    assert not rest, f"no heading for {', '.join(rest)}"


def _about(source: Path) -> str:
    found = re.search(r"(?m)^\.Nd (.*)$", source.read_text())
    assert found is not None, source
    return found[1].replace("\\-", "-").replace("\\(dq", '"')


def main(arguments: Sequence[str]) -> int:
    """Build the site and print where its first page is."""
    (directory,) = map(Path, arguments)
    build(directory)
    sys.stdout.write(f"{directory / 'index.html'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
