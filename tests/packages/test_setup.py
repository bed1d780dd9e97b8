"""`multigrey setup` in a Debian that holds nothing of multigrey but a virtual environment; and back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.packages import mail
from tests.packages.test_systemd import SOCKETS, active, do, lines, with_checkout
from tests.support.machine import Machine

pytestmark = [pytest.mark.mta, pytest.mark.timeout(600)]

PROGRAM = "/opt/multigrey/bin/multigrey"


@pytest.fixture
def machine() -> Iterator[Machine]:
    with with_checkout() as machine:
        do(machine, "".join(lines("systemd").splitlines(keepends=True)[:2]))
        yield machine


def state(machine: Machine) -> dict[str, str]:
    """Every file below /etc and /usr/local with a digest of its contents, but for accounts."""
    script = "find /etc /usr/local -type f -exec sha256sum {} + ; find /etc /usr/local -type l"
    found = (line.rpartition(" ")[::2] for line in machine.shell(script).stdout.splitlines())
    left_out = ("passwd", "group", "shadow", "gshadow", ".pwd.lock", "-")
    return {path: digest for digest, path in found if not path.endswith(left_out)}


def test_postfix(machine: Machine) -> None:
    mail.install_postfix(machine)
    before = state(machine)
    planned = machine.run(PROGRAM, "setup", "postfix", "--dry-run").stdout
    assert state(machine) == before
    done = machine.run(PROGRAM, "setup", "postfix", "--observe").stdout
    assert done.splitlines()[:-1] == planned.splitlines()
    assert active(machine, "multigrey", *SOCKETS) == ["active", "active", "inactive"]
    assert mail.send(machine, "carol@sender.example") == "accepted", "it only looks"
    assert "nothing to do" in machine.run("multigrey", "setup", "postfix").stdout

    configuration = machine.files / "etc/multigrey/multigrey.toml"
    ours = configuration.read_text()
    configuration.write_text(mail.QUICK)
    machine.run("systemctl", "reload", "multigrey")
    mail.is_greylisted(machine)
    configuration.write_text(ours)

    machine.run("multigrey", "setup", "--undo")
    assert state(machine) == before
    assert active(machine, "multigrey", *SOCKETS) == ["inactive"] * 3
    assert mail.send(machine, "dave@sender.example") == "accepted"
    assert machine.run("systemctl", "--failed", "--quiet").stdout == ""


def test_exim(machine: Machine) -> None:
    machine.install("exim4-daemon-heavy")
    mail.configure_exim(machine)
    before = state(machine)
    machine.run(PROGRAM, "setup", "exim")
    machine.run("systemctl", "restart", "exim4")  # a reload is not waited for
    (machine.files / "etc/multigrey/multigrey.toml").write_text(mail.QUICK)
    machine.run("systemctl", "reload", "multigrey")
    mail.is_greylisted(machine)
    said = machine.run("multigrey", "setup", "--undo").stdout
    assert "/etc/multigrey/multigrey.toml: was changed since, and stays" in said
    (machine.files / "etc/multigrey/multigrey.toml").unlink()
    assert state(machine) == before
