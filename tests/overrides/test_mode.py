"""What holds for a while: what it changes, how it ends, and that a restart does not end it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.codec import encode_text
from multigrey.errors import StoreError
from multigrey.model import Change, Entry, Table
from multigrey.overrides.mode import LONGEST, Override, Overrides, overridden
from tests.support.engines import harness, setup


def _override(slot: str, word: str) -> Override:
    return Override(slot, word, 0, 10)


@pytest.fixture
def house():
    base = setup()
    return replace(
        base,
        policy=replace(base.policy, delay=120),
        unnamed_policy=replace(base.unnamed_policy, delay=180, patience=300),
    )


@pytest.mark.parametrize(
    ("overrides", "named", "unnamed", "patience"),
    [
        ([], 120, 180, 300),
        ([("pressure", "tighten")], 240, 900, 600),
        ([("pressure", "relax")], 120, 120, 0),
        ([("mode", "off")], 120, 180, 300),
        ([("mode", "observe"), ("pressure", "tighten")], 240, 900, 600),
    ],
)
def test_what_becomes_of_the_delays(house, overrides, named, unnamed, patience):
    changed = overridden(house, [_override(*pair) for pair in overrides])
    assert changed.policy.delay == named
    assert (changed.unnamed_policy.delay, changed.unnamed_policy.patience) == (unnamed, patience)


@pytest.mark.parametrize("configured", ["enforce", "observe", "off"])
@pytest.mark.parametrize("mode", ["enforce", "observe", "off"])
def test_the_mode_is_the_one_that_was_asked_for(house, configured, mode):
    base = overridden(house, [_override("mode", configured)])
    changed = overridden(base, [_override("mode", mode)])
    assert changed == overridden(house, [_override("mode", mode)])
    assert changed.mode == mode
    assert changed.policy.observe is changed.unnamed_policy.observe is (mode == "observe")


@given(st.integers(1, 10**6), st.integers(2, 10**6), st.integers(0, 10**6))
def test_however_tight_a_retry_can_still_pass(delay, window, patience):
    base = setup()
    delay = min(delay, window - 1)
    policy = replace(base.policy, delay=delay, retry_window=window, patience=patience)
    changed = overridden(
        replace(base, policy=policy, unnamed_policy=policy), [_override("pressure", "tighten")]
    )
    for each in (changed.policy, changed.unnamed_policy):
        assert delay <= each.delay < window
        assert each.patience <= max(delay, window)


def test_relaxing_never_makes_anybody_wait_longer(house):
    short = replace(house, unnamed_policy=replace(house.unnamed_policy, delay=60))
    assert overridden(short, [_override("pressure", "relax")]).unnamed_policy.delay == 60


async def test_it_survives_a_restart_and_ends_by_itself():
    async with harness() as house:
        overrides = Overrides(house.clock, house.store)
        made = await overrides.put("mode", "observe", 60, "root (uid 0)")
        assert made == Override("mode", "observe", house.clock.now(), house.clock.now() + 60, "root (uid 0)")
        again = Overrides(house.clock, house.store)
        assert again.active == ()
        await again.load()
        assert again.active == (made,)
        house.clock.advance(59)
        assert await again.expire() == []
        house.clock.advance(1)
        assert again.active == ()
        assert await again.expire() == [made]
        assert await again.expire() == []
        third = Overrides(house.clock, house.store)
        await third.load()
        assert await third.expire() == []


@pytest.mark.parametrize("jump", [400 * 86_400, -400 * 86_400])
async def test_it_lasts_as_long_as_it_was_meant_to_whatever_is_done_to_the_clock(jump):
    async with harness() as house:
        overrides = Overrides(house.clock, house.store)
        made = await overrides.put("mode", "observe", 60, "root")
        house.clock.step(jump)
        house.clock.advance(59)
        assert await overrides.expire() == []
        assert overrides.active == (made,)
        house.clock.advance(1)
        assert overrides.active == ()
        assert await overrides.expire() == [made]


async def test_a_clock_that_is_behind_at_the_start_makes_it_no_longer():
    async with harness() as house:
        await Overrides(house.clock, house.store).put("mode", "observe", 60, "root")
        house.clock.step(-400 * 86_400)
        again = Overrides(house.clock, house.store)
        await again.load()
        house.clock.advance(60)
        assert again.active == ()


async def test_one_of_each_slot():
    async with harness() as house:
        overrides = Overrides(house.clock, house.store)
        await overrides.put("pressure", "relax", 60, "")
        tighten = await overrides.put("pressure", "tighten", 60, "")
        off = await overrides.put("mode", "off", LONGEST, "")
        assert {*overrides.active} == {tighten, off}
        assert await overrides.end("pressure") == tighten
        assert await overrides.end("pressure") is None
        assert overrides.active == (off,)


@pytest.mark.parametrize(
    ("slot", "word", "seconds"),
    [
        ("mode", "loud", 1),
        ("zzz", "off", 1),
        ("mode", "tighten", 1),
        ("mode", "off", 0),
        ("mode", "off", LONGEST + 1),
    ],
)
async def test_what_there_is_not(slot, word, seconds):
    async with harness() as house:
        overrides = Overrides(house.clock, house.store)
        with pytest.raises(ValueError, match=r"override"):
            await overrides.put(slot, word, seconds, "")
        assert overrides.active == ()


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        encode_text("no JSON"),
        encode_text("[]"),
        encode_text('{"word": "off"}'),
        encode_text('{"word": "loud", "since": 1, "until": 2, "by": ""}'),
        encode_text('{"word": "off", "since": "1", "until": 2, "by": ""}'),
    ],
)
async def test_what_cannot_be_read_is_left_out(stored, caplog):
    async with harness() as house:
        key = (Table.META, b"override/mode")
        await house.store.apply((key,), lambda _: Change(None, {key: Entry(stored, None)}, durable=True))
        overrides = Overrides(house.clock, house.store)
        await overrides.load()
        assert overrides.active == ()
        assert "ignored" in caplog.text


async def test_what_is_over_does_not_hold_even_if_the_store_fails(monkeypatch, caplog):
    async with harness() as house:
        overrides = Overrides(house.clock, house.store)
        made = await overrides.put("mode", "off", 1, "")

        async def fail(*_: object) -> None:
            raise StoreError("disk full")

        monkeypatch.setattr(house.store, "apply", fail)
        house.clock.advance(1)
        assert await overrides.expire() == [made]
        assert "disk full" in caplog.text
        with pytest.raises(StoreError):
            await overrides.put("mode", "off", 1, "")
        assert overrides.active == ()
