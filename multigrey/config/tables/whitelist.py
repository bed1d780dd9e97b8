"""`[[whitelist]]`: a source of whitelist entries."""

from __future__ import annotations

from pydantic import Field

from multigrey.config.tables.table import ConfigTable, Label
from multigrey.config.values.types import (
    FilePath,
    Word,
)

__all__ = ["WhitelistSettings"]


class WhitelistSettings(ConfigTable):
    """`[[whitelist]]`: a list of senders, clients or recipients that are never greylisted.

    Clients that have authenticated, and the recipients postmaster@ and abuse@, pass without an entry.

    Lists in the directory whitelists beside the configuration file need no table: every *.toml, and
    whitelist_clients and whitelist_recipients in postgrey's formats.  They come after those with a table.
    """

    source: Word = Field(
        description="The kind of list: list for entries in TOML with owners and dates (see "
        "multigrey-whitelists(5)), postgrey-clients or postgrey-recipients for files in postgrey's formats, "
        "or a source that a plugin adds."
    )
    path: FilePath | None = Field(
        default=None,
        description="The file to read, for sources that read one; for list also a directory, whose *.toml "
        "files are read.  A relative path is relative to the directory of the configuration file.  The file "
        "is read again at each reload.  Neither the files nor their directory may be writable by group or "
        "others.",
    )
    owner: Label | None = Field(
        default=None,
        description="Who is responsible for those entries of this list that do not name an owner "
        "themselves: a person, a team or a ticket.  Shown in the log with each match.",
    )
