"""`[metrics]`: the HTTP endpoint for metrics and health checks."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Self

from pydantic import Field, field_validator, model_validator

from multigrey.config.tables.table import ConfigTable, Conflict, conflicts
from multigrey.config.values.hosts import HostName
from multigrey.config.values.types import EndpointText, Network, TcpEndpoint

__all__ = ["Metrics"]


class Metrics(ConfigTable):
    """`[metrics]`: metrics for Prometheus and health checks over HTTP; see multigrey-metrics(7)."""

    address: EndpointText | None = Field(
        default=None,
        description="Where to serve /metrics, /healthz and /readyz, as in tcp:127.0.0.1:9710.  Without it "
        "metrics are neither served nor counted.  Needs the extra metrics (multigrey[metrics], or the "
        "package prometheus-client).  A change needs a restart.",
    )
    allow_from: tuple[Network, ...] = Field(
        default=(),
        description='Networks whose hosts may connect, as in ["192.0.2.0/28"]; others are disconnected at '
        "once.  Required when the address can be reached from another host, because this service has neither "
        "encryption nor a password.",
    )

    hosts: tuple[HostName, ...] = Field(
        default=(),
        description='Names by which clients may fetch, without a port, as in ["mx.example.org"].  Addresses, '
        "localhost and the name of this host (as hostname(1) shows it) are always allowed, and every other "
        "name is refused with 421, so that a foreign web page cannot read metrics through a browser "
        "(DNS rebinding).",
    )

    @field_validator("address")
    @classmethod
    def _check_address(cls, address: object) -> object:
        if address is None:
            return None
        if not isinstance(address, TcpEndpoint):
            raise ValueError(f'{address}: expected a TCP endpoint, as in "tcp:127.0.0.1:9710"')  # noqa: TRY004  (pydantic collects ValueError)
        if find_spec("prometheus_client") is None:
            raise ValueError(
                'needs the extra "metrics", which is not installed: pip install "multigrey[metrics]"'
            )
        return address

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        if isinstance(self.address, TcpEndpoint) and not self.address.loopback and not self.allow_from:
            message = (
                f"{self.address} can be reached from other hosts: add allow_from with the networks that may "
                'fetch metrics, as in ["192.0.2.0/28"]'
            )
            yield ("address",), message
