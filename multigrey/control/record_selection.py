"""Stored records as administrators choose and see them.

The store knows only digests.  A record itself shows its client, sender, recipient and origin.  Its keys are
computed from these again, as far as they are made of what the record shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import OptionError, Options
from multigrey.errors import AddressError
from multigrey.events.query import Network, client_network, matches_address
from multigrey.greylist.record_choice import keep_until
from multigrey.identity.addresses import host_name, parse_client_address, split_address
from multigrey.identity.envelope import address_text
from multigrey.identity.redaction import TOKEN
from multigrey.identity.shortened import is_in_domain, shortened
from multigrey.model import Attempt, Key, Origin, Record

__all__ = [
    "CHOICES",
    "HISTORY_WORDS",
    "STATES",
    "RecordFilter",
    "attempt_of",
    "keys_of",
    "origin_of",
    "read_limit",
    "shown",
    "state_of",
]

STATES = ("waiting", "known", "observed", "expired")
CHOICES = ("sender", "recipient", "client", "origin", "state", "older", "younger", "key")
"""The options that choose records; a record has to match every option given."""
HISTORY_WORDS = frozenset({"sender", "recipient", "client", "origin"})
"""The options that find decisions as well."""

_MOST = 1_000_000
_LEAST_KEY = 6


def origin_of(record: Record) -> Origin:
    """The origin of a record.  It is unnamed if the text is a network, or the token of a redacted one."""
    text = record.origin
    return Origin(text, named=bool(text) and "/" not in text and not TOKEN.fullmatch(text))


def attempt_of(record: Record) -> Attempt | None:
    """An attempt that has this record's keys; None: the record is redacted and does not show enough."""
    if not record.client and not record.sender:
        return Attempt("", None, None, "", "", "", raw=record.recipient)
    try:
        address = parse_client_address(record.client)
    except AddressError:
        return None
    return Attempt("", address, None, "", record.sender, record.recipient)


def keys_of(parts: OperationContext, record: Record) -> tuple[Key, ...]:
    """The keys of the attempt that made a record, as far as the record shows it; (): it does not.

    They are not its keys if a text of it is shortened, or the configured key has changed.
    """
    attempt = attempt_of(record)
    if attempt is None:
        return ()
    setup, origin = parts.engine.setup, origin_of(record)
    return setup.scheme.record_keys(attempt, origin, setup.network(attempt))


def state_of(parts: OperationContext, record: Record) -> str:
    """One of `STATES`."""
    policy = parts.engine.setup.policy_for(origin_of(record), None)
    if keep_until(policy, record) < parts.clock.now():
        return "expired"
    if record.observed:
        return "observed"
    return "known" if record.passed_at else "waiting"


def shown(parts: OperationContext, digest: bytes, record: Record) -> dict[str, Any]:
    """A record as JSON can hold it; `until`: when it expires, `ready`: when a retry passes (or null)."""
    origin, state = origin_of(record), state_of(parts, record)
    policy = parts.engine.setup.policy_for(origin, None)
    return {
        "key": digest.hex(),
        "state": state,
        "client": record.client,
        "sender": record.sender,
        "recipient": record.recipient,
        "origin": record.origin,
        "named": origin.named,
        "first_seen": record.first_seen,
        "last_seen": record.last_seen,
        "delay": record.delay,
        "attempts": record.attempts,
        "early": record.early,
        "passed_at": record.passed_at or None,
        "passes": record.passes,
        "observed": record.observed,
        "ready": record.first_seen + record.delay if state == "waiting" else None,
        "until": keep_until(policy, record),
    }


@dataclass(frozen=True)
class RecordFilter:
    """The conditions that choose records."""

    parts: OperationContext
    sender: tuple[str, ...] = ()
    """The texts under which a record may show it: in clear, and as the token of redaction."""
    recipient: tuple[str, ...] = ()
    client: tuple[Network | str, ...] = ()
    origin: tuple[str, ...] = ()
    state: str = ""
    older: int | None = None
    """Seconds since the first attempt, at least."""
    younger: int | None = None
    """Seconds since the first attempt, fewer than this."""
    key: str = ""
    """The beginning of the digest, or of the home, in hexadecimal digits."""
    unpassed: bool = False
    """Only records that have never passed."""

    @classmethod
    def of(cls, parts: OperationContext, options: Options) -> RecordFilter:
        """The conditions given as options under the names of `CHOICES`.

        Raises OperationError and CommandError.
        """
        unknown = options.keys() - set(CHOICES)
        if unknown:
            raise OptionError(f"unknown option {min(unknown)!r}")
        values: dict[str, Any] = {name: _READ[name](name, value) for name, value in options.items()}
        redactor = parts.engine.setup.redactor
        for name in HISTORY_WORDS & values.keys():
            token = _text(name, options[name])
            values[name] = (values[name], token if redactor is None else redactor.text(token))
        return cls(parts, **values)

    def fits(self, digest: bytes, record: Record) -> bool:
        """Whether a record matches every condition."""
        if self.unpassed and record.passed_at:
            return False
        if self.sender and not any(_is_shown(text, record.sender) for text in self.sender):
            return False
        if self.recipient and not any(_is_shown(text, record.recipient) for text in self.recipient):
            return False
        if self.origin and not any(record.origin in {text, shortened(text)} for text in self.origin):
            return False
        if self.client and not any(_is_in(record.client, client) for client in self.client):
            return False
        if self.state and state_of(self.parts, record) != self.state:
            return False
        return self._is_of_age(record) and any(
            key.hex().startswith(self.key) for key in (digest, record.home)
        )

    def _has_key(self, digest: bytes, record: Record) -> bool:
        return digest.hex().startswith(self.key) or record.home.hex().startswith(self.key)

    def _is_of_age(self, record: Record) -> bool:
        age = self.parts.clock.now() - record.first_seen
        return (self.older is None or age >= self.older) and (self.younger is None or age < self.younger)


def _is_shown(wanted: str, address: str) -> bool:
    """As `matches_address`, for an address that may be shortened."""
    if "@" in wanted or wanted == "<>":
        return matches_address(wanted, address) or shortened(wanted) == address
    return is_in_domain(wanted, split_address(address)[1])


def _is_in(client: str, network: Network | str) -> bool:
    if isinstance(network, str):
        return client == network
    try:
        address = parse_client_address(client)
    except AddressError:
        return False
    return address is not None and address in network


def read_limit(options: Options, usual: int) -> int:
    """The option `limit`, or `usual` without it.  Raises OperationError."""
    limit = options.get("limit")
    if limit is None:
        return usual
    if type(limit) is not int or not 1 <= limit <= _MOST:
        raise OptionError(f"limit: a number from 1 to {_MOST} is expected")
    return limit


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise OptionError(f"{name}: a text is expected")
    return value.strip()


def _read_address(name: str, value: object) -> str:
    text = _text(name, value)
    if text == "<>":
        return text
    return address_text(text) if text.find("@") > 0 else host_name(text.lstrip("@."))


def _read_client(name: str, value: object) -> Network | str:
    text = _text(name, value)
    return text if TOKEN.fullmatch(text) else client_network(text)


def _read_origin(name: str, value: object) -> str:
    return _text(name, value).lower()


def _read_state(name: str, value: object) -> str:
    if value not in STATES:
        raise OptionError(f"{name}: expected one of {', '.join(STATES)}")
    return str(value)


def _read_seconds(name: str, value: object) -> int:
    if type(value) is not int or value < 0:
        raise OptionError(f"{name}: a number of seconds is expected")
    return value


def _read_key(name: str, value: object) -> str:
    text = _text(name, value).lower()
    if not _LEAST_KEY <= len(text) <= 32 or not set(text) <= set("0123456789abcdef"):
        raise OptionError(f"{name}: {_LEAST_KEY} to 32 hexadecimal digits are expected")
    return text


_READ: Mapping[str, Any] = {
    "sender": _read_address,
    "recipient": _read_address,
    "client": _read_client,
    "origin": _read_origin,
    "state": _read_state,
    "older": _read_seconds,
    "younger": _read_seconds,
    "key": _read_key,
}
