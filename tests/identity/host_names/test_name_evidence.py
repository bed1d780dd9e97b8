"""Evidence about names: when a name is lost, when it comes back, and that no other sender decides it."""

from __future__ import annotations

from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multigrey.identity.host_names.name_doubt import (
    Doubt,
    NameFigures,
    demoted,
    figures,
    in_doubt,
    patterns,
    settled,
)
from multigrey.identity.host_names.name_evidence import (
    NOTHING,
    RESOLVED_AFTER,
    REST,
    Client,
    Evidence,
    Return,
    State,
    deferred,
    join,
    known,
    returned,
)

NOW = 1_800_000_000
HOUR, DAY = 3600, 86_400
LATER = NOW + RESOLVED_AFTER


def mark(number):
    """A mark, as evenly spread as a digest is."""
    return Random(number).randbytes(4)


def watched(evidence=NOTHING, pattern="*", clients=0, back=0, foreign=0, start=0, now=NOW):
    """So many clients deferred, of which some came back (for no sender domain) and some announced others."""
    for number in range(start, start + clients):
        helo = mark(10_000 + number) if number - start < foreign else None
        evidence = deferred(evidence, pattern, mark(number), helo, now)
    for number in range(start + clients - back, start + clients):
        evidence = returned(evidence, pattern, mark(number), b"", now + 300, now)
    return evidence


# --- when a name is lost ---

LOST = [
    # clients, came back, foreign, seconds after the deferrals, lost?
    (5, 0, 5, 1, True),
    (4, 0, 4, 1, False),
    (10, 0, 5, 1, True),
    (11, 0, 5, 1, False),
    (9, 0, 0, RESOLVED_AFTER, False),
    (10, 0, 0, RESOLVED_AFTER, True),
    (10, 0, 0, RESOLVED_AFTER - 1, False),
    (10, 1, 0, RESOLVED_AFTER, True),
    (10, 2, 0, RESOLVED_AFTER, False),
    (15, 3, 0, RESOLVED_AFTER, False),
    (16, 3, 0, RESOLVED_AFTER, True),
    (10, 6, 5, RESOLVED_AFTER, False),  # mostly comes back, whatever it announces
    (10, 5, 5, RESOLVED_AFTER, True),
    (10, 6, 5, 400, True),
    (10, 0, 0, 30 * DAY - 1, True),
    (10, 0, 0, 30 * DAY, False),
    (5, 0, 5, 30 * DAY, False),
]


@pytest.mark.parametrize(("clients", "back", "foreign", "after", "lost"), LOST)
def test_when_a_pattern_loses_its_name(clients, back, foreign, after, lost):
    doubt = in_doubt(watched(clients=clients, back=back, foreign=foreign), "*", NOW + after)
    assert (doubt is not None) == lost


def test_the_figures_are_told():
    evidence = watched(clients=12, back=1, foreign=6)
    found = NameFigures("*", clients=12, foreign=6, foreign_domains=6, resolved=12, returned=1, domains=0)
    assert in_doubt(evidence, "*", LATER) == Doubt(LATER, found)
    assert figures(evidence, "*", LATER) == found
    assert found.announces_others
    assert found.stays_away
    assert not found.comes_back


def test_other_times_for_what_is_resolved():
    evidence = watched(clients=10)
    assert in_doubt(evidence, "*", NOW + 5 * HOUR, 5 * HOUR)
    assert not in_doubt(evidence, "*", NOW + 6 * HOUR, 7 * HOUR)


def test_one_foreign_domain_says_nothing():
    evidence = NOTHING
    for number in range(20):
        evidence = deferred(evidence, "*", mark(number), mark(1), NOW)
    assert not in_doubt(evidence, "*", NOW)


def test_names_without_a_domain_are_others_but_not_different():
    evidence = NOTHING
    for number in range(9):
        evidence = deferred(evidence, "*", mark(number), b"" if number < 5 else mark(number), NOW)
    assert not in_doubt(evidence, "*", NOW)  # four domains
    evidence = deferred(evidence, "*", mark(10), mark(10), NOW)
    assert in_doubt(evidence, "*", NOW).figures.foreign == 10


def test_one_block_counts_once():
    evidence = NOTHING
    for number in range(100):
        evidence = deferred(evidence, "*", mark(1), mark(number), NOW + number)
    assert figures(evidence, "*", LATER + DAY).clients == 1


def test_a_retry_counts_for_the_deferral_that_is_watched():
    """A block of which one mail came back says nothing about the one that is watched."""
    evidence = watched(clients=10)
    for number in range(10):
        evidence = returned(evidence, "*", mark(number), b"", NOW + 900, NOW + 100)
    assert in_doubt(evidence, "*", LATER).figures.returned == 0


def test_a_pool_comes_back_by_other_hosts():
    evidence = NOTHING
    for number in range(12):
        evidence = deferred(evidence, "mta-#", mark(number), None, NOW + number)
    for number in range(12):
        evidence = returned(evidence, "mx#", mark(500 + number), b"", NOW + 900, NOW + number)
    assert figures(evidence, "mta-#", LATER + 12).returned == 12


# --- who is safe ---


def test_a_pattern_of_which_two_sender_domains_came_back_keeps_its_name():
    evidence = watched(clients=40, foreign=40)
    assert in_doubt(evidence, "*", LATER)
    evidence = returned(evidence, "*", mark(1), b"aaaa", NOW + 300, NOW)
    assert in_doubt(evidence, "*", LATER)
    evidence = returned(evidence, "*", mark(2), b"bbbb", NOW + 300, NOW + 7)  # not watched
    assert not in_doubt(evidence, "*", LATER)
    assert not in_doubt(evidence, "*", LATER + 29 * DAY)
    assert not demoted(settled(evidence, "*", LATER))
    evidence = watched(evidence, clients=40, foreign=40, now=LATER + 30 * DAY)
    assert in_doubt(evidence, "*", LATER + 31 * DAY)


def test_what_is_known_since_it_came_back_protects_as_long_as_it_is_sent():
    evidence = NOTHING
    for domain in (b"aaaa", b"bbbb"):
        evidence = returned(evidence, "*", mark(1), domain, NOW + 300, NOW)
    assert known(evidence, "*", b"aaaa", NOW + HOUR) is evidence  # once a day is enough
    assert known(evidence, "*", b"cccc", NOW + 9 * DAY) is evidence  # never came back
    assert known(evidence, "mta-#", b"aaaa", NOW + 9 * DAY) is evidence
    for day in range(1, 50):
        for domain in (b"aaaa", b"bbbb"):
            evidence = known(evidence, "*", domain, NOW + day * DAY)
        evidence = settled(evidence, "*", NOW + day * DAY)
    assert evidence.returns == (Return("*", b"bbbb", NOW + 49 * DAY), Return("*", b"aaaa", NOW + 49 * DAY))
    then = NOW + 50 * DAY
    evidence = watched(evidence, clients=40, foreign=40, now=then)
    assert not in_doubt(evidence, "*", then + RESOLVED_AFTER)


def test_two_sender_domains_do_not_give_a_lost_name_back():
    """Of a thousand bots two come back now and then."""
    evidence = settled(watched(clients=40, foreign=40), "*", NOW)
    for domain in (b"aaaa", b"bbbb"):
        evidence = returned(evidence, "*", mark(1), domain, NOW + 300, NOW)
    assert in_doubt(evidence, "*", LATER).since == NOW


def test_what_comes_back_late_did_not_come_back():
    evidence = watched(clients=10)
    for number in range(10):
        evidence = returned(evidence, "*", mark(number), mark(number), LATER + 1, NOW)
    assert in_doubt(evidence, "*", LATER + 1).figures.returned == 0
    assert figures(evidence, "*", LATER + 1).domains == 0
    assert returned(evidence, "*", mark(1), b"", LATER + 1, NOW, RESOLVED_AFTER + 1) != evidence


def test_the_mail_hosts_of_a_provider_keep_their_name():
    evidence = watched(pattern="cust-#", clients=40, foreign=20)
    evidence = watched(evidence, "mta-#", clients=3, back=3, start=100)
    evidence = deferred(evidence, "mx#", mark(200), None, NOW)
    assert in_doubt(evidence, "cust-#", LATER)
    assert not in_doubt(evidence, "mta-#", LATER)
    assert not in_doubt(evidence, "mx#", LATER)
    assert not in_doubt(evidence, "never-seen-#", LATER)


def test_patterns_of_which_little_is_known_are_judged_together():
    evidence = NOTHING
    for number in range(30):
        evidence = deferred(evidence, f"city{'abcdefghij'[number % 10]}", mark(number), None, NOW)
    doubt = in_doubt(evidence, "citya", LATER)
    assert doubt.figures.pattern == REST
    assert doubt.figures.clients == 30
    assert in_doubt(evidence, "somewhere-else", LATER)
    evidence = returned(evidence, "cityb", mark(1), b"aaaa", NOW + 900, NOW + 5)
    assert not in_doubt(evidence, "cityb", LATER)
    assert in_doubt(evidence, "citya", LATER)


def test_the_others_are_told_together():
    evidence = watched(pattern="*", clients=10, foreign=10)
    evidence = watched(evidence, pattern="mail", clients=2, back=2, start=20)
    evidence = watched(evidence, pattern="www", clients=1, start=30)
    assert figures(evidence, REST, LATER).clients == 3
    assert [*patterns(evidence)][-1] == REST


@pytest.mark.parametrize("kind", ["vps-#", "mail", "{}", "{}-#"])
def test_an_attacker_below_a_hosters_domain_harms_nobody_who_came_back(kind):
    """Fifty hosts, named as the customers' are, or each otherwise."""
    customers = [f"mail.{name}" for name in ("alpha", "beta", "gamma")] + ["vps-#", "mail", "mta-#"]
    evidence = NOTHING
    for number, pattern in enumerate(customers):
        evidence = deferred(evidence, pattern, mark(number), None, NOW)
        for domain in (b"aaaa", b"bbbb") if kind == pattern else (b"aaaa",):
            evidence = returned(evidence, pattern, mark(number), domain, NOW + 600, NOW)
    for number in range(50):
        pattern = kind.format("".join(Random(number).sample("abcdefghij", 6)))
        evidence = deferred(evidence, pattern, mark(100 + number), mark(500 + number), NOW + HOUR)
        evidence = settled(evidence, pattern, NOW + HOUR)
    for time in (NOW + HOUR, NOW + DAY, NOW + 29 * DAY):
        assert [pattern for pattern in customers if in_doubt(evidence, pattern, time)] == []


@pytest.mark.parametrize("servers", ["mta-#", "mx#", "mail-out-#", "#smtp", "*"])
@pytest.mark.parametrize("seed", range(20))
def test_customers_hosts_leave_a_place_to_mail_servers(servers, seed):
    """Their names are made alike, too, but every one differently (an unknown word, and a number)."""
    random = Random(seed)
    evidence = watched(pattern=servers, clients=4, back=4)
    for number in range(200):
        pattern = "".join(random.sample("bcdfghjklnpqrstvwxz", 5)) + "#"
        evidence = deferred(evidence, pattern, mark(100 + number), mark(500 + number), NOW + HOUR)
        evidence = settled(evidence, pattern, NOW + HOUR)
    assert in_doubt(evidence, "qqqqq#", NOW + DAY)
    assert figures(evidence, servers, NOW + DAY).returned == 4
    assert not in_doubt(evidence, servers, NOW + DAY)


def test_an_attacker_who_comes_back_pushes_out_nobody():
    evidence = returned(NOTHING, "mta-#", mark(1), b"aaaa", NOW, NOW)
    evidence = returned(evidence, "mta-#", mark(1), b"bbbb", NOW, NOW)
    for number in range(50):
        evidence = returned(evidence, "vps-#", mark(number), mark(number), NOW + 1 + number, NOW)
    assert figures(evidence, "mta-#", NOW + HOUR).domains == 2


# --- how it stays, and comes back ---


def test_once_lost_it_stays_so_until_most_came_back():
    evidence = settled(watched(clients=10), "*", LATER)
    assert demoted(evidence)
    times = [in_doubt(evidence, "*", LATER).since]
    for number in range(5):
        evidence = returned(evidence, "*", mark(number), b"", LATER - HOUR, NOW)
        evidence = settled(evidence, "*", LATER + HOUR)
        times.append(in_doubt(evidence, "*", LATER + HOUR).since)
    assert times == [LATER] * 6  # half is not more than half
    evidence = settled(returned(evidence, "*", mark(5), b"", LATER - HOUR, NOW), "*", LATER + HOUR)
    assert not in_doubt(evidence, "*", LATER + HOUR)
    assert not demoted(evidence)
    assert evidence.states == (State("*", LATER + HOUR, demoted=False),)


def test_what_is_forgotten_gives_the_name_back():
    evidence = settled(watched(clients=10), "*", LATER)
    assert in_doubt(evidence, "*", NOW + 30 * DAY - 1)
    assert not in_doubt(evidence, "*", NOW + 30 * DAY)
    assert not demoted(settled(evidence, "*", NOW + 30 * DAY))


def test_few_are_enough_to_keep_it_lost():
    """The name does not come back because some of the evidence is forgotten."""
    evidence = settled(watched(clients=10), "*", LATER)
    evidence = watched(evidence, clients=1, start=50, now=NOW + 20 * DAY)
    assert in_doubt(evidence, "*", NOW + 40 * DAY).since == LATER


@pytest.mark.parametrize("offset", [0, HOUR, 5 * HOUR])
@pytest.mark.parametrize("an_hour", [3, 30, 600])
def test_a_flood_costs_the_name_within_hours(offset, an_hour):
    evidence = NOTHING
    start = NOW - NOW % (6 * HOUR) + offset
    lost = None
    for number in range(13 * an_hour):
        now = start + number * HOUR // an_hour
        evidence = deferred(evidence, "*", mark(number), None, now)
        if number % 50 == 49 or an_hour < 50:
            evidence = settled(evidence, "*", now)
            if demoted(evidence):
                lost = now
                break
    assert lost is not None
    assert lost - start <= 12 * HOUR


def test_names_with_two_returns_are_lost_to_nobody_in_a_flood():
    evidence = returned(returned(NOTHING, "*", mark(1), b"aaaa", NOW, NOW), "*", mark(1), b"bbbb", NOW, NOW)
    for number in range(500):
        now = NOW + number * 120
        evidence = settled(deferred(evidence, "*", mark(number), mark(number), now), "*", now)
    assert not demoted(evidence)


# --- bounds ---


def test_evidence_is_bounded():
    evidence = NOTHING
    random = Random(5)
    for number in range(1500):
        now = NOW + number * 1200
        pattern = f"p{''.join(random.choices('abc', k=2))}{random.choice(['', '#'])}"
        evidence = deferred(evidence, pattern, mark(number), mark(number), now)
        evidence = returned(evidence, pattern, mark(number), mark(number), now, now)
        evidence = settled(evidence, pattern, now)
    assert len(evidence.clients) <= 9
    assert all(len(rows) <= 32 for _, rows in evidence.clients)
    assert len(evidence.returns) == 64
    assert len(evidence.states) <= 9
    assert [*patterns(evidence)][-1] == REST


def test_what_is_old_is_dropped():
    evidence = settled(watched(clients=10, back=8), "*", LATER)
    evidence = returned(evidence, "*", mark(1), b"aaaa", NOW, NOW)
    evidence = deferred(evidence, "mta-#", mark(99), None, NOW + 31 * DAY)
    evidence = settled(settled(evidence, "*", NOW + 31 * DAY), "*", NOW + 61 * DAY - 1)
    assert evidence == Evidence((("mta-#", (Client(mark(99), NOW + 31 * DAY),)),))


def test_times_in_the_future_count_as_now():
    ahead = NOW + 400 * DAY
    evidence = settled(watched(clients=10, foreign=10, now=ahead), "*", ahead)
    evidence = returned(evidence, "*", mark(1), b"aaaa", ahead, ahead)
    doubt = in_doubt(evidence, "*", NOW)
    assert doubt.since == NOW
    assert doubt.figures.resolved == 0
    evidence = settled(deferred(evidence, "*", mark(50), None, NOW), "*", NOW)
    assert {client.first for _, rows in evidence.clients for client in rows} == {NOW}
    assert evidence.returns == (Return("*", b"aaaa", NOW),)


def test_a_client_that_is_known_changes_nothing():
    evidence = deferred(NOTHING, "*", mark(1), mark(2), NOW)
    assert deferred(evidence, "*", mark(1), mark(3), NOW + 9) is evidence
    assert deferred(evidence, "*", mark(1), None, NOW + 9) is evidence
    assert returned(evidence, "*", mark(1), b"", NOW + 9, NOW + 5) is evidence
    assert settled(evidence, "*", NOW) is evidence
    announced = deferred(deferred(NOTHING, "*", mark(1), None, NOW), "*", mark(1), b"xxxx", NOW + 9)
    assert announced.clients == (("*", (Client(mark(1), NOW, 0, NOW + 9, b"xxxx"),)),)


# --- several hosts ---

names = st.sampled_from(["*", "mta-#", "mail", "x", "y", "z", "a#", "b#", "c#", "d#", "e#", "@"])
marks = st.integers(0, 40).map(mark)
times = st.integers(0, 12).map(lambda number: NOW + number * 3 * HOUR)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("deferred"), names, marks, st.one_of(st.none(), st.just(b""), marks), times),
        st.tuples(st.just("returned"), names, marks, st.one_of(st.just(b""), marks), times, times),
        st.tuples(st.just("settled"), names, times),
    ),
    max_size=25,
)


def played(rows):
    evidence = NOTHING
    for word, pattern, *rest in sorted(rows, key=lambda row: row[4] if row[0] != "settled" else row[2]):
        if word == "deferred":
            evidence = deferred(evidence, pattern, *rest)
        elif word == "returned":
            evidence = returned(evidence, pattern, *rest)
        else:
            evidence = settled(evidence, pattern, *rest)
    return evidence


@cache
def crowd(seed):
    """Enough of everything that all bounds are met."""
    random = Random(seed)
    evidence = NOTHING
    for _ in range(80):
        now = NOW + random.randrange(6) * 4 * HOUR
        pattern = random.choice(["*", "mta-#", "mail", *(f"{letter}#" for letter in "abcdefgh"), "x", "y"])
        block = mark(random.randrange(60))
        evidence = deferred(evidence, pattern, block, random.choice([None, b"", block]), now)
        evidence = returned(evidence, pattern, block, mark(random.randrange(9)), now, now)
        evidence = settled(evidence, pattern, now)
    return evidence


evidences = st.one_of(actions.map(played), st.integers(0, 30).map(crowd))


@given(evidences, evidences, evidences)
@settings(deadline=None, max_examples=50)
def test_join_is_one_of_a_lattice(one, two, three):
    assert join(one, two) == join(two, one)
    assert join(one, join(two, three)) == join(join(one, two), three)
    assert join(one, one) == one
    assert join(one, NOTHING) == join(NOTHING, one) == one
    both = join(one, two)
    assert join(both, one) == both


@given(st.lists(st.integers(0, 30).map(crowd), min_size=3, max_size=3))
@settings(deadline=None, max_examples=20)
def test_join_is_one_of_a_lattice_in_a_crowd_too(three):
    one, two, last = three
    assert join(one, join(two, last)) == join(join(one, two), last) == join(join(last, one), two)


@given(actions, names, times)
@settings(deadline=None)
def test_nothing_raises_and_two_domains_protect(rows, pattern, now):
    evidence = played(rows)
    doubt = in_doubt(evidence, pattern, now)
    found = figures(evidence, pattern, now)
    assert found.returned <= found.resolved <= found.clients
    assert found.foreign_domains <= found.foreign <= found.clients
    if doubt is not None:
        assert doubt.figures == found
        assert doubt.since <= now
        assert found.domains < 2 or demoted(evidence)
        assert in_doubt(settled(evidence, pattern, now), pattern, now) is not None
    assert settled(settled(evidence, pattern, now), pattern, now) == settled(evidence, pattern, now)


@given(actions, names, times)
@settings(deadline=None)
def test_what_is_written_down_is_what_is_found(rows, pattern, now):
    evidence = settled(played(rows), pattern, now)
    doubt = in_doubt(evidence, pattern, now)
    scope = figures(evidence, pattern, now).pattern
    state = next((state for state in evidence.states if state.pattern == scope), None)
    assert (doubt is not None) == (state is not None and state.demoted)
