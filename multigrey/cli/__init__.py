"""The command line: the group of all commands, each imported only when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from multigrey import __version__
from multigrey.cli.daemon_place import place_options

__all__ = ["COMMANDS", "GROUPS", "main"]

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Where is my mail": {
        "where": "multigrey.cli.where:where",
        "explain": "multigrey.cli.explain:explain",
        "history": "multigrey.cli.history:history",
        "expect": "multigrey.cli.expect:expect",
        "watch": "multigrey.cli.watch:watch",
    },
    "Lists and rules": {
        "whitelist": "multigrey.cli.whitelist:whitelist",
        "rule": "multigrey.cli.rule:rule",
        "rehearse": "multigrey.cli.rehearse:rehearse",
    },
    "State and figures": {
        "status": "multigrey.cli.status:status",
        "check": "multigrey.cli.check:check",
        "top": "multigrey.cli.top:top",
        "report": "multigrey.cli.report:report",
    },
    "Steering": {
        "reload": "multigrey.cli.mode:reload",
        "mode": "multigrey.cli.mode:mode",
        "tighten": "multigrey.cli.mode:tighten",
        "relax": "multigrey.cli.mode:relax",
    },
    "Store": {
        "records": "multigrey.cli.records:records",
        "origins": "multigrey.cli.origins:origins",
        "export": "multigrey.cli.export:export",
        "backup": "multigrey.cli.backup:backup",
        "restore": "multigrey.cli.restore:restore",
        "verify": "multigrey.cli.store:verify",
        "compact": "multigrey.cli.store:compact",
    },
    "Setting up": {
        "serve": "multigrey.cli.serve:serve",
        "check-config": "multigrey.cli.config:check_config",
        "show-config": "multigrey.cli.config:show_config",
        "personal-data": "multigrey.cli.personal_data:personal_data",
        "snippet": "multigrey.cli.snippet:snippet",
        "setup": "multigrey.cli.host_setup:setup",
        "completions": "multigrey.cli.completions:completions",
    },
}
"""Where each command is defined, under the headings of --help."""

COMMANDS = {name: place for group in GROUPS.values() for name, place in group.items()}


class _LazyGroup(click.Group):
    """A group that imports a command only when it is run (or all of them for --help)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of --help."""
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is an error that names the nearest known one."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            # click looks among the commands that it holds itself, and a lazy group holds none.
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first sentence of each command, under the headings of `GROUPS`."""
        longest = max(map(len, COMMANDS))
        for heading, names in GROUPS.items():
            rows = [(name, self._sentence(ctx, name, formatter.width - longest - 4)) for name in names]
            with formatter.section(heading):
                formatter.write_dl(rows, col_spacing=2 + longest - max(map(len, names)))

    def _sentence(self, ctx: click.Context, name: str, room: int) -> str:
        command = self.get_command(ctx, name)
        assert command is not None
        return command.get_short_help_str(room)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="multigrey %(version)s")
@place_options
def main() -> None:
    """Greylisting for Exim, Postfix and other programs that use the greylistd protocol.

    Exit status: 0 on success, 2 for a wrong configuration or command line; the help of each command lists
    its other numbers.
    """
