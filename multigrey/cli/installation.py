"""The changes that `multigrey setup` makes to a host, each with the way back.

A change says what it does as a shell would, does it, and notes what is needed to undo it: a row of JSON that
only holds texts.  What a file held before is noted whole; one that was changed since stays as it is.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multigrey.errors import MultigreyError

__all__ = ["Call", "Change", "Link", "SetupError", "Text", "undo"]

Note = Mapping[str, str | None]


class SetupError(MultigreyError):
    """A change cannot be made, or not be undone."""


@dataclass(frozen=True)
class Text:
    """A file with a content."""

    path: Path
    content: str
    then: Sequence[str] = ()
    """Commands that are run after each change of the file, also after it was put back."""

    def __str__(self) -> str:
        return "; ".join([f"write {self.path}", *self.then])

    def is_there(self) -> bool:
        """Whether the file holds this already."""
        return _content(self.path) == self.content

    def make(self) -> Note:
        """Write the file, its directory included, in one step.  Raises SetupError."""
        before = _content(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            _replace(self.path, self.content)
        except OSError as error:
            raise SetupError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        for command in self.then:
            run(shlex.split(command))
        return {
            "kind": "text",
            "path": str(self.path),
            "content": self.content,
            "before": before,
            "then": "\n".join(self.then),
        }


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: Path
    target: Path

    def __str__(self) -> str:
        return f"ln -s {self.target} {self.path}"

    def is_there(self) -> bool:
        """Whether the link exists."""
        return self.path.is_symlink() and self.path.readlink() == self.target

    def make(self) -> Note:
        """Make the link.  Raises SetupError if something else is there."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            self.path.symlink_to(self.target)
        except OSError as error:
            raise SetupError(f"{self.path}: cannot be made: {error.strerror or error}") from error
        return {"kind": "link", "path": str(self.path), "target": str(self.target)}


@dataclass(frozen=True)
class Call:
    """A command that is run, and the one that takes it back ("": none is needed)."""

    words: Sequence[str]
    back: Sequence[str] = ()
    is_done: Callable[[], bool] = lambda: False

    def __str__(self) -> str:
        return shlex.join(self.words)

    def is_there(self) -> bool:
        """Whether it need not be run."""
        return self.is_done()

    def make(self) -> Note:
        """Run it to its end.  Raises SetupError."""
        run(self.words)
        return {"kind": "command", "back": shlex.join(self.back)}


Change = Text | Link | Call


def run(words: Sequence[str]) -> str:
    """The output of a command.  Raises SetupError with what it wrote if it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  (words of ours)
    except OSError as error:
        raise SetupError(f"{shlex.join(words)}: {error.strerror or error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise SetupError(f"{shlex.join(words)} ended with status {done.returncode}: {said}")
    return done.stdout


def undo(note: Note) -> str:
    """Take one change back.  Returns what was done, as a shell would, or why not.  Raises SetupError."""
    if note["kind"] == "command":
        back = shlex.split(note["back"] or "")
        if back:
            run(back)
        return shlex.join(back)
    path = Path(str(note["path"]))
    try:
        return _undo_link(path, note) if note["kind"] == "link" else _undo_text(path, note)
    except OSError as error:
        raise SetupError(f"{path}: cannot be put back: {error.strerror or error}") from error


def _undo_link(path: Path, note: Note) -> str:
    if not path.is_symlink() or str(path.readlink()) != note["target"]:
        return f"{path}: was changed since, and stays"
    path.unlink()
    return f"rm {path}"


def _undo_text(path: Path, note: Note) -> str:
    now, before = _content(path), note["before"]
    if now is None:
        return f"{path}: is gone already"
    if now != note["content"]:
        return f"{path}: was changed since, and stays: look for multigrey in it"
    if before is None:
        path.unlink()
    else:
        _replace(path, before)
    then = (note["then"] or "").splitlines()
    for command in then:
        run(shlex.split(command))
    return "; ".join([f"rm {path}" if before is None else f"write {path} as it was", *then])


def _content(path: Path) -> str | None:
    """What a file holds; None: there is none.  Raises SetupError."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: cannot be read: {error}") from error


def _replace(path: Path, content: str) -> None:
    """Write a file in one step; an existing one keeps its mode and owner."""
    new = path.with_name(f"{path.name}.multigrey-new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "w") as file:
            if path.exists():
                status = path.stat()
                os.fchown(descriptor, status.st_uid, status.st_gid)
                os.fchmod(descriptor, status.st_mode & 0o7777)
            else:
                os.fchmod(descriptor, 0o644)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
