"""The settings of the plugin: the table `[plugins.web]`."""

# ruff: noqa: TRY004  (pydantic collects ValueError; a TypeError would end the whole check)

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from multigrey.api import (
    EndpointText,
    FilePath,
    HostName,
    Mode,
    TcpEndpoint,
    UnixEndpoint,
    fractional_duration,
)

__all__ = ["USUAL_ADDRESS", "WebSettings"]

USUAL_ADDRESS = "tcp:127.0.0.1:10030"
BAD_PORTS = frozenset(
    [
        *[0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95],
        *[101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179],
        *[389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636],
        *[989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 5060, 5061, 6000, 6566],
        *[6665, 6666, 6667, 6668, 6669, 6697, 10080],
    ]
)
"""Ports that browsers refuse, because other protocols use them (Fetch standard, "port blocking")."""


Act = Literal["expect", "pass", "mode"]
HeaderName = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]


class WebSettings(BaseModel):
    """`[plugins.web]`: web pages that show what the daemon does, and change nothing unless `may` says so.

    Every user who reaches the pages sees the mail addresses of waiting mail, without a password: beyond
    loopback, put them behind a proxy that asks for one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: EndpointText = Field(
        description="Where to serve the pages: tcp:HOST:PORT, as in tcp:127.0.0.1:10030, or unix:PATH for a "
        "proxy on the same host.  Other users with an account on the host can reach loopback too: use "
        "unix:PATH there."
    )
    hosts: tuple[HostName, ...] = Field(
        default=(),
        description='Host names that browsers may use, without a port, as in ["mx.example.org"].  At a TCP '
        "address localhost and the loopback addresses are always allowed, and every other name is refused, "
        "so that a foreign web page cannot read these pages through the browser (DNS rebinding).  A unix "
        "socket allows every name if this list is empty.  An address that other hosts can reach requires at "
        "least one name.",
    )
    mode: Mode = Field(
        default=0o660,
        description="Permission bits of the unix socket, in octal; the proxy needs write permission.",
    )
    refresh: Annotated[float, fractional_duration("5s", "1h")] = Field(
        default=30.0,
        description="How often an open page is refreshed, and how long all browsers get the same figures.  "
        "An answer that took the daemon long is kept for ten times as long as it took.",
    )
    decisions: int = Field(
        default=20_000,
        ge=100,
        le=300_000,
        strict=True,
        description="The largest number of decisions of the history, the latest ones, that the list of lost "
        "mail is made from.  Ten thousand take the daemon about half a second, in a thread beside its "
        "answers.",
    )
    connections: int = Field(
        default=32,
        ge=1,
        le=1000,
        strict=True,
        description="The largest number of connections of browsers open at a time.",
    )
    user_header: HeaderName | None = Field(
        default=None,
        description="The header in which a proxy that asks for a password names the user, as in "
        '"X-Remote-User"; searches, exports and acts are logged with it.  It is believed only at a unix '
        "socket that others cannot open (mode), or with proxy_secret; the proxy has to replace what a "
        "browser sends.",
    )
    proxy_secret: FilePath | None = Field(
        default=None,
        description="A file with one line that the proxy sends in the header X-Multigrey-Proxy; every "
        "request without it is refused.  Other users must not be able to read the file.",
    )
    may: tuple[Act, ...] = Field(
        default=(),
        description='What users may do from the pages: "expect" (let mail pass that a person waits for), '
        '"pass" (let in mail that waits), "mode" (observe, switch off or enforce for a while).  It needs '
        "user_header, and a control socket that allows it.  Every act is logged with the user.",
    )
    role_header: HeaderName | None = Field(
        default=None,
        description="The header in which the proxy names the roles or groups of the user, separated by "
        "commas; then only users with a role of the table roles may do something.",
    )
    roles: dict[str, tuple[Act, ...]] = Field(
        default_factory=dict,
        description='What each role may do, within may, as in {helpdesk = ["expect"]}.',
    )
    address_header: HeaderName | None = Field(
        default=None,
        description="The header in which the proxy names the mail addresses of the user, separated by "
        "commas.  Then each user has a page to say that they wait for a mail to one of them, for two days, "
        "ten at a time; users without a role see only that page.",
    )
    aliases: FilePath | None = Field(
        default=None,
        description="A file of TOML with further addresses of users, by their name or address, as in "
        '"anna" = ["info@example.net"].',
    )
    help: bool = Field(
        default=False,
        strict=True,
        description="Whether /help explains to senders what greylisting is, and that their server tries "
        "again by itself.  It shows nothing of this host and its mail, so the proxy may serve it without a "
        "password; give its address as help_url of [greylist], and name it in reply texts with {help}.",
    )
    control: FilePath | None = Field(
        default=None,
        description="The control socket to ask, an absolute path.  The default is that of the daemon that "
        "serves the pages, or of the configuration that --config names.",
    )

    @field_validator("may", mode="before")
    @classmethod
    def _check_may(cls, acts: object) -> object:
        """Say why an act that people miss is not there."""
        if isinstance(acts, list | tuple) and "whitelist" in acts:
            raise ValueError(
                '"whitelist" is left to administrators, because lists are files that the daemon only reads: '
                "remove it, and copy the command that the story of a mail has (multigrey whitelist add)"
            )
        return acts

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not isinstance(self.address, TcpEndpoint | UnixEndpoint):
            raise ValueError("address: expected tcp:HOST:PORT or unix:PATH")
        if isinstance(self.address, TcpEndpoint) and self.address.port in BAD_PORTS:
            raise ValueError(f"address: browsers refuse port {self.address.port}: choose another one")
        if isinstance(self.address, TcpEndpoint) and not self.address.loopback and not self.hosts:
            raise ValueError(
                f"address: other hosts can reach {self.address}, and see mail addresses there without a "
                "password: use a loopback address behind a proxy that asks for a password, or set hosts to "
                "the names that browsers may use"
            )
        self._check_users()
        return self

    def _check_users(self) -> None:
        """Refuse to believe what others than the proxy could claim."""
        if self.may and self.user_header is None:
            raise ValueError(
                "may: every program that reaches the pages could act: let a proxy ask for a password, and "
                "name the header in which it sends the user (user_header)"
            )
        if self.user_header is not None and self.proxy_secret is None:
            if not isinstance(self.address, UnixEndpoint):
                raise ValueError(
                    f"user_header: every program on this host can reach {self.address} and claim to be any "
                    'user: use address = "unix:PATH", or proxy_secret'
                )
            if self.mode & 0o007:
                raise ValueError(
                    f"user_header: mode {self.mode:04o} lets every user of this host open the socket, and "
                    'claim to be any user: use mode = "0660", or proxy_secret'
                )
        if self.address_header is not None and (self.user_header is None or self.role_header is None):
            raise ValueError(
                "address_header: without user_header and role_header every user would see the mail of all"
            )
        if self.aliases is not None and self.address_header is None:
            raise ValueError("aliases: needs address_header")
        if bool(self.roles) != (self.role_header is not None):
            raise ValueError("roles and role_header: one needs the other")

    @classmethod
    def usual(cls) -> WebSettings:
        """The settings of a separate process when none are configured."""
        values: dict[str, Any] = {"address": USUAL_ADDRESS}
        return cls(**values)

    def socket(self, found: Path | None) -> Path | None:
        """The control socket to ask: the configured one, else `found`."""
        return found if self.control is None else self.control
