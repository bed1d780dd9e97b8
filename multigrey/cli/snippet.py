"""`multigrey snippet`: prints the configuration of a mail server for the sockets of this daemon."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_CONFIG, EXIT_NO, common_options, load_for_asking, refuse, show
from multigrey.config.settings import Listen
from multigrey.config.socket_units import socket_unit
from multigrey.config.values.types import SystemdEndpoint, TcpEndpoint, UnixEndpoint

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Snippet", "greylistd_edit", "integrations", "snippet"]

_SHARE = Path("share/multigrey/integrations")
_QUEUE = Path("/var/spool/postfix")
_GREYLISTD = "/var/run/greylistd/socket"
"""The socket that greylistd-setup-exim4 writes into ACLs (Debian)."""


@dataclass
class Snippet:
    """Text for configuration files, commands to run afterwards, and notes."""

    listener: str
    files: dict[str, str] = field(default_factory=dict)
    """The text to add, by file."""
    then: list[str] = field(default_factory=list)
    """Commands to run, in order."""
    notes: list[str] = field(default_factory=list)


@click.command()
@click.argument("server", type=click.Choice(["postfix", "exim", "greylistd"]))
@common_options
@click.option("--listener", help="The listener to use, by name; by default the first of that protocol.")
@click.option(
    "--integrations",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The directory of the files to copy; by default those that came with this multigrey.",
)
def snippet(
    server: str, config: Path | None, listener: str | None, directory: Path | None, *, json_: bool
) -> None:
    """Print what to add to a mail server's configuration.

    With it the server asks this daemon; the commands to run then come with it.  postfix prints lines for
    main.cf.  exim prints lines for Debian's exim4.conf.localmacros or the main section.  greylistd prints
    how to change an ACL for greylistd so that it asks this daemon.  Sockets and groups are those of the
    configuration.  The command does not need a running daemon and changes nothing.

    Exit status: 0 on success, 1 when no [[listen]] speaks that protocol (the command prints one to add), 2
    when the configuration is wrong or the files cannot be found.
    """
    settings = load_for_asking(config).settings
    found = directory or integrations()
    if found is None:
        text = "the integration files that come with multigrey are not installed: give --integrations"
        refuse(text, EXIT_CONFIG)
    listens = [each for each in settings.listen if each.protocol == server]
    chosen = [each for each in listens if listener in (None, each.name)]
    if not chosen:
        _say_none(server, found, listener, listens)
    try:
        made = _MAKERS[server](chosen[0], found)
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}", EXIT_CONFIG)
    made.notes += [f"The listener {each.name} would do as well: --listener" for each in chosen[1:]]
    result = {"listener": made.listener, "files": made.files, "then": made.then, "notes": made.notes}
    show(result, json_, _print)


def _say_none(server: str, found: Path, listener: str | None, listens: Sequence[Listen]) -> None:
    if listens:
        names = ", ".join(each.name for each in listens)
        refuse(f"unknown listener for {server}: {listener} (known: {names})", EXIT_NO)
    folder = Path("exim/greylistd") if server == "greylistd" else Path(server)
    table = (found / folder / "multigrey.toml").read_text()
    click.echo(
        f"multigrey: no [[listen]] speaks {server}.  Add this to the configuration:\n\n{table}", err=True
    )
    sys.exit(EXIT_NO)


def integrations(package: Path | None = None, files: Iterable[Any] | None = None) -> Path | None:
    """The directory of files to copy, in a checkout or installed; None: not found.

    For tests: `package` replaces the directory of this package, `files` the list of installed files.
    """
    package = Path(__file__).parents[1] if package is None else package
    if (package.parent / "integrations/exim/multigrey.rcpt.acl").is_file():
        return package.parent / "integrations"
    for file in _installed() if files is None else files:
        if str(file).endswith(str(_SHARE / "exim/multigrey.rcpt.acl")):
            return Path(os.path.normpath(file.locate())).parents[1]
    for prefix in (sys.prefix, "/usr/local", "/usr"):
        if (Path(prefix) / _SHARE).is_dir():
            return Path(prefix) / _SHARE
    return None


def _installed() -> Iterable[Any]:
    try:
        return metadata.files("multigrey") or ()
    except metadata.PackageNotFoundError:
        return ()


# --- endpoints -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """The endpoint at which a mail server reaches a listener."""

    path: str = ""
    """The path of a unix socket; empty: TCP."""
    host: str = ""
    port: int = 0
    group: str | None = None
    """The group whose members may connect to the unix socket; None: the daemon's own group."""
    notes: tuple[str, ...] = ()

    @property
    def inet(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"inet:{host}:{self.port}"


def _place(listen: Listen, found: Path) -> _Place:
    """The endpoint of a listener.  Raises OSError."""
    address = listen.address
    if isinstance(address, UnixEndpoint):
        hint = f'The mode of {listen.name} does not let its group write: set mode = "0660".'
        notes = () if listen.mode & 0o020 else (hint,)
        return _Place(path=str(address.path), group=listen.group, notes=notes)
    if isinstance(address, TcpEndpoint):
        return _tcp(address)
    assert isinstance(address, SystemdEndpoint)
    return _of_systemd(address.name, found)


def _tcp(address: TcpEndpoint) -> _Place:
    notes = []
    host = address.host
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (a comparison)
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104  (a comparison)
        notes.append(
            "The daemon listens on every address: on another host, give the mail server this host's address."
        )
    if address.loopback or notes:
        notes.append(
            "A program that reaches this port can claim any client name; with a unix socket only a group can."
        )
    return _Place(host=host, port=address.port, notes=tuple(notes))


def _of_systemd(name: str, found: Path) -> _Place:
    """The endpoint in the installed socket unit; without one, in the unit that comes with multigrey."""
    unit = socket_unit(name)
    notes = []
    if unit is None:
        unit = socket_unit(name, [found / "systemd"])
        notes.append(f"No unit with FileDescriptorName={name} is installed; this is the one to copy.")
    if unit is None:
        refuse(f"no systemd unit found with FileDescriptorName={name}", EXIT_NO)
    stream = unit.stream
    notes.append(f"{unit.file} makes the socket.")
    if stream.startswith("/"):
        return _Place(path=stream, group=unit.group or None, notes=tuple(notes))
    host, _, port = stream.rpartition(":")
    if not port.isdigit():
        refuse(f"{unit.file}: ListenStream={stream} is not supported", EXIT_NO)
    return _Place(host=host.strip("[]") or "127.0.0.1", port=int(port), notes=tuple(notes))


def _membership(place: _Place, group: str, user: str) -> list[str]:
    """Notes on how the mail server gets the right to connect to a unix socket."""
    if not place.path or place.group == group:
        return []
    if place.group is None:
        text = f'The socket has the group of the daemon\'s user: set group = "{group}" in its [[listen]]'
        return [f"{text}, or make {user} a member of that group and restart that server."]
    hint = f"usermod -aG {place.group} {user}, then restart that server"
    return [f"{user} has to be in the group {place.group}: {hint}."]


# --- mail servers ----------------------------------------------------------------------------------


def _postfix(listen: Listen, found: Path) -> Snippet:
    place = _place(listen, found)
    notes = [*place.notes]
    if not place.path:
        service = place.inet
    elif Path(place.path).is_relative_to(_QUEUE):
        service = f"unix:{Path(place.path).relative_to(_QUEUE)}"
    else:
        service = f"unix:{place.path}"
        notes.append(
            f"A smtpd in a chroot (y in that column of Debian's master.cf) cannot see {place.path}: "
            f"set an address below {_QUEUE}, or TCP, in [[listen]]."
        )
    notes += _membership(place, "postfix", "postfix")
    text = (found / "postfix/main.cf.multigrey").read_text().replace("unix:multigrey/policy.sock", service)
    if not service.startswith("unix:multigrey"):
        text = re.sub(r"  The path begins in\n# /var/spool/postfix, so it works in a chroot\.", "", text)
    return Snippet(
        listen.name,
        {"/etc/postfix/main.cf": text},
        ["postfix check", "postfix reload"],
        ["Merge these lines with existing restrictions: main.cf holds each parameter only once.", *notes],
    )


def _exim(listen: Listen, found: Path) -> Snippet:
    place = _place(listen, found)
    macros = (found / "exim/exim4.conf.localmacros").read_text()
    where = place.path or place.inet
    text = f"{macros}# where the daemon listens\nMULTIGREY_SOCKET = {where}\n"
    files = [found / "exim" / name for name in ("multigrey.rcpt.acl", "multigrey.data.acl")]
    return Snippet(
        listen.name,
        {"/etc/exim4/exim4.conf.localmacros": text},
        [f"cp {' '.join(map(str, files))} /etc/exim4/", "update-exim4.conf", "systemctl reload exim4"],
        [
            "If your Exim is not Debian's, define MULTIGREY_SOCKET and include the two ACL files yourself.",
            *place.notes,
            *_membership(place, "Debian-exim", "Debian-exim"),
        ],
    )


def greylistd_edit(path: str) -> str:
    """The command that makes ACLs for greylistd ask at `path`, and ask a second time; append the files to it.

    Exim 4.94 and later has to ask again at once after it could not connect to a unix socket, or it breaks
    (multigrey-exim(7), CAVEATS).  The ACL compares the answer with true, because Exim would refuse mail for
    an answer that is neither true nor false.  If the command is run again, it changes nothing.
    """
    asked = rf"\${{readsocket{{{path}${{1}}"
    return (
        rf"perl -0pi -e 's#\$\{{readsocket\{{{_GREYLISTD}(\}}.*?\{{)5s(\}}\{{\}}\{{)false\}}\}}"
        rf"#\${{if eq{{{asked}5s$2{asked}1s$2false}}}}}}}}}}{{true}}}}#gs'"
    )


def _greylistd(listen: Listen, found: Path) -> Snippet:
    place = _place(listen, found)
    if not place.path:
        text = f"{listen.name} listens on TCP, but ACLs for greylistd need a unix socket: see --listener"
        refuse(text, EXIT_NO)
    notes = ["The ACL gets the daemon's path, and asks again if no answer comes: multigrey-exim(7), CAVEATS."]
    return Snippet(
        listen.name,
        {},
        [
            "systemctl disable --now greylistd",
            f"grep -rl {_GREYLISTD} /etc/exim4 | xargs -r {greylistd_edit(place.path)}",
            "update-exim4.conf",
            "systemctl reload exim4",
        ],
        [*notes, *place.notes, *_membership(place, "Debian-exim", "Debian-exim")],
    )


_MAKERS = {"postfix": _postfix, "exim": _exim, "greylistd": _greylistd}


def _print(console: Console, result: Any) -> None:
    """Write the text for the files; everything else is written as comments, so all of it can be pasted."""
    import textwrap

    for name, text in result["files"].items():
        click.echo(f"# --- add to {name} (listener {result['listener']})\n\n{text}")
    click.echo("# --- then run")
    for command in result["then"]:
        click.echo(f"#   {command}")
    for note in result["notes"]:
        click.echo("\n".join(textwrap.wrap(note, 98, initial_indent="# - ", subsequent_indent="#   ")))
    del console
