"""The first hour of an administrator, on a Debian with Postfix: from the package to the removal.

Each command is one that the tutorial, the README or the output of an earlier command names.
`pytest -s` shows the commands with what they write.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mta.harness import until
from tests.packages import mail
from tests.packages.test_deb import newer, packages, put, wheels
from tests.support.machine import Machine, machine_or_skip

pytestmark = [pytest.mark.mta, pytest.mark.timeout(600)]  # the first run makes the root

__all__ = ["packages", "wheels"]  # fixtures

OTHER_CLIENT = "203.0.113.77"
REFUSED = 24
"""The exit status of swaks when no recipient was accepted (swaks(1))."""

Run = Callable[..., str]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with machine_or_skip() as machine:
        mail.add_addresses(machine)
        machine.run("ip", "address", "add", f"{OTHER_CLIENT}/32", "dev", "lo")
        mail.install_postfix(machine)
        machine.install("swaks")
        yield machine


@pytest.fixture
def run(machine: Machine) -> Run:
    """Runs a line of an administrator, prints it with its output, and returns the output."""

    def run(line: str, *, status: int = 0) -> str:
        done = machine.run("sh", "-c", line, check=False)
        said = done.stdout + done.stderr
        sys.stdout.write(f"# {line}\n{said}{'' if said.endswith(chr(10)) or not said else chr(10)}\n")
        assert done.returncode == status, said
        return said

    return run


def swaks(sender: str, client: str = mail.CLIENT) -> str:
    """The line that sends a message to bob from an address of another host."""
    words = f"--server {mail.SERVER} --local-interface {client} --helo mail.sender.example"
    return f"swaks --silent 1 {words} --from {sender} --to bob@mx.test.example"


def test_the_first_hour(machine: Machine, packages: dict[str, Path], run: Run, tmp_path: Path) -> None:
    package = put(machine, packages["multigrey"])
    configuration = machine.files / "etc/multigrey/multigrey.toml"

    # install, observe first, and paste the two lines
    said = run(f"apt-get -q -y --no-install-recommends install {package}")
    lines = re.findall(r"(smtpd_\w+_restrictions): +(check_policy_service .+)", said)
    assert len(lines) == 2
    assert "multigrey snippet postfix" in said
    configuration.write_text(configuration.read_text().replace('#mode = "observe"', 'mode = "observe"'))
    assert ": ok" in run("multigrey check-config")
    assert "observe, as configured" in run("systemctl reload multigrey && multigrey mode")
    for name, check in lines:
        before = (
            "permit_mynetworks, reject_unauth_destination" if "recipient" in name else "permit_mynetworks"
        )
        run(f"postconf -e {shlex.quote(f'{name} = {before}, {check}')}")
    run("postfix reload")
    assert run("multigrey check")

    # observe: mail passes, and one sees what would have been
    run(swaks("alice@sender.example"))
    until(lambda: len(mail.received(machine)) == 1, "the message is delivered")
    assert "observed" in run("multigrey history bob@mx.test.example")
    assert "observe" in run("multigrey report")

    # enforce, with a delay that a test can wait for
    text = configuration.read_text().replace('mode = "observe"', 'unnamed_delay = "2s"\ndelay = "1s"')
    configuration.write_text(text)
    run("multigrey check-config && systemctl reload multigrey")
    run(swaks("carol@sender.example"), status=REFUSED)
    where = run("multigrey where 'Bob <bob@mx.test.example>' --from carol@sender.example")
    assert "waiting" in where
    assert "a retry passes" in where
    assert "new" in run("multigrey explain carol@sender.example bob@mx.test.example")
    run("sleep 3")
    run(swaks("carol@sender.example"))
    until(lambda: len(mail.received(machine)) == 2, "the retry is delivered")
    assert "X-Greylist" in mail.received(machine)[-1]
    assert "accepted after" in run("multigrey where bob@mx.test.example --from carol@sender.example")

    # a partner that must not wait, and a code that is about to come
    run(swaks("dora@partner.example", OTHER_CLIENT), status=REFUSED)
    assert "in effect" in run(f"multigrey whitelist add --client {OTHER_CLIENT} --reason 'never retries'")
    run(swaks("dora@partner.example", OTHER_CLIENT))
    assert run("multigrey expect bob@mx.test.example --from code.example --for 10m")
    run(swaks("login@code.example"))
    until(lambda: len(mail.received(machine)) == 4, "both are delivered")

    # the page
    run(f"apt-get -q -y --no-install-recommends install {put(machine, packages['multigrey-web'])}")
    with configuration.open("a") as file:
        file.write('\n[plugins.web]\naddress = "tcp:127.0.0.1:8080"\n')
    run("multigrey check-config && systemctl restart multigrey")
    fetch = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/{}').read().decode())"
    answers = lambda: machine.run("python3", "-c", fetch.format(""), check=False).returncode == 0  # noqa: E731
    until(answers, "the page is there")
    found = machine.run("python3", "-c", fetch.format("search?q=carol@sender.example")).stdout
    assert "carol@sender.example" in found
    assert "login@code.example" not in found

    # backup, and upgrade
    run("multigrey backup /root/multigrey.tar.gz")
    upgraded = " ".join(
        put(machine, newer(packages[name], tmp_path)) for name in ("multigrey", "multigrey-web")
    )
    run(f"apt-get -q -y install {upgraded}")
    run(swaks("carol@sender.example"))

    # everything lost, and restored
    run("systemctl stop multigrey multigrey-postfix.socket && rm -r /var/lib/multigrey/*")
    run("multigrey restore /root/multigrey.tar.gz --dry-run")
    run("multigrey restore /root/multigrey.tar.gz")
    run("systemctl start multigrey-postfix.socket multigrey")
    run(swaks("carol@sender.example"))
    until(lambda: len(mail.received(machine)) == 6, "who was known is known")
    run(swaks("erin@sender.example"), status=REFUSED)

    # remove: mail passes
    run("apt-get -q -y remove multigrey")
    run(swaks("erin@sender.example"))
    until(lambda: len(mail.received(machine)) == 7, "mail passes without the daemon")
