"""The two hooks a plugin may implement, and how it says so.

A plugin is a module or an object found through the entry point group `multigrey` of an installed
distribution, or a Python file in `[plugins] dir`.  It marks functions with `hookimpl`:

    from multigrey.api import hookimpl

    @hookimpl
    def multigrey_register(registry, settings):
        registry.trait("business-hours", BusinessHours())

Both hooks are called when the daemon starts and at each reload, never while an attempt is judged:
the objects that were registered are called then, in the order the configuration names them.
`multigrey.api` has all that a plugin may import.  A later version may give a hook more arguments;
an implementation names the ones it wants, so it keeps working.

Errors.  A plugin that cannot be imported, and one whose hook raises, is named in the log with its
distribution and left out; if the configuration has a `[plugins.NAME]` table for it, multigrey
refuses to start (or keeps what it had, at a reload).  Nothing of a plugin that failed half-way
stays registered.  A function marked `hookimpl` whose name is no hook, or that asks for an argument
the hook does not have, is refused always.

While attempts are judged, an exception or a value of the wrong type (an `async def` where a plain
function is asked for gives a coroutine, which counts as nothing) is counted, logged at most once a
minute for each plugin, and taken as "no vote": no match, no such trait, no text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pluggy
from pydantic import BaseModel

from multigrey.contracts import Registry

__all__ = ["PROJECT", "hookimpl", "hookspec", "multigrey_register", "multigrey_settings"]

PROJECT = "multigrey"
"""The name pluggy knows us by, and the entry point group of plugins."""

hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks a function of this module as a hook."""
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as one of the hooks below."""


@hookspec
def multigrey_settings() -> tuple[str, type[BaseModel]]:  # type: ignore[empty-body]  # (a specification has none)
    """The name of the plugin's configuration table and the pydantic model that checks it.

    `("example", ExampleSettings)` gives it the table `[plugins.example]`.  The name should be that
    of the plugin's entry point, so that a configured plugin that is not installed can be named; no
    two plugins may have the same; `greylist` and `control` are taken.  The model should forbid unknown keys
    (`extra="forbid"`).  Errors in the table are told with file, line and key, together with every
    other error of the configuration, before anything is registered.

    Optional: a plugin without it has no settings.  Called once each time plugins are loaded.
    """


@hookspec
def multigrey_register(
    registry: Registry,
    settings: Mapping[str, BaseModel],
    registered_domain: Callable[[str], str | None],
) -> None:
    """Add what the plugin has to offer to `registry`.

    `settings` holds the checked table of each plugin under its name, `greylist`: the `[greylist]`
    table, and `control`: the `[control]` table, whose `address` has the `path` of the socket that is
    used (and is no UnixEndpoint when there is none).  A plugin without a table in the configuration
    finds its defaults, or nothing if its model has required fields; then it should register nothing,
    and not complain.

    A word is registered once: PluginError, naming the plugin that has it, is raised when it is
    taken, and also when the object lacks a method, or has one of the wrong kind (`async def` or
    not).  Let it through, it is meant for the administrator; so is anything the plugin raises
    itself: the text should say what to do.

    `registered_domain` gives the registered domain of a name by the public suffix list, None if it has
    none; the name in the form `host_name` gives.  It may be kept, and called from any thread.

    It may read files, but not wait for the network: the daemon is not answering yet, or answers
    with what it had.  Whatever takes time belongs into a service (`registry.service`).  It must not
    keep `registry`: nothing can be added later.
    """
