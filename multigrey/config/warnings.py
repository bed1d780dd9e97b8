"""Warnings about settings that are valid but probably not what the administrator wants."""

from __future__ import annotations

import re
from collections.abc import Iterator

from multigrey.codec import RECORD_OCTETS
from multigrey.config.locate import KeyPath
from multigrey.config.settings import Settings
from multigrey.config.values.types import UnixEndpoint
from multigrey.config.values.units import format_duration, format_size
from multigrey.contracts import StoreOptions
from multigrey.protocols.reply_text import Template, samples

__all__ = ["advice"]

_FAIL2BAN = re.compile(
    r"service unavailable|(?:client host|command|data command) rejected|relay access denied"
    r"|(?:host|domain) not found|need fully-qualified hostname|match\b|user unknown|undeliverable address",
    re.IGNORECASE,
)
"""How a reply text begins that fail2ban's stock filter for Postfix counts as an attack (fail2ban 1.0,
filter.d/postfix.conf).  After five such lines fail2ban bans the sender, only for being greylisted."""
_LEAST_MAP = 384 << 20
"""Octets; half of what is kept free in it is enough for all marks (see `StoreOptions.capacity`)."""
_POSTFIX_MAX_IDLE = 300
_EXIM_PATIENCE = 5


def advice(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path of each key with a doubtful value, and the warning about it."""
    yield from _texts(settings)
    yield from _limits(settings)
    for index, listen in enumerate(settings.listen):
        if isinstance(listen.address, UnixEndpoint) and listen.mode & 0o002:
            message = (
                "lets every user of this machine connect and claim any client name: "
                'give the mail server the group instead, as in mode = "0660", group = "postfix"'
            )
            yield ("listen", index, "mode"), message


def _texts(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    texts: list[tuple[KeyPath, str | None]] = [(("greylist", "text"), settings.greylist.text)]
    texts += [(("rule", index, "text"), rule.text) for index, rule in enumerate(settings.rule)]
    for path, text in texts:
        if text is None:
            continue
        if counted := _counted(text):
            message = (
                f'begins with "{counted[0]}", which fail2ban\'s stock Postfix filter counts as an attack, so '
                "that it would ban greylisted senders: choose other words"
            )
            yield path, message
        if not text.isascii():
            message = (
                "is not ASCII, which SMTP replies must be (RFC 5321 section 4.2), and some senders log it "
                "garbled: use ASCII only"
            )
            yield path, message


def _counted(text: str) -> re.Match[str] | None:
    """Return the match of a beginning that fail2ban counts, in any text the template can produce; or None."""
    matches = (_FAIL2BAN.match(sample) for sample in samples(Template.parse(text)))
    return next((match for match in matches if match is not None), None)


def _limits(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    limits = settings.limits
    if limits.idle <= _POSTFIX_MAX_IDLE:
        message = (
            f"{format_duration(limits.idle)} is not longer than the 300s for which Postfix keeps an idle "
            "connection, and Postfix waits a second before it repeats a request that met a closed one: "
            "choose a longer time"
        )
        yield ("limits", "idle"), message
    if limits.answer_within >= _EXIM_PATIENCE:
        message = (
            f"{format_duration(limits.answer_within)} is not shorter than the 5s that Exim waits by default, "
            "so Exim would give up before on_error decides: choose a shorter time"
        )
        yield ("limits", "answer_within"), message
    if settings.store.backend == "lmdb":
        yield from _sizes(settings)


def _sizes(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    most, map_size = settings.limits.max_records, settings.store.map_size
    fit = StoreOptions(settings.state_dir, map_size).capacity * 9 // 10 // RECORD_OCTETS
    if most > fit:
        message = (
            f"{most} records do not fit in [store] map_size ({format_size(map_size)}): when there are some "
            f"{fit}, records that have never passed are evicted: choose a larger map_size or fewer records"
        )
        yield ("limits", "max_records"), message
    if map_size < _LEAST_MAP:
        message = (
            f"{format_size(map_size)} has no room for the marks of a large flood, so that new senders may be "
            f"deferred for longer than needed meanwhile: choose at least {format_size(_LEAST_MAP)}"
        )
        yield ("store", "map_size"), message
