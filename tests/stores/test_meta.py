"""What is declared of the rows of META, and that every kind is read, walked and verified by it."""

from __future__ import annotations

import pytest

from multigrey.codec import Hits, encode_text
from multigrey.errors import CodecError
from multigrey.greylist import marks
from multigrey.identity.host_names.name_evidence import NOTHING
from multigrey.model import Table
from multigrey.stores.meta import (
    BLOCKS,
    EXPECTATIONS,
    FLOW,
    FLOW_ORIGINS,
    GROWTH,
    HEALTH_CHECK,
    HITS,
    HITS_SINCE,
    HOURS,
    KINDS,
    NAMES,
    OPEN_DEFERRALS,
    OVERRIDES,
    SITE_KEY,
    TABLE_SCOPES,
    Scope,
    kind_of,
    why_unreadable,
)
from tests.support.engines import memory_store
from tests.support.stores import put, running

VALUES = [
    (SITE_KEY, bytes(8)),
    (OVERRIDES, {"word": "off", "since": 1, "until": 2, "by": "root"}),
    (
        EXPECTATIONS,
        {
            "recipient": "b@example.org",
            "sender_domain": "",
            "since": 1,
            "until": 2,
            "asked_by": "x",
            "reason": "",
        },
    ),
    (BLOCKS, "192.0.2.1 a b"),
    (NAMES, ("isp.example", NOTHING)),
    (HITS, Hits(1, 2, 3, "list", "entry")),
    (HITS_SINCE, 17),
    (GROWTH, [[1] * 7]),
    (OPEN_DEFERRALS, [[1, "named", 2, 3]]),
    (HEALTH_CHECK, 17),
    (FLOW, [[1] * 27]),
    (FLOW_ORIGINS, [["example.org", "named", *[1] * 22]]),
    (HOURS, {"3600": {"all first": 2, "class over my codes": 1}}),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[kind.name.decode() for kind, _ in VALUES])
def test_each_kind_reads_what_it_wrote_and_verify_reads_it_too(kind, value):
    table, digest = kind.key(b"00000001" if kind.several else b"")
    stored = kind.coder.encode(value)
    assert kind.coder.decode(stored) == value
    assert table is Table.META
    assert kind_of(digest) is kind
    assert why_unreadable(table, digest, stored, marks.count) == ""
    for rubbish in (b"\xff rubbish", encode_text("[" * 5000), encode_text('{"a": 1}')):
        if kind is not BLOCKS or rubbish[:1] == b"\xff":
            assert why_unreadable(table, digest, rubbish, marks.count)
            with pytest.raises(CodecError):
                kind.coder.decode(rubbish)


def test_every_kind_has_a_value_here_and_a_name_of_its_own():
    assert [kind for kind, _ in VALUES] == [*KINDS]
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert not any(b"/" in kind.name for kind in KINDS)
    assert set(TABLE_SCOPES) == set(Table)
    assert {kind.scope for kind in KINDS} | {*TABLE_SCOPES.values()} == {*Scope, None}


def test_the_bytes_of_rows_stay_what_they_are():
    """Stores that are in use have them."""
    assert [kind.key(b"x" if kind.several else b"")[1] for kind in KINDS] == [
        *(b"site-key", b"override/x", b"expect/x", b"blocked/x", b"names/x"),
        *(b"hits/x", b"hits-since", b"growth/x", b"metrics-deferrals", b"health-check"),
        *(b"flow/x", b"flow-origins/x", b"hours/x"),
    ]
    written = {kind: kind.coder.encode(value) for kind, value in VALUES}
    assert written[GROWTH] == encode_text("[[1,1,1,1,1,1,1]]")
    assert written[HOURS] == encode_text('{"3600":{"all first":2,"class over my codes":1}}')
    assert written[OVERRIDES] == encode_text('{"word": "off", "since": 1, "until": 2, "by": "root"}')
    assert written[HITS_SINCE] == encode_text("17")


@pytest.mark.parametrize("digest", [b"of-somebody-else", b"hits", b"hits-since/x", b"growthx/1", b""])
def test_what_is_of_no_kind_is_told(digest):
    assert kind_of(digest) is None
    assert "not a kind of row" in why_unreadable(Table.META, digest, b"", marks.count)


async def test_a_walk_meets_its_own_rows_and_no_others():
    async with running(memory_store()) as store:
        for number in range(500):
            await put(store, BLOCKS.key(number.to_bytes(16, "big")), encode_text(str(number)), None)
        for other in (b"blocked", b"blockede/1", b"block/1", b"zz"):
            await put(store, (Table.META, other), b"x", None)
        found = [row async for rows in BLOCKS.walk(store) for row in rows]
    assert found == [(number.to_bytes(16, "big"), encode_text(str(number))) for number in range(500)]
