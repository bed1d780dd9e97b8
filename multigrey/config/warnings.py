"""Warnings about settings that are valid but probably not what the administrator wants."""

from __future__ import annotations

import re
from collections.abc import Iterator

from multigrey.config.locate import KeyPath
from multigrey.config.settings import Settings
from multigrey.config.values.types import UnixEndpoint
from multigrey.config.values.units import format_duration
from multigrey.protocols.reply_text import Template, samples

__all__ = ["advice"]

_FAIL2BAN = re.compile(
    r"service unavailable|(?:client host|command|data command) rejected|relay access denied"
    r"|(?:host|domain) not found|need fully-qualified hostname|match\b|user unknown|undeliverable address",
    re.IGNORECASE,
)
"""How a reply text begins that fail2ban's stock filter for Postfix counts as an attack (fail2ban 1.0,
filter.d/postfix.conf).  After five such lines fail2ban bans the sender, only for being greylisted."""
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
