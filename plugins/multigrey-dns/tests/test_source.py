"""All lists of one attempt together: against a name server on loopback, or over a clock that jumps."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import listserver as ls
import pytest
import trio
import trio.testing
from fakeresolver import FakeResolver
from multigrey_dns import DnsSettings, build
from multigrey_dns.settings import Blocklist
from multigrey_dns.source import Watcher
from multigrey_dns.zones import Zone

from multigrey.api import Findings, Match

NOTHING = Findings()
WL = {"name": "good", "zone": "good.example.org", "levels": ["medium", "high"], "owner": "postmaster"}
A = {"name": "a", "zone": "a.example.org", "weight": 2}
B = {"name": "b", "zone": "b.example.org", "weight": 3}
C = {"name": "c", "zone": "c.example.org", "codes": ["127.0.0.4-7"]}
ZONES = ("good.example.org", "a.example.org", "b.example.org", "c.example.org", "names.example.org")
CLIENT = "5.2.0.192"


@pytest.fixture
def start(server):
    """Makes the source over the name server, and tests the zones once."""
    server.sound(*ZONES)

    async def start(**table):
        table = {"nameservers": [server.address], **table}
        source, watcher = build(DnsSettings.model_validate(table))
        for zone in watcher._zones:
            await zone.test()
        server.questions.clear()
        return source

    return start


@pytest.fixture
async def fake(nursery):
    """Starts source and service over a resolver that answers from a table."""

    async def start(resolver, **table):
        resolver.sound(*ZONES)
        source, watcher = build(DnsSettings.model_validate(table), resolver)
        await nursery.start(watcher.run)
        await trio.testing.wait_all_tasks_blocked()
        resolver.questions.clear()
        return source

    return start


# --- what it finds ---


@pytest.mark.parametrize(
    ("code", "entry"),
    [
        ("127.0.5.2", "127.0.5.2 (medium)"),
        ("127.0.15.3", "127.0.15.3 (high)"),
        ("127.0.5.1", None),
        ("127.0.5.0", None),
    ],
)
async def test_a_whitelist_by_levels(server, start, attempt, code, entry):
    source = await start(whitelist=[WL])
    server.names[f"{CLIENT}.good.example.org"] = ls.listed(code)
    expected = None if entry is None else Match("dnswl:good", entry, "postmaster")
    assert await source.ask(attempt()) == Findings(match=expected)


async def test_a_whitelist_by_codes(server, start, attempt):
    source = await start(whitelist=[{"name": "good", "zone": "good.example.org", "codes": ["127.0.0.2-3"]}])
    server.names[f"{CLIENT}.good.example.org"] = ls.listed("127.0.0.3")
    assert await source.ask(attempt()) == Findings(match=Match("dnswl:good", "127.0.0.3", ""))


async def test_the_first_whitelist_that_matches_is_named(server, start, attempt):
    other = {"name": "other", "zone": "a.example.org", "codes": ["127.0.0.2"]}
    source = await start(whitelist=[WL, other])
    server.names[f"{CLIENT}.a.example.org"] = ls.listed("127.0.0.2")
    assert (await source.ask(attempt())).match.source == "dnswl:other"
    server.names["6.2.0.192.a.example.org"] = ls.listed("127.0.0.2")
    server.names["6.2.0.192.good.example.org"] = ls.listed("127.0.5.2")
    assert (await source.ask(attempt("192.0.2.6"))).match.source == "dnswl:good"


@pytest.mark.parametrize(
    ("listed_in", "traits"),
    [
        ("", set()),
        ("a", {"dnsbl:a"}),
        ("b", {"dnsbl:b", "dnsbl-score:suspicious"}),
        ("c", {"dnsbl:c"}),
        ("ac", {"dnsbl:a", "dnsbl:c", "dnsbl-score:suspicious"}),
        ("ab", {"dnsbl:a", "dnsbl:b", "dnsbl-score:suspicious", "dnsbl-score:bad"}),
        ("abc", {"dnsbl:a", "dnsbl:b", "dnsbl:c", "dnsbl-score:suspicious", "dnsbl-score:bad"}),
    ],
)
async def test_several_blocklists_and_their_score(server, start, attempt, listed_in, traits):
    source = await start(blocklist=[A, B, C], score={"suspicious": 3, "bad": 5})
    for name in listed_in:
        server.names[f"{CLIENT}.{name}.example.org"] = ls.listed("127.0.0.4", "127.0.0.9")
    assert await source.ask(attempt()) == Findings(traits=frozenset(traits))
    assert server.asked_since(0) == [f"{CLIENT}.{name}.example.org" for name in "abc"]


async def test_a_code_that_does_not_count(server, start, attempt):
    source = await start(blocklist=[C])
    server.names[f"{CLIENT}.c.example.org"] = ls.listed("127.0.0.3", "127.0.0.8")
    assert await source.ask(attempt()) == NOTHING


async def test_a_list_of_weight_zero_is_a_trait_only(server, start, attempt):
    source = await start(blocklist=[A, {**B, "weight": 0}], score={"any": 1})
    server.names[f"{CLIENT}.b.example.org"] = ls.listed("127.0.0.2")
    assert await source.ask(attempt()) == Findings(traits=frozenset({"dnsbl:b"}))


async def test_one_zone_for_two_lists_is_asked_once(server, start, attempt):
    source = await start(
        blocklist=[{**A, "codes": ["127.0.0.2"]}, {**A, "name": "dynamic", "codes": ["127.0.0.10-11"]}]
    )
    server.names[f"{CLIENT}.a.example.org"] = ls.listed("127.0.0.10", "127.0.0.2")
    assert (await source.ask(attempt())).traits == {"dnsbl:a", "dnsbl:dynamic"}
    assert server.questions == [f"{CLIENT}.a.example.org"]


async def test_ipv6(server, start, attempt):
    source = await start(blocklist=[A, {**B, "ipv6": False}])
    name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.a.example.org"
    server.names[name] = ls.listed("127.0.0.2")
    assert (await source.ask(attempt("2001:db8::1"))).traits == {"dnsbl:a"}
    assert server.questions == [name]


NAMES = [
    {"name": of, "zone": "names.example.org", "of": of} for of in ("client-name", "helo", "sender-domain")
]


@pytest.mark.parametrize("of", ["client-name", "helo", "sender-domain"])
async def test_lists_of_names(server, start, attempt, of):
    source = await start(blocklist=NAMES)
    names = {"client-name": "out.example.com", "helo": "helo.example.com", "sender-domain": "example.com"}
    server.names[f"{names[of]}.names.example.org"] = ls.listed("127.0.1.2")
    found = await source.ask(attempt(None, "out.example.com", "helo.example.com", "a@example.com"))
    assert found.traits == {f"dnsbl:{of}"}
    assert server.asked_since(0) == sorted(f"{name}.names.example.org" for name in names.values())


async def test_the_same_name_is_asked_about_once(server, start, attempt):
    source = await start(blocklist=NAMES)
    server.names["example.com.names.example.org"] = ls.listed("127.0.1.2")
    found = await source.ask(attempt(None, "example.com", "EXAMPLE.com", "a@example.com."))
    assert found.traits == {"dnsbl:client-name", "dnsbl:helo", "dnsbl:sender-domain"}
    assert server.questions == ["example.com.names.example.org"]


@pytest.mark.parametrize("address", [None, "10.1.2.3", "127.0.0.1", "fd00::1", "::1"])
async def test_what_no_list_knows_is_not_asked(server, start, attempt, address):
    source = await start(whitelist=[WL], blocklist=[A, *NAMES])
    assert await source.ask(attempt(address, None, "[10.1.2.3]", "")) == NOTHING
    assert server.questions == []


# --- memory ---


async def test_what_is_remembered_is_not_asked_again(server, start, attempt):
    source = await start(whitelist=[WL], blocklist=[A, B])
    server.names[f"{CLIENT}.a.example.org"] = ls.listed("127.0.0.2")
    first = await source.ask(attempt())
    assert first.traits == {"dnsbl:a"}
    asked = len(server.questions)
    assert asked == 3
    assert await source.ask(attempt()) == first
    assert await source.ask(attempt(sender="someone.else@example.net")) == first
    assert len(server.questions) == asked


async def test_how_long_depends_on_the_answer(attempt, fake, autojump_clock):
    resolver = FakeResolver()
    source = await fake(resolver, blocklist=[A])
    resolver.ttl = 60
    await source.ask(attempt())
    await trio.sleep(59)
    await source.ask(attempt())
    assert len(resolver.questions) == 1
    await trio.sleep(2)
    await source.ask(attempt())
    assert len(resolver.questions) == 2


# --- trouble ---


@pytest.mark.parametrize(
    "dead",
    [
        ls.silent,
        ls.fails("SERVFAIL"),
        ls.fails("REFUSED"),
        ls.garbage,
        ls.listed("203.0.113.1"),
        ls.listed("127.255.255.254"),
        ls.forged(ls.wrong_id),
        ls.forged(ls.wrong_question),
        ls.truncated,
    ],
)
async def test_one_list_is_dead_and_the_others_answer(server, start, attempt, dead, idle_clock):
    source = await start(whitelist=[WL], blocklist=[A, B])
    server.names[f"{CLIENT}.a.example.org"] = dead
    server.names[f"{CLIENT}.b.example.org"] = ls.listed("127.0.0.2")
    found = Findings(traits=frozenset({"dnsbl:b"}), unanswered=frozenset({"dnsbl:a"}))
    assert await source.ask(attempt()) == found


async def test_a_name_server_that_is_down_leaves_time_for_the_next(server, attempt, nursery, idle_clock):
    dead = ls.ListServer()
    dead.default = ls.silent
    await nursery.start(dead.run)
    server.names[f"{CLIENT}.a.example.org"] = ls.listed("127.0.0.2")
    table = {"nameservers": [dead.address, server.address], "blocklist": [{**A, "test": False}]}
    source, _ = build(DnsSettings.model_validate(table))
    assert (await source.ask(attempt())).traits == {"dnsbl:a"}
    assert dead.questions == server.questions == [f"{CLIENT}.a.example.org"]


async def test_a_whitelist_that_blocks_us_lets_nobody_pass(server, start, attempt):
    table = {"name": "good", "zone": "good.example.org", "codes": ["127.0.*.*"]}
    source = await start(whitelist=[table])
    server.names[f"{CLIENT}.good.example.org"] = ls.listed("127.0.0.255")
    assert await source.ask(attempt()) == NOTHING


async def test_everything_is_down(attempt, fake, autojump_clock):
    resolver = FakeResolver()
    source = await fake(resolver, whitelist=[WL], blocklist=[A, B, *NAMES])
    resolver.names = {"*": "hang"}
    asked_about = {"dnsbl:a", "dnsbl:b", "dnsbl:helo", "dnsbl:sender-domain"}  # a client name is missing
    unanswered = Findings(unanswered=frozenset(asked_about))
    for number in range(20):
        start = trio.current_time()
        assert await source.ask(attempt(f"192.0.2.{number}")) == unanswered
        assert trio.current_time() - start <= 0.4 + 1e-6
    asked = len(resolver.questions)
    assert asked < 40
    start = trio.current_time()
    assert await source.ask(attempt("192.0.2.99")) == unanswered
    assert trio.current_time() == start, "the breakers are open"


@pytest.mark.parametrize(
    ("listed_in", "hanging", "traits", "unanswered"),
    [
        ("", "", "", ""),
        ("", "a", "", "a"),
        ("", "b", "", "b suspicious"),
        ("", "ab", "", "a b suspicious bad"),
        ("a", "b", "a", "b suspicious bad"),
        ("b", "a", "b suspicious", "a bad"),
        ("ab", "c", "a b suspicious bad", "c"),
        ("c", "a", "c", "a suspicious"),
        ("c", "b", "c", "b suspicious"),
        ("", "abc", "", "a b c suspicious bad"),
    ],
)
async def test_a_score_that_a_missing_answer_could_reach_is_unknown(
    attempt, fake, autojump_clock, listed_in, hanging, traits, unanswered
):
    """The weights of a, b and c are 2, 3 and 1."""
    resolver = FakeResolver()
    source = await fake(resolver, blocklist=[A, B, C], score={"suspicious": 3, "bad": 5})
    resolver.names.update({f"{CLIENT}.{name}.example.org": ["127.0.0.4"] for name in listed_in})
    resolver.names.update({f"{CLIENT}.{name}.example.org": "hang" for name in hanging})
    assert await source.ask(attempt()) == Findings(traits=words(traits), unanswered=words(unanswered))


def words(text):
    scores = {"suspicious", "bad"}
    return frozenset(f"dnsbl-score:{word}" if word in scores else f"dnsbl:{word}" for word in text.split())


async def test_what_cannot_be_listed_has_an_answer(attempt, fake, autojump_clock):
    resolver = FakeResolver()
    source = await fake(resolver, blocklist=NAMES)
    longest = ".".join(["a" * 60] * 4)
    assert await source.ask(attempt(None, None, "[192.0.2.1]", f"a@{longest}")) == NOTHING
    assert resolver.questions == []


async def test_all_are_asked_at_the_same_time(attempt, fake, autojump_clock):
    resolver = FakeResolver()
    source = await fake(resolver, whitelist=[WL], blocklist=[A, B, C])
    resolver.pause = 0.3
    start = trio.current_time()
    await source.ask(attempt())
    assert len(resolver.questions) == 4
    assert trio.current_time() - start == pytest.approx(0.3)


async def test_what_was_found_is_handed_over_before_the_caller_gives_up(attempt, fake, autojump_clock):
    resolver = FakeResolver()
    source = await fake(resolver, budget="5s", blocklist=[A, B])
    resolver.names[f"{CLIENT}.a.example.org"] = "hang"
    resolver.names[f"{CLIENT}.b.example.org"] = ["127.0.0.2"]
    with trio.fail_after(0.5):
        assert (await source.ask(attempt())).traits == {"dnsbl:b"}


async def test_too_many_at_a_time_are_not_asked(attempt, fake, autojump_clock, caplog):
    resolver = FakeResolver()
    source = await fake(resolver, questions=4, blocklist=[A, B])
    resolver.names[f"{CLIENT}.a.example.org"] = ["127.0.0.2"]
    await source.ask(attempt())
    resolver.names = {"*": ["127.0.0.2"]}
    resolver.pause = 0.2
    found = {}

    async def ask(last):
        start = trio.current_time()
        traits = (await source.ask(attempt(f"192.0.2.{last}"))).traits
        found[last] = (sorted(traits), round(trio.current_time() - start, 6))

    async with trio.open_nursery() as nursery:
        for last in (11, 12):
            nursery.start_soon(ask, last)
        await trio.testing.wait_all_tasks_blocked()
        for last in (13, 14, 5):
            nursery.start_soon(ask, last)
    both = ["dnsbl:a", "dnsbl:b"]
    assert found == {11: (both, 0.2), 12: (both, 0.2), 13: ([], 0), 14: ([], 0), 5: (["dnsbl:a"], 0)}
    assert caplog.text.count("more than 4 DNS questions at a time") == 1
    assert (await source.ask(attempt("192.0.2.13"))).traits == set(both), "the room is given back"


async def test_being_cancelled_gives_the_room_back(attempt, fake, autojump_clock):
    resolver = FakeResolver()
    source = await fake(resolver, questions=2, blocklist=[A, B])
    resolver.names = {"*": "hang"}
    for _ in range(20):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(source.ask, attempt())
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
    resolver.names = {"*": ["127.0.0.2"]}
    assert (await source.ask(attempt())).traits == {"dnsbl:a", "dnsbl:b"}


# --- the service ---


async def test_a_zone_is_switched_off_and_on_again(server, start, attempt, nursery):
    server.names["1.0.0.127.a.example.org"] = ls.listed("127.0.0.2")
    source = await start(blocklist=[A, B])
    server.default = ls.listed("127.0.0.2")
    assert (await source.ask(attempt())).traits == {"dnsbl:b"}
    assert server.questions == [f"{CLIENT}.b.example.org"]


async def test_zones_are_tested_at_the_start_and_every_hour(attempt, fake, autojump_clock, caplog):
    resolver = FakeResolver()
    source = await fake(resolver, cache_max="1m", blocklist=[A])
    resolver.names[f"{CLIENT}.a.example.org"] = ["127.0.0.2"]
    ask = partial(source.ask, attempt())
    assert (await ask()).traits == {"dnsbl:a"}

    await trio.sleep(3000)
    resolver.names["*"] = ["127.0.0.2"]  # from now on it lists every address
    assert (await ask()).traits == {"dnsbl:a"}
    await trio.sleep(700)
    assert await ask() == Findings(unanswered=frozenset({"dnsbl:a"}))
    assert "switched off" in caplog.text

    del resolver.names["*"]
    await trio.sleep(3700)
    assert (await ask()).traits == {"dnsbl:a"}
    assert "in use again" in caplog.text


async def test_a_zone_that_fails_is_tested_soon_then_less_and_less_often(fake, autojump_clock):
    resolver = FakeResolver()
    resolver.names["1.0.0.127.a.example.org"] = ["127.0.0.2"]
    await fake(resolver, test_every="1m", blocklist=[A])
    await trio.sleep(200)
    assert waits(resolver) == [10, 20, 40, 60, 60]

    resolver.names["1.0.0.127.a.example.org"] = []
    await trio.sleep(60)
    resolver.names["1.0.0.127.a.example.org"] = ["127.0.0.2"]
    resolver.times.clear()
    await trio.sleep(140)
    assert waits(resolver) == [10, 20, 40], "it begins again"


def waits(resolver):
    """Between the tests of one zone, which are two questions each."""
    times = [round(time) for time in resolver.times[::2]]
    return [later - sooner for sooner, later in pairwise(times)]


async def test_the_file_with_the_servers_is_looked_at_before_each_test(autojump_clock, nursery):
    resolver = FakeResolver()
    resolver.sound("a.example.org")
    looked = []
    settings = DnsSettings()
    zone = Zone("a.example.org", "a", Blocklist(**A).options(settings), resolver)
    await nursery.start(Watcher([zone], 60, lambda: looked.append(trio.current_time())).run)
    start = trio.current_time()
    await trio.sleep(150)
    assert [round(time - start) for time in looked] == [0, 60, 120]


def test_the_file_is_that_of_the_system_unless_servers_are_named():
    _, watcher = build(DnsSettings.model_validate({"blocklist": [A]}))
    stub = watcher._refresh.__self__
    assert stub._path == Path("/etc/resolv.conf")
    assert stub._resolver.timeout == 0.2, "half the budget, so there is time for a second server"


async def test_lists_without_a_test_are_not_tested(fake, autojump_clock):
    resolver = FakeResolver()
    await fake(resolver, blocklist=[{**A, "test": False}])
    await trio.sleep(10_000)
    assert resolver.questions == []


async def test_questions_that_come_with_the_start_wait_for_the_test(attempt, autojump_clock, nursery):
    resolver = FakeResolver()
    resolver.sound(*ZONES)
    resolver.pause = 0.1
    resolver.names[f"{CLIENT}.good.example.org"] = ["127.0.5.3"]
    source, watcher = build(DnsSettings.model_validate({"whitelist": [WL]}), resolver)
    assert await source.ask(attempt()) == NOTHING, "nobody tests, so nobody is asked"
    await nursery.start(watcher.run)
    await trio.testing.wait_all_tasks_blocked()
    assert (await source.ask(attempt())).match == Match("dnswl:good", "127.0.5.3 (high)", "postmaster")
