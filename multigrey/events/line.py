r"""Formats a decision as one line of the log, in multigrey's own form, in postgrey's, and as JSON.

multigrey's form is `key=value` pairs with one space between them:

    line  = pair *( " " pair )
    pair  = key "=" ( plain / quoted )
    plain = printable ASCII without space, `"`, `=` and `\`
    quoted: between `"`, anything printable; `\"` `\\` for these two, `\xHH` for other ASCII and for
            bytes that are not UTF-8, `\uHHHH` and `\UHHHHHHHH` for characters that are not printable

So a client cannot end a value or a line, or begin a key, with its name or its recipients: controls, line and
paragraph separators, and characters that turn the writing direction are never printed.  `parse_line` reads a
line back exactly.

Length.  A line has at most `LONGEST` bytes: so one write to a pipe stays whole (pipe(7), PIPE_BUF), and
neither the journal (LineMax=) nor a syslog daemon (RFC 3164 section 4.1 names 1024, current ones take
8 KiB) splits it.  The second half of a split line would begin with text of the client.  Values are cut only
if together they are longer than 360 characters (in JSON 300).  Then each value has at most 256 bytes, the
longest path (RFC 5321 section 4.5.3.1.3), and ends with `...` if it was longer.

As JSON a line is one object (RFC 8259) with the same keys.  Its texts are those of the quoted form: `\\` for
a backslash, `\xHH`, `\uHHHH`, `\UHHHHHHHH` for what is not printable.  So they stay harmless after a program
has decoded them, and are always Unicode, for any bytes on the wire.  `unescaped` returns the original text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from types import MappingProxyType
from typing import TypeVar

from multigrey.identity.addresses import client_text
from multigrey.model import Action, Attempt, DecisionEvent, Reason, Stage, Verdict
from multigrey.text import _code, escaped

__all__ = [
    "FACILITIES",
    "INFO",
    "LONGEST",
    "WARNING",
    "Hide",
    "event_fields",
    "file_line",
    "format_event",
    "format_fields",
    "format_json",
    "format_json_fields",
    "format_postgrey",
    "moment_of",
    "parse_line",
    "syslog_line",
    "syslog_time",
    "unescaped",
    "utc_time",
]

Name = TypeVar("Name")

Hide = Callable[[Mapping[str, str]], Mapping[str, str]]
"""Returns the fields as they are shown, in the same order: `identity.redaction.Redactor.fields`."""

LONGEST = 4096
_ROOMY = 360
"""Values of together at most this many characters are never cut: a character takes at most 10 bytes."""
_ROOMY_JSON = 300  # in JSON a character takes at most 11 bytes
_WIDEST = 256
_CUT = "..."
_LAST_SECOND = 253_402_214_400
"""The start of the last day of 9999, the last year of datetime: it is in range in every time zone."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

INFO = 6
WARNING = 4
FACILITIES: Mapping[str, int] = MappingProxyType(
    {
        "user": 1,
        "mail": 2,
        "daemon": 3,
        "auth": 4,
        "syslog": 5,
        "lpr": 6,
        "news": 7,
        "uucp": 8,
        "cron": 9,
        "authpriv": 10,
        "ftp": 11,
        **{f"local{number}": 16 + number for number in range(8)},
    }
)
"""Facility numbers by name (RFC 3164 section 4.1.1, syslog(3))."""

_PASSED: Mapping[Reason, str] = MappingProxyType(
    {
        **dict.fromkeys(Reason, "triplet found"),
        Reason.WHITELISTED: "client whitelist",
        Reason.AUTO_WHITELISTED: "client AWL",
        Reason.AUTHENTICATED: "client whitelist",
        Reason.RULE: "client whitelist",
        Reason.PROVIDER: "client whitelist",
        Reason.OWN_NETWORK: "client whitelist",
        Reason.NO_IDENTITY: "client whitelist",
        Reason.MODE_OFF: "client whitelist",
        Reason.ERROR: "client whitelist",
    }
)
"""postgrey's words for attempts that passed; `format_postgrey` has the whole table."""
_JUDGED_LATER = frozenset({Reason.NULL_SENDER, Reason.PROBE})
"""Reasons for which an attempt passes at RCPT because it is judged at DATA."""

_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")
_COMMALESS = re.compile(r"[!-+\--\[\]-~]+")
_NUMBERS = frozenset({"retry_after", "delay", "age", "attempts", "lost"})
_ESCAPE = r'\\(?:["\\]|x[0-9a-f]{2}|u[0-9a-f]{4}|U00(?:0[1-9a-f]|10)[0-9a-f]{4})'
_CODE = re.compile(_ESCAPE)
_PAIR = re.compile(
    rf'(?P<key>[a-z_]+)=(?:"(?P<quoted>[^"\\]*(?:{_ESCAPE}[^"\\]*)*)"|(?P<plain>{_PLAIN.pattern[:-1]}*))'
    r"(?: (?!\Z)|\Z)"
)


def format_event(event: DecisionEvent, hide: Hide | None = None) -> str:
    """The line in multigrey's own form, without a line end; `hide` redacts it."""
    parts = _parts(event, hide)
    values = "".join(parts[1::2])
    if len(values) > _ROOMY:
        return format_fields(_fields(parts))
    if not _PLAIN.fullmatch(values):
        parts[1::2] = map(_quoted, parts[1::2])
    return "".join(parts)


def event_fields(event: DecisionEvent) -> dict[str, str]:
    """The fields of the line, in its order: `parse_line(format_event(event))` returns the same.

    These keys are always there: time, action, reason, id, listener, client_address (`unknown` if the mail
    server did not send it), sender (`<>`: the null sender) and recipient; or `raw` instead of the last two.
    The other keys are there only if they have a value; delay, age and attempts are there together.
    """
    return _cut_to_size(_fields(_parts(event)))


def format_fields(fields: Mapping[str, str]) -> str:
    """Any fields in the form of `format_event`; the keys are the caller's, of a-z and `_`."""
    return " ".join([f"{key}={_quoted(value)}" for key, value in _cut_to_size(fields).items()])


def format_json(event: DecisionEvent, hide: Hide | None = None) -> str:
    """The line as a JSON object, without a line end; `hide` redacts it.

    `retry_after`, `delay`, `age` and `attempts` are numbers; everything else is text.
    """
    parts = _parts(event, hide)
    values = "".join(parts[1::2])
    if len(values) <= _ROOMY_JSON and _PLAIN.fullmatch(values):
        return _object(zip(parts[::2], parts[1::2], strict=True))
    return format_json_fields(_fields(parts))


def format_json_fields(fields: Mapping[str, str]) -> str:
    """Any fields in the form of `format_json`; a caller's key `lost` is a number, too."""
    if sum(map(len, fields.values())) > _ROOMY_JSON:
        fields = {key: _cut(value, _json_width) for key, value in fields.items()}
    # Escaped twice: once so that the decoded text is harmless to read, and once for JSON.
    shown = {key: escaped(value, "\\") for key, value in fields.items()}
    return _object((key, text.replace("\\", "\\\\").replace('"', '\\"')) for key, text in shown.items())


def _object(pairs: Iterable[tuple[str, str]]) -> str:
    pieces: list[str] = []
    for key, value in pairs:
        begin, end = _json_marks(key)
        pieces += (begin, value, end)
    return "{" + "".join(pieces)[1:] + "}"


@lru_cache(maxsize=64)
def _json_marks(key: str) -> tuple[str, str]:
    """The text before and after the value of a key; the key may have the marks that `_parts` adds."""
    name = key.strip(" =")
    return (f',"{name}":', "") if name in _NUMBERS else (f',"{name}":"', '"')


def unescaped(text: str) -> str:
    """The original text of a text in a JSON line."""
    return _CODE.sub(_decoded, text)


def parse_line(text: str) -> dict[str, str]:
    """The fields of a line that `format_event` or `format_fields` made.  Raises ValueError for other text."""
    fields: dict[str, str] = {}
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at) if text.isprintable() else None
        if pair is None or pair["key"] in fields:
            raise ValueError(f"not a line of multigrey's log, from column {at + 1}: {text[at : at + 40]!r}")
        quoted = pair["quoted"]
        fields[pair["key"]] = pair["plain"] if quoted is None else _CODE.sub(_decoded, quoted)
        at = pair.end()
    return fields


def format_postgrey(event: DecisionEvent, hide: Hide | None = None) -> str:
    r"""The line that postgrey would have written, for programs that count such lines; "" if there is none.

        action=..., reason=...[, delay=N], client_name=..., client_address=...[, sender=...][, recipient=...]

    Those programs split the line at the commas.  So a comma, a space or a backslash in a value is printed as
    `\x2c`, `\x20`, `\\`, and what is not printable as in multigrey's own form.  The words, where `N` is the
    value of `retry_after`:

        reason             passed                 deferred
        new                triplet found          new
        early              triplet found          early-retry (Ns missing)
        expired            triplet found          new
        retry              triplet found, delay   new
        known              triplet found          new
        same-message       triplet found          new
        whitelisted        client whitelist       new
        auto-whitelisted   client AWL             new
        authenticated      client whitelist       new
        rule               client whitelist       new
        over-limit         triplet found          new
        provider           client whitelist       new
        own-network        client whitelist       new
        no-identity        client whitelist       new
        null-sender        no line                new
        probe              no line                new
        mode-off           client whitelist       new
        error              client whitelist       new

    A whitelist of recipients, recognised by the name of its source, has `recipient whitelist`.  A null sender
    or probe that passes at RCPT has no line, because the same recipient is judged, and counted, at DATA.  An
    attempt that a rule rejects has `action=reject, reason=rule`.
    """
    verdict, attempt = event.verdict, event.attempt
    if verdict.action is Action.PASS and verdict.reason in _JUDGED_LATER:
        return ""
    values = [
        attempt.client_name or "unknown",
        _client_address(attempt),
        attempt.sender,
        attempt.raw or attempt.recipient,
    ]
    if hide is not None:
        keys = ("client_name", "client_address", "sender", "raw" if attempt.raw else "recipient")
        told = {key: value for key, value in zip(keys, values, strict=True) if value != "unknown"}
        values = [hide(told).get(key, "unknown") for key in keys]
    joined = "".join(values)
    if len(joined) > _ROOMY or not _COMMALESS.fullmatch(joined):
        cut = _cut_to_size(dict(enumerate(values)))
        values = [escaped(value, " ,\\") for value in cut.values()]
    name, address, sender, recipient = values
    line = f"{_postgrey_words(verdict)}, client_name={name}, client_address={address}"
    if sender:
        line += f", sender={sender}"
    return f"{line}, recipient={recipient}" if recipient else line


def syslog_line(*, stamp: str, ident: str, pid: int, text: str, facility: int, severity: int) -> bytes:
    """A datagram for /dev/log, as syslog(3) sends it (RFC 3164 section 4.1 without the host name).

    `stamp` is the result of `syslog_time`.
    """
    return f"<{facility << 3 | severity}>{stamp} {ident}[{pid}]: {text}".encode()


def file_line(*, stamp: str, host: str, ident: str, pid: int, text: str) -> bytes:
    """A line without line end in the traditional form of syslog files."""
    return f"{stamp} {host} {ident}[{pid}]: {text}".encode()


def syslog_time(moment: datetime) -> str:
    """`Nov  2 18:18:15`, in English in every locale; `moment` is in the time zone to be shown."""
    return f"{_MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S}"


@lru_cache(maxsize=4)
def utc_time(second: int) -> str:
    """`2026-11-22T18:18:15Z` for seconds since the epoch, limited to the years 1970 to 9999."""
    return f"{moment_of(second):%Y-%m-%dT%H:%M:%SZ}"


def moment_of(second: int) -> datetime:
    """Seconds since the epoch as a datetime in UTC, limited to the years 1970 to 9999."""
    return datetime.fromtimestamp(min(max(second, 0), _LAST_SECOND), UTC)


def _parts(event: DecisionEvent, hide: Hide | None = None) -> list[str]:
    """The plain line in pieces: key with its surrounding marks, value, key, value, ...; nothing is cut."""
    attempt, verdict = event.attempt, event.verdict
    parts = [
        "time=",
        utc_time(event.time),
        " action=",
        verdict.action._value_,  # takes a quarter of the time of .value
        " reason=",
        verdict.reason._value_,
        " id=",
        event.id,
        " listener=",
        attempt.listener,
        " client_address=",
        _client_address(attempt),
    ]
    if attempt.client_name:
        parts += (" client_name=", attempt.client_name)
    if attempt.helo:
        parts += (" helo=", attempt.helo)
    if attempt.raw:
        parts += (" raw=", attempt.raw)
    else:
        parts += (" sender=", attempt.sender or "<>", " recipient=", attempt.recipient)
    if event.origin:
        parts += (" origin=", event.origin)
    if verdict.retry_after:
        parts += (" retry_after=", str(verdict.retry_after))
    if verdict.attempts:
        parts += (" delay=", str(verdict.delay), " age=", str(verdict.age))
        parts += (" attempts=", str(verdict.attempts))
    if attempt.message:
        parts += (" message=", attempt.message)
    parts += _seldom(event)
    if hide is not None:
        parts[1::2] = hide(_fields(parts)).values()
    return parts


def _seldom(event: DecisionEvent) -> list[str]:
    """The pieces that most lines do not have."""
    attempt, verdict = event.attempt, event.verdict
    parts: list[str] = []
    if attempt.stage is not Stage.RCPT:
        parts += (" stage=", attempt.stage._value_)
    if attempt.authenticated:
        parts += (" authenticated=", attempt.authenticated)
    if verdict.match is not None:
        parts += (" source=", verdict.match.source, " entry=", verdict.match.entry)
        if verdict.match.owner:
            parts += (" owner=", verdict.match.owner)
    if verdict.rule:
        parts += (" rule=", verdict.rule)
    if event.class_:
        parts += (" class=", event.class_)
    if verdict.detail:
        parts += (" detail=", verdict.detail)
    if verdict.observed:
        parts += (" observed=", "yes")
    return parts


def _fields(parts: Sequence[str]) -> dict[str, str]:
    return {key.strip(" ="): value for key, value in zip(parts[::2], parts[1::2], strict=True)}


def _client_address(attempt: Attempt) -> str:
    address = attempt.client_address
    return "unknown" if address is None else client_text(address)


def _cut_to_size(fields: Mapping[Name, str]) -> dict[Name, str]:
    if sum(map(len, fields.values())) <= _ROOMY:
        return dict(fields)
    return {key: _cut(value) for key, value in fields.items()}


def _width(sign: str) -> int:
    """Largest number of bytes of a character in multigrey's own form and in postgrey's."""
    if sign in '" ,\\' or not sign.isprintable():
        return len(_code(sign))
    return len(sign.encode())


def _json_width(sign: str) -> int:
    """Number of bytes of a character in a JSON line, in which backslashes are doubled once more."""
    if sign in '"\\':
        return 2 if sign == '"' else 4
    return len(sign.encode()) if sign.isprintable() else len(_code(sign)) + 1


def _cut(value: str, width: Callable[[str], int] = _width) -> str:
    """`value`, or as much of its beginning as fits in 256 bytes."""
    if len(value) <= _WIDEST // 11:
        return value
    ends = list(accumulate(map(width, value[: _WIDEST + 1])))
    if ends[-1] <= _WIDEST:
        return value
    return value[: bisect_right(ends, _WIDEST - len(_CUT))] + _CUT


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return '"' + escaped(value, '"\\') + '"'


def _decoded(code: re.Match[str]) -> str:
    sign, digits = code[0][1], code[0][2:]
    if not digits:
        return sign
    number = int(digits, 16)
    return chr(0xDC00 + number if sign == "x" and number >= 0x80 else number)


def _postgrey_words(verdict: Verdict) -> str:
    """The beginning of postgrey's line: action, reason, delay."""
    reason = verdict.reason
    if verdict.action is Action.REJECT:
        return "action=reject, reason=rule"
    if verdict.action is Action.DEFER:
        if reason is Reason.EARLY:
            return f"action=greylist, reason=early-retry ({verdict.retry_after}s missing)"
        return "action=greylist, reason=new"
    if reason is Reason.RETRY:
        return f"action=pass, reason=triplet found, delay={verdict.age}"
    if verdict.match is not None and _names_recipients(verdict.match.source):
        return "action=pass, reason=recipient whitelist"
    return f"action=pass, reason={_PASSED[reason]}"


def _names_recipients(source: str) -> bool:
    return "recipient" in source or source == "role-addresses"
