"""What would keep the daemon from starting with a configuration, all of it in one pass.

What counts is what the daemon's user can read and write, and which modules it can import, so that is tried as
this user: root becomes it in a process of its own.  Nothing is changed, and no store is opened.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio

from multigrey.config.defaults import find_config
from multigrey.config.files import UnreadableError, read_config
from multigrey.config.load import Loaded, load_rest
from multigrey.config.origin_lists import outdated, read_shipped
from multigrey.config.settings import Settings
from multigrey.control.client import ControlError, ask, load_as_daemon, socket_of
from multigrey.control.endpoint import system_state_dir
from multigrey.daemon.assembly import check
from multigrey.daemon.confinement import restart_problems
from multigrey.daemon.privileges import (
    Identity,
    PrivilegeError,
    become,
    identity_for,
    import_before_dropping_root,
)
from multigrey.daemon.systemd import Unit, find_unit
from multigrey.errors import ConfigError, Problem

__all__ = ["Diagnosis", "Preflight", "examine", "main", "plan"]

_PATIENCE = 5.0
"""Seconds that a running daemon has to answer."""
_CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from multigrey.daemon.preflight import main; main()"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a configuration."""

    path: str | None
    """The file; None: the built-in defaults."""
    problems: Sequence[Problem]
    warnings: Sequence[str]
    looked_at_all: bool
    """Whether no mistake kept a part of the configuration from being looked at."""
    complete: bool = False
    """Whether everything was looked at, and as the daemon's user."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """As whom a configuration is checked, and what its service allows."""

    config: Path | None
    identity: Identity | None
    """The user to become; None: the current one."""
    started_as: int
    """The uid that the daemon is started as; root becomes `user` later."""
    known: bool
    """Whether the check is made as the daemon's user."""
    unit: Unit | None = None
    problem: Problem | None = None
    """What is wrong with the user that the configuration names."""

    @property
    def user(self) -> str:
        """The name of the user who looks."""
        if self.identity is not None:
            return self.identity.name
        return _name_of(os.geteuid())


def plan(
    config: Path | None, environ: Mapping[str, str], user: str | None = None, unit: Unit | None = None
) -> Preflight:
    """As whom to check: as `user`, else as file, unit, or the owner of the state directory say.

    Raises PrivilegeError for a `user` who does not exist, or whom only root can become.
    """
    path = find_config(environ, os.path.exists) if config is None else config
    written = _written(path)
    if unit is not None and (path is None or path.absolute() != unit.config):
        unit = None
    configured = written.get("user")
    name = user or (configured if isinstance(configured, str) else None) or (unit and unit.user)
    name = name or _owner_of(written.get("state_dir"))
    uid = os.geteuid()
    if uid != 0:
        if user is not None:
            identity_for(user, uid)
        return Preflight(config, None, uid, name in {None, _name_of(uid)}, unit)
    if name is None:
        return Preflight(config, None, uid, known=False, unit=unit)
    try:
        identity = identity_for(name, uid)
    except PrivilegeError as error:
        if user is not None:
            raise
        text = str(error).removeprefix(f"user = {name!r}: ")
        file = str(path if configured else unit and unit.path)
        problem = Problem(file, _line_of_user(path) if configured else None, "user", f"{name!r}: {text}")
        return Preflight(config, None, uid, known=False, unit=unit, problem=problem)
    assert identity is not None
    return Preflight(config, identity, 0 if configured else identity.uid, known=True, unit=unit)


def _written(path: Path | None) -> Mapping[str, Any]:
    """What the file says, if it can be read at all."""
    with suppress(UnreadableError, ValueError, RecursionError):
        return tomllib.loads(read_config(path, os.geteuid())[0]) if path is not None else {}
    return {}


def _line_of_user(path: Path | None) -> int | None:
    with suppress(UnreadableError):
        for number, line in enumerate(read_config(path or Path(), os.geteuid())[0].splitlines(), 1):
            if line.partition("=")[0].strip() == "user":
                return number
    return None


def _owner_of(state_dir: object) -> str | None:
    """The user who owns the state directory, unless it is root or a number without a name."""
    directory = Path(state_dir) if isinstance(state_dir, str) else system_state_dir()
    with suppress(OSError):
        uid = directory.stat().st_uid
        return (_name_of(uid) or None) if uid else None
    return None


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def examine(made: Preflight, environ: Mapping[str, str], now: int) -> Diagnosis:
    """Everything that is wrong, as the user of the plan.  `now`: seconds since 1970."""
    if made.identity is None:
        found = _look(made, environ, now)
    else:
        environ = {"STATE_DIRECTORY": str(system_state_dir()), **environ}
        found = _as_user(made, environ, now)
        if found.path is None and made.config is not None:  # the user cannot read it, but we can
            _, more = load_rest(made.config, environ, uid=made.started_as)
            problems = [*found.problems, *(each for each in more if each not in found.problems)]
            found = Diagnosis(str(made.config), problems, found.warnings, looked_at_all=False)
    first = [] if made.problem is None else [made.problem]
    return Diagnosis(
        found.path,
        [*first, *found.problems],
        found.warnings,
        found.looked_at_all,
        found.looked_at_all and made.known,
    )


def _as_user(made: Preflight, environ: Mapping[str, str], now: int) -> Diagnosis:
    assert made.identity is not None
    request = {
        "config": None if made.config is None else str(made.config),
        "user": made.identity.name,
        "started_as": made.started_as,
        "unit": None if made.unit is None else str(made.unit.path.parent),
        "now": now,
    }
    # -P: Python must not import from the current directory.  The path makes it import this very package.
    command = [sys.executable, "-P", "-c", _CHILD, str(Path(__file__).resolve().parents[2])]
    done = subprocess.run(  # noqa: S603  (ourselves)
        command, input=json.dumps(request), env=dict(environ), capture_output=True, text=True, check=False
    )
    try:
        told = json.loads(done.stdout)
        problems = [Problem(**each) for each in told.pop("problems")]
        return Diagnosis(problems=problems, **told)
    except (ValueError, TypeError, KeyError):
        last = done.stderr.strip().rpartition("\n")[2]
        text = f"the check as {made.identity.name} ended with status {done.returncode}: {last}"
        return Diagnosis(
            None, [Problem(str(made.config or "default"), None, "", text)], (), looked_at_all=False
        )


def main() -> None:
    """Answer the one request on standard input, as the user that it names."""
    request = json.load(sys.stdin)
    import_before_dropping_root()
    read_shipped()  # before root is given up: the daemon's user may not be able to read these files
    config = None if request["config"] is None else Path(request["config"])
    unit = None if request["unit"] is None else find_unit([Path(request["unit"])])
    identity = identity_for(request["user"], 0)
    assert identity is not None
    become(identity)
    made = Preflight(config, None, request["started_as"], known=True, unit=unit)
    found = _look(made, os.environ, request["now"])
    json.dump({**asdict(found), "problems": [asdict(each) for each in found.problems]}, sys.stdout)


def _look(made: Preflight, environ: Mapping[str, str], now: int) -> Diagnosis:
    """Everything that is wrong, as the current user."""
    loaded, problems = load_rest(made.config, environ, uid=made.started_as)
    if loaded is None:
        known = made.config if made.config is not None and os.access(made.config, os.R_OK) else None
        return Diagnosis(None if known is None else str(known), problems, (), looked_at_all=False)
    skipped = any(problem.key.startswith("plugins") for problem in problems)
    warnings = [*map(str, loaded.warnings)]
    if not skipped:  # without these keys, other plugins than the configured ones would be loaded
        more, told = check(loaded)
        problems += more
        warnings += told
    problems += [loaded.problem(*each) for each in _surroundings(loaded.settings, made)]
    warnings += map(str, [*_unknown_groups(loaded), *_restart_needed(made.config, environ, loaded)])
    if not problems:
        warnings += outdated(loaded.settings.origin, datetime.fromtimestamp(now, UTC).date())
    path = None if loaded.path is None else str(loaded.path)
    return Diagnosis(path, problems, warnings, looked_at_all=not skipped)


def _surroundings(settings: Settings, made: Preflight) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What the host lacks: users, groups, directories; by key."""
    for index, listen in enumerate(settings.listen):
        for key, name, look_up in (
            ("owner", listen.owner, pwd.getpwnam),
            ("group", listen.group, grp.getgrnam),
        ):
            try:
                if name is not None:
                    look_up(name)
            except KeyError:
                what = "user" if key == "owner" else "group"
                yield ("listen", index, key), f"{name!r}: this {what} does not exist on this host"
    if text := _directory_trouble(settings.state_dir, made):
        yield ("state_dir",), text
    if settings.log.to.startswith("/") and (text := _log_trouble(Path(settings.log.to), made)):
        yield ("log", "to"), text


def _directory_trouble(directory: Path, made: Preflight) -> str:
    """Why the daemon cannot use its state directory; "": it can."""
    if directory.is_dir():
        if made.known and not os.access(directory, os.W_OK | os.X_OK) and not _is_made(directory, made):
            me = _name_of(os.geteuid())
            return f"{directory}: {me} may not write there: run chown {me} {directory}"
        return ""
    if directory.exists():
        return f"{directory} is not a directory"
    by_root = made.started_as == 0
    if _is_made(directory, made) or by_root or not made.known or directory == system_state_dir():
        return ""
    above = next(each for each in directory.parents if each.exists())
    if os.access(above, os.W_OK | os.X_OK):
        return ""
    return f"{directory} is missing, and {_name_of(os.geteuid())} may not make it in {above}: make it"


def _log_trouble(path: Path, made: Preflight) -> str:
    """Why the daemon cannot write its log to a file; "": it can."""
    unit = made.unit
    if unit is not None and unit.writable is not None and not any(map(path.is_relative_to, unit.writable)):
        logs = next(
            (str(each) for each in unit.made if each.is_relative_to("/var/log")), "/var/log/multigrey"
        )
        return (
            f"{path}: {unit.path} lets the daemon write nothing there: choose a file in {logs}, or add "
            f"ReadWritePaths={path.parent} to the unit"
        )
    if _is_made(path.parent, made):
        return ""
    if path.is_dir():
        return f"{path} is a directory; a file is expected"
    if not path.parent.is_dir():
        return f"{path}: cannot be written: its directory is missing: make it"
    right = os.access(path, os.W_OK) if path.exists() else os.access(path.parent, os.W_OK | os.X_OK)
    return "" if right else f"{path}: cannot be written by {_name_of(os.geteuid())}: permission denied"


def _is_made(directory: Path, made: Preflight) -> bool:
    return made.unit is not None and any(map(directory.is_relative_to, made.unit.made))


def _unknown_groups(loaded: Loaded) -> Iterator[Problem]:
    control = loaded.settings.control
    for key in ("read_group", "operate_group", "admin_group"):
        name = getattr(control, key)
        if name is not None:
            try:
                grp.getgrnam(name)
            except KeyError:
                yield loaded.problem(
                    ("control", key), f"{name!r}: this group does not exist, so it lets no user in"
                )


def _restart_needed(config: Path | None, environ: Mapping[str, str], loaded: Loaded) -> list[Problem]:
    """What a running daemon would refuse at a reload; nothing if none runs, or it may not be asked."""
    try:
        path = socket_of(load_as_daemon(config, environ).settings)
        told = None if path is None else trio.run(partial(ask, path, "status", {}, patience=_PATIENCE))
    except (ConfigError, ControlError):
        return []
    return [] if told is None else restart_problems(told.get("confinement"), loaded)
