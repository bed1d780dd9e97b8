"""A resolver that knows one zone by heart, and attempts to ask about."""

from __future__ import annotations

from ipaddress import ip_address

import trio
from multigrey_spf import SpfSettings, SpfSource
from multigrey_spf.dnslookup import Answer, Unanswered

from multigrey.api import Attempt

TROUBLE = "trouble"
"""Instead of records: the server says it cannot tell."""
SILENCE = "silence"
"""Instead of records: no answer ever comes."""


class Zone:
    """`records` maps (name, type) to values; `ttls` the same to seconds.  A function computes values.

    Type CNAME holds one name.  Types are A AAAA MX PTR TXT; a TXT value is a text or a tuple of bytes.
    """

    def __init__(self, records, ttls=None, ttl=300):
        self.records = dict(records)
        self.ttls = ttls or {}
        self.ttl = ttl
        self.asked = []
        self.waiting = trio.Event()
        """Set when a question waits for an answer that does not come."""

    async def resolve(self, name, kind):
        self.asked.append((name, kind))
        await trio.lowlevel.checkpoint()
        for _ in range(20):
            alias = self.records.get((name, "CNAME"))
            if alias is None or (name, kind) in self.records:
                break
            name = alias.lower()
        else:
            return Answer((), 60)
        values = self.records.get((name, kind), ())
        if callable(values):
            values = values(name)
        if values is SILENCE:
            self.waiting.set()
            await trio.sleep_forever()
        if values is TROUBLE:
            raise Unanswered("server failure", silent=False)
        values = (values,) if isinstance(values, str) else tuple(values)
        if kind == "TXT":
            values = tuple((v.encode(),) if isinstance(v, str) else v for v in values)
        return Answer(values, self.ttls.get((name, kind), self.ttl))


class WildZone(Zone):
    """A zone with `make(name, kind)` for what it does not hold."""

    def __init__(self, records, make, **options):
        super().__init__(records, **options)
        self.make = make

    async def resolve(self, name, kind):
        if (name, kind) not in self.records and (values := self.make(name, kind)):
            self.asked.append((name, kind))
            return Answer(tuple(values), self.ttl)
        return await super().resolve(name, kind)


def source(records, *, registered_domain=None, **settings):
    """A source over a zone (or over the records of one)."""
    zone = records if hasattr(records, "resolve") else Zone(records)
    more = {} if registered_domain is None else {"registered_domain": registered_domain}
    return SpfSource(SpfSettings.model_validate(settings), zone, **more)


def attempt(address="192.0.2.1", sender="alice@example.org", helo="mx.example.org", raw=""):
    address = None if address is None else ip_address(address)
    return Attempt("test", address, None, helo, sender, "bob@example.net", raw=raw)
