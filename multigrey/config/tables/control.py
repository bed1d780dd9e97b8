"""`[control]`: the socket that multigrey's administration commands use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from multigrey.config.tables.table import ConfigTable, Label
from multigrey.config.values.types import (
    Kind,
    UnixEndpoint,
    parse_endpoint,
    shown,
)

__all__ = ["Control", "NoEndpoint"]


@dataclass(frozen=True, slots=True)
class NoEndpoint:
    """The value `off` of `address`: no control socket."""

    def __str__(self) -> str:
        return "off"


def _read_control(value: object) -> UnixEndpoint | NoEndpoint:
    if value == "off" or isinstance(value, NoEndpoint):
        return NoEndpoint()
    try:
        endpoint = parse_endpoint(value)
    except ValueError:
        if isinstance(value, str) and value.startswith("unix:"):
            raise
        endpoint = None
    if not isinstance(endpoint, UnixEndpoint):
        message = f'the control socket is a unix socket: expected "unix:PATH" or "off", got {shown(value)}'
        raise ValueError(message)  # noqa: TRY004  (pydantic collects ValueError)
    return endpoint


class Control(ConfigTable):
    """`[control]`: the control socket, which multigrey's own commands use.  A change needs a restart.

    Root and the user that multigrey runs as may do everything there.  The kernel identifies the caller.
    """

    address: Annotated[UnixEndpoint | NoEndpoint | None, Kind("endpoint", _read_control)] = Field(
        default=None,
        description="Where to listen: unix:PATH (an absolute path of at most 107 octets), or off for no "
        "control socket.  The default is control.sock in state_dir.",
    )
    read_group: Label | None = Field(
        default=None,
        description="Name of a group whose members may read: the daemon's state, records and decisions with "
        "their addresses, and explanations.  They cannot change anything.",
    )
    operate_group: Label | None = Field(
        default=None,
        description="Name of a group whose members may read and let in the mail that one recipient waits "
        "for, as a help desk does: multigrey expect, and multigrey records pass with a recipient.  They "
        "can change nothing else.",
    )
    admin_group: Label | None = Field(
        default=None,
        description="Name of a group whose members may do everything that root may: forget records, edit "
        "whitelists, reload the configuration, switch greylisting off.",
    )
