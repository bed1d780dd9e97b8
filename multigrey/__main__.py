"""`multigrey` and `python -m multigrey`."""

from __future__ import annotations

from multigrey import cli

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    cli.main(prog_name="multigrey")


if __name__ == "__main__":
    main()
