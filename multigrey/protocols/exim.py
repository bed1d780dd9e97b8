r"""The line protocol for Exim's `${readsocket}`, version 1.

Grammar, in bytes:

    request = "multigrey/1" LF *(name "=" value LF) (LF / end of file)
    value   = *<any byte but LF>
    answer  = "action=" word *(SP name "=" value) LF        ; then we close

    name               value
    stage              rcpt (when missing) or data
    client_address     in any spelling; empty or unknown: not known
    client_name        verified host name; empty: none
    helo, sender       sender empty: the null sender
    recipient
    recipient_count    at data: how many recipients the message has
    message            an id that all recipients of one message share
    authenticated      login name; empty: not logged in

    action       pass, defer or reject (or error, see below)
    reason       the word of the log
    retry_after  defer only: seconds until a retry passes
    id           of the decision, as in the log
    code         defer and reject, unless it is 4.7.1 or 5.7.1: the enhanced status code (RFC 3463)
    message      defer and reject: the words for the client
    header       pass only, when due: a whole header line

The answer is made for `${extract{name}{...}}`: values that may contain blanks are in double quotes, in which
Exim undoes backslash escapes; we write only \\ and \".

At the data stage, a message with several recipients, or an unknown number, is an attempt without a recipient
if its sender is the null sender or one that probes addresses (`identity.sender.is_probe`).  Such messages are
judged at this stage, and honest ones have one recipient.  Other senders were judged at RCPT and are answered
`action=pass`, because a refusal would hit all recipients.  Several recipients are recognised by
recipient_count or, without it, by a list as $recipients makes it ("a@b, c@d"; a comma in a quoted local part
separates nothing).

Evolution: a line without "=" is skipped.  An unknown name is kept for rules.  Of two lines with the same name
the first counts.  Answers may get further names.  A request of another version gets
`action=error reason=version message="..."` and nothing else: no snippet reads that as a defer or a reject, so
mail passes, and a snippet that logs every answer but pass, defer and reject shows the text in Exim's log.

A line may end with CR LF, as in telnet; any other CR is a byte like others.

Limits: a request longer than the endpoint's `request_size` ends the connection without an answer, which Exim
sees as the empty string.  One request per connection; what follows it is discarded.

Dangers:
- Exim half-closes after the request: the end of file means "answer now", not "go away".  It takes an
  answer as complete only when we close, and a NUL ends it.
- One field per line is safe because no SMTP command contains a LF.  One line with blanks between the
  fields is not: `$sender_address` keeps quoted local parts, which contain blanks and "=".
- Exim does not expand the answer again, but a snippet that expands the message would: never use
  `${expand:}` on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from multigrey.contracts import DialogueOptions
from multigrey.errors import ProtocolError
from multigrey.identity.sender import is_probe
from multigrey.model import NO_ATTRIBUTES, Action, Attempt, Command, Ignored, Reply, Signal, Stage
from multigrey.protocols.wire import HEADER_OCTETS, Inbox, decode, encode, known_address, one_line, reply_text

__all__ = ["EximDialogue"]

_GREETING = b"multigrey/1"
_PASS = b"action=pass\n"
_USUAL_CODES = frozenset({"4.7.1", "5.7.1"})
"""The codes that snippets use for defer and reject by default (RFC 3463: delivery not authorised)."""
_STAGES = {stage.value: stage for stage in Stage}
_IS_LIST = re.compile(r'(?:[^",]++|"(?:[^"\\]++|\\.)*")*,', re.DOTALL).match
"""Whether a comma separates addresses.  In quotes it belongs to a local part (RFC 5321 section 4.1.2)."""
_FIELDS = frozenset(
    {
        "stage",
        "client_address",
        "client_name",
        "helo",
        "sender",
        "recipient",
        "message",
        "authenticated",
    }
)


class EximDialogue:
    """One `${readsocket}` call (see the module's text)."""

    def __init__(self, options: DialogueOptions) -> None:
        self._listener = options.listener
        self._inbox = Inbox(options.request_size)
        self._greeted = False
        self._out = b""
        self._done = False

    patience = None
    """See `contracts.Dialogue.patience`: a request says itself where it ends."""

    def receive(self, data: bytes) -> None:
        """See `contracts.Dialogue.receive`."""
        if not self._done:
            self._inbox.feed(data)

    def next_request(self) -> Attempt | Ignored | Signal:
        """See `contracts.Dialogue.next_request`."""
        if self._done:
            return Signal.CLOSED
        try:
            raw = self._take()
        except ProtocolError:
            self._done = True
            raise
        if isinstance(raw, Signal):
            return raw
        self._done = True
        return self._read(raw)

    def answer(self, request: Attempt | Command, reply: Reply | Mapping[str, Any] | str) -> None:
        """See `contracts.Dialogue.answer`; this protocol has no commands."""
        del request
        self._out += _line(reply) if isinstance(reply, Reply) else _PASS

    def data_to_send(self) -> bytes:
        """See `contracts.Dialogue.data_to_send`."""
        out, self._out = self._out, b""
        return out

    def _take(self) -> bytes | Signal:
        """The whole request; its first line is checked as soon as it is there."""
        inbox = self._inbox
        if not self._greeted:
            first = inbox.peek(b"\n")
            if first is not None:
                _check_version(first)
                self._greeted = True
        raw = inbox.take(b"\n\n") if self._greeted else None
        if raw is not None:
            return raw
        if not inbox.ended:
            return Signal.NEED_DATA
        if not inbox:
            return Signal.CLOSED
        rest = inbox.take_rest()
        if not self._greeted:
            _check_version(rest)
        return rest

    def _read(self, raw: bytes) -> Attempt | Ignored:
        told = _fields(decode(raw))
        sender, recipient = told.get("sender", ""), told.get("recipient", "")
        word = told.get("stage", "rcpt")
        stage = _STAGES.get(word)
        if stage is None:
            return self._pass(f"Exim asked with stage={word[:40]!a}; only rcpt and data are known")
        postponed = stage is Stage.DATA and (not sender or is_probe(sender))
        if stage is Stage.DATA and _several(told.get("recipient_count", ""), recipient):
            if not postponed:
                return self._pass("")
            recipient = ""
        if not recipient and not postponed:
            return self._pass(f"Exim asked without a recipient at stage={word}: see multigrey-exim(7)")
        name = told.get("client_name", "")
        return Attempt(
            self._listener,
            known_address(told.get("client_address", "")),
            None if name in {"unknown", ""} else name,
            told.get("helo", ""),
            sender,
            recipient,
            stage,
            told.get("message", ""),
            told.get("authenticated", ""),
            "",
            _others(told),
        )

    def _pass(self, hint: str) -> Ignored:
        self._out += _PASS
        return Ignored(hint)


def _others(told: Mapping[str, str]) -> Mapping[str, str]:
    """What Exim sent besides the fields of an attempt; usually nothing."""
    if told.keys() <= _FIELDS:
        return NO_ATTRIBUTES
    return MappingProxyType({name: value for name, value in told.items() if name not in _FIELDS})


def _check_version(first: bytes) -> None:
    if first == _GREETING:
        return
    if first.startswith(b"multigrey/"):
        problem = f"multigrey speaks multigrey/1 here, not {decode(first)[:40]!a}"
    else:
        problem = "a request begins with the line multigrey/1"
    raise ProtocolError(problem, encode(f'action=error reason=version message="{_quoted(problem)}"\n'))


def _several(count: str, recipient: str) -> bool:
    """Whether a message has more than one recipient; `count` and `recipient` as Exim sent them."""
    if count in {"", "0"}:
        return _IS_LIST(recipient) is not None
    return count != "1"


def _fields(text: str) -> dict[str, str]:
    """The lines after the first as names and values."""
    told: dict[str, str] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals and name not in told:
            told[name] = value
    return told


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _line(reply: Reply) -> bytes:
    line = f"action={reply.action.value} reason={reply.reason.value}"
    if reply.action is Action.DEFER:
        line += f" retry_after={reply.retry_after}"
    line += f" id={reply.id}"
    if reply.action is not Action.PASS:
        if reply.code not in _USUAL_CODES:
            line += f" code={reply.code}"
        line += f' message="{_quoted(reply_text(reply.text))}"'
    elif header := one_line(reply.header, HEADER_OCTETS):
        line += f' header="{_quoted(header)}"'
    return encode(line + "\n")
