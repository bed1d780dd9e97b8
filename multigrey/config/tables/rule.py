"""`[[rule]]` and `[[class]]`: the administrator's rules for certain attempts, and classes for reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import Field, field_validator, model_validator

from multigrey.config.tables.table import ConfigTable, Conflict, Label, conflicts
from multigrey.config.values.kind import Kind, shown
from multigrey.config.values.types import RegisteredName, ReplyText, duration, format_duration
from multigrey.config.values.when import When
from multigrey.text import did_you_mean

__all__ = ["Class", "RuleTable", "TimeZone", "impossible_times", "unknown_listeners", "zone_of"]

_CODE = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_FAMILY = {"greylist": "4", "defer": "4", "reject": "5"}
"""First digit of the enhanced status codes (RFC 3463 section 2) that each action can have."""
_GREYLISTING = ("delay", "unnamed_delay", "retry_window", "key")
"""Keys that have a meaning only for actions that greylist."""


def _read_code(value: object) -> str:
    if isinstance(value, str) and _CODE.fullmatch(value):
        return value
    raise ValueError(f'expected an enhanced status code such as "4.7.1", got {shown(value)}')


def _read_zone(value: object) -> str:
    """Return the name of a time zone that this system knows.  Raises ValueError for any other value."""
    expected = 'expected a time zone such as "Europe/Vienna" or "UTC"'
    if not isinstance(value, str):
        raise ValueError(f"{expected}, got {shown(value)}")  # noqa: TRY004  (pydantic collects ValueError)
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(value, available_timezones())
        raise ValueError(f"{shown(value)} is not known on this system; {expected}{hint}") from None
    return value


def zone_of(name: str | None) -> tzinfo | None:
    """The argument of `datetime.fromtimestamp` for a `time_zone`; None is the system's own zone."""
    return None if name is None else ZoneInfo(name)


TimeZone = Annotated[str, Kind("time zone", _read_zone)]
StatusCode = Annotated[str, Kind("status code", _read_code)]


class RuleTable(ConfigTable):
    """`[[rule]]`: what to do with attempts that meet conditions.  The first rule that matches decides."""

    name: Label = Field(description="The name of this rule in the log.  It must be unique among the rules.")
    when: When | None = Field(
        default=None,
        description="The conditions that an attempt must meet, all of them; see multigrey-rules(5).  An "
        "empty table matches every attempt.  Conditions too long for one line can be written as a table "
        "[rule.when] below the rule.",
    )
    traits: tuple[RegisteredName, ...] | None = Field(
        default=None,
        description="Traits that an attempt must have, all of them, in addition to the conditions of when.  "
        "An empty list matches every attempt.  A rule needs when, traits or both.",
    )
    action: Literal["pass", "greylist", "observe", "defer", "reject"] = Field(
        description="What to do: pass lets the mail in; greylist defers as usual (with the rule's own delay "
        "or key, if it has one); observe lets the mail in but records what greylisting would have done; "
        "defer asks the sender to come back, however often it has come before; reject refuses the mail "
        "permanently."
    )
    delay: Annotated[int, duration("1s", "30d")] | None = Field(
        default=None,
        description="For greylist and observe: the delay for these attempts, from named and unnamed "
        "origins.  The defaults are those of [greylist].",
    )
    unnamed_delay: Annotated[int, duration("1s", "30d")] | None = Field(
        default=None,
        description="For greylist and observe: the delay for senders without a name.  The default is the "
        "delay of this rule, if it has one.",
    )
    retry_window: Annotated[int, duration("2s")] | None = Field(
        default=None,
        description="For greylist and observe: the maximum age at which a retry of these attempts counts.  "
        "The default is that of [greylist].",
    )
    key: tuple[RegisteredName, ...] | None = Field(
        default=None,
        description="For greylist and observe: the components by which these senders are recognised.  The "
        "default is that of [greylist].",
    )
    text: ReplyText | None = Field(
        default=None,
        description="For greylist, defer and reject: the text of the reply to the sender, instead of that of "
        "[greylist].",
    )
    code: StatusCode | None = Field(
        default=None,
        description="The enhanced status code (RFC 3463) of the reply to the sender.  The default is 4.7.1 "
        "for greylist, 4.3.0 for defer and 5.7.1 for reject.",
    )

    @field_validator("key")
    @classmethod
    def _check_key(cls, words: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if words is not None:
            if not words:
                raise ValueError("must name at least one component")
            if twice := sorted({word for word in words if words.count(word) > 1}):
                raise ValueError(f"names {shown(twice[0])} twice")
        return words

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        action = f'action = "{self.action}"'
        if self.when is None and self.traits is None:
            yield ("when",), "is missing: for a rule that matches every attempt write when = {}"
        if self.action not in {"greylist", "observe"}:
            for key in _GREYLISTING:
                if getattr(self, key) is not None:
                    yield (key,), f'has no meaning for {action}, only for "greylist" and "observe": remove it'
        family = _FAMILY.get(self.action)
        for key in ("text", "code"):
            if getattr(self, key) is not None and family is None:
                yield (key,), f"has no meaning for {action}, which sends no reply text: remove it"
        if self.code is not None and family is not None and not self.code.startswith(family):
            yield ("code",), f"{self.code} does not fit {action}; expected {family}.x.x"


class Class(ConfigTable):
    """`[[class]]`: mail that reports count separately, such as mail that a service must receive in time.

    A class has no effect on the mail.  An attempt is in the first class that matches.
    """

    name: Label = Field(description="The name of this class.  It must be unique among the classes.")
    when: When = Field(
        description="The conditions that an attempt must meet, all of them; see multigrey-rules(5).  Traits "
        "for which a source must query another service are not allowed here.",
    )
    target: Annotated[int, duration("1s", "30d")] | None = Field(
        default=None,
        description="The longest delay that mail of this class should have.  Reports count the mail that "
        "took longer.",
    )
    owner: Label | None = Field(
        default=None,
        description="Who is interested in this class: a person, a team or a ticket.",
    )


def impossible_times(
    rules: Sequence[RuleTable], delay: int, unnamed_delay: int | None, retry_window: int, max_age: int
) -> Iterable[Conflict]:
    """Yield the rules whose retries could never pass, given the times of [greylist].

    All times are in seconds.  The key paths begin with "rule".
    """
    for index, rule in enumerate(rules):
        window = retry_window if rule.retry_window is None else rule.retry_window
        whose = "greylist.retry_window" if rule.retry_window is None else "its retry_window"
        for key in ("delay", "unnamed_delay"):
            own = getattr(rule, key)
            if own is not None and own >= window:
                message = (
                    f"{format_duration(own)} is not shorter than {whose} "
                    f"({format_duration(window)}), so no retry could pass: choose a smaller value"
                )
                yield ("rule", index, key), message
        if rule.retry_window is None:
            continue
        usual = max(delay, delay if unnamed_delay is None else unnamed_delay)
        if rule.delay is None and usual >= window:
            message = (
                f"{format_duration(window)} is not longer than the delay of [greylist] "
                f"({format_duration(usual)}), so no retry could pass: choose a longer time"
            )
            yield ("rule", index, "retry_window"), message
        if window > max_age:
            message = (
                f"{format_duration(window)} is longer than greylist.max_age ({format_duration(max_age)}): "
                "choose a value at most as long"
            )
            yield ("rule", index, "retry_window"), message


def unknown_listeners(
    tables: Sequence[RuleTable | Class], word: str, listeners: Iterable[str]
) -> Iterable[Conflict]:
    """Yield the conditions on listeners that are not configured.

    The key paths begin with `word`, which is "rule" or "class".
    """
    known = set(listeners)
    for index, table in enumerate(tables):
        for path, test in () if table.when is None else table.when.tests(("when",)):
            if test.key != "listener":
                continue
            for value in test.values:
                name = value.written
                if name not in known and not name.startswith("/"):
                    near = did_you_mean(name, known)
                    there = "" if near else f" (there are: {', '.join(sorted(known))})"
                    yield (word, index, *path), f"no listener is called {shown(name)}{near}{there}"
