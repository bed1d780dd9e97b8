"""The two hooks that a plugin may implement, and how it marks them.

A plugin is a module or object that an installed distribution names in the entry point group
`multigrey`, or a Python file in `[plugins] dir`.  It marks functions with `hookimpl`:

    from multigrey.api import hookimpl

    @hookimpl
    def multigrey_register(registry, settings):
        registry.trait("business-hours", BusinessHours())

Both hooks are called when the daemon starts and at each reload, never while an attempt is processed.
For each attempt the registered objects are called, in the order in which the configuration names them.
`multigrey.api` has everything that a plugin may import.  A later version may add arguments to a hook;
an implementation names only the arguments it needs, so it keeps working.

Errors.  If a plugin cannot be imported, or its hook raises, the log names it with its distribution,
and the plugin is left out.  If the configuration has a `[plugins.NAME]` table for it, multigrey
refuses to start (or keeps its previous configuration, at a reload).  A plugin that fails half-way
leaves nothing registered.  A function marked `hookimpl` is always refused if a hook of its name does
not exist, or if it names an argument that the hook does not have.

While attempts are processed, an exception or a value of the wrong type is counted, logged at most
once a minute for each plugin, and means "no vote": no match, no such trait, no text.  A coroutine,
from an `async def` where a plain function is required, is such a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pluggy
from pydantic import BaseModel

from multigrey.contracts import Registry

__all__ = ["PROJECT", "hookimpl", "hookspec", "multigrey_register", "multigrey_settings"]

PROJECT = "multigrey"
"""The project name in pluggy, and the entry point group of plugins."""

hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks a function of this module as a hook."""
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as one of the hooks below."""


@hookspec
def multigrey_settings() -> tuple[str, type[BaseModel]]:  # type: ignore[empty-body]  # (a specification has none)
    """Return the name of the plugin's configuration table and the pydantic model that checks it.

    `("example", ExampleSettings)` gives the plugin the table `[plugins.example]`.  The name should be
    that of the plugin's entry point, so that an error message can name a configured plugin that is not
    installed.  Two plugins must not have the same name; `greylist` and `control` are reserved.  The
    model should forbid unknown keys (`extra="forbid"`).  Errors in the table are reported with file,
    line and key, together with all other errors of the configuration, before anything is registered.

    This hook is optional: a plugin without it has no settings.  It is called once each time that
    plugins are loaded.
    """


@hookspec
def multigrey_register(
    registry: Registry,
    settings: Mapping[str, BaseModel],
    registered_domain: Callable[[str], str | None],
) -> None:
    """Register the plugin's objects in `registry`.

    `settings` holds the checked table of each plugin under its name, the `[greylist]` table under
    `greylist`, `[log]` under `log` (its `redact` says whether logs must not hold addresses), and `[control]`
    under `control`; the latter's `address` has the `path` of the socket in use (and is not a UnixEndpoint
    without a control socket).  A plugin without a table in
    the configuration finds its defaults, or no entry if its model has required fields.  Then it should
    register nothing and raise no error.

    A name can be registered once.  PluginError is raised if another plugin has registered the name (the
    message says which), and if the object lacks a method, or has one of the wrong kind (`async def` or
    not).  Do not catch it: the message is meant for the administrator.  So is the message of any error
    that the plugin raises itself: it should say what to do.

    `registered_domain` returns the registered domain of a name by the public suffix list, or None if it
    has none; the name must be in the form that `host_name` returns.  The plugin may keep the function,
    and call it from any thread.

    The hook may read files, but must not wait for the network: until it returns, the daemon does not
    answer yet, or answers with its previous configuration.  Longer work belongs into a service
    (`registry.service`).  The hook must not keep `registry`: nothing can be registered later.
    """
