"""The stub resolver against a real name server on loopback: what counts as an answer."""

from __future__ import annotations

from ipaddress import IPv4Address

import listserver as ls
import pytest
import trio
from multigrey_dns.resolver import Answer, ResolverError, StubResolver

NAME = "5.2.0.192.list.example.org"


@pytest.fixture
def resolver(server):
    return StubResolver([("127.0.0.1", server.port)], 0.2)


def codes(*texts):
    return frozenset(map(IPv4Address, texts))


async def asked(resolver, seconds=0.5):
    """The answer, or None."""
    with trio.move_on_after(seconds):
        try:
            return await resolver.addresses(NAME)
        except ResolverError:
            return None


MANY = tuple(f"127.0.0.{number}" for number in range(2, 82))


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (ls.listed("127.0.0.2", ttl=77), Answer(codes("127.0.0.2"), 77)),
        (ls.listed("127.0.0.2", "127.0.0.10"), Answer(codes("127.0.0.2", "127.0.0.10"), 300)),
        (ls.listed("203.0.113.1"), Answer(codes("203.0.113.1"), 300)),
        (ls.unlisted(minimum=60), Answer(codes(), 60)),
        (ls.unlisted(minimum=60, soa_ttl=30), Answer(codes(), 30)),
        (ls.no_address, Answer(codes(), 300)),
        (ls.alias("real.example.org.", "127.0.0.4"), Answer(codes("127.0.0.4"), 300)),
        (ls.only_over_tcp(*MANY), Answer(codes(*MANY), 300)),
        (ls.forged(ls.wrong_owner), Answer(codes(), 300)),
        (ls.forged(ls.wrong_id, ls.unlisted(60)), Answer(codes(), 60)),
        (ls.forged(ls.wrong_question, ls.unlisted(60)), Answer(codes(), 60)),
        (ls.forged(ls.no_response, ls.unlisted(60)), Answer(codes(), 60)),
    ],
)
async def test_answers(server, resolver, behaviour, expected):
    server.names[NAME] = behaviour
    assert await resolver.addresses(NAME) == expected
    assert server.questions == [NAME]


async def test_what_was_cut_off_is_asked_over_tcp(server, resolver):
    server.names[NAME] = ls.only_over_tcp(*MANY)
    await resolver.addresses(NAME)
    assert server.over_tcp == [NAME]


@pytest.mark.parametrize(
    "behaviour",
    [
        ls.fails("SERVFAIL"),
        ls.fails("REFUSED"),
        ls.fails("FORMERR"),
        ls.fails("NOTIMP"),
        ls.silent,
        ls.garbage,
        ls.truncated,
        ls.forged(ls.wrong_id),
        ls.forged(ls.wrong_question),
        ls.forged(ls.no_response),
    ],
)
async def test_what_is_no_answer(server, resolver, behaviour, idle_clock):
    server.names[NAME] = behaviour
    assert await asked(resolver) is None
    assert NAME in server.questions


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (ls.fails("SERVFAIL"), "Do53:127.0.0.1@PORT: SERVFAIL"),
        (ls.fails("REFUSED"), "Do53:127.0.0.1@PORT: REFUSED"),
        (ls.truncated, "the answer was truncated"),
    ],
)
async def test_what_went_wrong_is_told_without_the_question(server, behaviour, said):
    server.names[NAME] = behaviour
    resolver = StubResolver([("127.0.0.1", server.port)], 0.2)
    with pytest.raises(ResolverError) as caught:
        await resolver.addresses(NAME)
    assert str(caught.value).startswith(said.replace("PORT", str(server.port)))
    assert "example" not in str(caught.value)


async def test_nobody_listens_there(idle_clock):
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as taken:
        await taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert await asked(StubResolver([("127.0.0.1", port)], 0.2)) is None


async def test_the_second_server_is_asked_when_the_first_fails(server):
    server.names[NAME] = ls.listed("127.0.0.2")
    second = ls.ListServer()
    second.names[NAME] = ls.fails("REFUSED")
    async with trio.open_nursery() as nursery:
        await nursery.start(second.run)
        resolver = StubResolver([("127.0.0.1", second.port), ("127.0.0.1", server.port)], 0.5)
        answer = await resolver.addresses(NAME)
        nursery.cancel_scope.cancel()
    assert answer.addresses == codes("127.0.0.2")
    assert second.questions == server.questions == [NAME]


@pytest.mark.parametrize("name", ["a..example.org", "x" * 64 + ".example.org", "a." * 130 + "org"])
async def test_a_name_that_cannot_be_is_no_answer_either(resolver, server, name):
    with pytest.raises(ResolverError):
        await resolver.addresses(name)
    assert server.questions == []


async def test_being_cancelled_leaves_nothing_behind(server, resolver):
    server.names[NAME] = ls.silent
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolver.addresses, NAME)
            await server.heard(1)
            scope.cancel()
    assert scope.cancelled_caught
    server.names[NAME] = ls.listed("127.0.0.2")
    assert (await resolver.addresses(NAME)).addresses == codes("127.0.0.2")


# --- /etc/resolv.conf ---


def servers_of(resolver):
    return [str(server) for server in resolver._resolver.nameservers]


def test_the_systems_servers(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text(
        "search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions timeout:30\n"
    )
    resolver = StubResolver([], 0.25, path)
    assert servers_of(resolver) == ["192.0.2.53", "2001:db8::53"]
    assert resolver._resolver.timeout == 0.25


@pytest.mark.parametrize(
    "content", [None, b"", b"search example.org\n", b"\xff\xfe", b"nameserver elsewhere\n"]
)
def test_without_servers_there_the_own_machine_is_asked(tmp_path, content, caplog):
    path = tmp_path / "resolv.conf"
    if content is not None:
        path.write_bytes(content)
    assert servers_of(StubResolver([], 0.25, path)) == ["Do53:127.0.0.1@53"]
    assert "using 127.0.0.1" in caplog.text


def test_a_replaced_file_is_read_anew(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.53\n")
    resolver = StubResolver([], 0.25, path)
    before = resolver._resolver
    resolver.refresh()
    assert resolver._resolver is before
    (tmp_path / "new").write_text("nameserver 192.0.2.54\n")
    (tmp_path / "new").rename(path)
    resolver.refresh()
    assert servers_of(resolver) == ["192.0.2.54"]


def test_named_servers_have_nothing_to_do_with_the_file(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.53\n")
    resolver = StubResolver([("127.0.0.1", 5353)], 0.25, path)
    path.unlink()
    resolver.refresh()
    assert servers_of(resolver) == ["Do53:127.0.0.1@5353"]
