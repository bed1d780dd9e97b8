"""The entry point of `multigrey` and `python -m multigrey`."""

from __future__ import annotations

from multigrey import cli

__all__ = ["main"]


def main() -> None:
    """Run the command line.  Ends the process with the exit status of the command."""
    cli.main(prog_name="multigrey")


if __name__ == "__main__":
    main()
