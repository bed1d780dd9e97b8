"""Pydantic's validation errors, reworded for an administrator who edits multigrey.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from multigrey.config.locate import KeyPath
from multigrey.config.values.kind import shown
from multigrey.text import did_you_mean

__all__ = ["explain", "fields", "repeats", "table_model"]

_EXPECTED = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text in quotes",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
    "mapping_type": "a table",
    "tuple_type": "a list",
    "list_type": "a list",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_SILENT = {"default_factory_not_called"}
"""Errors that are left out: they only follow from an error in another key, which is reported."""


def explain(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[KeyPath, str]]:
    """Yield each wrong key of what was validated as `model`, with the message for it."""
    for detail in error.errors(include_url=False):
        path: KeyPath = detail["loc"]
        context = detail.get("ctx", {})
        kind = detail["type"]
        if kind == "conflicts":
            yield from (((*path, *below), message) for below, message in context["problems"])
        elif kind == "extra_forbidden":
            yield path, _unknown_key(model, path, detail["input"])
        elif kind not in _SILENT:
            yield path, _message(kind, detail["msg"], detail["input"], context, _field(model, path))


def _message(kind: str, text: str, value: object, context: Mapping[str, Any], field: FieldInfo | None) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "is missing, and has no default"
    if kind == "literal_error":
        return _not_one_of(value, re.findall(r"'([^']*)'", context["expected"]))
    if kind in _BOUNDS:
        key, word = _BOUNDS[kind]
        return f"is {shown(value)}; expected {word} {context[key]}"
    if kind == "string_too_long":
        return f"has {len(str(value))} characters; expected at most {context['max_length']}"
    if kind in {"tuple_type", "list_type"} and isinstance(value, dict) and table_model(field) is not None:
        return "is one table; write [[…]] with two brackets, because there can be several"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {shown(value)}"
    return f"{text} (got {shown(value)})"


def _not_one_of(value: object, words: Sequence[str]) -> str:
    quoted = [f'"{word}"' for word in words]
    known = f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]
    return f"expected {known}, got {shown(value)}{did_you_mean(value, words)}"


def _unknown_key(model: type[BaseModel], path: KeyPath, value: object) -> str:
    key = path[-1]
    owner = _model_at(model, path[:-1])
    what = "unknown table" if isinstance(value, dict) else "unknown key"
    hint = did_you_mean(key, fields(owner))
    if not hint:
        homes = [name for name, table in _tables(model) if key in fields(table) and table is not owner]
        if homes:
            hint = f"; it belongs in {' or '.join(homes)}"
    if not hint and isinstance(key, str) and key in fields(model) and owner is not model:
        hint = "; it belongs at the top of the file, before the first table"
    known = "" if hint else f" (known here: {', '.join(_keys(owner))})"
    return what + hint + known


def _keys(model: type[BaseModel]) -> list[str]:
    return [name for name, field in fields(model).items() if not field.exclude]


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a table, by their names in the file ("class" cannot be a Python attribute name)."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _tables(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the tables below a model, each with its header as it is written in the file."""
    for name, field in fields(model).items():
        if (table := table_model(field)) is not None:
            yield (f"[[{name}]]" if repeats(field) else f"[{name}]"), table


def table_model(field: FieldInfo | None) -> type[BaseModel] | None:
    """The model of a field that is a table or an array of tables; None for a plain value."""
    if field is None:
        return None
    annotation: Any = field.annotation
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)


def repeats(field: FieldInfo) -> bool:
    """Whether a field is a list or an array of tables, also one that may be left out."""
    return any(get_origin(part) is tuple for part in (field.annotation, *get_args(field.annotation)))


def _field(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    """The field at the end of a path; None when the path ends inside a value."""
    if not path or not isinstance(path[-1], str):
        return None
    return fields(_model_at(model, path[:-1])).get(path[-1])


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel]:
    """The model of the innermost table along `path`."""
    for part in path:
        if isinstance(part, str):
            model = table_model(fields(model).get(part)) or model
    return model
