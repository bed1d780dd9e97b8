"""DNS lists for multigrey: a DNSWL lets mail pass, DNSBLs become traits for rules.

If `[plugins.dns]` has lists, the plugin registers
    a slow source   `dns`: matches `dnswl:NAME`, traits `dnsbl:NAME` and `dnsbl-score:WORD`
    a service       `dns`, which tests whether the zones can be trusted
Without a list in the configuration it registers nothing and sends no DNS question.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from multigrey.api import Registry, hookimpl
from multigrey_dns.resolver import Resolver, StubResolver
from multigrey_dns.settings import DnsSettings, ListTable
from multigrey_dns.source import DnsSource, Watcher, lists_of
from multigrey_dns.zones import Zone

__all__ = ["DnsSettings", "DnsSource", "Watcher", "build", "multigrey_register", "multigrey_settings"]


def build(settings: DnsSettings, resolver: Resolver | None = None) -> tuple[DnsSource, Watcher]:
    """Return the source and the service of a configuration; tests pass their own `resolver`."""
    stub = StubResolver(settings.servers, settings.budget / 2) if resolver is None else None
    asked = resolver or stub
    assert asked is not None

    def zone_of(name: str, label: str, table: ListTable) -> Zone:
        return Zone(name, label, table.options(settings), asked)

    lists = lists_of(settings, zone_of)
    zones = list(dict.fromkeys(entry.zone for entry in lists))
    watcher = Watcher(zones, settings.test_every, stub.refresh if stub else _nothing)
    return DnsSource(lists, settings), watcher


def _nothing() -> None:
    """Do nothing: without a StubResolver, no file has to be read again."""


@hookimpl
def multigrey_settings() -> tuple[str, type[BaseModel]]:
    """The plugin's table is `[plugins.dns]`."""
    return "dns", DnsSettings


@hookimpl
def multigrey_register(registry: Registry, settings: Mapping[str, BaseModel]) -> None:
    """Register the source and the service if the table has at least one list."""
    wanted = settings.get("dns")
    if not isinstance(wanted, DnsSettings) or not wanted.tables:
        return
    source, watcher = build(wanted)
    registry.slow_source("dns", source)
    registry.service("dns", watcher)
