"""The command line: the group of all commands, each imported only when it is used."""

from __future__ import annotations

import importlib

import click

from multigrey import __version__

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "serve": "multigrey.cli.serve:serve",
    "check-config": "multigrey.cli.config:check_config",
    "show-config": "multigrey.cli.config:show_config",
    "status": "multigrey.cli.status:status",
    "explain": "multigrey.cli.explain:explain",
    "rule": "multigrey.cli.rule:rule",
    "whitelist": "multigrey.cli.whitelist:whitelist",
    "history": "multigrey.cli.history:history",
    "report": "multigrey.cli.report:report",
    "records": "multigrey.cli.records:records",
    "origins": "multigrey.cli.origins:origins",
    "expect": "multigrey.cli.expect:expect",
    "watch": "multigrey.cli.watch:watch",
    "top": "multigrey.cli.top:top",
    "export": "multigrey.cli.export:export",
    "rehearse": "multigrey.cli.rehearse:rehearse",
    "snippet": "multigrey.cli.snippet:snippet",
    "check": "multigrey.cli.check:check",
    "completions": "multigrey.cli.completions:completions",
    "reload": "multigrey.cli.mode:reload",
    "mode": "multigrey.cli.mode:mode",
    "tighten": "multigrey.cli.mode:tighten",
    "relax": "multigrey.cli.mode:relax",
    "backup": "multigrey.cli.store:backup",
    "verify": "multigrey.cli.store:verify",
    "compact": "multigrey.cli.store:compact",
}


class _LazyGroup(click.Group):
    """A group that imports a command only when it is run (or all of them for --help)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the manual."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by name; None if it is unknown, which click reports with similar names."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="multigrey %(version)s")
def main() -> None:
    """Greylisting for Exim, Postfix and other programs that use the greylistd protocol.

    Exit status: 0 on success, 2 for a wrong configuration or command line; the help of each command lists
    its other numbers.
    """
