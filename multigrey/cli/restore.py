"""`multigrey restore`: puts a backup in place, while the daemon is stopped."""

from __future__ import annotations

import os
import pwd
import stat
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click

from multigrey.archive.names import ABOUT, CONFIGURATION, STATE
from multigrey.archive.placement import place, present
from multigrey.archive.tar import ArchiveError, Member, about_of, members
from multigrey.cli.client import (
    EXIT_NOT_ALLOWED,
    common_options,
    load_for_asking,
    refuse,
    show,
)
from multigrey.cli.daemon_place import named_state_dir
from multigrey.cli.serve import prepare_state_dir
from multigrey.cli.store import octets
from multigrey.config.defaults import SYSTEM_CONFIG, find_config, state_dir_default
from multigrey.control.endpoint import system_state_dir
from multigrey.daemon.privileges import Identity, become, import_before_dropping_root
from multigrey.errors import MultigreyError
from multigrey.stores.lmdb.state_files import sync_directory
from multigrey.text import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["restore"]

_USER = "multigrey"
"""The user of packages and units, if the configuration names none."""
_SYSTEM_OWN_CONFIG = 0o640
"""The mode of a configuration file that did not exist: it may hold passwords, and the daemon reads it."""


@click.command()
@click.argument("archive", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check the backup, and only say what would be done.")
@click.option("--replace", is_flag=True, help="Replace what exists; without it, nothing is.")
@click.option("--configuration", is_flag=True, help="Restore the configuration and its lists, too.")
@common_options
def restore(
    config: Path | None, json_: bool, archive: Path, *, dry_run: bool, replace: bool, configuration: bool
) -> None:
    """Put back the backup in FILE, with the daemon stopped.

    The whole archive is read and checked first: digests, names, sizes, the store, and whether the site key
    belongs to it.  Then the command says what it does, and does it: all of the state, or nothing.
    A restore that is interrupted has changed nothing, or is completed by the next start.  The files belong to
    the daemon's user afterwards.

    Only with --configuration the configuration file and the lists beside it or below are restored, to where
    this host has its configuration.  Lists in other directories are named, and left in the archive.

    Exit status: 0 when everything is in place, or could be, 1 when FILE or the place does not allow it, 2 for
    a wrong configuration or command line, 4 when not allowed.
    """
    try:
        with _opened(archive) as file:
            found = _Contents.of(file, configuration=configuration)
            plan = _Plan.of(found, config, configuration=configuration)
            _refuse_to_replace(plan, replace=replace)
            if not json_ or dry_run:
                show(_told(archive, found, plan), json_, _show)
            if not dry_run:
                file.seek(0)
                _carry_out(plan, file, replace=replace)
                show({"restored": [*found.state, *map(str, plan.texts)]}, json_, _show_end)
    except ArchiveError as error:
        refuse(f"{archive}: {error}")
    except MultigreyError as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or archive}: {error.strerror or error}")


def _opened(path: Path) -> BinaryIO:
    """Raises OSError, ArchiveError."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ArchiveError("not a regular file: it is read twice, so it cannot be a pipe")
    return file


@dataclass
class _Contents:
    """What is in an archive, all of which was read and is whole."""

    about: Mapping[str, Any] = field(default_factory=dict)
    state: dict[str, int] = field(default_factory=dict)
    """Octets of the files of the state, by name."""
    texts: dict[str, bytes] = field(default_factory=dict)
    """The configuration and its lists, if they were asked for."""
    left: list[str] = field(default_factory=list)
    """What stays in the archive."""

    @classmethod
    def of(cls, file: BinaryIO, *, configuration: bool) -> _Contents:
        """Read and check all of it.  Raises ArchiveError, OSError."""
        found = cls()
        for name, size, content in members(file):
            if name == ABOUT:
                found.about = about_of(b"".join(content))
            elif name.startswith(STATE):
                found.state[name.removeprefix(STATE)] = size
            elif name.startswith(CONFIGURATION) and configuration:
                found.texts[name.removeprefix(CONFIGURATION)] = b"".join(content)
            else:
                found.left.append(name)
        if configuration and found.main not in found.texts:
            raise ArchiveError("it has no configuration: restore without --configuration")
        return found

    @property
    def main(self) -> str | None:
        """The name of the configuration file itself."""
        path = self.about["configuration"]
        return None if path is None else Path(path).name


@dataclass(frozen=True)
class _Plan:
    """Where everything goes."""

    state_dir: Path
    identity: Identity | None
    """The user to become; None: the present one."""
    texts: Mapping[Path, bytes]

    @classmethod
    def of(cls, found: _Contents, config: Path | None, *, configuration: bool) -> _Plan:
        """Raises AskError."""
        texts: dict[Path, bytes] = {}
        if configuration:
            main = config or find_config(os.environ, os.path.exists) or _default_config()
            for name, text in found.texts.items():
                texts[main if name == found.main else main.absolute().parent / name] = text
            state_dir, user = _state_of(texts[main], main)
        else:
            settings = load_for_asking(config).settings
            state_dir, user = settings.state_dir, settings.user
        state_dir = named_state_dir() or state_dir
        return cls(state_dir.absolute(), _owner(state_dir, user), texts)


def _default_config() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ.get('HOME', '')}/.config"
    return SYSTEM_CONFIG if os.geteuid() == 0 else Path(home) / "multigrey" / "multigrey.toml"


def _state_of(text: bytes, path: Path) -> tuple[Path, str | None]:
    """The state directory and user that a configuration names; it may be wrong in other places."""
    data: Mapping[str, Any] = {}
    with suppress(ValueError, RecursionError):
        data = tomllib.loads(text.decode())
    state_dir, user = data.get("state_dir"), data.get("user")
    if not isinstance(state_dir, str):
        default = None if path == SYSTEM_CONFIG else state_dir_default(os.environ, os.geteuid())
        state_dir = str(system_state_dir()) if default is None else default.value
    return path.absolute().parent / state_dir, user if isinstance(user, str) else None


def _owner(state_dir: Path, user: str | None) -> Identity | None:
    """The user that the state belongs to.  Raises AskError."""
    own = os.geteuid()
    try:
        owner = state_dir.stat()
    except FileNotFoundError:
        owner = None
    except OSError as error:
        refuse(f"{state_dir}: {error.strerror}: restore as root or the daemon's user", EXIT_NOT_ALLOWED)
    if own != 0:
        if owner is not None and owner.st_uid != own:
            refuse(f"{state_dir} belongs to another user: restore as root or that user", EXIT_NOT_ALLOWED)
        return None
    if owner is not None and owner.st_uid != 0:
        return Identity(_name_of(owner.st_uid), owner.st_uid, owner.st_gid)
    try:
        entry = pwd.getpwnam(user or _USER)
    except KeyError:
        refuse(
            f"{state_dir}: it would belong to the user {user or _USER!r}, who does not exist: make the user, "
            "or make the directory and give it to the user that multigrey runs as"
        )
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _refuse_to_replace(plan: _Plan, *, replace: bool) -> None:
    """Raises AskError, StoreError."""
    # (site.key alone may be the one that was kept apart from the backup)
    there = [plan.state_dir / name for name in present(plan.state_dir) if name != "site.key"]
    there += [path for path in plan.texts if os.path.lexists(path)]
    if there and not replace:
        refuse(f"{there[0]} exists already: restore with --replace to lose it")


def _carry_out(plan: _Plan, file: BinaryIO, *, replace: bool) -> None:
    """Raises MultigreyError, OSError."""
    import_before_dropping_root()
    prepare_state_dir(plan.state_dir, plan.identity)
    drafts: dict[Path, Path] = {}
    try:
        _write(plan, drafts)
        found = _with_room(plan.state_dir, file)
        _as_owner(plan.identity, lambda: place(plan.state_dir, found, replace=replace))
        for path, draft in drafts.items():
            draft.rename(path)
            sync_directory(path.parent)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _with_room(state_dir: Path, file: BinaryIO) -> Iterator[Member]:
    """The files of the archive, if the file system has room for each.  Raises ArchiveError, OSError."""
    for member in members(file):
        free = os.statvfs(state_dir)
        if member.name.startswith(STATE) and member.size > free.f_bavail * free.f_frsize:
            raise ArchiveError(f"{state_dir} has no room for {octets(member.size)}: make room there")
        yield member


def _write(plan: _Plan, drafts: dict[Path, Path]) -> None:
    """Write each file of the configuration beside its place, and note where.  Raises OSError."""
    for path, text in plan.texts.items():
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor, draft = mkstemp(prefix=f".{path.name[:50]}.", dir=path.parent)
        drafts[path] = Path(draft)
        with os.fdopen(descriptor, "wb") as file:
            try:
                present = path.lstat()
                mode, uid, gid = stat.S_IMODE(present.st_mode) & 0o755, present.st_uid, present.st_gid
            except FileNotFoundError:
                mode, uid, gid = _SYSTEM_OWN_CONFIG, -1, -1 if plan.identity is None else plan.identity.gid
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)


def _as_owner(identity: Identity | None, work: Callable[[], None]) -> None:
    """Do it in a process that becomes this user for good.  Raises ArchiveError, MultigreyError."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_the_child(identity, work, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        kind, _, text = pipe.read().decode("utf-8", "replace").partition(" ")
    _, status = os.waitpid(pid, 0)
    if kind == "archive":
        raise ArchiveError(text)
    if status:
        raise MultigreyError(text or f"the process that restores was ended ({status})")


def _be_the_child(identity: Identity | None, work: Callable[[], None], write: int) -> NoReturn:
    status = 1
    try:
        if identity is not None:
            become(identity)
        work()
        status = 0
    except ArchiveError as error:
        os.write(write, f"archive {error}".encode())
    except MultigreyError as error:
        os.write(write, f"other {error}".encode())
    except BaseException:  # noqa: BLE001  (nothing may leave the fork)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _told(archive: Path, found: _Contents, plan: _Plan) -> dict[str, Any]:
    there = present(plan.state_dir)
    state = {plan.state_dir / name: (size, name in there) for name, size in found.state.items()}
    texts = {path: (len(text), os.path.lexists(path)) for path, text in plan.texts.items()}
    files = {**state, **texts}
    return {
        "archive": str(archive),
        **{name: found.about[name] for name in ("multigrey", "time", "elsewhere")},
        "of": found.about["state_dir"],
        "user": None if plan.identity is None else plan.identity.name,
        "files": [
            {"path": str(path), "size": size, "replaces": replaces}
            for path, (size, replaces) in files.items()
        ],
        "removes": [str(plan.state_dir / name) for name in there if name.startswith("store.journal.")],
        "leaves": found.left,
    }


def _show(out: Console, told: Mapping[str, Any]) -> None:
    when = datetime.fromtimestamp(told["time"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    lines = [f"{told['archive']}: whole; of {told['of']}, {when}, by multigrey {told['multigrey']}"]
    for each in told["files"]:
        how = "replaces" if each["replaces"] else "makes"
        lines.append(f"{how} {each['path']} ({octets(each['size'])})")
    lines += [f"removes {path}" for path in told["removes"]]
    for name in told["leaves"]:
        path = told["elsewhere"].get(name)
        lines.append(f"leaves {name} in the archive" + (f"; it was {path}" if path else ""))
    for line in lines:
        out.print(printable(line), soft_wrap=True)


def _show_end(out: Console, result: Mapping[str, Any]) -> None:
    out.print(f"restored {counted(len(result['restored']), 'file')}: start the daemon")
