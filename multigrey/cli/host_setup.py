"""`multigrey setup`: makes a service of this installation that a mail server asks, or takes that back."""

from __future__ import annotations

import json
import os
import pwd
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import click

from multigrey.cli.client import EXIT_NO, EXIT_NOT_ALLOWED, refuse
from multigrey.cli.installation import Call, Change, Link, Note, SetupError, Text, run, undo
from multigrey.cli.snippet import integrations

__all__ = ["setup", "with_check"]

_NOTES = Path("/etc/multigrey/setup.json")
_UNITS = Path("/etc/systemd/system")
_PACKAGED = Path("/usr/lib/systemd/system/multigrey.service")
_SERVICE = "multigrey.service"
_SOCKETS = {"postfix": "multigrey-postfix.socket", "exim": "multigrey-exim.socket"}
_NEEDED = {"postfix": Path("/etc/postfix/main.cf"), "exim": Path("/etc/exim4")}
"""What a mail server's own installation brings."""
_HIDDEN = ("/home", "/root", "/run/user")
"""What ProtectHome= of the unit hides from the daemon."""
_CHECK = "check_policy_service { unix:multigrey/policy.sock, timeout=5s, default_action=DUNNO }"
_BEFORE = {
    "smtpd_recipient_restrictions": "permit_mynetworks, permit_sasl_authenticated, "
    "reject_unauth_destination, reject_unlisted_recipient",
    "smtpd_data_restrictions": "permit_mynetworks, permit_sasl_authenticated",
}
"""Postfix's restriction lists that ask, and what stands before the question where they are empty."""


@click.command()
@click.argument("servers", metavar="[postfix|exim]...", type=click.Choice(["postfix", "exim"]), nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
@click.option(
    "--observe", is_flag=True, help="Write a configuration with which mail is judged, but never deferred."
)
@click.option("--undo", "back", is_flag=True, help="Take back everything that this command has done here.")
def setup(servers: Sequence[str], *, dry_run: bool, observe: bool, back: bool) -> None:
    """Make this installation a service that a mail server asks.

    The command makes the user, the directories, the units, a short configuration, and the links to the
    program and the manual; where a package has done that it only does the rest.  Then it adds the question to
    Postfix's main.cf, or to the macros of Debian's Exim.  Each step is printed, and written to
    /etc/multigrey/setup.json.  What is there already is left as it is, so the command can be repeated.  A
    file that was changed since stays with --undo; so do the records and the user.

    Exit status: 0 on success, 1 when a step failed (those before it are done: see --undo), 2 for a wrong
    command line, 4 when not root.
    """
    if os.geteuid() != 0 and not dry_run:
        refuse("only root can set up a service: run it as root, or look with --dry-run", EXIT_NOT_ALLOWED)
    try:
        if back:
            _take_back(dry_run)
        else:
            _set_up(servers, dry_run, observe)
    except SetupError as error:
        refuse(str(error), EXIT_NO)


def _set_up(servers: Sequence[str], dry_run: bool, observe: bool) -> None:
    notes = _noted()
    done = 0
    for change in _changes(servers, observe):
        if change.is_there():
            continue
        click.echo(str(change))
        done += 1
        if not dry_run:
            notes.append(change.make())
            Text(_NOTES, json.dumps(notes, indent=1) + "\n").make()
    if not done:
        click.echo("nothing to do: all of it is there")
    elif not dry_run:
        click.echo("done: see multigrey status; multigrey setup --undo takes it back")


def _take_back(dry_run: bool) -> None:
    notes = _noted()
    if not notes:
        raise SetupError(f"{_NOTES}: is not there: this command has done nothing here")
    while notes:
        note = notes.pop()
        if dry_run:
            click.echo(f"take back: {note.get('path') or note.get('back') or 'nothing'}")
            continue
        said = undo(note)
        if said:
            click.echo(said)
        Text(_NOTES, json.dumps(notes, indent=1) + "\n").make()
    if not dry_run:
        _NOTES.unlink()
        click.echo("what was learned is still in /var/lib/multigrey, and the user multigrey exists")


def _noted() -> list[Note]:
    """What this command has done before.  Raises SetupError."""
    try:
        found = json.loads(_NOTES.read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise SetupError(f"{_NOTES}: cannot be read: {error}") from error
    if not isinstance(found, list):
        raise SetupError(f"{_NOTES}: is not a list of changes")
    return found


def _changes(servers: Sequence[str], observe: bool) -> Iterator[Change]:
    """Everything that has to be there, in order.  Raises SetupError."""
    files = integrations()
    if files is None:
        raise SetupError("the integration files that come with multigrey are not installed")
    if not Path("/run/systemd/system").is_dir():
        raise SetupError("systemd does not run here: start `multigrey serve` by your own means")
    for server in servers:
        if not _NEEDED[server].exists():
            raise SetupError(f"{_NEEDED[server]}: is not there: install {server} first")
    if not _PACKAGED.exists():
        yield from _service(files, observe)
    yield from _running()
    if "postfix" in servers:
        yield _postfix()
    if "exim" in servers:
        yield from _exim(files)


def _service(files: Path, observe: bool) -> Iterator[Change]:
    """User, directories, units, configuration, program and manual."""
    program = Path(sys.prefix) / "bin/multigrey"
    hidden = next((each for each in _HIDDEN if program.is_relative_to(each)), None)
    if hidden is not None or not program.exists():
        raise SetupError(
            f"{program}: the service could not run this: install multigrey outside of {', '.join(_HIDDEN)}, "
            "as with python3 -m venv /opt/multigrey && /opt/multigrey/bin/pip install ."
        )
    systemd = files / "systemd"
    yield Text(Path("/etc/sysusers.d/multigrey.conf"), (systemd / "multigrey.sysusers").read_text())
    yield Call(["systemd-sysusers", "multigrey.conf"], is_done=_has_user)
    yield Text(Path("/etc/tmpfiles.d/multigrey.conf"), (systemd / "multigrey.tmpfiles").read_text())
    yield Call(["systemd-tmpfiles", "--create", "multigrey.conf"], is_done=Path("/run/multigrey").is_dir)
    configuration = Path("/etc/multigrey/multigrey.toml")
    if not configuration.exists():
        text = (systemd / "minimal.toml").read_text()
        yield Text(configuration, text.replace('#mode = "observe"', 'mode = "observe"') if observe else text)
    for name in (_SERVICE, *_SOCKETS.values()):
        unit = (systemd / name).read_text().replace("/opt/multigrey/bin/multigrey", str(program))
        yield Text(_UNITS / name, unit, ("systemctl daemon-reload",))
    if not program.is_relative_to("/usr"):
        yield Link(Path("/usr/local/bin/multigrey"), program)
        for page in sorted(Path(sys.prefix).glob("share/man/man*/multigrey*")):
            yield Link(Path("/usr/local/share/man") / page.parent.name / page.name, page)


def _has_user() -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwnam("multigrey"))
    return False


def _running() -> Iterator[Change]:
    """The units are enabled, and run."""
    late = [
        socket
        for server, socket in _SOCKETS.items()
        if _NEEDED[server].exists() and not _succeeds("systemctl", "is-active", socket)
    ]
    if late and _succeeds("systemctl", "is-active", _SERVICE):
        # a socket cannot be handed over to a daemon that runs already
        yield Call(["systemctl", "stop", _SERVICE])
    units = [*_SOCKETS.values(), _SERVICE]
    runs = not late and _succeeds("systemctl", "is-active", _SERVICE)
    enabled = runs and _succeeds("systemctl", "is-enabled", *units)
    back = ["systemctl", "disable", "--now", _SERVICE, *_SOCKETS.values()]
    yield Call(["systemctl", "enable", "--now", *units], back, lambda: enabled)


def _succeeds(*words: str) -> bool:
    try:
        run(words)
    except SetupError:
        return False
    return True


def _postfix() -> Text:
    """main.cf with the question at the end of both lists, written by Postfix's own program."""
    main = _NEEDED["postfix"]
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / main.name
        copy.write_bytes(main.read_bytes())
        for parameter, before in _BEFORE.items():
            now = run(["postconf", "-c", name, "-h", parameter]).strip()
            value = with_check(now or before)
            if value != now:
                run(["postconf", "-c", name, "-e", f"{parameter} = {value}"])
        return Text(main, copy.read_text(), ("postfix check", "postfix reload"))


def with_check(value: str) -> str:
    """A restriction list that asks multigrey as the last thing, but before a final permit."""
    if "multigrey/policy.sock" in value:
        return value
    rest = value.rstrip(", \t\n")
    found = re.search(r"(?:^|[\s,])(permit)$", rest)
    permit = "" if found is None else found[1]
    parts = [rest.removesuffix(permit).rstrip(", \t\n"), _CHECK, permit]
    return ", ".join(filter(None, parts))


def _exim(files: Path) -> Iterator[Text]:
    """Both ACL files, then the macros of Debian's configuration that name them."""
    directory = _NEEDED["exim"]
    for name in ("multigrey.rcpt.acl", "multigrey.data.acl"):
        yield Text(directory / name, (files / "exim" / name).read_text())
    answers = directory / "update-exim4.conf.conf"
    if not answers.exists():
        raise SetupError(f"{answers}: is not there: only Debian's Exim can be set up; see multigrey-exim(7)")
    split = re.search(r"(?m)^dc_use_split_config='true'", answers.read_text()) is not None
    macros = directory / ("conf.d/main/000_localmacros" if split else "exim4.conf.localmacros")
    now = macros.read_text() if macros.exists() else ""
    lines = (files / "exim/exim4.conf.localmacros").read_text()
    if "multigrey.rcpt.acl" not in now:
        now = f"{now}\n{lines}".lstrip("\n")
    yield Text(macros, now, ("update-exim4.conf", "systemctl reload exim4"))
