"""The `when` of a rule or class: which conditions there are, and how their table is read.

    when = { recipient = ["oncall@example.org", "/^alerts[0-9]*@/"], not = { client_name = ".example.net" } }

All conditions of a table must hold; a list holds when one of its values does.  `not`, `any` and
`all` take tables of conditions.  What is read here is plain data; `multigrey.rules.conditions` makes of it
something that can be asked.
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
"""Tables inside each other; nobody could read more."""


@dataclass(frozen=True, slots=True)
class TraitName:
    """A trait that must hold."""

    written: str


@dataclass(frozen=True, slots=True)
class ValueFile:
    """A file with a value on each line."""

    path: Path


Value = Pattern | Net | Sizes | Times | Days | TraitName


@dataclass(frozen=True, slots=True)
class Test:
    """One condition: it holds when one of its values does."""

    key: str
    values: tuple[Value, ...] = ()
    files: tuple[ValueFile, ...] = ()
    wanted: bool | None = None
    """For conditions that are true or false: which of them; None: there are values."""
    listed: bool = False
    """Whether the values stand in a list."""

    __test__ = False
    """No test in pytest's sense."""


@dataclass(frozen=True, slots=True)
class Group:
    """`not`, `any` or `all` of some tables; `not` is true when none of them holds."""

    word: str
    parts: tuple[Conditions, ...]
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Conditions:
    """A table of conditions, all of which must hold; without any it always does."""

    parts: tuple[Test | Group, ...] = ()

    def tests(self, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Test]]:
        """Every condition in it, at any depth, each with the keys that lead to it."""
        for part in self.parts:
            if isinstance(part, Test):
                yield (*path, part.key), part
            else:
                for index, inner in enumerate(part.parts):
                    below = (*path, part.word, index) if part.listed else (*path, part.word)
                    yield from inner.tests(below)


class ConditionKind(NamedTuple):
    """A condition there is."""

    kind: str
    """What its values are, for the manual."""
    about: str
    read: Callable[[object], Value] | None
    """Reads one value; None: only true and false."""
    files: bool = True
    """Whether values may stand in a file."""
    yes_no: bool = False
    """Whether true and false are values too: there is any, there is none."""


def _read_trait(value: object) -> TraitName:
    adapter: TypeAdapter[str] = TypeAdapter(RegisteredName)
    return TraitName(adapter.validate_python(value))


CONDITIONS: Mapping[str, ConditionKind] = {
    "client_address": ConditionKind(
        "networks",
        "The client's address lies in one of these networks; a single address is one too.",
        read_network,
    ),
    "client_name": ConditionKind(
        "names",
        "The client's verified name.  A client without one has no name that could match.",
        read_host,
    ),
    "named": ConditionKind(
        "true or false",
        "Whether the origin is a name that can be trusted, not just the client network.",
        None,
    ),
    "origin": ConditionKind(
        "names",
        "Who is sending, as the log tells it: a registered domain, a provider, a domain with spf: in front, "
        "or the client network.  A leading dot looks at the domain behind spf: too.",
        read_label,
    ),
    "provider": ConditionKind(
        "texts, or true or false",
        "The provider whose client this is, by the list of providers; true is any, false is none.",
        read_label,
        yes_no=True,
    ),
    "helo": ConditionKind(
        "names",
        "The name the client gave itself in HELO or EHLO.  Anybody can say anything there.",
        read_label,
    ),
    "sender": ConditionKind(
        "addresses",
        'The envelope sender; "<>" is the null sender of bounces.  Anybody can claim any.  It is compared as '
        "it is and without the signature (BATV) or recipient (VERP) that its own domain puts around it; what "
        "a forwarder wraps up (SRS) never matches.",
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
        "Whether the session is encrypted.  Neither holds when the mail server does not tell.",
        None,
    ),
    "size": ConditionKind(
        "sizes",
        'The size the client announced, as in ">=1MiB", "<64KiB" or "64KiB-1MiB".  Unknown, and therefore no '
        "match, when it announced none.",
        read_sizes,
        files=False,
    ),
    "listener": ConditionKind("names of listeners", "The listener that was asked.", read_login, files=False),
    "policy_context": ConditionKind(
        "texts",
        "What Postfix was told to add (policy_context), which tells several uses of one listener apart.",
        read_login,
    ),
    "time": ConditionKind(
        "times",
        'The time of day lies in a span such as "08:00-18:00"; one such as "22:00-06:00" goes over midnight.',
        read_times,
        files=False,
    ),
    "weekday": ConditionKind(
        "days",
        'The day is one of these, as in "sat" or "mon-fri".  After midnight it is the next day.',
        read_days,
        files=False,
    ),
    "trait": ConditionKind(
        "names of traits",
        "The attempt has one of these traits: those built in, and those of plugins.",
        _read_trait,
        files=False,
    ),
}  # fmt: skip
"""Every condition, in the order of the manual."""


# --- reading ---------------------------------------------------------------------------------------


def read_conditions(raw: object, directory: Path | None) -> Conditions:
    """A table of conditions; relative paths begin in `directory`.  Raises one error for all problems."""
    if isinstance(raw, Conditions):
        return raw
    reader = _Reader(directory)
    found = reader.table(raw, ())
    conflicts(reader.problems)
    return found


class _Reader:
    """Reads a table and all tables inside; what is wrong gathers in `problems`."""

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
            self._wrong(path, "holds no condition, and so could never be true")
        return group

    def _test(self, key: str, known: ConditionKind, value: object, path: KeyPath) -> Test | None:
        if isinstance(value, bool) and (known.yes_no or known.read is None):
            return Test(key, wanted=value)
        if known.read is None:
            self._wrong(path, f"expected true or false, got {shown(value)}")
            return None
        listed = isinstance(value, list)
        if listed and not value:
            self._wrong(path, "is an empty list, which nothing matches")
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
            raise ValueError("these values cannot stand in a file")
        if set(value) != {"file"}:
            raise ValueError(
                f'expected {{ file = "PATH" }} or text, got the keys {", ".join(value) or "none"}'
            )
        adapter: TypeAdapter[Path] = TypeAdapter(FilePath)
        return ValueFile(adapter.validate_python(value["file"], context=self._context))


# --- writing ---------------------------------------------------------------------------------------


def _write(conditions: Conditions) -> Any:
    """The table again, as TOML had it."""
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
    """A condition as people read it, like `recipient = "info@example.org"`, cut to a readable length."""
    value = _written(test)
    if isinstance(value, list):
        texts = [_value_text(each) for each in value]
        more = f", ... ({len(texts)} values)" if len(texts) > 3 else ""
        return f"{test.key} = [{', '.join(texts[:3])}{more}]"
    return f"{test.key} = {_value_text(value)}"


def _value_text(value: Any) -> str:
    return f"{{ file = {shown(value['file'])} }}" if isinstance(value, dict) else shown(value)


class _WhenKind(Kind):
    """A table of conditions, which needs to know where the configuration file lies."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Called by pydantic when it builds a model."""

        def read(value: object, info: ValidationInfo) -> Conditions:
            return read_conditions(value, (info.context or {}).get("directory"))

        return core_schema.with_info_plain_validator_function(read)


When = Annotated[Conditions, _WhenKind("conditions", read_conditions, _write)]
