"""A process that runs one operation on the store of a stopped daemon, as the daemon's user.

`cli.client` starts it, writes one JSON object to its standard input, and reads from its standard output what
a daemon would answer (see `control.protocol`).  Because the process becomes the daemon's user, it makes no
file that the daemon could not open later, and plugins and lists get no rights that the daemon would not give
them.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import trio

from multigrey.archive.placement import finish_restore
from multigrey.clock import SystemClock
from multigrey.config.load import Loaded
from multigrey.config.origin_lists import read_shipped
from multigrey.control.endpoint import load_as_daemon
from multigrey.control.operations.all import all_operations
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import BY, Operation, OperationError, code_of
from multigrey.control.protocol import Code, ControlDialogue
from multigrey.control.protocol import encoded as encode
from multigrey.core import make_store, open_core
from multigrey.daemon.assembly import assemble
from multigrey.daemon.privileges import Identity, PrivilegeError, become, import_before_dropping_root
from multigrey.engine.ids import make_ids
from multigrey.errors import AddressError, CommandError, ConfigError, MultigreyError, PluginError
from multigrey.history.reader import PastHistory
from multigrey.identity.redaction import Redactor
from multigrey.stores.lmdb.damage.starts import noted_signals
from multigrey.stores.lmdb.state_files import StateFiles
from multigrey.stores.site_key import check_site_key, load_site_key

__all__ = ["main"]


def main() -> None:
    """Answer the one request on standard input."""
    request = json.load(sys.stdin)
    dialogue = ControlDialogue()
    try:
        _answer(request, dialogue)
    except (ConfigError, PluginError) as error:
        dialogue.error(1, str(error), Code.CONFIG)
    except PrivilegeError as error:
        dialogue.error(1, str(error), Code.NOT_ALLOWED)
    except (OperationError, AddressError, CommandError) as error:
        dialogue.error(1, str(error), code_of(error))
    except MultigreyError as error:
        text = f"{request['nobody']}\nits store cannot be used either: {error}"
        dialogue.error(1, text, Code.NO_DAEMON)
    _write(dialogue)


def _answer(request: Mapping[str, Any], dialogue: ControlDialogue) -> None:
    config, state_dir = (request[name] and Path(request[name]) for name in ("config", "state_dir"))
    loaded = load_as_daemon(config, os.environ, state_dir)
    state_dir = loaded.settings.state_dir
    owner = _owner(state_dir)
    if owner is None:
        dialogue.error(1, request["nobody"], Code.NO_DAEMON)
        return
    # Before root is given up: the daemon's user may not be able to read these files.
    import_before_dropping_root()
    read_shipped()
    _become_owner(state_dir, owner)
    with noted_signals(StateFiles(state_dir)):
        trio.run(_run, loaded, request, dialogue)


def _owner(state_dir: Path) -> os.stat_result | None:
    """The owner of a state directory that holds a store; None: it holds none."""
    try:
        StateFiles(state_dir).data.lstat()
        return state_dir.stat()
    except PermissionError:
        raise PrivilegeError(f"{state_dir}: not yours: ask as root or the daemon's user") from None
    except OSError:
        return None


def _become_owner(state_dir: Path, owner: os.stat_result) -> None:
    if owner.st_uid == os.geteuid():
        return
    if os.geteuid() != 0:
        raise PrivilegeError(f"{state_dir} belongs to another user: ask as root or that user")
    become(Identity(_user_name(owner.st_uid), owner.st_uid, owner.st_gid))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


async def _run(loaded: Loaded, request: Mapping[str, Any], dialogue: ControlDialogue) -> None:
    settings = loaded.settings
    clock = SystemClock()
    finish_restore(settings.state_dir)
    site_key = load_site_key(settings.state_dir)
    assembly = assemble(loaded, site_key, clock)
    core = open_core(assembly, make_store(assembly), site_key=site_key, clock=clock, ids=make_ids())
    parts = OperationContext(
        core,
        decisions=PastHistory(settings.state_dir, settings.history.map_size, Redactor(site_key)),
    )
    operation = all_operations(parts).get(request["ask"])
    if not operation.offline:
        dialogue.error(1, request["nobody"], Code.NO_DAEMON)
        return
    failure: MultigreyError | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(core.store.run)
            await check_site_key(core.store, site_key)
            try:
                await core.load()
                await _carry_out(operation, {**request["with"], BY: request["by"]}, dialogue)
            except MultigreyError as error:
                failure = error
            nursery.cancel_scope.cancel()
    except* MultigreyError as group:
        failure = _first(group)
    if failure is not None:
        raise failure


async def _carry_out(operation: Operation, options: Mapping[str, Any], dialogue: ControlDialogue) -> None:
    if operation.answer is not None:
        dialogue.answer(1, encode(await operation.answer(options)))
        return
    assert operation.stream is not None
    async with aclosing(cast("Any", operation.stream(options))) as items:
        async for item in items:
            dialogue.item(1, encode(item))
            _write(dialogue)
    dialogue.end(1)


def _first(error: BaseException) -> MultigreyError:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MultigreyError)
    return error


def _write(dialogue: ControlDialogue) -> None:
    try:
        sys.stdout.buffer.write(dialogue.data_to_send())
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.exit(0)
