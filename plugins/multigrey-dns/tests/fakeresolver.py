"""A resolver that answers from a table, at once or never, and remembers the questions."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

import trio
from multigrey_dns.resolver import Answer, ResolverError


class FakeResolver:
    """Names that are not in `names` do not exist."""

    def __init__(self) -> None:
        self.names: dict[str, Sequence[str] | str] = {}
        """Addresses; or "fail", or "hang"."""
        self.ttl = 300.0
        self.questions: list[str] = []
        self.times: list[float] = []
        self.pause = 0.0

    def sound(self, *zones: str) -> None:
        for zone in zones:
            self.names[f"2.0.0.127.{zone}"] = ["127.0.0.2"]
            self.names[f"test.{zone}"] = ["127.0.0.2"]

    async def addresses(self, name: str) -> Answer:
        self.questions.append(name)
        self.times.append(trio.current_time())
        found = self.names.get(name, self.names.get("*", ()))
        await trio.sleep(self.pause)
        if found == "hang":
            await trio.sleep_forever()
        if found == "fail":
            raise ResolverError("SERVFAIL")
        return Answer(frozenset(map(IPv4Address, found)), self.ttl)
