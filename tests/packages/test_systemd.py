"""integrations/systemd works as its page says, line by line, in a Debian that holds nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.packages import mail
from tests.support.daemon import ROOT
from tests.support.debian import cache_directory, locked
from tests.support.machine import Machine, machine_or_skip

pytestmark = [pytest.mark.mta, pytest.mark.timeout(600)]  # the first run makes the root and downloads wheels

PAGE = ROOT / "integrations/systemd/README.md"
SECTIONS = dict(re.findall(r"(?m)^#+ (.+)\n((?:(?!^#).*\n)+)", PAGE.read_text()))
CHECKOUT = ("pyproject.toml", "README.md", "LICENSE", "sbom.cdx.json", "multigrey", "man", "integrations")


def lines(section: str, number: int = 0) -> str:
    """The commands of a section of the page."""
    return re.findall(r"```sh\n(.*?)```", SECTIONS[section], re.DOTALL)[number]


def wheels() -> Path:
    """What `pip install .` asks an index for, downloaded once."""
    cache = cache_directory()
    directory, wanted = cache / "wheels", "".join((ROOT / f"locks/{name}.txt").read_text() for name in LOCKS)
    stamp = cache / "wheels.stamp"
    with locked(cache, "wheels"):
        if not stamp.is_file() or stamp.read_text() != wanted:
            shutil.rmtree(directory, ignore_errors=True)
            files = [word for name in LOCKS for word in ("-r", f"locks/{name}.txt")]
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
            command += ["--require-hashes", "--python-version", "3.11", *files, "-d", str(directory)]
            subprocess.run(command, cwd=ROOT, check=True)
            stamp.write_text(wanted)
    return directory


LOCKS = ("build", "serve")


@contextmanager
def with_checkout() -> Iterator[Machine]:
    """A Debian with a checkout in /root/multigrey and an index without a network."""
    with machine_or_skip() as machine:
        checkout = machine.files / "root/multigrey"
        for name in CHECKOUT:
            target = checkout / name
            target.parent.mkdir(exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
        shutil.copytree(wheels(), machine.files / "root/wheels")
        (machine.files / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /root/wheels\n")
        mail.add_addresses(machine)
        yield machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    with with_checkout() as machine:
        yield machine


def do(machine: Machine, commands: str) -> None:
    machine.shell(f"cd /root/multigrey\n{commands}")


def active(machine: Machine, *units: str) -> list[str]:
    return machine.run("systemctl", "is-active", *units, check=False).stdout.split()


def listeners(machine: Machine) -> list[str]:
    return [each["address"] for each in mail.status(machine)["listeners"]]


SOCKETS = ("multigrey-postfix.socket", "multigrey-exim.socket")


def test_the_whole_life(machine: Machine) -> None:
    # No mail server, no configuration file: it starts, and nothing fails.
    do(machine, lines("systemd"))
    assert active(machine, "multigrey", *SOCKETS) == ["active", "inactive", "inactive"]
    assert machine.run("systemctl", "--failed", "--quiet").stdout == ""
    assert (machine.files / "usr/local/share/man/man8/multigrey.8").is_file()
    assert "tcp:127.0.0.1:10023" in listeners(machine)
    units = [f"/etc/systemd/system/{name}" for name in ("multigrey.service", *SOCKETS)]
    machine.run("systemd-analyze", "verify", "--man=no", *units)

    # A mail server that is installed later
    mail.install_postfix(machine)
    (later,) = re.findall(r"`(systemctl stop 'multigrey\*' && [^`]+)`", PAGE.read_text())
    machine.shell(later)
    assert active(machine, "multigrey", *SOCKETS) == ["active", "active", "inactive"]
    assert listeners(machine) == ["systemd:postfix"]
    shown = machine.run("stat", "--format=%U %G %a", "/var/spool/postfix/multigrey/policy.sock").stdout
    assert shown == "multigrey postfix 660\n"
    mail.paste(machine, "postfix")
    (machine.files / "etc/multigrey/multigrey.toml").write_text(mail.QUICK)
    machine.run("systemctl", "reload", "multigrey")
    mail.is_greylisted(machine)

    # Stopped alone, the next question starts it; stopped with its sockets, it stays so and mail passes.
    machine.run("systemctl", "stop", "multigrey")
    assert "Greylisted" in mail.send(machine, "carol@sender.example")
    machine.shell(lines("Stop"))
    assert mail.send(machine, "dave@sender.example") == "accepted"
    assert active(machine, "multigrey", *SOCKETS) == ["inactive"] * 3
    machine.run("systemctl", "start", "multigrey")

    # What was learned stays.
    do(machine, lines("Upgrade, and the way back"))
    assert mail.send(machine) == "accepted"
    assert "Greylisted" in mail.send(machine, "erin@sender.example")
    machine.shell(lines("Upgrade, and the way back", 1))
    machine.run("systemctl", "start", "multigrey", "multigrey-postfix.socket")
    assert mail.send(machine) == "accepted"  # as before the upgrade

    do(machine, lines("Remove"))
    assert (machine.files / "var/lib/multigrey").is_dir()
    do(machine, lines("Remove", 1))
    rest = machine.run("find", "/etc", "/usr", "/var", "/opt", "/run", "-xdev", "-name", "*multigrey*").stdout
    assert rest == ""
    assert machine.run("getent", "passwd", "multigrey", check=False).stdout == ""
    assert machine.run("systemctl", "--failed", "--quiet").stdout == ""
