"""`[log]`: where decisions and diagnostics go, and what they show."""

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
    """`[log]`: one line for each decision."""

    format: Literal["multigrey", "json", "postgrey"] = Field(
        default="multigrey",
        description="The form of decision lines: multigrey's own key=value pairs; json for the same as one "
        "JSON object a line; or exactly postgrey's line, which says less, for programs that read that.",
    )
    to: Annotated[str, Kind("text", _read_log_target)] = Field(
        default="stderr",
        description="Where decision lines go: stderr (which systemd's journal takes), syslog, or the "
        "absolute path of a file, which is opened again at each reload and at SIGUSR1 so that logrotate can "
        "move it.",
    )
    ident: Annotated[str, Kind("text", read_label)] = Field(
        default_factory=lambda values: "postgrey" if values.get("format") == "postgrey" else "multigrey",
        description="The program name in syslog lines and in postgrey's form; by default postgrey with "
        'format = "postgrey", because log analysers look for it, else multigrey.',
    )
    facility: _Facility = Field(
        default="mail",
        description='The syslog facility, for to = "syslog"; mail unless the log is sorted another way.',
    )
    redact: bool = Field(
        default=False,
        strict=True,
        description="Whether decision lines, and records from now on, show tokens (h:...) in place of client "
        "addresses and names, unnamed origins, logins and the addresses of senders and recipients, whose "
        "domains stay.  The tokens are hashes under the site key: the same for the same address, so mail "
        "can still be told apart and looked for by an address given in clear.  Records made before keep "
        "what they show until they are forgotten; backups, other programs' logs and the mail server's own "
        "are not touched.",
    )
