"""The command `multigrey-web`: serves the pages from a separate process, beside the daemon."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import trio
from pydantic import BaseModel

from multigrey.api import ConfigError
from multigrey.control.client import load_as_daemon, socket_of
from multigrey_web.service import Page
from multigrey_web.settings import WebSettings

__all__ = ["main"]

_EXIT_CONFIG = 2


class _Others(BaseModel):
    """Accepts the table of any other plugin, which may not be installed here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.  Returns the exit status; 2 if the configuration is wrong."""
    parser = argparse.ArgumentParser(prog="multigrey-web", description="Shows what a multigrey daemon does.")
    parser.add_argument("--config", "-c", type=Path, help="the configuration of the daemon to show")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="multigrey-web: %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        page = page_of(options.config)
    except (ConfigError, ValueError) as error:
        sys.stderr.write(f"multigrey-web: {error}\n")
        return _EXIT_CONFIG
    trio.run(_serve, page)
    return 0


def page_of(config: Path | None) -> Page:
    """Return the page of a configuration (None: the one in use on this host).  Raises ConfigError."""
    loaded = load_as_daemon(config, os.environ)
    models: dict[str, type[BaseModel]] = dict.fromkeys(loaded.settings.plugins.tables, _Others)
    models["web"] = WebSettings
    wanted = loaded.plugin_tables(models).get("web", WebSettings.usual())
    assert isinstance(wanted, WebSettings)
    control = wanted.socket(socket_of(loaded.settings))
    return Page(wanted, control, redact=loaded.settings.log.redact)


async def _serve(page: Page) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(page.run)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


if __name__ == "__main__":
    sys.exit(main())
