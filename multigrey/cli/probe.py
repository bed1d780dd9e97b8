"""Sends one attempt to a listener, as a mail server would, for `multigrey check`.

The attempt is always the same: from 192.0.2.1 (an address for documentation, RFC 5737), with the sender and
recipient check@multigrey.invalid.  So it makes one record only, and passes as known after the first times.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from multigrey.config.settings import Listen
from multigrey.config.socket_units import socket_unit
from multigrey.config.values.types import SystemdEndpoint, TcpEndpoint, UnixEndpoint
from multigrey.control.operations.export import CHECK_ADDRESS

__all__ = ["Answer", "NotAllowedError", "NotAnsweredError", "probe"]

_CLIENT = "192.0.2.1"
_MOST = 64 * 1024
_ORDER = ("exim", "postfix", "greylistd")
"""The protocols that can be used, in order of preference: the first gives most details in its answer."""


@dataclass(frozen=True)
class Answer:
    """The answer of a listener."""

    listener: str
    seconds: float
    text: str
    """The answer as text."""
    trouble: bool
    """Whether the daemon answered that it could not decide, or did not answer."""


class NotAnsweredError(Exception):
    """No listener answered; the text says which and why."""


class NotAllowedError(Exception):
    """This user may not connect to any listener."""


def probe(listens: Iterable[Listen], timeout: float) -> Answer:
    """The answer of the first listener that this user may use.

    `timeout`: seconds for each step.  Raises NotAnsweredError, NotAllowedError.
    """
    known = [each for each in listens if each.protocol in _ORDER]
    refused = []
    for listen in sorted(known, key=lambda each: _ORDER.index(each.protocol)):
        try:
            return _ask(listen, timeout)
        except PermissionError:
            refused.append(listen)
        except TimeoutError:
            raise NotAnsweredError(f"{listen.name} did not answer within {timeout:g} s") from None
        except OSError as error:
            raise NotAnsweredError(f"{listen.name} does not answer: {error.strerror or error}") from error
    if not known:
        raise NotAllowedError(f"none of the listeners speaks {', '.join(_ORDER)}")
    groups = ", ".join(f"{each.name} (group {each.group or 'of the daemon'})" for each in refused)
    raise NotAllowedError(f"no permission to use {groups}: put the monitoring user into one of these groups")


def _ask(listen: Listen, timeout: float) -> Answer:
    """Send the attempt and read the answer.  Raises OSError."""
    question, judge = _DIALOGUES[listen.protocol]
    began = perf_counter()
    with _connected(listen, timeout) as sock:
        sock.sendall(question)
        if listen.protocol != "postfix":
            sock.shutdown(socket.SHUT_WR)
        data = b""
        while len(data) < _MOST and not (listen.protocol == "postfix" and data.endswith(b"\n\n")):
            piece = sock.recv(4096)
            if not piece:
                break
            data += piece
    text = data.decode("utf-8", "replace").strip()
    return Answer(listen.name, perf_counter() - began, text or "nothing", not text or judge(text))


def _connected(listen: Listen, timeout: float) -> socket.socket:
    address = listen.address
    if isinstance(address, SystemdEndpoint):
        unit = socket_unit(address.name)
        if unit is None:
            raise OSError(f"no systemd unit found with FileDescriptorName={address.name}")
        host, _, port = unit.stream.rpartition(":")
        if unit.stream.startswith("/"):
            address = UnixEndpoint(Path(unit.stream))
        elif port.isdigit():
            address = TcpEndpoint(host.strip("[]") or "127.0.0.1", int(port))
        else:
            raise OSError(f"{unit.file}: ListenStream={unit.stream} is not supported")
    if isinstance(address, TcpEndpoint):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104  (a key)
        return socket.create_connection((host, address.port), timeout)
    assert isinstance(address, UnixEndpoint)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(timeout)
        sock.connect(str(address.path))
    except BaseException:
        sock.close()
        raise
    return sock


_DIALOGUES: dict[str, tuple[bytes, Callable[[str], bool]]] = {
    "exim": (
        f"multigrey/1\nclient_address={_CLIENT}\nsender={CHECK_ADDRESS}\nrecipient={CHECK_ADDRESS}\n\n".encode(),
        lambda text: not text.startswith("action=") or "reason=error" in text.split(),
    ),
    "postfix": (
        "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
        f"client_address={_CLIENT}\nclient_name=unknown\nsender={CHECK_ADDRESS}\n"
        f"recipient={CHECK_ADDRESS}\n\n".encode(),
        lambda text: not text.startswith("action=") or " 4.3.0 " in text,
    ),
    "greylistd": (
        f"{_CLIENT} {CHECK_ADDRESS} {CHECK_ADDRESS}\n".encode(),
        lambda text: text.startswith("error"),
    ),
}
"""By protocol: the request, and whether an answer reports that the daemon could not decide."""
