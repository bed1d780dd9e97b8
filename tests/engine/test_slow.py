"""What slow sources find, and what is remembered of it when the sender comes back."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from multigrey.codec import encode_origin, encode_record
from multigrey.engine.progress import Progress
from multigrey.engine.setup import Setup
from multigrey.engine.slow import ask_sources, organisation, under_name
from multigrey.greylist.policy import Case
from multigrey.greylist.stored_decision import StoredDecision
from multigrey.identity.components import ClientNetwork, OriginText, Recipient, Sender
from multigrey.identity.keys import ORIGIN_KEY, KeyScheme
from multigrey.identity.redaction import Redactor
from multigrey.model import Action, Attempt, Findings, Match, Origin, OriginRecord, Reason, Record, Verdict
from multigrey.rules.rules import Rule, Rules
from tests.support.clocks import START
from tests.support.engines import DELAY, SITE_KEY, setup

NETWORK = "192.0.2.0/24"
UNNAMED = Origin(NETWORK, named=False)
NAMED = Origin("hoster.example", named=True)
CLAIMED = Origin("bigmail?", named=True, claimed=True)
SPF = Origin("spf:example.org", named=True)
BIGMAIL = Origin("bigmail", named=True)
PROVIDERS = {"_spf.bigmail.example": "bigmail", "spf.other.example": "other"}
ATTEMPT = Attempt(
    "postfix",
    ip_address("192.0.2.10"),
    None,
    "mx.example.org",
    "alice@example.org",
    "bob@example.net",
)


def scheme(*names: str) -> KeyScheme:
    network, recipient = ClientNetwork(24, 64), Recipient("+")
    components = {"origin": OriginText(), "sender": Sender(), "recipient": recipient}
    return KeyScheme(SITE_KEY, names, [components[name] for name in names], network, recipient)


def with_providers(**changes: Any) -> Setup:
    values = {"scheme": scheme(*ORIGIN_KEY), "provider_by_spf": lambda domain: PROVIDERS.get(domain, "")}
    return setup(**{**values, **changes})


def pending(origin: Origin = UNNAMED, **changes: Any) -> Progress:
    made = with_providers(**changes)
    progress = Progress(made, ATTEMPT, START)
    progress.network, progress.origin = NETWORK, origin
    progress.keys = made.scheme.record_keys(ATTEMPT, origin, NETWORK)
    return progress


async def told(findings: Findings, origin: Origin = UNNAMED, **changes: Any) -> Progress:
    async def ask(attempt: Attempt) -> Findings:
        assert attempt is ATTEMPT
        return findings

    progress = pending(origin, **changes)
    await ask_sources(progress, ask)
    return progress


def names_of(one: Progress) -> set[Origin]:
    """Under which of these it is remembered."""
    made = one.setup.scheme
    return {
        origin
        for origin in (NAMED, CLAIMED, SPF, BIGMAIL, Origin("other", named=True))
        if made.named_key(ATTEMPT, origin, NETWORK) in one.keys
    }


LISTED = ("inner.example", "_spf.bigmail.example", "spf.other.example", "example.org")


@pytest.mark.parametrize(
    ("before", "findings", "origin", "names"),
    [
        (UNNAMED, Findings(), UNNAMED, set()),
        (UNNAMED, Findings(origin=SPF), SPF, {SPF}),
        # the innermost record that is a provider's says who it is
        (UNNAMED, Findings(origin=SPF, listed_by=LISTED), BIGMAIL, {BIGMAIL, SPF}),
        (UNNAMED, Findings(listed_by=LISTED), BIGMAIL, {BIGMAIL}),
        (UNNAMED, Findings(origin=SPF, listed_by=("example.org",)), SPF, {SPF}),
        # a verified name stays, whatever else is found; a claimed one does not
        (NAMED, Findings(), NAMED, {NAMED}),
        (NAMED, Findings(origin=SPF), NAMED, {NAMED, SPF}),
        (NAMED, Findings(origin=SPF, listed_by=LISTED), NAMED, {NAMED, SPF, BIGMAIL}),
        (CLAIMED, Findings(), CLAIMED, {CLAIMED}),
        (CLAIMED, Findings(origin=SPF), SPF, {CLAIMED, SPF}),
        (CLAIMED, Findings(origin=SPF, listed_by=LISTED), BIGMAIL, {CLAIMED, SPF, BIGMAIL}),
    ],
)
async def test_who_it_is_and_under_which_names_it_is_looked_up(before, findings, origin, names):
    found = await told(findings, before)
    assert found.verdict is None
    assert found.origin == origin
    assert found.looked_up is (origin != before)
    assert names_of(found) == names
    assert found.keys[0] == found.setup.scheme.record_keys(ATTEMPT, origin, NETWORK)[0]
    assert found.setup.scheme.network_key(ATTEMPT, NETWORK) in found.keys
    assert len(set(found.keys)) == len(found.keys)


@pytest.mark.parametrize(
    ("findings", "provider", "own"),
    [
        (Findings(origin=SPF, own=True, listed_by=("example.org",)), "", True),
        (Findings(origin=SPF), "", False),
        # a provider sends for anybody who has an account, also for its own domain
        (Findings(origin=SPF, own=True, listed_by=("_spf.bigmail.example",)), "", False),
        (Findings(origin=SPF, own=True), "bigmail", False),
    ],
)
async def test_own_hosts_are_nobody_elses(findings, provider, own):
    found = await told(findings, provider_of=lambda attempt: provider)
    assert found.verdict is None
    assert found.own_hosts is own


async def test_a_provider_by_spf_is_grouped_and_never_passes():
    retrying = {"retrying": frozenset({"bigmail"}), "providers_pass": True}
    found = await told(Findings(origin=SPF, listed_by=LISTED), **retrying)
    assert found.verdict is None
    assert found.counted == UNNAMED, "whoever owns a domain can include any provider"
    assert found.trusted == "bigmail"


async def test_what_slow_sources_find_may_decide():
    match = Match("lists", "192.0.2.0/24")
    passed = Verdict(Action.PASS, Reason.WHITELISTED, match=match)
    assert (await told(Findings(match=match))).verdict == passed
    rules = Rules([Rule("forged", ("spf:fail",), "reject")], {})
    verdict = (await told(Findings(traits=frozenset({"spf:fail"})), rules=rules)).verdict
    assert verdict is not None
    assert (verdict.action, verdict.rule) == (Action.REJECT, "forged")


# ------------------------------------------------------------------ coming back


def record(origin: str, age: int, **changes: Any) -> bytes:
    first = START - age
    return encode_record(Record(first, first, DELAY, origin=origin, **changes))


def question(one: Progress, **changes: Any) -> StoredDecision:
    case = Case(one.origin, one.keys[0][1])
    origin_key = one.setup.scheme.origin_key(one.trusted, "example.org")
    return replace(StoredDecision(one.setup.policy, one.now, case, one.keys, origin_key), **changes)


OWN = Findings(origin=SPF, own=True, listed_by=("example.org",))


async def name_of(
    stored: bytes | None, findings: Findings | None, origin: Origin = UNNAMED, trusted: bytes | None = None
) -> str:
    """The organisation that comes back; `findings` None: nobody may be asked."""

    async def ask(attempt: Attempt) -> Findings:
        assert findings is not None, "who has earned nothing for anybody else is not asked about"
        return findings

    one = pending(origin)
    asked_for = question(one)
    values = [stored if key in asked_for.record_keys else trusted for key in asked_for.keys]
    return await organisation(one, ask, asked_for, values, asked_for(values).value)


@pytest.mark.parametrize(
    ("findings", "name"),
    [
        (OWN, "spf:example.org"),
        (Findings(), ""),
        (Findings(origin=SPF), ""),
        (Findings(own=True), ""),
        (replace(OWN, origin=Origin("spf:example.com", named=True)), ""),
        (replace(OWN, listed_by=("_spf.bigmail.example", "example.org")), ""),
    ],
)
async def test_an_own_host_that_comes_back_does_so_for_its_organisation(findings, name):
    assert await name_of(record("spf:example.org", DELAY), findings) == name


@pytest.mark.parametrize("name", ["", NETWORK])
async def test_who_had_no_name_is_not_asked_about_again(name):
    assert await name_of(record(name, DELAY), None) == ""


@pytest.mark.parametrize("name", ["bigmail", "bigmail?", "2001:db8::/64", Redactor(SITE_KEY).token(NETWORK)])
async def test_what_slow_sources_do_not_say_again_does_not_count(name):
    assert await name_of(record(name, DELAY), OWN) == ""


@pytest.mark.parametrize("origin", [NAMED, CLAIMED])
async def test_who_has_a_name_needs_no_other(origin):
    assert await name_of(record("spf:example.org", DELAY), None, origin) == ""


async def test_who_does_not_pass_as_a_retry_is_not_asked_about_again():
    early = record("spf:example.org", DELAY - 1)
    trusted = encode_origin(OriginRecord(5, START, START, b"x" * 16, several_keys=True))
    known = record("spf:example.org", 2 * DELAY, passed_at=START - DELAY, passes=1)
    assert await name_of(None, None) == ""
    assert await name_of(early, None) == ""
    assert await name_of(early, None, trusted=trusted) == "", "it passes by the trust of its own host"
    assert await name_of(known, None) == ""


def test_what_comes_back_counts_for_the_name():
    one = pending()
    before = question(one)
    after = under_name(one, before, SPF.text)
    made = one.setup.scheme
    assert after.origin_key == made.origin_key(SPF.text, "example.org") != before.origin_key
    assert set(after.record_keys) == {*before.record_keys, made.named_key(ATTEMPT, SPF, NETWORK)}
    # the same key as if slow sources had been asked: one triplet never counts for two
    assert after.case.key == made.record_keys(ATTEMPT, SPF, NETWORK)[0][1]
    assert after.case.origin == UNNAMED


def test_without_a_name_or_trust_nothing_changes():
    one = pending()
    bounce = question(one, origin_key=None)
    assert under_name(one, question(one), "") == question(one)
    assert under_name(one, bounce, SPF.text) is bounce
