"""The `when` of a rule or class: the list of all conditions, and how a table of conditions is read.

    when = { recipient = ["oncall@example.org", "/^alerts[0-9]*@/"], not = { client_name = ".example.net" } }

All conditions of a table must hold.  A list of values holds when one of them does.  `not`, `any` and
`all` take tables of conditions.  This module only reads plain data; `multigrey.rules.conditions`
compiles it into predicates on attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from multigrey.config.tables.table import conflicts
from multigrey.config.values.kind import Kind, shown
from multigrey.config.values.patterns import (
    Days,
    Net,
    Pattern,
    Sizes,
    Times,
    read_address,
    read_days,
    read_domain,
    read_host,
    read_label,
    read_login,
    read_network,
    read_sizes,
    read_times,
)
from multigrey.config.values.types import FilePath, RegisteredName
from multigrey.text import did_you_mean

__all__ = [
    "CONDITIONS",
    "GROUPS",
    "ConditionKind",
    "Conditions",
    "Group",
    "Test",
    "TraitName",
    "Value",
    "ValueFile",
    "When",
    "conditions_text",
    "read_conditions",
]

KeyPath = tuple[str | int, ...]

GROUPS = ("not", "any", "all")

_DEEPEST = 20
"""Most tables inside each other; a deeper nesting could not be understood by a reader."""


@dataclass(frozen=True, slots=True)
class TraitName:
    """The name of a trait that the attempt must have."""

    written: str


@dataclass(frozen=True, slots=True)
class ValueFile:
    """A file with one value on each line."""

    path: Path


Value = Pattern | Net | Sizes | Times | Days | TraitName


@dataclass(frozen=True, slots=True)
class Test:
    """One condition: it holds when one of its values does."""

    key: str
    values: tuple[Value, ...] = ()
    files: tuple[ValueFile, ...] = ()
    wanted: bool | None = None
    """For a condition that is true or false: the value it must have; None: the condition has values."""
    listed: bool = False
    """Whether the values were written as a list."""

    __test__ = False
    """Keeps pytest from collecting this class as a test, because of its name."""


@dataclass(frozen=True, slots=True)
class Group:
    """`not`, `any` or `all` with its tables; `not` holds when none of its tables does."""

    word: str
    parts: tuple[Conditions, ...]
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Conditions:
    """A table of conditions, all of which must hold; an empty table always holds."""

    parts: tuple[Test | Group, ...] = ()

    def tests(self, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Test]]:
        """Yield every condition in it, at any depth, each with its key path."""
        for part in self.parts:
            if isinstance(part, Test):
                yield (*path, part.key), part
            else:
                for index, inner in enumerate(part.parts):
                    below = (*path, part.word, index) if part.listed else (*path, part.word)
                    yield from inner.tests(below)


class ConditionKind(NamedTuple):
    """The definition of one condition."""

    kind: str
    """The kind of its values, for the manual."""
    about: str
    read: Callable[[object], Value] | None
    """Reads one value; None: the condition takes only true and false."""
    files: bool = True
    """Whether values may be in a file."""
    yes_no: bool = False
    """Whether true and false are allowed too: true means any value, false means no value."""


def _read_trait(value: object) -> TraitName:
    adapter: TypeAdapter[str] = TypeAdapter(RegisteredName)
    return TraitName(adapter.validate_python(value))


CONDITIONS: Mapping[str, ConditionKind] = {
    "client_address": ConditionKind(
        "networks",
        "The client's address is in one of these networks; a single address is a network too.",
        read_network,
    ),
    "client_name": ConditionKind(
        "names",
        "The client's verified name.  A client without one has no name that could match.",
        read_host,
    ),
    "named": ConditionKind(
        "true or false",
        "Whether the origin is a trusted name rather than only the client network.",
        None,
    ),
    "origin": ConditionKind(
        "names",
        "Who is sending, as the log shows it: a registered domain, a provider, a domain with spf: in front, "
        "or the client network.  A value with a leading dot is compared with the domain after spf: too.",
        read_label,
    ),
    "provider": ConditionKind(
        "texts, or true or false",
        "The provider that the client belongs to, by the list of providers; true is any, false is none.",
        read_label,
        yes_no=True,
    ),
    "helo": ConditionKind(
        "names",
        "The name that the client gave in HELO or EHLO.  It is not verified: a client can give any name.",
        read_label,
    ),
    "sender": ConditionKind(
        "addresses",
        'The envelope sender; "<>" is the null sender of bounces.  It is not verified: a client can claim '
        "any sender.  It is compared both as it is and without the signature (BATV) or recipient (VERP) that "
        "its own domain adds to it.  An address that a forwarder has rewritten (SRS) never matches as the "
        "original one.",
        read_address,
    ),
    "sender_domain": ConditionKind(
        "names", "The domain of the envelope sender; the null sender has none.", read_domain
    ),
    "recipient": ConditionKind(
        "addresses",
        "The envelope recipient.  info@example.org is also info+anything@example.org; see "
        "recipient_delimiter in multigrey.toml(5).",
        read_address,
    ),
    "recipient_domain": ConditionKind("names", "The domain of the envelope recipient.", read_domain),
    "authenticated": ConditionKind(
        "texts, or true or false",
        "The login name, or the subject of a verified client certificate; true is any, false is none.  "
        "Authenticated clients pass before rules are looked at.",
        read_login,
        yes_no=True,
    ),
    "tls": ConditionKind(
        "true or false",
        "Whether the session is encrypted.  Neither value matches when the mail server does not report it.",
        None,
    ),
    "size": ConditionKind(
        "sizes",
        'The size that the client announced, as in ">=1MiB", "<64KiB" or "64KiB-1MiB".  If it announced '
        "none, the size is unknown and does not match.",
        read_sizes,
        files=False,
    ),
    "listener": ConditionKind(
        "names of listeners", "The listener that received the request.", read_login, files=False
    ),
    "policy_context": ConditionKind(
        "texts",
        "The policy_context that Postfix is configured to send, by which several uses of one listener can be "
        "distinguished.",
        read_login,
    ),
    "time": ConditionKind(
        "times",
        'The time of day is in a span such as "08:00-18:00"; one such as "22:00-06:00" goes over midnight.',
        read_times,
        files=False,
    ),
    "weekday": ConditionKind(
        "days",
        'The day of the week is one of these, as in "sat" or "mon-fri".  After midnight it is the next day.',
        read_days,
        files=False,
    ),
    "trait": ConditionKind(
        "names of traits",
        "The attempt has one of these traits, which are built in or come from plugins.",
        _read_trait,
        files=False,
    ),
}  # fmt: skip
"""Every condition, in the order of the manual."""


# --- reading ---------------------------------------------------------------------------------------


def read_conditions(raw: object, directory: Path | None) -> Conditions:
    """Read a table of conditions; relative paths are relative to `directory`.

    Raises one PydanticCustomError for all problems.
    """
    if isinstance(raw, Conditions):
        return raw
    reader = _Reader(directory)
    found = reader.table(raw, ())
    conflicts(reader.problems)
    return found


class _Reader:
    """Reads a table and all tables inside it, and collects what is wrong in `problems`."""

    def __init__(self, directory: Path | None) -> None:
        self.problems: list[tuple[KeyPath, str]] = []
        self._context = {"directory": directory}

    def _wrong(self, path: KeyPath, message: str) -> None:
        self.problems.append((path, message))

    def table(self, raw: object, path: KeyPath) -> Conditions:
        if not isinstance(raw, dict):
            expected = 'expected a table of conditions such as { recipient = "info@example.org" }'
            self._wrong(path, f"{expected}, got {shown(raw)}")
            return Conditions()
        if len([part for part in path if isinstance(part, str)]) >= _DEEPEST:
            self._wrong(path, f"is nested too deeply; expected at most {_DEEPEST} tables inside each other")
            return Conditions()
        parts = [self._part(key, value, (*path, key)) for key, value in raw.items()]
        return Conditions(tuple(part for part in parts if part is not None))

    def _part(self, key: str, value: object, path: KeyPath) -> Test | Group | None:
        if key in GROUPS:
            return self._group(key, value, path)
        known = CONDITIONS.get(key)
        if known is not None:
            return self._test(key, known, value, path)
        hint = did_you_mean(key, [*CONDITIONS, *GROUPS])
        listed = "" if hint else f" (known here: {', '.join((*CONDITIONS, *GROUPS))})"
        self._wrong(path, f"unknown condition{hint}{listed}")
        return None

    def _group(self, word: str, value: object, path: KeyPath) -> Group:
        if isinstance(value, list):
            if not value:
                self._wrong(path, "is an empty list; expected tables of conditions")
            parts = tuple(self.table(raw, (*path, index)) for index, raw in enumerate(value))
            group = Group(word, parts)
        elif word == "not":
            group = Group(word, (self.table(value, path),), listed=False)
        else:
            self._wrong(path, f"expected a list of tables of conditions, got {shown(value)}")
            return Group(word, ())
        if word == "not" and value in ({}, [{}]):
            self._wrong(path, "contains no condition, so it could never be true")
        return group

    def _test(self, key: str, known: ConditionKind, value: object, path: KeyPath) -> Test | None:
        if isinstance(value, bool) and (known.yes_no or known.read is None):
            return Test(key, wanted=value)
        if known.read is None:
            self._wrong(path, f"expected true or false, got {shown(value)}")
            return None
        listed = isinstance(value, list)
        if listed and not value:
            self._wrong(path, "is an empty list, which matches nothing")
        values, files = [], []
        for index, each in enumerate(value if isinstance(value, list) else [value]):
            one = self._one(known, each, (*path, index) if listed else path)
            if isinstance(one, ValueFile):
                files.append(one)
            elif one is not None:
                values.append(one)
        return Test(key, tuple(values), tuple(files), listed=listed)

    def _one(self, known: ConditionKind, value: object, path: KeyPath) -> Value | ValueFile | None:
        """One value of a condition, or the file its values are in."""
        assert known.read is not None
        try:
            return self._file(known, value) if isinstance(value, dict) else known.read(value)
        except ValidationError as error:
            self._wrong(path, str(error.errors()[0]["ctx"]["error"]))
        except ValueError as error:
            self._wrong(path, str(error))
        return None

    def _file(self, known: ConditionKind, value: Mapping[str, object]) -> ValueFile:
        if not known.files:
            raise ValueError("these values cannot be in a file")
        if set(value) != {"file"}:
            raise ValueError(
                f'expected {{ file = "PATH" }} or text, got the keys {", ".join(value) or "none"}'
            )
        adapter: TypeAdapter[Path] = TypeAdapter(FilePath)
        return ValueFile(adapter.validate_python(value["file"], context=self._context))


# --- writing ---------------------------------------------------------------------------------------


def _write(conditions: Conditions) -> Any:
    """The table as it was written in TOML."""
    written: dict[str, Any] = {}
    for part in conditions.parts:
        if isinstance(part, Test):
            written[part.key] = _written(part)
        else:
            tables = [_write(inner) for inner in part.parts]
            written[part.word] = tables if part.listed else tables[0]
    return written


def _written(test: Test) -> Any:
    if test.wanted is not None:
        return test.wanted
    texts: Sequence[Any] = [
        *(value.written for value in test.values),
        *({"file": str(file.path)} for file in test.files),
    ]
    return [*texts] if test.listed else texts[0]


def conditions_text(test: Test) -> str:
    """A condition as text, like `recipient = "info@example.org"`; of a list only the first three values."""
    value = _written(test)
    if isinstance(value, list):
        texts = [_value_text(each) for each in value]
        more = f", ... ({len(texts)} values)" if len(texts) > 3 else ""
        return f"{test.key} = [{', '.join(texts[:3])}{more}]"
    return f"{test.key} = {_value_text(value)}"


def _value_text(value: Any) -> str:
    return f"{{ file = {shown(value['file'])} }}" if isinstance(value, dict) else shown(value)


class _WhenKind(Kind):
    """The kind of tables of conditions, whose reader gets the configuration file's directory."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Called by pydantic when it builds a model."""

        def read(value: object, info: ValidationInfo) -> Conditions:
            return read_conditions(value, (info.context or {}).get("directory"))

        return core_schema.with_info_plain_validator_function(read)


When = Annotated[Conditions, _WhenKind("conditions", read_conditions, _write)]
