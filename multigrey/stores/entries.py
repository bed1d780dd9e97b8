"""What all stores agree on about entries: which keys they take, and what merging means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from multigrey.errors import StoreError
from multigrey.model import Entry, Key

__all__ = ["LOAD_SLICE", "LONGEST_KEY", "check_keys", "later", "merged", "slices"]

LONGEST_KEY = 255
"""Most bytes a digest or META name may have; LMDB itself ends at 511."""
LOAD_SLICE = 200
"""Entries merged in one go by `load`: a millisecond or two of the event loop."""


def check_keys(keys: Iterable[Key]) -> None:
    """Refuse (StoreError) a key that no store can hold, before any part of a change is taken over."""
    for table, digest in keys:
        if not 0 < len(digest) <= LONGEST_KEY:
            raise StoreError(
                f"key of {len(digest)} bytes in table {table.name}: 1 to {LONGEST_KEY} are possible"
            )


def later(one: int | None, other: int | None) -> int | None:
    """The later of two `keep_until`; None (never forgotten) is later than any time."""
    return None if one is None or other is None else max(one, other)


def merged(
    items: Mapping[Key, Entry],
    found: Sequence[Entry | None],
    merge: Callable[[bytes | None, bytes], bytes],
) -> dict[Key, Entry]:
    """What `Store.load` has to write: entries that differ from what was found under the same keys.

    Loading never makes an entry be forgotten earlier than it would have been.
    """
    puts: dict[Key, Entry] = {}
    for (key, item), old in zip(items.items(), found, strict=True):
        if old is None:
            puts[key] = Entry(merge(None, item.value), item.keep_until)
            continue
        entry = Entry(merge(old.value, item.value), later(old.keep_until, item.keep_until))
        if entry != old:
            puts[key] = entry
    return puts


def slices(items: Mapping[Key, Entry], size: int = LOAD_SLICE) -> Iterator[dict[Key, Entry]]:
    """The items in pieces of at most `size`."""
    rest = iter(items.items())
    while piece := dict(islice(rest, size)):
        yield piece
