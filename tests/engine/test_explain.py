"""Explanations: they agree with what the engine then does, and tell what decided."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from multigrey.codec import encode_record
from multigrey.config.values.when import read_conditions
from multigrey.engine.explain import Explanation, explain
from multigrey.engine.setup import SourceInfo
from multigrey.errors import StoreError
from multigrey.greylist.policy import Policy
from multigrey.greylist.quota import NewRecordLimits, NewRecordQuota
from multigrey.greylist.reputation import Proof
from multigrey.identity.addresses import parse_client_address
from multigrey.identity.components import ClientNetwork, OriginText, Recipient, Sender
from multigrey.identity.keys import KeyScheme
from multigrey.identity.origin import Origins, Provider
from multigrey.model import (
    DAY,
    Action,
    Attempt,
    Change,
    Entry,
    Findings,
    Match,
    Origin,
    Reason,
    Record,
    Stage,
)
from multigrey.rules.rules import Rule, Rules
from tests.support.engines import DELAY, MAX_AGE, SITE_KEY, WINDOW, Harness, harness


def registered_domain(name: str) -> str | None:
    return ".".join(name.split(".")[-2:]) if "." in name else None


ORIGINS = Origins(registered_domain, {"bigmail.example": Provider("bigmail", retries=True)}, {})
NETWORK = ClientNetwork(24, 64)
BY_ORIGIN = KeyScheme(
    SITE_KEY,
    ("origin", "sender", "recipient"),
    (OriginText(), Sender(), Recipient()),
    NETWORK,
    Recipient(),
)


def attempt(**changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "listener": "mx",
        "client_address": parse_client_address("192.0.2.1"),
        "client_name": None,
        "helo": "mail.example.org",
        "sender": "a@example.net",
        "recipient": "b@example.org",
    }
    return Attempt(**{**values, **changes})


def house(house: Harness, **changes: Any) -> Harness:
    """The harness with origins and what else is wanted of its setup."""
    setup = replace(
        house.engine.setup,
        scheme=BY_ORIGIN,
        origins=ORIGINS,
        origin_of=ORIGINS.of,
        provider_of=ORIGINS.provider_of,
        retrying=ORIGINS.retrying,
        retries=ORIGINS.retries,
    )
    house.engine.setup = replace(setup, **changes)
    return house


def step(explained: Explanation, name: str) -> Any:
    return next(each for each in explained.steps if each.name == name)


def shown(explained: Explanation) -> str:
    return explained.as_json()["decided_by"]


# --- it agrees with the engine ---------------------------------------------------------------------


def seldom(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """One of `others` now and then."""
    return st.integers(0, 15).flatmap(lambda number: st.sampled_from(others if number == 7 else [usual]))


def mail(**fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Attempt]:
    return st.builds(
        attempt,
        client_address=st.sampled_from(["192.0.2.1", "192.0.2.9", "198.51.100.7", "2001:db8::1"]).map(
            parse_client_address
        ),
        client_name=st.sampled_from(["mail.example.org", None, "mx2.example.org"]),
        helo=seldom("mail.example.org", "elsewhere.example.net"),
        sender=st.sampled_from(["a@example.net", "c@example.com"]),
        recipient=st.sampled_from([f"b{number}@example.org" for number in range(6)]),
        message=st.sampled_from(["", "m1", "m2"]),
        **fixed,
    )


ODD = mail(
    authenticated=st.sampled_from(["", "joe"]),
    raw=st.sampled_from(["", "a free key"]),
    stage=st.sampled_from(Stage),
).flatmap(
    lambda one: st.sampled_from(
        [
            one,
            replace(one, sender=""),
            replace(one, client_address=None),
            replace(one, recipient="w@x.example"),
            replace(one, recipient="B1+x@example.org"),
            replace(one, client_address=parse_client_address("127.0.0.1")),
            replace(one, client_name="out.bigmail.example"),
            replace(one, sender="double-bounce@example.net", message="m1"),
        ]
    )
)
POOLS = st.tuples(st.lists(mail(), min_size=1, max_size=3), st.lists(ODD, max_size=1)).map(
    lambda pools: [*pools[0], *pools[1]]
)
RULES = st.lists(
    st.builds(
        Rule,
        name=st.sampled_from(["one", "two", "three"]),
        traits=st.sampled_from([("null",), ("listed",), ()]),
        action=st.sampled_from(["greylist", "greylist", "greylist", "observe", "pass", "defer", "reject"]),
        delay=st.sampled_from([None, 30, 900]),
        text=st.sampled_from(["", "Later"]),
        unnamed_delay=st.sampled_from([None, 600]),
        retry_window=st.sampled_from([None, 3600]),
    ),
    max_size=2,
)
WAITS = st.sampled_from([0, 0, 10, 60, DELAY, DELAY, 600, 3601, DAY, 3 * DAY, 40 * DAY])
PROOFS = st.sampled_from([None, Proof(resolved=1, domains=1, percent=50)])


class NullTrait:
    def holds(self, attempt: Attempt) -> bool:
        return not attempt.sender


class ListedSource:
    """Finds the same for the same sender; `asked` counts."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.asked = 0

    async def ask(self, attempt: Attempt) -> Findings:
        del attempt
        self.asked += 1
        return self.findings


FINDINGS = st.sampled_from(
    [
        Findings(),
        Findings(traits=frozenset({"listed"})),
        Findings(unanswered=frozenset({"listed"})),
        Findings(match=Match("dnswl", "all", "them")),
        Findings(origin=Origin("spf:example.net", named=True)),
    ]
)


class Failing:
    """A store that fails while it is told to."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        if self.fails and name in {"peek", "submit", "read", "apply"}:
            raise StoreError("no disk")
        return getattr(self._store, name)


MODES = st.sampled_from(["enforce", "enforce", "observe", "off"])
HOUSES = {
    "pool": POOLS,
    "history": st.lists(st.tuples(st.integers(0, 3), WAITS, seldom(False, True)), min_size=3, max_size=12),
    "rules": RULES,
    "proof": PROOFS,
    "mode": seldom("enforce", "observe", "off"),
    "findings": st.none() | st.none() | FINDINGS,
    "numbers": st.tuples(st.sampled_from([0, 1, 2]), st.sampled_from([0, 300]), st.sampled_from([1, 2, 0])),
    "flags": st.tuples(st.booleans(), st.booleans()),
    "blocked": seldom(None, 0, 1),
    "full": seldom(False, True),
    "on_error": st.sampled_from(["pass", "defer", "silent"]),
}


async def live(met: set[Reason], pool, history, rules, proof, mode, findings, numbers, **odd) -> None:
    """Explain each attempt before it is judged."""
    trust, patience, most = numbers
    flags, on_error = odd["flags"], odd["on_error"]
    source = None if findings is None else ListedSource(findings)
    async with harness() as made:
        policy = Policy(DELAY, WINDOW, MAX_AGE, trust, patience, proof, observe=mode == "observe")
        house(
            made,
            rules=Rules(rules, {"null": NullTrait()}),
            policy=replace(policy, patience=0),
            unnamed_policy=replace(policy, delay=300, proof=None),
            mode=mode,
            ask=None if source is None else source.ask,
            null_sender_at_data=flags[0],
            message_pass=flags[1],
            sources=(lambda one: Match("list", "w") if one.recipient.startswith("w") else None,),
        )
        if odd["blocked"] is not None:
            # As greylistd's word does it: without the name that an attempt comes with.
            made.block(replace(pool[odd["blocked"] % len(pool)], client_name=None))
        made.engine.shared.quota = NewRecordQuota(NewRecordLimits(most, most), size=64)
        made.engine.shared._is_full = lambda: odd["full"]
        made.engine.store = store = Failing(made.store)
        for number, wait, fails in history:
            one = pool[number % len(pool)]
            made.clock.advance(wait)
            store.fails = fails
            without = await explain(made.engine, one, on_error=on_error)
            explained = await explain(made.engine, one, ask=True, on_error=on_error)
            again = await explain(made.engine, one, ask=True, on_error=on_error)
            assert explained == again  # explaining changes nothing
            asked = 0 if source is None else source.asked
            await made.engine.judge(one, on_error)
            verdict = made.events[-1].verdict
            met.add(verdict.reason)
            assert explained.verdict == verdict
            assert explained.origin.text == made.events[-1].origin
            if without.certain:
                assert without.verdict == verdict
                # Whose host comes back may be asked, which changes no verdict.
                back = verdict.reason is Reason.RETRY
                assert source is None or source.asked <= asked + back
            else:
                assert source is not None
                assert source.asked == asked + 1
            told = explained.as_json()
            assert told["decided_by"] in {each.name for each in explained.steps}


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(**HOUSES)
def test_the_engine_says_what_was_explained(**drawn):
    trio.run(partial(live, set(), **drawn))


def test_the_property_meets_every_reason():
    met: set[Reason] = set()

    @settings(max_examples=600, deadline=None, derandomize=True, phases=[Phase.generate], database=None)
    @given(**{**HOUSES, "pool": st.lists(ODD, min_size=2, max_size=4) | POOLS, "mode": MODES})
    def meet(**drawn):
        trio.run(partial(live, met, **drawn))

    meet()
    assert met == set(Reason)


async def test_a_block_without_a_name_is_explained_for_a_client_with_one():
    async with harness() as made:
        engine = house(made).engine
        named = attempt(client_name="mail.example.org")
        made.block(attempt())
        explained = await explain(engine, named)
        assert (shown(explained), explained.verdict.action) == ("blocked", Action.REJECT)
        await engine.judge(named, "pass")
        assert made.events[-1].verdict == explained.verdict


# --- what is told ----------------------------------------------------------------------------------


async def test_a_stranger_and_the_retry():
    async with harness() as made:
        engine, now = house(made).engine, made.clock.now()
        first = await explain(engine, attempt())
        assert (first.verdict.action, first.verdict.reason) == (Action.DEFER, Reason.NEW)
        assert step(first, "records").outcome == "nothing is known under 1 key"
        assert next((each.since, each.until) for each in first.advice) == (now + DELAY, now + WINDOW)
        await engine.judge(attempt(), "pass")
        made.clock.advance(50)
        early = await explain(engine, attempt())
        assert early.verdict.reason is Reason.EARLY
        assert early.verdict.retry_after == DELAY - 50
        assert early.advice[0].text == "a retry passes"
        assert (early.advice[0].since, early.advice[0].until) == (now + DELAY, now + WINDOW)
        (row,) = step(early, "records").details
        assert row["key"] == "client network 192.0.2.0/24, a@example.net, b@example.org"
        assert row["record"]["first_seen"] == now
        assert shown(early) == "records"
        made.clock.advance(DELAY)
        await engine.judge(attempt(), "pass")
        known = await explain(engine, attempt())
        assert known.verdict.reason is Reason.KNOWN
        assert known.advice[0].until == made.clock.now() + MAX_AGE


async def test_nothing_is_written():
    async with harness() as made:
        engine = house(made).engine
        await explain(engine, attempt())
        assert (await made.store.health())["records"] == 0
        assert not engine.counts
        assert not made.events


async def test_an_origin_and_why():
    async with harness() as made:
        engine = house(made).engine
        named = await explain(engine, attempt(client_name="mail.example.org"))
        assert named.origin == Origin("example.org", named=True)
        (row,) = step(named, "origin").details
        assert row["why"] == "named"
        labels = [each["key"] for each in step(named, "records").details]
        assert labels == [
            "origin example.org, a@example.net, b@example.org",
            "client network 192.0.2.0/24, a@example.net, b@example.org",
        ]
        moved = await explain(engine, attempt(client_name="mail.example.org", helo="x.example.com"))
        assert step(moved, "origin").details[0]["why"] == "helo-elsewhere"
        assert "x.example.com" in step(moved, "origin").outcome


async def test_an_entry_and_what_it_hides():
    def every(one: Attempt) -> list[Match]:
        del one
        return [
            Match("list", "a.toml:1 client=192.0.2.0/24", "ops"),
            Match("list", "a.toml:9 client=192.0.2.1"),
        ]

    async with harness() as made:
        sources = (lambda _: None, lambda one: every(one)[0], lambda _: Match("more", "e"))
        listed = SourceInfo("list", "/etc/a.toml", every=every, why=lambda match: f"of {match.owner}")
        about = (SourceInfo("empty"), listed, SourceInfo("more"))
        engine = house(made, sources=sources, about_sources=about).engine
        explained = await explain(engine, attempt())
        assert explained.verdict.reason is Reason.WHITELISTED
        assert shown(explained) == "whitelists"
        empty, first, more = step(explained, "whitelists").details
        assert empty["matches"] is False
        assert (first["owner"], first["decides"], first["why"]) == ("ops", True, "of ops")
        assert first["hidden"] == ["a.toml:9 client=192.0.2.1"]
        assert (more["matches"], more["decides"], more["why"]) == (True, False, "")
        assert step(explained, "whitelists").outcome == "a.toml:1 client=192.0.2.0/24 of list, owner ops"


async def test_a_forwarders_sender_that_matches_nothing():
    srs = "SRS0=hhhh=tt=partner.example=alice@forwarder.example"
    async with harness(sources=(lambda _: None,)) as made:
        plain = step(await explain(house(made).engine, attempt()), "whitelists").outcome
        assert plain == "no entry of 1 source matches"
        told = step(await explain(house(made).engine, attempt(sender=srs)), "whitelists").outcome
        assert told == (
            f"{plain}; the sender is wrapped by SRS of forwarder.example; entries never match the inner "
            "address alice@partner.example"
        )


async def test_a_bounce_to_several_whose_line_was_pasted():
    """Postfix's log tells no recipient of it (see test_maillog)."""
    async with harness() as made:
        explained = await explain(house(made).engine, attempt(sender="", recipient="", stage=Stage.DATA))
        assert (explained.verdict.reason, shown(explained)) == (Reason.NEW, "records")


async def test_rules_with_what_decided():
    when = read_conditions({"recipient": "other@example.org"}, None)
    rules = Rules(
        [
            Rule("other", when=when),
            Rule("listed", ("listed",)),
            Rule("all", action="reject"),
        ],
        {},
    )
    async with harness() as made:
        explained = await explain(house(made, rules=rules).engine, attempt())
        assert explained.verdict.rule == "all"
        assert shown(explained) == "rules"
        other, listed, everyone = step(explained, "rules").details
        assert other["truth"] is False
        assert "other@example.org" in other["because"][0]
        assert listed["truth"] is None
        assert (everyone["truth"], everyone["decides"]) == (True, True)
        assert any("whitelist" in each.text for each in explained.advice)


async def test_slow_sources_are_asked_when_wanted():
    source = ListedSource(Findings(traits=frozenset({"listed"})))
    rules = Rules([Rule("listed", ("listed",), action="reject")], {})
    async with harness() as made:
        engine = house(made, rules=rules, ask=source.ask).engine
        unasked = await explain(engine, attempt())
        assert not unasked.certain
        assert source.asked == 0
        asked = await explain(engine, attempt(), ask=True)
        assert asked.certain
        assert asked.verdict.action is Action.REJECT
        assert shown(asked) == "rules-again"
        assert step(asked, "slow-sources").outcome == "traits listed"


async def test_figures_of_trust_and_standing():
    proof = Proof(resolved=20, domains=10, percent=95)
    async with harness() as made:
        policy = Policy(DELAY, WINDOW, MAX_AGE, 5, 0, proof)
        engine = house(made, policy=policy).engine
        one = attempt(client_name="mail.example.org")
        await engine.judge(one, "pass")
        made.clock.advance(DELAY)
        await engine.judge(one, "pass")
        explained = await explain(engine, replace(one, recipient="new@example.org"))
        (trust,) = step(explained, "trust").details
        assert (trust["origin"], trust["sender_domain"]) == ("example.org", "example.net")
        assert (trust["passes"], trust["needed"], trust["several_keys"]) == (1, 5, False)
        (standing,) = step(explained, "standing").details
        assert (standing["resolved"], standing["resolved_needed"], standing["proven"]) == (0, 20, False)
        unnamed = await explain(engine, attempt())
        assert step(unnamed, "standing").outcome == "prove_origins is off"


async def test_who_is_over_the_limit():
    async with harness() as made:
        engine = house(made).engine
        engine.shared.quota = NewRecordQuota(NewRecordLimits(1, 1))
        await engine.judge(attempt(), "pass")
        explained = await explain(engine, attempt(recipient="c@example.org"))
        assert explained.verdict.reason is Reason.OVER_LIMIT
        assert shown(explained) == "limit"
        assert step(explained, "limit").details[0] == {
            "origin": "192.0.2.0/24",
            "new_records": 1,
            "limit": 1,
            "over": True,
            "full": False,
        }
        engine.shared._is_full = lambda: True
        told = step(await explain(engine, attempt(recipient="c@example.org")), "limit")
        assert told.details[0]["full"]
        assert "the store has no room for new records: a new attempt is remembered" in told.outcome


async def test_a_blocked_key():
    async with harness() as made:
        engine = house(made).engine
        made.block(attempt())
        explained = await explain(engine, attempt())
        assert explained.verdict.action is Action.REJECT
        assert shown(explained) == "blocked"
        await engine.judge(attempt(), "pass")
        assert made.events[-1].verdict == explained.verdict


@pytest.mark.parametrize("on_error", ["pass", "defer", "silent"])
async def test_a_record_nobody_can_read(on_error):
    async with harness() as made:
        engine = house(made).engine
        key = engine.progress(attempt()).keys[0]
        puts = {key: Entry(b"rubbish", None)}
        await made.store.apply((key,), lambda _: Change(None, puts, durable=True))
        explained = await explain(engine, attempt(), on_error=on_error)
        await engine.judge(attempt(), on_error)
        assert explained.verdict == made.events[-1].verdict
        assert explained.verdict.reason is Reason.ERROR
        assert shown(explained) == "records"


async def test_a_store_in_trouble():
    class Broken:
        async def read(self, keys: object) -> object:
            raise StoreError("the disk is gone")

    async with harness() as made:
        engine = house(made).engine
        engine.store = Broken()  # type: ignore[assignment]  (only read is called)
        explained = await explain(engine, attempt(), on_error="defer")
        assert explained.verdict.action is Action.DEFER
        assert "the disk is gone" in step(explained, "records").outcome
        listed = await explain(engine, attempt(authenticated="joe"))
        assert listed.verdict.reason is Reason.AUTHENTICATED


async def test_a_record_that_waits_under_a_longer_delay():
    """What the record was promised holds, not today's delay, and not one more early retry."""
    async with harness() as made:
        engine, now = house(made).engine, made.clock.now()
        key = engine.progress(attempt()).keys[0]
        record = Record(now - 100, now - 10, 700, attempts=3, early=2)
        puts = {key: Entry(encode_record(record), None)}
        await made.store.apply((key,), lambda _: Change(None, puts, durable=True))
        explained = await explain(engine, attempt())
        assert explained.advice[0].since == now + 600


@pytest.mark.parametrize(
    ("trust", "proof", "by"),
    [
        (2, None, "trust"),
        (0, Proof(resolved=2, domains=1, percent=50), "standing"),
    ],
)
async def test_an_origin_that_has_earned_it(trust, proof, by):
    async with harness() as made:
        engine = house(made, policy=Policy(DELAY, WINDOW, MAX_AGE, trust, 0, proof)).engine
        passed = []
        for number in range(40):
            one = attempt(client_name="mail.example.org", recipient=f"r{number}@example.org")
            explained = await explain(engine, one)
            await engine.judge(one, "pass")
            assert explained.verdict == made.events[-1].verdict
            if explained.verdict.reason is Reason.AUTO_WHITELISTED:
                passed.append(explained)
                continue
            made.clock.advance(3601)
            assert (await explain(engine, one)).verdict.reason is Reason.RETRY
            await engine.judge(one, "pass")
            made.clock.advance(DAY)
        assert passed
        assert {shown(each) for each in passed} == {by}
        (row,) = step(passed[-1], by).details
        assert row["trusted" if by == "trust" else "proven"]
