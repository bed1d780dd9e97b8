"""A real Postfix on a loopback port, with a configuration small enough to read.

Facts this file rests on: master needs to think that it is root (libuid_wrapper) and wants to lead
its process group; it hands on only the variables named in `import_environment`; it logs without
syslog through `maillog_file` and the postlog service.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.mta.auth import AuthService
from tests.mta.harness import GID, UID, Server, folder, library, wrappers, write
from tests.mta.smtp import Session
from tests.support.debian import unpack_or_skip

_QUEUES = "active bounce corrupt defer deferred flush hold incoming maildrop private public saved trace pid"

_MAIN = """\
compatibility_level = 3.6
command_directory = {root}/usr/sbin
daemon_directory = {root}/usr/lib/postfix/sbin
shlib_directory = {root}/usr/lib/postfix
meta_directory = {directory}/etc
sendmail_path = {root}/usr/sbin/sendmail
newaliases_path = {root}/usr/sbin/sendmail
mailq_path = {root}/usr/sbin/sendmail
queue_directory = {directory}/spool
data_directory = {directory}/data
mail_owner = postfix
setgid_group = postdrop
import_environment = MAIL_CONFIG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME {kept}
export_environment = TZ LANG {kept}
maillog_file = {directory}/log/maillog
maillog_file_prefixes = {directory}
myhostname = mx.test.example
myorigin = test.example
inet_interfaces = 127.0.0.1
inet_protocols = all
mydestination =
mynetworks = {relay}
local_transport = error:no local delivery
virtual_mailbox_domains = test.example
virtual_mailbox_base = {directory}
virtual_mailbox_maps = static:home/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
alias_maps =
alias_database =
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Server):
    """Postfix for test.example; `lines` are added to main.cf and win over what stands there."""

    name = "Postfix"

    def __init__(
        self,
        directory: Path,
        lines: str = "",
        *,
        relay_networks: Sequence[str] = (),
        more: Sequence[tuple[int, Mapping[str, str]]] = (),
    ) -> None:
        """`more`: further ports on which it listens, with the parameters that differ there."""
        root = unpack_or_skip("postfix", "postfix")
        super().__init__(directory, root, users=["postfix"], hosts={})
        uid_wrapper = library(wrappers(), "libuid_wrapper.so")
        self.environment["LD_PRELOAD"] += ":" + uid_wrapper
        self.environment |= {"UID_WRAPPER": "1", "UID_WRAPPER_ROOT": "1"}
        self.etc = folder(directory / "etc")
        self.spool = folder(directory / "spool")
        folder(directory / "data")
        for queue in _QUEUES.split():
            folder(self.spool / queue, {"maildrop": 0o730, "public": 0o710, "pid": 0o755}.get(queue, 0o700))
        values = {
            "root": root,
            "directory": directory,
            "kept": " ".join(self.kept),
            "relay": " ".join(["127.0.0.99/32", *relay_networks]),
            "uid": UID,
            "gid": GID,
        }
        parameters = {**settings(_MAIN.format(**values)), **settings(lines)}
        main = write(
            self.etc / "main.cf", "".join(f"{name} = {value}\n" for name, value in parameters.items())
        )
        os.utime(main, (1_000_000_000, 1_000_000_000))  # Postfix waits 2 s when the file is younger than that
        write(
            self.etc / "master.cf", _MASTER.format(port=self.port) + "".join(_service(*each) for each in more)
        )
        self.environment["MAIL_CONFIG"] = str(self.etc)
        self._authentication = AuthService(self.spool / "private/auth")
        self.command = [root / "usr/lib/postfix/sbin/master", "-c", self.etc, "-d"]

    def __enter__(self) -> Self:
        self._authentication.__enter__()
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self._authentication.__exit__()

    def session(self, client: str, *, name: str = "", helo: str = "", port: int = 0) -> Session:
        """A session of a client with this address and verified name."""
        return Session.through_xclient(port or self.port, client, name, helo or name or f"[{client}]")

    def postconf(self, *arguments: str) -> str:
        """What Postfix makes of main.cf."""
        done = self.run(self.root / "usr/sbin/postconf", *arguments)
        return done.stdout + done.stderr


def _service(port: int, differing: Mapping[str, str]) -> str:
    options = "".join(f"  -o {{ {name} = {value} }}\n" for name, value in differing.items())
    return f"127.0.0.1:{port} inet n - n - - smtpd\n{options}"


def settings(text: str) -> Mapping[str, str]:
    """main.cf text as parameters: comments dropped, lines that begin with a blank joined (postconf(5))."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            found[name] += " " + line.strip()
        else:
            name, _, value = (part.strip() for part in line.partition("="))
            found[name] = value
    return found
