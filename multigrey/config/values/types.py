"""Types for configuration values: durations, sizes, endpoints, networks, modes, texts, paths.

Every reader takes a TOML value (text, integer, …) and returns the checked value.  It raises ValueError
with a text that says what is wrong and what is expected, and that can follow `file:line: key:`.  The
`Annotated` types at the end are for the fields of `settings` and of plugins' settings.  Each carries a
`Kind`, with which the manual page and `show-config` write the value:

    ttl: Annotated[int, duration("1m", "7d")] = Field(default=3600, description="…")
"""

# ruff: noqa: TRY004  (pydantic collects ValueError; a TypeError would end the whole check)

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from multigrey.config.values.kind import Kind, shown
from multigrey.config.values.units import (
    duration,
    format_duration,
    format_size,
    fractional_duration,
    parse_duration,
    parse_size,
    size,
)
from multigrey.protocols.reply_text import Template

__all__ = [
    "REPLY_OCTETS",
    "UNIX_PATH_OCTETS",
    "Endpoint",
    "EndpointText",
    "FilePath",
    "Kind",
    "Mode",
    "Network",
    "RegisteredName",
    "ReplyText",
    "SystemdEndpoint",
    "TcpEndpoint",
    "UnixEndpoint",
    "WebAddress",
    "Word",
    "duration",
    "format_duration",
    "format_mode",
    "format_size",
    "fractional_duration",
    "parse_duration",
    "parse_endpoint",
    "parse_mode",
    "parse_network",
    "parse_size",
    "read_label",
    "shown",
    "size",
]

UNIX_PATH_OCTETS = 107
"""Room in sockaddr_un.sun_path, less its NUL (unix(7))."""

_OCTAL = re.compile(r"(?:0o)?[0-7]{3,4}")
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_SYSTEMD_NAME = re.compile(r"[!-9;-~]{1,255}")
"""FileDescriptorName= takes printable ASCII but no colon (systemd.socket(5))."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_REGISTERED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}")
"""Names that plugins may register; a trait can have a parameter after a colon (`country:XX`)."""
_STATUS_CODE = re.compile(r"[245][0-9]{2}(?:[ -]|\Z)|[245]\.[0-9]{1,3}\.[0-9]{1,3}(?: |\Z)")
REPLY_OCTETS = 400
"""Most octets of a reply text."""
_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9._-]{0,252}(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/?&=%+-]*)?")
_URL_OCTETS = 200


# --- endpoints -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A unix stream socket at an absolute path."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A TCP port of one address (IPv6 without brackets) or host name."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only processes on this host can reach it."""
        address = _ip_address(self.host)
        return self.host.lower() == "localhost" if address is None else address.is_loopback


@dataclass(frozen=True, slots=True)
class SystemdEndpoint:
    """The sockets that systemd passes under this name (FileDescriptorName= of the socket unit)."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


Endpoint = UnixEndpoint | TcpEndpoint | SystemdEndpoint

_ENDPOINT_FORMS = 'expected "unix:PATH", "tcp:HOST:PORT" or "systemd:NAME"'


def parse_endpoint(value: object) -> Endpoint:
    """Return an endpoint from its text; `str()` of it returns the text.  Raises ValueError."""
    if isinstance(value, (UnixEndpoint, TcpEndpoint, SystemdEndpoint)):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{_ENDPOINT_FORMS}, got {shown(value)}")
    if not value.isprintable():
        raise ValueError(f"{shown(value)} holds a control character; {_ENDPOINT_FORMS}")
    scheme, _, rest = value.partition(":")
    match scheme:
        case "unix":
            return _unix_endpoint(rest)
        case "tcp":
            return _tcp_endpoint(rest)
        case "systemd":
            if not _SYSTEMD_NAME.fullmatch(rest):
                raise ValueError(f"{shown(rest)} is not a name for a systemd socket (FileDescriptorName=)")
            return SystemdEndpoint(rest)
    raise ValueError(f"{shown(value)}: {_ENDPOINT_FORMS}{_endpoint_hint(value)}")


def _endpoint_hint(text: str) -> str:
    """A suggestion for an address written in the syntax of another program, or misspelt; "" if none."""
    scheme, _, rest = text.partition(":")
    guess = ""
    if scheme in {"inet", "inet6"}:
        guess = f"tcp:{rest}"
    elif scheme in {"local", "file"}:
        guess = f"unix:{rest}"
    elif text.startswith("/"):
        guess = f"unix:{text}"
    elif near := get_close_matches(scheme, ("unix", "tcp", "systemd"), n=1):
        guess = f"{near[0]}:{rest}"
    elif re.fullmatch(r".+:[0-9]+", text):
        guess = f"tcp:{text}"
    return f'; did you mean "{guess}"?' if guess else ""


def _unix_endpoint(path: str) -> UnixEndpoint:
    if not path.startswith("/"):
        raise ValueError(
            f'"unix:{path}": the path of a socket must be absolute, as in "unix:/run/multigrey/s.sock"'
        )
    octets = len(os.fsencode(path))
    if octets > UNIX_PATH_OCTETS:
        raise ValueError(
            f"{path} has {octets} octets, but the path of a unix socket can have at most {UNIX_PATH_OCTETS}"
        )
    if path.endswith("/"):
        raise ValueError(f"{path} is a directory; the path of the socket itself is expected")
    return UnixEndpoint(Path(path))


def _tcp_endpoint(text: str) -> TcpEndpoint:
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f'"tcp:{text}": host and port are expected, as in "tcp:127.0.0.1:10023"')
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65_535:
        raise ValueError(f'"tcp:{text}": the port must be a number from 1 to 65535, got {shown(port)}')
    return TcpEndpoint(_tcp_host(text, host), int(port))


def _tcp_host(text: str, host: str) -> str:
    if host == "*":
        raise ValueError(f'"tcp:{text}": for every address write "tcp:0.0.0.0:PORT" or "tcp:[::]:PORT"')
    bracketed = host.startswith("[") and host.endswith("]")
    address = _ip_address(host[1:-1] if bracketed else host)
    if isinstance(address, IPv6Address) and not bracketed:
        raise ValueError(f'"tcp:{text}": write an IPv6 address in brackets, as in "tcp:[::1]:10023"')
    if address is not None and bracketed == isinstance(address, IPv6Address):
        return str(address)
    if bracketed or re.fullmatch(r"[0-9.]+", host) or not _HOST_NAME.fullmatch(host):
        raise ValueError(f'"tcp:{text}": {shown(host)} is neither an IP address nor a host name')
    return host


def _ip_address(text: str) -> IPv4Address | IPv6Address | None:
    for make in (IPv4Address, IPv6Address):
        try:
            return make(text)
        except AddressValueError:
            continue
    return None


# --- networks, modes, words, texts, paths ----------------------------------------------------------


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """Return a network from CIDR notation; a single address is a network too.  Raises ValueError."""
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    if not isinstance(value, str):
        raise ValueError(f'expected a network such as "192.0.2.0/24", got {shown(value)}')
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(
            f'{shown(value)} is not a network; expected one such as "192.0.2.0/24" or "2001:db8::/32"'
        ) from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{shown(value)} stands for an IPv4 network; write it in IPv4 notation")
    if str(network.network_address) != str(_ip_address(value.partition("/")[0])):
        raise ValueError(f'{shown(value)} has bits set after its prefix; did you mean "{network}"?')
    return network


def parse_mode(value: object) -> int:
    """Return permission bits from octal text ("0660") or a TOML integer (0o660).  Raises ValueError."""
    expected = 'expected octal permissions such as "0660"'
    if isinstance(value, str) and _OCTAL.fullmatch(value):
        mode = int(value.removeprefix("0o"), 8)
    elif isinstance(value, int) and not isinstance(value, bool):
        mode = value
    else:
        raise ValueError(f"{expected}, got {shown(value)}")
    if not 0 <= mode <= 0o777:
        octal = re.fullmatch(r"[0-7]{3}", str(value))
        hint = f'; did you mean "0{value}"? (an integer without 0o is decimal)' if octal else ""
        raise ValueError(f"{value} is not between 0 and 0777 (octal){hint}")
    return mode


def format_mode(mode: int) -> str:
    """Permission bits as four octal digits."""
    return f"{mode:04o}"


def _read_word(value: object) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError(f"expected a word of letters, digits, dots and hyphens, got {shown(value)}")
    return value


def _read_registered(value: object) -> str:
    if not isinstance(value, str) or not _REGISTERED.fullmatch(value):
        raise ValueError(f'expected a name such as "null-sender" or "country:XX", got {shown(value)}')
    return value


def read_label(value: object) -> str:
    """Read a name or a short remark: one line of printable text without quotes or outer spaces."""
    if not isinstance(value, str):
        raise ValueError(f"expected text in quotes, got {shown(value)}")
    if not value or value != value.strip() or not value.isprintable() or '"' in value or len(value) > 200:
        raise ValueError(f"expected up to 200 printable characters without double quotes, got {shown(value)}")
    return value


def _read_reply_text(value: object) -> str:
    """Read the text of an SMTP reply: one line with known fields, without codes (protocols add them)."""
    if not isinstance(value, str):
        raise ValueError(f"expected text in quotes, got {shown(value)}")
    if not value.strip():
        raise ValueError("must not be empty: the sender's administrator reads it")
    if _CONTROL.search(value):
        raise ValueError("holds a control character; a reply is one line of plain text")
    if len(value.encode()) > REPLY_OCTETS:
        raise ValueError(f"has {len(value.encode())} octets; a reply can have at most {REPLY_OCTETS}")
    if code := _STATUS_CODE.match(value):
        raise ValueError(
            f"begins with the status code {code[0].strip(' -')}; multigrey adds the codes itself"
        )
    Template.parse(value)
    return value


def _read_web_address(value: object) -> str:
    """Read the address of a web page, of signs that a reply text and every mail server's log leave alone."""
    if not isinstance(value, str) or len(value) > _URL_OCTETS or not _URL.fullmatch(value):
        raise ValueError(
            f'expected the address of a page such as "https://mx.example.org/help", at most {_URL_OCTETS} '
            f"letters, digits and ._~/?&=%+-, got {shown(value)}"
        )
    return value


def _read_path(value: object, info: ValidationInfo) -> Path:
    """Read a path; a relative one is relative to the directory of the configuration file."""
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a path, got {shown(value)}")
    if _CONTROL.search(value):
        raise ValueError("the path holds a control character")
    if value.startswith("~"):
        raise ValueError(f"{shown(value)}: ~ is not expanded here; write the whole path")
    base: Path | None = (info.context or {}).get("directory")
    path = Path(value)
    if path.is_absolute():
        return path
    if base is None:
        raise ValueError(f"{shown(value)}: expected an absolute path")
    return base / path


class _PathKind(Kind):
    """The kind of paths, whose reader gets the directory of the configuration file from the context."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Called by pydantic when it builds a model."""
        return core_schema.with_info_plain_validator_function(_read_path)


EndpointText = Annotated[Endpoint, Kind("endpoint", parse_endpoint)]
"""A unix socket, a TCP port or a systemd socket, from text such as "unix:/run/example.sock"."""
Network = Annotated[IPv4Network | IPv6Network, Kind("network", parse_network)]
"""An IP network without bits set after its prefix."""
Mode = Annotated[int, Kind("octal mode", parse_mode, format_mode)]
"""Permission bits, from text such as "0660"."""
Word = Annotated[str, Kind("word", _read_word)]
"""A word of up to 64 letters, digits, dots and hyphens."""
RegisteredName = Annotated[str, Kind("name", _read_registered)]
"""A name that plugins can register, such as "country:XX"."""
ReplyText = Annotated[str, Kind("text", _read_reply_text)]
"""Text for an SMTP reply, without status codes."""
WebAddress = Annotated[str, Kind("web address", _read_web_address)]
"""The address of a web page, such as "https://mx.example.org/help"."""
FilePath = Annotated[Path, _PathKind("path", Path)]
"""A path; a relative one is relative to the directory of the configuration file."""
