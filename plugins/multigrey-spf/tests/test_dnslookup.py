"""The stub resolver against a server on loopback; the memory and the breaker before it."""

from __future__ import annotations

import dns.rcode
import pytest
import trio
import trio.testing
from dnsserver import DnsServer, failing, reply, silent, truncated, wrong_id, wrong_question
from multigrey_spf import dnslookup
from multigrey_spf.dnslookup import NEGATIVE_TTL, Answer, Lookups, ResolverError, StubResolver, Unanswered
from spfzone import SILENCE, TROUBLE, Zone

from multigrey.api import Breaker

SPF = '300 IN TXT "v=spf1 " "-all"'
ZONE = {
    ("example.org", "TXT"): (SPF,),
    ("example.org", "MX"): ("600 IN MX 10 mx.example.org.",),
    ("mx.example.org", "A"): ("60 IN A 192.0.2.1",),
    ("mx.example.org", "AAAA"): ("61 IN AAAA 2001:DB8::1",),
    ("null.example.org", "MX"): ("600 IN MX 0 .",),
    ("1.2.0.192.in-addr.arpa", "PTR"): ("62 IN PTR mx.example.org.",),
    ("alias.example.org", "A"): ("30 IN CNAME mx.example.org.", "mx.example.org.: 60 IN A 192.0.2.1"),
    ("loop.example.org", "A"): (
        "30 IN CNAME loop2.example.org.",
        "loop2.example.org.: 30 IN CNAME loop.example.org.",
    ),
    ("long.example.org", "TXT"): truncated(SPF),
    ("gone.example.org", "TXT"): failing(dns.rcode.NXDOMAIN, minimum=90),
    ("bare.example.org", "TXT"): failing(dns.rcode.NXDOMAIN),
    ("empty.example.org", "TXT"): lambda query, tcp: reply(query, minimum=91),
    ("broken.example.org", "TXT"): failing(dns.rcode.SERVFAIL),
    ("refused.example.org", "TXT"): failing(dns.rcode.REFUSED),
    ("silent.example.org", "TXT"): silent,
    ("id.example.org", "TXT"): wrong_id(SPF),
    ("question.example.org", "TXT"): wrong_question(SPF),
    ("other.example.org", "TXT"): ('elsewhere.example.: 300 IN TXT "v=spf1 +all"',),
    ("garbage.example.org", "TXT"): lambda query, tcp: query.to_wire()[:2] + b"\x84\x00garbage",
    ("half.example.org", "TXT"): lambda query, tcp: query.to_wire()[:7],
}


@pytest.fixture
async def server(nursery):
    server = DnsServer(ZONE)
    await nursery.start(server.run)
    yield server
    nursery.cancel_scope.cancel()


def stub(server, patience=5.0):
    return StubResolver(patience, ["127.0.0.1"], server.port)


@pytest.mark.parametrize(
    ("name", "kind", "values", "ttl"),
    [
        ("example.org", "TXT", ((b"v=spf1 ", b"-all"),), 300),
        ("example.org", "MX", ((10, "mx.example.org"),), 600),
        ("mx.example.org", "A", ("192.0.2.1",), 60),
        ("mx.example.org", "AAAA", ("2001:db8::1",), 61),
        ("null.example.org", "MX", ((0, "."),), 600),
        ("1.2.0.192.in-addr.arpa", "PTR", ("mx.example.org",), 62),
        ("alias.example.org", "A", ("192.0.2.1",), 30),
        ("long.example.org", "TXT", ((b"v=spf1 ", b"-all"),), 300),
        ("gone.example.org", "TXT", (), 90),
        ("bare.example.org", "TXT", (), NEGATIVE_TTL),
        ("empty.example.org", "TXT", (), 91),
        ("mx.example.org", "TXT", (), NEGATIVE_TTL),
        ("nowhere.example.org", "TXT", (), NEGATIVE_TTL),
        ("other.example.org", "TXT", (), NEGATIVE_TTL),
    ],
)
async def test_answers(server, name, kind, values, ttl):
    assert await stub(server).resolve(name, kind) == Answer(values, ttl)


async def test_a_truncated_answer_is_asked_for_again_over_tcp(server):
    await stub(server).resolve("long.example.org", "TXT")
    assert [how for _, _, how in server.asked] == ["udp", "tcp"]


@pytest.mark.parametrize("name", ["broken.example.org", "refused.example.org", "loop.example.org"])
async def test_a_server_that_cannot_tell(server, name):
    with pytest.raises(Unanswered) as caught:
        await stub(server).resolve(name, "A" if name.startswith("loop") else "TXT")
    assert not caught.value.silent
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["silent", "id", "question", "garbage", "half"])
async def test_silence_and_lies_are_no_answer(server, name, mock_clock):
    """An answer with a wrong number, question or octets does not end the wait for the right answer."""
    with trio.move_on_after(1) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stub(server).resolve, f"{name}.example.org", "TXT")
            while not server.asked:
                await trio.testing.wait_all_tasks_blocked(0.005)
            mock_clock.jump(2)
    assert scope.cancelled_caught


async def test_a_question_that_nobody_answers_has_an_end(server):
    with pytest.raises(Unanswered) as caught:
        await stub(server, patience=0.03).resolve("silent.example.org", "TXT")
    assert caught.value.silent


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "a" * 64 + ".example", ".".join(["a" * 60] * 5), "\xe4.example", "a b.example"]
)
async def test_names_that_cannot_be(server, name):
    assert (await stub(server).resolve(name, "TXT")).values == ()


async def test_search_domains_are_not_tried(server):
    resolver = stub(server)
    resolver._resolver.search = [dnslookup.dns.name.from_text("example.org")]
    assert (await resolver.resolve("mx", "A")).values == ()
    assert server.asked == [("mx", "A", "udp")]


def test_without_name_servers_it_says_what_to_do(monkeypatch):
    def nothing(configure):
        raise dnslookup.dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dnslookup.dns.asyncresolver, "Resolver", nothing)
    with pytest.raises(ResolverError, match=r"set nameservers in \[plugins\.spf\]"):
        StubResolver(0.5)


class Time:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def lookups(records, time, **options):
    zone = Zone(records, ttls=options.pop("ttls", None))
    return Lookups(zone, time, Breaker(time, failures=3, pause=10), **options), zone


@pytest.mark.parametrize(
    ("ttl", "believed"),
    [(0, 10), (1, 10), (10, 10), (300, 300), (3600, 3600), (86400, 3600)],
)
async def test_ttls_are_kept_within_bounds(ttl, believed):
    time = Time()
    asking, zone = lookups({("a.example", "A"): "192.0.2.1"}, time, ttls={("a.example", "A"): ttl})
    assert (await asking.ask("a.example", "A")).until == believed
    time.seconds = believed - 0.5
    assert (await asking.ask("a.example", "A")).values == ("192.0.2.1",)
    assert len(zone.asked) == 1
    time.seconds = believed
    await asking.ask("a.example", "A")
    assert len(zone.asked) == asking.questions == 2


async def test_what_does_not_exist_is_remembered_too():
    time = Time()
    asking, zone = lookups({}, time, ttls={("no.example", "TXT"): 60})
    for _ in range(3):
        assert (await asking.ask("no.example", "TXT")).values == ()
    assert len(zone.asked) == 1


async def test_trouble_is_remembered_shortly():
    time = Time()
    asking, zone = lookups({("bad.example", "TXT"): TROUBLE}, time)
    for _ in range(3):
        assert (await asking.ask("bad.example", "TXT")).values is None
    assert len(zone.asked) == 1
    time.seconds = 10
    zone.records["bad.example", "TXT"] = "v=spf1 -all"
    assert (await asking.ask("bad.example", "TXT")).values == ((b"v=spf1 -all",),)


async def test_names_of_a_failing_domain_never_open_the_breaker():
    asking, _ = lookups({(f"{n}.bad.example", "TXT"): TROUBLE for n in range(50)}, Time())
    for n in range(50):
        await asking.ask(f"{n}.bad.example", "TXT")
        assert not asking.paused


async def test_the_breaker_opens_and_closes():
    time = Time()
    asking, zone = lookups({("good.example", "TXT"): "v=spf1 -all"}, time)
    for n in range(3):
        assert not asking.paused
        asking.timed_out((f"{n}.example", "TXT"))
    assert asking.paused
    assert (await asking.ask("good.example", "TXT")).values is None
    assert zone.asked == []
    time.seconds = 10  # the pause is over: one question goes through
    assert not asking.paused
    assert (await asking.ask("good.example", "TXT")).values == ((b"v=spf1 -all",),)
    assert not asking.paused
    for n in range(2):  # it takes three in a row again
        asking.timed_out((f"{n}.example", "TXT"))
    assert not asking.paused


async def test_silent_strangers_do_not_open_the_breaker_while_others_are_answered():
    time = Time()
    records = {(f"good{n}.example", "TXT"): "v=spf1 -all" for n in range(3)}
    asking, _ = lookups(records, time)
    await asking.ask("good0.example", "TXT")
    time.seconds = 29
    for n in range(20):
        asking.timed_out((f"dead{n}.example", "TXT"))
    assert not asking.paused
    await asking.ask("good1.example", "TXT")
    time.seconds = 58
    for n in range(20):
        asking.timed_out((f"dead{n}.example", "TXT"))
    assert not asking.paused
    time.seconds = 59  # no question was answered for 30 s
    for n in range(3):
        assert not asking.paused
        asking.timed_out((f"dead{n}.example", "TXT"))
    assert asking.paused


def test_many_names_of_one_silent_domain_count_once():
    asking, _ = lookups({}, Time())
    for n in range(20):
        asking.timed_out((f"{n}.dead.example", "TXT"))
        asking.timed_out((f"{n}.mail.other.example", "TXT"))
    assert not asking.paused
    asking.timed_out(("third.example", "TXT"))
    assert asking.paused


def test_time_outs_of_what_was_asked_before_do_not_make_the_pause_longer():
    time = Time()
    asking, _ = lookups({}, time)
    for n in range(20):
        asking.timed_out((f"dead{n}.example", "TXT"))
    time.seconds = 10
    assert not asking.paused


async def opened_after(records, time):
    """Lookups whose breaker has opened after `a.example` and then `b.example` had been answered."""
    asking, zone = lookups(records, time)
    await asking.ask("a.example", "TXT")
    await asking.ask("b.example", "TXT")
    time.seconds = 100
    for n in range(3):
        asking.timed_out((f"{n}.example", "TXT"))
    assert asking.paused
    del zone.asked[:]
    time.seconds = 110
    return asking, zone


A_AND_B = {("a.example", "TXT"): "v=spf1 -all", ("b.example", "TXT"): "v=spf1 -all"}


async def test_a_name_that_was_answered_finds_out_whether_it_is_over(nursery):
    """Else a stranger with a silent name server could keep the breaker open."""
    asking, zone = await opened_after({**A_AND_B, ("dead.example", "TXT"): SILENCE}, Time())
    nursery.start_soon(asking.ask, "dead.example", "TXT")
    await zone.waiting.wait()
    assert zone.asked == [("a.example", "TXT"), ("dead.example", "TXT")]
    assert not asking.paused
    asking.timed_out(("dead.example", "TXT"))
    assert not asking.paused
    nursery.cancel_scope.cancel()


async def test_a_probe_that_is_not_answered_makes_the_pause_longer_and_another_name_the_next_one():
    time = Time()
    asking, zone = await opened_after(A_AND_B, time)

    async def nobody(name, kind):
        zone.asked.append((name, kind))
        raise Unanswered("nobody", silent=True)

    answering, zone.resolve = zone.resolve, nobody
    assert (await asking.ask("c.example", "TXT")).values is None
    assert zone.asked == [("a.example", "TXT")]
    time.seconds += 19
    assert asking.paused
    time.seconds += 1
    assert not asking.paused
    zone.resolve = answering
    assert (await asking.ask("c.example", "TXT")).values == ()
    assert zone.asked[1:] == [("b.example", "TXT"), ("c.example", "TXT")]
    assert not asking.paused


async def test_only_one_question_finds_out_whether_it_is_over(nursery):
    time = Time()
    asking, zone = lookups({("slow.example", "TXT"): SILENCE}, time)
    for n in range(3):
        asking.timed_out((f"{n}.example", "TXT"))
    time.seconds = 10
    nursery.start_soon(asking.ask, "slow.example", "TXT")
    await zone.waiting.wait()
    assert (await asking.ask("good.example", "TXT")).values is None
    assert asking.paused
    assert zone.asked == [("slow.example", "TXT")]
    nursery.cancel_scope.cancel()


def test_a_time_out_while_nothing_was_asked_is_nobodys_fault():
    asking, _ = lookups({}, Time())
    for _ in range(10):
        asking.timed_out(None)
    assert not asking.paused


async def test_the_memory_is_bounded():
    asking, _ = lookups({}, Time(), size=100)
    for n in range(300):
        await asking.ask(f"{n}.example", "A")
    assert len(asking._known) == 100


@pytest.mark.parametrize(
    "texts", [((b"",),) * 4000, ((b"",) * 4000,), ((b"", b"v=spf1 -all", *[b""] * 4000),)]
)
async def test_empty_strings_take_no_room(texts):
    asking, _ = lookups({("empty.example", "TXT"): texts}, Time())
    kept = (await asking.ask("empty.example", "TXT")).values
    assert sum(map(len, kept)) <= 3
    assert (b"v=spf1 -all" in b"".join(texts[0])) == ((b"v=spf1 -all",) in kept)


@pytest.mark.parametrize("kind", ["MX", "PTR", "AAAA", "A"])
async def test_twenty_values_are_kept(kind):
    asking, _ = lookups({("many.example", kind): tuple(range(250))}, Time())
    assert (await asking.ask("many.example", kind)).values == tuple(range(20))


async def test_answers_are_bounded():
    huge = tuple((b"x" * 255,) * 4 for _ in range(60))
    many = tuple(f"198.51.{n // 250}.{n % 250}" for n in range(4000))
    asking, _ = lookups(
        {
            ("huge.example", "TXT"): (*huge, (b"v=spf1 ", b"-all"), (b"v=spf1 " + b"y" * 60_000,)),
            ("small.example", "TXT"): ("google-site-verification=1", "v=spf1 -all"),
            ("many.example", "A"): many,
        },
        Time(),
    )
    kept = (await asking.ask("huge.example", "TXT")).values
    assert sum(len(part) for text in kept for part in text) < 5000
    assert (b"v=spf1 -all",) in kept
    assert any(len(text[0]) == 4097 for text in kept)  # seen to be too long
    assert len((await asking.ask("small.example", "TXT")).values) == 2
    assert len((await asking.ask("many.example", "A")).values) == 20
