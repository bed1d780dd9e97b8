"""A real Exim on a loopback port: with Debian's own configuration, or with a plain one.

Facts this file rests on: Exim hands on only the variables in `keep_environment` and executes itself
(`exim_path`) to deliver; with `deliver_drop_privilege` it needs no root; `hosts_proxy` lets a client
choose its address; the first connection is answered in 0.02 s.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from multigrey.cli.snippet import greylistd_edit
from tests.mta.harness import WRAPPERS, Server, folder, write
from tests.mta.smtp import Session
from tests.support.debian import unpack_or_skip

_PRIVATE = """\
log_file_path = {directory}/log/%slog
pid_file_path = {directory}/exim.pid
deliver_drop_privilege = true
smtp_accept_max_nonmail = 1000
tls_advertise_hosts =
"""
"""What makes either configuration run here; put before it."""
_PROXY = "hosts_proxy = 127.0.0.0/8\n"
HEAVY, LIGHT = "exim4-daemon-heavy", "exim4-daemon-light"
"""Debian's two Exims, otherwise alike; the light one knows no PROXY line."""

_DEBIAN_MACROS = """\
SPOOLDIR = {directory}/spool
CONFDIR = {etc}
MAIN_KEEP_ENVIRONMENT = {kept}
MAIN_HARDCODE_PRIMARY_HOSTNAME = mx.test.example
"""

_DEBCONF = """\
dc_eximconfig_configtype='internet'
dc_other_hostnames='test.example'
dc_local_interfaces='127.0.0.1.{port}'
dc_readhost=''
dc_relay_domains=''
dc_minimaldns='false'
dc_relay_nets='{relay}'
dc_smarthost=''
CFILEMODE='644'
dc_use_split_config='{split}'
dc_hide_mailname=''
dc_mailname_in_oh='true'
dc_localdelivery='maildir_home'
"""

_PLAIN = """\
exim_path = {exim}
spool_directory = {directory}/spool
keep_environment = {kept}
primary_hostname = mx.test.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
domainlist local_domains = test.example
hostlist relay_from_hosts = {relay}
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = acl_data
{macros}
begin acl
acl_rcpt:
  require
    message = relay not permitted
    domains = +local_domains
.include {rcpt}
  accept
acl_data:
.include {data}
  accept
begin routers
everybody:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {directory}/home/Maildir
  create_directory
  envelope_to_add
begin retry
* * F,2h,1m
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = yes
  server_set_id = $auth2
"""


class _Exim(Server):
    """Either Exim."""

    name = "Exim"

    def __init__(
        self,
        directory: Path,
        *,
        users: Sequence[str],
        hosts: Mapping[str, str],
        package: str = HEAVY,
        suite: str = "",
    ) -> None:
        set_name = "exim" if package == HEAVY else package
        packages = (package, "exim4-base", "exim4-config", *(WRAPPERS if suite else ()))
        root = unpack_or_skip(f"{set_name}-{suite}".rstrip("-"), *packages, suite=suite)
        users = ["Debian-exim", "mail", "uucp", *users]
        super().__init__(directory, root, users=users, hosts=hosts, libraries=root if suite else None)
        self.etc = folder(directory / "etc")
        folder(directory / "spool")
        self.binary = self._loaded(root) if suite else root / "usr/sbin/exim4"
        self.configuration = self.etc / "exim4.conf"
        self._proxy = package == HEAVY
        self.private = _PRIVATE.format(directory=directory) + _PROXY * self._proxy
        self.command = [
            self.binary, "-C", self.configuration, "-bdf", "-oX", f"127.0.0.1:{self.port}"
        ]  # fmt: skip

    def session(self, client: str, *, name: str = "", helo: str = "") -> Session:
        """A session of a client with this address; its verified name is what `hosts` says of it.

        With the light Exim the address has to be in 127.0.0.0/8.
        """
        way = Session.through_proxy if self._proxy else Session.direct
        return way(self.port, client, helo or name or f"[{client}]")

    def _loaded(self, root: Path) -> Path:
        """A program that starts Exim of another release with that release's loader and libraries.

        They must not be in the environment: every other program would load them too.
        """
        loader = next(path for path in root.rglob("ld-linux*.so*") if path.resolve().is_relative_to(root))
        paths = self.environment.pop("LD_LIBRARY_PATH")
        preload = self.environment.pop("LD_PRELOAD")
        words = f'{loader} --library-path {paths} --preload {preload} {root}/usr/sbin/exim4 "$@"'
        program = write(self.directory / "exim4", f"#!/bin/sh\nexec {words}\n")
        program.chmod(0o755)
        return program


class DebianExim(_Exim):
    """Exim as Debian configures it: its template, its `update-exim4.conf`, debconf answers, local macros."""

    def __init__(
        self,
        directory: Path,
        macros: str,
        *,
        split: bool = False,
        relay: str = "",
        users: Sequence[str] = (),
        hosts: Mapping[str, str] = {},
        package: str = HEAVY,
        suite: str = "",
    ) -> None:
        """`suite`: the name of another Debian release; its own Exim and its own configuration."""
        super().__init__(directory, users=users, hosts=hosts, package=package, suite=suite)
        shutil.copytree(self.root / "etc/exim4", self.etc, dirs_exist_ok=True)
        self.template = self.etc / "exim4.conf.template"
        self._split = split
        write(
            self.etc / "update-exim4.conf.conf",
            _DEBCONF.format(port=self.port, relay=relay, split=str(split).lower()),
        )
        local = _DEBIAN_MACROS.format(directory=directory, etc=self.etc, kept=" : ".join(self.kept))
        name = "conf.d/main/000_localmacros" if split else "exim4.conf.localmacros"
        write(self.etc / name, local + macros)
        write(self.etc / "mailname", "test.example\n")
        write(self.etc / "aliases", "")

    def start(self) -> None:
        """Generate the configuration with Debian's own program, then start."""
        generator = (self.root / "usr/sbin/update-exim4.conf").read_text()
        script = write(self.etc / "update-exim4.conf", self._moved(generator))
        made = self.etc / "generated"
        done = self.run("sh", script, "-d", self.etc, "-o", made)
        assert done.returncode == 0, done.stderr
        write(self.configuration, self.private + self._moved(made.read_text()))
        super().start()

    def greylistd_setup(self, socket: Path) -> None:
        """Let Debian's greylistd edit the template, then `multigrey snippet greylistd`."""
        setup = unpack_or_skip("greylistd", "greylistd", dependencies=False)
        program = setup / "usr/sbin/greylistd-setup-exim4"
        for acl in ("acl_check_rcpt", "acl_check_data"):
            # not by self.run: the interpreter may lie where only the caller can reach it
            subprocess.run(
                [sys.executable, "-W", "ignore", program, "add", "-quiet", self.template, acl], check=True
            )
        text = self.template.read_text()
        assert text.count("/var/run/greylistd/socket") == 4
        subprocess.run(["sh", "-c", f"{greylistd_edit(str(socket))} {self.template}"], check=True)
        edited = self.template.read_text()
        assert edited.count(str(socket)) == 8
        assert text.count("readsocket") + 4 == edited.count("readsocket")

    def _moved(self, text: str) -> str:
        """The same text with the machine's files replaced by ours."""
        for name in ("mailname", "aliases", "email-addresses"):
            text = text.replace(f"/etc/{name}", f"{self.etc}/{name}")
        return text.replace("/etc/exim4", str(self.etc)).replace("/usr/sbin/exim4", str(self.binary))


class PlainExim(_Exim):
    """A configuration of a page that includes two ACL files; it may log clients in (PLAIN, any password)."""

    def __init__(
        self,
        directory: Path,
        rcpt: Path,
        data: Path,
        macros: str = "",
        *,
        relay: str = "",
        hosts: Mapping[str, str] = {},
    ) -> None:
        super().__init__(directory, users=[], hosts=hosts)
        text = _PLAIN.format(
            directory=directory,
            kept=" : ".join(self.kept),
            port=self.port,
            relay=relay,
            macros=macros,
            rcpt=rcpt,
            data=data,
            exim=self.binary,
        )
        write(self.configuration, self.private + text)
