"""The operations `origins.*`: what is known of origins, and what they are trusted for.

The store knows origins by digests only; records hold their names.  So `origins.list` walks through the
records and looks up each origin it finds; `origins.show` and `origins.forget` take a name.
`origins.providers` shows the tables of providers as they are on the disk now.  Results:

    origins.list       {"origins": [...]} any number of times, then {"time", "number", "nameless", "more"}
    origins.show       {"time", "origin"}
    origins.forget     {"keys", "dry_run"}
    origins.providers  {"providers": [...]} any number of times,
                       then {"time", "number", "setting", "warnings"}
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import trio

from multigrey.codec import decode_origin, decode_reputation
from multigrey.config.origin_lists import ProviderTable, effective_providers, outdated
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import (
    BY,
    Level,
    Operation,
    OperationError,
    OptionError,
    Options,
    Result,
)
from multigrey.control.record_selection import attempt_of, origin_of, read_limit
from multigrey.engine.explain_memory import name_row
from multigrey.errors import ConfigError
from multigrey.events.query import matches_host
from multigrey.greylist.policy import Policy
from multigrey.greylist.reputation import Proof, figures, proven
from multigrey.identity.addresses import host_name
from multigrey.identity.envelope import sender_key_domain
from multigrey.identity.origin import trust_text
from multigrey.model import Attempt, Change, Entry, Key, Origin, OriginRecord, Record, Reputation
from multigrey.stores.walk import rows_of
from multigrey.threads import in_thread

__all__ = ["operations", "trust_keys", "trust_shown"]

logger = logging.getLogger(__name__)

_USUAL = 1_000
_TOGETHER = 50
_MOST_NAMES = 100_000
"""Most pairs of origin and sender domain that are gathered in one walk."""

Pair = tuple[str, str]
"""The text that trust is counted under, and a sender domain."""


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operations of this module."""
    yield Operation("origins.list", Level.READ, stream=lambda o: _list(parts, o), offline=True)
    yield Operation("origins.show", Level.READ, answer=lambda o: _show(parts, o), offline=True)
    yield Operation("origins.forget", Level.ADMIN, answer=lambda o: _forget(parts, o), offline=True)
    yield Operation("origins.providers", Level.READ, stream=lambda o: _providers(parts, o), offline=True)


def trust_keys(parts: OperationContext, record: Record) -> Iterator[Key]:
    """The key of the trust in a record's origin for its sender domain; none if the record is redacted."""
    attempt = _sending(record)
    if attempt is not None and attempt.sender:
        yield parts.engine.setup.scheme.origin_key(*_pair(origin_of(record), attempt))


async def trust_shown(parts: OperationContext, origin: Origin, attempt: Attempt) -> Mapping[str, Any]:
    """What is known of the origin of an attempt, for its sender domain and as a whole."""
    pairs = [_pair(origin, attempt)] if attempt.sender and not attempt.raw else []
    return await _looked_up(parts, origin, pairs)


def _sending(record: Record) -> Attempt | None:
    """The attempt of a record, as far as trust needs it; None: the record does not show enough."""
    attempt = attempt_of(record)
    if attempt is None and origin_of(record).named:  # only the client is redacted: a named origin is enough
        return Attempt("", None, None, "", record.sender, record.recipient)
    return attempt


def _pair(origin: Origin, attempt: Attempt) -> Pair:
    return trust_text(origin, attempt.client_address), sender_key_domain(attempt)


# --- operations -------------------------------------------------------------------------------------


async def _list(parts: OperationContext, options: Options) -> AsyncGenerator[Result, None]:
    _only(options, "limit", "origin", "domain", "trusted")
    limit = read_limit(options, _USUAL)
    origin, domain = _text(options, "origin"), _text(options, "domain")
    only_trusted = options.get("trusted", False)
    names, more = await _names(parts, origin, domain)
    number = stored = 0
    waiting: list[Mapping[str, Any]] = []
    for found, pairs in sorted(names.items(), key=lambda item: (not item[0].named, item[0].text)):
        row = await _looked_up(parts, found, sorted(pairs))
        known = len(row["domains"]) + (row["standing"] is not None)
        stored += known
        if not known or (only_trusted and not _is_trusted(row)):
            continue
        number += 1
        if number <= limit:
            waiting.append(row)
        if len(waiting) >= _TOGETHER:
            yield {"origins": waiting}
            waiting = []
            await trio.lowlevel.checkpoint()
    if waiting:
        yield {"origins": waiting}
    nameless = None if origin or domain else await _nameless(parts, stored)
    told = min(number, limit)
    yield {"time": parts.clock.now(), "number": told, "nameless": nameless, "more": more or number > limit}


async def _show(parts: OperationContext, options: Options) -> Result:
    _only(options, "origin", "domain")
    origin, pairs = await _given(parts, options)
    return {"time": parts.clock.now(), "origin": await _looked_up(parts, origin, sorted(pairs))}


async def _forget(parts: OperationContext, options: Options) -> Result:
    _only(options, "origin", "domain", "dry_run")
    origin, pairs = await _given(parts, options)
    scheme, store = parts.engine.setup.scheme, parts.engine.store
    keys = [scheme.origin_key(*pair) for pair in sorted(pairs)]
    if not options.get("domain"):
        keys.append(scheme.standing_key(origin.text))
    found = await store.read(keys)
    doomed: dict[Key, Entry | None] = {
        key: None for key, value in zip(keys, found, strict=True) if value is not None
    }
    dry_run = bool(options.get("dry_run", False))
    if doomed and not dry_run:
        await store.apply(tuple(doomed), lambda _: Change(None, doomed, durable=True))
        who = options.get(BY, "an unknown user")
        logger.info("trust in origin %r forgotten by %s: keys=%d", origin.text, who, len(doomed))
    return {"keys": len(doomed), "dry_run": dry_run}


async def _providers(parts: OperationContext, options: Options) -> AsyncGenerator[Result, None]:
    """The providers, those whose mail passes at once first; `setting` is [origin] providers."""
    _only(options, "passing")
    settings, now = parts.settings.origin, parts.clock.now()
    today = datetime.fromtimestamp(now, UTC).date()
    try:
        tables = await in_thread(lambda: [*effective_providers(settings)])
        warnings = await in_thread(lambda: [*outdated(settings, today)])
    except ConfigError as error:
        raise OperationError(str(error)) from error
    rows = [_provider(table, keys, passing=settings.providers == "pass") for table, keys in tables]
    if options.get("passing", False):
        rows = [row for row in rows if row["passes"]]
    rows.sort(key=lambda row: (not row["passes"], row["provider"]))
    for begin in range(0, len(rows), _TOGETHER):
        yield {"providers": rows[begin : begin + _TOGETHER]}
    yield {"time": now, "number": len(rows), "setting": settings.providers, "warnings": warnings}


def _provider(table: ProviderTable, keys: Sequence[str], *, passing: bool) -> dict[str, Any]:
    return {
        "provider": table.origin,
        "passes": table.retries and passing,
        "retries": table.retries,
        "hosts": list(keys),
        "reason": table.reason,
        "source": table.source,
        "date": None if table.date is None else table.date.isoformat(),
        "schedule": table.schedule,
        "spf": list(table.spf),
    }


# --- names ------------------------------------------------------------------------------------------


async def _names(parts: OperationContext, origin: str, domain: str) -> tuple[dict[Origin, set[Pair]], bool]:
    """The origins in the records, each with its pairs; and whether there were too many pairs for one walk."""
    names: dict[Origin, set[Pair]] = {}
    number = 0
    async with aclosing(rows_of(parts.engine.store)) as slices:
        async for rows in slices:
            for _, record in rows:
                found, attempt = origin_of(record), _sending(record)
                if attempt is None or not found.text or not _is_meant(found, attempt, origin):
                    continue
                pairs = names.setdefault(found, set())
                if attempt.sender:
                    pair = _pair(found, attempt)
                    if pair not in pairs and (not domain or matches_host(domain, pair[1])):
                        pairs.add(pair)
                        number += 1
                if number >= _MOST_NAMES:
                    return names, True
    return names, False


def _is_meant(found: Origin, attempt: Attempt, wanted: str) -> bool:
    if not wanted:
        return True
    if found.text == wanted or (found.named and matches_host(wanted, found.text)):
        return True
    return not found.named and trust_text(found, attempt.client_address) == wanted


async def _given(parts: OperationContext, options: Options) -> tuple[Origin, set[Pair]]:
    """The origin in the options, and its pairs in the records (or the one of the option `domain`)."""
    text, domain = _text(options, "origin"), _text(options, "domain")
    if not text:
        raise OptionError("origin: expected a registered domain, or the address or network of a client")
    origin = _origin(parts, text)
    if domain:
        return origin, {(text if not origin.named else origin.text, domain)}
    names, _ = await _names(parts, text, "")
    pairs = {pair for found, theirs in names.items() for pair in theirs if found.named is origin.named}
    if origin.named:
        pairs = {pair for pair in pairs if pair[0] == origin.text}
    return origin, pairs


def _origin(parts: OperationContext, text: str) -> Origin:
    del parts
    return Origin(text, named="/" not in text)


async def _nameless(parts: OperationContext, stored: int) -> int:
    """How many rows of origins the store has whose names are in no record any more."""
    health = await parts.engine.store.health()
    return max(int(health["origins"]) - stored, 0)


# --- results ----------------------------------------------------------------------------------------


async def _looked_up(parts: OperationContext, origin: Origin, pairs: Sequence[Pair]) -> dict[str, Any]:
    """What the store knows of an origin; `standing` is null when nothing is stored, or it has no name."""
    scheme, store = parts.engine.setup.scheme, parts.engine.store
    policy, now = parts.engine.setup.policy_for(origin, None), parts.clock.now()
    learned = parts.engine.knowledge
    keys = [scheme.origin_key(*pair) for pair in pairs]
    *stored, standing = await store.read([*keys, scheme.standing_key(origin.text)])
    return {
        "origin": origin.text,
        "named": origin.named,
        "standing": None
        if standing is None
        else _standing(decode_reputation(standing), policy.proof, now, named=origin.named),
        "names": []
        if learned.names is None or not origin.named
        else [name_row(judged) for judged in learned.names.figures(origin.text, now)],
        "domains": [
            _trust(pair, decode_origin(value), policy, now)
            for pair, value in zip(pairs, stored, strict=True)
            if value is not None
        ],
    }


def _standing(standing: Reputation, proof: Proof | None, now: int, *, named: bool) -> dict[str, Any]:
    """The reputation of an origin as a whole; `needed` is null when origins need not prove themselves."""
    told: dict[str, Any] = {
        "proven_at": standing.proven_at or None,
        "last_seen": standing.last_seen,
        "hours": [list(row) for row in standing.hours],
        "days": [list(row) for row in standing.days],
        "needed": None,
    }
    if proof is not None:
        found = figures(standing, now)
        told |= {
            "resolved": found.resolved,
            "returned": found.returned,
            "domains": found.domains,
            "proven": proven(standing, proof, now, named=named),
            "needed": {"resolved": proof.resolved, "domains": proof.domains, "percent": proof.percent},
        }
    return told


def _trust(pair: Pair, record: OriginRecord, policy: Policy, now: int) -> dict[str, Any]:
    """The trust in an origin for one sender domain; `needed` 0: this kind of trust is switched off."""
    needed = policy.auto_whitelist_after
    enough = 0 < needed <= record.passes and record.several_keys
    return {
        "client": pair[0],
        "domain": pair[1],
        "passes": record.passes,
        "needed": needed,
        "several_keys": record.several_keys,
        "trusted": enough and now - record.last_seen <= policy.max_age,
        "last_counted": record.last_counted,
        "last_seen": record.last_seen,
    }


def _is_trusted(row: Mapping[str, Any]) -> bool:
    standing = row["standing"]
    return bool(standing and standing.get("proven")) or any(each["trusted"] for each in row["domains"])


# --- options ----------------------------------------------------------------------------------------


def _only(options: Options, *names: str) -> None:
    unknown = options.keys() - {*names, BY}
    if unknown:
        raise OptionError(f"unknown option {min(unknown)!r}")


def _text(options: Options, name: str) -> str:
    """An option: a name in lower case, or a client as trust is counted for it (a network of one address)."""
    value = options.get(name) or ""
    if not isinstance(value, str):
        raise OptionError(f"{name}: a text is expected")
    text = value.strip()
    if name == "origin" and text and ("/" in text or ":" in text or text.replace(".", "").isdecimal()):
        try:
            return str(ip_network(text, strict=False))
        except ValueError as error:
            raise OptionError(f"{name}: {error}") from error
    return host_name(text)
