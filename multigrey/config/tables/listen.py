"""`[[listen]]`: an endpoint that mail servers send requests to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from multigrey.config.tables.table import ConfigTable, Conflict, Label, conflicts
from multigrey.config.values.types import (
    EndpointText,
    Mode,
    Network,
    TcpEndpoint,
    UnixEndpoint,
    Word,
)

__all__ = ["Listen", "named_by_protocol"]


def _listener_name(values: Mapping[str, Any]) -> str:
    """The name of a listener whose protocol is not enough; `values` holds only those keys that are valid."""
    return f"{values.get('protocol')}@{values.get('address')}".replace(" ", "_")


class Listen(ConfigTable):
    """`[[listen]]`: one endpoint where mail servers send requests.

    Without any [[listen]], multigrey listens on the sockets that systemd hands over; FileDescriptorName= of
    each is the name of its protocol.  Without these either, it listens with `postfix` on tcp:127.0.0.1:10023
    and `exim` on tcp:127.0.0.1:10024, and with both on unix sockets postfix.sock and exim.sock (mode 0660) in
    $RUNTIME_DIRECTORY or in run below the state directory.
    """

    protocol: Word = Field(
        description="The protocol of this endpoint: postfix, exim, greylistd or one that a plugin adds; "
        "see multigrey-protocols(7)."
    )
    address: EndpointText = Field(
        description="Where to listen: unix:PATH (an absolute path of at most 107 octets), tcp:HOST:PORT "
        "(an IPv6 address in brackets) or systemd:NAME for a socket that systemd hands over under that "
        "FileDescriptorName=.  Unix sockets are recommended, because any process that reaches the endpoint "
        "can claim any client name."
    )
    name: Label = Field(
        default_factory=_listener_name,
        description="The name of this listener in logs, rules and metrics.  The default is its protocol; "
        "where several listeners without a name have the same one, protocol and address, as in "
        "postfix@tcp:127.0.0.1:10023.",
    )
    mode: Mode = Field(
        default=0o660,
        description="Permission bits of the unix socket, in octal.  The mail server needs write permission: "
        "give it to the group rather than to all users.",
    )
    owner: Label | None = Field(
        default=None,
        description="Name of the user who owns the unix socket.  The default is the user that multigrey runs "
        "as.  Only root can give a socket to another user.",
    )
    group: Label | None = Field(
        default=None,
        description="Name of the group of the unix socket, such as postfix or Debian-exim.  The default is "
        "the group of the user that multigrey runs as.  Set it to the mail server's group so that only the "
        "mail server may connect.",
    )
    allow_from: tuple[Network, ...] = Field(
        default=(),
        description='Networks whose hosts may connect to a TCP endpoint, as in ["192.0.2.0/28"]; others '
        "are disconnected at once.  Required when the address can be reached from another host.  With an "
        "empty list, every client that reaches a loopback address may connect.  With systemd:NAME it is not "
        "required, because only the socket unit knows the address.",
    )
    on_error: Literal["pass", "defer", "silent"] = Field(
        default="pass",
        description="The answer when the store fails or does not answer in time: pass lets mail in "
        "unchecked; defer asks the sender to come back; silent closes the connection, so that the mail "
        "server does what its own configuration says (Postfix: default_action).",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        if not isinstance(self.address, UnixEndpoint):
            for key in ("mode", "owner", "group"):
                if key in self.model_fields_set and getattr(self, key) is not None:
                    yield (key,), f"has no meaning for {self.address}, only for unix sockets: remove it"
        elif self.allow_from:
            yield ("allow_from",), "has no meaning for a unix socket: use mode, owner and group"
        if isinstance(self.address, TcpEndpoint) and not self.address.loopback and not self.allow_from:
            message = (
                f"{self.address} can be reached from other hosts, and any host that reaches it can claim any "
                'client name: add allow_from with the mail servers, as in ["192.0.2.0/28"]'
            )
            yield ("address",), message


def named_by_protocol(listen: Sequence[Listen]) -> tuple[Listen, ...]:
    """The same listeners; one without a name gets that of its protocol if no other has or wants it."""
    given = {each.name for each in listen if "name" in each.model_fields_set}
    often = Counter(each.protocol for each in listen if "name" not in each.model_fields_set)
    return tuple(
        each
        if "name" in each.model_fields_set or each.protocol in given or often[each.protocol] > 1
        else each.model_copy(update={"name": each.protocol})
        for each in listen
    )
