"""Where the daemon to ask is: by the command line, the environment, the configuration, or a checkout.

A socket is named by `--control` or `MULTIGREY_CONTROL`, a state directory by `--state-dir`.  Both may stand
before the name of the command as well.  Without them the configuration says where the socket is.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "checkout_sockets",
    "guessed",
    "named_control",
    "named_options",
    "named_state_dir",
    "others",
    "place_options",
]

F = TypeVar("F", bound=Callable[..., Any])

_SERVE_STATE = Path("/var/lib/multigrey-serve")
"""Where `make serve` keeps its state as root, if its user cannot enter the checkout."""
_CHECKOUT = Path(__file__).resolve().parents[2]
"""The checkout, if this package is part of one."""
_LISTENS = "00010000"
"""Flags of a listening socket in /proc/net/unix (__SO_ACCEPTCON)."""
_UNIX_FIELDS = 8
_META = "multigrey.cli.daemon_place."


def place_options(command: F) -> F:
    """Give a command --state-dir and --control; `named_state_dir` and `named_control` return them."""
    for name, metavar, text in (
        ("control", "SOCKET", "The control socket of the daemon to ask; by default $MULTIGREY_CONTROL."),
        ("state-dir", "DIR", "The state directory of the daemon to ask, if it is not the configured one."),
    ):
        command = click.option(
            f"--{name}",
            metavar=metavar,
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_keep,
            help=text,
        )(command)
    return command


def _keep(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    # ctx.meta is shared by the contexts of a group and its command: the command's own option comes last.
    if path is not None:
        ctx.meta[_META + str(param.name)] = path
    return path


def _named(name: str) -> Path | None:
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_META + name)


def named_state_dir() -> Path | None:
    """The state directory that the command line names, as an absolute path; None: it names none."""
    named = _named("state_dir")
    return None if named is None else named.absolute()


def named_control() -> Path | None:
    """The socket that the command line or the environment names; None: neither does."""
    named = str(_named("control") or ("" if named_state_dir() else os.environ.get("MULTIGREY_CONTROL", "")))
    return Path(named.removeprefix("unix:")).absolute() if named else None


def named_options() -> list[str]:
    """The options for state directory and socket as the command line has them."""
    named = [
        (option, _named(name)) for option, name in (("--state-dir", "state_dir"), ("--control", "control"))
    ]
    return [word for option, path in named if path is not None for word in (option, str(path))]


def checkout_sockets() -> Iterator[Path]:
    """The control sockets of `make serve`, if this program runs from a checkout."""
    from multigrey.control.endpoint import SOCKET_NAME

    if (_CHECKOUT / "Makefile").exists() and (_CHECKOUT / "pyproject.toml").exists():
        yield from (state / SOCKET_NAME for state in (_CHECKOUT / ".state", _SERVE_STATE))


def others(but: Path | None, proc: Path = Path("/proc")) -> list[str]:
    """The option that reaches each other daemon of this host, as far as /proc shows it.

    `but`: the socket at which no daemon answers.
    """
    found = [f"--state-dir {path.parent}" for path in _control_sockets(proc) if path != but]
    return found or [f"--config {path}" for path in _configurations(proc)]


def _control_sockets(proc: Path) -> Iterator[Path]:
    from multigrey.control.endpoint import SOCKET_NAME

    rows: list[list[str]] = []
    with suppress(OSError):
        rows = [line.split(None, _UNIX_FIELDS - 1) for line in _text(proc / "net" / "unix").splitlines()]
    paths = {Path(row[-1]) for row in rows if len(row) == _UNIX_FIELDS and row[3] == _LISTENS}
    for path in sorted(paths):
        if path.name == SOCKET_NAME and path.is_absolute() and _may_exist(path.with_name("site.key")):
            yield path


def _may_exist(path: Path) -> bool:
    try:
        path.lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _configurations(proc: Path) -> Iterator[Path]:
    """The configuration files that the command lines of daemons name."""
    found: set[Path] = set()
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):
            words = _text(process / "cmdline").split("\0")
            if "serve" not in words or not any(Path(word).name == "multigrey" for word in words):
                continue
            for option, word in pairwise(words):
                if option in {"--config", "-c"}:
                    found.add((process / "cwd").readlink() / word)
    yield from sorted(found)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def guessed(config: Path | None, state_dir: Path | None) -> Path | None:
    """The path of the socket, from the parts of a wrong configuration that can be read; None: it is off."""
    from multigrey.config.defaults import SYSTEM_CONFIG, find_config, state_dir_default
    from multigrey.control.endpoint import SOCKET_NAME, system_state_dir

    path = find_config(os.environ, os.path.exists) if config is None else config
    data: Mapping[str, Any] = {}
    with suppress(OSError, ValueError, RecursionError):
        data = tomllib.loads(path.read_text()) if path is not None else {}
    control = data.get("control")
    address = control.get("address") if isinstance(control, dict) else None
    if address == "off":
        return None
    if isinstance(address, str) and address.startswith("unix:/"):
        return Path(address.removeprefix("unix:"))
    default = state_dir_default(os.environ, 0 if path == SYSTEM_CONFIG else os.geteuid())
    given = data.get("state_dir", default.value if default is not None else None)
    directory = given if isinstance(given, str) else str(system_state_dir())
    return (Path() if path is None else path.absolute().parent) / (state_dir or directory) / SOCKET_NAME
