"""Long lists are built without the garbage collector, and freed entry by entry in a thread."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from multigrey.contracts import SourceOptions
from multigrey.daemon import list_memory
from multigrey.daemon.list_memory import Disposal, without_collections
from multigrey.model import Attempt, Origin
from multigrey.whitelists.list_source import entry_list
from multigrey.whitelists.postgrey import postgrey_clients, postgrey_recipients

ENTRIES = 2000


class Witness:
    """A value of a mapping that notes which thread frees it, and how many a bytecode has freed before."""

    freed_in: list[str]

    def __init__(self, freed_in: list[str]) -> None:
        self.freed_in = freed_in

    def __del__(self) -> None:
        self.freed_in.append(threading.current_thread().name)


class WitnessList:
    def __init__(self, freed_in: list[str]) -> None:
        self.entries = {number: Witness(freed_in) for number in range(ENTRIES)}

    def parts(self):
        return [self.entries]


@pytest.mark.parametrize("watched", [True, False])
async def test_a_list_is_freed_in_a_thread_when_its_last_user_has_ended(watched: bool):
    """`watched` False shows that the test notices a list that is freed at once, by the event loop."""
    disposal, freed_in = Disposal(), []
    made = WitnessList(freed_in)
    if watched:
        disposal.watch([made])
    user = made.parts  # an attempt in flight
    del made
    await disposal.free()
    assert freed_in == []
    del user
    assert len(freed_in) == (0 if watched else ENTRIES)
    await disposal.free()
    assert len(freed_in) == ENTRIES
    assert (threading.main_thread().name in freed_in) is not watched


def test_a_mapping_is_emptied_one_entry_at_a_time():
    """Counted by lines: no step of the interpreter, and so none without another thread, frees two."""
    freed_in: list[str] = []
    parts = WitnessList(freed_in).parts()
    most = 0
    before = 0

    def trace(frame, event, argument):
        nonlocal most, before
        most, before = max(most, len(freed_in) - before), len(freed_in)
        return trace

    sys.settrace(trace)
    try:
        list_memory._empty(parts)
    finally:
        sys.settrace(None)
    assert len(freed_in) == ENTRIES
    assert most == 1


def test_no_collection_runs_while_lists_are_built():
    seen = []

    def note(phase, info):
        seen.append(phase)

    gc.callbacks.append(note)
    try:
        with without_collections():
            seen.clear()
            kept = [[number] for number in range(100_000)]
            assert not seen
            assert not gc.isenabled()
        assert gc.isenabled()
        # What was made is not looked at later; the few objects of a short list are.
        assert not any(each is kept for each in gc.get_objects())
        with without_collections():
            few = [[]]
        assert any(each is few for each in gc.get_objects())
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()


def lines(kind: str) -> Iterator[str]:
    for number in range(ENTRIES):
        match kind:
            case "clients":
                yield f"mail{number}.example.org" if number % 2 else f"10.0.{number >> 8}.{number & 255}"
            case "recipients":
                yield f"user{number}@example.org" if number % 2 else f"d{number}.example.org"
            case "list":
                yield f'[[entry]]\nclient = "mail{number}.example.org"\nowner = "o"\nreason = "r{number}"'


MAKERS = {"clients": postgrey_clients, "recipients": postgrey_recipients, "list": entry_list}


@pytest.mark.parametrize("kind", MAKERS)
def test_parts_are_all_that_grows_with_the_entries(tmp_path: Path, kind: str):
    path = tmp_path / "list.toml"
    path.write_text("\n".join(lines(kind)) + "\n")
    path.chmod(0o644)
    made = MAKERS[kind](SourceOptions(path, "owner", lambda: 0, lambda _: Origin("", named=False)))
    parts = made.parts()
    assert sum(map(len, parts)) >= ENTRIES == made.count
    attempt = Attempt("x", ip_address("10.0.0.0"), "mail1.example.org", "", "", "user1@example.org")
    assert made.match(attempt) is not None
    list_memory._empty(parts)
    seen, waiting, largest = set(), [made], 0
    while waiting:
        for each in gc.get_referents(waiting.pop()):
            if id(each) not in seen and isinstance(each, dict | list | tuple | set):
                largest = max(largest, len(each))
            if id(each) not in seen and type(each).__module__.startswith(("multigrey", "builtins")):
                seen.add(id(each))
                if not isinstance(each, type) and not callable(each):
                    waiting.append(each)
    assert largest < ENTRIES / 4


@pytest.mark.parametrize("kind", MAKERS)
def test_the_collector_has_nothing_to_look_at_in_a_long_list(tmp_path: Path, kind: str):
    path = tmp_path / "list.toml"
    path.write_text("\n".join(lines(kind)) + "\n")
    path.chmod(0o644)
    gc.collect()
    before = len(gc.get_objects())
    made = MAKERS[kind](SourceOptions(path, "owner", lambda: 0, lambda _: Origin("", named=False)))
    gc.collect()  # it stops looking at tuples of texts
    assert len(gc.get_objects()) - before < ENTRIES / 10
    assert made.count == ENTRIES
