"""All operations together: none clashes with another, and who may use what is meant."""

from __future__ import annotations

from multigrey.control.operations.all import all_operations
from multigrey.control.operations.operation import Level
from tests.support.control import parts

ONLY_READING = {"status", "verify", "growth", "waiting"}
CHANGING = {"reload", "override", "backup", "compact", "records.forget", "person.forget", "origins.forget"}
OPERATING = {"expect", "expect-cancel", "records.pass"}

SEARCHES = {"records.list", "records.show", "history", "explain", "where", "export", "watch"}
"""They show whose mail came, and change nothing."""


async def test_searches_are_logged():
    async with parts() as (_, made):
        found = all_operations(made)
    assert {name for name in found.names() if found.get(name).is_search} == SEARCHES


async def test_who_may_use_what():
    async with parts() as (_, made):
        found = all_operations(made)
    levels = {name: found.get(name).level for name in found.names()}
    assert {name: levels[name] for name in ONLY_READING} == dict.fromkeys(ONLY_READING, Level.READ)
    assert {name for name, level in levels.items() if level is Level.OPERATE} == OPERATING
    assert {name for name, level in levels.items() if level is Level.ADMIN} == CHANGING
    assert {name: levels[name] for name in CHANGING} == dict.fromkeys(CHANGING, Level.ADMIN)
