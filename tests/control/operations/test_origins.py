"""Operations on origins: who is trusted for what, by names that records tell."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from multigrey.codec import encode_origin, encode_reputation
from multigrey.control.operations.operation import OperationError
from multigrey.control.operations.origins import operations
from multigrey.greylist.reputation import Proof
from multigrey.identity.redaction import Redactor
from multigrey.model import DAY, Attempt, Change, Entry, Origin, OriginRecord, Reason, Reputation
from tests.support.clocks import START
from tests.support.control import answer, collected, make_settings, parts
from tests.support.engines import DELAY, MAX_AGE, SITE_KEY
from tests.support.stores import everything

PROOF = Proof(resolved=20, domains=2, percent=95)
TODAY = START // DAY
PROVEN = Reputation(
    days=((TODAY - 6, 30, 30),),
    domains=((b"aaaa", TODAY - 6), (b"bbbb", TODAY - 6)),
    proven_at=START - DAY,
    last_seen=START,
)


def named(attempt, network):
    name = attempt.client_name
    return Origin(".".join(name.split(".")[-2:]), named=True) if name else Origin(network, named=False)


def attempt(sender="a@example.org", recipient="b@example.net", client="192.0.2.10", name=None):
    return Attempt("smtp", ip_address(client), name, "", sender, recipient)


@asynccontextmanager
async def site():
    async with parts() as (house, made):
        setup = house.engine.setup
        house.engine.setup = replace(setup, origin_of=named, policy=replace(setup.policy, proof=PROOF))
        yield house, collected(operations, made)


async def put(house, key, value):
    entry = Entry(value, START + MAX_AGE)
    await house.store.apply((key,), lambda _: Change(None, {key: entry}, durable=True))


async def listed(ops, **options):
    async with aclosing(ops.get("origins.list").stream(options)) as rows:
        *pages, end = [row async for row in rows]
    found = [row for page in pages for row in page["origins"]]
    assert end["number"] == len(found)
    return found, end


async def earn(house, *attempts):
    """Trust: each comes back as asked."""
    for each in attempts:
        await house.engine.judge(each, "pass")
    house.clock.advance(DELAY)
    for each in attempts:
        assert (await house.engine.judge(each, "pass")).reason is Reason.RETRY


async def test_nothing_is_known_at_first():
    async with site() as (house, ops):
        assert await listed(ops) == ([], {"time": START, "number": 0, "nameless": 0, "more": False})
        await house.engine.judge(attempt(), "pass")
        assert (await listed(ops))[0] == []
        told = await answer(ops, "origins.show", origin="example.org")
        assert told["origin"] == {
            "origin": "example.org",
            "named": True,
            "standing": None,
            "names": [],
            "domains": [],
        }


async def test_origins_are_listed_with_figures():
    async with site() as (house, ops):
        await earn(
            house,
            attempt(name="mx.example.org"),
            attempt("x@example.com", name="mx.example.org"),
            attempt(client="198.51.100.9"),
        )
        (first, second), end = await listed(ops)
        assert (first["origin"], first["named"]) == ("example.org", True)
        assert first["standing"]["hours"] == [[START // 3600, 2, 2]]
        assert (first["standing"]["proven"], first["standing"]["resolved"]) == (False, 0)
        assert first["standing"]["needed"] == {"resolved": 20, "domains": 2, "percent": 95}
        assert [(row["client"], row["domain"], row["passes"]) for row in first["domains"]] == [
            ("example.org", "example.com", 1),
            ("example.org", "example.org", 1),
        ]
        assert (second["origin"], second["named"], second["standing"]) == ("198.51.100.0/24", False, None)
        assert [(row["client"], row["passes"]) for row in second["domains"]] == [("198.51.100.9/32", 1)]
        assert (end["nameless"], end["more"]) == (0, False)
        assert [row["origin"] for row in (await listed(ops, origin="org"))[0]] == ["example.org"]
        assert [row["origin"] for row in (await listed(ops, origin="198.51.100.9"))[0]] == ["198.51.100.0/24"]
        only = (await listed(ops, origin="example.org", domain="example.com"))[0]
        assert [row["domain"] for row in only[0]["domains"]] == ["example.com"]
        some, end = await listed(ops, limit=1)
        assert (len(some), end["more"]) == (1, True)
        assert (await listed(ops, trusted=True))[0] == []


async def test_trust_and_proof_are_told():
    async with site() as (house, ops):
        await house.engine.judge(attempt(name="mx.example.org"), "pass")
        scheme = house.engine.setup.scheme
        await put(
            house,
            scheme.origin_key("example.org", "example.org"),
            encode_origin(OriginRecord(5, START, START, b"", True)),
        )
        (row,), _ = await listed(ops, trusted=True)
        assert row["domains"][0]["trusted"]
        house.clock.advance(MAX_AGE + 1)
        assert not (await answer(ops, "origins.show", origin="example.org"))["origin"]["domains"][0][
            "trusted"
        ]
        house.clock.advance(-MAX_AGE - 1)
        await put(house, scheme.standing_key("example.org"), encode_reputation(PROVEN))
        standing = (await answer(ops, "origins.show", origin="Example.ORG"))["origin"]["standing"]
        assert (standing["proven"], standing["resolved"], standing["returned"], standing["domains"]) == (
            True,
            30,
            30,
            2,
        )
        house.engine.setup = replace(
            house.engine.setup, policy=replace(house.engine.setup.policy, proof=None, auto_whitelist_after=0)
        )
        told = (await answer(ops, "origins.show", origin="example.org"))["origin"]
        assert (told["standing"]["needed"], told["domains"][0]["needed"], told["domains"][0]["trusted"]) == (
            None,
            0,
            False,
        )


async def test_origins_without_a_name_are_counted():
    async with site() as (house, ops):
        await put(
            house, house.engine.setup.scheme.origin_key("example.com", "x"), encode_origin(OriginRecord())
        )
        assert (await listed(ops))[1]["nameless"] == 1
        told = await answer(ops, "origins.show", origin="example.com", domain="x")
        assert [row["domain"] for row in told["origin"]["domains"]] == ["x"]


async def test_redacted_records_still_tell_named_origins():
    async with site() as (house, ops):
        house.engine.setup = replace(house.engine.setup, redactor=Redactor(SITE_KEY))
        await earn(house, attempt(name="mx.example.org"), attempt(client="198.51.100.9"))
        (row,), end = await listed(ops)
        assert (row["origin"], [each["domain"] for each in row["domains"]]) == (
            "example.org",
            ["example.org"],
        )
        assert end["nameless"] == 1
        assert (await answer(ops, "origins.forget", origin="example.org"))["keys"] == 2


async def test_forgetting():
    async with site() as (house, ops):
        await earn(
            house,
            attempt(name="mx.example.org"),
            attempt("x@example.com", name="mx.example.org"),
            attempt(client="198.51.100.9"),
            attempt(recipient="c@example.net", client="198.51.100.10"),
        )
        before = await everything(house.store)
        assert await answer(ops, "origins.forget", origin="example.org", dry_run=True) == {
            "keys": 3,
            "dry_run": True,
        }
        assert (await answer(ops, "origins.forget", origin="example.org", domain="example.com"))["keys"] == 1
        assert (await answer(ops, "origins.forget", origin="example.org", by="root"))["keys"] == 2
        assert (await answer(ops, "origins.forget", origin="example.org"))["keys"] == 0
        assert (await answer(ops, "origins.forget", origin="198.51.100.9"))["keys"] == 1
        assert (await answer(ops, "origins.forget", origin="198.51.100.0/24"))["keys"] == 1
        assert await everything(house.store) == before, "records stay"
        assert (await listed(ops))[0] == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("origins.show", {}),
        ("origins.show", {"origin": 5}),
        ("origins.show", {"origin": "1.2.3.999"}),
        ("origins.show", {"origin": "example.org", "nonsense": 1}),
        ("origins.forget", {"domain": "example.org"}),
        ("origins.forget", {"origin": ""}),
    ],
)
async def test_what_cannot_be_asked(name, options):
    async with site() as (_, ops):
        with pytest.raises(OperationError):
            await answer(ops, name, **options)


@pytest.mark.parametrize("options", [{"nonsense": 1}, {"limit": 0}, {"origin": ["a"]}])
async def test_what_cannot_be_listed(options):
    async with site() as (_, ops):
        with pytest.raises(OperationError):
            await listed(ops, **options)


async def providers(ops, **options):
    async with aclosing(ops.get("origins.providers").stream(options)) as rows:
        *pages, end = [row async for row in rows]
    found = [row for page in pages for row in page["providers"]]
    assert end["number"] == len(found)
    return found, end


@asynccontextmanager
async def configured(directory, text):
    settings = make_settings(directory, text)
    async with parts(settings=settings) as (house, made):
        yield house, collected(operations, made)


async def test_providers_are_listed_and_those_who_pass_come_first():
    async with site() as (_, ops):
        found, end = await providers(ops)
        assert (end["time"], end["setting"], end["warnings"]) == (START, "pass", [])
        passing = [row["provider"] for row in found if row["passes"]]
        assert passing == [row["provider"] for row in found][: len(passing)]
        assert {"google", "microsoft", "amazon-ses", "sendgrid"} <= {*passing}
        assert all(row["retries"] and row["schedule"] and row["source"] and row["date"] for row in found[:10])
        (facebook,) = [row for row in found if row["provider"] == "facebook"]
        assert (facebook["passes"], facebook["retries"]) == (False, False)
        assert "mail-mail.facebook.com" in facebook["hosts"]
        assert [row["provider"] for row in (await providers(ops, passing=True))[0]] == passing


async def test_an_administrators_providers_are_listed_too(tmp_path):
    (tmp_path / "own.toml").write_text(
        'updated = 2000-01-01\n[[provider]]\norigin = "partner"\nnames = ["mx#.partner.example"]\n'
        'reason = "one pool"\nretries = true\n\n'
        '[[provider]]\norigin = "google"\nsuffixes = ["google.com"]\nreason = "wait, like all others"\n'
    )
    (tmp_path / "own.toml").chmod(0o644)
    async with configured(tmp_path, '[origin]\nproviders_file = "own.toml"\n') as (_, ops):
        found, end = await providers(ops)
        rows = {row["provider"]: row for row in found}
        assert (rows["partner"]["passes"], rows["partner"]["hosts"]) == (True, ["mx#.partner.example"])
        assert (rows["partner"]["source"], rows["partner"]["date"]) == (None, None)
        assert (rows["google"]["passes"], rows["google"]["reason"]) == (False, "wait, like all others")
        assert len([row for row in found if row["provider"] == "google"]) == 1
        assert ["own.toml was last reviewed on 2000-01-01" in text for text in end["warnings"]] == [True]


async def test_nobody_passes_where_providers_are_greylisted(tmp_path):
    async with configured(tmp_path, '[origin]\nproviders = "greylist"\n') as (_, ops):
        found, end = await providers(ops)
        assert end["setting"] == "greylist"
        assert not any(row["passes"] for row in found)
        assert any(row["retries"] for row in found)
        assert await providers(ops, passing=True) == ([], end | {"number": 0})


async def test_a_file_of_providers_that_is_wrong_is_said(tmp_path):
    async with configured(tmp_path, '[origin]\nproviders_file = "own.toml"\n') as (_, ops):
        with pytest.raises(OperationError, match=r"own\.toml: cannot be read"):
            await providers(ops)


async def test_what_cannot_be_asked_of_providers():
    async with site() as (_, ops):
        with pytest.raises(OperationError):
            await providers(ops, nonsense=1)
