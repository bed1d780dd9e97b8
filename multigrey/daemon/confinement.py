"""What a configuration needs to write, to listen at and to connect to, and the confinement to that.

The daemon confines itself once it has given up root and before it loads plugins: from then on it can only
write where its configuration says so.  Reading is left to the permissions of files.

A confinement cannot be widened.  A reload whose configuration needs more is therefore refused; `outside` says
what is missing, to the daemon and to `multigrey check-config`.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from multigrey.config.load import Loaded
from multigrey.config.locate import KeyPath
from multigrey.config.settings import Settings
from multigrey.config.tables.control import NoEndpoint
from multigrey.config.values.types import TcpEndpoint, UnixEndpoint, parse_endpoint
from multigrey.control.endpoint import control_path
from multigrey.daemon import landlock
from multigrey.daemon.landlock import Access
from multigrey.errors import ConfigError, Problem
from multigrey.plugins.hookspecs import PROJECT

__all__ = [
    "Confinement",
    "Requirement",
    "confine",
    "needs_at_reload",
    "needs_at_start",
    "outside",
    "restart_problems",
]

logger = logging.getLogger(__name__)

ANY_PORT = 0
_RIGHTS: Mapping[str, Access] = {
    "write": ~(Access.IOCTL_DEV | Access.MAKE_CHAR | Access.MAKE_BLOCK),
    "log": Access.WRITE_FILE | Access.MAKE_REG,
    "socket": Access.REMOVE_FILE | Access.MAKE_SOCK,
}
"""By kind of need, the rights in a directory."""


class Requirement(NamedTuple):
    """One thing that the daemon has to be able to do."""

    kind: str
    """write, log or socket (into a directory), bind or connect (a TCP port)."""
    value: str | int
    """The directory, or the port (0: any)."""
    key: KeyPath
    """The key of the configuration that needs it."""
    text: str
    """As the administrator wrote it: a path, an endpoint or a plugin."""

    @property
    def granted(self) -> Mapping[str, str | int]:
        """Kind and value, as `status` shows them."""
        return {"kind": self.kind, "value": self.value}


def needs_at_start(settings: Settings) -> list[Requirement]:
    """Everything that a daemon with this configuration needs."""
    found = [Requirement("write", str(settings.state_dir), ("state_dir",), str(settings.state_dir))]
    for index, listen in enumerate(settings.listen):
        found += _of_endpoint(listen.address, ("listen", index, "address"))
    control = control_path(settings.control, settings.state_dir)
    if control is not None and not isinstance(settings.control.address, NoEndpoint):
        found += _of_endpoint(UnixEndpoint(control), ("control", "address"))
    found += _of_endpoint(settings.metrics.address, ("metrics", "address"))
    return [*found, *needs_at_reload(settings)]


def needs_at_reload(settings: Settings) -> list[Requirement]:
    """The part of it that a reload can change; other keys only count from the next start on."""
    found = [
        Requirement("write", str(path), ("confinement", "write", index), str(path))
        for index, path in enumerate(settings.confinement.write)
    ]
    if settings.log.to.startswith("/"):
        found.append(Requirement("log", str(Path(settings.log.to).parent), ("log", "to"), settings.log.to))
    for path, endpoint in _endpoints(settings.plugins.tables, ("plugins",)):
        found += _of_endpoint(endpoint, path)
    ports = settings.confinement.connect
    if ports is not None:
        return [
            *found,
            *(Requirement("connect", port, ("confinement", "connect"), f"port {port}") for port in ports),
        ]
    if settings.plugins.dir is not None:
        found.append(Requirement("connect", ANY_PORT, ("plugins", "dir"), str(settings.plugins.dir)))
    names = {point.name for point in importlib.metadata.entry_points(group=PROJECT)}
    return [
        *found,
        *(Requirement("connect", ANY_PORT, ("plugins", name), f"plugin {name}") for name in sorted(names)),
    ]


def _of_endpoint(endpoint: object, key: KeyPath) -> Iterator[Requirement]:
    if isinstance(endpoint, UnixEndpoint):
        yield Requirement("socket", str(endpoint.path.parent), key, str(endpoint))
    elif isinstance(endpoint, TcpEndpoint):
        yield Requirement("bind", endpoint.port, key, str(endpoint))


def _endpoints(value: object, key: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    """The endpoints in tables of plugins, which have not been loaded yet, by key."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _endpoints(inner, (*key, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _endpoints(inner, (*key, index))
    elif isinstance(value, str) and value.startswith(("unix:", "tcp:")):
        try:
            yield key, parse_endpoint(value)
        except ValueError:
            return


def outside(granted: Iterable[Mapping[str, Any]], needs: Iterable[Requirement]) -> list[Requirement]:
    """The needs that a confinement does not allow."""
    allowed = [(str(each["kind"]), each["value"]) for each in granted]
    return [need for need in needs if not any(_covers(kind, value, need) for kind, value in allowed)]


def _covers(kind: str, value: str | int, need: Requirement) -> bool:
    if isinstance(value, int) or isinstance(need.value, int):
        return kind == need.kind and value in {need.value, ANY_PORT}
    if kind not in {need.kind, "write"}:
        return False
    return Path(os.path.realpath(need.value)).is_relative_to(os.path.realpath(value))


@dataclass(frozen=True, slots=True)
class Confinement:
    """The confinement of this process, if there is one."""

    needs: Sequence[Requirement] = ()
    """What it allows."""
    version: int = 0
    """Of Landlock; 0: the process is not confined."""

    @property
    def granted(self) -> Sequence[Mapping[str, str | int]] | None:
        """What it allows, for `outside`; None: everything."""
        return [need.granted for need in self.needs] if self.version else None

    def refuse_wider(self, loaded: Loaded) -> None:
        """Raise ConfigError if a reload with this configuration needs more than is allowed."""
        problems = restart_problems(self.granted, loaded)
        if problems:
            raise ConfigError(problems)


def restart_problems(granted: Sequence[Mapping[str, Any]] | None, loaded: Loaded) -> list[Problem]:
    """What a running daemon with this confinement (None: not confined) refuses in a configuration."""
    if granted is None:
        return []
    return [
        loaded.problem(need.key, f"restart needed: {need.text} is outside what the running daemon may use")
        for need in outside(granted, needs_at_reload(loaded.settings))
    ]


def confine(settings: Settings, environ: Mapping[str, str]) -> Confinement:
    """Confine this process to what the configuration needs, as far as the kernel can.

    To be called before the first thread is started.  Says in the log, once, if the process is not confined.
    """
    if settings.confinement.mode == "off":
        return Confinement()
    needs = needs_at_start(settings)
    version = landlock.version()
    try:
        if not version:
            landlock.forbid_new_privileges()
            logger.warning("not confined: this kernel has no Landlock, or a filter of system calls hides it")
            return Confinement()
        connect = {need.value for need in needs if need.kind == "connect"}
        landlock.restrict(
            _rules(needs),
            {int(need.value) for need in needs if need.kind == "bind"},
            None if ANY_PORT in connect else {int(port) for port in connect},
            abstract_sockets=environ.get("NOTIFY_SOCKET", "").startswith("@"),
        )
    except OSError as error:
        logger.warning("not confined: the kernel refuses: %s", error.strerror or error)
        return Confinement()
    return Confinement(needs, version)


def _rules(needs: Iterable[Requirement]) -> dict[Path, Access]:
    found = {Path("/dev/null"): Access.WRITE_FILE}
    for need in needs:
        if isinstance(need.value, int):
            continue
        path = Path(os.path.realpath(need.value))
        if path.is_dir():
            found[path] = found.get(path, Access(0)) | _RIGHTS[need.kind]
        else:
            logger.warning("%s: is not there, so it stays out of reach until the next start", path)
    return found
