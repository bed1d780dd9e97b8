"""The client of all commands: asks a running daemon over its control socket, else the store of a stopped one.

Exit codes of every command that uses it: 0 done, or yes; 1 no, nothing found, or refused; 2 wrong
configuration or command line; 3 no daemon answers; 4 not allowed.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from multigrey.cli.daemon_place import (
    checkout_sockets,
    guessed,
    named_control,
    named_options,
    named_state_dir,
    others,
    place_options,
)

if TYPE_CHECKING:
    from rich.console import Console

    from multigrey.config.load import Loaded

__all__ = [
    "EXIT_CONFIG",
    "EXIT_NO",
    "EXIT_NOT_ALLOWED",
    "EXIT_NO_DAEMON",
    "AskError",
    "ask",
    "common_options",
    "console",
    "json_text",
    "load_for_asking",
    "own_command",
    "refuse",
    "show",
    "show_item",
    "stream",
]

EXIT_NO = 1
EXIT_CONFIG = 2
EXIT_NO_DAEMON = 3
EXIT_NOT_ALLOWED = 4

_EXIT_CODES = {
    "not-allowed": EXIT_NOT_ALLOWED,
    "no-daemon": EXIT_NO_DAEMON,
    "config": EXIT_CONFIG,
    "wrong": EXIT_CONFIG,
}
"""Exit codes by the code of an error; for all others it is EXIT_NO."""
_PATIENCE = 5.0
"""Seconds for connecting: a daemon that runs accepts at once."""
_WIDE = 4_000
"""Characters on a line that is not shown on a terminal: for programs and grep, each row is one line."""
_READ_SIZE = 65_536
_DAMAGE = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT})
"""Signals that end a process which reads a damaged store."""
_OFFLINE = "import sys; sys.path.insert(0, sys.argv[1]); from multigrey.cli.offline import main; main()"

F = TypeVar("F", bound=Callable[..., Any])
Render = Callable[["Console", Mapping[str, Any]], None]


class AskError(click.ClickException):
    """A request failed: ends the command with a message on standard error and an exit code."""

    def __init__(self, message: str, exit_code: int = EXIT_NO) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # (click declares it for the class)

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message in the form of every error: multigrey: text."""
        click.echo(f"multigrey: {_printable_lines(self.message)}", file=file, err=file is None)


class _NoDaemonError(AskError):
    """No daemon answers: the command may use the store of a stopped one."""


def refuse(message: str, exit_code: int = EXIT_NO) -> NoReturn:
    """End the command with a text on standard error."""
    raise AskError(message, exit_code)


def common_options(command: F) -> F:
    """Give a command --config/-c (passed as `config`), --json (as `json_`), --state-dir and --control."""
    json_option = click.option("--json", "json_", is_flag=True, help="Write JSON, for programs.")
    config_option = click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path),
        help="The configuration file of the daemon to ask; it says where the control socket is.",
    )
    return config_option(place_options(json_option(command)))


def ask(
    config: Path | None, name: str, options: Mapping[str, Any], *, timeout: float | None = None
) -> Mapping[str, Any]:
    """The answer to one request.  `timeout`: seconds the daemon may take (None: without limit).

    Raises AskError, which ends a command with its text and exit code.
    """
    found = next(iter(stream(config, name, options, timeout=timeout)), None)
    if found is None:
        raise AskError("the daemon did not answer", EXIT_NO_DAEMON)
    return found


def stream(
    config: Path | None, name: str, options: Mapping[str, Any], *, timeout: float | None = None
) -> Iterator[Mapping[str, Any]]:
    """The items of a streaming operation, one mapping after the other.  Raises AskError."""
    place = _Place(config)
    from multigrey.control.protocol import question

    try:
        sock = _connected(place, timeout)
    except _NoDaemonError as nobody:
        if place.is_a_socket:
            raise
        yield from _results(_offline_lines(place, name, options, nobody))
        return
    with sock:
        try:
            # A daemon that refuses a client answers without reading its request, and closes: the error
            # that says why can still be received.
            with suppress(BrokenPipeError):
                sock.sendall(question(name, options))
            yield from _results(_lines(sock))
        except TimeoutError:
            raise AskError(f"the daemon did not answer within {timeout:g} s", EXIT_NO_DAEMON) from None
        except OSError as error:
            text = f"the connection to the daemon failed: {error.strerror or error}"
            raise AskError(text, EXIT_NO_DAEMON) from error


class _Place:
    """The control socket of the daemon that the command line, or else the configuration, names.

    A configuration that is wrong, or that the user may not read, must not prevent a request to a daemon
    that runs.  Then the keys that matter are read as far as possible, with the defaults for the rest.
    """

    def __init__(self, config: Path | None) -> None:
        self.config = config
        self.state_dir = named_state_dir()
        self.problem = ""
        """Why the configuration could not be read; empty if it could."""
        self.path: Path | None = named_control()
        """The path of the socket; None: it is switched off."""
        self.is_a_socket = self.path is not None
        """Whether a socket is named, and nothing says which store belongs to it."""
        self.is_named = self.is_a_socket or bool(config or self.state_dir)
        if self.is_a_socket:
            return
        try:
            loaded = load_for_asking(config)
        except AskError as error:
            self.problem = error.message
            self.path = guessed(config, self.state_dir)
        else:
            from multigrey.control.endpoint import socket_of

            self.path = socket_of(loaded.settings)

    def __str__(self) -> str:
        return f"unix:{self.path}"


def own_command(config: Path | None) -> str:
    """The beginning of a command to copy: this very program, asking the same daemon."""
    program = Path(sys.argv[0])
    found = shutil.which(program.name)
    is_known = program.name != "multigrey" or (found is not None and _is_same(found, program))
    options = named_options()
    if config is not None and not options:  # --config stands behind the command
        with suppress(AskError):
            options = ["--control", str(_Place(config).path)]
    return shlex.join(["multigrey" if is_known else str(program), *options])


def _is_same(found: str, program: Path) -> bool:
    return not program.exists() or Path(found).samefile(program)


def load_for_asking(config: Path | None) -> Loaded:
    """The configuration as the daemon reads it (see `load_as_daemon`).  Raises AskError."""
    from multigrey.control.endpoint import load_as_daemon
    from multigrey.errors import ConfigError

    try:
        return load_as_daemon(config, os.environ, named_state_dir())
    except ConfigError as error:
        raise AskError(str(error), EXIT_CONFIG) from error


def _connected(place: _Place, timeout: float | None) -> socket.socket:
    """A connection to the control socket.  Raises AskError, _NoDaemonError."""
    if place.path is None:
        raise _NoDaemonError('[control] address is "off": the daemon has no control socket', EXIT_NO_DAEMON)
    try:
        return _connected_to(place.path, timeout)
    except _NoDaemonError:
        for path in () if place.is_named else checkout_sockets():
            with suppress(_NoDaemonError):
                return _connected_to(path, timeout)
        raise _NoDaemonError(_no_daemon(place), EXIT_NO_DAEMON) from None


def _connected_to(path: Path, timeout: float | None) -> socket.socket:
    """A connection to the daemon at this path.  Raises AskError, _NoDaemonError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _connect(sock, path)
        sock.settimeout(timeout)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        sock.close()
        raise _NoDaemonError("", EXIT_NO_DAEMON) from None
    except PermissionError:
        sock.close()
        raise AskError(
            f"unix:{path}: {_who()} may not use the control socket: ask as root or the daemon's user, or "
            "become a member of a group of [control]",
            EXIT_NOT_ALLOWED,
        ) from None
    except OSError as error:
        sock.close()
        text = "does not answer" if isinstance(error, BlockingIOError) else error.strerror or str(error)
        raise AskError(f"unix:{path}: {text}", EXIT_NO_DAEMON) from error
    return sock


def _connect(sock: socket.socket, path: Path) -> None:
    """Connect, waiting for a place in the queue if it is full.  Raises OSError."""
    # Not sock.settimeout(): with it connect(2) fails at once when the queue is full.
    for seconds in (_PATIENCE, 0.0):  # 0: no limit for what is sent later
        whole, rest = divmod(seconds, 1)
        limit = struct.pack("@ll", int(whole), int(rest * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        if seconds:
            sock.connect(str(path))


def _no_daemon(place: _Place) -> str:
    text = (
        f"no daemon answers at {place} (asked as {_who()}): start it, as with systemctl start multigrey, or "
        "name the one that runs with --config, --state-dir or --control"
    )
    lines = [text]
    lines += [f"another multigrey runs on this host: ask it with {option}" for option in others(place.path)]
    return "\n".join([*lines, place.problem] if place.problem else lines)


def _who() -> str:
    try:
        return getpass.getuser() if os.getuid() == os.geteuid() else f"uid {os.geteuid()}"
    except (KeyError, OSError):
        return f"uid {os.geteuid()}"


def _lines(sock: socket.socket) -> Iterator[bytes]:
    rest = b""
    while data := sock.recv(_READ_SIZE):
        *lines, rest = (rest + data).split(b"\n") if b"\n" in data else (rest + data,)
        yield from lines


def _results(lines: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    """The items of the answer to one request, from its lines.  Raises AskError."""
    from multigrey.control.protocol import ControlError, read_answer_line

    for line in lines:
        try:
            told = read_answer_line(line)
        except ControlError as error:
            raise AskError(str(error), _EXIT_CODES.get(error.code.value, EXIT_NO)) from error
        if told.value is not None:
            yield told.value
        if told.is_last:
            return
    raise AskError("the daemon closed the connection too early: see its log", EXIT_NO_DAEMON)


def _offline_lines(
    place: _Place, name: str, options: Mapping[str, Any], nobody: _NoDaemonError
) -> Iterator[bytes]:
    """The lines of the answer, from the store of a stopped daemon.

    A process of its own opens the store (see `offline`).  `nobody`: the error if the store does not exist.
    """
    request = {
        "config": None if place.config is None else str(place.config),
        "state_dir": None if place.state_dir is None else str(place.state_dir),
        "ask": name,
        "with": dict(options),
        "nobody": nobody.message,
        "by": _who(),
    }
    # -P: Python must not import from the current directory.  The path makes it import this very package.
    package = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-P", "-c", _OFFLINE, package]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  (ourselves)
    except OSError as error:
        text = f"{nobody.message}\nits store cannot be used either: {error}"
        raise AskError(text, EXIT_NO_DAEMON) from error
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdin as stdin:
            stdin.write(json.dumps(request).encode())
        yield from process.stdout
        if -process.wait() in _DAMAGE:
            name = signal.Signals(-process.returncode).name
            raise AskError(
                f"reading the store of the stopped daemon ended by {name}: store.mdb or history.mdb is "
                "damaged: start multigrey, which saves what can be read, or put a backup in its place"
            )
    finally:
        process.stdout.close()
        process.terminate()
        process.wait()


def console() -> Console:
    """The output of commands, without markup: as wide as the terminal, or wide and plain without one."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(markup=False, highlight=False, emoji=False)
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdigit() and int(columns) else _WIDE
    return Console(markup=False, highlight=False, emoji=False, width=width, no_color=True)


def json_text(value: Any, indent: int | None = None) -> str:
    r"""A value as JSON that is valid UTF-8.

    A text with octets that are not UTF-8 is written as in the log's JSON: `j\xf6rg` is `j`, one octet, `rg`.
    """
    text = json.dumps(value, indent=indent)
    return json.dumps(_unicode(value), indent=indent) if "\\ud" in text else text


def _unicode(value: Any) -> Any:
    from multigrey.text import escaped

    if isinstance(value, Mapping):
        return {_unicode(key): _unicode(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_unicode, value)]
    if isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
        return escaped(value, "\\")
    return value


def show(result: Mapping[str, Any], json_: bool, render: Render) -> None:
    """Write an answer: as JSON, or as text by `render`."""
    if json_:
        click.echo(json_text(result, indent=2))
    else:
        render(console(), result)


def show_item(item: Mapping[str, Any], json_: bool, render: Render) -> None:
    """Write one item of a stream: as JSON on one line, or as text by `render`."""
    if json_:
        click.echo(json_text(item))
    else:
        render(console(), item)


def _printable_lines(text: str) -> str:
    from multigrey.text import printable

    return "\n".join(map(printable, text.splitlines()))
