"""Either mail server with the shipped files and a daemon of its own, in words that fit both."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.mta import shipped
from tests.mta.exim import DebianExim
from tests.mta.harness import Server, place
from tests.mta.postfix import Postfix
from tests.mta.shipped import TEXT, World

MANY = [f"u{number:02}@test.example" for number in range(50)]
USERS = ["bob", "carol", "welcome", "abuse", *(address.partition("@")[0] for address in MANY)]
SERVERS = ["postfix", "exim"]


class Asked(World[Server]):
    """A world that knows its server's way of passing a refusal on."""

    @property
    def code(self) -> int:
        return 450 if self.mta.name == "Postfix" else 451

    def refusal(self, recipient: str) -> tuple[int, str]:
        """The reply to RCPT."""
        said = f"<{recipient}>: Recipient address rejected: " if self.mta.name == "Postfix" else ""
        return self.code, f"4.7.1 {said}{TEXT}"

    def flood(self, network: str, number: int) -> None:
        """One attempt each of so many strangers of a /24 ("192.0.2."), asked as the server asks."""
        for stranger in range(number):
            client, sender = f"{network}{stranger % 256}", f"s{stranger}@flood.example"
            if self.mta.name == "Postfix":
                path, told = "policy.sock", "request=smtpd_access_policy\nprotocol_state=RCPT\n"
            else:
                path, told = "exim.sock", "multigrey/1\n"
            told += f"client_address={client}\nsender={sender}\nrecipient=bob@test.example\n\n"
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(10)
                door.connect(str(self.daemon.directory / path))
                door.sendall(told.encode())
                answer = door.recv(4096).lower()
            assert answer.startswith(b"action=defer"), answer

    def late_refusal(self) -> tuple[int, str]:
        """The reply to the end of data."""
        said = "<DATA>: Data command rejected: " if self.mta.name == "Postfix" else ""
        return 451, f"4.7.1 {said}{TEXT}"


@contextmanager
def asked(server: str) -> Iterator[Asked]:
    """One of SERVERS."""
    with place() as directory, shipped.daemon(directory / "daemon", f"{server}/multigrey.toml") as daemon:
        if server == "postfix":
            mta: Server = Postfix(
                directory / "postfix", shipped.text("postfix/main.cf.multigrey", daemon.directory)
            )
        else:
            shipped.acl_files(directory, daemon.directory)
            mta = DebianExim(directory / "exim", shipped.exim_macros(directory), users=USERS)
        with mta:
            yield Asked(daemon, mta)
