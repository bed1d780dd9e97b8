"""The packages for Debian: installed, upgraded, removed and purged, with mail through real mail servers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multigrey.model import Reason
from tests.mta.harness import until
from tests.packages import mail
from tests.support.daemon import ROOT
from tests.support.machine import RELEASES, Machine, machine_or_skip

pytestmark = [pytest.mark.mta, pytest.mark.timeout(600)]  # the first run makes the root

FILES = ROOT / "packages/deb/files"
SERVICE, SOCKETS = "multigrey.service", ("multigrey-postfix.socket", "multigrey-exim.socket")
EPOCH = "1800000000"
PLUGINS = ("multigrey-dns", "multigrey-geoip", "multigrey-spf", "multigrey-web")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our distributions, as `make wheel` builds them."""
    directory = tmp_path_factory.mktemp("dist")
    hatchling = Path(sys.executable).with_name("hatchling")
    for project in (ROOT, *sorted((ROOT / "plugins").iterdir())):
        subprocess.run(
            [hatchling, "build", "-t", "wheel", "-d", directory],
            cwd=project,
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
            check=True,
            capture_output=True,
        )
    return directory


def build(wheels: Path, python: str, **different: Any) -> dict[str, Path]:
    """Every package by name, as `make deb` builds them."""
    command = [sys.executable, "-m", "packages.deb.build", "--output", str(wheels), "--python", python]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, **different
    )
    assert done.returncode == 0, done.stderr
    return {path.name.partition("_")[0]: path for path in map(Path, done.stdout.split())}


@pytest.fixture(scope="module")
def packages(wheels: Path) -> dict[str, Path]:
    return build(wheels, RELEASES["bookworm"])


@pytest.fixture
def machine() -> Iterator[Machine]:
    with machine_or_skip() as machine:
        mail.add_addresses(machine)
        yield machine


def put(machine: Machine, package: Path) -> str:
    return machine.copy(package, f"/root/{package.name}")


def active(machine: Machine) -> list[str]:
    return machine.run("systemctl", "is-active", SERVICE, *SOCKETS, check=False).stdout.split()


def failed(machine: Machine) -> str:
    return machine.run("systemctl", "--failed", "--plain", "--no-legend").stdout


def newer(package: Path, directory: Path) -> Path:
    """The same package with a higher version and something new in it."""
    name = package.name.partition("_")[0]
    tree = directory / name
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("-1+", "-2+"))  # of plugins, what they depend on too
    (tree / f"usr/share/doc/{name}/NEWS").write_text("new\n")
    made = directory / package.name.replace("-1+", "-2+")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, made], check=True)
    return made


def test_with_postfix_from_installation_to_purge(
    machine: Machine, packages: dict[str, Path], tmp_path: Path
) -> None:
    mail.install_postfix(machine)
    said = machine.install(put(machine, packages["multigrey"])).stdout
    assert active(machine) == ["active", "active", "inactive"]
    assert failed(machine) == ""
    assert [each["address"] for each in mail.status(machine)["listeners"]] == ["systemd:postfix"]
    assert machine.run("man", "-w", "multigrey", check=False).returncode in {0, 127}
    assert "multigrey.toml: ok" in machine.run("multigrey", "check-config").stdout

    # the two lines that the installation names, pasted
    lines = re.findall(r"(smtpd_\w+_restrictions): +(check_policy_service .+)", said)
    assert len(lines) == 2
    first = (
        "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination, reject_unlisted_recipient"
    )
    for name, check in lines:
        machine.run(
            "postconf", "-e", f"{name} = {first if 'recipient' in name else 'permit_mynetworks'}, {check}"
        )
    machine.run("postfix", "reload")
    configuration = machine.files / "etc/multigrey/multigrey.toml"
    own = configuration.read_text().replace("[greylist]\n", mail.QUICK)
    configuration.write_text(own)
    machine.run("systemctl", "reload", SERVICE)
    mail.is_greylisted(machine)
    machine.run("multigrey", "whitelist", "add", "--client", ".partner.example", "--reason", "a test")

    # an upgrade keeps what was learned and what was written
    machine.install(put(machine, newer(packages["multigrey"], tmp_path)))
    assert (machine.files / "usr/share/doc/multigrey/NEWS").is_file()
    assert active(machine) == ["active", "active", "inactive"]
    assert mail.send(machine) == "accepted"
    assert configuration.read_text() == own

    # and so does the way back
    older = machine.copy(packages["multigrey"], "/root/older.deb")
    machine.run("apt-get", "-q", "-y", "--allow-downgrades", "install", older)
    assert active(machine) == ["active", "active", "inactive"]
    assert mail.send(machine) == "accepted"

    # gone, but for what was learned: mail passes
    machine.run("apt-get", "-q", "-y", "remove", "multigrey")
    assert active(machine) == ["inactive"] * 3
    assert failed(machine) == ""
    assert not (machine.files / "usr/lib/multigrey").exists()
    assert mail.send(machine, "dave@sender.example") == "accepted"
    assert (machine.files / "var/lib/multigrey/store.mdb").is_file()
    machine.install(put(machine, packages["multigrey"]))
    assert active(machine) == ["active", "active", "inactive"]
    assert mail.send(machine) == "accepted"

    machine.run("apt-get", "-q", "-y", "purge", "multigrey")
    places = ("/etc", "/usr", "/var/lib", "/var/spool", "/var/log", "/run")
    rest = machine.run("find", *places, "-xdev", "-name", "*multigrey*").stdout
    assert [line for line in rest.splitlines() if not line.startswith("/var/lib/dpkg/")] == []
    assert machine.run("getent", "passwd", "multigrey", check=False).stdout == ""
    assert mail.send(machine, "erin@sender.example") == "accepted"


def test_exim_that_comes_later_and_what_else_is_in_the_package(
    machine: Machine, packages: dict[str, Path]
) -> None:
    machine.install(put(machine, packages["multigrey"]))
    assert active(machine) == ["active", "inactive", "inactive"]
    assert failed(machine) == ""
    said = machine.install("exim4-daemon-heavy").stdout
    assert active(machine) == ["active", "inactive", "active"]
    mail.configure_exim(machine)
    macros = "".join(f"{line.strip()}\n" for line in re.findall(r"(?m)^ +CHECK_\w+ = .+", said))
    assert macros.count("\n") == 3
    (machine.files / "etc/exim4/exim4.conf.localmacros").write_text(macros)
    machine.shell("update-exim4.conf && systemctl restart exim4")  # a reload is not waited for
    configuration = machine.files / "etc/multigrey/multigrey.toml"
    shipped = configuration.read_text()
    configuration.write_text(shipped.replace("[greylist]\n", mail.QUICK))
    machine.run("systemctl", "reload", SERVICE)
    mail.is_greylisted(machine)
    the_plugins_work(machine, packages)
    what_is_offered_is_right(machine, shipped)
    other_programs_understand_it(machine)


def the_plugins_work(machine: Machine, packages: dict[str, Path]) -> None:
    """The daemon is restarted when they come and go; the page is that of the daemon itself."""
    (machine.files / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    before = mail.status(machine)["pid"]
    machine.install(*(put(machine, packages[name]) for name in PLUGINS))
    assert mail.status(machine)["pid"] != before
    assert mail.status(machine)["warnings"] == []
    with (machine.files / "etc/multigrey/multigrey.toml").open("a") as file:
        file.write('\n[plugins.web]\naddress = "tcp:127.0.0.1:8080"\n')
    machine.run("systemctl", "restart", SERVICE)
    fetch = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/').read().decode())"
    until(lambda: "multigrey" in machine.run("python3", "-c", fetch, check=False).stdout, "the page is there")
    machine.run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/multigrey-web.service")
    machine.run("getent", "group", "multigrey-read")


def what_is_offered_is_right(machine: Machine, shipped: str) -> None:
    """Each line of the configuration that is commented out holds, and not only the shipped ones."""
    offered = machine.files / "etc/multigrey/offered.toml"
    offered.write_text(re.sub(r"(?m)^#(?=\S)", "", shipped))
    offered.chmod(0o644)
    config = ("-c", "/etc/multigrey/offered.toml")
    assert ": ok" in machine.run("multigrey", "check-config", *config).stdout
    shown = json.loads(machine.run("multigrey", "show-config", "--json", *config).stdout)
    assert shown["settings"]["greylist"]["mode"] == "observe"
    assert shown["settings"]["history"]["max_age"] == "7d"
    assert len(shown["settings"]["whitelist"]) == 1


def other_programs_understand_it(machine: Machine) -> None:
    machine.install("apparmor", "logrotate")
    machine.run("apparmor_parser", "--skip-kernel-load", "--skip-cache", "/etc/apparmor.d/multigrey")
    said = machine.run("logrotate", "--debug", "/etc/logrotate.d/multigrey")
    assert "error" not in said.stderr.replace("does not exist", "")
    machine.run("bash", "-n", "/usr/share/bash-completion/completions/multigrey")
    units = [f"/usr/lib/systemd/system/{name}" for name in (SERVICE, *SOCKETS)]
    machine.run("systemd-analyze", "verify", "--man=no", *units)
    lines = machine.run("journalctl", "--no-pager", "-o", "short", "-t", "multigrey").stdout
    assert lines.count("action=") >= 2
    rules = "/etc/logcheck/ignore.d.server/multigrey"
    left = machine.run("grep", "-E", "-v", "-f", rules, check=False, stdin=lines).stdout
    assert left == ""


def test_logcheck_is_told_every_reason_but_trouble() -> None:
    (named,) = re.findall(r"reason=\((.+?)\)", (FILES / "logcheck").read_text())
    assert named.split("|") == [reason.value for reason in Reason if reason is not Reason.ERROR]


@pytest.mark.parametrize("stamp", ["Nov 22 18:18:15", "2026-11-22T18:18:15.123456+00:00"])
@pytest.mark.parametrize("time", ["", "time=2026-11-22T18:18:15Z "])
def test_logcheck_leaves_out_decisions_with_and_without_a_time_of_their_own(stamp: str, time: str) -> None:
    line = f"{stamp} mx1 multigrey[7]: {time}action=defer reason=new id=7f3k2q listener=postfix\n"
    left = subprocess.run(
        ["grep", "-E", "-v", "-f", FILES / "logcheck"],
        input=line,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (left.stdout, left.stderr) == ("", "")


def test_debian_13(wheels: Path) -> None:
    with machine_or_skip("trixie") as machine:
        mail.add_addresses(machine)
        mail.install_postfix(machine)
        machine.install(put(machine, build(wheels, RELEASES["trixie"])["multigrey"]))
        assert active(machine) == ["active", "active", "inactive"]
        (machine.files / "etc/multigrey/multigrey.toml").write_text(mail.QUICK)
        machine.run("systemctl", "reload", SERVICE)
        done = machine.run("multigrey", "setup", "postfix").stdout
        assert done.splitlines()[0].startswith("write /etc/postfix/main.cf"), "the package has done the rest"
        mail.is_greylisted(machine)


def test_one_commit_gives_the_same_packages(packages: dict[str, Path], wheels: Path) -> None:
    first = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in packages.items()}
    assert first.keys() == {"multigrey", *PLUGINS}
    again = build(wheels, RELEASES["bookworm"], umask=0o077)
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in again.items()} == first
