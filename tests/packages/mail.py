"""Mail servers of a `Machine`, installed from Debian, and mail that comes to them from outside."""

from __future__ import annotations

import json
import re
from email import message_from_string
from email.message import Message
from typing import Any

from tests.mta.harness import until
from tests.support.machine import Machine

CLIENT = "192.0.2.25"
"""An address of another host, so that nothing that is said about own clients applies."""
QUICK = '[greylist]\ndelay = "1s"\nunnamed_delay = "2s"\n'
"""A configuration for `is_greylisted`."""
SERVER = "198.51.100.1"
_ANSWERS = {
    "eximconfig_configtype": "internet",
    "localdelivery": "maildir_home",
    "local_interfaces": "",
    "other_hostnames": "mx.test.example",
}
"""What Debian asks about Exim."""
_SEND = """\
import smtplib, sys
with smtplib.SMTP(sys.argv[1], source_address=(sys.argv[2], 0), local_hostname="mail.sender.example") as smtp:
    try:
        smtp.sendmail(sys.argv[3], [sys.argv[4]], "Subject: hello\\n\\nhello\\n")
        print("accepted")
    except smtplib.SMTPRecipientsRefused as error:
        (code, text), = error.recipients.values()
        print(code, text.decode())
"""


def add_addresses(machine: Machine) -> None:
    """Give the machine the addresses of a client and of a server, and a user who receives mail."""
    for address in (CLIENT, SERVER):
        machine.run("ip", "address", "add", f"{address}/32", "dev", "lo")
    machine.run("useradd", "--create-home", "bob")


def install_postfix(machine: Machine) -> None:
    """Postfix as Debian configures it, with a Maildir for bob."""
    machine.install("postfix")
    machine.run("postconf", "-e", "home_mailbox=Maildir/", "mydestination=mx.test.example")
    machine.run("systemctl", "restart", "postfix")


def configure_exim(machine: Machine) -> None:
    """Answer Debian's questions about Exim: a host on the internet, with a Maildir for bob."""
    answers = machine.files / "etc/exim4/update-exim4.conf.conf"
    text = answers.read_text()
    for name, value in _ANSWERS.items():
        text = re.sub(f"(?m)^dc_{name}=.*", f"dc_{name}='{value}'", text)
    answers.write_text(text)
    machine.run("systemctl", "restart", "exim4")


def paste(machine: Machine, server: str) -> None:
    """Do by hand what `multigrey snippet` says."""
    snippet = json.loads(machine.run("multigrey", "snippet", server, "--json").stdout)
    for name, text in snippet["files"].items():
        with (machine.files / name.lstrip("/")).open("a") as file:
            file.write(f"\n{text}")
    for command in snippet["then"]:
        machine.shell(command)


def send(machine: Machine, sender: str = "alice@sender.example") -> str:
    """What the server says to a message for bob: "accepted", or its refusal of the recipient."""
    words = (SERVER, CLIENT, sender, "bob@mx.test.example")
    return machine.run("python3", "-c", _SEND, *words).stdout.strip()


def received(machine: Machine) -> list[Message]:
    """The messages in bob's Maildir."""
    files = sorted((machine.files / "home/bob/Maildir/new").glob("*"))
    return [message_from_string(file.read_text()) for file in files]


def is_greylisted(machine: Machine, sender: str = "alice@sender.example") -> None:
    """Assert that a message is deferred first, and delivered when it comes again after the delay."""
    before = len(received(machine))
    first = send(machine, sender)
    assert "Greylisted" in first, first
    assert first[:3] in {"450", "451"}
    machine.run(
        "sleep", "3"
    )  # as a mail server waits: one that comes back at once, again and again, waits longer
    assert send(machine, sender) == "accepted"
    until(lambda: len(received(machine)) == before + 1, "the message is delivered")
    assert "X-Greylist" in received(machine)[-1]


def status(machine: Machine) -> dict[str, Any]:
    """What `multigrey status` knows."""
    return json.loads(machine.run("multigrey", "status", "--json").stdout)
