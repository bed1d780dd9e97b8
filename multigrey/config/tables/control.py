"""`[control]`: the socket administrators ask."""

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
    """Said instead of an endpoint: there is to be none."""

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
    """`[control]`: the administrator's socket, which multigrey's own commands use.  Changes need a restart.

    Root and the user multigrey runs as may do everything there; the kernel tells who asks.
    """

    address: Annotated[UnixEndpoint | NoEndpoint | None, Kind("endpoint", _read_control)] = Field(
        default=None,
        description="Where to listen: unix:PATH (an absolute path of at most 107 octets), or off for no "
        "control socket at all; by default control.sock in state_dir.",
    )
    read_group: Label | None = Field(
        default=None,
        description="Name of a group whose members may look: at the daemon's state, at records and "
        "decisions with their addresses, at explanations; they can change nothing.",
    )
    admin_group: Label | None = Field(
        default=None,
        description="Name of a group whose members may do everything, as root may: forget records, edit "
        "whitelists, reload, switch greylisting off.",
    )
