"""Finds an attempt in text pasted from a mail log: of Postfix, of Exim, or a decision line of multigrey.

    postfix/smtpd[9]: NOQUEUE: reject: RCPT from NAME[IP]: 450 …; from=<A> to=<B> proto=ESMTP helo=<H>
    postfix/smtpd[9]: QID: reject: DATA from NAME[IP]: 451 …; from=<> proto=ESMTP helo=<H>
    postfix/postscreen[9]: NOQUEUE: reject: RCPT from [IP]:PORT: …; from=<A>, to=<B>, proto=…, helo=<H>
    QID: client=NAME[IP] … QID: from=<A>, … QID: to=<B>, …       (several lines of one accepted message)
    DATE TIME H=NAME (HELO) [IP]:PORT … F=<A> temporarily rejected RCPT <B>: …
    DATE TIME ID <= A H=NAME (HELO) [IP] P=esmtps … for B
    … action=defer reason=new id=… client_address=IP … sender=A recipient=B …

At DATA (or BDAT) Postfix leaves out the recipient if there are several.
Sources: observed output of these servers (Postfix 3.7, Exim 4.96), Postfix's smtpd_whatsup, and the chapter
on log files of the Exim specification.  Everything between the marks comes from clients.  So the text is only
parsed, never used otherwise, and where a reply may repeat a mark the last match counts.  The patterns are
RE2's: with Python's own, a line that a stranger had caused took a third of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import re2

from multigrey.events.line import parse_line
from multigrey.model import value

__all__ = ["LONGEST", "PastedLine", "find_attempt"]

LONGEST = 16_384
"""Characters of the text that are used: enough for the few lines of one message."""
_LONGEST_LINE = 4_096
"""Characters; syslog lines are never longer."""


@value
class PastedLine:
    """An attempt found in a log."""

    program: str
    """`postfix`, `exim` or `multigrey`."""
    fields: Mapping[str, str]
    """Parts of the attempt by name (`client_address`, `helo`, …); a part that the log lacks is left out.

    The null sender is "".
    """
    id: str = ""
    """The id of the decision, if the line has it."""


def _options() -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # octets: a stranger's need not be UTF-8
    options.log_errors = False
    return options


class _Pattern:
    """A pattern of RE2 that is searched in text."""

    def __init__(self, pattern: str) -> None:
        self._compiled: Any = re2.compile(pattern.encode(), _options())

    def search(self, line: str) -> _Found | None:
        """The first match."""
        found = self._compiled.search(line.encode("utf-8", "surrogateescape"))
        return None if found is None else _Found(found)


class _Found:
    """A match with groups as text; None for a group that took no part."""

    def __init__(self, found: Any) -> None:
        self._found = found
        self.rest = _text(found.string[found.end() :])

    def __getitem__(self, group: int) -> Any:
        return self.groups()[group - 1]

    def groups(self) -> tuple[Any, ...]:
        """All groups."""
        return tuple(None if each is None else _text(each) for each in self._found.groups())


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


_QUOTED = r'"(?:[^"\\]|\\.)*"'
_MAILBOX = rf"((?:{_QUOTED}|[^>])*?)"
"""The text between < and >; a quoted local part may contain these characters."""


def find_attempt(text: str) -> PastedLine | None:
    """The first attempt that is found in the text; None if there is none."""
    text = text[:LONGEST]
    lines = [line for line in text.splitlines() if line.strip() and len(line) <= _LONGEST_LINE]
    for line in lines:
        for reader in _READERS:
            found = reader(line)
            if found is not None:
                return found
    return _postfix_message(lines)


# --- multigrey -------------------------------------------------------------------------------------

_OWN = _Pattern(r"(?:^|\s)((?:time=\S+ )?action=(?:pass|defer|reject) reason=\S+ id=.*)")
_OWN_PARTS = (
    *("listener", "client_address", "client_name", "helo", "raw", "sender", "recipient"),
    *("message", "stage", "authenticated"),
)


def _own(line: str) -> PastedLine | None:
    matched = _OWN.search(line)
    if matched is None:
        return None
    try:
        told = parse_line(matched[1])
    except ValueError:  # cut while it was pasted, or written by another program
        return None
    fields = {name: told[name] for name in _OWN_PARTS if name in told}
    if fields.get("sender") == "<>":
        fields["sender"] = ""
    return PastedLine("multigrey", _without_unknown(fields), told.get("id", ""))


def _without_unknown(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields without a client name or address that is unknown."""
    unknown = {"client_name": {"unknown", ""}, "client_address": {"unknown", ""}}
    return {name: text for name, text in fields.items() if text not in unknown.get(name, ())}


# --- Postfix ---------------------------------------------------------------------------------------

_CLIENT = r"([^\s\[\]]*)\[([0-9A-Fa-f:.]+|unknown)\](?::\d+|:unknown)?"
_POSTFIX = _Pattern(
    rf"reject(?:_warning)?: (RCPT|DATA|BDAT|END-OF-MESSAGE) from {_CLIENT}: .*"
    rf"; from=<{_MAILBOX}>,?(?: to=<{_MAILBOX}>,?)? proto=\S+?(?:,? helo=<(.*?)>)?"
    r"(?:,? sasl_username=<?(.*?)>?)?\s*$"
)
_QUEUE_ID = r"([0-9A-F]{6,}|[0-9A-Za-z]{10,})"
_POSTFIX_CLIENT = _Pattern(rf": {_QUEUE_ID}: client={_CLIENT}(.*)")
_POSTFIX_LOGIN = _Pattern(r", sasl_username=([^,\s]+)")
_POSTFIX_FROM = _Pattern(rf": {_QUEUE_ID}: from=<{_MAILBOX}>, ")
_POSTFIX_TO = _Pattern(rf": {_QUEUE_ID}: to=<{_MAILBOX}>, (?:orig_to=<{_MAILBOX}>, )?")


def _postfix(line: str) -> PastedLine | None:
    matched = _POSTFIX.search(line)
    if matched is None:
        return None
    stage, name, address, sender, recipient, helo, login = matched.groups()
    at_data = stage in {"DATA", "BDAT"}
    if recipient is None and not at_data:
        return None
    fields = {
        "client_address": address,
        "client_name": name,
        "sender": sender,
        "recipient": recipient or "",  # Postfix leaves it out if there are several
    }
    if helo is not None:
        fields["helo"] = helo
    if login:
        fields["authenticated"] = login
    if at_data:
        fields["stage"] = "data"
    return PastedLine("postfix", _without_unknown(fields))


def _postfix_message(lines: Sequence[str]) -> PastedLine | None:
    """The attempt of an accepted message, whose client, sender and recipients are on separate lines."""
    messages: dict[str, dict[str, str]] = {}
    for line in lines:
        if matched := _POSTFIX_CLIENT.search(line):
            queue_id, name, address, rest = matched.groups()
            fields = messages.setdefault(queue_id, {})
            fields.update(client_name=name, client_address=address)
            if login := _POSTFIX_LOGIN.search(rest):
                fields["authenticated"] = login[1]
        elif matched := _POSTFIX_FROM.search(line):
            messages.setdefault(matched[1], {}).setdefault("sender", matched[2])
        elif matched := _POSTFIX_TO.search(line):
            messages.setdefault(matched[1], {}).setdefault("recipient", matched[3] or matched[2])
    for fields in messages.values():
        if {"client_address", "sender", "recipient"} <= fields.keys():
            return PastedLine("postfix", _without_unknown(fields))
    return None


# --- Exim ------------------------------------------------------------------------------------------

_EXIM_HOST = r"H=(?:([^\s(\[]\S*) )?(?:\(([^()\s]*)\) )?\[([0-9A-Fa-f:.]+)\](?::\d+)?"
_EXIM_REJECTED = _Pattern(
    rf"(?:^|\s){_EXIM_HOST} ((?:\S+ )*?)F=<{_MAILBOX}> "
    rf"(?:temporarily )?rejected (?:RCPT <{_MAILBOX}>|(?:after )?DATA)(.*)"
)
_EXIM_ACCEPTED = _Pattern(rf"(?:^|\s)<= ({_QUOTED}@\S+|\S+) ")
_EXIM_CLIENT = _Pattern(rf"(?:^|\s){_EXIM_HOST} ")
_EXIM_LOGIN = _Pattern(r"(?:^|\s)A=[^\s:]+:([^\s:]+)")
_EXIM_ID = _Pattern(r"\bmultigrey [a-z-]+ (?:id=)?([0-9a-z]{4,})\b")


def _exim(line: str) -> PastedLine | None:
    if matched := _EXIM_REJECTED.search(line):
        name, helo, address, more, sender, recipient, text = matched.groups()
        if recipient is None:
            return None  # the message was refused as a whole: its recipients are not in this line
        identified = _EXIM_ID.search(text)
        fields = {**_exim_client(name, helo, address, more), "sender": sender, "recipient": recipient}
        return PastedLine("exim", fields, identified[1] if identified else "")
    if matched := _EXIM_ACCEPTED.search(line):
        return _exim_accepted(matched[1], matched.rest)
    return None


def _exim_accepted(sender: str, rest: str) -> PastedLine | None:
    """The attempt of an accepted message.

    Its recipients are at the end, if Exim is configured to log them (log_selector +received_recipients).
    """
    client = _EXIM_CLIENT.search(rest)
    _, found, recipients = rest.rpartition(" for ")
    recipient = recipients.partition(" ")[0].strip()
    if client is None or not found or "@" not in recipient:
        return None
    fields = _exim_client(client[1], client[2], client[3], client.rest.rpartition(" for ")[0])
    return PastedLine("exim", {**fields, "sender": "" if sender == "<>" else sender, "recipient": recipient})


def _exim_client(name: str | None, helo: str | None, address: str, more: str) -> dict[str, str]:
    """The fields after H=: HELO is in parentheses, and left out if it is the verified name."""
    fields = {"client_address": address}
    if name:
        fields["client_name"] = name
    if helo or name:
        fields["helo"] = helo or name or ""
    if login := _EXIM_LOGIN.search(more):
        fields["authenticated"] = login[1]
    return fields


_READERS: tuple[Callable[[str], PastedLine | None], ...] = (_own, _postfix, _exim)
