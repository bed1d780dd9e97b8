"""Overrides taking effect and ending, and what a reload changed."""

from __future__ import annotations

import pytest
import trio.testing

from multigrey.control.operations.mode import OverrideControl, differences, operations
from multigrey.control.operations.operation import BY, OperationError
from multigrey.errors import ConfigError
from multigrey.overrides.mode import Overrides
from tests.support.control import answer, collected, parts
from tests.support.engines import Harness, harness


class Ship:
    """A helm, and which overrides held each time the setup was made anew."""

    def __init__(self, house: Harness) -> None:
        self.overrides = Overrides(house.clock, house.store)
        self.held: list[list[str]] = []
        self.helm = OverrideControl(self.overrides, self._reload, self._apply)

    async def _reload(self):
        return {"changed": ["everything"]}

    def _apply(self) -> None:
        self.held.append([override.word for override in self.overrides.active])


async def test_what_is_asked_for_takes_effect_at_once(caplog):
    caplog.set_level("WARNING")
    async with harness() as house:
        ship = Ship(house)
        told = await ship.helm.override("mode", "off", 60, "root")
        assert (told["word"], told["until"]) == ("off", house.clock.now() + 60)
        assert (await ship.helm.end_override("mode", "root"))["word"] == "off"
        assert await ship.helm.end_override("mode", "root") is None
        assert await ship.helm.reload() == {"changed": ["everything"]}
    assert ship.held == [["off"], [], []]
    assert "override: mode is off for 60 s, set by root" in caplog.text
    assert "override: mode off ended by root" in caplog.text


async def test_it_ends_by_itself(caplog, autojump_clock):
    async with harness() as house, trio.open_nursery() as nursery:
        ship = Ship(house)
        await ship.helm.override("pressure", "tighten", 60, "root")
        nursery.start_soon(ship.helm.run)
        house.clock.advance(59)
        await trio.sleep(3)
        assert ship.held == [["tighten"]]
        house.clock.advance(1)
        await trio.sleep(3)
        assert ship.held == [["tighten"], []]
        nursery.cancel_scope.cancel()
    assert "its time is over" in caplog.text


@pytest.mark.parametrize(("later", "words"), [(59, "mode is still observe"), (60, "its time is over")])
async def test_after_a_restart(caplog, later, words):
    async with harness() as house:
        await Overrides(house.clock, house.store).put("mode", "observe", 60, "root")
        house.clock.advance(later)
        ship = Ship(house)
        await ship.overrides.load()
        await ship.helm.start()
    assert ship.held == [["observe"] if later < 60 else []]
    assert words in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({}, {}, []),
        ({"a": {"b": 1, "c": [1, 2]}}, {"a": {"b": 1, "c": [1, 2]}}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [("a.b", 1, 2)]),
        ({"a": [1]}, {"a": [1, 2]}, [("a", [1], [1, 2])]),
        ({"l": [{"p": 1}]}, {"l": [{"p": 1}, {"p": 2}]}, [("l[2].p", None, 2)]),
        ({"l": [{"p": 1}]}, {"l": []}, [("l[1].p", 1, None)]),
        ({"w": []}, {"w": [{"p": 1}]}, [("w[1].p", None, 1)]),
    ],
)
def test_differences(old, new, found):
    assert [(change["key"], change["old"], change["new"]) for change in differences(old, new)] == found


def test_differences_are_bounded():
    assert len(differences({}, {f"key{number}": number for number in range(1_000)})) == 100


# --- as operations ---


class Wheel:
    """Remembers what was asked of it."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.asked: list[tuple] = []
        self.trouble = trouble

    async def reload(self):
        if self.trouble is not None:
            raise self.trouble
        return {"changed": []}

    async def override(self, *asked):
        self.asked.append(asked)
        if self.trouble is not None:
            raise self.trouble
        return {"word": asked[1]}

    async def end_override(self, *asked):
        self.asked.append(asked)


@pytest.mark.parametrize("name", ["reload", "override"])
async def test_a_stopped_daemon_cannot_be_steered(name):
    async with parts() as (_, made):
        with pytest.raises(OperationError, match="no daemon is running"):
            await answer(collected(operations, made), name, slot="mode", word="off", seconds=1)


async def test_what_a_reload_says_and_why_it_was_refused():
    async with parts(steering=Wheel()) as (_, made):
        assert await answer(collected(operations, made), "reload") == {"changed": []}
    async with parts(steering=Wheel(ConfigError([]))) as (_, made):
        with pytest.raises(ConfigError):
            await answer(collected(operations, made), "reload")


async def test_overrides_are_handed_on_with_who_asked():
    wheel = Wheel()
    async with parts(steering=wheel) as (_, made):
        found = collected(operations, made)
        options = {"slot": "mode", "word": "off", "seconds": 60, BY: "root"}
        assert await answer(found, "override", **options) == {"override": {"word": "off"}}
        assert await answer(found, "override", slot="pressure", by="root") == {"ended": None}
    assert wheel.asked == [("mode", "off", 60, "root"), ("pressure", "root")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "slot: expected a text"),
        ({"slot": "zzz"}, "slot: expected one of mode, pressure"),
        ({"slot": "mode", "word": "off"}, "seconds: expected"),
        ({"slot": "mode", "word": "off", "seconds": True}, "seconds: expected"),
        ({"slot": "mode", "word": ["off"], "seconds": 1}, "word: expected a text"),
    ],
)
async def test_overrides_that_make_no_sense(options, words):
    async with parts(steering=Wheel()) as (_, made):
        with pytest.raises(OperationError, match=words):
            await answer(collected(operations, made), "override", **options)


async def test_an_override_that_is_refused():
    async with parts(steering=Wheel(ValueError("too long"))) as (_, made):
        with pytest.raises(OperationError, match="too long"):
            await answer(collected(operations, made), "override", slot="mode", word="off", seconds=1)
