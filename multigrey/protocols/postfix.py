r"""Postfix's access policy delegation (SMTPD_POLICY_README), spoken by `check_policy_service`.

Grammar, in bytes:

    request   = *(name "=" value LF) LF        ; empty lines between requests are skipped
    name      = 1*<any byte but "=", NUL, LF>
    value     = *<any byte but NUL, LF>
    answer    = "action=" action LF LF

What Postfix sends at RCPT (since 3.0 in this order, later versions add lines at the end):

    request=smtpd_access_policy, protocol_state=RCPT, protocol_name, client_address, client_name,
    client_port, reverse_client_name, server_address, server_port, helo_name, sender, recipient,
    recipient_count, queue_id, instance, size, etrn_domain, stress, sasl_method, sasl_username,
    sasl_sender, ccert_subject, ccert_issuer, ccert_fingerprint, ...

An attempt is a recipient at RCPT, or a message at DATA whose sender is the null sender or one that probes
addresses (`identity.sender.is_probe`; a client that only probes never gets there).  The attempt at DATA has
the message's recipient, or none when there are several.  A request without `protocol_state` but with a
recipient, as typed by hand, counts as RCPT.  Every other request is answered `DUNNO` and is not judged.
A line may end with CR LF, as in telnet; any other CR is a byte like others.
Connections stay open for long, and requests may be pipelined.  After the end of file, complete requests are
answered; a request without its empty line is not.

Evolution: only `request` is required.  Unknown attributes are kept for rules and otherwise ignored.  A line
without "=" is skipped.

Limits: a request longer than the endpoint's `request_size`, or one without a single attribute, ends the
connection without an answer, as the README demands; Postfix asks again, then uses its `default_action`.  The
number of requests is not limited otherwise.

Dangers:
- The README leaves open which of two attributes of the same name counts.  Here the first does, so
  that a client that can smuggle a line into a later value cannot change an earlier one.
- Postfix removes the quotes of local parts: addresses contain spaces and "=".
- Never answer `DEFER`: it would win over a later permanent reject.  Never begin the text of
  DEFER_IF_PERMIT with an SMTP code: it would become text.  The code here makes both impossible.
- At DATA a deferral is `451 4.x.x text`: for DEFER_IF_PERMIT Postfix logs a 450 there, which
  fail2ban's stock jail counts.  So our check has to be the last in smtpd_data_restrictions.
- `ccert_subject` is only sent for a certificate that Postfix has verified; the fingerprints are
  sent for every certificate and prove nothing.
- Every client that reaches the socket can claim any client name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from multigrey.contracts import DialogueOptions
from multigrey.errors import ProtocolError
from multigrey.identity.sender import is_probe
from multigrey.model import Action, Attempt, Command, Ignored, Reply, Signal, Stage
from multigrey.protocols.wire import HEADER_OCTETS, Inbox, decode, encode, known_address, one_line, reply_text

__all__ = ["PostfixDialogue"]

_DUNNO = b"action=DUNNO\n\n"
_CODE = re.compile(r"[45](\.\d{1,3}\.\d{1,3})")

# One pass over a request in Postfix's own order; every other request is left to the full parse.
# Two thirds faster than splitting 30 lines.
# Shortcut of PostfixDialogue._read_any.
_IN_ORDER = re.compile(
    "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=[^\n]*\n"
    "client_address=([^\n]*)\nclient_name=([^\n]*)\n(?:client_port=[^\n]*\n)?"
    "reverse_client_name=[^\n]*\n(?:server_address=[^\n]*\nserver_port=[^\n]*\n)?"
    "helo_name=([^\n]*)\nsender=([^\n]*)\nrecipient=([^\n]+)\n"
    "recipient_count=[^\n]*\nqueue_id=[^\n]*\ninstance=([^\n]*)\n"
    "size=[^\n]*\netrn_domain=[^\n]*\nstress=[^\n]*\n"
    "sasl_method=[^\n]*\nsasl_username=([^\n]*)\nsasl_sender=[^\n]*\nccert_subject=([^\n]*)(?:\n|\\Z)"
).match

_MOVE = ": move it to the end of smtpd_recipient_restrictions"
_HINTS: Mapping[str, str] = {
    "CONNECT": "Postfix asked at CONNECT: the check probably stands in smtpd_client_restrictions" + _MOVE,
    "EHLO": "Postfix asked at EHLO: the check probably stands in smtpd_helo_restrictions" + _MOVE,
    "HELO": "Postfix asked at HELO: the check probably stands in smtpd_helo_restrictions" + _MOVE,
    "MAIL": "Postfix asked at MAIL: the check probably stands in smtpd_sender_restrictions" + _MOVE,
    "ETRN": "Postfix asked at ETRN: the check probably stands in smtpd_etrn_restrictions" + _MOVE,
    "END-OF-MESSAGE": "Postfix asked at END-OF-MESSAGE: the check probably stands in"
    " smtpd_end_of_data_restrictions" + _MOVE,
    "VRFY": "Postfix asked about a VRFY, for which it uses smtpd_recipient_restrictions too:"
    " set disable_vrfy_command = yes to avoid that",
    "RCPT": "Postfix asked at RCPT without a recipient: the check is probably not in"
    " smtpd_recipient_restrictions: move it to the end of that list",
}
_UNNAMED = "a request without request=smtpd_access_policy: the peer is probably not Postfix"


class PostfixDialogue:
    """One connection of a Postfix smtpd (see the module's text)."""

    def __init__(self, options: DialogueOptions) -> None:
        self._listener = options.listener
        self._inbox = Inbox(options.request_size)
        self._out = b""
        self._broken = False

    patience = None
    """See `contracts.Dialogue.patience`: a request says itself where it ends."""

    def receive(self, data: bytes) -> None:
        """See `contracts.Dialogue.receive`."""
        self._inbox.feed(data)

    def next_request(self) -> Attempt | Ignored | Signal:
        """See `contracts.Dialogue.next_request`."""
        if self._broken:
            return Signal.CLOSED
        inbox = self._inbox
        if not inbox and not inbox.ended:
            return Signal.NEED_DATA
        try:
            while (raw := inbox.take(b"\n\n")) == b"":
                pass  # empty lines between requests
            if raw is None:
                return Signal.CLOSED if inbox.ended else Signal.NEED_DATA
            return self._read(decode(raw))
        except ProtocolError:
            self._broken = True
            raise

    def answer(self, request: Attempt | Command, reply: Reply | Mapping[str, Any] | str) -> None:
        """See `contracts.Dialogue.answer`; this protocol has no commands."""
        at_data = isinstance(request, Attempt) and request.stage is Stage.DATA
        self._out += _action(reply, at_data=at_data) if isinstance(reply, Reply) else _DUNNO

    def data_to_send(self) -> bytes:
        """See `contracts.Dialogue.data_to_send`."""
        out, self._out = self._out, b""
        return out

    def _read(self, text: str) -> Attempt | Ignored:
        match = _IN_ORDER(text)
        if match is None:
            return self._read_any(text)
        address, name, helo, sender, recipient, instance, login, subject = match.groups()
        return Attempt(
            self._listener,
            known_address(address),
            None if name in {"unknown", ""} else name,
            helo,
            sender,
            recipient,
            Stage.RCPT,
            instance,
            login or (_from_xtext(subject) if subject else ""),
            "",
            Attributes(text),
        )

    def _read_any(self, text: str) -> Attempt | Ignored:
        """The same for attributes in any order, and for requests that are not judged."""
        told = Attributes(text)
        if not told:
            raise ProtocolError("a request without a single attribute")
        sender, recipient = told.get("sender", ""), told.get("recipient", "")
        stage = _stage(told, sender, recipient)
        if isinstance(stage, str):
            self._out += _DUNNO
            return Ignored(stage)
        if stage is Stage.DATA and told.get("recipient_count", "") not in {"", "0", "1"}:
            recipient = ""
        name = told.get("client_name", "")
        return Attempt(
            self._listener,
            known_address(told.get("client_address", "")),
            None if name in {"unknown", ""} else name,
            told.get("helo_name", ""),
            sender,
            recipient,
            stage,
            told.get("instance", ""),
            told.get("sasl_username", "") or _from_xtext(told.get("ccert_subject", "")),
            "",
            told,
        )


class Attributes(Mapping[str, str]):
    """All attributes of one request, under Postfix's names; parsed when first needed."""

    __slots__ = ("_parsed", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._parsed: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"Attributes({self._all()!r})"

    def _all(self) -> dict[str, str]:
        if self._parsed is None:
            self._parsed = {}
            for line in self._text.split("\n"):
                name, equals, value = line.partition("=")
                if equals:
                    self._parsed.setdefault(name, value)  # the first wins
        return self._parsed


def _stage(told: Mapping[str, str], sender: str, recipient: str) -> Stage | str:
    """The stage of the attempt; or the hint to log if it is not an attempt ("": nothing is wrong)."""
    request = told.get("request")
    if request != "smtpd_access_policy":
        return _UNNAMED if request is None else f"unknown kind of request: request={request[:40]!a}"
    state = told.get("protocol_state", "RCPT")
    if state == "DATA":
        return Stage.DATA if not sender or is_probe(sender) else ""
    if state == "RCPT" and recipient:
        return Stage.RCPT
    return _HINTS.get(state) or f"Postfix asked at {state[:40]!a}, which is not a known protocol_state"


_HEX_PAIR = re.compile(rb"\+([0-9A-Fa-f]{2})")


def _from_xtext(text: str) -> str:
    """The text that Postfix wrote as xtext (RFC 3461 section 4); other text stays as it is."""
    if "+" not in text:
        return text
    return decode(_HEX_PAIR.sub(lambda pair: bytes.fromhex(pair[1].decode()), encode(text)))


def _action(reply: Reply, *, at_data: bool) -> bytes:
    if reply.action is Action.PASS:
        header = one_line(reply.header, HEADER_OCTETS) if reply.header else ""
        return encode(f"action=PREPEND {header}\n\n") if header else _DUNNO
    return _refusal(reply.action, reply.code, reply.text, at_data)


@lru_cache(maxsize=16)
def _refusal(action: Action, code: str, text: str, at_data: bool) -> bytes:
    """The answer with these words; cached, because they are nearly always the same."""
    known = _CODE.fullmatch(code)
    detail = known[1] if known else ".7.1"
    if action is Action.REJECT:
        return encode(f"action=REJECT 5{detail} {reply_text(text)}\n\n")
    if at_data:
        # Postfix would log "450 4.7.1 <DATA>: ... rejected", which fail2ban's stock jail counts.
        return encode(f"action=451 4{detail} {reply_text(text)}\n\n")
    return encode(f"action=DEFER_IF_PERMIT 4{detail} {reply_text(text)}\n\n")
