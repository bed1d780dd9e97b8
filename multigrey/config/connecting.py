"""The tables about connections: where mail servers ask, how much they may, and who administers."""

# ruff: noqa: TRY004  (pydantic collects ValueError; a TypeError would end the whole check)

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from multigrey.config.tables import ConfigTable, Conflict, Label, conflicts
from multigrey.config.types import (
    EndpointText,
    Kind,
    Mode,
    Network,
    TcpEndpoint,
    UnixEndpoint,
    Word,
    format_duration,
    fractional_duration,
    parse_endpoint,
    shown,
    size,
)

__all__ = ["Control", "Limits", "Listen", "NoEndpoint"]


def _listener_name(values: Mapping[str, Any]) -> str:
    """The name of a listener that was given none; its keys are there only if they are valid."""
    return f"{values.get('protocol')}@{values.get('address')}".replace(" ", "_")


class Listen(ConfigTable):
    """`[[listen]]`: one endpoint where mail servers ask.

    Without any, multigrey listens with `postfix` on tcp:127.0.0.1:10023 and `exim` on
    tcp:127.0.0.1:10024, and with both on unix sockets postfix.sock and exim.sock (mode 0660) in
    $RUNTIME_DIRECTORY or in run below the state directory.
    """

    protocol: Word = Field(
        description="The protocol spoken here: postfix, exim, greylistd or one that a plugin adds; "
        "see multigrey-protocols(7)."
    )
    address: EndpointText = Field(
        description="Where to listen: unix:PATH (an absolute path of at most 107 octets), tcp:HOST:PORT "
        "(an IPv6 address in brackets) or systemd:NAME for a socket that systemd hands over under that "
        "FileDescriptorName=.  Unix sockets are the recommended form, because whoever reaches the endpoint "
        "can claim any client name."
    )
    name: Label = Field(
        default_factory=_listener_name,
        description="What this listener is called in logs and rules; by default its protocol and address, "
        "as in postfix@tcp:127.0.0.1:10023.",
    )
    mode: Mode = Field(
        default=0o660,
        description="Permission bits of the unix socket, in octal.  The mail server needs write permission: "
        "give it the group rather than the world.",
    )
    owner: Label | None = Field(
        default=None,
        description="Name of the user who owns the unix socket; by default the user multigrey runs as.  "
        "Only root can give a socket to somebody else.",
    )
    group: Label | None = Field(
        default=None,
        description="Name of the group of the unix socket, such as postfix or Debian-exim; by default the "
        "group of the user multigrey runs as.  Set it to the mail server's group so that the mail server, "
        "and nobody else, may connect.",
    )
    allow_from: tuple[Network, ...] = Field(
        default=(),
        description='Networks whose hosts may connect to a TCP endpoint, as in ["192.0.2.0/28"]; others '
        "are disconnected at once.  Needed as soon as the address can be reached from another host; an "
        "empty list lets everybody in who reaches a loopback address.  With systemd:NAME nothing insists on "
        "it, because only the socket unit knows the address.",
    )
    on_error: Literal["pass", "defer", "silent"] = Field(
        default="pass",
        description="The answer while the store fails or does not answer in time: pass lets mail in "
        "unchecked, defer asks the sender to come back, silent closes the connection so that the mail "
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
                    yield (key,), f"has no meaning for {self.address}; it is for unix sockets"
        elif self.allow_from:
            yield ("allow_from",), "has no meaning for a unix socket; use mode, owner and group"
        if isinstance(self.address, TcpEndpoint) and not self.address.loopback and not self.allow_from:
            message = (
                f"{self.address} can be reached from other hosts, and whoever reaches it can claim any "
                'client name; expected allow_from beside it, naming the mail servers, as in ["192.0.2.0/28"]'
            )
            yield ("address",), message


class Limits(ConfigTable):
    """`[limits]`: how much, and for how long."""

    connections: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        strict=True,
        description="Most connections open at a time; further ones wait to be accepted.  Postfix needs one "
        "for each smtpd process; the process may need a higher limit of open files (LimitNOFILE=).",
    )
    request_size: Annotated[int, size("4KiB", "16MiB")] = Field(
        default=64 * 1024,
        description="Most octets one request may take; the connection of a longer one is closed.  Mail "
        "servers send a few hundred.",
    )
    idle: Annotated[float, fractional_duration("1s", "1d")] = Field(
        default=1200.0,
        description="How long a connection may be silent between two requests before it is closed.  "
        "Postfix closes idle connections itself, after 300 seconds (smtpd_policy_service_max_idle) or when "
        "the SMTP session ends; a shorter time here closes them under its hands, and a request that meets "
        "the closing waits a second for its second try.",
    )
    answer_within: Annotated[float, fractional_duration("100ms", "60s")] = Field(
        default=3.0,
        description="The longest an answer may take; then the listener's on_error decides.  Keep it below "
        "the mail server's own patience: Exim waits 5 seconds unless told otherwise.",
    )
    drain: Annotated[float, fractional_duration("0s", "5m")] = Field(
        default=5.0,
        description="How long connections may go on to finish what they have asked when the daemon stops.",
    )
    slow: Annotated[float, fractional_duration("10ms", "30s")] = Field(
        default=0.5,
        description="How long sources that ask elsewhere (DNS, directories) may take altogether for one "
        "attempt; what has not answered by then has no vote.  Must be shorter than answer_within.",
    )
    new_records: int = Field(
        default=1_000,
        ge=0,
        le=1_000_000_000,
        strict=True,
        description="Most new records a network of unnamed clients (/24 of IPv4, /64 of IPv6, whatever the "
        "prefixes of [greylist] say) makes in an hour; 0 is no limit.  The networks around it may make a "
        "multiple of this together: /56 twice as many, /48 four times, /16 and /32 ten times, and all "
        "unnamed clients of one IP version fifty times.  Attempts over the limit are deferred like others, "
        "but remembered by a mark of some 25 octets instead of a record (over-limit): their own retry "
        "passes, nobody else's does, and the store stays bounded.",
    )
    new_records_named: int = Field(
        default=100_000,
        ge=0,
        le=1_000_000_000,
        strict=True,
        description="The same for a named origin.  Everything a large provider sends counts as one, so "
        "this is many times more than new_records; 0 is no limit.",
    )
    max_records: int = Field(
        default=5_000_000,
        ge=0,
        le=1_000_000_000,
        strict=True,
        description="Most records the store keeps; 0 is no limit.  Above it, records that have never "
        "passed are forgotten early, first those of the networks that hold most, and one in twenty of "
        "max_records stays for them; a record that has passed is never forgotten for one that has not.  A "
        "sender takes two or three records, one for each key it is kept under; with LMDB each takes some "
        "300 to 400 octets of [store] map_size.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        if self.slow >= self.answer_within:
            message = (
                f"{format_duration(self.slow)} is not shorter than answer_within "
                f"({format_duration(self.answer_within)}): the answer would come too late"
            )
            yield ("slow",), message
        if 0 < self.new_records_named < self.new_records:
            message = (
                f"is {self.new_records_named}, less than new_records ({self.new_records}): a named origin "
                "stands for many networks; expected more, or 0 for no limit"
            )
            yield ("new_records_named",), message


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
        raise ValueError(message)
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
