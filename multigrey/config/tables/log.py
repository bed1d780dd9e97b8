"""`[log]`: where the lines about decisions are written, in which form, and what they show."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from multigrey.config.tables.table import ConfigTable
from multigrey.config.values.kind import Kind, shown
from multigrey.config.values.types import (
    read_label,
)

__all__ = ["Log"]

_Facility = Literal[
    "auth", "authpriv", "cron", "daemon", "ftp", "lpr", "mail", "news", "syslog", "user", "uucp",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip


def _read_log_target(value: object) -> str:
    if isinstance(value, str) and (
        value in {"stderr", "syslog"} or re.fullmatch(r"/[^\x00-\x1f\x7f]*[^/]", value)
    ):
        return value
    raise ValueError(f'expected "stderr", "syslog" or the absolute path of a file, got {shown(value)}')


class Log(ConfigTable):
    """`[log]`: the log of decisions, one line each."""

    format: Literal["multigrey", "json", "postgrey"] = Field(
        default="multigrey",
        description="The form of decision lines: multigrey for key=value pairs; json for the same content as "
        "one JSON object a line; postgrey for exactly postgrey's line, which holds less, for programs that "
        "read it.",
    )
    to: Annotated[str, Kind("text", _read_log_target)] = Field(
        default="stderr",
        description="Where decision lines are written: stderr (which systemd's journal records), syslog, or "
        "the absolute path of a file.  The file is opened again at each reload and at SIGUSR1, so that "
        "logrotate can move it.",
    )
    ident: Annotated[str, Kind("text", read_label)] = Field(
        default_factory=lambda values: "postgrey" if values.get("format") == "postgrey" else "multigrey",
        description="The program name in syslog lines and in postgrey's form.  The default is postgrey with "
        'format = "postgrey", because log analysers look for it, else multigrey.',
    )
    facility: _Facility = Field(
        default="mail",
        description='The syslog facility of decision lines, for to = "syslog".',
    )
    redact: bool = Field(
        default=False,
        strict=True,
        description="Whether decision lines, and records from now on, show tokens (h:...) in place of client "
        "addresses and names, unnamed origins, logins, and the addresses of senders and recipients, whose "
        "domains stay.  A token is a hash under the site key.  The same address always gives the same token, "
        "so messages can still be distinguished, and found by an address given in clear.  Records made "
        "before keep what they show until they are forgotten.  Backups, other programs' logs and the mail "
        "server's own logs are not changed.",
    )
