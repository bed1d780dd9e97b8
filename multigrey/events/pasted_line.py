"""Finds an attempt in text pasted from a mail log: of Postfix, of Exim, or a decision line of multigrey.

    postfix/smtpd[9]: NOQUEUE: reject: RCPT from NAME[IP]: 450 …; from=<A> to=<B> proto=ESMTP helo=<H>
    postfix/smtpd[9]: QID: reject: DATA from NAME[IP]: 451 …; from=<> proto=ESMTP helo=<H>
    postfix/postscreen[9]: NOQUEUE: reject: RCPT from [IP]:PORT: …; from=<A>, to=<B>, proto=…, helo=<H>
    QID: client=NAME[IP] … QID: from=<A>, … QID: to=<B>, …       (several lines of one accepted message)
    DATE TIME H=NAME (HELO) [IP]:PORT … F=<A> A=login:NAME temporarily rejected RCPT <B>: …
    DATE TIME H=NAME (HELO) [IP]:PORT … F=<> temporarily rejected after DATA: multigrey new id=…
    DATE TIME ID <= A H=NAME (HELO) [IP] P=esmtps … for B
    … action=defer reason=new id=… client_address=IP … sender=A recipient=B …
    … {"time":…,"action":"defer",…}
    … action=greylist, reason=new, client_name=NAME, client_address=IP, sender=A, recipient=B
    postfix/smtp[9]: QID: to=<B>, relay=…, status=deferred (host … said: 450 …)    (the sender's side)
    DATE TIME ID == B R=… T=… defer (-44) H=…: SMTP error from remote mail server after RCPT TO:<B>: 450 …
    <B>: host … said: 450 …                                                                   (a bounce)
    450 4.7.1 <B>: …                                                                           (a reply)
    X-Greylist: delayed N seconds by multigrey-V at HOST; DATE                       (an accepted message)

At DATA (or BDAT) Postfix leaves out the recipient if there are several.
Sources: observed output of these servers (Postfix 3.7, Exim 4.96), Postfix's smtpd_whatsup, and the chapter
on log files of the Exim specification.  Everything between the marks comes from clients.  So the text is only
parsed, never used otherwise, and where a reply may repeat a mark the last match counts.

Not every line names the client: what the sender's side and a bounce say does not.  Such an attempt has no
`client_address`, and is looked for in the history.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from multigrey.events.line import parse_line, unescaped
from multigrey.events.log_pattern import LogMatch, LogPattern
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
    """`postfix`, `exim`, `multigrey`, `postgrey`, `sender` (its server's log, or a bounce) or `header`."""
    fields: Mapping[str, str]
    """Parts of the attempt by name (`client_address`, `helo`, …); a part that the log lacks is left out.

    The null sender is "".
    """
    id: str = ""
    """The id of the decision, if the line has it."""
    delayed: int = 0
    """How many seconds the message was delayed, if the line says so."""


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
    return _senders_side(lines) or _postfix_message(lines) or _header(lines)


# --- multigrey -------------------------------------------------------------------------------------

_OWN = LogPattern(r"(?:^|\s)((?:time=\S+ )?action=(?:pass|defer|reject) reason=\S+ id=.*)")
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
    return _own_fields(told)


def _own_json(line: str) -> PastedLine | None:
    begin = line.find('{"')
    try:
        told = json.loads(line[begin:]) if begin >= 0 else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not {"action", "reason", "client_address"} <= told.keys():
        return None
    texts = {key: unescaped(text) for key, text in told.items() if isinstance(text, str) and text}
    return _own_fields(texts if "raw" in texts else {"sender": "", **texts})


def _own_fields(told: Mapping[str, str]) -> PastedLine:
    fields = {name: told[name] for name in _OWN_PARTS if name in told}
    if fields.get("sender") == "<>":
        fields["sender"] = ""
    return PastedLine("multigrey", _without_unknown(fields), told.get("id", ""))


_POSTGREY = LogPattern(
    r"action=(?:greylist|pass|reject), reason=.*?, client_name=([^,\s]*), client_address=([^,/\s]*)(?:/\d+)?"
    r"(?:, sender=([^,\s]*))?, recipient=([^,\s]+)\s*$"
)


def _postgrey(line: str) -> PastedLine | None:
    """A line of postgrey, or one of multigrey in that form."""
    matched = _POSTGREY.search(line)
    if matched is None:
        return None
    name, address, sender, recipient = (unescaped(text or "") for text in matched.groups())
    fields = {"client_name": name, "client_address": address, "sender": sender, "recipient": recipient}
    return PastedLine("postgrey" if "postgrey" in line else "multigrey", _without_unknown(fields))


def _without_unknown(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields without a client name or address that is unknown."""
    unknown = {"client_name": {"unknown", ""}, "client_address": {"unknown", ""}}
    return {name: text for name, text in fields.items() if text not in unknown.get(name, ())}


# --- Postfix ---------------------------------------------------------------------------------------

_CLIENT = r"([^\s\[\]]*)\[([0-9A-Fa-f:.]+|unknown)\](?::\d+|:unknown)?"
_POSTFIX = LogPattern(
    rf"reject(?:_warning)?: (RCPT|DATA|BDAT|END-OF-MESSAGE) from {_CLIENT}: .*"
    rf"; from=<{_MAILBOX}>,?(?: to=<{_MAILBOX}>,?)? proto=\S+?(?:,? helo=<(.*?)>)?"
    r"(?:,? sasl_username=<?(.*?)>?)?\s*$"
)
_QUEUE_ID = r"([0-9A-F]{6,}|[0-9A-Za-z]{10,})"
_POSTFIX_CLIENT = LogPattern(rf": {_QUEUE_ID}: client={_CLIENT}(.*)")
_POSTFIX_LOGIN = LogPattern(r", sasl_username=([^,\s]+)")
_POSTFIX_FROM = LogPattern(rf": {_QUEUE_ID}: from=<{_MAILBOX}>, ")
_POSTFIX_TO = LogPattern(rf": {_QUEUE_ID}: to=<{_MAILBOX}>, (?:orig_to=<{_MAILBOX}>, )?")


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
_EXIM_REJECTED = LogPattern(
    rf"(?:^|\s){_EXIM_HOST} ((?:\S+ )*?)F=<{_MAILBOX}> ((?:[A-Z][A-Za-z]*=\S+ )*)"
    rf"(?:temporarily )?rejected (?:RCPT <{_MAILBOX}>|(?:after )?DATA)(.*)"
)
_EXIM_ACCEPTED = LogPattern(rf"(?:^|\s)<= ({_QUOTED}@\S+|\S+) ")
_EXIM_CLIENT = LogPattern(rf"(?:^|\s){_EXIM_HOST} ")
_EXIM_LOGIN = LogPattern(r"(?:^|\s)A=[^\s:]+:([^\s:]+)")
_EXIM_ID = LogPattern(r"\bmultigrey [a-z-]+ (?:id=)?([0-9a-z]{4,})\b")


def _exim(line: str) -> PastedLine | None:
    if matched := _EXIM_REJECTED.search(line):
        name, helo, address, more, sender, behind, recipient, text = matched.groups()
        identified = _EXIM_ID.search(text)
        client = _exim_client(name, helo, address, f"{more}{behind}")
        fields = {**client, "sender": sender, "recipient": recipient or ""}
        if recipient is None:
            if sender and not identified:
                return None  # a content filter's: multigrey judges only bounces here
            fields["stage"] = "data"  # several recipients, which are not in this line
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


# --- the sender's side, and headers ------------------------------------------------------------------

_SAID = LogPattern(
    rf"(?:^|\s)(?:to=)?<{_MAILBOX}>(?:,.*? status=(?:deferred|bounced) \(|: *)host \S+ said: [45]\d\d"
)
_REPLY = LogPattern(rf"(?:^|[\s:])[45]\d\d[ -](?:[45]\.\d+\.\d+ )?<{_MAILBOX}>: ")
_SENDMAIL = LogPattern(
    rf"(?:^|\s)to=<{_MAILBOX}>,.* (?:stat=Deferred: [45]\d\d|dsn=4\.7\.\d+, stat=Deferred)"
)
_EXIM_SAID = LogPattern(
    r"(?:^|\s)(?:==|\*\*) (?:\S+ <)?([^\s<>]+)>? .*SMTP error from remote mail server after "
)
_EXIM_SENDER = LogPattern(rf"\b(?:F=|MAIL FROM:)<{_MAILBOX}>")
_FROM = LogPattern(rf"(?:^|\s)from=<{_MAILBOX}>,")
_HEADER = LogPattern(r"(?:^|\s)X-Greylist: delayed (\d{1,9}) seconds by multigrey")
_RETURN_PATH = LogPattern(rf"(?i)^Return-path: *<{_MAILBOX}>")
_DELIVERED_TO = LogPattern(r"(?i)^(?:Delivered-To|Envelope-To|X-Original-To): *<?([^\s<>,]+)")


def _senders_side(lines: Sequence[str]) -> PastedLine | None:
    """What the sender's mail server logged, or put into a bounce: it never names the address it came from."""
    for line in lines:
        matched = _SAID.search(line) or _SENDMAIL.search(line) or _EXIM_SAID.search(line)
        matched = matched or _REPLY.search(line)
        if matched is not None:
            fields = {"recipient": matched[1]}
            if sender := _EXIM_SENDER.search(line) or _first(_FROM, lines):
                fields["sender"] = sender[1]
            return PastedLine("sender", fields)
    return None


def _header(lines: Sequence[str]) -> PastedLine | None:
    """The header of a message that was delayed, with the envelope if those headers were pasted, too."""
    header = _first(_HEADER, lines)
    if header is None:
        return None
    found = {"sender": _first(_RETURN_PATH, lines), "recipient": _first(_DELIVERED_TO, lines)}
    fields = {name: matched[1] for name, matched in found.items() if matched is not None}
    return PastedLine("header", fields, delayed=int(header[1]))


def _first(pattern: LogPattern, lines: Sequence[str]) -> LogMatch | None:
    return next(filter(None, map(pattern.search, lines)), None)


_READERS: tuple[Callable[[str], PastedLine | None], ...] = (_own, _own_json, _postgrey, _postfix, _exim)
