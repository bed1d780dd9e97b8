"""The parts of multigrey-whitelists(5) that are made from the code."""
# ruff: noqa: INP001  (man/ is not a package; `python -m man.regions` and tests run from the checkout)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pydantic.fields import FieldInfo

from man.mdoc import prose, quoted, tagged
from multigrey.config.values.kind import Kind
from multigrey.whitelists.checks.lint import KINDS
from multigrey.whitelists.toml_entry import MATCH_KEYS, ListDefaults, ListEntry

__all__ = ["WHITELIST_REGIONS", "entry_keys", "findings", "list_keys"]


def entry_keys() -> list[str]:
    """The keys an entry matches by."""
    return tagged(_key(key, ListEntry.model_fields[key]) for key in MATCH_KEYS)


def list_keys() -> list[str]:
    """The keys that tell whose an entry is and how long it holds."""
    return tagged(_key(key, field) for key, field in ListDefaults.model_fields.items())


def _key(name: str, field: FieldInfo) -> tuple[str, list[str]]:
    return f"Ic {name} Ar {quoted(_kind(field))}", prose(field.description or "")


def _kind(field: FieldInfo) -> str:
    """What a value is called: the kind that stands in `Annotated`, perhaps inside `X | None`."""
    inner = (each for part in getattr(field.annotation, "__args__", ()) for each in _metadata(part))
    return next((each.name for each in (*field.metadata, *inner) if isinstance(each, Kind)), "true or false")


def _metadata(annotation: object) -> Sequence[object]:
    return getattr(annotation, "__metadata__", ())


def findings(severity: str) -> list[str]:
    """What lint may find, of one severity, and what each means."""
    found = {name: kind for name, kind in KINDS.items() if kind.severity == severity}
    return tagged((f"Cm {name}", prose(kind.meaning)) for name, kind in found.items())


WHITELIST_REGIONS: Mapping[str, Callable[..., Sequence[str]]] = {
    "whitelist-entry-keys": entry_keys,
    "whitelist-findings": findings,
    "whitelist-list-keys": list_keys,
}
