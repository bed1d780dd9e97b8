"""What is allowed and yet probably not what the administrator wants: warnings, not errors."""

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
"""Beginnings of a rejection that fail2ban's stock filter for Postfix counts (fail2ban 1.0,
filter.d/postfix.conf); five such lines and the sender is banned for having been greylisted."""
_POSTFIX_MAX_IDLE = 300
_EXIM_PATIENCE = 5


def advice(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """A warning for each key whose value is likely to be regretted."""
    yield from _texts(settings)
    yield from _limits(settings)
    for index, listen in enumerate(settings.listen):
        if isinstance(listen.address, UnixEndpoint) and listen.mode & 0o002:
            message = (
                "lets every user of this machine ask, and claim any client name; "
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
                f'begins with "{counted[0]}", which fail2ban\'s stock Postfix filter counts as an attack: '
                "greylisted senders would be banned; expected other words"
            )
            yield path, message
        if not text.isascii():
            message = (
                "is not ASCII, as SMTP replies have to be (RFC 5321 section 4.2); some senders log noise"
            )
            yield path, message


def _counted(text: str) -> re.Match[str] | None:
    """How a text, or what a template makes of it, begins, if fail2ban counts that."""
    matches = (_FAIL2BAN.match(sample) for sample in samples(Template.parse(text)))
    return next((match for match in matches if match is not None), None)


def _limits(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    limits = settings.limits
    if limits.idle <= _POSTFIX_MAX_IDLE:
        message = (
            f"{format_duration(limits.idle)} is not longer than the 300s Postfix keeps an idle connection: a "
            "request that meets the closing waits a second for its second try; expected more"
        )
        yield ("limits", "idle"), message
    if limits.answer_within >= _EXIM_PATIENCE:
        message = (
            f"{format_duration(limits.answer_within)} is not shorter than the 5s Exim waits by default: it "
            "would give up before on_error decides"
        )
        yield ("limits", "answer_within"), message
