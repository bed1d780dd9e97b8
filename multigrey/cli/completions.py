"""`multigrey completions`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["VARIABLE", "completions"]

VARIABLE = "_MULTIGREY_COMPLETE"
"""The environment variable through which the script asks the program for possible words."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completions(ctx: click.Context, shell: str) -> None:
    """Print a script with which a shell completes commands.

    It completes multigrey's commands and their options.

    bash: multigrey completions bash > /etc/bash_completion.d/multigrey (bash 4.4 or later);
    zsh: multigrey completions zsh > a file _multigrey in a directory of $fpath;
    fish: multigrey completions fish > ~/.config/fish/completions/multigrey.fish

    Exit status: 0.
    """
    found = get_completion_class(shell)
    assert found is not None
    asked = found(ctx.find_root().command, {}, "multigrey", VARIABLE)
    click.echo(asked.source_template % asked.source_vars())
