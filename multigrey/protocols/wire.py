"""What the dialogues share: bytes as they arrive, and text that is safe to send.

`Inbox` collects what a peer sends, and returns one request at a time.  Every byte is copied and searched a
bounded number of times, even if it arrives in very small pieces.  Whether a request is too long does not
depend on the pieces either.  A CR before a LF belongs to the line end and is left out, in every protocol and
in every line: people type requests in telnet, which sends CR LF.  No SMTP command contains a LF, so no
stranger can make a line end.  Any other CR is a byte like others.

A mail server passes on what strangers typed.  So everything that is sent goes through `one_line`: a line end
or a NUL in a reply text or a header must not end our answer early, regardless of its author.
"""

from __future__ import annotations

import re
from functools import lru_cache

from multigrey.errors import AddressError, ProtocolError
from multigrey.identity.addresses import parse_client_address
from multigrey.model import Address

__all__ = [
    "HEADER_OCTETS",
    "TEXT_OCTETS",
    "Inbox",
    "decode",
    "encode",
    "known_address",
    "one_line",
    "reply_text",
]

TEXT_OCTETS = 400
"""Longest reply text: an SMTP reply line has 512 octets (RFC 5321 section 4.5.3.1.5), and the MTA adds
its own words and addresses; Postfix passes on longer ones as they are."""
HEADER_OCTETS = 900
"""Longest header line; RFC 5322 section 2.1.1 allows 998."""
DEFAULT_TEXT = "Greylisted, please try again later"

_CR = 13
"""As a number: `in` finds it seven times faster than a text of one byte."""
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_CODES = re.compile(r"(?:[2-5](?:\d\d|\.\d{1,3}\.\d{1,3})(?:[ -]+|\Z))+", re.ASCII)
"""SMTP and enhanced status codes before a text; they would become text, or override ours."""


def decode(data: bytes) -> str:
    """The text that a peer sent; bytes that are not UTF-8 become surrogate escapes."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The bytes of a text for a peer; surrogate escapes become the bytes they stand for."""
    return text.encode("utf-8", "surrogateescape")


_CACHED_LENGTH = 64
_cached_address = lru_cache(maxsize=1024)(parse_client_address)


def known_address(text: str) -> Address | None:
    """The client address that a mail server sent; None when it sent none that is valid."""
    try:
        return _cached_address(text) if len(text) <= _CACHED_LENGTH else parse_client_address(text)
    except AddressError:
        return None


def one_line(text: str, octets: int) -> str:
    """`text` without control characters and line ends, cut to `octets` of UTF-8 at a character.

    Each run of such characters becomes one space; no space at either end.
    """
    if len(text) <= octets and text.isascii() and text.isprintable():
        return text.strip(" ")
    text = _UNSAFE.sub(" ", text[: 2 * octets])
    return text.encode("utf-8")[:octets].decode("utf-8", "ignore").strip(" ")


def reply_text(text: str) -> str:
    """The words of a refusal: one line, at most TEXT_OCTETS, no status code in front, not empty."""
    line = one_line(text, TEXT_OCTETS)
    if codes := _CODES.match(line):
        line = line[codes.end() :]
    return line or DEFAULT_TEXT


class Inbox:
    """Bytes received and not yet handed out."""

    __slots__ = ("_carriage_return", "_data", "_limit", "_scanned", "_start", "ended")

    def __init__(self, limit: int) -> None:
        """`limit`: most bytes of one request, with its terminator, and with line ends as LF."""
        self._data: bytes | bytearray = b""
        self._start = 0
        self._scanned = 0
        self._limit = limit
        self._carriage_return = False
        """Whether the last byte was a CR: the next one shows whether it belongs to a line end."""
        self.ended = False
        """Whether the peer has sent its end of file."""

    def __bool__(self) -> bool:
        return len(self._data) > self._start

    def feed(self, data: bytes) -> None:
        """Take more bytes; b"" is the end of file, after which nothing is taken any more.

        A CR right before the end of file is left out, as half a line end.
        """
        if not data:
            self.ended = True
            return
        if self.ended:
            return
        if _CR in data or self._carriage_return:
            data = self._with_line_feeds(data)
        if self._start >= len(self._data):
            self._data, self._start, self._scanned = data, 0, 0
        else:
            if not isinstance(self._data, bytearray):
                self._data = bytearray(self._data)
            if self._start:
                del self._data[: self._start]
                self._scanned -= self._start
                self._start = 0
            self._data += data

    def take(self, terminator: bytes) -> bytes | None:
        """The next request without its terminator; None while it is incomplete.

        Raises ProtocolError when it is, or can only become, longer than the limit.
        """
        data, start = self._data, self._start
        end = data.find(terminator, self._scanned)
        if end < 0:
            self._check(len(data) - start)
            self._scanned = max(start, len(data) - len(terminator) + 1)
            return None
        after = end + len(terminator)
        if after - start > self._limit:
            self._check(after - start)
        self._start = self._scanned = after
        return bytes(data[start:end])

    def peek(self, terminator: bytes) -> bytes | None:
        """What precedes the first terminator, without taking it; None while there is none."""
        data, start = self._data, self._start
        end = data.find(terminator, self._scanned)
        if end < 0:
            self._check(len(data) - start)
            self._scanned = max(start, len(data) - len(terminator) + 1)
            return None
        # A longer terminator that is searched for next may begin just before this one.
        self._scanned = max(start, end - len(terminator))
        return bytes(data[start:end])

    def take_rest(self) -> bytes:
        """Everything that is left, for requests that the end of file completes."""
        rest = bytes(self._data[self._start :])
        self._check(len(rest))
        self._start = self._scanned = len(self._data)
        return rest

    def _with_line_feeds(self, data: bytes) -> bytes:
        """The same bytes with every line end as LF."""
        if self._carriage_return:
            data = b"\r" + data
        self._carriage_return = data.endswith(b"\r")
        if self._carriage_return:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n")

    def _check(self, length: int) -> None:
        if length > self._limit:
            raise ProtocolError(f"a request longer than {self._limit} bytes")
