"""`multigrey backup`: one archive with everything, streamed by the daemon and written by the caller."""

from __future__ import annotations

import json
import os
import sys
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from multigrey.cli.client import EXIT_NO, common_options, refuse, show, stream
from multigrey.cli.store import octets
from multigrey.text import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["backup"]

_DASH = Path("-")
Item = Mapping[str, Any]
_CONTENT = {
    "state/store.mdb": "the records",
    "state/history.mdb": "the history",
    "configuration/": "the configuration with its lists",
    "state/site.key": "the site key: keep it where only you can read it",
}
"""By what names of parts begin with: what they are."""


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--replace", is_flag=True, help="Replace FILE if it is an existing file.")
@click.option("--without-key", is_flag=True, help="Leave the site key out: keep it somewhere else.")
@common_options
def backup(config: Path | None, json_: bool, path: Path, *, replace: bool, without_key: bool) -> None:
    """Write one archive to FILE, for multigrey restore.

    It is a tar.gz with the records, the site key, the history, the configuration and its lists.  If FILE is a
    directory, the archive gets a name of host and time there; - is standard output.  The daemon keeps
    answering meanwhile, and sends what it has: you write the file, so it can be anywhere you may write.  It
    has mode 0600, because it names senders and recipients and holds the site key.

    Files that plugins name are not in it, because they may hold passwords; the configuration may hold some.
    What cannot be read is left out and named.

    Exit status: 0 when the archive is complete, 1 when it could not be written or something was left out, 2
    for a wrong configuration or command line, 3 when there is neither a daemon nor a store, 4 when not
    allowed.
    """
    if path == _DASH and sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal: name a file, or redirect it")
    options = {"without_key": True} if without_key else {}
    items = stream(config, "backup", options)
    about = next(items)
    target = path / _name(about["time"]) if path.is_dir() and path != _DASH else path
    parts: list[Mapping[str, Any]] = []
    try:
        with _opened(target, replace=replace) as file:
            left_out = _write(file, about, items, parts)
        size = 0 if target == _DASH else target.stat().st_size
    except OSError as error:
        refuse(f"{target}: {error.strerror or error}")
    result = {"path": str(target), "size": size, "parts": parts, "left_out": left_out}
    if target != _DASH:
        show(result, json_, _show)
    for each in left_out:
        click.echo(f"multigrey: {printable(each['path'])}: left out: {printable(each['why'])}", err=True)
    if left_out:
        sys.exit(EXIT_NO)


def _name(time: int) -> str:
    stamp = datetime.fromtimestamp(time, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"multigrey-{os.uname().nodename.partition('.')[0]}-{stamp}.tar.gz"


@contextmanager
def _opened(target: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """The file to write, which gets its name (mode 0600) when the body has ended well.  Raises OSError."""
    if target == _DASH:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(target) and not (replace and target.is_file() and not target.is_symlink()):
        refuse(f"{target}: exists already" + ("" if replace else ": choose another name, or --replace"))
    descriptor, draft = mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)  # before the rename: the name must never stand for a part of it
        Path(draft).rename(target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)  # noqa: PTH108  (a text)


def _write(file: BinaryIO, about: Item, items: Iterator[Item], parts: list[Item]) -> list[dict[str, str]]:
    """Write the archive; returns what was left out.  Raises OSError."""
    from multigrey.archive.names import ABOUT
    from multigrey.archive.tar import ArchiveError, ArchiveWriter

    archive = ArchiveWriter(file, about["time"])
    text = json.dumps(about, indent=2).encode()
    archive.add(ABOUT, len(text), [text])
    try:
        while "part" in (item := next(items, {})):
            parts.append({"name": item["part"], "size": item["size"]})
            archive.add(item["part"], item["size"], _content(items, item["size"]))
    except ArchiveError as error:
        refuse(str(error))
    archive.close()
    return list(item["left_out"])


def _content(items: Iterator[Mapping[str, Any]], size: int) -> Iterator[bytes]:
    left = size
    while left > 0:
        data = b64decode(next(items, {}).get("data", ""))
        if not data:
            return
        left -= len(data)
        yield data


def _show(out: Console, result: Mapping[str, Any]) -> None:
    out.print(f"{result['path']}: {octets(result['size'])}", soft_wrap=True)
    names = [part["name"] for part in result["parts"]]
    has = [text for begin, text in _CONTENT.items() if any(name.startswith(begin) for name in names)]
    out.print(f"it has {', '.join(has)}", soft_wrap=True)
    if "state/site.key" not in names:
        out.print("it is of no use without the site key: keep site.key, too", soft_wrap=True)
