"""The built-in plugin: registers multigrey's own components through the same interface as any plugin."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from multigrey.config.origin_lists import load_origins
from multigrey.config.tables.greylist import Greylist
from multigrey.contracts import Registry
from multigrey.identity.components import (
    ClientAddress,
    ClientNetwork,
    Helo,
    OriginText,
    Recipient,
    RecipientDomain,
    Sender,
    SenderDomain,
)
from multigrey.identity.origin import Origins
from multigrey.identity.traits import GeneratedName, HeloIsAddress, HeloMismatch, NoClientName, NullSender
from multigrey.plugins.hookspecs import hookimpl
from multigrey.protocols.exim import EximDialogue
from multigrey.protocols.greylistd import GreylistdDialogue
from multigrey.protocols.postfix import PostfixDialogue
from multigrey.stores.lmdb.store import LmdbStore
from multigrey.stores.memory import MemoryStore
from multigrey.whitelists import postgrey_clients, postgrey_recipients
from multigrey.whitelists.list_source import entry_list

__all__ = ["BuiltIns"]


class BuiltIns:
    """The built-in plugin."""

    def __init__(self, origins: Origins | None = None) -> None:
        """`origins` classifies client names; by default with the shipped tables only."""
        self._origins = load_origins() if origins is None else origins

    @hookimpl
    def multigrey_register(self, registry: Registry, settings: Mapping[str, BaseModel]) -> None:
        """See `plugins.hookspecs.multigrey_register`."""
        greylist = settings.get("greylist")
        _register_keys(registry, greylist if isinstance(greylist, Greylist) else Greylist())
        registry.whitelist_source("postgrey-clients", postgrey_clients)
        registry.whitelist_source("postgrey-recipients", postgrey_recipients)
        registry.whitelist_source("list", entry_list)
        registry.trait("null-sender", NullSender())
        registry.trait("no-client-name", NoClientName())
        registry.trait("generated-name", GeneratedName(self._origins))
        registry.trait("helo-mismatch", HeloMismatch(self._origins))
        registry.trait("helo-is-address", HeloIsAddress())
        registry.store("memory", MemoryStore)
        registry.store("lmdb", LmdbStore)
        registry.protocol("postfix", PostfixDialogue)
        registry.protocol("exim", EximDialogue)
        registry.protocol("greylistd", GreylistdDialogue)


def _register_keys(registry: Registry, greylist: Greylist) -> None:
    registry.key_component("origin", OriginText())
    registry.key_component("client-address", ClientAddress())
    registry.key_component("client-network", ClientNetwork(greylist.ipv4_prefix, greylist.ipv6_prefix))
    registry.key_component("sender", Sender())
    registry.key_component("sender-domain", SenderDomain())
    registry.key_component("recipient", Recipient(greylist.recipient_delimiter))
    registry.key_component("recipient-domain", RecipientDomain())
    registry.key_component("helo", Helo())
