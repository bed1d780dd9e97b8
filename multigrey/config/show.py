"""Writes settings as TOML or JSON with the origin of each value, and lists all keys for the manual.

`load` reads what `as_toml` writes back to equal settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from multigrey.config.error_messages import fields, repeats, table_model
from multigrey.config.load import Loaded
from multigrey.config.locate import KeyPath, key_text, quoted
from multigrey.config.settings import Listen, Settings
from multigrey.config.values.kind import Kind
from multigrey.config.values.types import UnixEndpoint

__all__ = ["Option", "as_plain", "as_toml", "options", "tables"]

_PLAIN_KINDS = {bool: "true or false", int: "number", float: "number", str: "text"}
_UNIX_ONLY = frozenset({"mode", "owner", "group"})


@dataclass(frozen=True, slots=True)
class Option:
    """One key of multigrey.toml, as a row of the tables in multigrey.toml(5)."""

    table: str
    """The header of its table, like "[greylist]" or "[[listen]]"; "" at the top of the file."""
    key: str
    kind: str
    """The kind of its value, like "duration", "list of words" or "one of data, rcpt"."""
    default: str
    """As TOML; "" if the key is required, has no default, or has one that the description explains."""
    required: bool
    description: str


def options() -> Iterator[Option]:
    """Yield every key, in the order of the manual.  Plugins define the keys of [plugins.NAME] themselves."""
    yield from _options("", Settings)
    for name, field in fields(Settings).items():
        if (table := table_model(field)) is not None:
            yield from _options(f"[[{name}]]" if repeats(field) else f"[{name}]", table)


def tables() -> Iterator[tuple[str, str]]:
    """Yield the header of each table and its description, with an empty line between paragraphs."""
    for name, field in fields(Settings).items():
        if (table := table_model(field)) is not None:
            header = f"[[{name}]]" if repeats(field) else f"[{name}]"
            text = (table.__doc__ or "").partition(": ")[2]
            paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
            yield header, "\n\n".join(part[0].upper() + part[1:] for part in paragraphs)


def _options(table: str, model: type[BaseModel]) -> Iterator[Option]:
    for key, field in model.model_fields.items():
        if field.exclude or table_model(field) is not None:
            continue
        default = "" if field.is_required() or field.default_factory else field.default
        yield Option(
            table=table,
            key=key,
            kind=_kind_name(field),
            default="" if default in {"", None} and field.default != "" else _value(default, field),
            required=field.is_required() and (table, key) != ("", "state_dir"),
            description=field.description or "",
        )


def _kind_name(field: FieldInfo) -> str:
    kind = _kind(field)
    words = [word for word in _parts(field.annotation) if isinstance(word, str)]
    if words:
        return f"one of {', '.join(words)}"
    parts = (field.annotation, *_parts(field.annotation))
    name = next(_PLAIN_KINDS[part] for part in parts if part in _PLAIN_KINDS) if kind is None else kind.name
    return f"list of {name}s" if repeats(field) else name


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield every part inside the brackets of a type, at any depth."""
    for part in get_args(annotation):
        yield part
        yield from _parts(part)


def _kind(field: FieldInfo) -> Kind | None:
    """The Kind in the type of a field, also inside `| None` or `tuple[…]`; None if it has none."""
    candidates = (*field.metadata, *_parts(field.annotation))
    return next((part for part in candidates if isinstance(part, Kind)), None)


def as_toml(loaded: Loaded) -> str:
    """The effective configuration as TOML, one value a line, its origin behind it as a comment."""
    blocks = [_lines(loaded, (), loaded.settings)]
    for attribute, field in Settings.model_fields.items():
        name, value = field.alias or attribute, getattr(loaded.settings, attribute)
        if isinstance(value, BaseModel):
            blocks.append([f"[{name}]", *_lines(loaded, (name,), value)])
        elif table_model(field) is not None:
            for index, table in enumerate(value):
                blocks.append([f"[[{name}]]", *_lines(loaded, (name, index), table)])
    for name, raw in loaded.settings.plugins.tables.items():
        blocks.append([f"[plugins.{_key(name)}]", *_raw_lines(loaded, ("plugins", name), raw)])
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def _lines(loaded: Loaded, path: KeyPath, table: BaseModel) -> list[str]:
    lines = []
    for key, field, value in _values(table):
        origin = loaded.origin_of((*path, key))
        lines.append(_line(key, None if value is None else _value(value, field), origin))
    return lines


def _line(key: str, text: str | None, origin: str) -> str:
    return f"# {key} is not set  # {origin}" if text is None else f"{_key(key)} = {text}  # {origin}"


def _values(table: BaseModel) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Yield the plain values of a table, in order, without keys that have no meaning for it."""
    for key, field in type(table).model_fields.items():
        if not field.exclude and table_model(field) is None and not _is_idle(table, key):
            yield key, field, getattr(table, key)


def _is_idle(table: BaseModel, key: str) -> bool:
    """Whether a key has no meaning for the kind of endpoint of a listener (`load` would refuse it)."""
    if not isinstance(table, Listen):
        return False
    return key == "allow_from" if isinstance(table.address, UnixEndpoint) else key in _UNIX_ONLY


def _raw_lines(loaded: Loaded, path: KeyPath, table: Mapping[str, Any]) -> list[str]:
    return [_line(key, _raw(value), loaded.origin_of((*path, key))) for key, value in table.items()]


def _value(value: Any, field: FieldInfo) -> str:
    """A checked value as TOML."""
    return _raw(_texts(value, _kind(field)))


def _texts(value: Any, kind: Kind | None) -> Any:
    """A checked value in the form it has in the file."""
    if isinstance(value, tuple):
        return [_texts(part, kind) for part in value]
    return value if kind is None or value is None else kind.write(value)


def _raw(value: Any) -> str:
    """Any value that tomllib returns, as TOML on one line."""
    match value:
        case str():
            return quoted(value)
        case bool():
            return "true" if value else "false"
        case datetime() | date() | time():
            return value.isoformat()
        case list():
            return f"[{', '.join(map(_raw, value))}]"
        case dict():
            inner = ", ".join(f"{_key(key)} = {_raw(part)}" for key, part in value.items())
            return f"{{ {inner} }}" if inner else "{}"
    return str(value)


def _key(key: str) -> str:
    """A key as TOML, quoted if necessary."""
    return key if key_text((key,)) == key else _raw(key)


def as_plain(loaded: Loaded) -> dict[str, Any]:
    """The effective configuration, ready for JSON: `path`, `settings` (texts as in TOML) and `origins`."""
    origins: dict[str, str] = {}
    settings: dict[str, Any] = _object(loaded, (), loaded.settings, origins)
    for attribute, field in Settings.model_fields.items():
        name, value = field.alias or attribute, getattr(loaded.settings, attribute)
        if isinstance(value, BaseModel):
            settings[name] = _object(loaded, (name,), value, origins)
        elif table_model(field) is not None:
            settings[name] = [_object(loaded, (name, i), table, origins) for i, table in enumerate(value)]
    settings["plugins"].update(loaded.settings.plugins.tables)
    path = None if loaded.path is None else str(loaded.path)
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return {"path": path, "settings": plain, "origins": origins}


def _object(loaded: Loaded, path: KeyPath, table: BaseModel, origins: dict[str, str]) -> dict[str, Any]:
    values = {}
    for key, field, value in _values(table):
        values[key] = _texts(value, _kind(field))
        origins[key_text((*path, key))] = loaded.origin_of((*path, key))
    return values
