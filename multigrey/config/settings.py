"""Every key of multigrey.toml: its type, default, bounds and what it is for, said once.

The tables of multigrey.toml(5) are made from the descriptions below, and `load` from the types, so
a key cannot be missing from either.  The tables about connections stand in `connecting`.
Everything is immutable: a reload builds a new Settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from multigrey.config.connecting import Control, Limits, Listen
from multigrey.config.history import History
from multigrey.config.kinds import Kind, shown
from multigrey.config.metrics import Metrics
from multigrey.config.rules import Class, Rule, TimeZone, impossible_times, unknown_listeners
from multigrey.config.tables import ConfigTable, Conflict, Label, conflicts, repeated
from multigrey.config.types import (
    FilePath,
    Network,
    RegisteredName,
    ReplyText,
    Word,
    duration,
    format_duration,
    read_label,
    size,
)

__all__ = [
    "Class",
    "Control",
    "Greylist",
    "History",
    "Limits",
    "Listen",
    "Log",
    "Metrics",
    "OriginSettings",
    "Plugins",
    "Rule",
    "Settings",
    "StoreSettings",
    "WhitelistSettings",
]


class Greylist(ConfigTable):
    """`[greylist]`: when an attempt is deferred, and what counts as the same sender coming back."""

    delay: Annotated[int, duration("1s", "30d")] = Field(
        default=120,
        description="How old the first attempt has to be before a retry passes.  Many senders retry after "
        "200 to 285 seconds and then only after hours, so more than three minutes delays a lot of mail; the "
        "delay is stored with each record, and a change holds for new records only.",
    )
    unnamed_delay: Annotated[int, duration("1s", "30d")] = Field(
        default_factory=lambda values: max(180, values.get("delay", 0)),
        description="The same for clients that are known by nothing but their network, as most infected "
        "home machines are; by default 3m, or delay if that is longer.  They are more patient than spammers' "
        "programs: a mail server without a name of its own commonly retries after five minutes or more.",
    )
    patience: Annotated[int, duration("0s", "30d")] = Field(
        default=300,
        description="How far early retries may prolong unnamed_delay: for a client without a trustworthy "
        "name each early retry after the first adds a minute to the delay of its record, up to this.  Who "
        "retries every half minute for four minutes and then gives up is never let in.  0s switches it off.",
    )
    retry_window: Annotated[int, duration("2s")] = Field(
        default=2 * 86_400,
        description="The oldest age of a first attempt at which a retry still counts; later ones start "
        "again.  Must be longer than the delays; some senders retry once in several hours.",
    )
    max_age: Annotated[int, duration("2s")] = Field(
        default=36 * 86_400,
        description="How long a sender that has passed is remembered after its last mail.  The default "
        "lets a monthly newsletter through at once; a longer time costs disk space only.",
    )
    key: tuple[RegisteredName, ...] = Field(
        default=("origin", "sender", "recipient"),
        description="The components a sender is recognised by when it comes back, in this order; built in "
        "are origin (who is sending, by name; see multigrey(8)), client-address, client-network, sender, "
        "sender-domain, recipient, recipient-domain and helo, and plugins add others.  Changing the key "
        "forgets nobody: records under the client network, sender and recipient are still found.",
    )
    ipv4_prefix: int = Field(
        default=24,
        ge=1,
        le=32,
        strict=True,
        description="Length in bits of the client network of an IPv4 address.  Lower it when big senders "
        "retry from farther apart; 32 means the exact address.",
    )
    ipv6_prefix: int = Field(
        default=64,
        ge=1,
        le=128,
        strict=True,
        description="Length in bits of the client network of an IPv6 address.  One host commonly owns a "
        "whole /64, so a longer prefix lets a sender be a stranger each time.",
    )
    auto_whitelist_after: int = Field(
        default=5,
        ge=0,
        le=1_000_000,
        strict=True,
        description="After how many deferred and returned messages (of at least two different keys, at most "
        "one counted an hour) an origin is no longer deferred for mail from the same sender domain; 0 "
        "switches this off.  Two are enough for an organisation that sends from its own hosts, because "
        "nobody else can.",
    )
    prove_origins: bool = Field(
        default=True,
        strict=True,
        description="Whether an origin with a name is no longer delayed once it has shown that what is "
        "deferred comes back (see prove_after), and one without when mail of ten sender domains came back "
        "from its address, as from a forwarder.  One new triplet in 64 is still deferred to see whether that "
        "goes on; the origin falls out again when too little returns.",
    )
    prove_after: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        strict=True,
        description="For prove_origins: how many deferrals have to be resolved, within 30 days.  A deferral "
        "is resolved when nearly all of this origin that ever come back would have: after six hours, until "
        "its own mail has shown a better time.",
    )
    prove_domains: int = Field(
        default=4,
        ge=1,
        le=64,
        strict=True,
        description="For prove_origins: from how many different sender domains (registered domains) mail has "
        "to have come back.",
    )
    prove_percent: int = Field(
        default=95,
        ge=1,
        le=100,
        strict=True,
        description="For prove_origins: how many of a hundred resolved deferrals have to have come back.",
    )
    mode: Literal["enforce", "observe", "off"] = Field(
        default="enforce",
        description="What is done with what is found: enforce defers as configured; observe lets every "
        "attempt pass that would be deferred or refused, and logs what it would have been (its sender is "
        "known later, but earns no trust); off lets everybody pass, and nothing is looked at or remembered.",
    )
    text: ReplyText = Field(
        default="Greylisted, please try again later",
        description="The text a deferred sender is told, without status codes: one line of at most 400 "
        "octets.  Best kept constant, because log analysers group by it, it may hold {retry_after}, "
        "{reason}, {recipient_domain} and {id}; a part in [brackets] is left out when its field has no value "
        "({retry_after} only has one for named origins), and {{ }} [[ ]] stand for themselves.",
    )
    recipient_delimiter: str = Field(
        default="+",
        max_length=16,
        strict=True,
        description="Characters that begin an address extension, as in Postfix's parameter of this name: "
        "user+list@example.org is keyed as user@example.org.  An empty text switches this off.",
    )
    message_pass: bool = Field(
        default=True,
        strict=True,
        description="Whether further new recipients of one message pass together with a recipient for whom "
        "the sender is known.  Unless the origin has proved itself these are at most ten a message, in the "
        "domain of that recipient, whose record has to be older than an hour or to have passed twice; "
        "recipients that have only just come back carry as many others as they are.  "
        "Without it a message to many recipients needs several rounds, because the mail server's error "
        "limits end the session.",
    )
    null_sender: Literal["data", "rcpt"] = Field(
        default="data",
        description="Where bounces and other mail with the null sender are judged, and that from "
        "double-bounce@, by which mail servers verify addresses: data spares probes and callouts, which "
        "never send data, and needs the mail server to ask at DATA too (the shipped snippets do); rcpt "
        "judges them like other mail.  From the second recipient of a message on they are judged at RCPT "
        "anyway.",
    )
    header: bool = Field(
        default=True,
        strict=True,
        description="Whether the first message that passes after a deferral gets an X-Greylist header "
        "field that tells how long it was delayed.",
    )

    @field_validator("key")
    @classmethod
    def _check_key(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if not words:
            raise ValueError("must name at least one component")
        if twice := sorted({word for word in words if words.count(word) > 1}):
            raise ValueError(f"names {shown(twice[0])} twice")
        return words

    @field_validator("recipient_delimiter")
    @classmethod
    def _check_delimiter(cls, text: str) -> str:
        if not text.isascii() or not text.isprintable() or re.search(r"[A-Za-z0-9@ ]", text):
            raise ValueError(f'expected punctuation such as "+" or "+-", got {shown(text)}')
        return text

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        window = format_duration(self.retry_window)
        followed = "unnamed_delay" not in self.model_fields_set and self.unnamed_delay == self.delay
        for key in ("delay",) if followed else ("delay", "unnamed_delay"):
            delay = getattr(self, key)
            if delay >= self.retry_window:
                message = (
                    f"{format_duration(delay)} is not shorter than retry_window ({window}): no retry could "
                    "ever pass"
                )
                yield (key,), message
        if self.max_age < self.retry_window:
            message = (
                f"{format_duration(self.max_age)} is shorter than retry_window ({window}); expected at least "
                "as long"
            )
            yield ("max_age",), message


class StoreSettings(ConfigTable):
    """`[store]`: where records are kept.  Changes need a restart."""

    backend: Word = Field(
        default="lmdb",
        description="The kind of store: lmdb keeps everything in a file in state_dir, memory forgets "
        "everything at the end (for trials); plugins add others.",
    )
    map_size: Annotated[int, size("1MiB", "16TiB")] = Field(
        default=4 * 2**30,
        description="The most a store of kind lmdb may grow to.  The file grows as needed; raise this when "
        "the figures that SIGUSR1 logs show used near map_size.",
    )


class WhitelistSettings(ConfigTable):
    """`[[whitelist]]`: a list of senders, clients or recipients that are never greylisted.

    Clients that have authenticated, and the recipients postmaster@ and abuse@, pass without any.
    """

    source: Word = Field(
        description="What kind of list this is: list for entries in TOML with owners and dates (see "
        "multigrey-whitelists(5)), postgrey-clients or postgrey-recipients for files in postgrey's formats, "
        "or a source that a plugin adds."
    )
    path: FilePath | None = Field(
        default=None,
        description="The file to read, for sources that read one, or for list also a directory whose *.toml "
        "files are read; a relative path begins in the directory of the configuration file.  It is read "
        "again at each reload.  Neither the files nor their directory may be writable by group or others.",
    )
    owner: Label | None = Field(
        default=None,
        description="Who answers for the entries of this list that do not name an owner themselves: a "
        "person, a team or a ticket.  Shown in the log with each match.",
    )


class OriginSettings(ConfigTable):
    """`[origin]`: further knowledge about who is sending, beside the lists that come with multigrey."""

    providers: Literal["pass", "greylist"] = Field(
        default="pass",
        description="What is done with mail from providers that are known to retry for hours or days "
        "(retries = true in the tables of providers), where a verified client name shows that it is one of "
        "their servers: pass lets it in at once, because a delay would teach nothing; greylist delays it as "
        "any other.  multigrey origins providers tells who they are.  All other providers are only grouped.",
    )
    providers_file: FilePath | None = Field(
        default=None,
        description="A TOML file of further providers whose servers count as one origin, in the form of the "
        "providers.toml that comes with multigrey: [[provider]] with origin, suffixes (of verified client "
        "names) or names (patterns of whole ones), reason, source and date, and with retries = true if its "
        "mail shall not be delayed.  Its entry for a suffix or pattern takes the place of the shipped one.  "
        "The file must belong to root or the user multigrey is started as, and not be writable by group or "
        "others.",
    )
    shared_hosts_file: FilePath | None = Field(
        default=None,
        description="A TOML file of further suffixes whose hosts belong to different customers, in the form "
        "of the shipped shared-hosts.toml: [[host]] with suffixes, exempt (what below them is named after "
        "all), reason and source.  Clients below these suffixes are known by their network only.  The same "
        "conditions hold for the file.",
    )
    own_networks: tuple[Network, ...] = Field(
        default=(),
        description="Networks whose clients are your own: they pass without delay, after blocks and rules, "
        "as clients on loopback always do.  Private networks are not among them unless you name them.  "
        "Behind NAT or a proxy that hides the client's address everybody has an address of yours: name no "
        "network then that such an address lies in, or nobody is greylisted.",
    )

    @field_validator("providers", mode="before")
    @classmethod
    def _check_providers(cls, value: object) -> object:
        """A path has a key of its own."""
        if isinstance(value, str) and ("/" in value or value.endswith(".toml")):
            raise ValueError(
                f'expected "pass" or "greylist", got {shown(value)}; a file of providers is named by '
                "providers_file"
            )
        return value


class Plugins(ConfigTable):
    """`[plugins]`: where else plugins lie; each plugin's own settings stand in [plugins.NAME]."""

    dir: FilePath | None = Field(
        default=None,
        description="A directory of Python files that are loaded as plugins, beside those installed as "
        "packages; a relative path begins in the directory of the configuration file.  They run with all "
        "the rights of the daemon: the directory must belong to root or the daemon's user and not be "
        "writable by group or others.",
    )
    tables: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict, exclude=True, repr=False)
    """The tables [plugins.NAME] as TOML gave them; `Loaded.plugin_tables` checks them."""

    @model_validator(mode="before")
    @classmethod
    def _separate(cls, raw: object) -> object:
        if not isinstance(raw, dict):
            return raw
        tables = {name: value for name, value in raw.items() if isinstance(value, dict)}
        return {"tables": tables, **{name: value for name, value in raw.items() if name not in tables}}


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


class Settings(ConfigTable):
    """A whole configuration, with every default filled in."""

    state_dir: FilePath = Field(
        description="The directory of everything that must survive a restart.  By default $STATE_DIRECTORY "
        "(systemd's StateDirectory=), else /var/lib/multigrey for root and "
        "$XDG_STATE_HOME/multigrey (~/.local/state/multigrey) for others.  Changes need a restart."
    )
    user: Label | None = Field(
        default=None,
        description="The user to become after start-up when started as root; needed then, because the "
        "daemon never serves as root.  Leave it out when systemd's User= does the same.",
    )
    time_zone: TimeZone | None = Field(
        default=None,
        description="The time zone in which rules and classes tell times of day and days of the week, such "
        "as Europe/Vienna; by default the system's.",
    )
    listen: tuple[Listen, ...] = Field(description=" ".join((Listen.__doc__ or "").split()))
    greylist: Greylist = Field(default_factory=Greylist)
    origin: OriginSettings = Field(default_factory=OriginSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    whitelist: tuple[WhitelistSettings, ...] = ()
    rule: tuple[Rule, ...] = ()
    class_: tuple[Class, ...] = Field(default=(), alias="class")
    limits: Limits = Field(default_factory=Limits)
    control: Control = Field(default_factory=Control)
    history: History = Field(default_factory=History)
    plugins: Plugins = Field(default_factory=Plugins)
    log: Log = Field(default_factory=Log)
    metrics: Metrics = Field(default_factory=Metrics)

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, listen: tuple[Listen, ...]) -> tuple[Listen, ...]:
        if not listen:
            raise ValueError("there is no [[listen]]: nobody could ask; leave the key out for the defaults")
        conflicts(repeated(listen, "address"))
        conflicts(repeated(listen, "name"))
        return listen

    @field_validator("rule", "class_")
    @classmethod
    def _check_names(cls, tables: tuple[ConfigTable, ...]) -> tuple[ConfigTable, ...]:
        conflicts(repeated(tables, "name"))
        return tables

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        grey = self.greylist
        yield from impossible_times(
            self.rule, grey.delay, grey.unnamed_delay, grey.retry_window, grey.max_age
        )
        listeners = [listen.name for listen in self.listen]
        yield from unknown_listeners(self.rule, "rule", listeners)
        yield from unknown_listeners(self.class_, "class", listeners)
