"""`multigrey serve`: starts the daemon from the command line."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
import trio

from multigrey.archive.placement import finish_restore
from multigrey.cli.daemon_place import named_state_dir
from multigrey.clock import Clock, SystemClock
from multigrey.config.load import Loaded, load
from multigrey.config.origin_lists import read_shipped
from multigrey.config.values.types import TcpEndpoint
from multigrey.control.endpoint import open_control
from multigrey.daemon.assembly import assemble
from multigrey.daemon.confinement import confine
from multigrey.daemon.daemon import Daemon
from multigrey.daemon.privileges import (
    Identity,
    become,
    hand_over,
    identity_for,
    import_before_dropping_root,
)
from multigrey.daemon.recovery import begin
from multigrey.daemon.systemd import inherited_sockets
from multigrey.errors import ConfigError, MultigreyError, StoreError
from multigrey.listeners.directories import open_directory
from multigrey.listeners.endpoints import open_all
from multigrey.listeners.free_ports import free_port, is_free, port_holder
from multigrey.log.diagnostics import diagnostics
from multigrey.plugins.isolation import end_isolated
from multigrey.stores.site_key import load_site_key

__all__ = ["prepare_and_run", "serve"]

logger = logging.getLogger(__name__)

EXIT_CONFIG = 2
EXIT_START = 1
_COLLECT_AFTER = 10_000
"""New objects that may exist before the garbage collector looks at them."""
_TURN = 0.0002
"""Seconds after which a computing thread gives way to the event loop.  With Python's default of 5 ms answers
wait for the thread that writes a checkpoint: measured, p95 under a load of new senders was a fifth longer."""
_KEPT = 1 << 20
_MALLOPT = {-1: _KEPT, -3: _KEPT}
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h, in bytes."""
_LAST_TASKS = 1.0
"""Seconds that tasks of plugins have to end after everything else has."""


class _Listen(click.ParamType[tuple[str, str]]):
    """A protocol and its address; the value is both, the address in the form of the configuration."""

    name = "protocol=address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """See `click.ParamType.convert`."""
        if isinstance(value, tuple):
            return value
        protocol, equals, address = value.partition("=")
        if not protocol or not equals or not address:
            self.fail(f"{value!r}: expected PROTOCOL=ADDRESS, as in postfix=tcp:127.0.0.1:10025", param, ctx)
        if address.isdecimal():
            address = f"tcp:127.0.0.1:{address}"
        elif address.startswith(("/", ".")):
            address = f"unix:{Path(address).absolute()}"
        return protocol, address


@click.command()
@click.option("--config", "-c", type=click.Path(path_type=Path), help="The configuration file.")
@click.option(
    "--state-dir", type=click.Path(path_type=Path), help="The state directory (overrides the file)."
)
@click.option("--user", help="The user to become when started as root (overrides the file).")
@click.option(
    "--listen",
    type=_Listen(),
    multiple=True,
    metavar="PROTOCOL=ADDRESS",
    help="Listen there instead of where the file has this protocol, as in postfix=tcp:127.0.0.1:10025; a "
    "port alone is one of 127.0.0.1, a path alone a unix socket.  May be given several times.",
)
def serve(
    config: Path | None, state_dir: Path | None, user: str | None, listen: tuple[tuple[str, str], ...]
) -> None:
    """Run the daemon in the foreground until SIGTERM or SIGINT.

    Without a file, a port of the defaults that another program has is replaced by the next free one, and
    standard error says by which.

    Exit status: 0 after an orderly end, 1 when it could not start, 2 for a wrong configuration.
    """
    overrides = {}
    if state_dir is None:
        state_dir = named_state_dir()  # before the name of the command
    if state_dir is not None:
        overrides["state_dir"] = str(state_dir.absolute())
    if user is not None:
        overrides["user"] = user
    load_it = partial(load, config, os.environ, overrides, uid=os.geteuid())
    sys.exit(prepare_and_run(_Loader(load_it, listen), SystemClock()))


class _Loader:
    """Loads the configuration; without a file it looks, the first time, for free ports for the defaults."""

    def __init__(self, load_it: Callable[..., Loaded], listen: Sequence[tuple[str, str]]) -> None:
        self._load = load_it
        self._listen = listen
        self._is_first = True

    def __call__(self) -> Loaded:
        loaded = self._load(listen=self._listen)
        is_first, self._is_first = self._is_first, False
        if not is_first or loaded.path is not None or "RUNTIME_DIRECTORY" in os.environ:
            return loaded
        named = {protocol for protocol, _ in self._listen}
        listens = loaded.settings.listen
        taken = [each.address.port for each in listens if isinstance(each.address, TcpEndpoint)]
        found: list[tuple[str, str]] = []
        for listen in listens:
            address = listen.address
            is_ours = listen.protocol not in named
            if is_ours and isinstance(address, TcpEndpoint) and not is_free(address):
                address = _moved(listen.protocol, address, taken)
                taken.append(address.port)
            found.append((listen.protocol, str(address)))
        if found == [(listen.protocol, str(listen.address)) for listen in listens]:
            return loaded
        self._listen = found  # a reload must not look for free ports again: these are ours then
        return self._load(listen=found)


def _moved(protocol: str, address: TcpEndpoint, taken: Sequence[int]) -> TcpEndpoint:
    """The next free port, which is announced; the same one if there is none."""
    free = free_port(address, taken)
    if free is None:
        return address
    holder = port_holder(address.port) or "another program"
    click.echo(
        f"multigrey: {holder} listens on {address}: {protocol} is served on {free} instead (another address: "
        f"--listen {protocol}=ADDRESS)",
        err=True,
    )
    return free


def prepare_and_run(
    load_config: Callable[[], Loaded], clock: Clock, when_ready: Callable[[], None] = lambda: None
) -> int:
    """Load the configuration, bind the sockets, give up root, and serve.  Returns the exit status.

    What needs root (sockets, the state directory) comes first.  Files that other users may have written
    (plugins, lists) are read only after root is given up.
    """
    _keep_little()
    with diagnostics(os.environ):
        return _prepare_and_run(load_config, clock, when_ready)


def _prepare_and_run(load_config: Callable[[], Loaded], clock: Clock, when_ready: Callable[[], None]) -> int:
    try:
        loaded = load_config()
        settings = loaded.settings
        identity = identity_for(settings.user, os.geteuid())
        prepare_state_dir(settings.state_dir, identity)
        owner = (-1, -1) if identity is None else (identity.uid, identity.gid)
        endpoints = open_all(settings, inherited_sockets(os.environ, os.getpid()), owner)
        control = None if settings.control.address is None else open_control(settings, owner)
        if identity is not None:
            # Again, because opening the sockets may just have made their folder there as root: the daemon's
            # user has to own it to be able to remove them.
            prepare_state_dir(settings.state_dir, identity)
            import_before_dropping_root()
            read_shipped()
            become(identity)
        if settings.control.address is None:  # it is in the state directory, where root should write nothing
            control = open_control(settings)
        finish_restore(settings.state_dir)
        site_key = load_site_key(settings.state_dir)
        # As the daemon's user, and before the store is opened, which a damaged page may not let it survive.
        with closing(begin(settings, os.environ)) as starts:
            confinement = confine(settings, os.environ)  # before plugins are loaded, and before any thread
            daemon = Daemon(
                loaded=loaded,
                assembly=assemble(loaded, site_key, clock),
                endpoints=endpoints,
                site_key=site_key,
                clock=clock,
                load=load_config,
                environ=os.environ,
                host=socket.gethostname(),
                control=control,
                confinement=confinement,
                served=starts.served,
            )
            return _run(daemon, when_ready)
    except ConfigError as error:
        click.echo(str(error), err=True)
        return EXIT_CONFIG
    except MultigreyError as error:
        click.echo(f"multigrey: {error}", err=True)
        return EXIT_START


def prepare_state_dir(path: Path, identity: Identity | None) -> None:
    """Make the state directory, owned by the user that the daemon will become.

    Other users may pass through it to the sockets below, but cannot list it.  Raises StoreError.
    """
    try:
        directory = open_directory(path, 0o711)
        with closing(directory):
            if identity is not None:
                hand_over(directory, identity)
    except OSError as error:
        raise StoreError(f"state directory {path}: {error.strerror or error}") from error


def _run(daemon: Daemon, when_ready: Callable[[], None]) -> int:
    # Objects made at start-up stay until the end, so the collector need not look at them again.  Later
    # objects hardly ever form cycles, so it may run rarely.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    sys.setswitchinterval(_TURN)
    _give_back()
    status = 0
    try:
        trio.run(_serve, daemon, when_ready)
    except* MultigreyError as group:
        for error in _leaves(group):
            click.echo(f"multigrey: {error}", err=True)
        status = EXIT_START
    return status


def _keep_little() -> None:
    """Make the C library keep little of the memory that is freed (mallopt(3)): this saves 3 MB of 50.

    By default it keeps more and more once large blocks are allocated and freed, as at start-up.
    """
    with suppress(OSError, AttributeError):  # glibc only
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOPT.items():
            mallopt(option, value)


def _give_back() -> None:
    """Make the C library return memory that start-up has freed to the system: some megabytes."""
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)


async def _serve(daemon: Daemon, when_ready: Callable[[], None]) -> None:
    """Run the daemon until it ends; call `when_ready` once it serves."""
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(daemon.run)
            when_ready()
    finally:
        with trio.CancelScope(shield=True):
            hanging = await end_isolated(_LAST_TASKS)
        if hanging:
            _leave(hanging, sys.exception())


def _leave(hanging: Sequence[str], error: BaseException | None) -> NoReturn:
    """End the process without waiting for plugins.  Everything of ours is written and closed."""
    if error is not None:
        logger.error("the daemon failed", exc_info=error)
    logger.error("these ignore that they are cancelled, and are left behind: %s", ", ".join(hanging))
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_START if error is not None else 0)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The exceptions inside nested groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
